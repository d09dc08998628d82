"""What a record of scores leaves out: the codes follow from the first state and the scores.

Draws are functions of (the run's seed, step, purpose), so the optimizer, told the recorded scores again, goes
the same way, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from xdream import random
from xdream.errors import BadInput
from xdream.groups import loaded_state
from xdream.optimizers import OPTIMIZERS
from xdream.store import ImageRecord, Record

Codes = npt.NDArray[np.float32]


def generations(record: Record, run: int) -> Iterator[Codes]:
    """(population, d) codes of each generation of a run that was told, from the first.

    Raises BadInput for a run that is not there, or an experiment with other draws than this release's.
    """
    planned = {one.id: one for one in record.runs()}
    if run not in planned:
        raise BadInput(f"{record.folder} has no run {run}; it has 0 to {max(planned)}")
    scores = record.scores(run, noise_free=False)
    if record.keeps_everything:
        for generation in range(len(scores)):
            yield _stacked(record, run, generation)
        return
    if record.facts["draws"] != random.VERSION:
        raise BadInput(
            f"{record.folder} was made with the draws {record.facts['draws']}, this release has "
            f"{random.VERSION}: only the release that made it can derive its codes"
        )
    optimizer = OPTIMIZERS.make(**planned[run].optimizer)
    state = loaded_state(optimizer, [record.states(run)[0]], torch.device("cpu"))
    for told in scores:
        yield optimizer.ask(state)[0].numpy()
        state = optimizer.tell(state, torch.from_numpy(told)[None])


def codes_of(record: Record, run: int, generation: int) -> Codes:
    """(population, d) codes of one generation: as they are recorded, or derived. Raises BadInput."""
    told = len(record.scores(run))
    if not 0 <= generation < told:
        raise BadInput(f"run {run} of {record.folder} has {told} generations; {generation} is none of them")
    recorded = record.codes(run, generation)
    if len(recorded) == len(record.scores(run)[generation]):
        return _stacked(record, run, generation)
    return next(codes for number, codes in enumerate(generations(record, run)) if number == generation)


def company_of(record: Record, image: ImageRecord) -> tuple[Codes, int]:
    """The codes with which an image was drawn, and its row; in a record of scores its own code alone."""
    if image.chunk is not None:
        return record.chunk_codes(image)
    own = record.codes(image.run, image.generation).get(image.slot)
    if own is None:
        own = codes_of(record, image.run, image.generation)[image.slot]
    return own[None], 0


def _stacked(record: Record, run: int, generation: int) -> Codes:
    return np.stack(list(record.codes(run, generation).values()))
