"""Reference images from every kind of file, and the statistics of their responses."""

import hashlib
import importlib.util
import io
import itertools
import math
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xdream.errors import BadInput
from xdream.images import references
from xdream.images.files import decoded_photograph
from xdream.images.references import expected_best, load, relative_activation
from xdream.images.resizing import resize


def noise(h: int = 6, w: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PNG = encoded(Image.fromarray(noise()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    (place / "b").mkdir(parents=True)
    for seed, name in enumerate(["c.png", "b/z.png", "b/a.png", "a.png"]):
        (place / name).write_bytes(encoded(Image.fromarray(noise(seed=seed))))
    return place


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


# Where images come from.


def test_a_folder_is_read_with_its_folders_in_the_order_of_the_paths(folder: Path) -> None:
    found = load(str(folder))
    assert found.names == ("a.png", "b/a.png", "b/z.png", "c.png")
    assert found.source == str(folder)
    assert len(found) == 4
    assert found.hashes[3] == hashlib.sha256((folder / "c.png").read_bytes()).hexdigest()


def test_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_bytes(b"x")
    assert len(load(str(folder))) == 4


#: As a NAS of Synology and of QNAP, Windows, macOS, and others leave a folder of photographs.
LEFT = [
    *("@eaDir/a.png/SYNOPHOTO_THUMB_XL.jpg", "b/@eaDir/a.png/SYNOPHOTO_THUMB_SM.jpg", "#recycle/old.png"),
    *("a.png@SynoEAStream", "#snapshot/a.png", ".@__thumb/s800a.png", "@Recycle/x.png", "~snapshot/a.png"),
    *("$RECYCLE.BIN/S-1-5-21/$R123.png", "RECYCLER/S-1-5-21/Dc1.png", "ehthumbs.db", "ehthumbs_vista.db"),
    *("System Volume Information/IndexerVolumeGuid", "Thumbs.db", "DESKTOP.INI", "a.png:Zone.Identifier"),
    *("__MACOSX/._a.png", "._a.png", ".DS_Store", "Icon\r", "Temporary Items/x.png", "Picasa.ini"),
    *("lost+found/x.png", ".Trash-1000/files/x.png", ".git/x.png"),
]


def test_what_systems_leave_is_no_photograph(folder: Path, tmp_path: Path) -> None:
    """It would be the best reference, or refuse the folder: each by itself, and all of it in a zip file."""
    photographs = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}
    for name in LEFT:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    found = load(str(folder))
    assert found.names == tuple(sorted(photographs))
    assert found.left_out >= len(LEFT) - 1  # a folder counts once
    archive = zipped(photographs | dict.fromkeys(LEFT, PNG) | {"x\\Thumbs.db": b"x"}, tmp_path / "p.zip")
    assert load(str(archive)).names == tuple(sorted(photographs))


def test_photographs_are_not_left_out_for_their_names(folder: Path) -> None:
    for name in ("recycler/a.png", "icon.png", "thumbs.png", "snapshot/x.png", "git/x.png", "@home.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(PNG)
    assert len(load(str(folder))) == 10
    assert load(str(folder)).left_out == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything can be read here")
def test_a_folder_of_the_system_that_may_not_be_read_is_no_reason(folder: Path) -> None:
    (folder / "lost+found").mkdir(mode=0o000)
    assert len(load(str(folder))) == 4


def test_what_systems_leave_alone_is_no_reference(tmp_path: Path) -> None:
    (tmp_path / "Thumbs.db").write_bytes(PNG)
    with pytest.raises(BadInput, match=r"empty \(1 files and folders that systems leave were passed over\)"):
        load(str(tmp_path))


def test_a_zip_file_holds_the_same_images_as_the_folder_it_was_made_of(folder: Path, tmp_path: Path) -> None:
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}
    path = zipped({"b/": b"", "__MACOSX/b/a.png": b"x", "b/.a": b"x", **files}, tmp_path / "photos.zip")
    from_zip, from_folder = load(str(path)), load(str(folder))
    assert from_zip.names == from_folder.names
    assert from_zip.hashes == from_folder.hashes
    assert torch.equal(from_zip.images([2, 0], 8), from_folder.images([2, 0], 8))


def test_the_photographs_in_scikit_image_are_found_by_that_word() -> None:
    found = load("scikit-image")
    assert {"astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"} <= set(found.names)
    assert found.names == references.SCIKIT_IMAGE_PHOTOGRAPHS
    images = found.images(range(len(found)), 32)
    assert images.shape == (len(found), 3, 32, 32)
    assert images.dtype == torch.uint8
    assert (images.float().std((1, 2, 3)) > 5).all()


def test_without_scikit_image_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install xdream\[demo\]"):
        load("scikit-image")


# How they are decoded.


def test_images_are_resized_whole_like_a_networks_input(folder: Path) -> None:
    shown = load(str(folder)).images([0, 3], 4)
    whole = torch.from_numpy(noise(seed=3)).permute(2, 0, 1)[None].float()
    expected = resize(whole, (4, 4)).round().to(torch.uint8)[0]
    assert shown.shape == (2, 3, 4, 4)
    assert (shown[0].int() - expected.int()).abs().max() <= 1
    assert (shown[0] == expected).float().mean() > 0.95


def test_an_image_of_the_size_asked_for_keeps_every_value(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(noise(16, 16))))
    shown = load(str(tmp_path)).images([0], 16)
    assert np.array_equal(shown[0].permute(1, 2, 0).numpy(), noise(16, 16))


def test_grey_becomes_three_equal_channels() -> None:
    grey = noise()[..., 0]
    x = decoded_photograph(encoded(Image.fromarray(grey)))
    assert x.shape == (3, 6, 9)
    assert all(np.array_equal(channel.numpy(), grey) for channel in x)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_become_eight_by_scaling_not_by_clipping(kind: str) -> None:
    grey = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    x = decoded_photograph(encoded(Image.fromarray(grey), kind))
    assert x[0].tolist() == [[0, 0, 1, 100, 255]]
    assert torch.equal(x[0], x[2])


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(noise()).quantize(7)
    assert image.mode == "P"
    x = decoded_photograph(encoded(image))
    assert np.array_equal(x.permute(1, 2, 0).numpy(), np.array(image.convert("RGB")))


def test_transparent_pixels_lie_over_mid_grey() -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [228, 28, 128, 51]]], dtype=np.uint8)
    x = decoded_photograph(encoded(Image.fromarray(rgba)))
    assert x[:, 0, :2].T.tolist() == [[200, 100, 0], [128, 128, 128]]
    assert x[:, 0, 2].tolist() == [148, 108, 128]  # a fifth of the way
    grey = decoded_photograph(encoded(Image.fromarray(np.array([[[255, 0]]], dtype=np.uint8), "LA")))
    assert grey.flatten().tolist() == [128, 128, 128]


