"""When a run ends: with its budget, when it no longer climbs, or because the user says so."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xdream.errors import BadInput, StoreError
from xdream.store import Record, Store, queries
from xdream.types import Scores

if TYPE_CHECKING:
    from xdream.experiment.runs import Run

FILE_NAME = "end.txt"


class StoppingCriteria:
    """How far each run is: what it spent of its budget, and its best generation by the mean of its scores.

    The budget: a run ends before a generation that it can no longer pay. The plateau: a run ends when so many
    generations in a row were not above the best one before them. The scores are those that the optimizer is
    told, with their noise; one without any score is not above.
    """

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        #: Presentations of each run before its last generation and with it, and which that was.
        self._spent: dict[int, tuple[int, int, int]] = {}
        self._best: dict[int, tuple[float, int]] = {}

    @classmethod
    def of(cls, runs: Sequence[Run], store: Store, repeats: int) -> StoppingCriteria:
        """That of an experiment as far as it was told. Void generations count for nothing."""
        import torch  # not where runs are only asked to end

        made = cls(repeats)
        for r in runs:
            counted = queries.scores(store, r.id, with_void=False)
            for generation, (scores, _) in enumerate(counted.values()):
                made._spend(r, generation, len(scores))
                if r.plateau is not None:
                    made._note(r, generation, torch.from_numpy(scores))
        return made

    def ending(
        self, r: Run, generation: int, scores: Scores, asked: Collection[int], following: int
    ) -> str | None:
        """Why a run ends with this generation, of which it is told the scores; None: it goes on.

        scores: as many as it asked for. following: its next population.
        """
        if self._spend(r, generation, len(scores)) + following * self._repeats > r.presentations:
            return "budget"
        if r.id in asked:
            return "user"
        if r.plateau is not None:
            self._note(r, generation, scores)
            if generation - self._best[r.id][1] >= r.plateau:
                return "plateau"
        return None

    def _spend(self, r: Run, generation: int, images: int) -> int:
        """All that a run spent. The same generation counts once: it is told again after a full disk."""
        last, before, spent = self._spent.get(r.id, (-1, 0, 0))
        before = before if generation == last else spent
        self._spent[r.id] = (generation, before, before + images * self._repeats)
        return self._spent[r.id][2]

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
