"""Reading a caffemodel: the weights of each layer, by its name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import unknown_fields
from google.protobuf.message import DecodeError

from xdream.caffe.schema import NetParameter
from xdream.errors import WeightsInvalid


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
            raise WeightsInvalid(f"{who} has the shape {self.shape}, but {shape} is needed")
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
            # One by one, as the format also allows.
            others = unknown_fields.UnknownFieldSet(self._message)
            single = [one.data for one in others if one.field_number == number and isinstance(one.data, int)]
            if single:
                return np.array(single, kind.replace("f", "u")).view(kind)
        return np.empty(0, np.float32)


def read(path: Path) -> dict[str, tuple[Blob, ...]]:
    """The weights of each layer that has any. Raises WeightsInvalid."""
    net = NetParameter()
    try:
        net.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise WeightsInvalid(
            f"cannot read weights file {path}: truncated or no caffemodel ({' '.join(str(error).split())})"
        ) from None
    layers = [*net.layers, *net.layer]
    if not layers:
        raise WeightsInvalid(f"weights file {path} has no layers; is it a caffemodel?")
    return {layer.name: tuple(Blob(blob) for blob in layer.blobs) for layer in layers}
