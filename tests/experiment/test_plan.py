"""The plan: what it takes, what it refuses and how it says so, TOML in and out."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment.plan import Plan, PreprocessingPlan, TargetPlan

TARGET = "known:linear::0"

positive = st.floats(min_value=1e-9, max_value=1e9)
words = st.text(min_size=1, max_size=12)
keys = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(lambda key: key != "name")
values = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.lists(st.integers(-9, 9), max_size=3),
)
parts = st.builds(lambda name, options: Part(name=name, **options), words, st.dictionaries(keys, values))
targets = st.builds(
    TargetPlan,
    network=words,
    layer=st.text(max_size=12),
    units=st.sampled_from(["281", "3,7", "0-99", "all", "5@6,6", "1,2@3,4,5-9"]),
)
preprocessings = st.builds(
    PreprocessingPlan,
    size_px=st.none() | st.tuples(st.integers(1, 500), st.integers(1, 500)),
    channels=st.sampled_from(["RGB", "BGR"]),
    scale=positive,
    mean=st.tuples(*[st.floats(-300, 300)] * 3),
    std=st.tuples(*[positive] * 3),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    references = draw(st.none() | words)
    noise = draw(st.sampled_from(["none", "scale", "spikes"] if references else ["none", "scale"]))
    inits = ["default", "zeros", "statistics:a.h5", "codes:b/c.npz", "images:d:e"]
    inits += [f"references:{which}" for which in ("best", "middle", "worst")] if references else []
    return Plan(
        name=draw(st.from_regex(r"[A-Za-z0-9_.-]{1,9}", fullmatch=True)),
        targets=tuple(draw(st.lists(targets, min_size=1, max_size=3))),
        generator=draw(parts),
        optimizer=draw(parts),
        objective=draw(parts),
        presentations=draw(st.integers(1, 10**9)),
        repeats=draw(st.integers(1, 9)),
        noise_spikes=draw(positive) if noise == "spikes" else None,
        noise_scale=draw(positive) if noise == "scale" else None,
        references=references,
        references_per_generation=draw(st.integers(0, 9)) if references else 0,
        init=draw(st.sampled_from(inits)),
        seed=draw(st.integers(0, 2**63 - 10)),
        runs=draw(st.integers(1, 10)),
        image_size_px=draw(st.none() | st.integers(8, 4096)),
        batch=draw(st.integers(1, 999)),
        threads=draw(st.none() | st.integers(1, 64)),
        device=draw(words),
        preprocessing=draw(st.dictionaries(words, preprocessings, max_size=2)),
    )


@settings(deadline=None, max_examples=50)
@given(plans())
def test_a_plan_written_as_toml_and_read_back_is_the_same_plan(plan: Plan) -> None:
    again = Plan.from_toml(plan.to_toml())
    assert again == plan
    assert again.to_toml() == plan.to_toml()


def test_a_plan_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        'targets = ["known:linear::0", {network = "n:m", layer = "a:b", units = "3,7"}]\n'
        'generator = "pixels"\n'
        "[optimizer]\n"
        'name = "genetic"\n'
        "population = 7\n"
    )
    plan = Plan.read(file)
    assert plan.targets == (
        TargetPlan(network="known:linear", layer="", units="0"),
        TargetPlan(network="n:m", layer="a:b", units="3,7"),
    )
    assert plan.generator == Part(name="pixels")
    assert plan.optimizer.options == {"population": 7}
    assert plan.presentations == 10_000


def test_a_plan_cannot_be_changed() -> None:
    plan = Plan.make(targets=[TARGET])
    with pytest.raises(ValueError, match="frozen"):
        plan.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("efficientnet-lite0:_fc:281", ("efficientnet-lite0", "_fc", "281")),
        ("timm:resnet50:layer3.2:0-99", ("timm:resnet50", "layer3.2", "0-99")),
        ("caffe:/nets/caffenet:fc8:1,7", ("caffe:/nets/caffenet", "fc8", "1,7")),
        ("python:pkg.module:function::0-9", ("python:pkg.module:function", "", "0-9")),
        ("n:l:all", ("n", "l", "all")),
        ("n:l:5@6,6", ("n", "l", "5@6,6")),
        ("n:l:1,5@6,6,8-9@0,1", ("n", "l", "1,5@6,6,8-9@0,1")),
    ],
)
def test_a_target_is_split_from_the_right(text: str, expected: tuple[str, str, str]) -> None:
    (target,) = Plan.make(targets=[text]).targets
    assert (target.network, target.layer, target.units) == expected
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fc",
        "n:l",
        ":l:0",
        "n:l:",
        "n:l:x",
        "n:l:1;2",
        "n:l:1,,2",
        "n:l:3,",
        "n:l:-3",
        "n:l:5@6",
        "n:l:1-2-3",
    ],
)
def test_a_target_of_another_form_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Plan.make(targets=[text])
    message = str(caught.value)
    assert "\n" not in message
    assert repr(text.rpartition(":")[2])[1:-1] in message
    assert "NETWORK:LAYER:UNITS" in message


#: Values that make a plan invalid, and what the one line must say: the key, the value, the remedy.
INVALID: list[tuple[dict[str, Any], list[str]]] = [
    ({"targets": []}, ["targets is empty", "NETWORK:LAYER:UNITS"]),
    ({"targets": [{"network": "", "units": "0"}]}, ["targets.0.network", "''"]),
    ({"targets": [{"network": "n", "units": ""}]}, ["targets.0.units", "''"]),
    ({"name": "a/b"}, ["name", "'a/b'"]),
    ({"name": ""}, ["name", "''"]),
    ({"generator": {"size_px": 8}}, ["generator.name", "required"]),
    ({"optimizer": 3}, ["optimizer", "3"]),
    ({"presentations": 0}, ["presentations", "greater than or equal to 1", "0"]),
    ({"presentations": -5}, ["presentations", "-5"]),
    ({"presentations": 2**80}, ["presentations", str(2**80)]),
    ({"presentations": 2.5}, ["presentations", "2.5"]),
    ({"repeats": 0}, ["repeats", "0"]),
    ({"noise_spikes": 0.0, "references": "r"}, ["noise_spikes", "0.0"]),
    ({"noise_spikes": 20.0}, ["noise_spikes needs references", "noise_scale"]),
    ({"noise_spikes": 20.0, "noise_scale": 1.0, "references": "r"}, ["both", "give one"]),
    ({"noise_scale": -1.0}, ["noise_scale", "-1.0"]),
    ({"noise_scale": float("nan")}, ["noise_scale", "nan"]),
    ({"noise_scale": float("inf")}, ["noise_scale", "inf"]),
    ({"references_per_generation": -1, "references": "r"}, ["references_per_generation", "-1"]),
    ({"references_per_generation": 2}, ["references_per_generation needs references"]),
    ({"init": "ones"}, ["init", "'ones'", "statistics:FILE"]),
    ({"init": "zeros:3"}, ["'zeros:3'"]),
    ({"init": "codes"}, ["'codes'", "codes:FILE"]),
    ({"init": "codes:"}, ["'codes:'"]),
    ({"init": "references:best"}, ["'references:best'", "needs references"]),
    ({"init": "references:good", "references": "r"}, ["'references:good'", "best, middle or worst"]),
    ({"seed": -1}, ["seed", "-1"]),
    ({"seed": 2**63}, ["seed", str(2**63)]),
    ({"seed": 2**63 - 1, "runs": 2}, [str(2**63 - 1), "2 runs"]),
    ({"runs": 0}, ["runs", "0"]),
    ({"image_size_px": 4}, ["image_size_px", "4"]),
    ({"image_size_px": 5000}, ["image_size_px", "5000"]),
    ({"batch": 0}, ["batch", "0"]),
    ({"threads": 0}, ["threads", "0"]),
    ({"device": 3}, ["device", "3"]),
    ({"preprocessing": {"n": {"channels": "GBR"}}}, ["preprocessing.n.channels", "'GBR'"]),
    ({"preprocessing": {"n": {"scale": 0}}}, ["preprocessing.n.scale", "0"]),
    ({"preprocessing": {"n": {"mean": [1, 2]}}}, ["preprocessing.n.mean"]),
    ({"presentation": 7}, ["presentation", "unknown key", "presentations"]),
    ({"optimiser": "genetic"}, ["optimiser", "unknown key", "optimizer"]),
    ({"cls": 1}, ["cls", "unknown key"]),
    ({"targets": [{"network": "n", "unit": "0"}]}, ["unit", "unknown key", "units"]),
    ({"preprocessing": {"n": {"sizes_px": [8, 8]}}}, ["sizes_px", "unknown key", "size_px"]),
    ({"repeats": 0, "batch": 0}, ["repeats", "batch"]),
]


@pytest.mark.parametrize(("wrong", "said"), INVALID, ids=[str(wrong)[:50] for wrong, _ in INVALID])
def test_an_invalid_plan_is_refused_in_one_line_that_names_the_value(
    wrong: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        Plan.make(**({"targets": [TARGET]} | wrong))
    message = str(caught.value)
    assert message.startswith("plan: ")
    assert "\n" not in message
    for phrase in said:
        assert phrase in message


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1, max_size=30))
def test_any_unknown_key_is_refused_as_one(key: str) -> None:
    if key in Plan.model_fields:
        return
    with pytest.raises(BadInput, match="unknown key"):
        Plan.make(**{"targets": [TARGET], key: 1})


def test_what_is_not_toml_is_refused() -> None:
    with pytest.raises(BadInput, match="not TOML"):
        Plan.from_toml("targets = [")


def test_a_plan_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(BadInput, match="cannot be read") as caught:
            Plan.read(path)
        assert str(path) in str(caught.value)


def test_an_invalid_plan_file_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('targets = ["known:linear::0"]\nrepeats = 0\n')
    with pytest.raises(BadInput, match=r"plan '.*plan\.toml': repeats: .*\(it is 0\)"):
        Plan.read(file)
