"""The DeePSiM generators: images from codes in a layer of CaffeNet (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from xdream.errors import BadInput
from xdream.generators.base import InitialCodes
from xdream.generators.statistics import read_statistics
from xdream.networks import deepsim
from xdream.networks.weights import RANDOM, find, load_tensors
from xdream.types import Codes, Images

#: The mean that CaffeNet's images had removed: blue, green, red, on the 0–255 scale.
MEAN_BGR = (104.0, 117.0, 123.0)

#: Generator name -> the layer whose architecture it has.
LAYERS = {
    **{f"deepsim-{layer}": layer for layer in deepsim.ARCHITECTURES},
    "deepsim-fc6-places365": "fc6",
}


@dataclass(eq=False)
class DeepSim:
    """A generator as in base.py, around an up-convolution network.

    group: the layer that its codes are in, as files of statistics call it.
    """

    name: str
    code_shape: tuple[int, ...]
    image_size_px: int
    module: nn.Module
    initial: InitialCodes
    centre: torch.Tensor
    group: str
    warnings: tuple[str, ...] = ()
    differentiable: bool = True

    def __call__(self, codes: Codes) -> Images:
        """(n, d) float32 -> (n, 3, h, w) float32, RGB.

        Not clipped to [0, 1]: that happens when images are shown, and a clipped pixel would have no
        gradient to encode an image by.
        """
        return to_rgb(self.module(codes.reshape(len(codes), *self.code_shape)))

    def to(self, device: torch.device) -> Self:
        """The same generator on a device; this one stays where it is."""
        return type(self)(
            self.name,
            self.code_shape,
            self.image_size_px,
            copy.deepcopy(self.module).to(device),
            InitialCodes(self.initial.mean.to(device), self.initial.std.to(device), self.initial.floor),
            self.centre.to(device),
            self.group,
            self.warnings,
            self.differentiable,
        )

    def initial_from(self, statistics: Path) -> InitialCodes:
        """The distribution of initial codes in an HDF5 file. Raises BadInput."""
        return initial_codes(statistics, self.group, self.code_shape)


def initial_codes(statistics: str | Path | None, group: str, code_shape: tuple[int, ...]) -> InitialCodes:
    """N(mu, sig²) of a group of an HDF5 file, cut at zero for every layer but fc8; N(0, 1) without a file."""
    if statistics is None:
        dim = math.prod(code_shape)
        return InitialCodes(torch.zeros(dim), torch.ones(dim))
    return read_statistics(Path(statistics), group, code_shape, None if group == "fc8" else 0.0)


def to_rgb(raw: torch.Tensor) -> Images:
    """What a network gives out (BGR, mean removed, 0–255) as RGB, in [0, 1] once clipped."""
    mean = torch.tensor(MEAN_BGR, device=raw.device)[:, None, None]
    return (raw + mean).flip(1) / 255.0


def make(
    name: str,
    *,
    weights: str | None = None,
    random_weights: bool = False,
    statistics: str | None = None,
) -> DeepSim:
    """Load a DeePSiM generator.

    name: one of LAYERS. weights: a file of either naming convention (None: looked for, see
    `xdream.networks.weights`). random_weights: none at all, for timing only. statistics: an HDF5 file
    with a group of the layer's name that holds `mu` and `sig`; the initial codes are then N(mu, sig²),
    cut at zero for every layer but fc8, otherwise N(0, 1). Raises BadInput, WeightsMissing,
    WeightsInvalid.
    """
    layer = LAYERS[name]
    architecture = deepsim.ARCHITECTURES[layer]
    if random_weights and weights is not None:
        raise BadInput(f"generator '{name}': give weights ({weights}) or random weights, not both")
    initial = initial_codes(statistics, layer, architecture.code_shape)
    if random_weights:
        module = deepsim.random(layer, seed=0)
    else:
        path = find(name) if weights is None else Path(weights).expanduser()
        module = deepsim.load(layer, load_tensors(path), path)
    # Channels last: a third faster on a CPU.
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return DeepSim(
        name,
        architecture.code_shape,
        architecture.image_size_px,
        module,
        initial,
        torch.zeros(math.prod(architecture.code_shape)),
        layer,
        (RANDOM,) if random_weights else (),
    )


norm1 = functools.partial(make, "deepsim-norm1")
norm2 = functools.partial(make, "deepsim-norm2")
conv3 = functools.partial(make, "deepsim-conv3")
conv4 = functools.partial(make, "deepsim-conv4")
pool5 = functools.partial(make, "deepsim-pool5")
fc6 = functools.partial(make, "deepsim-fc6")
fc7 = functools.partial(make, "deepsim-fc7")
fc8 = functools.partial(make, "deepsim-fc8")
fc6_places365 = functools.partial(make, "deepsim-fc6-places365")
