"""Counter-based draws: (a run's seed, step, purpose) -> numbers.

Each number is a function of its coordinates alone: asking twice gives the same, a run draws the same
alone or beside others, and a checkpoint needs no generator state. The bits are those of Philox 4x32-10
(Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"), computed in integer
arithmetic. What is made of them uses only operations that IEEE 754 rounds correctly (add, multiply,
divide, square root), each a kernel of its own, so that a CPU and a GPU, and every release of the
libraries, give the same numbers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TypeAlias

import torch

from xdream.types import Seeds

#: Recorded with every experiment: a change of any draw changes this name.
VERSION = "philox4x32-10/1"

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

#: The name of a stream of draws, or one name for each run.
Purpose: TypeAlias = str | Sequence[str]

_Words = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def philox(counter: _Words, key: tuple[torch.Tensor, torch.Tensor]) -> _Words:
    """Philox 4x32-10. All words are int64 tensors with values in [0, 2**32) that broadcast."""
    *words, _ = torch.broadcast_tensors(*counter, key[0])  # type: ignore[no-untyped-call]
    c0, c1, c2, c3 = (word.clone() for word in words)
    k0, k1 = key
    p0, p1 = torch.empty_like(c0), torch.empty_like(c0)
    for _ in range(_ROUNDS):  # in place: a third faster
        # A 64-bit product wraps modulo 2**64, which leaves all of its bits in place; the shift of a
        # negative number brings in ones from the left, which the mask takes away.
        torch.mul(c0, _MULTIPLIERS[0], out=p0)
        torch.mul(c2, _MULTIPLIERS[1], out=p1)
        torch.bitwise_right_shift(p1, 32, out=c0).bitwise_and_(_MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        torch.bitwise_right_shift(p0, 32, out=c2).bitwise_and_(_MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        torch.bitwise_and(p1, _MASK, out=c1)
        torch.bitwise_and(p0, _MASK, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def bits(seeds: Seeds, steps: torch.Tensor, purpose: Purpose, count: int) -> torch.Tensor:
    """(runs, count) int64 words, uniform in [0, 2**32).

    seeds: (runs,) int64. steps: (runs,) int64 in [0, 2**32), the place in time. purpose: the name of
    the stream, or one for each run; draws of different purposes are independent.
    """
    blocks = -(-count // 4)
    device = seeds.device
    block = torch.arange(blocks, dtype=torch.int64, device=device)
    step = steps.to(torch.int64)[:, None] & _MASK
    names = [purpose] if isinstance(purpose, str) else purpose
    name = torch.tensor([zlib.crc32(one.encode()) for one in names], dtype=torch.int64, device=device)[
        :, None
    ]
    key = ((seeds & _MASK)[:, None], ((seeds >> 32) & _MASK)[:, None])
    words = philox((block[None, :], step, name, torch.zeros_like(name)), key)
    return torch.stack(words, dim=-1).reshape(len(seeds), 4 * blocks)[:, :count]


def uniform(seeds: Seeds, steps: torch.Tensor, purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
    """(runs, *shape) float32, uniform on the multiples of 2**-24 in [0, 1)."""
    words = bits(seeds, steps, purpose, math.prod(shape))
    return ((words >> 8).to(torch.float32) * 2.0**-24).reshape(len(seeds), *shape)


def uniform64(seeds: Seeds, steps: torch.Tensor, purpose: Purpose, shape: tuple[int, ...]) -> torch.Tensor:
    """(runs, *shape) float64, uniform on the multiples of 2**-53 in [0, 1)."""
    count = math.prod(shape)
    high, low = bits(seeds, steps, purpose, 2 * count).reshape(len(seeds), count, 2).unbind(-1)
    return (((high >> 5) * 2**26 + (low >> 6)).to(torch.float64) * 2.0**-53).reshape(len(seeds), *shape)


def normal(seeds: Seeds, steps: torch.Tensor, purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
    """(runs, *shape) float32, standard normal (Box & Muller 1958), |x| < 6.77."""
    count = math.prod(shape)
    half = -(-count // 2)
    words = bits(seeds, steps, purpose, 2 * half).reshape(len(seeds), half, 2)
    # Through float64: the float32 square root of a CPU's vector library is not rounded correctly everywhere.
    radius = torch.sqrt((-2.0 * _log_of_fraction(words[..., 0])).to(torch.float64)).to(torch.float32)
    cosine, sine = _turn(words[..., 1])
    both = torch.stack((radius * cosine, radius * sine), dim=-1).reshape(len(seeds), 2 * half)
    return both[:, :count].reshape(len(seeds), *shape)


#: From this rate on, counts follow the normal approximation below.
LARGE_RATE = 1e4


def poisson(uniforms: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """Poisson counts by inversion: the least k with P(X <= k) > u. float64, the shape of `rates`.

    uniforms: float64 in [0, 1). rates: float64, the same shape, >= 0 and finite. Below LARGE_RATE the
    probabilities are summed, over a window of 9 standard deviations and 40 on either side of the rate; what
    lies outside is below 1e-18. Above it the quantile is that of Cornish & Fisher (1938), whose error is a
    hundredth of a count.
    """
    large = rates >= LARGE_RATE
    z = torch.special.ndtri(uniforms.clamp_min(2.0**-54))
    quantile = (rates + z * rates.sqrt() + (z * z - 1.0) / 6.0 + 0.5).floor().clamp_min(0.0)
    return torch.where(large, quantile, _poisson_sum(uniforms, torch.where(large, 0.0, rates)))


def _poisson_sum(uniforms: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    width = 9.0 * rates.sqrt() + 40.0
    k = (rates - width).clamp_min(0.0).floor()
    logarithm = torch.where(rates > 0.0, rates, 1.0).log()
    probability = torch.where(rates > 0.0, (k * logarithm - rates - torch.lgamma(k + 1.0)).exp(), 1.0)
    total = probability
    for _ in range(math.ceil(2.0 * float(width.max())) if rates.numel() else 0):
        above = uniforms >= total
        if not bool(above.any()):
            break
        k = k + above
        probability = probability * rates / k.clamp_min(1.0)
        total = total + torch.where(above, probability, 0.0)
    return k


def permutation(seeds: Seeds, steps: torch.Tensor, purpose: str, n: int) -> torch.Tensor:
    """(runs, n) int64, each row a random order of 0 … n−1 (sorted by 63 random bits)."""
    words = bits(seeds, steps, purpose, 2 * n)
    return torch.argsort((words[:, :n] >> 1 << 32) | words[:, n:], dim=1, stable=True)


def _polynomial(x: torch.Tensor, coefficients: tuple[float, ...]) -> torch.Tensor:
    """Horner's rule, the highest power first; one multiplication and one addition a kernel each."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _log_of_fraction(words: torch.Tensor) -> torch.Tensor:
    """log((words + 0.5) / 2**32) in float32, for 32-bit words.

    With x = m · 2^e, 0.7 < m < 1.42: log x = e log 2 + 2 artanh((m − 1)/(m + 1)), artanh as its series
    (s + s³/3 + s⁵/5 + …, |s| < 0.18: the first term left out is below 2e-8 of the value).
    """
    mantissa, exponent = torch.frexp(words.to(torch.float64) + 0.5)
    low = mantissa < math.sqrt(0.5)
    mantissa = torch.where(low, mantissa * 2.0, mantissa)
    exponent = torch.where(low, exponent - 1, exponent).to(torch.float32) - 32.0
    # Still in float64: next to 1 a float32 mantissa would have lost the logarithm.
    s = ((mantissa - 1.0) / (mantissa + 1.0)).to(torch.float32)
    series = _polynomial(s * s, tuple(2.0 / k for k in (9, 7, 5, 3, 1)))
    return exponent * math.log(2.0) + s * series


def _turn(words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of a uniform angle: the first two bits choose the quarter, 24 bits the angle.

    Within a quarter the angle runs over [−π/4, π/4), where the Taylor series to the 9th power are good
    to float32.
    """
    quarter = words >> 30
    fraction = ((words >> 6) & 0xFFFFFF).to(torch.float32) * 2.0**-24 - 0.5
    angle = fraction * (math.pi / 2.0)
    square = angle * angle
    cosine = _polynomial(square, (1 / 40320, -1 / 720, 1 / 24, -1 / 2, 1.0))
    sine = angle * _polynomial(square, (1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0))
    odd = (quarter & 1) == 1
    sign = 1.0 - (quarter & 2).to(torch.float32)
    return (
        torch.where(odd, -sine, cosine) * sign,
        torch.where(odd, cosine, sine) * sign,
    )
