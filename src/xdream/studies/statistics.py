"""The statistics that studies report: medians, quartiles, bootstrap intervals, paired tests.

The sampling unit is the neuron (unit): several seeds of one are averaged before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdream.errors import BadInput

#: Bootstrap samples, and the coverage of the intervals.
RESAMPLES, COVERAGE = 4_000, 0.95
#: With fewer units the 95 % interval of a median does not exist: of n units, even from the least to the
#: greatest, it holds the true median with 1 - 2 / 2^n, which is 0.94 for 5 and 0.97 for 6.
FEWEST = 6

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval; low, high: NaN with fewer than `FEWEST` units."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if not self.n:
            return "no units"
        if math.isnan(self.low):
            return f"{self.value:.2f} (n = {self.n})"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Summary:
    """Median with its interval, and quartiles, over units."""

    median: Interval
    q1: float
    q3: float


@dataclass(frozen=True)
class Paired:
    """The median of the differences within units, and p of Wilcoxon's signed-rank test (two-sided)."""

    difference: Interval
    p: float

    def __str__(self) -> str:
        p = "" if math.isnan(self.p) else f", p = {self.p:.2g}"
        return f"{self.difference}{p}"


def interval(values: Sequence[float], statistic: Callable[..., Any] = np.median) -> Interval:
    """A statistic of units with its percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13).

    statistic: takes an array and `axis`. Without values all is NaN.
    """
    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float(statistic(found, axis=-1))
    if len(found) < FEWEST:
        return Interval(value, math.nan, math.nan, len(found))
    if np.all(found == found[0]):
        return Interval(value, value, value, len(found))
    drawn = _bootstrap((found,), statistic)
    return Interval(value, *drawn, len(found))


def difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Median of a minus median of b, of different units, with its interval. n: of the smaller group."""

    def apart(x: Array, y: Array, axis: int = -1) -> Any:
        return np.median(x, axis=axis) - np.median(y, axis=axis)

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n = min(len(first), len(second))
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float(apart(first, second))
    if n < FEWEST:
        return Interval(value, math.nan, math.nan, n)
    return Interval(value, *_bootstrap((first, second), apart), n)


def share_above(values: Sequence[float], bound: float) -> Interval:
    """The share of units above a bound, with Wilson's interval (1927), which is right near 0 and 1, too."""
    import_scipy()
    from scipy.stats import binomtest

    n = len(values)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    above = sum(value > bound for value in values)
    if n < FEWEST:
        return Interval(above / n, math.nan, math.nan, n)
    found = binomtest(above, n).proportion_ci(COVERAGE, method="wilson")
    return Interval(above / n, float(found.low), float(found.high), n)


def summarised(values: Sequence[float]) -> Summary:
    """Median, interval, quartiles."""
    q1, q3 = np.quantile(values, (0.25, 0.75)) if len(values) else (math.nan, math.nan)
    return Summary(interval(values), float(q1), float(q3))


def paired(a: Mapping[Any, float], b: Mapping[Any, float]) -> Paired:
    """a minus b within the units that both have."""
    import_scipy()
    from scipy.stats import wilcoxon

    differences = [a[unit] - b[unit] for unit in a if unit in b]
    p = math.nan
    if len(differences) >= FEWEST and any(differences):
        p = float(wilcoxon(differences, method="auto").pvalue)
    return Paired(interval(differences), p)


def import_scipy() -> None:
    """Raise BadInput where SciPy, of the extra `studies`, is missing."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        raise BadInput("a study needs the package scipy; install it: pip install 'xdream[studies]'") from None


def _bootstrap(samples: tuple[Array, ...], statistic: Callable[..., Any]) -> tuple[float, float]:
    import_scipy()
    from scipy.stats import bootstrap

    found = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=COVERAGE,
        method="percentile",
        rng=np.random.default_rng(0),  # the same table gives the same interval
        vectorized=True,
    ).confidence_interval
    return float(found.low), float(found.high)
