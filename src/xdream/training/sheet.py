"""A page of small images, for looking at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from xdream.images.files import chw, png
from xdream.types import Images, ShownImages, quantise

COLUMNS = 8
#: A page has about this width, pixels at least doubled.
WIDTH_PX = 1024
NAME_PX = 20
MARGIN_PX = 8


def sheet(kinds: Sequence[tuple[str, Images]]) -> bytes:
    """A PNG: for each kind its name, and below it its images in rows of 8."""
    parts = []
    for name, images in kinds:
        page = _page(images)
        factor = max(1, WIDTH_PX // page.shape[2])
        page = page.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        parts += [_name(name, page.shape[2]), page]
    return png(torch.cat(parts, 1))


def _name(text: str, width_px: int) -> ShownImages:
    """A line of black text on white, (3, h, width) uint8."""
    line = Image.new("RGB", (width_px, NAME_PX + 2 * MARGIN_PX), "white")
    font = ImageFont.load_default(NAME_PX)
    ImageDraw.Draw(line).text((MARGIN_PX, MARGIN_PX), text, fill="black", font=font)
    return chw(np.array(line))


def _page(images: Images) -> ShownImages:
    """(3, rows · size, 8 · size) uint8; white where no image is left."""
    size, rows = images.shape[-1], -(-len(images) // COLUMNS)
    page = torch.full((rows * COLUMNS, 3, size, size), 255, dtype=torch.uint8)
    page[: len(images)] = quantise(images)
    page = page.reshape(rows, COLUMNS, 3, size, size).permute(2, 0, 3, 1, 4)
    return page.reshape(3, rows * size, -1)
