"""What the rejection of a block costs: counted in the record, before anybody is asked."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime

from xdream.errors import BadInput
from xdream.store import queries
from xdream.store.ledger import VOID_ENDINGS, Ledger
from xdream.store.record import Record
from xdream.text import counted


@dataclass(frozen=True)
class RejectionCost:
    """generations: that no longer count, (first, last) from 1; None: the block's generation goes on.
    presentations: answered ones that do not count any more. minutes: to show as many again."""

    block: int
    generations: tuple[int, int] | None
    presentations: int
    minutes: float

    @property
    def text(self) -> str:
        """In one line, for a person."""
        shown = counted(self.presentations, "answered presentation")
        time = "less than a minute" if self.minutes < 1 else f"about {self.minutes:.0f} min"
        if self.generations is None:
            return f"rejecting block {self.block} discards {shown}; to show them again takes {time}"
        first, last = self.generations
        which = f"generation {first}" if first == last else f"generations {first} to {last}"
        number = counted(last - first + 1, "generation")
        return (
            f"rejecting block {self.block} makes {number} void ({which}) and discards {shown}; "
            f"to show them again takes {time}"
        )


def rejection_cost(record: Record, number: int, trial_s: float) -> RejectionCost:
    """What it costs to reject a block of a session. trial_s: of one presentation, until some were measured.

    Raises BadInput for a block that is not there or does not count already.
    """
    record.check_block(number)
    row = Ledger(record).block(number)
    assert row is not None
    if row.ending in VOID_ENDINGS:
        raise BadInput(f"block {number} was {row.ending} already")
    if row.generation in record.void_generations():
        raise BadInput(f"block {number}'s generation does not count already")
    told = queries.generations_told(record)
    answered = queries.answered_presentations(record)
    each = _seconds_each(record, answered) or trial_s
    if row.generation >= told:
        [lost] = [count for block, _, count in answered if block == number] or [0]
        return RejectionCost(number, None, lost, lost * each / 60)
    lost = sum(count for _, generation, count in answered if generation >= row.generation)
    # The one that is under way, with the number of those told, is void with them.
    return RejectionCost(number, (row.generation + 1, told + 1), lost, lost * each / 60)


def _seconds_each(record: Record, answered: list[tuple[int, int, int]]) -> float | None:
    """The median over generations of the time per presentation, pauses in generations included."""
    counts: dict[int, int] = {}
    for _, generation, count in answered:
        counts[generation] = counts.get(generation, 0) + count
    found = []
    for generation, began, ended in queries.generation_times(record):
        if counts.get(generation):
            took = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
            found.append(took.total_seconds() / counts[generation])
    return statistics.median(found) if found else None
