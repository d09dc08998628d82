"""A whole training: whatever ends it, resuming gives the generator that would have come without the end."""

import csv
import errno
import io
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

import tiny_encoder
from xdream import networks
from xdream.errors import BadInput, Interrupted, StoreBusy, StoreError
from xdream.experiment.callbacks import NoCallback
from xdream.generators.learned import open_file, read_card
from xdream.generators.projection import grid_reader
from xdream.images import references
from xdream.store import locked
from xdream.training import training_folder as folders
from xdream.training import training_run
from xdream.training.measure import measure
from xdream.training.prepare import fit, project
from xdream.training.recipe import ENCODER_LAYERS, Recipe
from xdream.training.sheet import sheet
from xdream.training.trainer import FeatureMaps, Trainer
from xdream.training.training_run import _Steps, resume, train
from xdream.types import quantise

Small = Callable[..., Recipe]
CPU = torch.device("cpu")


class Killed(BaseException):
    """Not an error that anything handles: a kill, after which nothing more is written."""


class Told(NoCallback):
    """A callback that remembers, and can end a training: `end(step)` is called after each.

    stop_at: the step after which `stop` says yes.
    """

    def __init__(self, end: Callable[[int], None] = lambda step: None, stop_at: int | None = None) -> None:
        self.end, self.stop_at = end, stop_at
        self.steps: list[int] = []
        self.stages: list[str] = []
        self.noted: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None:
        if name not in self.stages:
            self.stages.append(name)
        if name == "training":
            self.steps.append(done)
            self.end(done)

    def note(self, text: str) -> None:
        self.noted.append(text)

    def stop(self) -> bool:
        return self.stop_at is not None and self.stop_at in self.steps


def at(step: int, what: Callable[[], object]) -> Callable[[int], None]:
    return lambda done: (what(), None)[1] if done == step else None


def kill() -> None:
    raise Killed


def stopped(recipe: Recipe, folder: Path, step: int) -> None:
    """A training that was asked to stop after a step."""
    told = Told(stop_at=step)
    with pytest.raises(Interrupted, match=f"after step {step} of {recipe.steps}, which is saved"):
        train(recipe, folder, told, stop=told.stop)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(path)


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same weights: generators and checkpoints, bit for bit."""
    for name in ("tiny.safetensors", folders.CHECKPOINT, folders.PROJECTION):
        a, b = tensors(one / name), tensors(other / name)
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return False
    return True


def losses(folder: Path) -> list[dict[str, str]]:
    """The rows of losses.csv without the seconds, which differ each time."""
    rows = list(csv.DictReader(io.StringIO((folder / "losses.csv").read_text())))
    for row in rows:
        row.pop("seconds")
    return rows


@pytest.fixture(autouse=True)
def blank_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sheets take longer than the training."""
    monkeypatch.setattr(training_run, "sheet", lambda kinds: b"a sheet")


