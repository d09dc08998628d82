"""The shape of an up-convolution network, as files and recipes say it. Without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from xdream.errors import BadInput

#: Height and width of the first feature map.
FIRST_PX = 4


@dataclass(frozen=True)
class UpArchitecture:
    """The shape of an up-convolution network.

    dim: numbers of a code. channels: of the feature maps of 4, 8, 16, … px; the last has the size of the
    image. refined: how many convolutions of kernel 3 follow at each of these sizes.
    """

    dim: int
    channels: tuple[int, ...]
    refined: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.dim, *self.channels, *(r + 1 for r in self.refined))
        right = len(self.channels) == len(self.refined) and all(isinstance(n, int) and n > 0 for n in numbers)
        if not right or not self.channels:
            raise BadInput(f"no such up-convolution network: {self}; give channels and refined for each size")

    @property
    def image_size_px(self) -> int:
        """Height and width of the images."""
        return int(FIRST_PX * 2 ** (len(self.channels) - 1))
