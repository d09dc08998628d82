"""Scores of a session made anew from its recordings, with other settings; and what would have been different.

The path that the optimizers took is not gone again: the same images, other scores.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from xdream.assemble import score_of
from xdream.errors import BadInput
from xdream.plan import Plan
from xdream.recorded import Array
from xdream.rescored import Change, compare
from xdream.session.ledger import Ledger
from xdream.session.scoring import ScoredRun, Scorer, recorded_generation
from xdream.store import Record
from xdream.subjects import Channels, channel_of

#: Parts of a plan that scores follow from.
PARTS = ("responses", "objective")


@dataclass(frozen=True)
class Rescored:
    """One generation of one run, from 0. scores: (population,) made anew. change: against those told."""

    run: int
    target: str
    generation: int
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
            raise BadInput(f"{folder} is no session with a rig; there is nothing to score again")
        plan = Plan.from_toml(record.facts["plan"])
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
                new = scored.scores[run.id].numpy()
                change = compare(told[run.id][number], new)
                found.append(Rescored(run.id, targets[run.id], number, new, change))
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
            population = len(record.scores(run.id)[0]) if record.scores(run.id) else 0
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
        [*lines, "the same images with other scores: the path of the optimizers is not gone again"]
    )


def write_table(found: list[Rescored], path: Path) -> None:
    """A row for each run and generation (from 1), with the scores made anew. Raises BadInput."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            names = [field.name for field in fields(Change)]
            table = csv.writer(file)
            table.writerow(["run", "target", "generation", *names, "scores"])
            for one in found:
                scores = " ".join(repr(x) for x in one.scores.tolist())  # in the order of slots; nan: none
                values = asdict(one.change)
                table.writerow(
                    [one.run, one.target, one.generation + 1, *(values[name] for name in names), scores]
                )
    except OSError as error:
        raise BadInput(f"table '{path}' cannot be written: {error.strerror}") from None
