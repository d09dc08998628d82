"""Matching an image: how well a generator can express an image, and how well it is found."""

from __future__ import annotations

import torch

from xdream.images.resizing import resize
from xdream.networks import LayerReader
from xdream.types import ShownImages


class ImageMatch:
    """Minus the mean squared difference to a target image: in pixels, or in a layer of a network.

    Pixels: in [0, 1], the target resized to the images' size. Layer: all of its units, at all positions.
    One unit; the best response is 0.
    """

    def __init__(self, name: str, image: ShownImages, reader: LayerReader | None = None) -> None:
        self.name = name
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
