"""Reading a caffemodel: the weights of each layer, by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf.message import DecodeError

from xdream.errors import WeightsInvalid
from xdream.files import mistaken
from xdream.networks.caffe.schema import BlobProto
from xdream.text import shortened

#: The protobuf library, and so Caffe, reads no larger ones.
MOST_BYTES = 2**31
#: How a file begins that Caffe wrote as HDF5.
HDF5 = b"\x89HDF\r\n\x1a\n"
#: What a file may have of layers, their blobs and other parts, far above any network's: an empty part takes
#: two bytes in a file, but hundreds in memory.
MOST_PARTS = 1_000_000
MOST_BLOBS = 100
#: Numbers of the fields that are read: layers in a network; the name and the blobs in a layer of either kind.
_LAYERS = {2: (4, 6), 100: (1, 7)}


class Blob:
    """An array of weights as the file has it. shape: as the file says, () when it says none."""

    def __init__(self, message: Any) -> None:
        self._message = message
        self.old = not message.HasField("shape")
        m = message
        self.shape: tuple[int, ...] = (
            (m.num, m.channels, m.height, m.width) if self.old else tuple(m.shape.dim)
        )

    def tensor(self, shape: tuple[int, ...], who: str) -> torch.Tensor:
        """The values, float32, of a shape that is known from elsewhere. Raises WeightsInvalid."""
        # Before 2014 every blob had four dimensions, with ones in front.
        stripped = [size for size in self.shape if size != 1] if self.old else [*self.shape]
        if stripped != ([size for size in shape if size != 1] if self.old else [*shape]):
            said = self.shape if len(self.shape) <= 8 else f"{self.shape[:8]} and so on"
            raise WeightsInvalid(f"{who} has the shape {said}, but {shape} is needed")
        values = self._values()
        if len(values) != math.prod(shape):
            raise WeightsInvalid(f"{who} has {len(values)} values for the shape {shape}")
        if not np.isfinite(values).all():
            raise WeightsInvalid(f"{who} holds values that are not finite numbers")
        return torch.from_numpy(values.astype(np.float32).reshape(shape))

    def _values(self) -> np.ndarray[Any, np.dtype[Any]]:
        for field, number, kind in (("data", 5, "<f4"), ("double_data", 8, "<f8")):
            packed = b"".join(getattr(self._message, field))
            if packed:
                size = np.dtype(kind).itemsize
                return np.frombuffer(packed[: len(packed) // size * size], kind)
            single = self._single(number, kind)
            if len(single):
                return single
        return np.empty(0, np.float32)

    def _single(self, number: int, kind: str) -> np.ndarray[Any, np.dtype[Any]]:
        """Values that are stored one by one, each with its number, as the format also allows."""
        rest = BlobProto()
        rest.CopyFrom(self._message)
        for field, _ in rest.ListFields():
            rest.ClearField(field.name)
        raw = np.frombuffer(rest.SerializeToString(), np.uint8)  # what the schema does not have
        size = np.dtype(kind).itemsize
        tag = number << 3 | (5 if size == 4 else 1)
        if len(raw) % (1 + size) or not (raw[:: 1 + size] == tag).all():
            return np.empty(0, np.float32)
        return raw.reshape(-1, 1 + size)[:, 1:].copy().view(kind)[:, 0]


def read(path: Path) -> dict[str, tuple[Blob, ...]]:
    """The weights of each layer that has any. Raises WeightsInvalid."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise WeightsInvalid(f"weights file {path} has {size:,} bytes, more than a caffemodel can have")
        content = path.read_bytes()
        found = dict(_hdf5_layers(path) if content.startswith(HDF5) else _layers(memoryview(content)))
    except OSError as error:
        raise WeightsInvalid(f"cannot read weights file {path} ({error.strerror})") from None
    except WeightsInvalid:
        raise
    except (DecodeError, ValueError) as error:
        what = mistaken(path) or f"truncated or no caffemodel ({shortened(str(error))})"
        raise WeightsInvalid(f"cannot read weights file {path}: {what}") from None
    if not found:
        raise WeightsInvalid(f"weights file {path} has no layers; is it a caffemodel?")
    return found


def _hdf5_layers(path: Path) -> Iterator[tuple[str, tuple[Blob, ...]]]:
    """The same of a `.caffemodel.h5`: a group for each layer, in it its blobs by number. Raises OSError."""
    import h5py  # at run time: few files are of this kind

    with h5py.File(path, "r") as file:
        layers = file["data"] if isinstance(file.get("data", getlink=True), h5py.HardLink) else None
        if not isinstance(layers, h5py.Group):
            raise ValueError("an HDF5 file without a group 'data'")
        for name in layers:
            group = layers[name] if isinstance(layers.get(name, getlink=True), h5py.HardLink) else {}
            blobs: list[Blob] = []
            while str(len(blobs)) in group and len(blobs) <= MOST_BLOBS:
                entry = group[str(len(blobs))]
                if not isinstance(entry, h5py.Dataset) or entry.external or entry.is_virtual:
                    raise ValueError(f"blob {len(blobs)} of '{name}' is no array of its own")
                if entry.dtype.kind != "f" or entry.nbytes > MOST_BYTES:
                    raise ValueError(f"blob {len(blobs)} of '{name}' is {entry.dtype} of shape {entry.shape}")
                double = entry.dtype.itemsize > 4
                message = BlobProto()
                message.shape.dim.extend(entry.shape)
                message.shape.SetInParent()
                values = np.asarray(entry[()], dtype="<f8" if double else "<f4").tobytes()
                (message.double_data if double else message.data).append(values)
                blobs.append(Blob(message))
            yield name, tuple(blobs)


def _layers(content: memoryview) -> Iterator[tuple[str, tuple[Blob, ...]]]:
    """(name, blobs) of each layer. Raises ValueError, DecodeError.

    Only blobs are made messages; all else in the file is passed over, and takes no memory.
    """
    parts = 0
    for number, layer in _fields(content):
        parts += 1
        if number in _LAYERS:
            of_name, of_blobs = _LAYERS[number]
            name = ""
            blobs: list[Blob] = []
            for inner, value in _fields(layer):
                parts += 1
                if inner == of_name:
                    name = str(value, "utf-8")
                elif inner == of_blobs and len(blobs) <= MOST_BLOBS:  # one more, and it is no known layer's
                    blobs.append(Blob(BlobProto.FromString(value)))
                if parts > MOST_PARTS:
                    break
            yield name, tuple(blobs)
        if parts > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS:,} parts")


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of the fields of a message; numbers, which have no content, are empty."""
    at = 0
    while at < len(content):
        tag, at = _number(content, at)
        if tag < 8:
            raise ValueError("a field without a number")
        size = 0
        match tag & 7:
            case 0:
                _, at = _number(content, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                size, at = _number(content, at)
            case other:
                raise ValueError(f"a field of the kind {other}")
        if at + size > len(content):
            raise ValueError("it ends within a field")
        yield tag >> 3, content[at : at + size]
        at += size


def _number(content: memoryview, at: int) -> tuple[int, int]:
    """(number, where it ends): seven bits in each byte, the lowest first, the eighth says that more come."""
    found = 0
    for place, byte in enumerate(content[at : at + 10]):
        found |= (byte & 127) << 7 * place
        if byte < 128:
            return found, at + place + 1
    raise ValueError("it ends within a number")
