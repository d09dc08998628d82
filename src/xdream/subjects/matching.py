"""Matching an image: how well a generator can express an image, and how well it is found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from xdream import networks
from xdream.errors import BadInput
from xdream.images import references
from xdream.images.resizing import resize
from xdream.networks import LayerReader
from xdream.registry import declares
from xdream.subjects import base
from xdream.types import ShownImages


class ImageMatch:
    """Minus the mean squared difference to a target image: in pixels, or in a layer of a network.

    Pixels: in [0, 1], the target resized to the images' size. Layer: all of its units, at all positions.
    One unit; the best response is 0. identities: see `Subject`.
    """

    def __init__(
        self,
        name: str,
        image: ShownImages,
        reader: LayerReader | None = None,
        identities: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.identities = dict(identities or {})
        self.units = (":0",) if reader is None else tuple(f"{layer}:0" for layer in reader.calls)
        self.warnings = () if reader is None else reader.network.warnings
        self._image = image
        self._reader = reader
        self._goal = None if reader is None else self._features(image)

    def respond(self, images: ShownImages) -> torch.Tensor:
        """(n, 3, h, w) uint8 -> (n, 1) float64."""
        if self._goal is not None:
            difference = self._features(images) - self._goal
        else:
            size = (int(images.shape[-2]), int(images.shape[-1]))
            goal = resize(self._image.to(torch.float32), size).round()
            difference = (images.cpu().to(torch.float64) - goal).flatten(1) / 255.0
        return (-(difference**2)).mean(1, keepdim=True)

    def _features(self, images: ShownImages) -> torch.Tensor:
        assert self._reader is not None
        (output,) = self._reader.read(images).values()
        return output.flatten(1).to(torch.float64).cpu()


def absolute(name: str) -> str:
    """`match:FILE` or `match:FILE:NETWORK` with absolute paths."""
    path, network = _split(name)
    return ":".join(["match", references.absolute(path), *([networks.absolute(network)] if network else [])])


@declares(absolute=absolute, response="minus mean squared difference")
def requested(request: base.SubjectRequest) -> ImageMatch:
    """How near images come to one: `match:FILE::0` in pixels, `match:FILE:NETWORK:LAYER:0` in a layer."""
    if request.units[0] not in ("0", "all"):
        raise BadInput(f"target '{request.target}' has one unit, 0")
    path, network = _split(request.network)
    if request.layer and not network:
        raise BadInput(f"target '{request.target}' is not match:FILE:NETWORK:LAYER:0 with a file that exists")
    try:
        data = Path(path).read_bytes()
        shown = references.at_size(data, request.size_px)[None]
    except Exception as error:  # a decoder of foreign bytes raises whatever it likes
        raise BadInput(f"image '{path}' cannot be read ({networks.one_line(error)})") from None
    identities = {f"image {path}": hashlib.sha256(data).hexdigest()}
    if not network:
        return ImageMatch(f"match:{path}", shown, identities=identities)
    loaded = request.load(network)
    reader, _ = networks.layer_reader(loaded, [request.layer], request.device, request.size_px)
    return ImageMatch(f"match:{path}:{network}", shown, reader, identities)


def _split(name: str) -> tuple[str, str]:
    """(file, network or "") of `match:FILE[:NETWORK]`; both may hold colons, so the file must exist."""
    rest = name.removeprefix("match:")
    colons = [i for i, character in enumerate(rest) if character == ":"]
    return next(((rest[:i], rest[i + 1 :]) for i in colons if Path(rest[:i]).is_file()), (rest, ""))
