"""What a subject is: it is shown images and responds."""

from __future__ import annotations

from typing import Protocol

import torch

from xdream.types import ShownImages


class Subject(Protocol):
    """Something that responds to images, on one or more units.

    name: for messages and reports. units: the name of each unit, in the order of the responses.
    warnings: sentences that every output made with it must carry.
    """

    name: str
    units: tuple[str, ...]
    warnings: tuple[str, ...]

    def respond(self, images: ShownImages) -> torch.Tensor:
        """(n, 3, h, w) uint8 -> (n, units) float64, without noise. Raises SubjectError."""
        ...
