"""How much numbers of a record vary: over images, repeats, references, and over the session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter

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
    """Of one generation: mean response over images and its standard error; NaN of a single image.

    The repeats of an image are averaged first: they say how noisy a response is, not how unlike images are.
    count: of presentations. images: of those.
    """

    generation: int
    mean: float
    error: float
    count: int
    images: int


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
    rows = record.query(
        "SELECT generation, avg(noise_free), count(noise_free) FROM presentation WHERE run = ?"
        " AND reference IS NOT NULL AND noise_free IS NOT NULL GROUP BY generation, reference"
        " ORDER BY generation",
        run,
    )
    return tuple(
        _level(generation, np.array([mean for _, mean, _ in images]), sum(count for *_, count in images))
        for generation, images in ((number, list(of)) for number, of in groupby(rows, itemgetter(0)))
    )


def electrodes(record: Record, plan: Plan) -> list[Electrode]:
    """Every channel of a session, over the generations that count. Of the responses those of one generation
    are in memory."""
    assert plan.session is not None
    evolved: list[list[Level]] = [[] for _ in plan.session.labels]
    references: list[list[Level]] = [[] for _ in plan.session.labels]
    for generation, presentations in groupby(_counting(record), attrgetter("generation")):
        sums: dict[tuple[bool, str], _Responses] = {}
        for one in presentations:
            sums.setdefault((one.reference, one.image), _Responses(len(evolved))).add(one.responses)
        for is_reference, into in ((False, evolved), (True, references)):
            of_kind = [found for (reference, _), found in sums.items() if reference == is_reference]
            if not of_kind:
                continue
            means = np.stack([one.means for one in of_kind])
            counts = np.sum([one.counts for one in of_kind], axis=0)
            for levels, values, count in zip(into, means.T, counts.tolist(), strict=True):
                seen = values[np.isfinite(values)]
                if len(seen):
                    levels.append(_level(generation - 1, seen, count))
    return [
        Electrode(label, tuple(evolved[channel]), tuple(references[channel]))
        for channel, label in enumerate(plan.session.labels)
    ]


def what_errors_are(levels: Iterable[Level]) -> str:
    """What the error bars of some levels show, for a caption."""
    every = list(levels)
    if all(level.images < 2 for level in every):
        return "one image: no error bars"
    if any(level.count > level.images for level in every):
        return "± standard error over images, repeats averaged first"
    return "± standard error over images, each shown once"


class _Responses:
    """Of one image in a generation: the sum of the responses of each channel, and how many there are."""

    def __init__(self, channels: int) -> None:
        self._sums, self.counts = np.zeros(channels), np.zeros(channels, dtype=np.int64)

    def add(self, responses: Array) -> None:
        """Of one presentation, (channels,); NaN: none."""
        seen = ~np.isnan(responses)
        self._sums[seen] += responses[seen]
        self.counts += seen

    @property
    def means(self) -> Array:
        """(channels,), NaN where none was seen."""
        return np.where(self.counts > 0, self._sums / np.maximum(self.counts, 1), np.nan)


def _counting(record: Record) -> Iterable[PresentationRecord]:
    for batch in presentation_rows.presentations(record):
        yield from (one for one in batch if one.counts)


def _level(generation: int, means: Array, count: int) -> Level:
    """means: of each image."""
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    return Level(generation, float(means.mean()), float(error), count, len(means))
