"""How initial codes are distributed, beside `GaussianCodes`: uniform, truncated, correlated, from a file.

Each has `mean` and `std`, (d,) float32, where searches start and in which units they move, and `draw`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch

from xdream import random
from xdream.types import Codes, Seeds

#: What draws of initial codes are called, so that no other draw is the same.
PURPOSE = "initial codes"


class SpreadCodes(Protocol):
    """A distribution that says its mean and its spread."""

    @property
    def mean(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def std(self) -> torch.Tensor: ...  # noqa: D102

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d) float32."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        ...


@dataclass(frozen=True)
class UniformCodes:
    """Each component uniform from `low` to `high`, (d,) float32 each."""

    low: torch.Tensor
    high: torch.Tensor
    purpose: str = PURPOSE

    @property
    def mean(self) -> torch.Tensor:
        """(d,): the middle."""
        return (self.low + self.high) / 2.0

    @property
    def std(self) -> torch.Tensor:
        """(d,): the width over √12."""
        return (self.high - self.low) / math.sqrt(12.0)

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d)."""
        u = random.uniform(seeds, torch.zeros_like(seeds), self.purpose, (n, len(self.low)))
        return self.low + (self.high - self.low) * u

    def to(self, device: torch.device) -> UniformCodes:
        """The same on a device."""
        return UniformCodes(self.low.to(device), self.high.to(device), self.purpose)


@dataclass(frozen=True)
class TruncatedCodes:
    """N(mean, scale²) of which only what lies within `cut` scales of the mean is kept (the truncation of
    GANs: Brock et al. 2019)."""

    mean: torch.Tensor
    scale: torch.Tensor
    cut: float
    purpose: str = PURPOSE

    @property
    def std(self) -> torch.Tensor:
        """(d,): below the scale, by what was cut."""
        density = math.exp(-(self.cut**2) / 2.0) / math.sqrt(2.0 * math.pi)
        return self.scale * math.sqrt(1.0 - 2.0 * self.cut * density / math.erf(self.cut / math.sqrt(2.0)))

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d), by the inverse of the distribution function."""
        u = random.uniform64(seeds, torch.zeros_like(seeds), self.purpose, (n, len(self.mean)))
        inside = math.erf(self.cut / math.sqrt(2.0))
        z = torch.special.ndtri(0.5 + (u - 0.5) * inside).clamp(-self.cut, self.cut).to(torch.float32)
        found: Codes = self.mean + self.scale * z
        return found

    def to(self, device: torch.device) -> TruncatedCodes:
        """The same on a device."""
        return TruncatedCodes(self.mean.to(device), self.scale.to(device), self.cut, self.purpose)


@dataclass(frozen=True)
class CorrelatedCodes:
    """N(mean, factor factorᵀ); factor: (d, d) lower triangular, float32."""

    mean: torch.Tensor
    factor: torch.Tensor
    purpose: str = PURPOSE

    @property
    def std(self) -> torch.Tensor:
        """(d,): of each component by itself."""
        return self.factor.square().sum(1).sqrt()

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d)."""
        z = random.normal(seeds, torch.zeros_like(seeds), self.purpose, (n, len(self.mean)))
        # Run by run: the last digit of a product depends on how many rows there are.
        return torch.stack([self.mean + one @ self.factor.T for one in z])

    def to(self, device: torch.device) -> CorrelatedCodes:
        """The same on a device."""
        return CorrelatedCodes(self.mean.to(device), self.factor.to(device), self.purpose)


@dataclass(frozen=True)
class ListedCodes:
    """Codes of a list, (k, d) float32, in a random order of each run; taken round again after the last."""

    codes: torch.Tensor
    purpose: str = PURPOSE

    @property
    def mean(self) -> torch.Tensor:
        """(d,)."""
        return self.codes.mean(0)

    @property
    def std(self) -> torch.Tensor:
        """(d,)."""
        return self.codes.std(0)

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d)."""
        k = len(self.codes)
        order = random.permutation(seeds, torch.zeros_like(seeds), self.purpose, k)
        return self.codes[order[:, torch.arange(n, device=order.device) % k]]

    def to(self, device: torch.device) -> ListedCodes:
        """The same on a device."""
        return ListedCodes(self.codes.to(device), self.purpose)


@dataclass(frozen=True)
class JoinedCodes:
    """Several distributions side by side: the code of one is that of all of them, one after the other."""

    parts: Sequence[SpreadCodes]

    @property
    def mean(self) -> torch.Tensor:
        """(d,)."""
        return torch.cat([one.mean for one in self.parts])

    @property
    def std(self) -> torch.Tensor:
        """(d,)."""
        return torch.cat([one.std for one in self.parts])

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d)."""
        return torch.cat([one.draw(seeds, n) for one in self.parts], dim=-1)

    def to(self, device: torch.device) -> JoinedCodes:
        """The same on a device."""
        return JoinedCodes([one.to(device) for one in self.parts])
