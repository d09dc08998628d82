"""Files that are not what they were taken for are named, and long errors keep their end."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xdream import files, networks, text
from xdream.errors import BadInput, WeightsInvalid
from xdream.experiment.initialization import _codes_from
from xdream.generators import GENERATORS
from xdream.generators.statistics import read_statistics
from xdream.images import references
from xdream.networks import caffe, weights
from xdream.networks.base import Preprocessing
from xdream.studies import table

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
OTHERS = {
    "Git LFS": (LFS, "a Git LFS pointer, not the file itself; get it with: git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s1--ab.h5\n", "git annex get"),
    "a web page": (b"\n\n<!DOCTYPE html>\n<html><head>", "a web page; download the file itself"),
    "a web page in capitals": (b"<HTML><BODY>Not found", "a web page"),
    "an error of a store of files": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML"),
    "an error in JSON": (b'{"error": "rate limited"}', "the error message of a server"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(20), "compressed with gzip; unpack it first"),
    "a pickle": (pickle.dumps({"w": [1.0]}), "a pickle, whose code is never run"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "x.safetensors": weights.load_tensors,
    "x.pth": weights.load_tensors,
    "x.caffemodel": lambda path: caffe.load(_deploy(path), path),
    "x.prototxt": caffe.load,
    "x.onnx": lambda path: networks.load(f"onnx:{path}", Preprocessing((8, 8))),
    "x.pt2": lambda path: networks.load(f"file:{path}", Preprocessing((8, 8))),
    "x.ts": lambda path: networks.load(f"file:{path}", Preprocessing((8, 8))),
    "x.h5": lambda path: read_statistics(path, "fc6", (4,)),
    "x.npz": lambda path: _codes_from(str(path), GENERATORS.make("pixels", size_px=8)),
    "x.parquet": table.read,
    "x.csv": table.read,
}


def _deploy(path: Path) -> Path:
    found = path.with_name("deploy.prototxt")
    ends = (
        'layer { name: "f" type: "InnerProduct" bottom: "d" top: "f" inner_product_param { num_output: 2 } }'
    )
    found.write_text(f'input: "d" input_dim: 1 input_dim: 3 input_dim: 2 input_dim: 2\n{ends}')
    return found


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("other", OTHERS)
def test_another_file_is_named(tmp_path: Path, name: str, other: str) -> None:
    data, words = OTHERS[other]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises((BadInput, WeightsInvalid)) as caught:
        READERS[name](path)
    if not (other == "a pickle" and name == "x.pth"):  # what PyTorch itself writes; it says what is in it
        assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_among_references_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(LFS)
    with pytest.raises(
        BadInput, match=r"'a.png' \(a Git LFS pointer, not the file itself; .* git lfs pull\)"
    ):
        references.load(str(tmp_path))


@pytest.mark.parametrize(
    "data", [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"layer {", b"study,"]
)
def test_what_it_is_said_to_be_is_not_named(data: bytes) -> None:
    assert files.mistaken(data) == ""


def test_a_long_error_keeps_its_end() -> None:
    said = "RuntimeError: " + "path/of/a/file.cpp " * 50 + "\n\tthe reason"
    found = text.shortened(said)
    assert len(found) <= 300
    assert found.startswith("RuntimeError: path/of")
    assert found.endswith("the reason")
    assert "…" in found
    assert text.shortened("short\n one") == "short one"
    error = networks.one_line(ValueError(said))
    assert error.startswith("ValueError: ")
    assert error.endswith("the reason")


def test_unlike_weights_say_how(tmp_path: Path) -> None:
    """The errors of libraries say their reason last."""
    path = tmp_path / "c.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="allow_pickle"):
        _codes_from(str(path), GENERATORS.make("pixels", size_px=8))
