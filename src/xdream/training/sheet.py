"""A page of small images, for looking at."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from xdream.types import Images, quantise

COLUMNS = 8
INCHES = 0.8


def sheet(kinds: Sequence[tuple[str, Images]]) -> bytes:
    """A PNG: for each kind its name, and below it its images in rows of 8."""
    rows = [-(-len(images) // COLUMNS) for _, images in kinds]
    height = sum(rows) * INCHES + 0.3 * len(kinds)
    figure = Figure(figsize=(COLUMNS * INCHES, height))
    parts = figure.subfigures(len(kinds), 1, height_ratios=[r * INCHES + 0.3 for r in rows], squeeze=False)
    for part, count, (name, images) in zip(parts[:, 0], rows, kinds, strict=True):
        axes = part.add_axes((0.0, 0.0, 1.0, count * INCHES / (count * INCHES + 0.3)))
        axes.imshow(_page(images, count), interpolation="nearest")
        axes.set_axis_off()
        part.text(0.01, 0.98, name, va="top", fontsize=9)
    page = io.BytesIO()
    figure.savefig(page, dpi=160)
    return page.getvalue()


def _page(images: Images, rows: int) -> npt.NDArray[np.uint8]:
    """(rows · size, 8 · size, 3) uint8; white where no image is left."""
    size = images.shape[-1]
    page = torch.full((rows * COLUMNS, 3, size, size), 255, dtype=torch.uint8)
    page[: len(images)] = quantise(images)
    page = page.reshape(rows, COLUMNS, 3, size, size).permute(0, 3, 1, 4, 2)
    return page.reshape(rows * size, -1, 3).numpy()
