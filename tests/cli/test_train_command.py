"""`xdream train-generator`: what is typed, what comes out, how it ends and goes on."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tiny_encoder
from xdream.cli.main import main
from xdream.store import locked
from xdream.training import training_run
from xdream.training.recipe import Recipe
from xdream.training.trainer import Trainer

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def blank_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sheets take longer than the training."""
    monkeypatch.setattr(training_run, "sheet", lambda kinds: b"a sheet")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path, images: Path) -> Run:
    """`train-generator` with flags for a training of a second, into `out` unless told otherwise."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "tiny"\nimages = "{images}"\nnetwork = "{tiny_encoder.NAME}"\nlayer = "conv3"\ngrid = 2\n'
        "dimensions = 4\nimage_size_px = 16\nchannels = [8, 4, 4]\nrefined = [0, 0, 0]\nbatch = 4\n"
        "steps = 5\n"
        "[losses]\nimage = 3.0\n"
    )

    def call(*flags: object) -> int:
        out = [] if "--out" in flags else ["--out", str(tmp_path / "out")]
        return main(["train-generator", str(recipe), *map(str, flags), *out])

    return call


def written(folder: Path) -> Recipe:
    return Recipe.read(folder / "recipe.toml")


def refused(capsys: pytest.CaptureFixture[str], status: int, *words: object) -> None:
    error = capsys.readouterr().err.strip()
    lines = [line for line in error.replace("\r", "\n").splitlines() if line.startswith("xdream: ")]
    assert status == 2, error
    assert error.endswith(lines[0])
    assert len(lines) == 1, error
    for word in words:
        assert str(word) in lines[0], error


def test_a_training_prints_its_file_and_how_it_is_used(
    run: Run, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--validation", images, "--json", "--quiet") == 0
    captured = capsys.readouterr()
    *lines, last = captured.out.splitlines()
    file = tmp_path / "out" / "tiny.safetensors"
    assert lines[0].startswith(f"generator: {file} (images 20, pixel_error 0.")
    assert f"--generator {file}" in lines[1]
    card = json.loads(last)
    assert card["generator"] == str(file)
    assert card["metrics"]["images"] == 20
    assert captured.err == ""
    target = ["--target", "known:linear::0", "--presentations", "20", "--quiet", "--no-figures"]
    assert main(["evolve", *target, "--generator", str(file), "--out", str(tmp_path / "evolved")]) == 0


def test_the_bar_shows_every_loss(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    error = capsys.readouterr().err
    for words in ("encoding training images", "training: 100%", "5/5", "loss ", "image ", "adversarial "):
        assert words in error


def test_flags_are_laid_over_the_recipe(run: Run, tmp_path: Path, images: Path) -> None:
    flags = ["--name", "mine", "--steps", 2, "--seed", 9, "--batch", 8, "--dimensions", 3, "--quiet"]
    sets = ["--set", "losses.adversarial=0.3", "--set", "grid=1", "--set", 'feature_layers=["conv1"]']
    assert run(*flags, *sets) == 0
    recipe = written(tmp_path / "out")
    assert (recipe.name, recipe.steps, recipe.seed, recipe.batch) == ("mine", 2, 9, 8)
    assert (recipe.dimensions, recipe.grid, recipe.feature_layers) == (3, 1, ("conv1",))
    assert (recipe.losses.adversarial, recipe.losses.image) == (0.3, 3.0)
    assert (recipe.layer, recipe.images) == ("conv3", (str(images),))
    assert (tmp_path / "out" / "mine.safetensors").exists()


def test_several_places_of_images_may_be_given(run: Run, tmp_path: Path, images: Path) -> None:
    assert run("--images", images, "--images", images, "--steps", 1, "--quiet") == 0
    assert written(tmp_path / "out").images == (str(images), str(images))


def test_without_a_recipe_flags_do_and_the_folder_has_the_generators_name(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--images", "images", "--network", tiny_encoder.NAME, "--layer", "conv3", "--quiet"]
    sizes = ["--dimensions", "4", "--image-size", "16", "--batch", "4", "--steps", "1", "--name", "mine"]
    assert main(["train-generator", *flags, *sizes, "--precision", "bfloat16", "--device", "cpu"]) == 0
    recipe = written(tmp_path / "generators" / "mine")
    assert (recipe.precision, recipe.device, recipe.image_size_px) == ("bfloat16", "cpu", 16)
    assert recipe.images == (str(images),)
    assert (tmp_path / "generators" / "mine" / "mine.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "0"], ["steps", "0"]),
        (["--image-size", "48"], ["image_size_px", "48", "64"]),
        (["--set", "losses.colour=1"], ["losses.colour", "unknown key"]),
        (["--set", "lossess.image=1"], ["lossess", "losses"]),
        (["--set", "steps"], ["--set 'steps'", "KEY=VALUE"]),
        (["--set", "=3"], ["--set '=3'", "KEY=VALUE"]),
        (["--set", "a.b.c=3"], ["a.b.c", "KEY=VALUE"]),
        (["--steps", "3", "--set", "steps.x=1"], ["steps.x=1", "steps has no keys of its own"]),
        (["--set", "batch=many"], ["batch", "many"]),
        (["--dimensions", "6"], ["20 training images", "24"]),
        (["--layer", "scores"], ["scores", "no positions"]),
        (["--layer", "grey"], ["grey", "one channel"]),
        (["--images", "nowhere"], ["nowhere"]),
        (["--device", "abacus"], ["abacus", "cpu"]),
        (["--network", "python:tiny_encoder:nothing"], ["nothing", "network"]),
        (["--resume", "somewhere"], ["--resume", "leave out the other flags"]),
    ],
)
def test_what_is_mistyped_is_one_line_and_leaves_no_folder(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    refused(capsys, run(*flags, "--quiet"), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags", [["--steps", "3"], ["--set", "grid=1"], ["--out", "x"], ["--images", "x"], ["--name", "x"]]
)
def test_resume_takes_no_other_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    status = main(["train-generator", "--resume", str(tmp_path), *flags])
    refused(capsys, status, "--resume", "leave out the other flags")


def test_a_folder_without_a_training_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, main(["train-generator", "--resume", str(tmp_path)]), "recipe.toml", "cannot be read")


def test_an_unreadable_image_is_named(run: Run, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "notes.txt").write_text("no image")
    refused(capsys, run("--quiet"), "notes.txt", "not an image")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_prints_how_to_go_on(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    original = Trainer._keep_average

    def interrupted(self: Trainer, step: int) -> None:
        original(self, step)
        if step == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_keep_average", interrupted)
        assert run("--quiet") == 130
    out = tmp_path / "out"
    how = f"xdream train-generator --resume {out}"
    assert capsys.readouterr().err == f"xdream: interrupted; continue with: {how}\n"
    seen: list[int] = []
    monkeypatch.setattr(
        Trainer, "_keep_average", lambda self, step: (seen.append(step), original(self, step))[1]
    )
    assert main([*how.split()[1:], "--quiet"]) == 0
    assert seen == [3, 4]
    first = capsys.readouterr().out
    assert main([*how.split()[1:], "--quiet"]) == 0  # finished: it only prints its result
    assert capsys.readouterr().out == first
    assert run("--quiet") == 0  # the same command is the same training
    assert capsys.readouterr().out == first
    refused(
        capsys, run("--quiet", "--seed", "77"), "already holds a training with another recipe", "--resume"
    )


def test_an_interruption_before_the_folder_names_none(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_run, "find", interrupted)
    assert run("--quiet") == 130
    assert capsys.readouterr().err == "xdream: interrupted\n"


def test_an_ignored_signal_stays_ignored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in the background of a shell is not to be interrupted."""
    original = Trainer._keep_average

    def interrupted(self: Trainer, step: int) -> None:
        original(self, step)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_keep_average", interrupted)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run("--quiet") == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_training_at_the_same_time_is_refused_as_in_use(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    seen: list[str] = []

    def second(*_: object) -> dict[str, object]:
        """While the first looks for its images, another begins and is under way."""
        out.mkdir()
        (out / "losses.csv").write_text("of the other")
        lock = locked(out)
        assert run() == 2
        lock.release()
        seen.append(capsys.readouterr().err)
        (out / "recipe.toml").write_text("of the other")
        return {}

    monkeypatch.setattr(training_run, "_find", second)
    assert run() == 2  # what the other has begun is not written over
    assert "is in use" in seen[0]
    refused(capsys, 2, "is not empty", "go on with --resume")
    assert (out / "recipe.toml").read_text() == "of the other"
