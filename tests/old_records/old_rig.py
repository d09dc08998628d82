"""Subjects whose responses are whole numbers, the same on every machine: for the old records."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

#: Sides of the images that are shown.
SIZE_PX = 8


class Weighted(nn.Module):
    """Each of two units adds up the pixels with its own whole weights."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, 8, 8) in 0-255 -> (n, 2)."""
        places = torch.arange(3 * SIZE_PX**2)
        weights = torch.stack([(places * 7) % 11 - 5, (places * 5) % 13 - 6]).to(torch.float64)
        return (images.flatten(1).to(torch.float64)[:, None] * weights).sum(2)


def network() -> nn.Module:
    """For targets `python:old_rig:network::0-1`."""
    return Weighted().eval()


def responses(pixels: torch.Tensor, repeat: int) -> np.ndarray[Any, Any]:
    """What three channels of the rig answer to an image: the sum of each colour, and of the repeat."""
    return pixels.to(torch.int64).sum((1, 2)).numpy().astype(np.float64) + repeat


def answers(block: Any, answer: Any, row: Any, values: Any) -> Sequence[Any]:
    """All of a block in one answer; every seventh presentation of a later place is missing."""
    rows = [
        row(one.image, one.repeat, values(responses(block.images[one.image], one.repeat)))
        for one in block.presentations
        if one.place % 7 != 6
    ]
    return [
        answer(tuple(rows), block=block.number, source="old rig"),
        answer((), block=block.number, fence=block.fence, last=True),
    ]
