"""Onsets on a rig's clock, placed on that of the experiment: also where the rig's clock begins anew.

The blocks of a session are shown one after the other, so that on one clock no onset of a block lies before
one of an earlier block. Where one does, the clock was set back (the recorder was started again): from there
on it has another offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Within one block answers may come in another order than images appeared: a clock that goes back by less
#: than so many times the block's length was not set back.
REORDERED = 2.0


@dataclass(frozen=True)
class Onset:
    """One answer of a block that counts. onset_s: as the rig said it. estimated_s: when it was shown, in
    seconds from the start of the experiment, as its arrival has it."""

    onset_s: float
    estimated_s: float


@dataclass(frozen=True)
class Restart:
    """Where the rig's clock went back. after_s, onset_s: its latest onset before, its first one after."""

    block: int
    after_s: float
    onset_s: float

    @property
    def text(self) -> str:
        """In one line, for a person."""
        return (
            f"the rig's clock went back in block {self.block}, from {self.after_s:g} s to {self.onset_s:g} "
            "s; onsets from there on have another offset, which is estimated from the arrival of the answers"
        )


class RigClock:
    """Places onsets block by block. restarts: gets those that are found."""

    def __init__(self, restarts: list[Restart]) -> None:
        self._restarts = restarts
        self._offset_s: float | None = None
        self._latest_s: float | None = None  # of the rig's onsets since its clock began
        self._over_s = 0.0  # when the latest of those before the clock began was shown

    def offsets(self, block: int, onsets: Sequence[Onset], length_s: float) -> list[float]:
        """What is to be added to each onset of a block, in the order in which its answers arrived.

        length_s: of the block, from the first image to the last answer.
        """
        found: list[float] = []
        for restart, part in self._parts(block, onsets, length_s):
            if restart is not None:
                assert self._offset_s is not None
                assert self._latest_s is not None
                self._over_s = self._latest_s + self._offset_s
                self._offset_s = self._latest_s = None
                self._restarts.append(restart)
            first_s = min(one.onset_s for one in part)
            if self._offset_s is None:
                # The earliest onset is that of the earliest of these images, and after all that was before.
                self._offset_s = max(min(one.estimated_s for one in part), self._over_s) - first_s
            self._latest_s = max([one.onset_s for one in part], default=self._latest_s)
            found += [self._offset_s] * len(part)
        return found

    def placed(self, onset_s: float) -> float | None:
        """When an image of the latest block was shown by an answer that does not count; None: not known."""
        return None if self._offset_s is None else onset_s + self._offset_s

    def _parts(
        self, block: int, onsets: Sequence[Onset], length_s: float
    ) -> Iterator[tuple[Restart | None, Sequence[Onset]]]:
        """The onsets of one clock each."""
        earliest_s = self._latest_s  # no onset of this block can lie before it
        latest_s, begin, restart = self._latest_s, 0, None
        for at, one in enumerate(onsets):
            back = latest_s is not None and one.onset_s < latest_s - REORDERED * length_s
            if latest_s is not None and (back or (earliest_s is not None and one.onset_s < earliest_s)):
                if at > begin:
                    yield restart, onsets[begin:at]
                restart, begin = Restart(block, latest_s, one.onset_s), at
                earliest_s, latest_s = None, one.onset_s
            else:
                latest_s = one.onset_s if latest_s is None else max(latest_s, one.onset_s)
        if len(onsets) > begin:
            yield restart, onsets[begin:]
