"""How much numbers of a record vary: over images, repeats, references, and over the session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdream.experiment import presentation_rows
from xdream.experiment.plan import Plan
from xdream.experiment.presentation_rows import PresentationRecord
from xdream.store import Record

Array = npt.NDArray[np.float64]

#: Drawn means of which the middle 95 % is the interval.
RESAMPLES = 500


@dataclass(frozen=True)
class Level:
    """Of one generation: mean response and its standard error; count: of presentations."""

    generation: int
    mean: float
    error: float
    count: int


@dataclass(frozen=True)
class Electrode:
    """Of a channel of a session: to evolved images and to references, by generation."""

    label: str
    evolved: tuple[Level, ...]
    references: tuple[Level, ...]


def bootstrap(scores: Sequence[Array]) -> tuple[Array, Array]:
    """Of each generation the 95 % interval of its mean, from resampled images; NaN where fewer than two."""
    low, high = np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    for at, every in enumerate(scores):
        seen = every[np.isfinite(every)]
        if len(seen) > 1:
            rows = np.random.default_rng(at).integers(0, len(seen), (RESAMPLES, len(seen)))
            low[at], high[at] = np.percentile(seen[rows].mean(1), [2.5, 97.5])
    return low, high


def repeat_error(record: Record, image: int) -> float:
    """Standard error of the mean response to an image of an experiment over its repeats; NaN: one repeat."""
    rows = record.query("SELECT response FROM presentation WHERE image = ? AND response IS NOT NULL", image)
    values = np.array([row[0] for row in rows], dtype=np.float64)
    if len(values) < 2 or values.std() == 0:  # without noise all repeats are alike
        return np.nan
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def drift_of_references(record: Record, run: int) -> tuple[Level, ...]:
    """Of an experiment: the noise-free responses to interleaved references, by generation."""
    found: dict[int, list[float]] = defaultdict(list)
    for generation, response in record.query(
        "SELECT generation, noise_free FROM presentation WHERE run = ? AND reference IS NOT NULL"
        " AND noise_free IS NOT NULL",
        run,
    ):
        found[generation].append(response)
    return _levels(found)


def electrodes(record: Record, plan: Plan) -> list[Electrode]:
    """Every channel of a session, over the generations that count."""
    assert plan.session is not None
    evolved: list[dict[int, list[float]]] = [defaultdict(list) for _ in plan.session.labels]
    references: list[dict[int, list[float]]] = [defaultdict(list) for _ in plan.session.labels]
    for one in _counting(record):
        for channel, response in enumerate(one.responses.tolist()):
            if response == response:
                into = references if one.reference else evolved
                into[channel][one.generation - 1].append(response)
    return [
        Electrode(label, _levels(evolved[channel]), _levels(references[channel]))
        for channel, label in enumerate(plan.session.labels)
    ]


def _counting(record: Record) -> Iterable[PresentationRecord]:
    for batch in presentation_rows.presentations(record):
        yield from (one for one in batch if one.counts)


def _levels(found: dict[int, list[float]]) -> tuple[Level, ...]:
    levels = []
    for generation, values in sorted(found.items()):
        spread = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        levels.append(Level(generation, float(np.mean(values)), float(spread), len(values)))
    return tuple(levels)
