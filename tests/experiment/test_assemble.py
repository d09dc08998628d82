"""From a plan to its parts: what is looked up, checked and refused before anything starts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xdream.errors import BadInput, SubjectError, UnknownName
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan

PIXELS = {"name": "pixels", "size_px": 8}


def plan(**changes: Any) -> Plan:
    small = {"targets": ["known:linear::3"], "generator": PIXELS, "presentations": 100, "threads": 1}
    return Plan.make(**small | changes)


def test_runs_are_every_unit_with_every_seed_in_the_order_of_the_plan() -> None:
    parts = assemble(plan(targets=["known:energy::1", "known:linear::3,0"], runs=2, seed=7))
    assert [(run.id, run.target, run.seed) for run in parts.runs] == [
        (0, "known:energy::1", 7),
        (1, "known:energy::1", 8),
        (2, "known:linear::3", 7),
        (3, "known:linear::3", 8),
        (4, "known:linear::0", 7),
        (5, "known:linear::0", 8),
    ]
    for run in parts.runs:
        subject = parts.forward.subjects[run.subject]
        assert f"{subject.name}:{subject.units[run.unit]}" == run.target
    assert {run.generations for run in parts.runs} == {5}


def test_the_plan_of_the_parts_has_its_defaults_written_out() -> None:
    resolved = assemble(plan(optimizer={"name": "genetic", "population": 10}, threads=None)).plan
    assert resolved.optimizer.options == {
        "population": 10,
        "mutation_rate": 0.25,
        "mutation_size": 0.125,
        "selectivity": 2.0,
        "heritability": 0.5,
        "elites": 0,
        "selection": "boltzmann",
    }
    assert resolved.threads == torch.get_num_threads()
    assert assemble(resolved).plan == resolved


def test_what_can_be_drawn_at_any_size_is_drawn_at_the_size_at_which_it_is_shown() -> None:
    parts = assemble(plan(generator="pixels", image_size_px=24))
    assert parts.generator.image_size_px == parts.image_size_px == 24
    parts = assemble(plan(generator=PIXELS, image_size_px=24))
    assert (parts.generator.image_size_px, parts.image_size_px) == (8, 24)
    assert parts.forward.draw(torch.rand(1, 192)).shape == (1, 3, 24, 24)
    assert assemble(plan()).image_size_px == 8


def test_images_are_drawn_on_the_8_bit_grid() -> None:
    parts = assemble(plan())
    codes = torch.tensor([-1.0, 0.0, 0.25, 127.5 / 255, 0.5, 1.0, 9.0]).repeat(28)[:192]
    images = parts.forward.draw(torch.stack((codes, 1 - codes)))
    assert images.dtype == torch.uint8
    assert images[0].flatten()[:7].tolist() == [0, 0, 64, 128, 128, 255, 255]
    assert parts.forward.draw(torch.empty(0, 192)).shape == (0, 3, 8, 8)


def test_an_image_that_is_not_finite_is_never_shown() -> None:
    with pytest.raises(SubjectError, match="generator 'pixels' made an image with NaN or inf"):
        assemble(plan()).forward.draw(torch.full((1, 192), torch.nan))


def test_the_threads_of_the_plan_are_set_before_the_first_number_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_that_counts_threads.py").write_text(
        "import torch\n"
        "seen = []\n"
        "def network(images):\n"
        "    seen.append(torch.get_num_threads())\n"
        "    return images.mean((2, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import network_that_counts_threads  # type: ignore[import-not-found]

    for threads in (1, 2):
        assemble(plan(targets=["python:network_that_counts_threads:network::0"], threads=threads))
        assert set(network_that_counts_threads.seen) == {threads}
        network_that_counts_threads.seen.clear()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    Image.fromarray(np.full((9, 9, 3), 51, np.uint8)).save(file)
    return file


def test_an_image_can_be_matched_in_pixels_and_in_a_layer(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_to_match_in.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = "python:network_to_match_in:make"
    parts = assemble(
        plan(
            targets=[f"match:{picture}::0", f"match:{picture}:{network}:0:0"],
            preprocessing={network: {"size_px": (8, 8)}},
        )
    )
    assert [run.target for run in parts.runs] == [f"match:{picture}::0", f"match:{picture}:{network}:0:0"]
    images = torch.stack([torch.full((3, 8, 8), 51), torch.full((3, 8, 8), 0)]).to(torch.uint8)
    for subject in parts.forward.subjects:
        np.testing.assert_allclose(subject.respond(images)[:, 0], [0.0, -0.04], atol=1e-7)


def test_units_of_one_layer_are_one_subject_and_other_layers_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_of_layers.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = "python:network_of_layers:make"
    parts = assemble(
        plan(
            targets=[f"{network}:0:1,2", f"{network}:2:all", f"{network}:0:1@0,0"],
            preprocessing={network: {"size_px": (8, 8)}},
        )
    )
    assert [run.target.removeprefix(network) for run in parts.runs] == [
        ":0:1@3,3",
        ":0:2@3,3",
        *(f":2:{unit}" for unit in range(5)),
        ":0:1@0,0",
    ]
    assert [run.subject for run in parts.runs] == [0, 0, 1, 1, 1, 1, 1, 0]
    assert [run.unit for run in parts.runs] == [0, 1, 0, 1, 2, 3, 4, 2]


REFUSED: list[tuple[dict[str, Any], type[BadInput], list[str]]] = [
    ({"generator": "fuorier"}, UnknownName, ["unknown generator 'fuorier'", "fourier"]),
    ({"optimizer": "genetics"}, UnknownName, ["unknown optimizer 'genetics'", "genetic"]),
    ({"objective": "maen"}, UnknownName, ["unknown objective 'maen'", "mean"]),
    (
        {"targets": ["efficientnet-lite9:_fc:1"]},
        UnknownName,
        ["unknown network 'efficientnet-lite9'", "lite0"],
    ),
    ({"targets": ["known:linaer::1"]}, UnknownName, ["'linaer'", "linear"]),
    ({"targets": ["known:linear::1000"]}, BadInput, ["unit 1000 does not exist"]),
    ({"targets": ["known:linear::3", "known:linear::1-4"]}, BadInput, ["known:linear::3", "twice", "runs"]),
    ({"targets": [{"network": "known:linear", "units": "3,"}]}, BadInput, ["'3,' end in a comma"]),
    ({"targets": ["match:nowhere.png::0"]}, BadInput, ["nowhere.png' cannot be read"]),
    ({"targets": ["match:nowhere.png:n:l:0"]}, BadInput, ["nowhere.png:n:l:0", "a file that exists"]),
    ({"generator": {"name": "pixels", "size": 8}}, BadInput, ["no option 'size'", "size_px"]),
    ({"optimizer": {"name": "genetic", "radius": 8}}, BadInput, ["no option 'radius'", "mutation_rate"]),
    ({"optimizer": {"name": "genetic", "mutation_rate": 1.5}}, BadInput, ["mutation_rate", "1.5"]),
    ({"optimizer": {"name": "genetic", "mutation_rate": "high"}}, BadInput, ["mutation_rate", "'high'"]),
    ({"optimizer": {"name": "genetic", "population": 2.5}}, BadInput, ["population", "2.5"]),
    ({"optimizer": {"name": "nes", "population": 1}}, BadInput, ["population is 1", "of at least 2"]),
    ({"objective": {"name": "mean", "power": 2}}, BadInput, ["no option 'power'"]),
    ({"presentations": 19}, BadInput, ["presentations is 19", "one generation of 20", "at least 20"]),
    ({"presentations": 59, "repeats": 3}, BadInput, ["presentations is 59", "at least 60"]),
    ({"device": "gpu"}, BadInput, ["device 'gpu'", "cpu always can"]),
    ({"references": "nowhere"}, BadInput, ["nowhere' do not exist"]),
    ({"init": "statistics:nowhere.h5"}, BadInput, ["nowhere.h5"]),
    ({"init": "images:nowhere"}, BadInput, ["nowhere'"]),
    ({"init": "codes:nowhere.npz"}, BadInput, ["nowhere.npz' cannot be read", "xdream encode"]),
]


@pytest.mark.parametrize(("changes", "error", "said"), REFUSED, ids=[str(one[0])[:60] for one in REFUSED])
def test_what_cannot_be_made_is_refused_in_one_line(
    changes: dict[str, Any], error: type[BadInput], said: list[str]
) -> None:
    with pytest.raises(error) as caught:
        assemble(plan(**changes))
    assert "\n" not in str(caught.value)
    for phrase in said:
        assert phrase in str(caught.value)


def damaged_codes() -> dict[str, tuple[str, Any]]:
    rng = np.random.default_rng(0)
    good = rng.normal(size=(3, 192))
    return {
        "another dimension": ("codes.npy", good[:, :191]),
        "none": ("codes.npy", good[:0]),
        "none, of the code's shape": ("codes.npy", np.zeros((0, 3, 8, 8))),
        "one number": ("codes.npy", np.float32(3)),
        "one code without its axis": ("codes.npy", good[0]),
        "not finite": ("codes.npy", np.where(good > 1, np.nan, good)),
        "too large for float32": ("codes.npy", good * 1e300),
        "complex": ("codes.npy", good * 1j),
        "words": ("codes.npy", np.full((3, 192), "x")),
        "an object": ("codes.npy", np.array([{}], dtype=object)),
        "without codes": ("codes.npz", {"code": good}),
        "truncated": ("codes.npz", 700),
        "truncated early": ("codes.npz", 30),
        "damaged": ("codes.npz", -1),
        "empty": ("codes.npz", 0),
    }


@pytest.mark.parametrize("fault", damaged_codes())
def test_a_codes_file_that_cannot_be_used_is_named(tmp_path: Path, fault: str) -> None:
    name, content = damaged_codes()[fault]
    file = tmp_path / name
    if isinstance(content, dict):
        np.savez(file, **content)
    elif isinstance(content, int):
        np.savez(file, codes=np.zeros((3, 192)))
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 255
        file.write_bytes(data if content < 0 else data[:content])
    else:
        np.save(file, content)
    with pytest.raises(BadInput) as caught:
        assemble(plan(init=f"codes:{file}"))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parts_carry_the_warnings_of_generator_and_subjects_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_with_a_warning.py").write_text(
        "from torch import nn\n"
        "from xdream.networks import Network, Preprocessing\n"
        "def make():\n"
        "    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()\n"
        "    return Network('', module, Preprocessing((8, 8)), warnings=('handle with care',))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = "python:network_with_a_warning:make"
    parts = assemble(plan(targets=[f"{network}:0:0", f"{network}:1:0"], presentations=110))
    assert parts.notes == (
        "handle with care",
        "110 presentations are no multiple of a generation of 20; 100 are shown",
    )


def test_a_list_of_units_is_written_out_in_the_plan(tmp_path):
    path = tmp_path / "units.csv"
    path.write_text("layer,unit,y,x\n_blocks.0,3,1,2\n_fc,281,,\n_blocks.0,7,,\n")
    plan = Plan.make(targets=[f"efficientnet-lite0::{path}"], generator="pixels", presentations=40)
    parts = assemble(plan)
    assert [run.target.partition(":")[2] for run in parts.runs] == [
        "_blocks.0:3@1,2",
        "_blocks.0:7@56,56",
        "_fc:281",
    ]
    assert [str(t).partition(":")[2] for t in parts.plan.targets] == ["_blocks.0:3@1,2,7", "_fc:281"]
    with pytest.raises(BadInput, match="the unit list contains the layers; leave the layer empty"):
        assemble(Plan.make(targets=[f"efficientnet-lite0:_fc:{path}"], generator="pixels", presentations=40))
