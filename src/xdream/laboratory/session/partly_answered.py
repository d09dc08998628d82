"""A block of which some answers came and no more: what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdream.store.ledger import Planned

#: After so long without another answer, and so many presentations' time, the rest is named.
QUIET_S, QUIET_TRIALS = 5.0, 4
#: So many presentations are named.
MOST_NAMED = 4


class PartlyAnswered:
    """Looks at the open block again and again. trial_s: of one presentation."""

    def __init__(self, trial_s: float, clock: Callable[[], float]) -> None:
        self._quiet_s, self._clock = max(QUIET_S, QUIET_TRIALS * trial_s), clock
        self._seen: tuple[int, int] | None = None
        self._since = clock()

    def text(self, block: int, planned: Sequence[Planned], waiting: Sequence[Planned]) -> str | None:
        """What to say of a block that stays partly answered; None: nothing. waiting: without an answer."""
        seen = (block, len(waiting))
        if seen != self._seen:
            self._seen, self._since = seen, self._clock()
        if not 0 < len(waiting) < len(planned) or self._clock() - self._since < self._quiet_s:
            return None
        named = ", ".join(
            f"{one.name} (place {one.place}, repeat {one.repeat})" for one in waiting[:MOST_NAMED]
        )
        more = f" and {len(waiting) - MOST_NAMED} more" if len(waiting) > MOST_NAMED else ""
        came = len(planned) - len(waiting)
        return f"{came} of {len(planned)} answers came for block{block:03d}; waiting for {named}{more}"