def test_a_transparent_colour_of_a_palette_lies_over_mid_grey() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    x = decoded_photograph(encoded(image, "gif", transparency=1))
    assert x[:, 0].T.tolist() == [[255, 0, 0], [128, 128, 128]]


def test_a_photograph_is_turned_upright_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    x = decoded_photograph(encoded(Image.fromarray(noise()), exif=exif))
    assert np.array_equal(x.permute(1, 2, 0).numpy(), np.rot90(noise(), -1))


def test_of_a_film_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    x = decoded_photograph(encoded(frames[0], "gif", save_all=True, append_images=frames[1:]))
    assert x[:, 0, 0].tolist() == [255, 0, 0]


# What is refused, before anything starts.


def test_every_bad_file_is_named_at_once_on_one_line(folder: Path) -> None:
    (folder / "a.txt").write_text("hello")
    (folder / "b" / "cut.png").write_bytes(PNG[: len(PNG) // 2])
    (folder / "b" / "empty.jpg").write_bytes(b"")
    (folder / "link.png").symlink_to(folder / "nowhere")
    with pytest.raises(BadInput) as caught:
        load(str(folder))
    message = str(caught.value)
    assert message.startswith(f"4 of 8 files of references '{folder}' cannot be used:")
    assert "'a.txt' (not an image)" in message
    assert "'b/cut.png' (" in message
    assert "'b/empty.jpg' (not an image)" in message
    assert "'link.png' (a broken link)" in message
    assert "repair or remove" in message
    assert "\n" not in message


def test_a_photograph_that_was_cut_off_in_its_pixels_is_noticed(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(noise(64, 64)), "jpeg")
    decoded_photograph(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(BadInput, match=r"'cut.jpg' \(.*truncated"):
        load(str(tmp_path))


def test_of_very_many_bad_files_ten_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for i in range(25):
        (tmp_path / f"{i:02}\n.txt").write_text("no")
    with pytest.raises(BadInput) as caught:
        load(str(tmp_path))
    message = str(caught.value)
    assert message.startswith("25 of 25 files")
    assert message.count("not an image") == 10
    assert "and 15 more" in message
    assert "\n" not in message


def test_a_bad_file_in_a_zip_file_is_named(tmp_path: Path) -> None:
    path = zipped({"x/good.png": PNG, "x/bad.png": b"no"}, tmp_path / "photos.zip")
    with pytest.raises(BadInput, match=r"1 of 2 files .*'x/bad.png' \(not an image\)"):
        load(str(path))


def test_a_damaged_member_of_a_zip_file_is_named(tmp_path: Path) -> None:
    path = zipped({"good.png": PNG, "bad.png": PNG[:-1] + b"x"}, tmp_path / "photos.zip")
    data = bytearray(path.read_bytes())
    data[data.rindex(PNG[:-1] + b"x") + 20] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(BadInput, match=r"1 of 2 files .*'bad.png' \(Bad CRC"):
        load(str(path))


def test_an_image_that_would_fill_the_memory_is_refused_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6 * 9 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BadInput, match=r"'x.png' \(.*exceeds limit"):
            load(str(tmp_path))


def test_a_file_too_large_for_a_photograph_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "MOST_BYTES", 2**20)
    with (tmp_path / "film.mp4").open("wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(BadInput, match=r"'film.mp4' \(larger than 1 MiB\)"):
        load(str(tmp_path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(BadInput, match=r"'x.png' \(not a file\)"):
        load(str(tmp_path))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="floating-point"):
        decoded_photograph(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "tiff"))


def test_integers_beyond_sixteen_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="outside 0 to 65535"):
        decoded_photograph(encoded(Image.fromarray(np.full((2, 2), 65536, np.int32)), "tiff"))


@pytest.mark.parametrize("kind", ["empty", "hidden", "zip"])
def test_an_empty_source_is_refused(kind: str, tmp_path: Path) -> None:
    source = tmp_path
    if kind == "hidden":
        (tmp_path / ".x.png").write_bytes(PNG)
    if kind == "zip":
        source = zipped({}, tmp_path / "photos.zip")
    with pytest.raises(BadInput, match="are empty"):
        load(str(source))


@pytest.mark.parametrize("source", ["nowhere", "", "x" * 5000, "a\0b"])
def test_a_missing_source_is_refused(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="do not exist"):
        load(source)


def test_a_source_that_is_neither_folder_nor_zip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    with pytest.raises(BadInput, match="neither a folder nor a whole zip file"):
        load(str(tmp_path / "x.png"))
    whole = zipped({"x.png": PNG}, tmp_path / "photos.zip").read_bytes()
    (tmp_path / "photos.zip").write_bytes(whole[: len(whole) - 30])
    with pytest.raises(BadInput, match="neither a folder nor a whole zip file"):
        load(str(tmp_path / "photos.zip"))


@pytest.mark.parametrize("change", ["other", "gone", "everything gone"])
def test_references_that_changed_after_the_check_are_not_shown(folder: Path, change: str) -> None:
    found = load(str(folder))
    if change == "other":
        (folder / "c.png").write_bytes(encoded(Image.fromarray(noise(seed=9))))
    elif change == "gone":
        (folder / "c.png").unlink()
    else:
        folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(BadInput, match="changed after they were checked"):
        found.images([3], 8)


# What their responses say.


def brute_force(responses: list[float], n: int) -> float:
    draws = list(itertools.combinations(responses, n))
    return sum(max(draw) for draw in draws) / len(draws)


@pytest.mark.parametrize("n", range(1, 9))
def test_the_expected_best_is_the_mean_over_all_draws(n: int) -> None:
    responses = [0.3, -1.0, 2.5, 2.5, 7.0, 0.0, 1.1, -4.0]
    assert expected_best(torch.tensor(responses), n) == pytest.approx(brute_force(responses, n), rel=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.data())
def test_the_expected_best_rises_from_the_mean_to_the_maximum(
    values: list[float], data: st.DataObject
) -> None:
    responses = torch.tensor(values, dtype=torch.float64)
    tolerance = 1e-9 * (1 + max(map(abs, values)))
    n = data.draw(st.integers(1, len(values)))
    assert expected_best(responses, 1) == pytest.approx(float(np.mean(values)), abs=tolerance)
    assert expected_best(responses, n) <= expected_best(responses, n + 1) + tolerance
    assert expected_best(responses, len(values)) == max(values)
    assert expected_best(responses.flip(0), n) == pytest.approx(expected_best(responses, n), abs=tolerance)


@pytest.mark.parametrize(("n_all", "n"), [(2_000_000, 10_000), (2_000_000, 3), (1_430_000, 1_000_000)])
def test_the_expected_best_of_ranks_is_the_textbook_value_for_millions(n_all: int, n: int) -> None:
    ranks = torch.arange(1, n_all + 1, dtype=torch.float64)
    assert expected_best(ranks, n) == pytest.approx(n * (n_all + 1) / (n + 1), rel=1e-8)


def test_missing_responses_are_left_out() -> None:
    responses = torch.tensor([[math.nan, 1.0], [3.0, math.nan], [2.0, math.nan]])
    assert expected_best(responses, 2) == pytest.approx((2 + 3 + 3) / 3)
    assert expected_best(responses, 3) == expected_best(responses, 100) == 3.0
    assert math.isnan(expected_best(torch.tensor([math.nan]), 1))
    assert math.isnan(expected_best(torch.tensor([]), 1))


@pytest.mark.parametrize("n", [0, -3])
def test_the_best_of_none_is_refused(n: int) -> None:
    with pytest.raises(BadInput, match=f"best of {n} "):
        expected_best(torch.ones(3), n)


def test_relative_activation_is_the_ratio_to_the_best_reference() -> None:
    assert relative_activation(3.0, 2.0) == 1.5
    assert relative_activation(-1.0, 2.0) == -0.5
    assert relative_activation(0.0, 2.0) == 0.0


@pytest.mark.parametrize("best_reference", [None, 0.0, -2.0, math.nan])
def test_a_reference_that_is_missing_or_not_positive_gives_no_ratio(
    best_reference: float | None,
) -> None:
    assert relative_activation(3.0, best_reference) is None
    assert relative_activation(math.nan, 2.0) is None
