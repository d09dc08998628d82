"""From codes to exactly the pixels that are shown."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xdream.errors import SubjectError
from xdream.generators.base import Generator
from xdream.images.resizing import resize
from xdream.types import Codes, Images, ShownImages, quantise


def draw(generator: Generator, codes: Codes, size_px: int) -> ShownImages:
    """(n, d) -> (n, 3, size, size) uint8: clipped to [0, 1], resized if need be, rounded to 8 bits.

    Raises SubjectError for an image with a value that is not finite.
    """
    with torch.inference_mode():
        return finite(generator.name, *drawn(generator, size_px, codes))


def drawn(
    generator: Callable[[Codes], Images], size_px: int, codes: Codes
) -> tuple[ShownImages, torch.Tensor]:
    """The images of `draw`, and whether all values of each were finite, (n,); nothing that a compiler cannot
    follow."""
    images = generator(codes).to(torch.float32)
    shown = quantise(resize(images.clamp(0.0, 1.0), (size_px, size_px)))
    return shown, torch.isfinite(images).flatten(1).all(1)


def finite(name: str, images: ShownImages, every: torch.Tensor) -> ShownImages:
    """The images, when every value was finite. Raises SubjectError."""
    if not bool(every.all()):
        raise SubjectError(f"generator '{name}' made an image with NaN or inf in it")
    return images
