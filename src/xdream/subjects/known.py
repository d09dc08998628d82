"""Neurons whose best stimulus is known: the ground truth for tests and for `xdream doctor`.

Each works on vectors, in code space (n, d) or on pixels (through `KnownPixels`), and has a `best` vector
with the greatest response in its domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from xdream import random
from xdream.errors import BadInput
from xdream.registry import Registry
from xdream.subjects.base import SubjectRequest
from xdream.subjects.target import parse_units
from xdream.types import ShownImages

#: Directions among which the best of an energy neuron is looked for.
ANGLES = 3600


class KnownNeuron(Protocol):
    """A response over vectors with a known maximum."""

    @property
    def best(self) -> torch.Tensor:
        """(d,) float32: a vector with the greatest response within the neuron's domain."""
        ...

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n,)."""
        ...


@dataclass(frozen=True)
class Linear:
    """w · x, a simple cell without rectification. Domain: |x| <= limit per component."""

    weights: torch.Tensor
    limit: float = 1.0

    @property
    def best(self) -> torch.Tensor:
        """The corner of the box on the side of the weights."""
        return self.weights.sign() * self.limit

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n,)."""
        return vectors @ self.weights


@dataclass(frozen=True)
class Energy:
    """(w₁ · x)² + (w₂ · x)², a complex cell (Adelson & Bergen 1985): w₁ ⊥ w₂, both of unit norm.

    Domain: |x| <= limit per component.
    """

    first: torch.Tensor
    second: torch.Tensor
    limit: float = 1.0

    @property
    def best(self) -> torch.Tensor:
        """The response is the largest square of u(θ) · x over the directions u(θ) = cos θ w₁ + sin θ w₂,
        and u · x is largest in the corner of the box on the side of u, where it is limit · |u|₁."""
        angles = torch.linspace(0.0, torch.pi, ANGLES, dtype=torch.float64)[:, None]
        directions = angles.cos() * self.first + angles.sin() * self.second
        return directions[directions.abs().sum(1).argmax()].sign().to(torch.float32) * self.limit

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n,)."""
        return (vectors @ self.first) ** 2 + (vectors @ self.second) ** 2


@dataclass(frozen=True)
class Gaussian:
    """exp(−|x − centre|² / (2 width² d)), tuned to one stimulus; its best response is 1 everywhere."""

    centre: torch.Tensor
    width: float = 0.25

    @property
    def best(self) -> torch.Tensor:
        """The centre."""
        return self.centre

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n,)."""
        return (-((vectors - self.centre) ** 2).mean(-1) / (2.0 * self.width**2)).exp()


def _smooth(seed: int, size_px: int, name: str) -> torch.Tensor:
    """(3·size², ) a random smooth pattern of unit norm: noise in the lowest 3 × 3 cosine frequencies."""
    weights = random.normal(torch.tensor([seed]), torch.tensor([0]), name, (3, 3, 3))[0]
    x = (torch.arange(size_px) + 0.5) / size_px
    basis = torch.stack([torch.cos(torch.pi * k * x) for k in range(3)])
    pattern = torch.einsum("cij,iy,jx->cyx", weights, basis, basis).flatten()
    return torch.nn.functional.normalize(pattern, dim=0)


def _linear(seed: int, size_px: int) -> Linear:
    return Linear(_smooth(seed, size_px, "known/linear"), limit=0.5)


def _energy(seed: int, size_px: int) -> Energy:
    first = _smooth(seed, size_px, "known/energy/first")
    second = _smooth(seed, size_px, "known/energy/second")
    second = second - (second @ first) * first
    return Energy(first, torch.nn.functional.normalize(second, dim=0), limit=0.5)


def _gaussian(seed: int, size_px: int) -> Gaussian:
    pattern = _smooth(seed, size_px, "known/gaussian")
    return Gaussian(pattern * 0.4 / float(pattern.abs().max()))


#: Known-optimum neurons over pixels by name; a factory takes a seed and a size.
KNOWN: Registry[KnownNeuron] = Registry("known-optimum neuron", entry_points=False)
KNOWN.register("linear", _linear)
KNOWN.register("energy", _energy)
KNOWN.register("gaussian", _gaussian)


class KnownPixels:
    """Known-optimum neurons as a subject: they see the image, at its own size, less mid-grey.

    Target `known:NAME::UNITS`; each unit is another neuron of that kind (its number is the seed).
    """

    def __init__(self, name: str, units: tuple[int, ...], size_px: int) -> None:
        self.name = f"known:{name}"
        self.units = tuple(f":{unit}" for unit in units)
        self.warnings: tuple[str, ...] = ()
        self.size_px = size_px
        self.neurons = tuple(KNOWN.make(name, seed=unit, size_px=size_px) for unit in units)

    def respond(self, images: ShownImages) -> torch.Tensor:
        """(n, 3, size, size) uint8 -> (n, units) float64."""
        vectors = images.to(torch.float32).flatten(1).cpu() / 255.0 - 0.5
        # One image at a time: the last digit of a sum depends on what is summed beside it, and here a run
        # is to respond the same alone or beside others.
        rows = [torch.cat([neuron(one[None]) for neuron in self.neurons]) for one in vectors]
        return torch.stack(rows).to(torch.float64)

    def best_images(self) -> torch.Tensor:
        """(units, 3, size, size) in [0, 1]: a best stimulus of each."""
        best = torch.stack([neuron.best for neuron in self.neurons]) + 0.5
        return best.reshape(-1, 3, self.size_px, self.size_px)


def requested(request: SubjectRequest) -> KnownPixels:
    """Neurons whose best image is known: `known:NAME::UNITS`."""
    return known_pixels(request.network, request.layer, request.units[0], request.size_px)


def known_pixels(network: str, layer: str, units: str, size_px: int) -> KnownPixels:
    """The subject behind the target `known:NAME::UNITS` for images of a size. Raises BadInput."""
    if layer:
        name = network.removeprefix("known").removeprefix(":") or layer
        raise BadInput(f"target '{network}:{layer}:{units}' has a layer; write known:{name}::{units}")
    return KnownPixels(
        network.removeprefix("known:"),
        tuple(unit.channel for unit in parse_units(units, (1000,))),
        size_px,
    )
