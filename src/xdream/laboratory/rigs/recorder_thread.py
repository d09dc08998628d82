"""What bridges that listen to a recorder have in common: a thread, and whether anything is heard in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias

from pydantic import Field

from xdream.errors import BadInput

#: Options of the bridges to recorders.
SampleRate: TypeAlias = Annotated[float, Field(ge=1, le=1e6)]
SettleTime: TypeAlias = Annotated[float, Field(ge=0, le=100)]
SilenceTime: TypeAlias = Annotated[float, Field(gt=0)]

#: How long the end of the thread is waited for.
END_S = 10.0


class RecorderThread:
    """The thread in which a recorder is listened to.

    lock: of what it shares with the session's thread. stop: whether it is to end. silence_s: with nothing
    heard for so long, and a block offered, the medium has failed.
    """

    def __init__(self, name: str, silence_s: float, clock: Callable[[], float]) -> None:
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self._name, self._silence_s, self._clock = name, silence_s, clock
        self._thread: threading.Thread | None = None
        self._offered: set[int] = set()

    def start(self, listen: Callable[[], None]) -> None:
        """Begin to listen."""
        self.heard()
        self.stop.clear()
        self._thread = threading.Thread(target=listen, name=self._name, daemon=True)
        self._thread.start()

    def heard(self) -> None:
        """Something came."""
        self._heard = self._clock()

    def offer(self, number: int) -> None:
        """A block is shown: from now on there is something to hear."""
        if not self._offered:
            self.heard()
        self._offered.add(number)

    def withdraw(self, number: int) -> None:
        """It is shown no more."""
        self._offered.discard(number)

    def too_silent_s(self) -> float | None:
        """For how long nothing was heard, when that is too long while a block is shown."""
        silent_s = self._clock() - self._heard
        return silent_s if self._offered and silent_s > self._silence_s else None

    def end(self) -> bool:
        """End the thread; whether there was one."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self.stop.set()
            thread.join(END_S)
        return thread is not None


def units_of(units: Sequence[str] | None, channels: Sequence[str]) -> tuple[str, ...]:
    """The recorder's unit of each of the session's channels; by default their names. Raises BadInput."""
    found = tuple(units or channels)
    if len(found) != len(channels):
        raise BadInput(
            f"rig: units has {len(found)} entries and session.channels {len(channels)}; "
            "write one unit for each channel, in the same order"
        )
    return found
