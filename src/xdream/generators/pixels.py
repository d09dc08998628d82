"""Pixels: the image is the code; the control of the paper, a generator that knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import torch
from pydantic import Field

from xdream.errors import BadInput
from xdream.generators.base import GaussianCodes, Tuned
from xdream.generators.statistics import read_statistics
from xdream.registry import declares
from xdream.types import Codes, Images

MID_GREY = 0.5
#: Standard deviation of initial codes: 95 % of the values fall inside [0, 1], and the contrast is near
#: that of photographs (0.27).
INITIAL_STD = 0.25
LEAST_SIZE_PX = 8
LARGEST_SIZE_PX = 2048
#: The side of an image, in pixels.
SizePx = Annotated[int, Field(ge=LEAST_SIZE_PX, le=LARGEST_SIZE_PX)]


@final
@dataclass(eq=False)
class Pixels:
    """The image itself as the code, row by row of the red, then the green, then the blue plane.

    Codes live in [0, 1]; values outside it stay in the code and are clipped when the image is shown.
    Initial codes are N(0.5, 0.25²) in each component, and the centre is mid-grey.
    """

    name: str
    image_size_px: int
    code_shape: tuple[int, ...]
    initial: GaussianCodes
    centre: torch.Tensor
    differentiable: bool = True
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""

    def __call__(self, codes: Codes) -> Images:
        """(n, 3·size²) -> (n, 3, size, size), unclipped."""
        return codes.reshape(len(codes), *self.code_shape)

    def invert(self, images: Images) -> Codes:
        """(n, 3, size, size) -> (n, 3·size²), exactly."""
        return images.flatten(1)

    def to(self, device: torch.device) -> Pixels:
        """The same generator on a device."""
        initial, centre = self.initial.to(device), self.centre.to(device)
        return Pixels(self.name, self.image_size_px, self.code_shape, initial, centre)

    def initial_from(self, statistics: Path) -> GaussianCodes:
        """The distribution in the group `pixels` of an HDF5 file. Raises BadInput."""
        return read_statistics(statistics, self.name, self.code_shape)


#: The contrast of these images and of those of `fourier` has no natural limit: `rank-nes` finds more without
#: one (benches/optimizers.py).
NO_LIMIT = 1e6
#: Those of `fourier` on the scale of these initial codes, whose standard deviation is a quarter: sizes and
#: radii by 4, rates by 16.
TUNED = {
    "rank-nes": Tuned({"mean_limit": NO_LIMIT}),
    "genetic": Tuned({"population": 20, "mutation_rate": 0.25, "mutation_size": 0.125, "selectivity": 2.0}),
    "fdgd": Tuned({"population": 20, "search_radius": 0.125, "learning_rate": 0.1}),
    "nes": Tuned(
        {"population": 20, "search_radius": 0.125, "learning_rate": 0.03, "radius_learning_rate": 0.003}
    ),
}


@declares(tuned=TUNED)
def pixels(size_px: SizePx = 64) -> Pixels:
    """The generator `pixels`, whose images are `size_px` high and wide. Raises BadInput."""
    check_size(size_px)
    code_shape = (3, size_px, size_px)
    centre = torch.full((3 * size_px**2,), MID_GREY)
    initial = GaussianCodes(centre, torch.full_like(centre, INITIAL_STD))
    return Pixels("pixels", size_px, code_shape, initial, centre)


def check_size(size_px: int) -> None:
    """Raise BadInput for an image size that a generator cannot have."""
    if not isinstance(size_px, int) or not LEAST_SIZE_PX <= size_px <= LARGEST_SIZE_PX:
        raise BadInput(
            f"image size {size_px} px is not possible; "
            f"give a whole number from {LEAST_SIZE_PX} to {LARGEST_SIZE_PX}"
        )
