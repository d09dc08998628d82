"""The other end of a bridge, as a rig would hold it: for rehearsals and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from xdream.errors import BadInput
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


@dataclass(frozen=True)
class RigSetup:
    """What a simulated rig is made for, beside its bridge's options.

    channels: names of the session's. answer_format: of the files of the original's folder protocol. display:
    of a recorder, the driver that blocks come from.
    """

    channels: tuple[str, ...]
    answer_format: str = "mat"
    display: Driver | None = None

    def code(self, image: str, repeat: int) -> int:
        """The digital word that the display shows with a presentation: the driver of a display keeps them in
        `codes`, by (image, repeat). Raises BadInput when it does not."""
        codes = getattr(self.display, "codes", None)
        if codes is None:
            raise BadInput("the simulated display has no digital words; choose another bridge for it")
        found: int = codes[image, repeat]
        return found


class BridgeDriver(Driver, Protocol):
    """A driver that `xdream simulate-rig` finds: an entry point of the group `xdream.drivers`, under the name
    of its bridge, that is a class.

    is_recorder: whether it answers for what another rig displays (then `RigSetup.display` is that one's
    driver); else it gets blocks over the bridge itself. sends_spikes: whether it is given spike times (up to
    the bridge's `stop_ms`, where it has that option) instead of counts.
    """

    is_recorder: ClassVar[bool]
    sends_spikes: ClassVar[bool]

    @classmethod
    def for_bridge(cls, setup: RigSetup, /, **options: Any) -> Self:
        """One for a bridge. Each parameter beside `setup` has the name of an option of the bridge and gets
        its value: the plan's, else the bridge's default."""
        ...
