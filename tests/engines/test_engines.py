"""Engines compute what PyTorch computes; what they cannot take stays with PyTorch, and the record says so."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xdream
from xdream import networks
from xdream.engines import ENGINES, openvino
from xdream.errors import BadInput, SubjectError, UnknownName
from xdream.experiment import engine_choice, reported
from xdream.experiment.assemble import assemble
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.engine_choice import Placed
from xdream.experiment.forward import GENERATOR
from xdream.experiment.plan import Plan
from xdream.report import summarise, table
from xdream.store import Record

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="no OpenVINO")

NETWORK = """
import numpy as np
import torch
from torch import nn

def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make()

def make():
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(1152, 5)
    ))

class Counting(nn.Module):
    '''The number of images is written into a trace of it.'''
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 5)
    def forward(self, x):
        return self.layer(x.reshape(len(x), 192))

class Frozen(Counting):
    '''Its response is a constant in a trace of it.'''
    def forward(self, x):
        return torch.from_numpy(np.asarray(super().forward(x)))

def counting():
    return seeded(Counting)

def frozen():
    return seeded(lambda: Frozen().requires_grad_(False))

def responses():
    return lambda images: images.mean((2, 3))
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "network_for_engines.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "network_for_engines", raising=False)


def target(function: str = "make") -> str:
    return f"python:network_for_engines:{function}"


def plan(function: str = "make", layer: str = "5", **changes: Any) -> Plan:
    name = target(function)
    values = {
        "targets": [f"{name}:{layer}:0-2"],
        "preprocessing": {name: {"size_px": (16, 16) if function == "make" else (8, 8)}},
        "generator": "natural-v1",
        "image_size_px": 16,
        "optimizer": {"name": "genetic", "population": 6},
        "presentations": 18,
        "threads": 1,
        "seed": 3,
        "engine": "openvino",
    }
    return Plan.make(**values | changes)


def engines_of(record: Record) -> dict[str, str]:
    """Of each part."""
    return {part: one["engine"] for part, one in json.loads(record.facts["engines"]).items()}


def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where OpenVINO is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else real(name, *rest)
    )


# ------------------------------------------------------------------ which one


def test_auto_takes_the_first_in_a_fixed_order_that_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    few, some, many = (plan(engine="auto", presentations=n) for n in (18, 2_000, 20_000))
    missing(monkeypatch)
    chosen = [assemble(one).plan for one in (few, some, many)]
    assert [(one.engine, one.compiled) for one in chosen] == [
        ("torch", False),
        ("torch", False),
        ("torch-compiled", True),
    ]


@needs_openvino
def test_auto_takes_openvino_where_it_is_installed_and_there_are_images_enough() -> None:
    chosen = [assemble(plan(engine="auto", presentations=n)).plan.engine for n in (18, 2_000, 20_000)]
    assert chosen == ["torch", "openvino", "openvino"]


@needs_openvino
def test_without_a_network_there_is_nothing_for_openvino() -> None:
    nothing = {"targets": ["known:linear::3"], "generator": {"name": "pixels", "size_px": 8}}
    values = {"engine": "auto", "preprocessing": {}, "image_size_px": None, "presentations": 3_000}
    assert assemble(plan(**nothing | values)).plan.engine == "torch"


