"""Networks of the user's own, from the target as it is written to the record."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import xdream
from xdream.errors import BadInput
from xdream.experiment.callbacks import NoCallback
from xdream.store import FILE_NAME

MODULE = """
import torch
from torch import nn

def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))

def one_row(images):
    return images.mean((2, 3))[:1]
"""


class Killed(BaseException):
    pass


class Killer(NoCallback):
    """Ends an experiment after its first generation."""

    def best(self, score: float) -> None:
        raise Killed


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 5)
    ).eval()


@pytest.fixture
def files(tmp_path: Path, network: nn.Module) -> dict[str, Path]:
    """The network as TorchScript and as an exported program, for 32 px images and any batch."""
    example = torch.zeros(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about writing these formats
        torch.jit.save(torch.jit.trace(network, example), tmp_path / "script.pt")
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, tmp_path / "program.pt2")
        fixed = torch.export.export(network, (example,))
        torch.export.save(fixed, tmp_path / "fixed.pt2")
    return {path.stem: path for path in tmp_path.iterdir()}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def plan_for(target: str, **more: object) -> xdream.Plan:
    values = {"generator": {"name": "pixels", "size_px": 16}, "presentations": 60, "threads": 1}
    return xdream.Plan.make(targets=[target], **(values | more))


@pytest.mark.parametrize("kind", ["script", "program"])
def test_a_compiled_file_is_a_target(
    tmp_path: Path, files: dict[str, Path], network: nn.Module, kind: str
) -> None:
    target = f"file:{files[kind]}::3"
    declared = {f"file:{files[kind]}": {"size_px": (32, 32)}}
    record = xdream.run(plan_for(target, preprocessing=declared), tmp_path / "run")
    codes, row = record.chunk_codes(record.best_image(0, 0))
    shown = torch.from_numpy(codes[row]).clamp(0, 1).mul(255).round().reshape(1, 3, 16, 16)
    large = nn.functional.interpolate(shown, (32, 32), mode="bilinear", antialias=True) / 255
    assert record.scores(0)[0].max() == pytest.approx(network(large)[0, 3].item(), rel=1e-4, abs=1e-5)
    record.close()


def test_a_program_with_a_fixed_batch_is_refused_before_anything_is_written(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    path = files["fixed"]
    with pytest.raises(BadInput, match="does not take images"):
        xdream.run(
            plan_for(f"file:{path}::0", preprocessing={f"file:{path}": {"size_px": (32, 32)}}),
            tmp_path / "a" / "run",
        )
    assert not (tmp_path / "a").exists()


def test_a_callable_that_does_not_answer_each_image_is_refused(tmp_path: Path, modules: str) -> None:
    with pytest.raises(BadInput, match="for 3 images"):
        xdream.run(plan_for(f"python:{modules}:one_row::0"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_that_takes_images_at_their_own_size_is_read_at_the_centre_of_its_layer(
    tmp_path: Path, modules: str
) -> None:
    record = xdream.run(plan_for(f"python:{modules}:conv:0:0"), tmp_path / "run")
    assert record.runs()[0].target == f"python:{modules}:conv:0:0@7,7"
    record.close()


def test_a_layer_is_what_it_was_before_a_later_one_wrote_over_it(modules: str) -> None:
    from xdream import networks
    from xdream.subjects import network_units

    network = networks.load(f"python:{modules}:conv")
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    both = network_units(network, [("0", "1"), ("2", "0")], size_px=16).respond(images)
    alone = network_units(network, [("0", "1")], size_px=16).respond(images)
    torch.testing.assert_close(both[:, :1], alone)
    assert bool((alone < 0).any())  # what the rectifier would have taken away


def test_a_network_file_that_changed_is_noticed_on_resume(
    tmp_path: Path, files: dict[str, Path], network: nn.Module
) -> None:
    target = f"file:{files['script']}::0"
    declared = {f"file:{files['script']}": {"size_px": (32, 32)}}
    with pytest.raises(Killed):
        xdream.run(plan_for(target, preprocessing=declared), tmp_path / "run", Killer())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = nn.Sequential(*network[:-1], nn.Linear(4 * 7 * 7, 5))
        torch.jit.save(torch.jit.trace(other, torch.zeros(2, 3, 32, 32)), files["script"])
    with pytest.raises(BadInput, match=r"script\.pt has changed since"):
        xdream.resume(tmp_path / "run")


def test_an_image_to_match_is_found_from_another_folder_and_noticed_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    def paint(value: int) -> None:
        Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(tmp_path / "goal.png")

    monkeypatch.chdir(tmp_path)
    paint(200)
    whole = xdream.run(plan_for("match:goal.png::0"), tmp_path / "whole").dump()
    with pytest.raises(Killed):
        xdream.run(plan_for("match:goal.png::0"), tmp_path / "run", Killer())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    paint(10)
    with pytest.raises(BadInput, match=r"goal\.png has changed since"):
        xdream.resume(tmp_path / "run")
    paint(200)
    assert xdream.resume(tmp_path / "run").dump() == whole
    assert (tmp_path / "run" / FILE_NAME).exists()
