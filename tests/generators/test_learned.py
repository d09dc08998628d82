"""Generator files: written and read back, damaged in every way, used from every door."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

import tiny_encoder
import xdream
from xdream import networks
from xdream.cli.main import main
from xdream.errors import BadInput, UnknownName, WeightsInvalid, WeightsMissing
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.defaults import hyperparameters
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS, GaussianCodes, encode, learned
from xdream.generators.base import Generator, Invertible
from xdream.generators.cards import installed, lines
from xdream.generators.learned import open_file, read_card, write
from xdream.generators.projection import EncoderSpec, Projection
from xdream.networks.up_architecture import UpArchitecture
from xdream.networks.upconv import UpConv
from xdream.store import Record
from xdream.testing import check_generator

DIM, SIZE, FEATURES = 6, 8, 48
ARCHITECTURE = UpArchitecture(DIM, (5, 4), (1, 0))


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module(seed: int = 0) -> UpConv:
    made = UpConv(ARCHITECTURE, normalised=False)
    made.draw_weights(seed)
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.add_(0.1 * normals(*parameter.shape, seed=number))
    return made.eval().requires_grad_(False)


def spec(**changes: Any) -> EncoderSpec:
    fingerprint = networks.fingerprint(tiny_encoder.network().module)
    return replace(EncoderSpec(tiny_encoder.NAME, "conv2", 32, 2, fingerprint), **changes)


PROJECTION = Projection(normals(FEATURES, seed=1), 0.1 * normals(DIM, FEATURES, seed=2))
STATISTICS = GaussianCodes(0.1 * normals(DIM, seed=3), normals(DIM, seed=4).abs() + 0.5)
ABOUT = {"name": "tiny", "provenance": {"images": 3}, "metrics": {"pixel_error": 0.25}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    write(path, module(), spec(), PROJECTION, STATISTICS, ABOUT)
    return path


def images(n: int, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


# A file, written and read


def test_a_generator_comes_back_from_its_file_in_half_precision(file: Path) -> None:
    generator = open_file(file)
    rounded = module()
    rounded.load_state_dict({key: value.half().float() for key, value in rounded.state_dict().items()})
    codes = normals(4, DIM, seed=5)
    torch.testing.assert_close(generator(codes), rounded(codes), atol=1e-6, rtol=0)
    torch.testing.assert_close(generator(codes), module()(codes), atol=5e-3, rtol=0)
    assert not torch.equal(generator(codes), module()(codes))
    for found, wanted in [
        (generator.projection.mean, PROJECTION.mean),
        (generator.projection.matrix, PROJECTION.matrix),
        (generator.initial.mean, STATISTICS.mean),
        (generator.initial.std, STATISTICS.std),
    ]:
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted.half().float())
    with safetensors.safe_open(file, "pt") as tensors:
        assert {tensors.get_tensor(key).dtype for key in tensors.keys()} == {torch.float16}  # noqa: SIM118


def test_it_is_a_generator_with_an_inverse_and_no_gradients_of_its_own(file: Path) -> None:
    generator: Generator = open_file(file, "mine")
    assert isinstance(generator, Invertible)
    assert (generator.name, generator.code_shape, generator.image_size_px) == ("mine", (DIM,), SIZE)
    assert generator.differentiable
    assert torch.equal(generator.centre, torch.zeros(DIM))
    assert generator.initial.floor is None
    assert generator.warnings == ()
    assert not generator(normals(1, DIM)).requires_grad
    assert generator(normals(1, DIM).requires_grad_(True)).requires_grad
    assert open_file(file).name == str(file)
    check_generator(GENERATORS.make(str(file)))


def test_the_card_says_what_was_written(file: Path) -> None:
    card = read_card(file)
    assert (card["format"], card["version"]) == ("xdream generator", 1)
    assert card["architecture"] == {"dim": DIM, "channels": [5, 4], "refined": [1, 0]}
    assert EncoderSpec(**card["encoder"]) == spec()
    assert {key: card[key] for key in ABOUT} == ABOUT
    assert open_file(file).card == card


def test_opening_a_file_draws_nothing_from_the_global_generator(file: Path) -> None:
    before = torch.random.get_rng_state()
    open_file(file)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_full_disk_leaves_the_file_that_was_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    whole = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        whole(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(BadInput, match=r"cannot write .*tiny.safetensors.*No space left"):
            write(file, module(1), spec(), PROJECTION, STATISTICS, ABOUT)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("bad", [70000.0, float("nan")])
def test_a_diverged_generator_is_not_written(tmp_path: Path, bad: float) -> None:
    diverged = module()
    diverged.to_rgb.weight[0, 0, 0, 0] = bad
    with pytest.raises(BadInput, match=r"'generator.to_rgb.weight' has values that half precision cannot"):
        write(tmp_path / "x.safetensors", diverged, spec(), PROJECTION, STATISTICS, ABOUT)
    assert not list(tmp_path.iterdir())


# Damaged files


def rewritten(file: Path, card: object = None, **tensors: torch.Tensor | None) -> None:
    """The file with another card (as JSON, or raw text), with tensors replaced or (None) left out."""
    kept = safetensors.torch.load_file(file)
    for name, tensor in tensors.items():
        kept.pop(name.replace("__", "."), None)
        if tensor is not None:
            kept[name.replace("__", ".")] = tensor
    text = card if isinstance(card, str) else json.dumps(card if card is not None else read_card(file))
    file.write_bytes(safetensors.torch.save(kept, {"xdream": text}))


def edited(**changes: object) -> Callable[[Path], None]:
    """Damage to the card: `part__key=value`, or `key=value`; ... leaves it out."""

    def damage(file: Path) -> None:
        card = read_card(file)
        for name, value in changes.items():
            *parts, last = name.split("__")
            inner = card[parts[0]] if parts else card
            inner[last] = value
            if value is ...:
                del inner[last]
        rewritten(file, card)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "truncated"),
        (lambda f: f.write_bytes(f.read_bytes()[:50]), "truncated"),
        (lambda f: f.write_bytes(b""), "is empty"),
        (lambda f: f.write_text("not a generator\n" * 50), "not safetensors"),
        (lambda f: (f.unlink(), f.mkdir()), "is not a file"),
        (lambda f: f.write_bytes(safetensors.torch.save({"x": torch.ones(2)})), "is no generator file"),
        (lambda f: rewritten(f, "{not json"), "cannot read generator file"),
        (lambda f: rewritten(f, "[1]"), "is no generator file"),
        (lambda f: rewritten(f, "3"), "is no generator file"),
        (edited(format="another"), "is no generator file"),
        (edited(architecture=...), "damaged card .*architecture"),
        (edited(architecture__channels=...), "damaged card .*channels"),
        (edited(architecture__channels=5), "damaged card"),
        (edited(architecture__channels=[5, "4"]), "damaged card"),
        (edited(architecture__refined=[1]), "damaged card .*no such up-convolution"),
        (edited(encoder=...), "damaged card .*encoder"),
        (edited(encoder__fingerprint=...), "damaged card .*fingerprint"),
        (edited(encoder__colour="red"), "damaged card .*colour"),
        (
            edited(architecture__dim=7),
            r"'generator.layers.0.weight' has the shape \(6, 5, 4, 4\), expected \(7,",
        ),
        (edited(architecture__channels=[2**20, 2**20]), "'generator.layers.0.weight' has the shape"),
        (lambda f: rewritten(f, codes__std=None), "no tensor 'codes.std'"),
        (lambda f: rewritten(f, encoder__mean=None), "no tensor 'encoder.mean'"),
        (lambda f: rewritten(f, encoder__mean=torch.ones(())), "'encoder.mean' has the shape"),
        (lambda f: rewritten(f, encoder__mean=torch.ones(47)), "'encoder.matrix' has the shape"),
        (lambda f: rewritten(f, codes__mean=torch.ones(5)), "'codes.mean' has the shape"),
        (lambda f: rewritten(f, more=torch.ones(5)), "unexpected tensor 'more'"),
        (
            lambda f: rewritten(f, generator__to_rgb__bias=torch.ones(4)),
            "'generator.to_rgb.bias' has the shape",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name(file: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(file)
    with pytest.raises(WeightsInvalid, match=message) as error:
        open_file(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_a_later_format_says_which_is_read(file: Path) -> None:
    edited(version=2)(file)
    with pytest.raises(BadInput, match="has the format 2; this XDream reads 1"):
        open_file(file)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"none.safetensors"):
        open_file(tmp_path / "none.safetensors")


# From images to codes


def test_the_code_of_an_image_is_what_the_encoder_reads(file: Path) -> None:
    generator = open_file(file)
    shown = images(3)
    features = spec().open()(shown)
    expected = (features - PROJECTION.mean.half()) @ PROJECTION.matrix.half().float().T
    torch.testing.assert_close(generator.invert(shown), expected, atol=1e-5, rtol=0)


def test_an_encoder_with_other_weights_is_refused_only_when_it_is_needed(file: Path) -> None:
    edited(encoder__network="python:tiny_encoder:other_weights")(file)
    generator = open_file(file)
    assert generator(normals(1, DIM)).shape == (1, 3, SIZE, SIZE)
    with pytest.raises(BadInput, match="has other weights"):
        generator.invert(images(1))


def test_an_encoder_that_does_not_fit_the_projection_is_refused(file: Path) -> None:
    edited(encoder__grid=3)(file)
    with pytest.raises(BadInput, match=r"gives 108 numbers, its projection takes 48.*damaged"):
        open_file(file).invert(images(1))


def test_images_are_encoded_by_the_inverse_unless_a_descent_is_asked_for(file: Path) -> None:
    generator = open_file(file)
    shown = images(3, 20)
    size = torch.nn.functional.interpolate(shown, (SIZE, SIZE), mode="bilinear", antialias=True)
    codes, losses = encode(generator, shown)
    torch.testing.assert_close(codes, generator.invert(size))
    assert torch.equal(codes, encode(generator, shown, method="ivt")[0])
    torch.testing.assert_close(losses, (generator(codes) - size).square().mean((1, 2, 3)))
    descended, smaller = encode(generator, shown, steps=50, method="opt")
    assert not torch.allclose(descended, codes)
    assert bool((smaller < losses).all())
    descended.mul_(2.0)  # codes are ordinary tensors, which optimizers may write into
    codes.mul_(2.0)


def test_it_moves_to_a_device_as_a_copy(file: Path) -> None:
    generator = open_file(file)
    moved = generator.to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved.module.state_dict().values()} == {"meta"}
    tensors = [moved.centre, moved.initial.mean, moved.initial.std, moved.projection.mean]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved(normals(2, DIM).to("meta")).shape == (2, 3, SIZE, SIZE)
    assert (moved.name, moved.card, moved.encoder) == (generator.name, generator.card, generator.encoder)
    assert generator(normals(2, DIM)).device.type == "cpu"


# By name


def test_a_path_makes_it_and_its_name_is_the_whole_path(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    for name in ("tiny.safetensors", "./tiny.safetensors", str(file)):
        assert GENERATORS.make(name).name == str(file)
    with pytest.raises(BadInput, match="no option 'size_px'; it takes: codes, radius"):
        GENERATORS.make("tiny.safetensors", size_px=64)
    with pytest.raises(WeightsMissing, match=r"other.safetensors"):
        GENERATORS.make("other.safetensors")


@pytest.fixture
def weights(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `file` as the one where weights are looked for."""
    monkeypatch.setenv("XDREAM_WEIGHTS", str(file.parent))
    return file.parent


