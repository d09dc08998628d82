"""What a record says, in numbers. A best is noise-free unless its name begins with `observed`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdream.experiment.plan import Plan, generators_of
from xdream.experiment.plan import plan_of as plan_of
from xdream.images.comparison import expected_best, relative_activation
from xdream.report.unit_names import unit_name
from xdream.store import Record, RunRecord
from xdream.text import counted

Array = npt.NDArray[np.float64]

#: So much beyond the region where a generator draws natural images is not worth a note.
LITTLE = 1.05
_DEFAULT_OBJECTIVE = Plan.model_fields["objective"].default.model_dump()


@dataclass(frozen=True)
class RunSummary:
    """One run. Scores in the unit of the target's response; None: no references, or nothing told yet.

    name: of the target's class or electrode, if it has one. first, last generation: of those that count.
    best_ever: over all generations; the paper's measures use the last generation. expected_best_reference:
    of as many natural images as were presented (at most all), drawn without replacement.
    relative_activation: last_generation_best over best_reference (Xiao & Kreiman 2020). recommended: of the
    code that the optimizer recommends, noise-free, in float32; None where it recommends none, of sessions and
    until all runs have ended. code_rms: of the last generation's codes as they are drawn, in units of the
    spread, likewise, but of sessions, too. precision: of the search; where it is not float32, noise-free
    numbers are computed again in float32 when all runs have ended, and searched_last_generation_best and
    searched_best_ever are as the search had them. seconds, presentations_per_second: of the whole experiment,
    all its runs together. ending: budget, plateau, user; None: it goes on. notes: what every output says.
    """

    run: int
    target: str
    name: str | None
    generator: str
    optimizer: str
    objective: str
    seed: int
    presentations: int
    generations: int
    finished: bool
    ending: str | None
    first_generation_best: float | None
    last_generation_best: float | None
    best_ever: float | None
    observed_first_generation_best: float | None
    observed_last_generation_best: float | None
    observed_best_ever: float | None
    best_reference: float | None
    best_reference_name: str | None
    expected_best_reference: float | None
    references: int
    relative_activation: float | None
    relative_activation_of_best_ever: float | None
    recommended: float | None
    code_rms: float | None
    precision: str
    searched_last_generation_best: float | None
    searched_best_ever: float | None
    seconds: float
    presentations_per_second: float | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`; a number that JSON has no word for (infinity) is None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def notes_of(record: Record) -> tuple[str, ...]:
    """What every output must say: of the parts, of the plan, and of a continuation elsewhere."""
    notes: list[str] = json.loads(record.facts["notes"])
    if record.silent_runs():
        notes.append("a run never had a response: all of its scores are missing")
    if silent := record.silent_starts():
        runs, most = counted(len(silent), "run"), counted(max(silent.values()), "generation")
        notes.append(f"silent start: all scores of the first generations of {runs} were equal (up to {most})")
    void = record.void_generations()
    if void:
        which = ", ".join(str(number + 1) for number in void[:20]) + (" …" if len(void) > 20 else "")
        notes.append(f"a block was rejected: the scores of generations {which} do not count and are left out")
    far = [(rms, limit) for rms, limit in code_rms_of(record).values() if limit and rms > LITTLE * limit]
    if far:
        notes.append(
            f"codes of {counted(len(far), 'run')} left the region where the generator draws natural images: "
            f"root mean square up to {max(rms for rms, _ in far):.2f} of the spread, "
            f"{min(limit for _, limit in far):g} is its limit; generator.codes = 'ball' keeps them there"
        )
    again = record.facts.get("float32")
    if again is not None:
        precision = plan_of(record).precision
        numbers = "are of the search, until all runs have ended and the record is resumed"
        if again:
            numbers = "without noise are computed again in float32; figures by generation are of the search"
        notes.append(f"searched in {precision}: numbers {numbers}")
    if not record.finished:
        notes.append(f"unfinished; if nothing is running, continue with: xdream resume {record.folder}")
    first, *later = record.versions()
    changed = {name for versions in later for name in versions if versions[name] != first.get(name)}
    if changed:
        notes.append(
            f"resumed with another {', '.join(sorted(changed))} than it was begun with: the continuation may "
            "differ in the last digits"
        )
    return tuple(notes)


def summarise(record: Record) -> list[RunSummary]:
    """Every run of an experiment, finished or not."""
    plan = plan_of(record)
    notes, runs = notes_of(record), record.runs()
    counts = record.presentations_of_runs()
    rate = sum(counts.values()) / record.seconds if record.seconds > 0 else None
    again = in_float32(record)
    recommended = {run: one["score"] for run, one in recommended_of(record).items()}
    far = code_rms_of(record)
    generators = [one.name for one in generators_of(record)]
    return [
        _summary(
            record,
            plan,
            run,
            generators[run.id],
            counts[run.id],
            rate,
            notes,
            again.get(run.id),
            recommended.get(run.id),
            far.get(run.id, (None, None))[0],
        )
        for run in runs
    ]


def precision_of(record: Record, plan: Plan) -> str:
    """In which a record was searched."""
    return "float32" if record.is_session else plan.precision


def in_float32(record: Record) -> dict[int, Mapping[str, Any]]:
    """What `xdream.experiment.reported` computed again in float32, by run; empty without it."""
    found: dict[str, Mapping[str, Any]] = json.loads(record.facts.get("float32") or "{}")
    return {int(run): one for run, one in found.items()}


def recommended_of(record: Record) -> dict[int, Mapping[str, Any]]:
    """What `xdream.experiment.recommended` computed, by run; empty without it."""
    found: dict[str, Mapping[str, Any]] = json.loads(record.facts.get("recommended") or "{}")
    return {int(run): one for run, one in found.items()}


def code_rms_of(record: Record) -> dict[int, tuple[float, float | None]]:
    """What `xdream.experiment.code_reach` computed, by run: how far codes went, and what is natural."""
    found: dict[str, tuple[float, float | None]] = json.loads(record.facts.get("code_rms") or "{}")
    return {int(run): (rms, limit) for run, (rms, limit) in found.items()}


def reference_scores(record: Record, run: RunRecord) -> Array:
    """(N,) noise-free scores of the references for one run; NaN where there was no answer."""
    responses = record.reference_responses(run.id)
    # Of a session, the objective has seen the channels already. The default, the mean, of one response is
    # the response itself: the usual summary does without PyTorch.
    if record.is_session or not len(responses) or run.objective == _DEFAULT_OBJECTIVE:
        return responses
    import torch

    from xdream.scoring.objectives import OBJECTIVES

    scores = OBJECTIVES.make(**run.objective)(torch.from_numpy(responses)[:, None, None])
    return scores.numpy()


def _summary(
    record: Record,
    plan: Plan,
    run: RunRecord,
    generator: str,
    presentations: int,
    rate: float | None,
    notes: tuple[str, ...],
    again: Mapping[str, Any] | None,
    recommended: float | None,
    code_rms: float | None,
) -> RunSummary:
    """again: noise-free scores in float32, where the search had another precision."""
    clean, observed = (record.scores(run.id, noise_free=flag) for flag in (True, False))
    generations, void = len(clean), set(record.void_generations())
    clean, observed = (
        [scores for number, scores in enumerate(every) if number not in void] for every in (clean, observed)
    )
    references = reference_scores(record, run)
    best_reference = _best([references])
    first, searched, searched_ever = _best(clean[:1]), _best(clean[-1:]), _best(clean)
    last, ever = searched, searched_ever
    if again is not None:
        first, last = _best([np.array(again["first"])]), _best([np.array(again["last"])])
        ever = _best([np.array([*again["first"], *again["last"], again["best"]])])
    return RunSummary(
        run=run.id,
        target=run.target,
        name=unit_name(plan, run.target),
        generator=generator,
        optimizer=run.optimizer["name"],
        objective=run.objective["name"],
        seed=run.seed,
        presentations=presentations,
        generations=generations,
        finished=run.finished,
        ending=run.ending,
        first_generation_best=first,
        last_generation_best=last,
        best_ever=ever,
        observed_first_generation_best=_best(observed[:1]),
        observed_last_generation_best=_best(observed[-1:]),
        observed_best_ever=_best(observed),
        best_reference=best_reference,
        best_reference_name=None if best_reference is None else record.references[_argmax(references)][0],
        expected_best_reference=None
        if best_reference is None
        else expected_best(references, max(presentations, 1)),
        references=len(references),
        relative_activation=None if last is None else relative_activation(last, best_reference),
        relative_activation_of_best_ever=None if ever is None else relative_activation(ever, best_reference),
        recommended=recommended,
        code_rms=code_rms,
        precision=precision_of(record, plan),
        searched_last_generation_best=searched,
        searched_best_ever=searched_ever,
        seconds=record.seconds,
        presentations_per_second=rate,
        notes=notes,
    )


def _argmax(scores: Array) -> int:
    return int(np.where(np.isnan(scores), -np.inf, scores).argmax())


def _best(scores: list[Any]) -> float | None:
    bests = [float(np.nanmax(one)) for one in scores if one.size and not np.isnan(one).all()]
    return max(bests) if bests else None