@pytest.fixture(scope="module")
def whole(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing interrupted: 8 steps, checkpoints after 3, 6 and 8."""
    folder = tmp_path_factory.mktemp("trainings") / "whole"
    train(small(), folder, Told())
    return folder


# The output


def test_the_generator_says_how_it_came_to_be(small: Small, tmp_path: Path, pictures: Path) -> None:
    told = Told()
    recipe = small(validation=str(pictures), seed=3, sheet_every=4)
    file = train(recipe, tmp_path / "a" / "b", told)
    assert file == tmp_path / "a" / "b" / "tiny.safetensors"
    card = read_card(file)
    assert card["name"] == "tiny"
    assert card["architecture"] == {"dim": 8, "channels": [8, 8, 4], "refined": [1, 0, 0]}
    assert card["encoder"] == {
        "network": tiny_encoder.NAME,
        "layer": "conv3",
        "size_px": 32,
        "grid": 2,
        "fingerprint": networks.fingerprint(tiny_encoder.network().module),
    }
    about = card["provenance"]
    assert about["images"]["count"] == about["validation"]["count"] == 40
    assert about["images"]["sha256"] == about["validation"]["sha256"]
    assert len(about["images"]["sha256"]) == 64
    assert (about["recipe"]["seed"], about["recipe"]["steps"], about["device"]) == (3, 8, "cpu")
    assert about["recipe"]["losses"] == recipe.losses.model_dump()
    assert about["sources"] == [pictures.name]
    assert str(pictures.parent) not in json.dumps(card)
    assert set(card["metrics"]) == {"images", "pixel_error", "feature_error", "code_error"}
    assert told.stages == [
        "checking training images",
        "checking validation images",
        "encoding training images",
        "encoding validation images",
        "fitting the code",
        "training",
        "measuring",
    ]
    assert told.steps == list(range(1, 9))
    for name in ("loss", "image", "feature", "code", "adversarial", "discriminator"):
        assert f"{name} " in told.noted[0]
    sheets = sorted(path.name for path in file.parent.glob("*.png"))
    assert sheets == ["sheet-000004.png", "sheet-000008.png"]
    assert not list(file.parent.glob("*.partial"))


def test_codes_of_the_training_images_are_typical_initial_codes(whole: Path, pictures: Path) -> None:
    """Whitened by the file's own encoder and projection, which come from nowhere else."""
    generator = open_file(whole / "tiny.safetensors")
    found = references.load(str(pictures))
    codes = []
    encoder = generator.encoder.open()
    for index in range(len(found)):  # images at 16 px, as they were trained with
        codes.append(generator.projection(encoder(found.images([index], 16) / 255.0)))
    white = torch.cat(codes).double().numpy()
    np.testing.assert_allclose(white.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(white.T @ white / 40, np.eye(8), atol=0.02)
    np.testing.assert_allclose(generator.initial.mean, 0, atol=0.01)
    np.testing.assert_allclose(generator.initial.std, 1, atol=0.03)
    assert torch.equal(generator.invert(found.images([3], 16) / 255.0), codes[3])


def test_the_file_holds_the_averaged_weights_folded(whole: Path) -> None:
    kept = tensors(whole / folders.CHECKPOINT)
    file = tensors(whole / "tiny.safetensors")
    assert torch.equal(file["generator.to_rgb.weight"], kept["kept.to_rgb.weight"].half())
    assert not torch.equal(file["generator.to_rgb.weight"], kept["generator.to_rgb.weight"].half())
    assert not any("running" in key for key in file)


def test_metrics_are_those_of_images_that_were_not_trained_with(
    small: Small, pictures: Path, trainer: Callable[..., Trainer]
) -> None:
    parts = trainer()
    found = references.load(str(pictures))
    shown = found.images(range(40), 16)
    features = parts.encoder(shown / 255.0).half()
    projection = fit(features.numpy(), 8, 0, NoCallback())
    kept = parts.kept.folded().eval()
    held_out = training_run.Pictures(shown.numpy(), features.numpy(), "")
    parts.maps.calibrate(shown[:9] / 255.0)
    metrics = measure(kept, parts.maps, parts.encoder, projection, held_out, CPU)

    codes = project(features.numpy(), projection)
    with torch.no_grad():
        made, real = kept(codes), shown / 255.0
        read = projection(parts.encoder(made))
        pixel = float(((made - real) ** 2).mean())
        code = float((((read - codes) ** 2).sum(1) / (codes**2).sum(1)).mean())
        ratios = [
            float(((m - r) ** 2).sum() / (r**2).sum())
            for m, r in zip(parts.maps(made), parts.maps(real), strict=True)
        ]
    assert metrics["images"] == 40
    assert metrics["pixel_error"] == pytest.approx(pixel, rel=1e-4)
    assert metrics["code_error"] == pytest.approx(code, rel=1e-4)
    assert metrics["feature_error"] == pytest.approx(sum(ratios) / 2, rel=1e-4)


def test_without_validation_images_there_are_no_metrics(whole: Path) -> None:
    assert read_card(whole / "tiny.safetensors")["metrics"] == {}


def test_images_of_each_step_are_each_once_per_epoch(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    drawn = _Steps._rows

    def noting(self: _Steps, step: int) -> list[int]:
        found = drawn(self, step)
        rows.extend(found)
        return found

    monkeypatch.setattr(_Steps, "_rows", noting)
    monkeypatch.setattr(Trainer, "step", lambda self, number, images, codes: {"loss": 0.0})
    train(small(steps=20, batch=6, checkpoint_every=100), tmp_path / "run", Told())
    assert len(rows) == 120
    epochs = [rows[start : start + 40] for start in (0, 40, 80)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != list(range(40))


def test_a_step_may_be_larger_than_all_images(small: Small, tmp_path: Path) -> None:
    assert train(small(steps=1, batch=90), tmp_path / "run", Told()).exists()


def test_the_seed_decides_everything(small: Small, whole: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(small(), tmp_path / "again", Told())
    train(small(seed=1), tmp_path / "other", Told())
    assert same(tmp_path / "again", whole)
    assert losses(tmp_path / "again") == losses(whole)
    assert not same(tmp_path / "other", whole)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_losses_are_the_means_between_checkpoints(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(range(1, 9))
    monkeypatch.setattr(Trainer, "step", lambda self, number, images, codes: {"loss": float(next(made))})
    train(small(), tmp_path / "run", Told())
    assert [(row["step"], row["loss"]) for row in losses(tmp_path / "run")] == [
        ("3", "2.00000"),
        ("6", "5.00000"),
        ("8", "7.50000"),
    ]


# Ends, and going on


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_a_killed_training_goes_on_from_its_last_checkpoint_to_the_same_generator(
    small: Small, whole: Path, tmp_path: Path, step: int
) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train(small(), folder, Told(at(step, kill)))
    told = Told()
    resume(folder, told)
    assert told.steps[0] == (step - 1) // 3 * 3 + 1
    assert same(folder, whole)
    assert losses(folder) == losses(whole)


@pytest.mark.parametrize("step", [4, 6])
def test_an_interrupted_training_goes_on_where_it_was_to_the_same_generator(
    small: Small, whole: Path, tmp_path: Path, step: int
) -> None:
    folder = tmp_path / "interrupted"
    stopped(small(), folder, step)
    told = Told()
    resume(folder, told)
    assert told.steps[0] == step + 1
    assert same(folder, whole)
    steps = [int(row["step"]) for row in losses(folder)]
    assert steps == sorted({3, 6, 8, step})


def test_a_training_may_be_interrupted_again_and_again(small: Small, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "often"
    with pytest.raises(Killed):
        train(small(), folder, Told(at(2, kill)))
    told = Told(stop_at=1)
    with pytest.raises(Interrupted):
        resume(folder, told, stop=told.stop)
    for step in (3, 7):
        with pytest.raises(Killed):
            resume(folder, Told(at(step, kill)))
    resume(folder, Told())
    assert same(folder, whole)
    assert [row["step"] for row in losses(folder)] == ["1", "3", "6", "8"]


def in_the_fifth_step(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Between the discriminator's update and the generator's."""
    original = Trainer._losses

    def interrupted(self: Trainer, *values: Any) -> Any:
        if float(self.adam_d.state_dict()["state"][0]["step"]) == 5:
            what()
        return original(self, *values)

    monkeypatch.setattr(Trainer, "_losses", interrupted)


def test_a_step_is_finished_before_a_stop_ends_the_training(
    small: Small, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    with monkeypatch.context() as patch:
        in_the_fifth_step(patch, asked.set)
        with pytest.raises(Interrupted, match="after step 5 of 8"):
            train(small(), tmp_path / "run", stop=asked.is_set)
    told = Told()
    resume(tmp_path / "run", told)
    assert told.steps[0] == 6
    assert same(tmp_path / "run", whole)


def test_an_end_in_the_middle_of_a_step_saves_no_half_of_it(
    small: Small, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        in_the_fifth_step(patch, kill)
        with pytest.raises(Killed):
            train(small(), tmp_path / "run")
    told = Told()
    resume(tmp_path / "run", told)
    assert told.steps[0] == 4
    assert same(tmp_path / "run", whole)


def test_a_stop_ends_the_preparation_too_and_the_training_goes_on_to_the_same_generator(
    small: Small, whole: Path, tmp_path: Path
) -> None:
    told = Told()
    with pytest.raises(Interrupted, match="while encoding training images"):
        train(small(), tmp_path / "run", told, stop=lambda: "checking validation images" in told.stages)
    assert not (tmp_path / "run" / "projection.safetensors").exists()
    resume(tmp_path / "run")
    assert same(tmp_path / "run", whole)


def test_no_signal_is_handled(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("a library leaves signals alone"))
    assert train(small(steps=1), tmp_path / "run").exists()


def test_a_kill_while_it_is_measured_costs_no_step(
    small: Small, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "measure", lambda *_: kill())
        with pytest.raises(Killed):
            train(small(), tmp_path / "run", Told())
    told = Told()
    resume(tmp_path / "run", told)
    assert told.steps == []
    assert same(tmp_path / "run", whole)


def test_a_finished_training_only_names_its_file(whole: Path) -> None:
    told = Told()
    before = {path: path.read_bytes() for path in whole.iterdir()}
    assert resume(whole, told) == whole / "tiny.safetensors"
    assert told.stages == []
    assert {path: path.read_bytes() for path in whole.iterdir()} == before


def test_the_projection_is_fitted_once(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed):
        train(small(), tmp_path / "run", Told(at(1, kill)))
    monkeypatch.setattr(training_run, "fit", lambda *_: kill())
    told = Told(stop_at=2)
    with pytest.raises(Interrupted):
        resume(tmp_path / "run", told, stop=told.stop)


def test_a_training_goes_on_from_another_folder(
    small: Small, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    monkeypatch.chdir(pictures.parent)
    with pytest.raises(Killed):
        train(small(images=pictures.name), tmp_path / "run", Told(at(4, kill)))
    monkeypatch.chdir(tmp_path)
    resume(tmp_path / "run", Told())
    assert same(tmp_path / "run", whole)


def test_only_one_process_trains_in_a_folder(small: Small, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        train(small(), folder, Told(at(4, kill)))
    lock = locked(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    told = Told()
    with pytest.raises(StoreBusy, match="in use by a running experiment"):
        resume(folder, told)
    assert told.stages == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    lock.release()
    with pytest.raises(StoreBusy):
        resume(folder, Told(lambda step: locked(folder) and None))
    resume(folder, Told())
    locked(folder).release()


# What has changed since


def killed(small: Small, folder: Path) -> None:
    with pytest.raises(Killed):
        train(small(), folder, Told(at(4, kill)))


def unresumable(folder: Path, message: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match=message) as error:
        resume(folder, Told())
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("dimensions = 8", "dimensions = 7", "projection.safetensors is of another recipe"),
        ("grid = 2", "grid = 1", "the encoder is not what"),
        ('layer = "conv3"', 'layer = "conv2"', "the encoder is not what"),
        ("channels = [\n    8,\n    8,", "channels = [\n    8,\n    6,", "another architecture: generator"),
        ("refined = [\n    1,", "refined = [\n    0,", "another architecture: generator"),
        ('"conv1"', '"conv2"', "another architecture: discriminator"),
        ('network"', 'other_weights"', "the encoder is not what"),
        ("image_size_px = 16", "image_size_px = 32", "the sizes are not what"),
        ("steps = 8", "steps = 9", "recipe.toml is not the recipe that the training was begun with"),
        ("seed = 0", "seed = 1", "recipe.toml is not the recipe that the training was begun with"),
        ("steps = 8", "stepps = 8", "unknown key"),
        ("steps = 8", "steps =", "not TOML"),
    ],
)
def test_another_recipe_does_not_go_on_with_a_checkpoint(
    small: Small, tmp_path: Path, before: str, after: str, message: str
) -> None:
    folder = tmp_path / "run"
    killed(small, folder)
    path = folder / "recipe.toml"
    assert path.read_text().count(before) == 1 or "network" in before
    path.write_text(path.read_text().replace(before, after, 1))
    unresumable(folder, message)


def test_a_checkpoint_that_cannot_be_read_is_said_and_can_be_left_out(
    small: Small, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    killed(small, folder)
    for name in (folders.CHECKPOINT, folders.PROJECTION):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        unresumable(folder, f"{name} cannot be read .*; delete it")
        (folder / name).unlink()
    resume(folder, Told())
    assert same(folder, whole)
    assert losses(folder) == losses(whole)


@pytest.mark.parametrize("name", ["training-pixels.npy", "training-features.npy"])
def test_what_was_deleted_is_prepared_again(small: Small, whole: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    killed(small, folder)
    (folder / name).unlink()
    resume(folder, Told())
    assert same(folder, whole)
    assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_the_recipe_in_the_folder_has_every_default(small: Small, whole: Path) -> None:
    recipe = Recipe.read(whole / folders.RECIPE)
    missing = [key for key, value in recipe if value is None]
    assert missing == []


def test_a_generator_file_is_no_checkpoint(small: Small, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed(small, folder)
    (folder / folders.CHECKPOINT).write_bytes((whole / "tiny.safetensors").read_bytes())
    unresumable(folder, "another architecture")


# A full disk


class FullDisk:
    """No room for files whose names begin so, from the n-th on; what fits in is half of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, after: int = 0) -> None:
        self.left = after
        whole = Path.write_bytes

        def write(path: Path, data: bytes) -> int:
            if path.name.startswith(name):
                self.left -= 1
                if self.left < 0:
                    whole(path, data[: len(data) // 2])
                    raise OSError(errno.ENOSPC, "No space left on device")
            return whole(path, data)

        monkeypatch.setattr(Path, "write_bytes", write)


@pytest.mark.parametrize(
    ("name", "after", "goes_on_at"),
    [
        ("projection", 0, 1),
        ("losses", 1, 4),
        ("checkpoint", 1, 4),
        ("sheet", 0, 5),
        ("sheet", 1, None),
        ("tiny", 0, None),
    ],
)
def test_a_full_disk_is_one_line_and_nothing_is_lost(
    small: Small,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: int,
    goes_on_at: int | None,
) -> None:
    folder = tmp_path / "run"
    recipe = small(sheet_every=4, checkpoint_every=3 if name != "sheet" else 4)
    with monkeypatch.context() as patch:
        FullDisk(patch, name, after)
        with pytest.raises(BadInput, match=r"No space left on device; make room") as error:
            train(recipe, folder, Told())
    assert "\n" not in str(error.value)
    assert not list(folder.glob("*.partial"))
    told = Told()
    resume(folder, told)
    assert (told.steps or [None])[0] == goes_on_at
    assert same(folder, whole)
    if recipe.checkpoint_every == 3:
        assert losses(folder) == losses(whole)
    assert sorted(path.name for path in folder.glob("*.png")) == ["sheet-000004.png", "sheet-000008.png"]


def test_a_disk_full_from_the_start_leaves_a_folder_to_begin_in(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        FullDisk(patch, "recipe")
        with pytest.raises(BadInput, match=r"No space left on device; make room$"):
            train(small(), folder, Told())
    assert train(small(), folder, Told()).exists()


# What is refused before a folder is made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ()}, "no images to train with"),
        ({"images": "nowhere"}, "nowhere"),
        ({"validation": "nowhere"}, "nowhere"),
        ({"dimensions": 11}, "40 training images are too few for this code, which needs at least 44"),
        ({"dimensions": 65}, "65 numbers is more than the 64 features"),
        ({"network": "python:tiny_encoder:none"}, "none"),
        ({"network": "efficientnet-lite9"}, "efficientnet-lite9"),
        ({"layer": ""}, "no layer of python:tiny_encoder:network is named"),
        ({"layer": "conv9"}, "'conv9' does not exist"),
        ({"layer": "scores"}, "no positions"),
        ({"layer": "grey"}, "one channel"),
        ({"grid": 5}, "a grid of at most 4"),
        ({"encoder_size_px": 16, "grid": 4}, "2 x 2 positions at 16 px"),
        ({"network": "python:tiny_encoder:outputs_only", "layer": "x"}, "outputs only"),
        ({"feature_layers": ("conv1", "conv9")}, "'conv9' does not exist"),
        ({"feature_layers": ("conv1", "scores")}, "feature layer 'scores' .* no positions"),
        ({"channels": (8, 8)}, r"channels \[8, 8\] .* are not 3 numbers each"),
        ({"refined": (0, 0, 0, 0)}, "are not 3 numbers each"),
        ({"channels": (8, 0, 4)}, "no such up-convolution network"),
        ({"refined": (0, 0, -1)}, "no such up-convolution network"),
        ({"name": "checkpoint"}, "'checkpoint' is that of another file"),
        ({"name": "projection"}, "'projection' is that of another file"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_what_cannot_work_is_known_before_a_folder_is_made(
    small: Small, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as error:
        train(small(**changes), tmp_path / "a" / "run", Told())
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_damaged_image_is_named_before_a_folder_is_made(
    small: Small, tmp_path: Path, pictures: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    content = (pictures / "00.png").read_bytes()
    (mine / "torn.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"'torn.png'"):
        train(small(images=(str(pictures), str(mine))), tmp_path / "run", Told())
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_with_other_things_in_it_is_not_trained_in(
    small: Small, tmp_path: Path, whole: Path
) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(BadInput, match="is not empty; give a new one"):
        train(small(), tmp_path, Told())
    with pytest.raises(BadInput, match=r"already holds a training with another recipe \(seed\); .*--resume"):
        train(small(seed=77), whole, Told())
    with pytest.raises(StoreError, match="cannot be made"):
        train(small(), tmp_path / "notes", Told())
    with pytest.raises(BadInput, match=r"recipe .*recipe.toml' cannot be read"):
        resume(tmp_path, Told())


def test_a_diverging_training_ends_with_its_last_checkpoint(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.step

    def step(self: Trainer, number: int, *values: Any) -> dict[str, float]:
        found = original(self, number, *values)
        return found if number < 4 else found | {"code": float("nan")}

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(BadInput, match=r"diverged at step 4: .*code nan.*; begin anew"):
        train(small(), tmp_path / "run", Told())
    with safetensors.safe_open(tmp_path / "run" / folders.CHECKPOINT, "pt") as file:
        assert file.metadata()["step"] == "3"


# Other encoders


def test_few_images_are_enough_for_few_dimensions(small: Small, tmp_path: Path, pictures: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for number in range(8):
        (few / f"{number}.png").write_bytes((pictures / f"{number:02d}.png").read_bytes())
    recipe = small(images=str(few), dimensions=2, random_share=0.0, steps=2)
    assert open_file(train(recipe, tmp_path / "run", Told())).code_shape == (2,)


def test_a_network_of_any_size_is_shown_images_of_224_px(small: Small, tmp_path: Path) -> None:
    recipe = small(network="python:tiny_encoder:module", steps=1)
    assert read_card(train(recipe, tmp_path / "run", Told()))["encoder"]["size_px"] == 224


@pytest.mark.parametrize(
    ("network", "layer"),
    [("python:tiny_encoder:squeezenet", "fire8"), ("efficientnet-lite0", "_blocks.14")],
)
def test_the_networks_that_come_with_it_are_encoders(
    small: Small, tmp_path: Path, network: str, layer: str
) -> None:
    """SqueezeNet with random weights, for its own may not be here."""
    sizes: dict[str, Any] = {"encoder_size_px": 64, "image_size_px": 32, "channels": (8, 8, 4, 4)}
    sizes["feature_layers"] = None
    recipe = small(network=network, layer=layer, refined=(0, 0, 0, 0), steps=1, **sizes)
    generator = open_file(train(recipe, tmp_path / "run", Told()))
    assert generator.image_size_px == 32
    assert generator.invert(torch.rand(2, 3, 32, 32)).shape == (2, 8)


def test_the_default_layers_exist_with_positions() -> None:
    for name, layer in ENCODER_LAYERS.items():
        network = networks.load(name, random_weights=0)
        assert grid_reader(network, layer, 128, 4).channels > 100
        assert FeatureMaps(network, training_run.default_layers(network, 64), 64, CPU).channels


# The sheet


def test_a_sheet_shows_originals_reconstructions_and_random_codes(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    kinds: dict[str, torch.Tensor] = {}

    def noting(given: list[tuple[str, torch.Tensor]]) -> bytes:
        kinds.update(given)
        return sheet(given)

    monkeypatch.setattr(training_run, "sheet", noting)
    train(small(steps=1), tmp_path / "run", Told())
    assert list(kinds) == ["originals", "reconstructions", "random codes"]
    shown = references.load(str(pictures)).images(range(0, 32, 2), 16)  # 16 of the 40
    assert torch.equal(quantise(kinds["originals"]), shown)
    generator = open_file(tmp_path / "run" / "tiny.safetensors")
    made = generator(generator.invert(shown / 255.0))
    torch.testing.assert_close(kinds["reconstructions"], made, atol=5e-3, rtol=0)
    assert kinds["random codes"].shape == (16, 3, 16, 16)
    with Image.open(tmp_path / "run" / "sheet-000001.png") as page:
        assert page.width > 500
