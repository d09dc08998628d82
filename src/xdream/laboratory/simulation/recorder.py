"""What emulated recorders have in common: blocks from a display, spike trains from what neurons did."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xdream.laboratory.rigs.base import AnswerRow
from xdream.laboratory.simulation.base import Driver, Offered
from xdream.scoring.recordings import Recorded, Spikes, Values

#: Between the end of a presentation's window and the next onset.
PAUSE_MS = 300.0
#: How often a display that shows a block that was recorded already is asked again.
AGAIN_S = 0.02


@dataclass(frozen=True)
class Train:
    """What to play for one presentation. spikes: (ms from the onset, channel), in order; None: it is lost."""

    image: str
    repeat: int
    spikes: tuple[tuple[float, int], ...] | None


def train(row: AnswerRow, stop_ms: float) -> Train:
    """Spikes as they are; a number of spikes becomes so many, evenly between 0 and stop_ms."""
    return Train(row.image, row.repeat or 0, _spikes(row.recorded, stop_ms))


def _spikes(recorded: Recorded | None, stop_ms: float) -> tuple[tuple[float, int], ...] | None:
    if isinstance(recorded, Spikes):
        pairs = zip(recorded.times_ms.tolist(), recorded.channels.tolist(), strict=True)
        return tuple(sorted(pairs))
    if not isinstance(recorded, Values) or not np.all(np.isfinite(recorded.values)):
        return None
    found = []
    for channel, value in enumerate(recorded.values.tolist()):
        count = max(0, round(value))
        found += [((one + 0.5) * stop_ms / count, channel) for one in range(count)]
    return tuple(sorted(found))


class RecorderDriver:
    """Blocks from the rig that displays, each once: the side of an emulated recorder that faces its display.

    display: its driver, or a function (timeout_s) -> block or None.
    """

    is_recorder: ClassVar[bool] = True

    def __init__(self, display: Driver | Callable[[float], Offered | None]) -> None:
        self._display = display
        self._last: object = None

    def next_block(self, timeout_s: float) -> Offered | None:
        """A block that was not recorded yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = max(0.0, deadline - time.monotonic())
            display = self._display
            offered = display(left) if callable(display) else display.next_block(left)
            if offered is not None:
                # The display does not answer, so it may say the same block again.
                shown = [(image, repeat) for image, repeat, _ in offered.presentations]
                this = (offered.session, offered.number, offered.fence, shown)
                if this != self._last:
                    self._last = this
                    return offered
            if self.over or time.monotonic() >= deadline:
                return None
            if offered is not None:
                time.sleep(AGAIN_S)

    @property
    def over(self) -> bool:
        """Whether the display's session is over."""
        return False if callable(self._display) else self._display.over


def trains(rows: Sequence[AnswerRow], stop_ms: float) -> list[Train]:
    """Of all rows, in order."""
    return [train(row, stop_ms) for row in rows]
