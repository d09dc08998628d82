"""Threads: searches of several generators on one neuron, side by side, and what each of them reached.

A thread is the runs of one generator and optimizer on a target. Success: the mean score of its last two
generations less that of its first two, tested by permutation of their images. Two threads are compared
generation by generation, at equal presentations: generations of one search follow from each other, so signs
are flipped, and means resampled, for blocks of about √n generations.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdream.report.spreads import bootstrap
from xdream.report.summary import RunSummary
from xdream.report.text_table import number
from xdream.store import Record

Array = npt.NDArray[np.float64]

#: Generations at the beginning and at the end whose images are compared.
ENDS = 2
#: Of permutations, sign flips and resampled means; fewer where all can be tried.
DRAWS = 10_000
#: With fewer blocks no p below 0.05 can come out.
FEWEST_BLOCKS = 6
COVERAGE = (2.5, 97.5)


@dataclass(frozen=True)
class Thread:
    """What a thread reached. runs: their numbers. presentations: (n,) shown until the end of each generation;
    mean: (n,) score of its images, over all runs. first, last: mean score of these generations. p: that their
    difference is due to chance (two-sided); NaN where there are no two such pairs of generations."""

    target: str
    generator: str
    optimizer: str
    runs: tuple[int, ...]
    presentations: Array
    mean: Array
    low: Array
    high: Array
    first: float
    last: float
    best: float
    p: float

    @property
    def name(self) -> str:
        """As it stands in tables and figures."""
        return f"{self.generator}, {self.optimizer}"


@dataclass(frozen=True)
class ThreadPair:
    """Two threads of a target. difference: of their mean scores over the generations at equal presentations,
    with its 95 % interval; p: two-sided; NaN where the generations are too few."""

    first: Thread
    second: Thread
    difference: float
    low: float
    high: float
    p: float


def threads_of(record: Record, summaries: Sequence[RunSummary]) -> list[Thread]:
    """The threads of each target that has runs of several generators; none where no target has."""
    found: dict[str, dict[tuple[str, str], list[RunSummary]]] = defaultdict(lambda: defaultdict(list))
    for s in summaries:
        if s.generations:
            found[s.target][s.generator, s.optimizer].append(s)
    return [
        _thread(record, runs)
        for together in found.values()
        if len({generator for generator, _ in together}) > 1
        for runs in together.values()
    ]


def thread_pairs(threads: Sequence[Thread]) -> Iterator[ThreadPair]:
    """Every two threads of a target."""
    for a, b in itertools.combinations(threads, 2):
        if a.target == b.target:
            yield _compared(a, b)


def _thread(record: Record, runs: Sequence[RunSummary]) -> Thread:
    void = set(record.void_generations())
    kept = [
        [scores for number, scores in enumerate(record.scores(s.run)) if number not in void] for s in runs
    ]
    length = min(len(of_run) for of_run in kept)
    shown = np.cumsum([np.mean([len(of_run[g]) for of_run in kept]) for g in range(length)])
    scores = [np.concatenate([of_run[g] for of_run in kept]) for g in range(length)]
    scores = [one[np.isfinite(one)] for one in scores]
    low, high = bootstrap(scores)
    first, last = np.concatenate(scores[:ENDS]), np.concatenate(scores[-ENDS:])
    return Thread(
        runs[0].target,
        runs[0].generator,
        runs[0].optimizer,
        tuple(s.run for s in runs),
        shown * float(record.facts["repeats"]),
        np.array([_mean(one) for one in scores]),
        low,
        high,
        _mean(first),
        _mean(last),
        max((float(one.max()) for one in scores if one.size), default=np.nan),
        _p_of_permutations(first, last) if length >= 2 * ENDS else np.nan,
    )


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else np.nan


def _p_of_permutations(a: Array, b: Array) -> float:
    """Of the difference of two means, by permutation of their values (the seen one is among the draws)."""
    if not a.size or not b.size:
        return np.nan
    together = np.concatenate((a, b))
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(np.tile(together, (DRAWS - 1, 1)), axis=1)
    differences = shuffled[:, : len(a)].mean(1) - shuffled[:, len(a) :].mean(1)
    return _as_far(differences, float(a.mean() - b.mean()))


def _as_far(drawn: Array, seen: float) -> float:
    """The share of draws as far from 0 as what was seen, which is one of them."""
    limit = abs(seen) * (1.0 - 1e-9)
    return float((1 + (np.abs(drawn) >= limit).sum()) / (1 + len(drawn)))


def _compared(a: Thread, b: Thread) -> ThreadPair:
    last = min(a.presentations[-1], b.presentations[-1])
    at = a.presentations[a.presentations <= last]
    there = np.isfinite(b.mean)
    if not there.any() or not len(at):
        return ThreadPair(a, b, np.nan, np.nan, np.nan, np.nan)
    differences = a.mean[: len(at)] - np.interp(at, b.presentations[there], b.mean[there])
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return ThreadPair(a, b, np.nan, np.nan, np.nan, np.nan)
    difference = float(differences.mean())
    count = len(differences) // max(1, round(len(differences) ** 0.5))
    if count < FEWEST_BLOCKS:
        return ThreadPair(a, b, difference, np.nan, np.nan, np.nan)
    blocks = np.array([one.mean() for one in np.array_split(differences, count)])
    rng = np.random.default_rng(0)
    drawn = blocks[rng.integers(0, count, (DRAWS, count))].mean(1)
    signs = rng.choice([-1.0, 1.0], (DRAWS - 1, count))
    p = _as_far((signs * blocks).mean(1), float(blocks.mean()))
    low, high = np.percentile(drawn, COVERAGE)
    return ThreadPair(a, b, difference, float(low), float(high), p)


# ------------------------------------------------------------------ what is shown


def thread_lines(threads: Sequence[Thread]) -> Iterator[str]:
    """The lines below a summary: what each thread reached, and how every two of them differ."""
    for target, of_target in itertools.groupby(threads, key=lambda one: one.target):
        together = list(of_target)
        yield f"threads of {target}: mean of the first {ENDS} and the last {ENDS} generations, best"
        for one in together:
            yield (
                f"  {one.name}: {number(one.first)} -> {number(one.last)} ({_p(one.p)}), "
                f"best {number(one.best)}"
            )
        for pair in thread_pairs(together):
            yield (
                f"  {pair.first.name} less {pair.second.name}, at equal presentations: "
                f"{number(pair.difference)} [{number(pair.low)} to {number(pair.high)}], {_p(pair.p)}"
            )


def _p(value: float) -> str:
    """A p to two digits; what is too small for the draws is said as such."""
    if np.isnan(value):
        return "p is not known: too few generations"
    return f"p = {value:.2g}" if value > 1.5 / DRAWS else f"p < {2 / DRAWS:g}"
