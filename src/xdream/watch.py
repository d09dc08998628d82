"""What is odd about a channel: it fell silent, or its baseline made a step. Pure; from block to block.

What is looked at is raw: before any baseline is subtracted, and not in standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdream.recorded import Array

#: So many of the latest blocks are compared with; who keeps levels need keep no more.
MOST = 20
#: A step is looked for after so many blocks.
LEAST = 5
#: Robust standard deviations that make a step.
LIMIT = 6.0
#: Silence is odd when it had at most this probability.
CHANCE = 1e-6
#: Of a normal distribution: its standard deviation over its median absolute deviation.
NORMAL = 1.4826


@dataclass(frozen=True, eq=False)
class Level:
    """How the channels were in one block, all (channels,).

    seen, responding: presentations with a number, and with one that is not 0. median: NaN where none was
    seen. error: its standard error, from the ranks two binomial standard deviations below and above it,
    which needs no assumption on the distribution.
    """

    seen: npt.NDArray[np.int64]
    responding: npt.NDArray[np.int64]
    median: Array
    error: Array


@dataclass(frozen=True)
class Flag:
    """channel: its number. kind: "silent" or "step". text: what there is to say of it, with the numbers."""

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
        last, reach = len(ordered) - 1, math.sqrt(len(ordered))
        low, high = math.floor(max(last / 2 - reach, 0)), math.ceil(min(last / 2 + reach, last))
        median[channel] = np.median(ordered)
        error[channel] = (ordered[high] - ordered[low]) / 4.0
    return Level(seen, responding, median, error)


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
    have been LEAST blocks. what: how the sentence calls what is looked at.
    """
    if len(previous) < LEAST:
        return ()
    medians = np.stack([one.median for one in previous[-MOST:]])
    errors = np.stack([one.error for one in [*previous[-MOST:], now]])
    flags = []
    for channel in np.flatnonzero(np.isfinite(now.median)).tolist():
        known = medians[np.isfinite(medians[:, channel]), channel]
        if len(known) < LEAST:
            continue
        middle, median = float(np.median(known)), float(now.median[channel])
        between = NORMAL * float(np.median(np.abs(known - middle))) * _few(len(known))
        scale = math.hypot(between, float(np.nanmax(errors[:, channel])))
        # Constant up to rounding is constant.
        if abs(median - middle) > limit * scale + 1e-9 * abs(middle):
            text = (
                f"the {what} is {median:.4g} in this block; in the {len(known)} before it was "
                f"{middle:.4g} ± {scale:.2g}"
            )
            flags.append(Flag(channel, "step", text))
    return tuple(flags)


def _few(blocks: int) -> float:
    """A median absolute deviation of few numbers is often far too small by chance."""
    return 1.0 + 10.0 / blocks


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
