"""The search with experiments as its evaluations. After any kill it goes on as if there had been none.

Where the search stands is kept nowhere: it is replayed from the finished evaluations.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from xdream.errors import BadInput
from xdream.experiment import loop
from xdream.experiment.assemble import assemble
from xdream.experiment.callbacks import Callback, LabelledCallback, NoCallback
from xdream.experiment.plan import Plan
from xdream.report import summarise
from xdream.store import FILE_NAME as EXPERIMENT_NAME
from xdream.store import Record, locked
from xdream.studies.tuning.output import write_table
from xdream.studies.tuning.parameters import admission, searched
from xdream.studies.tuning.results import Ended, Evaluation, TargetScale, Tuning, scales_of, value_of
from xdream.studies.tuning.search import Position, Setting, proceed
from xdream.studies.tuning.tuning_folder import Task, begun, place_of


def tune(
    plan: Plan | str | Path,
    folder: str | Path,
    parameters: Sequence[str] = (),
    steps: Mapping[str, Sequence[float]] | None = None,
    evaluations: int | None = None,
    callback: Callback | None = None,
) -> Tuning:
    """Search for the hyperparameters with which the plan's runs do best, in `folder`.

    A folder with the same tuning goes on from where it is. parameters: only these (default: all numeric ones
    of the plan). steps: in place of the table's, by name. evaluations: end after so many.

    Raises BadInput, StoreError, StoreBusy; SubjectError, after which `resume` goes on.
    """
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    if evaluations is not None and evaluations < 1:
        raise BadInput(f"evaluations is {evaluations}; at least 1 is needed, that of the start")
    if plan.variants:
        raise BadInput("a plan with variants has several optimizers; tune the plan of one of them")
    # Batch and engine are for each evaluation to find: they depend on the machine at that hour.
    own = {"batch": plan.batch, "engine": plan.engine, "compiled": plan.compiled}
    eager = {"engine": "torch", "compiled": False}
    resolved = assemble(plan.model_copy(update=eager)).plan.model_copy(update=own)
    found, notes = searched(resolved, parameters, steps)
    task = Task(evaluations=evaluations, notes=notes, plan=resolved, parameters=found)
    folder = Path(folder)
    with begun(folder, task, any_threads=plan.threads is None) as going:
        return _replayed(folder, going, _evaluating(folder, callback or NoCallback()), keep_table=True)


def resume(folder: str | Path, callback: Callback | None = None) -> Tuning:
    """Continue a tuning as if it had never stopped; a finished one is only replayed."""
    folder = Path(folder)
    task = Task.read(folder)
    lock = locked(folder)
    try:
        return _replayed(folder, task, _evaluating(folder, callback or NoCallback()), keep_table=True)
    finally:
        lock.release()


def read(folder: str | Path) -> Tuning:
    """What is finished so far, from the start on; nothing is run or written. Raises BadInput for nothing."""
    folder = Path(folder)

    def finished(number: int, plan: Plan, label: str) -> Record | None:
        place = place_of(folder, number)
        if not (place / EXPERIMENT_NAME).exists():
            return None
        record = Record(place)
        return record if record.finished else None

    found = _replayed(folder, Task.read(folder), finished, keep_table=False)
    if not found.evaluations:
        raise BadInput(
            f"{folder} has no finished evaluation to show yet; wait for it, or go on with it: "
            f"xdream resume {folder}"
        )
    return found


# ------------------------------------------------------------------ one evaluation after the other

#: (number, its plan, what to call it) -> its finished record, or None to end here.
_Evaluate = Callable[[int, Plan, str], Record | None]


def _replayed(folder: Path, task: Task, evaluate: _Evaluate, *, keep_table: bool) -> Tuning:
    """The search from its start to its end, or as far as evaluations are allowed and come."""
    results: dict[Setting, float] = {}
    done: list[Evaluation] = []
    scales: tuple[TargetScale, ...] = ()
    notes = task.notes
    ended: Ended = "complete"
    for position, setting in _asked(task, results):
        number = len(done)
        if number == task.evaluations:
            ended = "limit"
            break
        plan = task.plan_with(setting)
        record = evaluate(number, plan, _label(task, position, setting, done))
        if record is None:
            ended = "unfinished"
            break
        with contextlib.closing(record):
            _check_setting(record, plan)
            summaries = summarise(record)
        if not done:
            scales = scales_of(summaries)
            notes = (*summaries[0].notes, *notes)
        value = value_of(summaries, scales)
        done.append(Evaluation(number, position.number, position.parameter, position.step, setting, value))
        results[setting] = done[-1].rank
        if keep_table and not place_of(folder, number + 1).exists():  # else it is only being replayed
            write_table(folder, task.parameters, done)
    notes = (*notes, *_notes(folder, done, ended))
    return Tuning(folder, task.plan, task.parameters, tuple(done), scales, ended, notes)


def _asked(task: Task, results: Mapping[Setting, float]) -> Iterator[tuple[Position, Setting]]:
    admit = admission(task.plan, task.parameters)
    while (position := proceed(task.parameters, task.plan.seed, results, admit)).asked:
        for setting in position.asked:
            yield position, setting


def _evaluating(folder: Path, callback: Callback) -> _Evaluate:
    """Each evaluation read, gone on with, or run, whichever is needed."""

    def evaluate(number: int, plan: Plan, label: str) -> Record:
        place = place_of(folder, number)
        # Only the first shows references; the others take the responses over.
        labelled = LabelledCallback(callback, label, hidden=("references",) if number else ())
        if (place / EXPERIMENT_NAME).exists():
            return loop.resume(place, labelled)
        if number == 0:
            return loop.run(plan, place, labelled)
        with contextlib.closing(Record(place_of(folder, 0))) as first:
            return loop.run(plan, place, labelled, like=first)

    return evaluate


def _label(task: Task, position: Position, setting: Setting, done: Sequence[Evaluation]) -> str:
    if not done:
        return "evaluation 0, the start"
    names = [parameter.name for parameter in task.parameters]
    best = max(done, key=lambda one: one.rank)
    tried = f"{position.parameter} = {setting[names.index(position.parameter)]:g}"
    return f"evaluation {len(done)}, {tried} (best so far {best.value:.4g})"


def _check_setting(record: Record, plan: Plan) -> None:
    asked = {"name": plan.optimizer.name} | plan.optimizer.options
    if record.runs()[0].optimizer != asked:
        raise BadInput(
            f"{record.folder} has other hyperparameters than the search asks for, so it was changed; tune "
            "anew in another folder"
        )


def _notes(folder: Path, done: Sequence[Evaluation], ended: Ended) -> Iterator[str]:
    missing = sum(not math.isfinite(one.value) for one in done)
    if missing:
        yield f"{missing} evaluations have no value: a run had no finite response in its last generation"
    if ended == "limit":
        yield (
            f"ended early, after the {len(done)} evaluations allowed; the same command with more "
            "--evaluations and the same --out goes on"
        )
    if ended == "unfinished":
        yield f"unfinished; if nothing is running, continue with: xdream resume {folder}"
