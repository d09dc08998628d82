"""What other settings would have changed: the same images' scores, as they were and as they are. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xdream.errors import BadInput
from xdream.recorded import Array


@dataclass(frozen=True)
class Change:
    """What became of the scores of one run's generation.

    rank_correlation: Spearman's, of the images with both scores (ties share their mean rank); NaN for fewer
    than two, or when all are alike on one side. quarter: how many images the best quarter has (rounded up, of
    those that had a score). quarter_left: how many of them are not in the new best quarter. best_changed:
    whether no image is best both times. newly_missing, newly_scored: images that lost or got a score.
    """

    rank_correlation: float
    quarter: int
    quarter_left: int
    best_changed: bool
    newly_missing: int
    newly_scored: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`; a correlation that is not defined is None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def compare(old: Array, new: Array) -> Change:
    """Scores of one generation, both (population,), of the same images; NaN = none. Raises BadInput."""
    if old.shape != new.shape or old.ndim != 1:
        raise BadInput(f"scores of shapes {old.shape} and {new.shape}; compare those of the same images")
    had, has = ~np.isnan(old), ~np.isnan(new)
    both = had & has
    before, after = _best_quarter(old), _best_quarter(new)
    return Change(
        rank_correlation=_correlation(_ranks(old[both]), _ranks(new[both])),
        quarter=len(before),
        quarter_left=len(before - after),
        best_changed=bool(had.any() or has.any()) and not _best(old) & _best(new),
        newly_missing=int((had & ~has).sum()),
        newly_scored=int((has & ~had).sum()),
    )


def _best(scores: Array) -> set[int]:
    """The images with the greatest score; several in a tie."""
    if np.isnan(scores).all():
        return set()
    return set(np.flatnonzero(scores == np.nanmax(scores)).tolist())


def _best_quarter(scores: Array) -> set[int]:
    """Of several in a tie the first."""
    scored = np.flatnonzero(~np.isnan(scores))
    ordered = scored[np.argsort(-scores[scored], kind="stable")]
    return set(ordered[: -(-len(scored) // 4)].tolist())


def _ranks(values: Array) -> Array:
    """From 1; of equal values each has the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2.0)[inverse]
    return ranks


def _correlation(x: Array, y: Array) -> float:
    if len(x) < 2:
        return float("nan")
    dx, dy = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((dx @ dx) * (dy @ dy)))
    return float(dx @ dy) / scale if scale > 0 else float("nan")
