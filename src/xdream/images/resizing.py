"""Images to another size."""

from __future__ import annotations

import torch
from torch import nn


def resize(images: torch.Tensor, size_px: tuple[int, int] | None) -> torch.Tensor:
    """Float images, whole, to (height, width): bilinear, antialiased when they shrink."""
    if size_px is None or tuple(images.shape[-2:]) == size_px:
        return images
    return nn.functional.interpolate(images, size_px, mode="bilinear", antialias=True, align_corners=False)
