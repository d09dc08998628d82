"""What a bridge to a laboratory is: blocks go out, answers come in, and nothing is decided here.

A bridge carries. Which block is shown, what an answer is worth and when a block is over is the session's
decision (`xdream.laboratory.session`), which also writes: a bridge keeps no record. Bridges that listen do
so in a thread of their own and put what comes into a queue that `collect` empties, so that one thread alone
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from xdream.registry import Registry
from xdream.scoring.recordings import Recorded
from xdream.types import ShownImages


@dataclass(frozen=True)
class Presentation:
    """One planned showing of one image.

    image: the image's id, letters, digits and dashes, unique in all sessions; the same for each repeat and
    whenever it is shown again. repeat: from 0. place: in the block, from 0. code: 1 to 65535, for rigs that
    can only mark an onset with a digital word; no two of the last 65535 planned presentations share one.
    reference: whether it is a natural image. sha256: of the pixels, (3, h, w) uint8.
    """

    image: str
    repeat: int
    place: int
    code: int
    reference: bool
    sha256: str


@dataclass(frozen=True)
class Block:
    """What is to be shown, in this order.

    session: its id. number: from 1 (or 0, see `SessionPlan.first_block`), never used again in a session.
    fence: who holds the block: an answer with a smaller one comes from a rig that has lost it.
    presentations: those that have no answer yet.
    images: pixels by the image's id, (3, size, size) uint8, RGB. show_ms, gap_ms: for how long an image and
    the background after it. background: RGB, 0 to 255.
    """

    session: str
    number: int
    fence: int
    presentations: tuple[Presentation, ...]
    images: Mapping[str, ShownImages]
    image_format: str
    show_ms: float
    gap_ms: float
    background: tuple[int, int, int]


@dataclass(frozen=True)
class AnswerRow:
    """The response to one presentation. repeat: None where the medium has no word for it: the first repeat
    in the block that has no answer. recorded: None where the rig says itself that there is none. onset_s:
    when the image appeared, on the rig's clock (one for the session, of any origin), if the rig says it."""

    image: str
    repeat: int | None
    recorded: Recorded | None
    onset_s: float | None = None


@dataclass(frozen=True)
class Receipt:
    """What became of an answer, after it was committed.

    counts: rows by what became of them: taken, missing, repeated (the same once more), duplicate (another
    answer to what was answered), late, stale, superseded, unknown, quarantined. refused: why none was taken,
    or None. open: whether the block still waits for answers. conflict: whether `refused` is about who may
    answer (another rig holds the block), not about what was said. alarm: what the experimenter is told of the
    rows that were not taken, or None.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    refused: str | None = None
    open: bool = False
    conflict: bool = False
    alarm: str | None = None


def _nothing(_: Any) -> None:
    """Nobody waits for the reply."""


@dataclass(frozen=True)
class Answer:
    """Responses as they arrived.

    session, block, fence: as the rig said them; None where the medium has no word for it. last: the rig has
    nothing more to say about this block. fault: why what arrived could not be read at all (then `rows` is
    empty, and `raw` what arrived). source: for the record, e.g. the file's name. reply: called once, when
    the receipt is committed, in the thread that calls `collect`.
    """

    rows: tuple[AnswerRow, ...]
    session: str | None = None
    block: int | None = None
    fence: int | None = None
    last: bool = False
    source: str = ""
    fault: str | None = None
    raw: bytes | None = None
    reply: Callable[[Receipt], None] = _nothing


@dataclass(frozen=True)
class NoBlock:
    """Why a rig that asks gets no block now.

    state: "held" (by another rig), "paused", "over" (the session; there will be none any more) or "waiting".
    reason: the same for a person, in one line.
    """

    state: Literal["held", "paused", "over", "waiting"]
    reason: str


@dataclass(frozen=True)
class BlockClaim:
    """A rig asks for the block that is to be shown. reply: gets the block, or why there is none now.

    rig: its name for itself. The same rig that asks again gets what has no answer yet, with the same fence;
    another one gets it, with a larger fence, only when the holder's lease is over.
    """

    rig: str
    reply: Callable[[Block | NoBlock], None]


@dataclass(frozen=True)
class Command:
    """The experimenter's word over a bridge: pause, go-on, stop, reject (a block's number in `value`),
    take-back (of a rejection that is held)."""

    word: str
    value: str = ""
    reply: Callable[[str | None], None] = _nothing


Arrival: TypeAlias = Answer | BlockClaim | Command


class Bridge(Protocol):
    """Carries blocks to a rig and answers from it; a context manager that opens and closes nothing itself.

    A bridge whose answers have no room for a baseline says so: `carries_baseline = False`. The constructor
    only keeps what it is given (after checking it: BadInput). All methods are called from one thread.
    """

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Take the folder or the port. Raises BadInput when it cannot be had."""
        ...

    def offer(self, block: Block) -> None:
        """From now on this is the block that is to be shown. Called again with the same block after a restart
        or when its lease went to somebody else: what has been carried already is not carried twice."""
        ...

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """What has arrived; waits for the first until the time is over. Never raises for what a rig sent: an
        answer that cannot be read has a `fault`. Raises RigError when the medium itself fails (a folder that
        is gone); the session goes on asking."""
        ...

    def withdraw(self, number: int) -> None:
        """The block is closed."""
        ...

    def status(self, status: Mapping[str, Any]) -> None:
        """How the session stands (JSON), for rigs that ask."""
        ...

    def close(self) -> None:
        """Give folder or port back."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """A bridge whose opening would change what a stopped session left, or that is made of such."""

    def check(self, channels: Sequence[str]) -> None:
        """Whether it could be opened; nothing is changed. Raises BadInput."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """A bridge that sees more in its medium than answers."""

    def notices(self) -> Mapping[str, str]:
        """What is there now that is not understood, by a word for it: what was awaited and what was found."""
        ...


def check(bridge: Bridge, channels: Sequence[str]) -> None:
    """Whether a bridge can be opened; it is not open afterwards. Raises BadInput."""
    if isinstance(bridge, Checkable):
        bridge.check(channels)
    else:
        bridge.open("preflight", channels)
        bridge.close()


#: Every bridge by name.
BRIDGES: Registry[Bridge] = Registry("bridge")
