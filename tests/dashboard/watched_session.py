"""A session in a thread that a test leads step by step, and the page of its folder in a process."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import Answer, AnswerRow, Arrival, Block
from xdream.laboratory.session import resume, serve
from xdream.scoring.recordings import Spikes, Values

PATIENCE_S = 60.0


def plan_of(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "name": "watched",
        "targets": ["rig::0", "rig::2"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 80,
        "rig": "direct",
        "session": {"channels": 3, "undo_s": 10},
        "responses": {"windows_ms": [[50, 150]]},
        "threads": 1,
    }
    session = {**values["session"], **changes.pop("session", {})}
    return Plan.make(**values | changes | {"session": session})


def spikes_to(image: str, pixels: Any) -> Spikes:
    """More of them, the brighter the image is in a channel's colour."""
    light = (pixels.numpy().mean((1, 2)) / 8).astype(int)
    channels = np.repeat(np.arange(3), light)
    times = np.concatenate([np.linspace(60, 140, n) for n in light]) if light.sum() else np.empty(0)
    return Spikes(times, channels.astype(np.int64), 3, -100.0, 300.0)


class Led:
    """A bridge that answers as many blocks as the test allows, and then waits."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.block: Block | None = None
        self.extra: list[Arrival] = []
        self.offered: list[int] = []
        self._there = threading.Event()

    def open(self, session: str, channels: Sequence[str]) -> None:
        pass

    def close(self) -> None:
        pass

    def status(self, status: Any) -> None:
        pass

    def offer(self, block: Block) -> None:
        self.block = block
        self.offered.append(block.number)

    def withdraw(self, number: int) -> None:
        self.block = None

    def send(self, arrival: Arrival) -> None:
        self.extra.append(arrival)
        self._there.set()

    def allow(self, blocks: int) -> None:
        for _ in range(blocks):
            self.allowed.release()
        self._there.set()

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        self._there.wait(timeout_s)
        self._there.clear()
        if self.extra:
            self._there.set()
            return [self.extra.pop(0)]
        if self.block is None or not self.allowed.acquire(blocking=False):
            return []
        self._there.set()
        rows = tuple(
            AnswerRow(one.image, one.repeat, spikes_to(one.image, self.block.images[one.image]))
            for one in self.block.presentations
        )
        return [Answer(rows, block=self.block.number, source="led")]


def bad_answer(block: int, source: str = "block001.mat") -> Answer:
    """One whose every row is put aside."""
    rows = (AnswerRow("x", 0, Values(np.ones(7))),)
    return Answer(rows, block=block, source=source)


@contextlib.contextmanager
def led_session(folder: Path, *, resumed: bool = False, **changes: Any) -> Iterator[Led]:
    """A session that runs in a thread until the block ends. resumed: the one that is there."""
    led, stop, begun = Led(), threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        given: dict[str, Any] = {"bridge": led, "stop": stop.is_set, "begun": lambda _: begun.set()}
        try:
            (resume(folder, **given) if resumed else serve(plan_of(**changes), folder, **given)).close()
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            failed.append(error)
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(PATIENCE_S)
    try:
        yield led
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not failed, failed
