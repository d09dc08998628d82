"""Gratings and Gabors: waves of light or colour in an aperture, on mid-grey.

With x to the right and y upwards in image widths from the middle, and the stripes at the angle θ:

    u = −(x − x₀) sin θ + (y − y₀) cos θ                                        (across the stripes)
    image = ½ + ½ contrast · window · cos(2π frequency · u + phase) · colour                     (1)

The window of a grating is a disc whose edge falls linearly over `EDGE`; that of a Gabor is Gaussian (Gabor
1946; Daugman 1985), exp(−r² / 2σ²). A stripe at θ is horizontal for 0° and vertical for 90°. Because a
grating that is turned by 180° has its phase reversed, orientation runs over 360°, and is a full circle.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from xdream.generators.parametric import TUNED, Parameter, Parametric, colour, grid, parametric
from xdream.generators.pixels import SizePx, check_size
from xdream.registry import declares
from xdream.types import Images

#: Width of the edge of a disc, in image widths.
EDGE = 1.0 / 32.0
#: Finest wave: four pixels for a cycle.
PIXELS_OF_CYCLE = 4


def _parameters(size_px: int, size: Parameter, before: str = "") -> list[Parameter]:
    highest = max(2.0, size_px / PIXELS_OF_CYCLE)
    return [
        Parameter(f"{before}orientation", "deg", 0.0, 360.0, circular=True, folded=f"{before}phase"),
        Parameter(f"{before}frequency", "cycles per image", 1.0, highest, logarithmic=True),
        Parameter(f"{before}phase", "deg", 0.0, 360.0, circular=True),
        Parameter(f"{before}contrast", "", 0.0, 1.0),
        Parameter(f"{before}x", "image widths", -0.4, 0.4),
        Parameter(f"{before}y", "image widths", -0.4, 0.4),
        size,
        Parameter(f"{before}hue", "deg", 0.0, 360.0, circular=True),
        Parameter(f"{before}saturation", "", 0.0, 1.0),
    ]


@declares(tuned=TUNED, parametric=True)
def gratings(size_px: SizePx = 64) -> Parametric:
    """Gratings in a round aperture: orientation, frequency, phase, contrast, position, size and colour.

    size: the diameter of the aperture. Raises BadInput.
    """
    check_size(size_px)
    size = Parameter("size", "image widths", 0.2, 1.5, logarithmic=True)
    return parametric("gratings", size_px, _parameters(size_px, size), _draw_gratings)


@declares(tuned=TUNED, parametric=True)
def gabors(size_px: SizePx = 64, count: Annotated[int, Field(ge=1, le=64)] = 4) -> Parametric:
    """A sum of `count` Gabors; each has orientation, frequency, phase, contrast, position, size and colour.

    size: the standard deviation σ of its Gaussian. Raises BadInput.
    """
    check_size(size_px)
    parameters = []
    for number in range(count):
        before = f"{number + 1}. " if count > 1 else ""
        size = Parameter(f"{before}size", "image widths", 0.03, 0.5, logarithmic=True)
        parameters += _parameters(size_px, size, before)
    return parametric("gabors", size_px, parameters, _draw_gabors)


def _draw_gratings(values: torch.Tensor, size_px: int) -> Images:
    waves, square = _waves(values, size_px)
    distance = (square + 1e-12).sqrt()  # whose gradient is finite in the middle
    window = ((values[:, 6, None, None] / 2.0 - distance) / EDGE + 0.5).clamp(0.0, 1.0)
    return 0.5 + 0.5 * (waves * window)[:, None] * _colours(values)


def _draw_gabors(values: torch.Tensor, size_px: int) -> Images:
    each = values.reshape(-1, 9)
    waves, square = _waves(each, size_px)
    window = torch.exp(-square / (2.0 * each[:, 6, None, None].square()))
    planes = (waves * window)[:, None] * _colours(each)
    count = values.shape[1] // 9
    return 0.5 + 0.5 * planes.reshape(len(values), count, 3, size_px, size_px).sum(1)


def _waves(values: torch.Tensor, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 9) -> contrast · cos(…) of (1), and the squared distance from (x₀, y₀); (n, size, size) each."""
    theta, frequency, phase, contrast, x0, y0 = (values[:, i, None, None] for i in range(6))
    x, y = grid(size_px, values.device)
    x, y = x - x0, y - y0
    angle = torch.deg2rad(theta)
    u = y * torch.cos(angle) - x * torch.sin(angle)
    waves = contrast * torch.cos(2.0 * math.pi * frequency * u + torch.deg2rad(phase))
    return waves, x.square() + y.square()


def _colours(values: torch.Tensor) -> torch.Tensor:
    """(n, 9) -> (n, 3, 1, 1)."""
    return colour(values[:, 7], values[:, 8])[:, :, None, None]
