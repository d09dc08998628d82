"""A compositional pattern-producing network of fixed topology (Stanley 2007): the codes are its weights.

    x, y, r, 1 -> hidden units -> … -> hidden units -> red, green, blue
                  sine, Gaussian, tanh, |·| in turn     logistic

x, y run from −1 to 1, r is the distance from the middle. A layer sees the one before it and a bias. Sums are
divided by the root of the number of their terms, so that weights of the same bounds do for every layer; what
goes into the first layer is multiplied by `FREQUENCY`, which lets sines make stripes.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from xdream.generators.parametric import TUNED, Parameter, Parametric, grid, parametric
from xdream.generators.pixels import SizePx, check_size
from xdream.registry import declares
from xdream.types import Images

#: Bounds of a weight.
MOST_WEIGHT = 3.0
#: What multiplies the inputs.
FREQUENCY = 2.0
FUNCTIONS = ("sine", "Gaussian", "tanh", "absolute")
INPUTS = ("x", "y", "r", "1")


@declares(tuned=TUNED, parametric=True)
def cppn(
    size_px: SizePx = 64,
    units: Annotated[int, Field(ge=1, le=64)] = 8,
    layers: Annotated[int, Field(ge=1, le=8)] = 2,
) -> Parametric:
    """Patterns of a small network from places to colours, whose weights are the code.

    units: in each of the hidden layers; each computes one of four functions, in turn. Raises BadInput.
    """
    check_size(size_px)
    names = [f"{FUNCTIONS[i % len(FUNCTIONS)]} {i + 1}" for i in range(units)]
    before: list[str] = [*INPUTS]
    parameters = []
    for layer in range(layers + 1):
        to = ["red", "green", "blue"] if layer == layers else [f"{one} of layer {layer + 1}" for one in names]
        parameters += [
            Parameter(f"{source} to {unit}", "", -MOST_WEIGHT, MOST_WEIGHT)
            for unit in to
            for source in before
        ]
        before = [*to, "1"]

    def drawing(values: torch.Tensor, size_px: int) -> Images:
        return _draw(values, size_px, units, layers)

    return parametric("cppn", size_px, parameters, drawing)


def _draw(values: torch.Tensor, size_px: int, units: int, layers: int) -> Images:
    x, y = grid(size_px, values.device)
    r = (x.square() + y.square()).sqrt()
    ones = torch.ones_like(x)
    signals = torch.stack((2.0 * x, 2.0 * y, 2.0 * r, ones)).flatten(1)
    signals = (signals * torch.tensor([FREQUENCY] * 3 + [1.0], device=x.device)[:, None]).expand(
        len(values), -1, -1
    )
    at = 0
    for layer in range(layers + 1):
        rows, columns = (3 if layer == layers else units), signals.shape[1]
        weights = values[:, at : at + rows * columns].reshape(-1, rows, columns)
        at += rows * columns
        sums = _sums(weights, signals) / math.sqrt(columns)
        if layer < layers:
            signals = torch.cat((_functions(sums), ones.flatten().expand(len(values), 1, -1)), dim=1)
    return torch.sigmoid(sums).reshape(len(values), 3, size_px, size_px)


def _sums(weights: torch.Tensor, signals: torch.Tensor) -> torch.Tensor:
    """(n, rows, columns) · (n, columns, p), term by term: a matrix product's last digit may depend on n."""
    found = weights[:, :, 0, None] * signals[:, None, 0]
    for column in range(1, weights.shape[2]):
        found = found + weights[:, :, column, None] * signals[:, None, column]
    return found


def _functions(sums: torch.Tensor) -> torch.Tensor:
    """(n, units, p): each unit's own function."""
    kinds = (
        lambda z: torch.sin(math.pi * z),
        lambda z: torch.exp(-(z**2)),
        torch.tanh,
        torch.abs,
    )
    return torch.stack([kinds[i % len(kinds)](sums[:, i]) for i in range(sums.shape[1])], dim=1)
