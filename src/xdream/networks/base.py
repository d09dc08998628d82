"""What a network is to XDream: a module, and how an image becomes its input."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from xdream.errors import BadInput, WeightsMissing
from xdream.images.resizing import resize
from xdream.text import shortened
from xdream.types import ShownImages


@dataclass(frozen=True)
class Preprocessing:
    """How shown images become a network's input: resize whole, scale, order, normalise.

    size_px: (height, width) of the input, or None to leave images at their own size. channels: "RGB" or
    "BGR". scale: what an 8-bit value is divided by first (1 keeps 0–255). mean, std: per channel, in the
    network's channel order, after that division. layout: of the axes that the network takes, "NCHW" or "NHWC"
    (the colours last, as TensorFlow has them).
    """

    size_px: tuple[int, int] | None
    channels: str = "RGB"
    scale: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: str = field(default="NCHW", repr=False)  # what was recorded of the others names them only

    def __call__(self, images: ShownImages) -> torch.Tensor:
        """(n, 3, h, w) uint8 -> (n, 3, *size_px) float32: antialiased bilinear, never cropped."""
        x = resize(images.to(torch.float32), self.size_px) / self.scale
        if self.channels == "BGR":
            x = x.flip(1)
        mean = torch.tensor(self.mean, device=x.device)[:, None, None]
        std = torch.tensor(self.std, device=x.device)[:, None, None]
        x = (x - mean) / std
        return x if self.layout == "NCHW" else x.permute(0, 2, 3, 1).contiguous()


def device(name: str) -> torch.device:
    """A device by its name. Raises BadInput when it cannot be used here."""
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = shortened(str(error))
        raise BadInput(f"device '{name}' cannot be used ({reason}); cpu always can") from None
    return found


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, by name and content."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@runtime_checkable
class NamedOutputs(Protocol):
    """A module that knows its outputs, inner ones too, by names of its own, and stops at what is wanted.

    names: of every output, with its shape for one image. output: the name of the last.
    """

    @property
    def names(self) -> Mapping[str, tuple[int, ...]]: ...  # noqa: D102

    @property
    def output(self) -> str: ...  # noqa: D102

    def read(self, images: torch.Tensor, wanted: Collection[str]) -> dict[str, torch.Tensor]:
        """(n, …) images -> each wanted output, (n, …), by its name; "" is the last."""
        ...


@dataclass(frozen=True)
class Network:
    """A frozen network in evaluation mode.

    name: as the user wrote it. layers: whether inner layers can be read by their module path (a compiled
    or callable network gives its outputs only, as layer ""). licence: of the weights, for the report.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    layers: bool = True
    licence: str = ""
    warnings: tuple[str, ...] = ()

    def at(self, size_px: tuple[int, int] | None) -> Network:
        """The same network for images resized to another (height, width); None: at their own size."""
        return replace(self, preprocessing=replace(self.preprocessing, size_px=size_px))


def as_table(path: str) -> str:
    """For a file that is not there: what its name may have been split at, and the form that is not split."""
    if not {":", "+"} & {*path}:
        return ""
    table = '{network = "…", layer = "…", units = "…"}'
    return f"; where names have colons or plus signs, a plan file takes a target as {table}"


def existing(name: str, kind: str) -> Path:
    """The path of `SCHEME:PATH`, of a part of this kind. Raises WeightsMissing where no file is there."""
    path = Path(name.partition(":")[2]).expanduser()
    if not path.is_file():
        raise WeightsMissing(
            f"no {kind} file {path}; check the path{as_table(path.name) if kind == 'network' else ''}"
        )
    return path


def refuse_random(name: str, random_weights: int | None) -> None:
    """Raise BadInput when random weights are asked for where a network brings its own."""
    if random_weights is not None:
        raise BadInput(f"'{name}' brings its own weights; leave out the random weights")


def declared(name: str, preprocessing: Preprocessing | None) -> Preprocessing:
    """The preprocessing of a network that has none of its own. Raises BadInput when none was declared."""
    if preprocessing is None:
        raise BadInput(
            f"'{name}' does not say how images become its input; declare it in a plan file, as "
            f'[preprocessing."{name}"]'
        )
    return preprocessing
