"""Checks of each channel, from block to block: it fell silent, its baseline made a step, it drifts. Pure.

What is looked at is raw: before any baseline is subtracted, and not in standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdream.scoring.recordings import Array
from xdream.scoring.responses import NORMAL

#: So many of the latest blocks are compared with; who keeps levels need keep no more.
MOST = 20
#: A step is looked for after so many blocks, in a block of so many presentations.
LEAST = 5
#: Robust standard deviations that make a step.
LIMIT = 6.0
#: Silence is odd when it had at most this probability.
CHANCE = 1e-6
#: Standard deviations of Kendall's S that make a drift: by chance in 7 of a million series without one.
TREND = 4.5


@dataclass(frozen=True, eq=False)
class Level:
    """How the channels were in one block, all (channels,).

    seen, responding: presentations with a number, and with one that is not 0. median: NaN where none was
    seen. error: its standard error, from the numbers whose ranks are two and three binomial standard
    deviations below and above it (the greater of the two), which needs no assumption on their distribution
    and of counts is seldom 0; NaN for a single number.
    """

    seen: npt.NDArray[np.int64]
    responding: npt.NDArray[np.int64]
    median: Array
    error: Array


@dataclass(frozen=True)
class Flag:
    """channel: its number. kind: "silent", "step" or "drift". text: what there is to say of it."""

    channel: int
    kind: str
    text: str


def level(values: Array) -> Level:
    """The level of a block. values: (presentations, channels); NaN = missing."""
    seen = np.isfinite(values).sum(0)
    responding = (np.isfinite(values) & (values != 0.0)).sum(0)
    median, error = np.full(seen.shape, np.nan), np.full(seen.shape, np.nan)
    for channel in np.flatnonzero(seen).tolist():
        ordered = np.sort(values[np.isfinite(values[:, channel]), channel])
        median[channel] = np.median(ordered)
        if len(ordered) > 1:
            error[channel] = max(_error(ordered, 2.0), _error(ordered, 3.0))
    return Level(seen, responding, median, error)


def _error(ordered: Array, deviations: float) -> float:
    """Of the median of sorted numbers. The rank of the true one has the standard deviation √n / 2."""
    last, ranks = len(ordered) - 1, math.sqrt(len(ordered)) / 2
    low = math.floor(max(last / 2 - deviations * ranks, 0))
    high = math.ceil(min(last / 2 + deviations * ranks, last))
    return float(ordered[high] - ordered[low]) * ranks / (high - low)


def silent(previous: Sequence[Level], now: Level) -> tuple[Flag, ...]:
    """Channels whose responses of a block are all 0 though they responded before.

    Were the presentations of all these blocks alike, the chance that none of the responses falls into the
    present one is C(before, responding) / C(before + now, responding) (Fisher's exact test); a channel is
    flagged when it is at most CHANCE, so that sparse ones are not.
    """
    if not previous:
        return ()
    before = np.sum([one.seen for one in previous[-MOST:]], axis=0)
    responding = np.sum([one.responding for one in previous[-MOST:]], axis=0)
    flags = []
    for channel in np.flatnonzero((now.seen > 0) & (now.responding == 0) & (responding > 0)).tolist():
        n, k, m = int(before[channel]), int(responding[channel]), int(now.seen[channel])
        if _log_choose(n, k) - _log_choose(n + m, k) <= math.log(CHANCE):
            text = f"all {m} responses of the block are 0; {k} of {n} before were not"
            flags.append(Flag(channel, "silent", text))
    return tuple(flags)


def stepped(
    previous: Sequence[Level], now: Level, limit: float = LIMIT, what: str = "baseline"
) -> tuple[Flag, ...]:
    """Channels whose median of a block is more than `limit` robust deviations from that of earlier blocks.

    The deviation is √(s² + e²): s is 1.4826 times the median absolute deviation of the earlier blocks'
    medians, larger while they are few (see `_few`), e the largest error of any of the medians. There must
    have been LEAST blocks, and of each block that counts LEAST presentations. what: how the sentence calls
    what is looked at.
    """
    if len(previous) < LEAST:
        return ()
    blocks = [*previous[-MOST:], now]
    seen, medians, errors = (np.stack([getattr(b, k) for b in blocks]) for k in ("seen", "median", "error"))
    flags = []
    for channel in np.flatnonzero(now.seen >= LEAST).tolist():
        enough = seen[:, channel] >= LEAST
        known, median = medians[:-1][enough[:-1], channel], float(now.median[channel])
        if len(known) < LEAST:
            continue
        middle = float(np.median(known))
        between = NORMAL * float(np.median(np.abs(known - middle))) * _few(len(known))
        scale = math.hypot(between, float(errors[enough, channel].max()))
        # Constant up to rounding is constant.
        if abs(median - middle) > limit * scale + 1e-9 * abs(middle):
            text = (
                f"the {what} is {median:.4g} in this block; in the {len(known)} before it was "
                f"{middle:.4g} ± {scale:.2g}"
            )
            flags.append(Flag(channel, "step", text))
    return tuple(flags)


def drifted(levels: Sequence[Level], limit: float = TREND) -> tuple[Flag, ...]:
    """Channels whose medians rise or fall from block to block: of responses to references, which are drawn
    at random, so that without a drift every order of the blocks is equally likely.

    Kendall's test of a trend: S counts the pairs of blocks in which the later median is above the earlier
    one, less those in which it is below; its variance is n(n − 1)(2n + 5) / 18 without ties, and less with
    (Kendall 1975, Rank Correlation Methods). The latest block must be one of those that count, of LEAST
    presentations.
    """
    if not levels:
        return ()
    flags = []
    for channel in np.flatnonzero(levels[-1].seen >= LEAST).tolist():
        medians = np.array([one.median[channel] for one in levels if one.seen[channel] >= LEAST])
        n = len(medians)
        pairs = np.sign(medians[None, :] - medians[:, None])[np.triu_indices(n, 1)]
        if abs(float(pairs.sum())) > limit * math.sqrt(n * (n - 1) * (2 * n + 5) / 18):
            third = max(n // 3, 1)
            early, late = float(np.median(medians[:third])), float(np.median(medians[-third:]))
            text = (
                f"the response to the references {'rises' if late > early else 'falls'}: {early:.4g} in the "
                f"first third of the last {n} blocks, {late:.4g} in the last third"
            )
            flags.append(Flag(channel, "drift", text))
    return tuple(flags)


def _few(blocks: int) -> float:
    """A median absolute deviation of few numbers is often far too small by chance."""
    return 1.0 + 10.0 / blocks


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
