"""The DeePSiM generators: images from codes in a layer of CaffeNet (Dosovitskiy & Brox 2016)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from xdream.errors import BadInput
from xdream.generators.base import GaussianCodes, Tuned
from xdream.generators.statistics import read_statistics
from xdream.networks import deepsim, fingerprint
from xdream.networks.weights import RANDOM, find, load_tensors
from xdream.options import checked
from xdream.registry import declares
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
    initial: GaussianCodes
    centre: torch.Tensor
    group: str
    warnings: tuple[str, ...] = ()
    differentiable: bool = True

    def __call__(self, codes: Codes) -> Images:
        """(n, d) float32 -> (n, 3, h, w) float32, RGB.

        Not clipped to [0, 1]: that happens when images are shown, and a clipped pixel would have no
        gradient to encode an image by.
        """
        return to_rgb(self.module(codes.reshape(codes.shape[0], *self.code_shape)))

    def to(self, device: torch.device) -> Self:
        """The same generator on a device; this one stays where it is."""
        return type(self)(
            self.name,
            self.code_shape,
            self.image_size_px,
            copy.deepcopy(self.module).to(device),
            self.initial.to(device),
            self.centre.to(device),
            self.group,
            self.warnings,
            self.differentiable,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the network's weights."""
        return fingerprint(self.module)

    def initial_from(self, statistics: Path) -> GaussianCodes:
        """The distribution of initial codes in an HDF5 file. Raises BadInput."""
        return initial_codes(statistics, self.group, self.code_shape)


def initial_codes(statistics: Path | None, group: str, code_shape: tuple[int, ...]) -> GaussianCodes:
    """N(mu, sig²) of a group of an HDF5 file, cut at zero for every layer but fc8; N(0, 1) without a file."""
    if statistics is None:
        dim = math.prod(code_shape)
        return GaussianCodes(torch.zeros(dim), torch.ones(dim))
    return read_statistics(statistics, group, code_shape, None if group == "fc8" else 0.0)


def to_rgb(raw: torch.Tensor) -> Images:
    """What a network gives out (BGR, mean removed, 0–255) as RGB, in [0, 1] once clipped."""
    mean = torch.tensor(MEAN_BGR, device=raw.device)[:, None, None]
    return (raw + mean).flip(1) / 255.0


@checked
def make(
    name: str,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    statistics: Path | None = None,
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
        path = find(name) if weights is None else weights.expanduser()
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


def _factory(name: str, tuned: Tuned | None = None) -> Callable[..., DeepSim]:
    """The factory behind one name. The defaults of the codes in fc6 are the optimizers' own."""

    @declares(tuned={} if tuned is None else {"genetic": tuned})
    def generator(
        weights: Path | None = None, random_weights: bool = False, statistics: Path | None = None
    ) -> DeepSim:
        """Images from codes in a layer of CaffeNet (Dosovitskiy & Brox 2016)."""
        return make(name, weights=weights, random_weights=random_weights, statistics=statistics)

    return generator


def _genetic(n: int, m: float, v: float, q: float, h: float = 0.5) -> Tuned:
    """Published (Xiao & Kreiman 2020, "Methods"). Those tuned for the noisy case were not; the same serve."""
    return Tuned(
        {"population": n, "mutation_rate": m, "mutation_size": v, "selectivity": q, "heritability": h}
    )


norm1 = _factory("deepsim-norm1", _genetic(15, 1.0, 1.5, 2.0))
norm2 = _factory("deepsim-norm2", _genetic(10, 0.5, 0.7, 4.0))
conv3 = _factory("deepsim-conv3", _genetic(12, 0.65, 0.75, 2.25))
conv4 = _factory("deepsim-conv4", _genetic(10, 0.9, 0.75, 2.5))
pool5 = _factory("deepsim-pool5", _genetic(10, 0.6, 1.0, 2.5, 0.75))
fc6 = _factory("deepsim-fc6", _genetic(20, 0.5, 0.5, 2.0))
fc7 = _factory("deepsim-fc7", _genetic(45, 0.6, 0.3, 1.25))
fc8 = _factory("deepsim-fc8", _genetic(20, 0.2, 0.6, 2.0))
fc6_places365 = _factory("deepsim-fc6-places365")
