"""Fourier: an image as a few of its frequencies, with the statistics of photographs as the prior.

Olah, Mordvintsev & Schubert 2017, "Feature visualization", and Mordvintsev, Pezzotti, Schubert & Olah
2018, "Differentiable image parameterizations" (Distill): amplitudes that fall as 1/f, and colour
channels that are decorrelated.

    codes -> coefficients -> half spectrum -> three decorrelated planes -> RGB logits -> images
          ×scale          gather           irfft2                      ×COLOUR        sigmoid
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import torch
from pydantic import Field
from torch import nn

from xdream.errors import BadInput
from xdream.generators.base import GaussianCodes, Tuned
from xdream.generators.pixels import NO_LIMIT, SizePx, check_size
from xdream.generators.statistics import read_statistics
from xdream.registry import declares
from xdream.types import Codes, Images

#: 797 real numbers per channel, 2,391 in all.
DEFAULT_CUTOFF_CYCLES = 16.0
#: Standard deviation over images and pixels of each decorrelated plane, for N(0, 1) codes. Shown values
#: then vary by 0.2 of the range from black to white (within a photograph: 0.23), hardly any is near its
#: ends, and there is room for an evolution to go outwards.
LOGIT_STD = 1.0
#: Decorrelated planes (columns: light–dark, blue–yellow, green–magenta) to RGB (rows): the principal
#: axes of the RGB covariance of 5,740 photographs (ImageNet at 64 px), 8-bit values as stored, each
#: axis scaled by its standard deviation, then all divided so that the most variable channel (blue) has
#: standard deviation 1.
COLOUR = (
    (0.9129, 0.3582, 0.0897),
    (0.9395, -0.0080, -0.1849),
    (0.9346, -0.3419, 0.0983),
)
#: `invert` keeps this far from 0 and 1, whose logits are infinite; it rounds to 0 and 255 in 8 bits.
EDGE = 0.4 / 255.0


@dataclass(frozen=True)
class Spectrum:
    """Where each of the d numbers of one channel lies in the half spectrum (size, size // 2 + 1).

    A real image has conjugate coefficients at opposite frequencies. A pair of them is two numbers, the
    real and the imaginary part; a frequency that is its own opposite (the mean, and the Nyquist ones of
    an even size) is one. The half spectrum holds one member of each pair, but both in the columns
    kx = 0 and kx = Nyquist. The numbers run from low frequencies to high ones, in the same order for
    every size that is more than twice the cutoff.

    real_at, imaginary_at: int64, the number's place in the code, or d for zero. sign: of the imaginary
    part, −1 in the second member of a pair. taken: (d,) int64, each number's place in the flattened half
    spectrum of (real, imaginary) pairs. scale: (d,), what one unit of the code is in the spectrum.
    """

    real_at: torch.Tensor
    imaginary_at: torch.Tensor
    sign: torch.Tensor
    taken: torch.Tensor
    scale: torch.Tensor

    def to(self, device: torch.device) -> Spectrum:
        """The same tables on a device."""
        return Spectrum(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@final
@dataclass(eq=False)
class Fourier:
    """An image as its frequencies up to a cutoff, in three decorrelated colour planes.

    Each component of a code weighs one wave, whose amplitude falls as 1/f (f in cycles per image; the
    mean is as strong as f = 1). N(0, 1) codes are typical images, and the initial ones; the centre, the
    zero code, is mid-grey. The same code at another size, with the same cutoff, is the same image drawn
    larger: pixel (y, x) shows the place (y / size, x / size). Opposite edges of an image meet smoothly.
    """

    name: str
    image_size_px: int
    cutoff_cycles: float
    code_shape: tuple[int, ...]
    initial: GaussianCodes
    centre: torch.Tensor
    spectrum: Spectrum
    colour: torch.Tensor
    differentiable: bool = True
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""

    def __call__(self, codes: Codes) -> Images:
        """(n, d) -> (n, 3, size, size), inside (0, 1)."""
        table, size = self.spectrum, self.image_size_px
        coefficients = codes.reshape(len(codes), *self.code_shape) * table.scale
        with_zero = nn.functional.pad(coefficients, (0, 1))
        half = torch.complex(with_zero[..., table.real_at], with_zero[..., table.imaginary_at] * table.sign)
        planes = torch.fft.irfft2(half, s=(size, size), norm="forward")
        return torch.sigmoid(torch.einsum("ij,njyx->niyx", self.colour, planes))

    def invert(self, images: Images) -> Codes:
        """(n, 3, size, size) in [0, 1] -> (n, d): the least-squares code in the space of logits.

        Values are first kept `EDGE` away from 0 and 1. A cutoff that includes every frequency gives
        back the 8-bit image exactly; a lower one gives the image without its high frequencies.
        """
        logits = torch.logit(images, eps=EDGE)
        planes = torch.einsum("ij,njyx->niyx", torch.linalg.inv(self.colour), logits)
        half = torch.view_as_real(torch.fft.rfft2(planes, norm="forward"))
        return (half.flatten(2)[..., self.spectrum.taken] / self.spectrum.scale).flatten(1)

    def to(self, device: torch.device) -> Fourier:
        """The same generator on a device."""
        return Fourier(
            self.name,
            self.image_size_px,
            self.cutoff_cycles,
            self.code_shape,
            self.initial.to(device),
            self.centre.to(device),
            self.spectrum.to(device),
            self.colour.to(device),
        )

    def initial_from(self, statistics: Path) -> GaussianCodes:
        """The distribution in the group `fourier` of an HDF5 file. Raises BadInput."""
        return read_statistics(statistics, self.name, self.code_shape)


#: The better ones of a coarse look without noise (benches/defaults.py); where settings did as well as each
#: other, the one that lets codes drift less.
TUNED = {
    "rank-nes": Tuned({"mean_limit": NO_LIMIT}),
    "genetic": Tuned({"population": 20, "mutation_rate": 0.25, "mutation_size": 0.5, "selectivity": 2.0}),
    "fdgd": Tuned({"population": 20, "search_radius": 0.5, "learning_rate": 1.5}),
    "nes": Tuned({"population": 20, "search_radius": 0.5, "learning_rate": 0.5}),
}


@declares(tuned=TUNED)
def fourier(size_px: SizePx = 128, cutoff_cycles: Annotated[float, Field(gt=0)] | None = None) -> Fourier:
    """The generator `fourier`: images of `size_px`, frequencies up to `cutoff_cycles` per image.

    Without a cutoff: DEFAULT_CUTOFF_CYCLES, or all frequencies of an image too small for that.
    The cutoff is a radius: at size_px / 2 the highest frequencies along rows and columns are in, and
    the corners of the spectrum at √2 times that, when nothing is left out. Raises BadInput.
    """
    check_size(size_px)
    if cutoff_cycles is None:
        cutoff_cycles = min(DEFAULT_CUTOFF_CYCLES, float(_highest(size_px)))
    _check_cutoff(cutoff_cycles, size_px)
    spectrum = _spectrum(size_px, cutoff_cycles)
    code_shape = (3, len(spectrum.scale))
    centre = torch.zeros(math.prod(code_shape))
    initial = GaussianCodes(centre, torch.ones_like(centre))
    colour = torch.tensor(COLOUR)
    return Fourier("fourier", size_px, cutoff_cycles, code_shape, initial, centre, spectrum, colour)


def _highest(size_px: int) -> int:
    """A cutoff that leaves no frequency out, the corners of the spectrum included."""
    return math.ceil(math.sqrt(2.0) * (size_px // 2))


def _check_cutoff(cutoff_cycles: float, size_px: int) -> None:
    highest = _highest(size_px)
    number = isinstance(cutoff_cycles, int | float) and not isinstance(cutoff_cycles, bool)
    if not number or not 0.0 < cutoff_cycles <= highest:
        raise BadInput(
            f"a cutoff of {cutoff_cycles} cycles per image is not possible at {size_px} px; give a "
            f"number above 0 and at most {highest} (all frequencies), or a larger image size"
        )


def _spectrum(size_px: int, cutoff_cycles: float) -> Spectrum:
    """The tables for one size and cutoff."""
    ky = torch.arange(size_px)[:, None]
    ky = torch.where(2 * ky > size_px, ky - size_px, ky)
    kx = torch.arange(size_px // 2 + 1)[None, :]
    square = ky**2 + kx**2
    # In these columns a frequency and its opposite are both present: the one with ky >= 0 is taken.
    both_present = (kx == 0) | (2 * kx == size_px)
    kept = (square <= cutoff_cycles**2) & (~both_present | (ky >= 0))
    rows, columns = torch.nonzero(kept, as_tuple=True)
    order = torch.argsort(square[rows, columns], stable=True)
    rows, columns = rows[order], columns[order]

    in_both = both_present[0, columns]
    pair = ~(in_both & (2 * rows % size_px == 0))
    numbers = 1 + pair.long()
    first = torch.cumsum(numbers, 0) - numbers
    owner = torch.repeat_interleave(numbers)
    d = len(owner)

    real_at = torch.full(square.shape, d)
    imaginary_at = torch.full(square.shape, d)
    sign = torch.ones(square.shape)
    real_at[rows, columns] = first
    imaginary_at[rows[pair], columns[pair]] = first[pair] + 1
    mirrored = pair & in_both
    opposite = (size_px - rows[mirrored], columns[mirrored])
    real_at[opposite] = first[mirrored]
    imaginary_at[opposite] = first[mirrored] + 1
    sign[opposite] = -1.0

    place = 2 * (rows * square.shape[1] + columns)
    taken = place[owner] + (torch.arange(d) - first[owner])
    scale = _scale(square[rows, columns][owner].double().sqrt(), pair[owner])
    return Spectrum(real_at, imaginary_at, sign, taken, scale.float())


def _scale(f: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
    """What one unit of each number is in the spectrum, from its frequency and whether it is paired."""
    amplitude = 1.0 / f.clamp_min(1.0)
    amplitude *= LOGIT_STD / amplitude.square().sum().sqrt()
    # Wave of mean square 1: √2 cos of a pair, whose two members share it; a lone coefficient's is 1.
    return torch.where(pair, amplitude * math.sqrt(0.5), amplitude)
