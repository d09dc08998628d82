"""The types of the loop, with shapes, ranges and units. Read it first.

    codes -> images -> responses -> scores -> codes
    (runs, n, d)   (runs·n, 3, h, w)   (images, repeats, units)   (runs, n)

A *run* is one evolution; all runs of an experiment go through the loop together. Missing values
are NaN from end to end. A higher score is always better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # at run time PyTorch is imported by those who compute
    import torch

#: float32, (n, d) or (runs, n, d): points in a generator's space, flattened.
Codes: TypeAlias = "torch.Tensor"
#: float32, (n, 3, h, w), RGB in [0, 1].
Images: TypeAlias = "torch.Tensor"
#: uint8, (n, 3, h, w), RGB: images as they are shown.
ShownImages: TypeAlias = "torch.Tensor"
#: float64, (images, repeats, units), in the subject's own unit (spikes, activation). NaN = missing.
Responses: TypeAlias = "torch.Tensor"
#: float64, (n,) or (runs, n). NaN = not seen.
Scores: TypeAlias = "torch.Tensor"
#: int64, (runs,): one seed per run, each in [0, 2**63).
Seeds: TypeAlias = "torch.Tensor"

Float32Array: TypeAlias = npt.NDArray[np.float32]
#: float32, (n, d): codes as arrays, as a record has them.
CodeArray: TypeAlias = Float32Array


@dataclass(frozen=True)
class Batch:
    """One generation, as `Evolution.ask` hands it out.

    ids: names of the images, unique within the evolution, in the order of the rows below.
    codes: (n, d) float32. images: (n, 3, h, w) float32 in [0, 1], RGB, already on the 8-bit grid.
    """

    ids: tuple[str, ...]
    codes: Float32Array
    images: Float32Array


def quantise(images: Images) -> ShownImages:
    """Images in [0, 1] (values outside are clipped) to 8 bits, rounded to nearest (ties to even)."""
    import torch

    return (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
