"""Generators whose codes are named numbers with bounds: for tuning as it was always measured.

Each number of a code lies in [0, 1]; the parameter that it is has bounds in its own unit:

    value = low + code · (high − low), or low · (high / low)^code where its scale is logarithmic

A number outside [0, 1] counts as the nearest bound; of a circular parameter (an angle) it goes on from the
other end. So every code makes an image within the bounds, whatever optimizer asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

import torch

from xdream.generators.base import Tuned
from xdream.generators.distributions import UniformCodes
from xdream.generators.parameters import Parameter as Parameter
from xdream.types import Codes, Images

#: Values of the parameters, (n, p) float32 in their units, and the size in pixels -> (n, 3, size, size).
Drawing: TypeAlias = Callable[[torch.Tensor, int], Images]


@dataclass(frozen=True)
class Scales:
    """The same of all parameters of a generator, as tensors of (p,)."""

    low: torch.Tensor
    high: torch.Tensor
    circular: torch.Tensor
    logarithmic: torch.Tensor

    @classmethod
    def of(cls, parameters: Sequence[Parameter]) -> Scales:
        """Of these."""
        return cls(
            torch.tensor([one.low for one in parameters]),
            torch.tensor([one.high for one in parameters]),
            torch.tensor([one.circular for one in parameters]),
            torch.tensor([one.logarithmic for one in parameters]),
        )

    def values(self, codes: Codes) -> torch.Tensor:
        """(n, p) -> (n, p), in their units and within their bounds."""
        c = torch.where(self.circular, codes - codes.floor(), codes.clamp(0.0, 1.0))
        ratio = torch.where(self.logarithmic, self.high / self.low, 1.0)
        return torch.where(self.logarithmic, self.low * ratio**c, self.low + (self.high - self.low) * c)

    def to(self, device: torch.device) -> Scales:
        """The same on a device."""
        return Scales(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@final
@dataclass(eq=False)
class Parametric:
    """Named parameters -> images. Initial codes are uniform within the bounds; the centre is their middle."""

    name: str
    image_size_px: int
    parameters: tuple[Parameter, ...]
    drawing: Drawing
    initial: UniformCodes
    centre: torch.Tensor
    scales: Scales
    differentiable: bool = True
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    code_shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.code_shape = (len(self.parameters),)

    @property
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(low, high) of the codes, in which `codes = "box"` keeps them; a circle has none."""
        circular = self.scales.circular
        return (
            torch.where(circular, -torch.inf, 0.0).to(self.centre.device),
            torch.where(circular, torch.inf, 1.0).to(self.centre.device),
        )

    def values(self, codes: Codes) -> torch.Tensor:
        """(n, d) -> (n, d): the parameters in their units."""
        return self.scales.values(codes)

    def __call__(self, codes: Codes) -> Images:
        """(n, d) -> (n, 3, size, size)."""
        return self.drawing(self.values(codes), self.image_size_px)

    def to(self, device: torch.device) -> Parametric:
        """The same generator on a device."""
        return Parametric(
            self.name,
            self.image_size_px,
            self.parameters,
            self.drawing,
            self.initial.to(device),
            self.centre.to(device),
            self.scales.to(device),
        )


def parametric(name: str, size_px: int, parameters: Sequence[Parameter], drawing: Drawing) -> Parametric:
    """A generator of these parameters."""
    d = len(parameters)
    initial = UniformCodes(torch.zeros(d), torch.ones(d))
    return Parametric(
        name, size_px, tuple(parameters), drawing, initial, torch.full((d,), 0.5), Scales.of(parameters)
    )


def grid(size_px: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y, (size, size) each: the places of the pixels in image widths from the middle, y upwards."""
    places = (torch.arange(size_px, device=device, dtype=torch.float32) + 0.5) / size_px - 0.5
    return places[None, :].expand(size_px, -1), -places[:, None].expand(-1, size_px)


def colour(hue_deg: torch.Tensor, saturation: torch.Tensor) -> torch.Tensor:
    """(n,) each -> (n, 3): a direction from mid-grey, of components within ±1.

    Saturation 0: light (1, 1, 1). 1: a direction of the circle of hues, on which red is at 0°, green at 120°,
    blue at 240°, without a change of R + G + B.
    """
    thirds = torch.tensor([0.0, 120.0, 240.0], device=hue_deg.device)
    circle = torch.cos(torch.deg2rad(hue_deg[:, None] - thirds))
    return (1.0 - saturation[:, None]) + saturation[:, None] * circle


#: Corners of the box lie √3 spreads from its middle; sizes and radii are in the unit of codes, [0, 1].
TUNED = {
    "rank-nes": Tuned({"mean_limit": 1.75}),
    "genetic": Tuned({"population": 20, "mutation_rate": 0.4, "mutation_size": 0.12, "selectivity": 2.0}),
    "fdgd": Tuned({"population": 20, "search_radius": 0.08, "learning_rate": 0.05}),
    "nes": Tuned({"population": 20, "search_radius": 0.12, "learning_rate": 0.03}),
}
