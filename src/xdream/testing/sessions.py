"""A session in a few lines, for the checks of bridges: it decides, writes nothing, and can be looked into."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from xdream.laboratory.rigs import (
    Answer,
    AnswerRow,
    Arrival,
    Block,
    BlockClaim,
    Bridge,
    Command,
    NoBlock,
    Presentation,
    Receipt,
)
from xdream.laboratory.simulation.base import Offered
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values, to_bytes

SESSION = "5e5510"
#: Only a check that fails waits for so long.
PATIENCE_S = 60.0
#: How long a bridge is asked at a time.
LISTEN_S = 0.05


def a_block(
    number: int = 1, images: int = 4, repeats: int = 2, size: int = 6, file_type: str = "png"
) -> Block:
    """Images of noise, each `repeats` times, in an order that differs from repeat to repeat."""
    rng = torch.Generator().manual_seed(number)
    names = [f"{SESSION}-g{number:04d}-r00-s{i:03d}" for i in range(images)]
    pixels = {n: torch.randint(0, 256, (3, size, size), generator=rng, dtype=torch.uint8) for n in names}
    sums = {name: hashlib.sha256(pixels[name].numpy().tobytes()).hexdigest() for name in names}
    shown = [(n, repeat) for repeat in range(repeats) for n in (names if repeat % 2 == 0 else names[::-1])]
    presentations = tuple(
        Presentation(name, repeat, place, place + 1, False, sums[name])
        for place, (name, repeat) in enumerate(shown)
    )
    return Block(SESSION, number, 1, presentations, pixels, file_type, 100.0, 150.0, (128, 128, 128))


def left_of(block: Block, keep: Callable[[Presentation], bool]) -> Block:
    """The block as it is offered when only some presentations are left."""
    left = tuple(one for one in block.presentations if keep(one))
    return replace(block, presentations=left, images={one.image: block.images[one.image] for one in left})


def said_of(rows: Sequence[AnswerRow]) -> dict[tuple[str, int | None], bytes | None]:
    """What is recorded, by image and repeat; None where it is missing, in one way or the other."""
    found: dict[tuple[str, int | None], bytes | None] = {}
    for row in rows:
        values = row.recorded.values if isinstance(row.recorded, Values) else None
        missing = row.recorded is None or (values is not None and bool(np.isnan(values).all()))
        found[row.image, row.repeat] = None if missing or row.recorded is None else to_bytes(row.recorded)
    return found


def edge_cases(kinds: Sequence[str]) -> list[Recorded | None]:
    """At most eight recordings of three channels with what is easily lost on the way."""
    nan, third = float("nan"), 1.0 / 3.0
    some = np.array([third, -0.0, 5e-324])
    found: list[Recorded | None] = [Values(some), Values(np.array([nan, 1e300, -third])), None]
    found.append(Values(np.array([np.inf, third, 1.0])))
    if "baseline" in kinds:
        found.append(Values(some, np.array([nan, 0.1, 2.0])))
    if "spikes" in kinds:
        times = np.array([-12.5, third, 99.25, 7.0])
        found.append(Spikes(times, np.array([0, 0, 0, 2], dtype=np.int64), 3, -50.0, 250.5))
        found.append(Spikes(np.empty(0), np.empty(0, dtype=np.int64), 3, -50.0, 250.0))
    if "traces" in kinds:
        samples = np.stack([some, np.array([nan, 1.0, 2.0]), some * 3])
        found.append(Traces(samples, -50.0, 0.5))
    return found


#: What may happen to the bytes of an answer, so that none of it may be read.
DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "zero in its second half": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "zero at its end": lambda data: data[:-20] + bytes(20),
    "zeros only": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
    "led by another byte": lambda data: b"\xff" + data,
}


class SmallSession(threading.Thread):
    """Decides as a session does: the first rig that asks has the block for good, the first answer stands.

    blocks: shown one after the other. closes: whether a block ends when it is answered. no_block: said to
    each rig that asks, instead of a block. answers, claims, commands: what came. taken: by image and repeat.
    closed: numbers of the blocks that have ended.
    """

    def __init__(self, bridge: Bridge, *blocks: Block, decide: bool = True, closes: bool = True) -> None:
        super().__init__(daemon=True)
        self.bridge, self.blocks, self.closes = bridge, list(blocks), closes
        self.answers: list[Answer] = []
        self.claims: list[str] = []
        self.commands: list[tuple[str, str]] = []
        self.taken: dict[tuple[str, int], bytes | None] = {}
        self.closed: list[int] = []
        self.no_block: NoBlock | None = None
        #: Nothing is collected until it is set.
        self.decides = threading.Event()
        self.failed: BaseException | None = None
        self._holder: str | None = None
        self._offered: int | None = None
        self._ending = threading.Event()
        if decide:
            self.decides.set()

    @property
    def offered(self) -> bool:
        """Whether the bridge has the block that is to be shown."""
        return bool(self.blocks) and self._offered == self.blocks[0].number

    @property
    def faults(self) -> list[Answer]:
        """The answers that could not be read."""
        return [answer for answer in self.answers if answer.fault is not None]

    @property
    def rows(self) -> list[AnswerRow]:
        """All rows that came."""
        return [row for answer in self.answers for row in answer.rows]

    def run(self) -> None:
        """Until `end`."""
        try:
            while not self._ending.is_set():
                self._offer()
                if self.decides.wait(LISTEN_S):
                    for arrival in self.bridge.collect(LISTEN_S):
                        self.decide(arrival)
        except BaseException as error:
            self.failed = error
            raise

    def end(self) -> None:
        """End the thread."""
        self._ending.set()
        self.decides.set()
        self.join(PATIENCE_S)
        assert not self.is_alive(), "collect did not end with its time"

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so. Raises AssertionError when it does not come to that."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.failed is None, f"{what}: {self.failed!r}"
            assert time.monotonic() < deadline, f"{what}; answers so far: {self.answers}"
            time.sleep(0.005)

    def shown(self, timeout_s: float) -> Offered | None:
        """The block that is offered now, as a display shows it; None when there is none in this time."""
        deadline = time.monotonic() + timeout_s
        while not self.offered:
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.005)
        block = self._left(self.blocks[0])
        shown = tuple((p.image, p.repeat, block.images[p.image]) for p in block.presentations)
        return Offered(block.session, block.number, block.fence, shown)

    def decide(self, arrival: Arrival) -> None:
        """Keep what arrived, and reply."""
        if isinstance(arrival, BlockClaim):
            self.claims.append(arrival.rig)
            arrival.reply(self._claimed(arrival.rig))
        elif isinstance(arrival, Command):
            self.commands.append((arrival.word, arrival.value))
            arrival.reply("there is no such block" if arrival.word == "reject" else None)
        else:
            self.answers.append(arrival)
            arrival.reply(self._receipt(arrival))

    def _offer(self) -> None:
        if self.blocks and self._offered != self.blocks[0].number:
            self.bridge.offer(self.blocks[0])
            self._offered = self.blocks[0].number

    def _left(self, block: Block) -> Block:
        return left_of(block, lambda p: (p.image, p.repeat) not in self.taken)

    def _claimed(self, rig: str) -> Block | NoBlock:
        if self.no_block is not None:
            return self.no_block
        if not self.blocks:
            return NoBlock("over", "over")
        if self._holder not in (None, rig):
            return NoBlock("held", f"held by {self._holder} for another 9 s")
        self._holder = rig
        return self._left(self.blocks[0])

    def _receipt(self, answer: Answer) -> Receipt:
        if answer.fault is not None:
            return Receipt({"quarantined": 1}, answer.fault, True)
        if answer.session not in (None, SESSION):
            return Receipt({"stale": len(answer.rows)}, "an answer of another session", True)
        now = self.blocks[0] if self.blocks else None
        block = now if now is not None and answer.block in (None, now.number) else None
        if block is not None and answer.fence not in (None, block.fence):
            return Receipt({}, f"block {block.number} was given to another rig", True, conflict=True)
        counts = self._take(answer.rows, block)
        known = set() if block is None else {(p.image, p.repeat) for p in block.presentations}
        done = block is not None and (answer.last or known <= set(self.taken))
        if done and block is not None and self.closes:
            self._close(block)
        return Receipt({k: v for k, v in counts.items() if v}, None, not done)

    def _take(self, rows: Sequence[AnswerRow], block: Block | None) -> dict[str, int]:
        counts = {"taken": 0, "repeated": 0, "unknown": 0, "late": 0, "duplicate": 0}
        known = set() if block is None else {(p.image, p.repeat) for p in block.presentations}
        for (image, repeat), raw in said_of(rows).items():
            key = (image, repeat or 0)
            if key in self.taken:
                counts["repeated" if self.taken[key] == raw else "duplicate"] += 1
            elif key in known:
                self.taken[key] = raw
                counts["taken"] += 1
            else:
                counts["late" if block is None else "unknown"] += 1
        return counts

    def _close(self, block: Block) -> None:
        self.bridge.withdraw(block.number)
        self._holder = None
        del self.blocks[0]
        self.closed.append(block.number)
        if not self.blocks:
            self.bridge.status({"state": "over", "session": SESSION})


@contextlib.contextmanager
def served(
    bridge: Bridge, channels: Sequence[str], *blocks: Block, decide: bool = True, closes: bool = True
) -> Iterator[SmallSession]:
    """A bridge that is open, with a session that serves these blocks over it."""
    bridge.open(SESSION, channels)
    session = SmallSession(bridge, *blocks, decide=decide, closes=closes)
    try:
        session.start()
        session.until(lambda: session.offered or not blocks, "the bridge does not take the block")
        yield session
    finally:
        session.end()
        bridge.close()
    assert session.failed is None, f"the bridge raised {session.failed!r}"
