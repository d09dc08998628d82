"""A rig that answers a session through any bridge, and misbehaves on purpose."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from xdream.errors import RigError
from xdream.laboratory.rigs import AnswerRow
from xdream.laboratory.simulation.base import Driver, Offered
from xdream.laboratory.simulation.faults import Faults, faulty, parts, spoilt
from xdream.laboratory.simulation.neurons import SimulatedNeurons
from xdream.text import counted

#: How long a driver is asked for a block at a time.
LISTEN_S = 0.5
#: After so long without a block the rig says what it waits for.
IDLE_S = 10.0
#: For how long a session that may have ended is looked for.
GONE_S = 90.0


def simulate(
    driver: Driver,
    neurons: SimulatedNeurons,
    faults: Faults | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], None] = lambda number, presentations: None,
    say: Callable[[str], None] = lambda text: None,
    rest_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Answer blocks until the session is over; returns how many. tell: (block, presentations) before each.

    say: what the rig waits for, where nothing comes for IDLE_S, and what it does about it. rest_s: after so
    long without another block, what was dropped of the last one is sent after all; None: never.

    Raises RigError for a session that does not answer any more and never said that it is over.
    """
    faults = faults or Faults()
    blocks = 0
    late: list[tuple[Offered, AnswerRow]] = []
    idle = _Idle(driver, say, rest_s, clock)
    while not driver.over and not stop():
        offered = driver.next_block(LISTEN_S)
        if offered is None:
            idle.wait()
            continue
        tell(offered.number, len(offered.presentations))
        blocks += 1
        if faults.happens("disconnect", offered.number):
            driver.disconnect(faults.disconnect_s)
        recorded = neurons.record(offered.number, offered.presentations)
        rows = [
            AnswerRow(image, repeat, one)
            for (image, repeat, _), one in zip(offered.presentations, recorded, strict=True)
        ]
        try:
            for before, row in late:
                driver.answer(before, [row], last=False)
            sent = _answer(driver, offered, rows, faults)
        except RigError:
            if not _has_ended(driver, stop):
                raise
            break
        late = [
            (offered, row) for row in rows if faults.happens("late", offered.number, row.image, row.repeat)
        ]
        idle.answered(offered, rows, sent)
    if getattr(driver, "gone", False):
        raise RigError(
            f"after {counted(blocks, 'block')} the session does not answer any more, and did not say that it "
            "is over; is xdream serve running?"
        )
    return blocks


def _has_ended(driver: Driver, stop: Callable[[], bool]) -> bool:
    """Whether nobody listens because the session had all it wanted."""
    until = time.monotonic() + GONE_S
    while not driver.over and not stop():
        if driver.next_block(LISTEN_S) is not None or time.monotonic() > until:
            return False
    return True


def _answer(
    driver: Driver, offered: Offered, rows: Sequence[AnswerRow], faults: Faults
) -> set[tuple[str, int | None]]:
    """Send an answer with its faults; the presentations that are in it."""
    attempt = 0
    while (bad := spoilt(faults, offered.session, offered.number, attempt, rows)) is not None:
        wrong = replace(
            offered,
            session=bad.session or offered.session,
            number=offered.number if bad.block is None else bad.block,
        )
        # Spoilt, if only in its rows: nothing of it is said again.
        driver.answer(wrong, bad.rows, spoil=bad.spoil or (lambda data: data))
        attempt += 1
    held = {
        (row.image, row.repeat)
        for row in rows
        if faults.happens("late", offered.number, row.image, row.repeat)
    }
    sent = [row for row in faulty(faults, offered.number, rows) if (row.image, row.repeat) not in held]
    every = parts(faults, offered.number, sent)
    for number, part in enumerate(every, 1):
        driver.answer(offered, part, last=number == len(every))
    if faults.happens("again", offered.number):
        driver.answer(offered, every[-1])
    return {(row.image, row.repeat) for row in sent}


class _Idle:
    """What a rig says and does while no block comes. Beginning with the last answer, or with its start."""

    def __init__(
        self, driver: Driver, say: Callable[[str], None], rest_s: float | None, clock: Callable[[], float]
    ) -> None:
        self._driver, self._say, self._rest_s, self._clock = driver, say, rest_s, clock
        self._since, self._said = clock(), False
        self._last: Offered | None = None
        self._rest: list[AnswerRow] = []  # of the last block, without an answer

    def answered(
        self, offered: Offered, rows: Sequence[AnswerRow], sent: set[tuple[str, int | None]]
    ) -> None:
        """A block was answered."""
        self._since, self._said, self._last = self._clock(), False, offered
        self._rest = [row for row in rows if (row.image, row.repeat) not in sent]

    def wait(self) -> None:
        """Another look brought nothing."""
        idle_s = self._clock() - self._since
        if self._last is not None and self._rest and self._rest_s is not None and idle_s >= self._rest_s:
            rest, self._rest = self._rest, []
            self._say(
                f"block {self._last.number} is still open after {idle_s:.0f} s: the {len(rest)} of its "
                f"{counted(len(self._last.presentations), 'response')} that were dropped are sent now"
            )
            with contextlib.suppress(RigError):  # said in the end, where the session has gone
                self._driver.answer(self._last, rest)
            self._since = self._clock()
        elif not self._said and idle_s >= IDLE_S:
            self._said = True
            self._say(f"no block for {idle_s:.0f} s; still waiting: {self._why()}")

    def _why(self) -> str:
        why = str(getattr(self._driver, "waiting", ""))
        if why:
            return why
        if self._last is None:
            return "is xdream serve running?"
        if self._rest:
            count = len(self._last.presentations)
            return f"{len(self._rest)} of the {count} responses to block {self._last.number} were dropped"
        return f"block {self._last.number} was answered as a whole; is the session paused, or has it stopped?"
