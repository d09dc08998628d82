"""Two bridges as one: one displays, the other records."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xdream.errors import RigError
from xdream.laboratory.rigs.base import Answer, Arrival, Block, Bridge, Noticing, check

#: So long one bridge is waited for before the other has its turn.
TURN_S = 0.05


class DisplayAndRecorder:
    """Blocks go to both, answers come from both.

    display: shows the images; its claims and commands pass. recorder: notes what is expected and answers.
    display_ends: whether the display's word that it has nothing more to say ends a block. Usually not: it has
    shown everything then, but the recorder still has to answer.
    """

    def __init__(self, display: Bridge, recorder: Bridge, *, display_ends: bool = False) -> None:
        self._display = display
        self._recorder = recorder
        self._display_ends = display_ends

    @property
    def carries_baseline(self) -> bool:
        """Whether the recorder's answers have room for a baseline."""
        return bool(getattr(self._recorder, "carries_baseline", True))

    def notices(self) -> Mapping[str, str]:
        """What either sees and does not understand."""
        found: dict[str, str] = {}
        for bridge in (self._display, self._recorder):
            found.update(bridge.notices() if isinstance(bridge, Noticing) else {})
        return found

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Open both, or none."""
        self._recorder.open(session, channels)
        try:
            self._display.open(session, channels)
        except BaseException:
            self._recorder.close()
            raise

    def check(self, channels: Sequence[str]) -> None:
        """Whether both can be opened. Raises BadInput."""
        for bridge in (self._recorder, self._display):
            check(bridge, channels)

    def offer(self, block: Block) -> None:
        """The recorder hears of it first, so that it knows each onset."""
        self._both(lambda bridge: bridge.offer(block))

    def withdraw(self, number: int) -> None:
        """The block is closed, for both."""
        self._both(lambda bridge: bridge.withdraw(number))

    def status(self, status: Mapping[str, Any]) -> None:
        """How the session stands, to both."""
        self._both(lambda bridge: bridge.status(status))

    def close(self) -> None:
        """Close both, also when one of them fails."""
        self._both(lambda bridge: bridge.close())

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """What has arrived from either; each is asked in turns, and neither can keep the other waiting.

        Raises RigError when one has failed and nothing came from the other.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            arrivals, failed = self._turn(min(TURN_S, max(0.0, left)))
            if arrivals:
                return arrivals
            # With one of them failed the other still has its time, unless there is nothing left to wait on.
            if failed and (len(failed) == 2 or left <= 0):
                raise failed[0]
            if left <= 0:
                return []

    def _turn(self, wait_s: float) -> tuple[list[Arrival], list[RigError]]:
        arrivals: list[Arrival] = []
        failed: list[RigError] = []
        for bridge in (self._display, self._recorder):
            try:
                found = bridge.collect(0.0 if arrivals else wait_s)
            except RigError as error:
                failed.append(error)
                continue
            arrivals += [self._passed(one) if bridge is self._display else one for one in found]
        return arrivals, failed

    def _passed(self, one: Arrival) -> Arrival:
        if isinstance(one, Answer) and one.last and not self._display_ends:
            return replace(one, last=False)
        return one

    def _both(self, act: Callable[[Bridge], None]) -> None:
        try:
            act(self._recorder)
        finally:
            act(self._display)
