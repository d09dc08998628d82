"""A rig that answers a session through any bridge, and misbehaves on purpose."""

from __future__ import annotations

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
#: For how long a session that may have ended is looked for.
GONE_S = 90.0


def simulate(
    driver: Driver,
    neurons: SimulatedNeurons,
    faults: Faults | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], None] = lambda number, presentations: None,
) -> int:
    """Answer blocks until the session is over; returns how many. tell: (block, presentations) before each.

    Raises RigError for a session that does not answer any more and never said that it is over.
    """
    faults = faults or Faults()
    blocks = 0
    late: list[tuple[Offered, AnswerRow]] = []
    while not driver.over and not stop():
        offered = driver.next_block(LISTEN_S)
        if offered is None:
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
            _answer(driver, offered, rows, faults)
        except RigError:
            if not _has_ended(driver, stop):
                raise
            break
        late = [
            (offered, row) for row in rows if faults.happens("late", offered.number, row.image, row.repeat)
        ]
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


def _answer(driver: Driver, offered: Offered, rows: Sequence[AnswerRow], faults: Faults) -> None:
    attempt = 0
    while (bad := spoilt(faults, offered.session, offered.number, attempt, rows)) is not None:
        wrong = replace(offered, session=bad.session or offered.session, number=bad.block or offered.number)
        driver.answer(wrong, bad.rows, spoil=bad.spoil)
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
