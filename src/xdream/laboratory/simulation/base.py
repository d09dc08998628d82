"""The other end of a bridge, as a rig would hold it: for rehearsals and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from xdream.laboratory.rigs.base import AnswerRow
from xdream.types import ShownImages


@dataclass(frozen=True)
class Offered:
    """A block as a rig received it. presentations: (image id, repeat, pixels (3, h, w) uint8), in order."""

    session: str | None
    number: int
    fence: int | None
    presentations: tuple[tuple[str, int, ShownImages], ...]


class Driver(Protocol):
    """Takes blocks and sends answers through one medium."""

    def next_block(self, timeout_s: float) -> Offered | None:
        """A block that was not answered by this driver yet; None when none came in time, or the session is
        over."""
        ...

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Send responses. spoil: changes the bytes on their way (a file that is cut, zeros at its end), for
        media that have bytes."""
        ...

    @property
    def over(self) -> bool:
        """Whether the session said that it is over, or is gone for good."""
        ...

    def disconnect(self, seconds: float) -> None:
        """Be away for a while."""
        ...

    def close(self) -> None:
        """End."""
        ...