def test_an_engine_that_is_asked_for_and_missing_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing(monkeypatch)
    with pytest.raises(BadInput, match=r"engine 'openvino' cannot be used: .* pip install 'xdream\[fast\]'"):
        xdream.run(plan(), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(UnknownName, match="unknown engine 'tensorrt'"):
        assemble(plan(engine="tensorrt"))
    with pytest.raises(BadInput, match="compiled is engine torch-compiled, and engine is 'openvino'"):
        plan(compiled=True)


def test_openvino_computes_on_processors_only() -> None:
    assert "device is 'cuda'" in ENGINES.make("openvino").missing(torch.device("cuda")) or not (
        importlib.util.find_spec("openvino")
    )


@pytest.mark.parametrize(
    ("compiled", "engine"),
    [("compiled = true", "torch-compiled"), ("compiled = false", "torch"), ("", "torch")],
)
def test_a_stored_plan_of_before_has_the_engine_of_its_time(compiled: str, engine: str) -> None:
    text = f'targets = ["known:linear::3"]\n{compiled}\n'
    found = Plan.stored(text, 4)
    assert (found.engine, found.compiled) == (engine, engine == "torch-compiled")
    assert Plan.from_toml(text).engine == "auto"


def test_compiled_still_says_which_of_pytorchs_two_it_is() -> None:
    assert assemble(plan(engine="auto", compiled=True)).plan.engine == "torch-compiled"
    assert assemble(plan(engine="auto", compiled=False, presentations=20_000)).plan.engine == "torch"


# ------------------------------------------------------------------ the same numbers


def check_same(network: networks.Network, layers: list[str], size_px: int, rows: int = 6) -> None:
    """A reader's layers in OpenVINO, for two sizes of a batch."""
    reader, _ = networks.layer_reader(network, layers, size_px=size_px)
    images = torch.randint(0, 256, (rows, 3, size_px, size_px), dtype=torch.uint8)
    running = openvino.OpenVino().run(reader.function(), images)
    for some in (images, images[: rows // 2]):
        wanted = reader.read(some)
        found = reader.read(some, lambda batch: running(batch, "float32"))
        assert set(found) == set(wanted)
        for layer, values in wanted.items():
            torch.testing.assert_close(found[layer], values, rtol=1e-4, atol=1e-4 * float(values.abs().max()))


@needs_openvino
@pytest.mark.parametrize("layers", [["5"], ["0"], ["3", "1"], ["1", "", "2"]])
def test_layers_in_the_middle_and_several_at_once(layers: list[str]) -> None:
    shown = networks.Preprocessing((16, 16), "BGR", 1.0, (104.0, 117.0, 123.0))
    check_same(networks.load(target(), shown), layers, 20)


@needs_openvino
def test_a_module_that_counts_its_images_is_traced_again_for_another_number() -> None:
    check_same(networks.load(target("counting"), networks.Preprocessing((8, 8))), ["layer"], 8)


@needs_openvino
def test_what_a_batch_is_divided_among_streams_into_comes_back_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino, "THREADS_OF_STREAM", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    check_same(networks.load(target(), networks.Preprocessing((16, 16))), ["5"], 16, rows=4)
    check_same(networks.load(target(), networks.Preprocessing((16, 16))), ["5"], 16, rows=6)  # 3: in one part


@needs_openvino
def test_graphs_are_kept_for_few_sizes_of_a_batch() -> None:
    running = openvino.OpenVino().run(lambda rows: (rows * 2,), torch.zeros(8, 3))
    for size in (8, 4, 2, 1, 8):
        assert torch.equal(running(torch.ones(size, 3), "float32")[0], torch.full((size, 3), 2.0))
    assert len(running._made) == openvino.SIZES_KEPT  # type: ignore[attr-defined]


@needs_openvino
def test_an_experiment_in_openvino_is_the_one_in_pytorch_up_to_rounding(tmp_path: Path) -> None:
    targets = [f"{target()}:5:0-2", f"{target()}:0:1,2"]
    eager = xdream.run(plan(targets=targets, engine="torch"), tmp_path / "eager")
    record = xdream.run(plan(targets=targets), tmp_path / "x")
    assert set(engines_of(record)) == {
        "generator natural-v1",
        f"network {target()}:5",
        f"network {target()}:0",
    }
    assert set(engines_of(record).values()) == {"openvino"}
    assert json.loads(record.facts["notes"]) == []
    assert Plan.from_toml(record.facts["plan"]).engine == "openvino"
    assert "openvino" in record.versions()[0]
    for run in record.runs():
        # From the same codes: later ones may part. A pixel differs by an 8-bit step here and there.
        np.testing.assert_allclose(record.scores(run.id)[0], eager.scores(run.id)[0], rtol=1e-2, atol=1e-3)


@needs_openvino
def test_an_image_with_nan_in_it_is_an_error_in_openvino_too() -> None:
    parts = assemble(plan(batch=4))
    assert engine_choice.place(parts.forward, "openvino", 4)["generator natural-v1"].engine == "openvino"
    codes = torch.zeros(3, 256)
    assert len(parts.forward.draw(codes)) == 3
    codes[1, 7] = torch.nan
    with pytest.raises(SubjectError, match="made an image with NaN or inf"):
        parts.forward.draw(codes)


@needs_openvino
def test_openvino_is_used_without_its_telemetry() -> None:
    program = (
        "import sys; from xdream.engines import openvino; openvino.imported(); "
        "print('openvino' in sys.modules, any('telemetry' in n and not n.startswith('openvino.') "
        "for n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@needs_openvino
def test_what_was_traced_is_empty_when_its_graph_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch keeps it until the process ends."""
    traced = []
    trace: Any = torch.jit.trace
    monkeypatch.setattr(torch.jit, "trace", lambda *a, **k: traced.append(trace(*a, **k)) or traced[-1])
    network = torch.nn.Linear(4, 3).requires_grad_(False)
    running = openvino.OpenVino().run(lambda rows: (network(rows),), torch.zeros(4, 4))
    assert [len(list(one.graph.nodes())) for one in traced] == [0]
    rows = torch.ones(4, 4)
    torch.testing.assert_close(running(rows, "float32")[0], network(rows))


# ------------------------------------------------------------------ what it cannot take


@needs_openvino
@pytest.mark.parametrize(
    ("function", "layer", "reason"),
    [("responses", "", "gives its outputs only"), ("frozen", "", "its outputs differ by")],
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_an_engine_cannot_take_pytorch_computes_and_the_record_says_why(
    function: str, layer: str, reason: str, tmp_path: Path
) -> None:
    eager = xdream.run(plan(function, layer, engine="torch"), tmp_path / "eager")
    record = xdream.run(plan(function, layer), tmp_path / "x")
    network = f"network {target(function)}:{layer}"
    assert engines_of(record) == {"generator natural-v1": "openvino", network: "torch"}
    [note] = [one for one in json.loads(record.facts["notes"]) if "openvino" in one]
    assert note.startswith(f"{network} is computed by torch, not by openvino: ")
    assert reason in note
    np.testing.assert_allclose(record.scores(0)[0], eager.scores(0)[0], rtol=1e-2, atol=1e-3)


def test_where_nothing_can_be_taken_the_plan_is_pytorchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name, package, sets_precision = "broken", "", True

        def missing(self, device: torch.device) -> str:
            return ""

        def run(self, function: object, example: object) -> None:
            raise ValueError("no such operation")

    monkeypatch.setitem(ENGINES._factories, "broken", Broken)
    eager = xdream.run(plan(engine="torch"), tmp_path / "eager")
    record = xdream.run(plan(engine="broken"), tmp_path / "x")
    stored = Plan.from_toml(record.facts["plan"])
    assert (stored.engine, stored.compiled) == ("torch", False)
    assert len(json.loads(record.facts["notes"])) == 2
    assert "by torch, not by broken: ValueError: no such operation" in record.facts["notes"]
    assert record.dump() == eager.dump()


# ------------------------------------------------------------------ on a resume


class Stop(NoCallback):
    """Ends the experiment when a stage is at a step."""

    def __init__(self, *at: object) -> None:
        self._at = at

    def stage(self, name: str, done: int, total: int) -> None:
        if (name, done) == self._at:
            raise KeyboardInterrupt


@needs_openvino
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_it_is_bit_for_bit_what_it_would_have_been(tmp_path: Path, precision: str) -> None:
    values = plan(presentations=30, precision=precision, batch=4, references="scikit-image")
    whole = xdream.run(values, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        xdream.run(values, tmp_path / "x", Stop("generations", 2))
    resumed = xdream.resume(tmp_path / "x")
    assert resumed.dump() == whole.dump()
    assert engines_of(resumed) == engines_of(whole)
    assert resumed.facts.get(reported.FACT) == whole.facts.get(reported.FACT)


@needs_openvino
def test_a_part_that_fell_back_is_not_tried_again_on_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = f"network {target()}:5"
    place = engine_choice.place

    def without_the_network(*values: Any) -> dict[str, Placed]:
        before = {network: Placed("torch", reason="not today")}
        return place(*values[:3], before)

    with monkeypatch.context() as patch:
        patch.setattr(engine_choice, "place", without_the_network)
        whole = xdream.run(plan(), tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            xdream.run(plan(), tmp_path / "x", Stop("generations", 1))
    resumed = xdream.resume(tmp_path / "x")
    assert engines_of(resumed)[network] == "torch"
    assert resumed.dump() == whole.dump()


@needs_openvino
def test_without_its_engine_an_experiment_is_not_resumed_but_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xdream import report

    with pytest.raises(KeyboardInterrupt):
        xdream.run(plan(keep_images="none"), tmp_path / "x", Stop("generations", 2))
    with_it = report.show(Record(tmp_path / "x"))
    assert not any("bit-identical" in warning for warning in with_it.warnings)
    missing(monkeypatch)
    with pytest.raises(BadInput, match=r"engine 'openvino' cannot be used: .* pip install 'xdream\[fast\]'"):
        xdream.resume(tmp_path / "x")
    shown = report.show(Record(tmp_path / "x"))
    assert any("drawn with PyTorch, not with the engine openvino" in warning for warning in shown.warnings)


# ------------------------------------------------------------------ lower precision


@pytest.fixture(params=["torch", pytest.param("openvino", marks=needs_openvino)])
def searched(request: pytest.FixtureRequest) -> Plan:
    """A search in lower precision."""
    return plan(
        engine=request.param,
        precision="bfloat16",
        references="scikit-image",
        references_per_generation=2,
        presentations=30,
        runs=2,
    )


def again(record: Record, of: Plan) -> Callable[[int, int], np.ndarray[Any, Any]]:
    """(run, generation) -> noise-free scores in float32, in PyTorch."""
    parts = assemble(of.model_copy(update={"engine": "torch", "precision": "float32"}))

    def scores(run: int, generation: int) -> np.ndarray[Any, Any]:
        codes = torch.from_numpy(np.stack(list(record.codes(run, generation).values())))
        found = parts.forward.respond(0, parts.forward.draw(codes))[:, parts.runs[run].unit]
        return found.numpy()

    return scores


@pytest.mark.parametrize("kept", ["everything", "scores"])
def test_what_is_reported_of_a_search_in_lower_precision_is_in_float32(
    searched: Plan, kept: str, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"record": kept}
    if kept == "scores":
        changes["references_per_generation"] = 0
    of = searched.model_copy(update=changes)
    record = xdream.run(of, tmp_path / "x")
    exact = xdream.run(of.model_copy(update={"engine": "torch", "precision": "float32"}), tmp_path / "exact")
    scores = again(record, of)
    summaries = summarise(record)
    for one, run in zip(summaries, record.runs(), strict=True):
        last = scores(run.id, run.generations - 1)
        np.testing.assert_allclose(one.last_generation_best, last.max(), rtol=1e-3)
        assert one.searched_last_generation_best == record.scores(run.id)[-1].max()
        assert one.last_generation_best != one.searched_last_generation_best
        assert one.best_ever is not None
        assert one.best_ever >= one.last_generation_best
        assert one.searched_best_ever == max(scores.max() for scores in record.scores(run.id))
        np.testing.assert_allclose(
            record.reference_responses(run.id), exact.reference_responses(run.id), rtol=1e-3, atol=1e-4
        )
        if one.relative_activation is not None:  # of a reference above zero
            assert one.relative_activation == one.last_generation_best / one.best_reference
    assert any(one.relative_activation is not None for one in summaries)
    text = table(summaries)
    assert "as" in text
    assert text.count("searched") == 3  # two columns and the note
    assert "searched in bfloat16: numbers without noise are computed again in float32" in text


def test_in_float32_nothing_is_said_of_precision(tmp_path: Path) -> None:
    record = xdream.run(plan(engine="torch"), tmp_path / "x")
    assert "searched" not in table(summarise(record))
    assert reported.FACT not in record.facts


def test_killed_before_the_numbers_are_there_it_computes_them_on_a_resume(
    searched: Plan, tmp_path: Path
) -> None:
    whole = xdream.run(searched, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        xdream.run(searched, tmp_path / "x", Stop(reported.FACT, 0))
    with Record(tmp_path / "x") as record:
        assert record.finished
        assert "numbers are of the search, until" in table(summarise(record))
    resumed = xdream.resume(tmp_path / "x")
    assert resumed.facts[reported.FACT] == whole.facts[reported.FACT] != ""
    assert resumed.dump() == whole.dump()


def test_a_run_without_a_response_has_no_numbers_in_float32_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xdream.subjects import NetworkUnits

    real = NetworkUnits.respond
    monkeypatch.setattr(NetworkUnits, "respond", lambda *values: real(*values) * torch.nan)
    [one] = summarise(
        xdream.run(plan(engine="torch", precision="bfloat16", targets=f"{target()}:5:0"), tmp_path / "x")
    )
    assert one.last_generation_best is None
    assert one.best_ever is None


@needs_openvino
def test_the_generator_is_in_lower_precision_too() -> None:
    drawn = {}
    for precision in ("float32", "bfloat16"):
        parts = assemble(plan(precision=precision, batch=4))
        engine_choice.place(parts.forward, "openvino", 4)
        codes = parts.generator.initial.draw(torch.tensor([5]), 4)[0]
        drawn[precision] = parts.forward.draw(codes).int()
        again = parts.forward.in_float32().draw(codes).int()
        assert torch.equal(again, drawn["float32"])
    difference = (drawn["float32"] - drawn["bfloat16"]).abs()
    assert 0 < int(difference.max()) <= 8


def test_every_part_that_an_engine_can_be_given_is_a_function_of_a_batch() -> None:
    forward = assemble(plan(engine="torch", batch=4)).forward
    codes = forward.generators[0].centre.repeat(3, 1)
    function = forward.function(GENERATOR)
    assert function is not None
    images, finite = function(codes)
    assert (images.shape, finite.shape) == ((3, 3, 16, 16), (3,))
    of_network = forward.function(0)
    assert of_network is not None
    assert [one.shape for one in of_network(images)] == [(3, 5)]


def test_engines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from xdream.cli.main import main

    assert main(["list", "engines"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ENGINES.names()


@needs_openvino
@pytest.mark.parametrize("region", ["ball", "sphere"])
def test_codes_far_outside_are_brought_into_their_region_in_openvino_too(region: str) -> None:
    bounded = {"name": "natural-v1", "codes": region, "radius": 0.8}
    parts = assemble(plan(generator=bounded, batch=4))
    far = 30.0 * parts.generator.initial.draw(torch.tensor([1]), 4)[0]
    eager = parts.forward.draw(far).int()
    assert engine_choice.place(parts.forward, "openvino", 4)["generator natural-v1"].engine == "openvino"
    assert int((parts.forward.draw(far).int() - eager).abs().max()) <= 1
