"""Where the codes of a generator live when they are drawn: free, in a ball, on a sphere, or in a box.

A generator draws well what it was trained on; a search leaves that region. In z = (code − centre) / spread
of the initial codes, with the root mean square r of z, a code is brought to z · min(1, radius / r) ("ball")
or to z · radius / r ("sphere") before it is drawn; the centre stays. In a "box" each component is brought
within its bounds by itself: those that the generator declares (`bounds`), else ±radius of z. Optimizer and
store keep the code that was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

import torch
from pydantic import Field

from xdream.errors import BadInput
from xdream.types import Codes, Images

CodeRegion: TypeAlias = Literal["free", "ball", "sphere", "box"]
Radius: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]
#: The radius of a ball or sphere where none is given, in units of the spread of the initial codes.
DEFAULT_RADIUS = 1.3
#: Codes nearer to the centre have no direction.
NEARLY_CENTRE = 1e-12


@dataclass(eq=False)
class Bounded:
    """A generator whose codes are brought into a region before they are drawn; otherwise as it is."""

    generator: Any
    region: CodeRegion
    radius: float
    spread: torch.Tensor
    box: tuple[torch.Tensor, torch.Tensor] | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "generator":  # while a copy is made
            raise AttributeError(name)
        return getattr(self.generator, name)

    def __call__(self, codes: Codes) -> Images:
        """(n, d) -> (n, 3, h, w), of the codes as `brought` gives them."""
        images: Images = self.generator(self.brought(codes))
        return images

    def brought(self, codes: Codes) -> Codes:
        """(n, d) -> (n, d) inside the region."""
        if self.box is not None:
            return codes.maximum(self.box[0]).minimum(self.box[1])
        centre = self.generator.centre
        z = (codes - centre) / self.spread
        # A root of a sum of squares that does not overflow for codes far outside.
        # Never divided by 0, so that a gradient passes at the centre, too.
        largest = z.abs().amax(-1, keepdim=True).clamp_min(NEARLY_CENTRE)
        relative = (z / largest).square().mean(-1, keepdim=True).clamp_min(NEARLY_CENTRE).sqrt()
        onto = z / largest * (self.radius / relative)
        if self.region == "ball":
            onto = torch.where(largest * relative > self.radius, onto, z)
        found: Codes = centre + self.spread * onto
        return found

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        box = None if self.box is None else (self.box[0].to(device), self.box[1].to(device))
        return type(self)(self.generator.to(device), self.region, self.radius, self.spread.to(device), box)


def bounded(generator: Any, region: CodeRegion, radius: float | None) -> Bounded:
    """A generator in a region. Raises BadInput where its initial codes declare no spread, or where a box has
    neither a radius nor bounds of the generator."""
    bounds = getattr(generator, "bounds", None)
    if region == "box" and bounds is not None:
        if radius is not None:
            raise BadInput(
                f"generator '{generator.name}' has bounds of its own, in which codes 'box' keeps its codes; "
                "leave out radius"
            )
        return Bounded(generator, region, DEFAULT_RADIUS, (bounds[1] - bounds[0]) / 2.0, bounds)
    if region == "box" and radius is None:
        raise BadInput(
            f"generator '{generator.name}' declares no bounds of its codes; give the box a radius, in units "
            "of the spread of its initial codes (of a generator of your own: low and high)"
        )
    spread = getattr(generator.initial, "std", None)
    if spread is None:
        raise BadInput(
            f"generator '{generator.name}' declares no spread of its initial codes (`initial.std`), so there "
            f"is no {region} to keep them in; leave out generator.codes, or give free"
        )
    radius = DEFAULT_RADIUS if radius is None else radius
    if region != "box":
        return Bounded(generator, region, radius, spread)
    centre = generator.centre
    return Bounded(generator, region, radius, spread, (centre - radius * spread, centre + radius * spread))
