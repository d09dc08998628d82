"""From codes to exactly the pixels that are shown."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xdream.errors import SubjectError
from xdream.generators.base import Generator
from xdream.networks import resize
from xdream.types import Codes, Images, ShownImages, quantise


def draw(
    generator: Generator, codes: Codes, size_px: int, images_of: Callable[[Codes], Images] | None = None
) -> ShownImages:
    """(n, d) -> (n, 3, size, size) uint8: clipped to [0, 1], resized if need be, rounded to 8 bits.

    images_of: what draws in the generator's stead, when it was compiled. Raises SubjectError for an image
    with a value that is not finite.
    """
    with torch.inference_mode():
        images = (images_of or generator)(codes).to(torch.float32)
        if not bool(torch.isfinite(images).all()):
            raise SubjectError(f"generator '{generator.name}' made an image with NaN or inf in it")
        return quantise(resize(images.clamp(0.0, 1.0), (size_px, size_px)))
