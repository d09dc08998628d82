"""What a record of scores leaves out: the codes follow from the first state and the scores.

Draws are functions of (the run's seed, step, purpose), so the optimizer, told the recorded scores again, goes
the same way, bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

import numpy as np
import torch

from xdream import networks, random
from xdream.errors import BadInput
from xdream.experiment.plan import plan_of
from xdream.experiment.run_groups import loaded_state
from xdream.optimizers import OPTIMIZERS, Recommending, padded
from xdream.store import Record, RunRecord
from xdream.types import CodeArray


def generations(record: Record, run: int) -> Iterator[CodeArray]:
    """(population, d) codes of each generation of a run that was told, from the first.

    Raises BadInput for a run that is not there, or an experiment with other draws than this release's.
    """
    planned = _planned(record, run)
    scores = record.scores(run, noise_free=False)
    if record.keeps_everything:
        for generation in range(len(scores)):
            yield _stacked(record, run, generation)
        return
    _check_draws(record)
    optimizer = OPTIMIZERS.make(**planned.optimizer)
    state = loaded_state(optimizer, [record.states(run)[0]], _device(record))
    for told in scores:
        yield optimizer.ask(state)[0, : len(told)].cpu().numpy()
        scores_of_all = padded(told, optimizer.population)[None]
        state = optimizer.tell(state, scores_of_all.to(state.seeds.device))


def codes_of(record: Record, run: int, wanted: Collection[int]) -> dict[int, CodeArray]:
    """(population, d) codes of some generations, as they are recorded or derived. Raises BadInput."""
    scores = record.scores(run)
    for generation in wanted:
        if not 0 <= generation < len(scores):
            raise BadInput(
                f"run {run} of {record.folder} has {len(scores)} generations; {generation} is none of them"
            )
    recorded = {g: _stacked(record, run, g) for g in wanted if len(record.codes(run, g)) == len(scores[g])}
    missing = set(wanted) - recorded.keys()
    if missing:
        upto = itertools.islice(generations(record, run), max(missing) + 1)
        recorded |= {number: codes for number, codes in enumerate(upto) if number in missing}
    return recorded


def recommended(record: Record, run: int) -> CodeArray | None:
    """(d,) the code that a run's optimizer holds for the best now; None where it recommends none, or no
    generation was told. Raises BadInput as `generations` does."""
    return recommended_by(record, _planned(record, run), _device(record))


def recommended_by(record: Record, planned: RunRecord, device: torch.device) -> CodeArray | None:
    """The same of a run that is at hand, as one of many. device: where its optimizer computes."""
    optimizer = OPTIMIZERS.make(**planned.optimizer)
    if not isinstance(optimizer, Recommending) or not planned.generations:
        return None
    states = record.states(planned.id)
    since = max(states)
    state = loaded_state(optimizer, [states[since]], device)
    # The latest state is mostly that of the end, and the scores need not be read.
    scores = record.scores(planned.id, noise_free=False) if since < planned.generations else []
    for told in scores[since:]:
        _check_draws(record)
        state = optimizer.tell(state, padded(told, optimizer.population)[None].to(state.seeds.device))
    return optimizer.recommended(state)[0].cpu().numpy()


def _planned(record: Record, run: int) -> RunRecord:
    planned = {one.id: one for one in record.runs()}
    if run not in planned:
        raise BadInput(f"{record.folder} has no run {run}; it has 0 to {max(planned)}")
    return planned[run]


def _check_draws(record: Record) -> None:
    if record.facts["draws"] != random.VERSION:
        raise BadInput(
            f"{record.folder} was made with the draws {record.facts['draws']}, this release has "
            f"{random.VERSION}: only the release that made it can derive its codes"
        )


def _stacked(record: Record, run: int, generation: int) -> CodeArray:
    return np.stack(list(record.codes(run, generation).values()))


def _device(record: Record) -> torch.device:
    """The experiment's own where there is one: elsewhere sums may differ in their last digit."""
    try:
        return networks.device(plan_of(record).device)
    except BadInput:
        return torch.device("cpu")
