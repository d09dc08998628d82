"""When a run ends: with its budget, when it no longer climbs, or because the user says so."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from xdream.errors import BadInput, StoreError
from xdream.experiment.runs import Run
from xdream.store import Record, Store, queries
from xdream.types import Scores

FILE_NAME = "end.txt"


class StoppingCriteria:
    """How far each run has climbed: its best generation, by the mean of the scores that were seen.

    The plateau: a run ends when so many generations in a row were not above the best one before them. The
    scores are those that the optimizer is told, with their noise; one without any score is not above.
    """

    def __init__(self) -> None:
        self._best: dict[int, tuple[float, int]] = {}

    @classmethod
    def of(cls, runs: Sequence[Run], store: Store) -> StoppingCriteria:
        """That of an experiment as far as it was told."""
        made = cls()
        for r in runs:
            if r.plateau is not None:
                counted = queries.scores(store, r.id, noise_free=False, with_void=False)
                for generation, scores in enumerate(counted.values()):
                    made._note(r, generation, torch.from_numpy(scores))
        return made

    def ending(self, r: Run, generation: int, scores: Scores, asked: Collection[int]) -> str | None:
        """Why a run ends with this generation, of which it is told the scores; None: it goes on."""
        if generation + 1 >= r.generations:
            return "budget"
        if r.id in asked:
            return "user"
        if r.plateau is not None:
            self._note(r, generation, scores)
            if generation - self._best[r.id][1] >= r.plateau:
                return "plateau"
        return None

    def _note(self, r: Run, generation: int, scores: Scores) -> None:
        mean = float(scores.nanmean())
        best, _ = self._best.setdefault(r.id, (mean, generation))
        if mean > best or (math.isnan(best) and not math.isnan(mean)):
            self._best[r.id] = (mean, generation)


def ask_to_end(folder: str | Path, runs: Sequence[int] = ()) -> list[int]:
    """Have runs of an experiment (default: all) end with the generation that is under way, or comes next.

    Returns those that have not ended yet. Raises BadInput for a run that is not there; StoreError.
    """
    record = Record(folder)
    going = {run.id: not run.finished for run in record.runs()}
    record.close()
    for run in runs:
        if run not in going:
            raise BadInput(f"{folder} has no run {run}; it has 0 to {max(going)}")
    wanted = [run for run in runs or going if going[run]]
    try:
        with open(Path(folder) / FILE_NAME, "a", encoding="utf-8") as file:
            file.write("".join(f"{run}\n" for run in wanted))
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from None
    return wanted


def asked_to_end(folder: Path) -> set[int]:
    """The runs that were asked to end."""
    try:
        text = (folder / FILE_NAME).read_text("utf-8")
    except OSError:
        return set()
    whole = text[: text.rfind("\n") + 1]  # the last line may be on its way
    return {int(line) for line in whole.split() if line.isdecimal()}