def test_an_installed_file_goes_by_its_name(weights: Path) -> None:
    (weights / "fc6.safetensors").write_bytes(safetensors.torch.save({"x": torch.ones(2)}))
    (weights / "torn.safetensors").write_bytes((weights / "tiny.safetensors").read_bytes()[:99])
    (weights / "no-architecture.safetensors").write_bytes((weights / "tiny.safetensors").read_bytes())
    rewritten(
        weights / "no-architecture.safetensors", {"format": "xdream generator", "version": 1, "encoder": {}}
    )
    assert installed() == {"tiny": weights / "tiny.safetensors"}
    assert GENERATORS.make("tiny").name == "tiny"
    with pytest.raises(UnknownName, match="unknown generator 'tinny'"):
        GENERATORS.make("tinny")


def test_a_file_of_another_ending_is_no_generator(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"notes\.txt' is no generator file: their names end in \.safetensors"):
        GENERATORS.make(str(tmp_path / "notes.txt"))


def test_a_damaged_installed_file_says_what_is_wrong_with_it(weights: Path) -> None:
    path = weights / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "tiny" not in lines()
    with pytest.raises(WeightsInvalid, match=r"tiny\.safetensors: truncated or not safetensors"):
        GENERATORS.make("tiny")


def test_a_file_with_another_projection_is_another_generator(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    moved = Projection(PROJECTION.mean, PROJECTION.matrix * 2.0)
    write(other, module(), spec(), moved, STATISTICS, ABOUT)
    assert open_file(file).fingerprint != open_file(other).fingerprint
    assert networks.fingerprint(open_file(file).module) == networks.fingerprint(open_file(other).module)


def test_a_registered_name_is_that_of_the_registered_generator(weights: Path) -> None:
    (weights / "tiny.safetensors").rename(weights / "pixels.safetensors")
    assert installed() == {}
    assert GENERATORS.make("pixels").image_size_px == 64
    assert "pixels" not in lines()


def test_the_list_of_generators_tells_what_a_file_inverts(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (weights / "torn.safetensors").write_bytes(b"torn")
    assert main(["list", "generators", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("tiny")]
    for words in ("6 numbers", "8 px", "python:tiny_encoder:network:conv2", str(weights)):
        assert words in line
    assert json.loads(last)["generators"].count("tiny") == 1
    assert "torn" not in json.loads(last)["generators"]


def test_a_shipped_file_that_is_not_there_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(learned, "shipped_file", lambda: tmp_path / "none.safetensors")
    assert main(["list", "generators", "--json"]) == 0
    assert "natural-v1" in json.loads(capsys.readouterr().out.splitlines()[-1])["generators"]


def test_learned_generators_take_the_hyperparameters_of_the_shipped_one(weights: Path) -> None:
    for noisy in (False, True):
        shipped = hyperparameters("natural-v1", "genetic", noisy=noisy)
        assert shipped["heritability"] == 0.7
        assert hyperparameters("tiny", "genetic", noisy=noisy) == shipped
        assert hyperparameters("x.safetensors", "genetic", noisy=noisy) == shipped


# In an experiment


def plan(file: str, **changes: Any) -> Plan:
    values: dict[str, Any] = {"targets": "known:linear::0", "generator": file, "presentations": 40}
    return Plan.make(**{**values, **changes})


def test_a_plan_holds_the_whole_path_of_its_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    record = xdream.run(plan("tiny.safetensors"), tmp_path / "run")
    assert Plan.from_toml(record.facts["plan"]).generator.name == str(file)
    assert record.finished
    again = xdream.run(plan(str(file)), tmp_path / "again")
    np.testing.assert_array_equal(again.scores(0), record.scores(0))


def test_initial_codes_come_from_the_file(file: Path) -> None:
    evolution = xdream.Evolution(generator=str(file), optimizer="genetic", seed=2, population=500)
    batch = evolution.ask()
    assert batch.images.shape == (500, 3, SIZE, SIZE)
    np.testing.assert_allclose(batch.codes.mean(0), STATISTICS.mean, atol=0.25)
    np.testing.assert_allclose(batch.codes.std(0), STATISTICS.std, rtol=0.2)


def test_a_file_that_has_changed_is_refused_when_an_experiment_goes_on(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    class Killed(BaseException):
        pass

    class Killer(NoCallback):
        def best(self, score: float) -> None:
            raise Killed

    with pytest.raises(Killed):
        xdream.run(plan(str(file), presentations=100), folder, Killer())
    before = file.read_bytes()
    write(file, module(1), spec(), PROJECTION, STATISTICS, ABOUT)
    with pytest.raises(BadInput, match=r"the generator .*tiny.safetensors has changed since"):
        xdream.resume(folder)
    file.unlink()
    with pytest.raises(WeightsMissing, match=r"tiny.safetensors"):
        xdream.resume(folder)
    file.write_bytes(before)
    assert xdream.resume(folder).finished


def test_codes_encoded_with_a_file_are_initial_codes_with_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["encode", "photographs", "--generator", "tiny.safetensors", "--out", "codes.npz"]
    assert main(command) == 0
    record = xdream.run(
        plan("tiny.safetensors", optimizer="genetic", init="codes:codes.npz"), tmp_path / "run"
    )
    drawn, _ = record.chunk_codes(record.best_image(0, 0))
    encoded = np.load("codes.npz")["codes"]
    np.testing.assert_array_equal(drawn, encoded[np.arange(len(drawn)) % 7])
    shown = torch.stack(
        [torch.from_numpy(np.array(Image.open(photographs / f"{n}.png"))).permute(2, 0, 1) for n in range(7)]
    )
    size = torch.nn.functional.interpolate(shown / 255.0, (SIZE, SIZE), mode="bilinear", antialias=True)
    np.testing.assert_allclose(encoded, open_file(file).invert(size), atol=2e-2)
    assert main([*command, "--method", "opt", "--steps", "2"]) == 0
    assert not np.allclose(np.load("codes.npz")["codes"], encoded)


def test_images_to_start_from_are_encoded_by_the_inverse(
    file: Path, tmp_path: Path, photographs: Path
) -> None:
    record = xdream.run(plan(str(file), optimizer="genetic", init=f"images:{photographs}"), tmp_path / "run")
    assert Record(tmp_path / "run").finished
    drawn, _ = record.chunk_codes(record.best_image(0, 0))
    first = encode(
        open_file(file), xdream.images.references.load(str(photographs)).images([0], SIZE) / 255.0
    )[0]
    np.testing.assert_allclose(drawn[0], first[0], atol=1e-5)
