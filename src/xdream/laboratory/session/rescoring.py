"""Scores of a session made anew from its recordings, with other settings; and what would have been different.

The path that the optimizers took is not gone again: the same images, other scores.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from xdream.errors import BadInput
from xdream.experiment.assemble import score_of
from xdream.experiment.plan import Plan, plan_of
from xdream.experiment.presentation_rows import image_id, session_id
from xdream.laboratory.session.scoring import ScoredRun, Scorer, recorded_generation
from xdream.scoring.recordings import Array
from xdream.store import Record
from xdream.store.ledger import Ledger
from xdream.subjects import Channels, channel_of

#: Parts of a plan that scores follow from.
PARTS = ("responses", "objective")


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


@dataclass(frozen=True)
class Rescored:
    """One generation of one run, from 0. images: ids, by slot. told, scores: (population,) as told and made
    anew. change: between these."""

    run: int
    target: str
    generation: int
    images: tuple[str, ...]
    told: Array
    scores: Array
    change: Change


def rescore(folder: str | Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> list[Rescored]:
    """Every generation that was told and counts, with the scores that other settings give.

    changes: keys of the plan's tables `responses` and `objective`, over those that the session had. Raises
    BadInput for settings that cannot be, or that ask for what was not recorded; StoreError.
    """
    changes = changes or {}
    for part in changes:
        if part not in PARTS:
            raise BadInput(f"'{part}' is not what scores follow from; change {' or '.join(PARTS)}")
    with contextlib.closing(Record(folder)) as record:
        if not record.is_session:
            raise BadInput(f"{folder} is not a session with a rig; there is nothing to score again")
        plan = plan_of(record)
        assert plan.session is not None
        runs = _runs(record, plan, changes)
        told = {run.id: record.scores(run.id, noise_free=False) for run in runs}
        targets = {run.id: run.target for run in record.runs()}
        ledger, scorer = Ledger(record), Scorer(plan.session.channels, runs[0].settings)
        found: list[Rescored] = []
        for number in range(max((len(scores) for scores in told.values()), default=0)):
            if ledger.is_void(number):
                continue
            of = [run for run in runs if number < len(told[run.id])]
            scored = scorer.score(recorded_generation(ledger, number), plan.repeats, of)
            scorer = scored.scorer
            for run in of:
                before = told[run.id][number]
                new = scored.scores[run.id].numpy()[: len(before)]
                change = compare(before, new)
                ids = tuple(image_id(session_id(record), number, run.id, slot) for slot in range(len(new)))
                found.append(Rescored(run.id, targets[run.id], number, ids, before, new, change))
    return found


def _runs(record: Record, plan: Plan, changes: Mapping[str, Mapping[str, Any]]) -> list[ScoredRun]:
    """The runs with the changed settings, in the order of the plan."""
    assert plan.session is not None
    channels = len(plan.session.channels)
    recorded = iter(record.runs())
    runs = []
    for variant in plan.each():
        values = variant.model_dump()
        for part, new in changes.items():
            # Another objective has options of its own.
            base = {} if part == "objective" and "name" in new else values[part]
            values[part] = _laid_over(base, new)
        changed = Plan.make(**values)
        score = score_of(changed)
        units = [u for t in variant.targets for u in Channels(t.layer, t.units, channels).units]
        for _ in range(len(units) * variant.runs):
            run = next(recorded)
            population = max((len(scores) for scores in record.scores(run.id)), default=0)
            runs.append(ScoredRun(run.id, population, channel_of(run.target), score, changed.responses))
    return runs


def _laid_over(values: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values)
    for key, value in new.items():
        inner = found.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[key] = _laid_over(inner, value) if both else value  # type: ignore[arg-type]
    return found


def said(found: list[Rescored]) -> str:
    """A line for each run: what would have been different."""
    lines = []
    for run in dict.fromkeys(one.run for one in found):
        of_run = [one for one in found if one.run == run]
        changes = [one.change for one in of_run]
        quarter = sum(c.quarter for c in changes)
        correlations = [c.rank_correlation for c in changes if not np.isnan(c.rank_correlation)]
        rank = f"{np.median(correlations):.2f}" if correlations else "not defined"
        lines.append(
            f"run {run} ({of_run[0].target}), {len(changes)} generations: another best image in "
            f"{sum(c.best_changed for c in changes)}; {sum(c.quarter_left for c in changes)} of {quarter} "
            f"images of the best quarters would not have been among them; median rank correlation {rank}; "
            f"{sum(c.newly_missing for c in changes)} scores newly missing, "
            f"{sum(c.newly_scored for c in changes)} new"
        )
    return "\n".join(
        [
            *lines,
            "the images are those of the session, only the scores are new: the optimizers are not run again",
        ]
    )


def write_table(found: list[Rescored], path: Path) -> None:
    """A row for each image: run, target, generation (from 1), image id, score told and score made anew, and
    what became of its generation. An empty score is missing. Raises BadInput."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            names = [field.name for field in fields(Change)]
            table = csv.writer(file)
            table.writerow(["run", "target", "generation", "slot", "image", "score_told", "score", *names])
            for one in found:
                values = asdict(one.change)
                for slot, (image, told, score) in enumerate(
                    zip(one.images, one.told.tolist(), one.scores.tolist(), strict=True)
                ):
                    both = ("" if math.isnan(x) else repr(x) for x in (told, score))
                    place = (one.run, one.target, one.generation + 1, slot, image)
                    table.writerow([*place, *both, *(values[name] for name in names)])
    except OSError as error:
        raise BadInput(f"table '{path}' cannot be written: {error.strerror}") from None


# ------------------------------------------------------------------ what changed


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
