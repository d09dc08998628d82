"""Caffe's files by the names that people give them, and weights in HDF5."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from caffe_files import head, images, layer, write

from xdream.errors import BadInput, WeightsInvalid
from xdream.networks import caffe, caffe_file
from xdream.networks.caffe import weights

NET = head(1, 3, 8, 8) + layer("InnerProduct", "fc", "data", settings="inner_product_param { num_output: 5 }")


def as_hdf5(model: Path, *, double: bool = False) -> Path:
    """As Caffe's snapshot with `snapshot_format: HDF5`."""
    path = model.with_name(f"{model.name}.h5")
    with h5py.File(path, "w") as file:
        for name, blobs in weights.read(model).items():
            group = file.create_group(f"data/{name}")
            for number, blob in enumerate(blobs):
                values = blob.tensor(blob.shape, name).numpy()
                group.create_dataset(str(number), data=values.astype("f8" if double else "f4"))
    return path


@pytest.mark.parametrize("double", [False, True])
def test_weights_in_hdf5_are_the_same(tmp_path: Path, double: bool) -> None:
    path, model = write(tmp_path, NET)
    given = images(2, 3, 8, 8)
    assert torch.equal(caffe.load(path, as_hdf5(model, double=double))(given), caffe.load(path, model)(given))


def _integers(file: h5py.File) -> None:
    file.create_dataset("data/fc/0", data=np.zeros((5, 192), int))


def _link(file: h5py.File) -> None:
    file["data"] = h5py.ExternalLink("elsewhere.h5", "data")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: file.create_group("model_weights"), "without a group 'data'"),
        (_integers, "blob 0 of 'fc' is int64"),
        (_link, "without a group 'data'"),
    ],
)
def test_hdf5_of_another_kind_is_refused(tmp_path: Path, make: object, words: str) -> None:
    path, _ = write(tmp_path, NET)
    with h5py.File(tmp_path / "x.caffemodel.h5", "w") as file:
        make(file)  # type: ignore[operator]
    with pytest.raises(WeightsInvalid, match=words):
        caffe.load(path, tmp_path / "x.caffemodel.h5")


@pytest.mark.parametrize(
    ("prototxt", "model"),
    [
        ("c++/deploy.prototxt", "c++/net.caffemodel"),
        ("a+b.prototxt", "c+d.caffemodel"),
        ("Deploy.Prototxt", "Net.CaffeModel"),
        ("deploy.prototxt", "c++/net.caffemodel.h5"),
        ("a+x.caffemodel+b.prototxt", "n.caffemodel"),
    ],
)
def test_plus_signs_are_part_of_names(tmp_path: Path, prototxt: str, model: str) -> None:
    for name in (prototxt, model):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    pair = (tmp_path / prototxt, tmp_path / model)
    assert caffe_file.files(f"{pair[0]}+{pair[1]}") == pair
    assert caffe_file.files(str(pair[0]), needed=False)[0] == pair[0]


def test_a_folder_has_one_of_each_beside_what_systems_leave(tmp_path: Path) -> None:
    for name in (
        "Deploy.PROTOTXT",
        "._Deploy.PROTOTXT",
        "net.caffemodel.h5",
        "._net.caffemodel.h5",
        "Thumbs.db",
    ):
        (tmp_path / name).write_text("")
    found = (tmp_path / "Deploy.PROTOTXT", tmp_path / "net.caffemodel.h5")
    assert caffe_file.files(str(tmp_path)) == found


def test_a_name_that_is_nowhere_shows_the_form_that_is_not_split(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a plan file takes a target as \{network ="):
        caffe_file.files(f"{tmp_path}/a+b.prototxt+c.caffemodel")
