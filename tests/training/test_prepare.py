"""Images seen by the encoder once, whatever interrupts it; and the projection that whitens their codes."""

import contextlib
import errno
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_encoder
from xdream.errors import BadInput
from xdream.experiment.callbacks import Callback, NoCallback
from xdream.generators.projection import GridReader, grid_reader
from xdream.images import references
from xdream.training import prepare as preparing
from xdream.training.prepare import Pictures, find, fit, prepare, project

SIZE = 16


QUIET = NoCallback()


class Killed(BaseException):
    """Not an error that anything handles."""


class Killer(NoCallback):
    """Ends the encoding when it is told of it for the n-th time."""

    def __init__(self, at: int) -> None:
        self.left = at

    def stage(self, name: str, done: int, total: int) -> None:
        if name.startswith("encoding"):
            if not self.left:
                raise Killed
            self.left -= 1


class Seen(NoCallback):
    """Remembers how far it was."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.done.append(done)


@pytest.fixture
def encoder() -> GridReader:
    return grid_reader(tiny_encoder.network(), "conv3", 32, 2)


def prepared(source: Path, encoder: GridReader, folder: Path, callback: Callback = QUIET) -> Pictures:
    found = find("training", [str(source)], NoCallback())
    return prepare("training", found, SIZE, encoder, folder, callback)


# Images


def test_images_are_decoded_at_the_generators_size_and_read_at_the_encoders(
    pictures: Path, tmp_path: Path, encoder: GridReader
) -> None:
    found = prepared(pictures, encoder, tmp_path)
    shown = references.load(str(pictures)).images(range(40), SIZE)
    assert len(found) == 40
    assert torch.equal(found.images(range(40)), shown)
    assert torch.equal(found.images([3, 1]), shown[[3, 1]])
    expected = encoder(shown / 255.0)
    assert found.features.dtype == np.float16
    np.testing.assert_allclose(found.features, expected, atol=1e-3, rtol=1e-3)


def test_several_places_are_one_list_in_their_order(
    pictures: Path, tmp_path: Path, encoder: GridReader
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (9, 9), (200, 100, 0)).save(other / "a.png")
    shutil.make_archive(str(tmp_path / "pictures"), "zip", pictures)
    found = find("training", [str(other), str(tmp_path / "pictures.zip")], NoCallback())
    both = prepare("training", found, SIZE, encoder, tmp_path, NoCallback())
    assert len(both) == 41
    assert both.images([0])[0, :, 8, 8].tolist() == [200, 100, 0]
    assert torch.equal(both.images(range(1, 41)), references.load(str(pictures)).images(range(40), SIZE))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_preparation_that_is_killed_at_any_batch_goes_on_to_equal_arrays(
    pictures: Path, tmp_path: Path, encoder: GridReader, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(preparing, "ENCODER_BATCH", batch)
    checked = find("training", [str(pictures)], NoCallback())
    expected = prepare("training", checked, SIZE, encoder, tmp_path, NoCallback())
    for at in range(0, -(-40 // batch) + 1, 2):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.raises(Killed):
            prepare("training", checked, SIZE, encoder, folder, Killer(at))
        found = prepare("training", checked, SIZE, encoder, folder, QUIET)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        np.testing.assert_array_equal(found.features, expected.features)
        assert found.digest == expected.digest


def test_what_was_written_down_is_not_encoded_again(
    pictures: Path, tmp_path: Path, encoder: GridReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "ENCODER_BATCH", 1)
    with pytest.raises(Killed):
        prepared(pictures, encoder, tmp_path, Killer(25))
    seen = Seen()
    prepared(pictures, encoder, tmp_path, seen)
    assert seen.done == list(range(20, 41))  # it is written down every 20 batches
    seen = Seen()
    prepared(pictures, encoder, tmp_path, seen)
    assert seen.done == [40]


def refused(folder: Path, source: Path, encoder: GridReader, message: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match=message) as error:
        prepared(source, encoder, folder)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_images_that_have_changed_are_refused(pictures: Path, tmp_path: Path, encoder: GridReader) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "folder"
    shutil.copytree(pictures, mine)
    folder.mkdir()
    expected = prepared(mine, encoder, folder)
    Image.new("RGB", (9, 9)).save(mine / "07.png")
    refused(folder, mine, encoder, "the images are not what .*folder was begun with; put back")
    (mine / "07.png").unlink()
    refused(folder, mine, encoder, "the images are not what")
    shutil.copy(pictures / "07.png", mine)
    np.testing.assert_array_equal(prepared(mine, encoder, folder).features, expected.features)


def test_an_encoder_that_has_changed_is_refused(pictures: Path, tmp_path: Path, encoder: GridReader) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    prepared(pictures, encoder, folder)
    for other in (
        grid_reader(tiny_encoder.other_weights(), "conv3", 32, 2),
        grid_reader(tiny_encoder.network(), "conv3", 64, 2),
    ):
        refused(folder, pictures, other, "the encoder is not what .*folder was begun with")


def test_an_array_of_another_size_is_refused(pictures: Path, tmp_path: Path, encoder: GridReader) -> None:
    np.save(tmp_path / "training-pixels.npy", np.zeros((3, 3, SIZE, SIZE), np.uint8))
    refused(tmp_path, pictures, encoder, r"training-pixels.npy has the shape \(3, 3, 16, 16\), not \(40,")
    (tmp_path / "training-pixels.npy").write_bytes(b"no array")
    refused(tmp_path, pictures, encoder, "training-pixels.npy cannot be read")


def test_features_beyond_half_precision_are_refused_wherever_they_are(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_encoder.network()
    network.module.get_parameter("conv3.bias")[0] = 1e5
    loud = grid_reader(network, "conv3", 32, 2)
    with pytest.raises(BadInput, match="layer 'conv3' gives values beyond half precision"):
        prepared(pictures, loud, tmp_path)


def test_no_images_are_no_pictures(tmp_path: Path, encoder: GridReader) -> None:
    assert find("validation", [], NoCallback()) == []
    assert len(prepare("validation", [], SIZE, encoder, tmp_path, NoCallback())) == 0
    assert not list(tmp_path.iterdir())


def test_too_few_images_are_counted(pictures: Path) -> None:
    assert len(find("training", [str(pictures)], NoCallback(), 40)) == 1
    with pytest.raises(BadInput, match=r"40 training images are too few .* at least 41 \(4 per dimension\)"):
        find("training", [str(pictures)], NoCallback(), 41)


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(BadInput, match=r"'notes.txt' \(not an image"):
        find("training", [str(tmp_path)], NoCallback())
    with pytest.raises(BadInput, match="nowhere"):
        find("training", [str(tmp_path / "nowhere")], NoCallback())


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk without room for more than that in a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_room_that_is_missing_is_known_before_an_image_is_encoded(
    pictures: Path, tmp_path: Path, encoder: GridReader
) -> None:
    """A mapped file takes its room only when it is written to, and a full disk then ends the process."""
    found = find("training", [str(pictures)], NoCallback())
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large") as error:
        prepare("training", found, SIZE, encoder, tmp_path, NoCallback())
    assert error.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
    assert len(prepared(pictures, encoder, tmp_path)) == 40


# The projection


@pytest.fixture
def features() -> np.ndarray:
    """(300, 12) float16 around a mean, in directions of their own with unlike variances."""
    rng = np.random.default_rng(3)
    turned = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    scaled = rng.normal(size=(300, 12)) * np.linspace(5.0, 0.5, 12)
    return (scaled @ turned + rng.normal(size=12) * 3.0).astype(np.float16)


def test_the_code_is_that_of_an_exact_eigendecomposition(features: np.ndarray) -> None:
    exact = features.astype(np.float64)
    mean = exact.mean(0)
    variance, axes = np.linalg.eigh((exact - mean).T @ (exact - mean) / len(exact))
    order = np.argsort(variance)[::-1][:5]
    variance, axes = variance[order], axes[:, order]
    largest = np.abs(axes).argmax(0)
    axes = axes * np.sign(axes[largest, range(5)])  # the largest weight of each is positive
    projection = fit(features, 5, 0, NoCallback())
    np.testing.assert_allclose(projection.mean, mean, atol=1e-4)
    np.testing.assert_allclose(projection.matrix, (axes / np.sqrt(variance)).T, atol=1e-4)
    codes = project(features, projection)
    np.testing.assert_allclose(codes, (exact - mean) @ axes / np.sqrt(variance), atol=1e-3)


def test_codes_are_white(features: np.ndarray) -> None:
    codes = project(features, fit(features, 5, 0, NoCallback())).double().numpy()
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(codes.T @ codes / len(codes), np.eye(5), atol=1e-3)


def test_many_rows_and_columns_need_no_exact_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    """More features than axes are kept in the iteration, more rows than are multiplied at a time."""
    monkeypatch.setattr(preparing, "ROWS", 64)
    rng = np.random.default_rng(4)
    spread = 0.9 ** np.arange(200)
    turned = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    wide = ((rng.normal(size=(500, 200)) * spread) @ turned).astype(np.float16)
    exact = wide.astype(np.float64)
    centred = exact - exact.mean(0)
    variance = np.linalg.eigvalsh(centred.T @ centred / len(exact))[::-1][:10]
    projection = fit(wide, 10, 0, NoCallback())
    np.testing.assert_allclose(1 / projection.matrix.norm(dim=1).square(), variance, rtol=1e-3)
    codes = project(wide, projection).double().numpy()
    np.testing.assert_allclose(codes.T @ codes / len(codes), np.eye(10), atol=2e-3)


def test_the_axes_do_not_depend_on_the_draw_they_begin_with(features: np.ndarray) -> None:
    before = torch.random.get_rng_state()
    one, other = (fit(features, 5, seed, NoCallback()) for seed in (0, 1))
    torch.testing.assert_close(one.matrix, other.matrix, atol=1e-4, rtol=0)
    assert torch.equal(fit(features, 5, 0, NoCallback()).matrix, one.matrix)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_images_that_differ_too_little_are_refused(features: np.ndarray) -> None:
    flat = features.copy()
    flat[:, 3:] = 1.0
    assert fit(flat, 3, 0, NoCallback()).matrix.shape == (3, 12)
    with pytest.raises(BadInput, match="differ in fewer than 4 ways"):
        fit(flat, 4, 0, NoCallback())
    with pytest.raises(BadInput, match="differ in fewer than 2 ways"):
        fit(np.ones((50, 12), np.float16), 2, 0, NoCallback())


def test_a_layer_that_hardly_differs_between_images_is_refused_before_the_training() -> None:
    """The generator's file keeps the projection in half precision."""
    small = (1e-6 * np.random.default_rng(5).normal(size=(50, 12))).astype(np.float16)
    with pytest.raises(BadInput, match=r"differs between images by 1\.\de-06 at most, too little for half"):
        fit(small, 2, 0, NoCallback())
