"""What every bridge with a driver must do, as functions over (make_bridge, make_driver), and a small session.

make_bridge() makes a bridge that is not open; make_driver(bridge, rig) the other end of an open one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xdream.laboratory.rigs import Answer, AnswerRow, Block, BlockClaim, Command, Presentation, Receipt
from xdream.scoring.recordings import Spikes, Traces, Values, to_bytes

MakeBridge = Callable[[], Any]
MakeDriver = Callable[[Any, str], Any]
CHANNELS = ("a", "b", "c")
PATIENCE_S = 30.0


def a_block(number: int = 1, images: int = 3, repeats: int = 2, size: int = 5, session: str = "s1") -> Block:
    rng = np.random.default_rng(number)
    names = [f"{session}-{number}-{i}" for i in range(images)]
    pixels = {name: torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8)) for name in names}
    order = [(name, repeat) for repeat in range(repeats) for name in names]
    presentations = tuple(
        Presentation(name, repeat, place, place + 1, name.endswith("0"), "0" * 64)
        for place, (name, repeat) in enumerate(order)
    )
    return Block(session, number, 1, presentations, pixels, "png", 100.0, 50.5, (1, 2, 3))


def rows_of(block_or_offered: Any, shift: float = 0.0) -> list[AnswerRow]:
    """One response for each presentation, each another."""
    pairs = [
        (p.image, p.repeat) if isinstance(p, Presentation) else (p[0], p[1])
        for p in block_or_offered.presentations
    ]
    return [
        AnswerRow(image, repeat, Values(np.array([shift + at, np.nan, -at / 3.0]), np.array([0.0, 1.0, 0.1])))
        for at, (image, repeat) in enumerate(pairs)
    ]


def wait_for(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


class SmallSession(threading.Thread):
    """Decides as a session does, in a few lines: leases without an end, the first answer stands."""

    def __init__(self, bridge: Any, *blocks: Block, decide: bool = True) -> None:
        super().__init__(daemon=True)
        self.bridge, self.blocks = bridge, list(blocks)
        self.answers: list[Answer] = []
        self.claims: list[str] = []
        self.commands: list[tuple[str, str]] = []
        self.taken: dict[tuple[str, int], Any] = {}
        self.closed: list[int] = []
        self.said: str | None = None
        self.decides = threading.Event()
        self.failed: BaseException | None = None
        self._holder: str | None = None
        self._offered: int | None = None
        self._ending = threading.Event()
        if decide:
            self.decides.set()

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                self.offer()
                if not self.decides.wait(0.05):
                    continue
                for arrival in self.bridge.collect(0.05):
                    self._decide(arrival)
        except BaseException as error:
            self.failed = error
            raise

    def offer(self) -> None:
        if self.blocks and self._offered != self.blocks[0].number:
            self._offered = self.blocks[0].number
            self.bridge.offer(self.blocks[0])

    def end(self) -> None:
        self._ending.set()
        self.decides.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()

    def _decide(self, arrival: Any) -> None:
        if isinstance(arrival, BlockClaim):
            self.claims.append(arrival.rig)
            arrival.reply(self._claimed(arrival.rig))
        elif isinstance(arrival, Command):
            self.commands.append((arrival.word, arrival.value))
            arrival.reply("there is no such block" if arrival.word == "reject" else None)
        else:
            self.answers.append(arrival)
            arrival.reply(self._verdict(arrival))

    def _claimed(self, rig: str) -> Block | str:
        if self.said is not None:
            return self.said
        if not self.blocks:
            return "over"
        if self._holder not in (None, rig):
            return f"held by {self._holder} for another 9 s"
        self._holder = rig
        block = self.blocks[0]
        left = tuple(p for p in block.presentations if (p.image, p.repeat) not in self.taken)
        return replace(block, presentations=left)

    def _verdict(self, answer: Answer) -> Receipt:
        if answer.fault is not None:
            return Receipt({"quarantined": 1}, answer.fault, True)
        if answer.session != "s1":
            return Receipt({"stale": len(answer.rows)}, "an answer of another session", True)
        counts = {"taken": 0, "repeated": 0, "unknown": 0, "late": 0, "duplicate": 0}
        block = self.blocks[0] if self.blocks and self.blocks[0].number == answer.block else None
        if block is not None and answer.fence != block.fence:
            return Receipt({}, "block 1 was given to another rig", True, conflict=True)
        known = set() if block is None else {(p.image, p.repeat) for p in block.presentations}
        for row in answer.rows:
            key = (row.image, row.repeat or 0)
            raw = None if row.recorded is None else to_bytes(row.recorded)
            if key in self.taken:
                counts["repeated" if self.taken[key] == raw else "duplicate"] += 1
            elif key in known:
                self.taken[key] = raw
                counts["taken"] += 1
            else:
                counts["late" if block is None else "unknown"] += 1
        done = block is not None and (answer.last or known <= set(self.taken))
        if done and block is not None:
            self.closed.append(block.number)
            self.bridge.withdraw(block.number)
            del self.blocks[0]
            self._holder = None
        return Receipt({k: v for k, v in counts.items() if v}, None, not done)


@contextmanager
def served(
    make_bridge: MakeBridge, *blocks: Block, decide: bool = True
) -> Iterator[tuple[Any, SmallSession]]:
    bridge = make_bridge()
    bridge.open("s1", CHANNELS)
    session = SmallSession(bridge, *blocks, decide=decide)
    session.start()
    try:
        yield bridge, session
    finally:
        session.end()
        bridge.close()
    assert session.failed is None


@contextmanager
def driven(make_driver: MakeDriver, bridge: Any, rig: str = "rig-1") -> Iterator[Any]:
    driver = make_driver(bridge, rig)
    try:
        yield driver
    finally:
        driver.close()


# ---------------------------------------------------------------------- the behaviours


def a_block_arrives_with_its_exact_pixels_in_order(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    block = a_block(images=4, size=37)
    with served(make_bridge, block) as (bridge, _), driven(make_driver, bridge) as driver:
        offered = driver.next_block(PATIENCE_S)
        assert (offered.session, offered.number, offered.fence) == ("s1", 1, 1)
        assert [(i, r) for i, r, _ in offered.presentations] == [
            (p.image, p.repeat) for p in block.presentations
        ]
        for image, _, pixels in offered.presentations:
            assert torch.equal(pixels, block.images[image])


def every_kind_of_response_arrives_bit_for_bit(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    block = a_block(images=5, repeats=1)
    times = np.array([-3.5, 1 / 3, 70.25])
    recorded = [
        Values(np.array([1 / 3, np.nan, -0.0])),
        Values(np.array([1e300, 5e-324, np.inf]), np.array([0.1, np.nan, 2.0])),
        Spikes(times, np.array([0, 2, 2]), 3, -100.0, 200.5),
        Traces(np.random.default_rng(0).normal(size=(3, 7)), -10.0, 0.1),
        None,
    ]
    with served(make_bridge, block) as (bridge, session), driven(make_driver, bridge) as driver:
        offered = driver.next_block(PATIENCE_S)
        rows = [AnswerRow(p[0], p[1], one) for p, one in zip(offered.presentations, recorded, strict=True)]
        driver.answer(offered, rows)
        (answer,) = session.answers
        assert answer.last
        for sent, got in zip(rows, answer.rows, strict=True):
            assert (sent.image, sent.repeat) == (got.image, got.repeat)
            if sent.recorded is None:
                assert got.recorded is None
            else:
                assert got.recorded is not None
                assert to_bytes(sent.recorded) == to_bytes(got.recorded)


def partial_answers_are_taken_in_any_order(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    with (
        served(make_bridge, a_block(), a_block(2)) as (bridge, session),
        driven(make_driver, bridge) as driver,
    ):
        offered = driver.next_block(PATIENCE_S)
        rows = rows_of(offered)
        for row in reversed(rows):
            driver.answer(offered, [row], last=False)
        assert len(session.answers) == len(rows)
        assert session.closed == [1]
        assert driver.next_block(PATIENCE_S).number == 2


def the_same_answer_once_more_is_a_repetition(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    with served(make_bridge, a_block()) as (bridge, session), driven(make_driver, bridge) as driver:
        offered = driver.next_block(PATIENCE_S)
        for _ in range(3):
            driver.answer(offered, rows_of(offered)[:2], last=False)
        assert len(session.answers) == 3
        assert len(session.taken) == 2


def an_answered_block_is_not_given_to_its_rig_again(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    with (
        served(make_bridge, a_block(), a_block(2)) as (bridge, session),
        driven(make_driver, bridge) as driver,
    ):
        for number in (1, 2):
            offered = driver.next_block(PATIENCE_S)
            assert offered.number == number
            driver.answer(offered, rows_of(offered)[:-1])
        assert session.closed == [1, 2]
        assert driver.next_block(PATIENCE_S) is None
        assert driver.over


def spoiled_answers_are_faults_and_the_block_stays(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    spoils: list[Callable[[bytes], bytes]] = [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-20] + bytes(20),
        lambda data: b"",
        lambda data: b"\xff" + data,
        lambda data: bytes(len(data)),
    ]
    with served(make_bridge, a_block()) as (bridge, session), driven(make_driver, bridge) as driver:
        offered = driver.next_block(PATIENCE_S)
        for spoil in spoils:
            driver.answer(offered, rows_of(offered), spoil=spoil)
        assert not session.taken
        faults = [answer.fault for answer in session.answers]
        assert all(fault and "\n" not in fault for fault in faults)
        again = driver.next_block(PATIENCE_S)
        assert again.number == 1
        driver.answer(again, rows_of(again))
        assert session.closed == [1]


def of_two_rigs_one_holds_the_block(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    with (
        served(make_bridge, a_block()) as (bridge, session),
        driven(make_driver, bridge, "one") as one,
        driven(make_driver, bridge, "two") as two,
    ):
        offered = one.next_block(PATIENCE_S)
        assert two.next_block(0.1) is None
        assert not two.over
        session.blocks[0] = replace(session.blocks[0], fence=2)
        one.answer(offered, rows_of(offered))
        assert not session.taken
        assert session.answers[-1].fence == 1


def a_rig_that_was_away_goes_on(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    with served(make_bridge, a_block()) as (bridge, session), driven(make_driver, bridge) as driver:
        offered = driver.next_block(PATIENCE_S)
        driver.answer(offered, rows_of(offered)[:2], last=False)
        driver.disconnect(0.05)
        again = driver.next_block(PATIENCE_S)
        assert len(again.presentations) == len(offered.presentations) - 2
        driver.answer(again, rows_of(again, shift=9.0))
        assert session.closed == [1]


def a_closed_bridge_is_over_for_its_driver_and_its_port_is_free(
    make_bridge: MakeBridge, make_driver: MakeDriver
) -> None:
    bridge = make_bridge()
    bridge.open("s1", CHANNELS)
    with driven(make_driver, bridge) as driver:
        found: list[Any] = []
        asking = threading.Thread(target=lambda: found.append(driver.next_block(PATIENCE_S)))
        asking.start()
        bridge.close()
        asking.join(PATIENCE_S)
        assert found == [None]
        assert driver.over
    for _ in range(2):
        bridge.open("s1", CHANNELS)
        bridge.close()


def a_pause_is_no_end(make_bridge: MakeBridge, make_driver: MakeDriver) -> None:
    with served(make_bridge, a_block()) as (bridge, session), driven(make_driver, bridge) as driver:
        session.said = "paused: by the experimenter"
        assert driver.next_block(0.1) is None
        assert not driver.over
        session.said = None
        assert driver.next_block(PATIENCE_S).number == 1


def collecting_ends_with_its_time(make_bridge: MakeBridge, _: MakeDriver) -> None:
    bridge = make_bridge()
    bridge.open("s1", CHANNELS)
    try:
        assert list(bridge.collect(0.0)) == []
        assert list(bridge.collect(0.01)) == []
    finally:
        bridge.close()


BEHAVIOURS = [
    a_block_arrives_with_its_exact_pixels_in_order,
    every_kind_of_response_arrives_bit_for_bit,
    partial_answers_are_taken_in_any_order,
    the_same_answer_once_more_is_a_repetition,
    an_answered_block_is_not_given_to_its_rig_again,
    spoiled_answers_are_faults_and_the_block_stays,
    of_two_rigs_one_holds_the_block,
    a_rig_that_was_away_goes_on,
    a_closed_bridge_is_over_for_its_driver_and_its_port_is_free,
    a_pause_is_no_end,
    collecting_ends_with_its_time,
]
