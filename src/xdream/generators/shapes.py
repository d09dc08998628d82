"""Shapes: closed contours of splines, filled and shaded, on mid-grey.

The contour is a closed uniform cubic B-spline of `points` control points, as in the stimuli of Pasupathy &
Connor 2001 and 2002 (contours of piecewise splines, drawn solid) and, evolved and shaded, of Yamane et al.
2008. Point i of k lies at the angle 360° (i + turn_i) / k + rotation and at `radius_i` from the middle, so
that small radii make concavities and unequal turns make contours lean over.

The shading is that of a relief lit from a direction: its surface rises from the contour as a quarter circle
over `RELIEF`, and is as bright as Lambert's law says of a light 45° above the image.
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

#: Points of the contour that are computed for each control point.
STEPS = 8
#: Over how much of the size the surface rises.
RELIEF = 0.3
#: Contours are at least this size, of image widths, from middle to an outermost control point.
LEAST_SIZE, LARGEST_SIZE = 0.2, 0.8
#: Distances that are computed together, which bounds the memory.
TOGETHER = 2**22
#: Parameters that are not of one control point.
_WHOLE = 9


@declares(tuned=TUNED, parametric=True)
def shapes(size_px: SizePx = 64, points: Annotated[int, Field(ge=4, le=24)] = 8) -> Parametric:
    """Closed contours of splines with position, size, rotation, colour and shading.

    points: control points of the contour; each has a radius and a turn. Raises BadInput.
    """
    check_size(size_px)
    parameters = [
        Parameter("x", "image widths", -0.3, 0.3),
        Parameter("y", "image widths", -0.3, 0.3),
        Parameter("size", "image widths", LEAST_SIZE, LARGEST_SIZE, logarithmic=True),
        Parameter("rotation", "deg", 0.0, 360.0, circular=True),
        Parameter("lightness", "", -1.0, 1.0),
        Parameter("hue", "deg", 0.0, 360.0, circular=True),
        Parameter("saturation", "", 0.0, 1.0),
        Parameter("shading", "", 0.0, 1.0),
        Parameter("light from", "deg", 0.0, 360.0, circular=True),
        *(Parameter(f"radius {i + 1}", "sizes", 0.1, 1.0) for i in range(points)),
        *(Parameter(f"turn {i + 1}", "steps", -0.45, 0.45) for i in range(points)),
    ]
    return parametric("shapes", size_px, parameters, _draw)


def contour(values: torch.Tensor) -> torch.Tensor:
    """(n, p) -> (n, m, 2): points of each closed contour in image widths, the first not repeated."""
    k = (values.shape[1] - _WHOLE) // 2
    radius, turn = values[:, _WHOLE : _WHOLE + k], values[:, _WHOLE + k :]
    steps = torch.arange(k, device=values.device, dtype=values.dtype)
    angle = 2.0 * math.pi * (steps + turn) / k + torch.deg2rad(values[:, 3:4])
    control = torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), -1)
    t = (torch.arange(STEPS, device=values.device, dtype=values.dtype) / STEPS)[:, None]
    # The basis of a uniform cubic B-spline, for the control points i − 1 to i + 2.
    basis = (
        torch.cat(
            (
                (1 - t) ** 3,
                3 * t**3 - 6 * t**2 + 4,
                -3 * t**3 + 3 * t**2 + 3 * t + 1,
                t**3,
            ),
            dim=1,
        )
        / 6.0
    )
    near = torch.stack([control.roll(shift, 1) for shift in (1, 0, -1, -2)], dim=2)
    found = torch.einsum("sb,nkbc->nksc", basis, near).flatten(1, 2)
    return found * values[:, 2, None, None] + values[:, None, :2]


def _draw(values: torch.Tensor, size_px: int) -> Images:
    each = size_px**2 * STEPS * ((values.shape[1] - _WHOLE) // 2)
    some = torch.split(values, max(1, TOGETHER // each))
    return torch.cat([_drawn(one, size_px) for one in some])


def _drawn(values: torch.Tensor, size_px: int) -> Images:
    x, y = grid(size_px, values.device)
    places = torch.stack((x, y), -1).reshape(-1, 2)
    distance, outward = _distances(places, contour(values))
    covered = (distance * size_px + 0.5).clamp(0.0, 1.0)
    light = _lambert(distance / values[:, 2, None], outward, torch.deg2rad(values[:, 8, None]))
    shading = values[:, 7, None]
    lit = (1.0 - shading) + shading * light
    lightness, saturation = values[:, 4], values[:, 6]
    base = lightness.abs()[:, None] * colour(values[:, 5], saturation)
    base = torch.where(lightness[:, None] < 0.0, -base, base)
    # From black, so that what the light does not reach is dark; outside mid-grey.
    inside = (0.5 + 0.5 * base)[:, :, None] * lit[:, None]
    images = 0.5 + covered[:, None] * (inside - 0.5)
    return images.reshape(len(values), 3, size_px, size_px)


def _distances(places: torch.Tensor, contours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(p, 2), (n, m, 2) -> (n, p): how far inside (positive) each place is; (n, p, 2): the direction towards
    the nearest point of the contour, of length 1. Inside by the even-odd rule."""
    following = contours.roll(-1, 1)
    ax, ay, bx, by = (one[:, None] for pair in (contours, following) for one in pair.unbind(-1))  # (n, 1, m)
    px, py = (one[None, :, None] for one in places.unbind(-1))
    sx, sy, x, y = bx - ax, by - ay, px - ax, py - ay
    share = ((x * sx + y * sy) / (sx * sx + sy * sy).clamp_min(1e-12)).clamp(0.0, 1.0)
    dx, dy = share * sx - x, share * sy - y  # from the place to the nearest point of each step
    square, which = (dx * dx + dy * dy).min(-1, keepdim=True)  # (n, p, 1)
    distance = (square + 1e-12).sqrt()
    outward = torch.cat((dx.gather(2, which), dy.gather(2, which)), -1) / distance
    crosses = (ay > py) != (by > py)
    left = x < y * sx / torch.where(sy == 0.0, 1.0, sy)
    inside = (crosses & left).sum(-1) % 2 == 1
    return torch.where(inside, distance[..., 0], -distance[..., 0]), outward


def _lambert(depth: torch.Tensor, outward: torch.Tensor, azimuth: torch.Tensor) -> torch.Tensor:
    """(n, p) brightness in [0, 1] of a surface that rises as a quarter circle; depth in sizes."""
    slope = 1.0 - (depth / RELIEF).clamp(0.0, 1.0)  # the normal's part in the image plane
    up = (1.0 - slope.square()).clamp_min(1e-6).sqrt()
    towards = outward[..., 0] * torch.cos(azimuth) + outward[..., 1] * torch.sin(azimuth)
    return (math.sqrt(0.5) * (slope * towards + up)).clamp(0.0, 1.0)
