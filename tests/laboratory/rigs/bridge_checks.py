"""What every bridge must do, as functions of a medium: used by the tests of each."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from xdream.laboratory.rigs import Answer, AnswerRow, Block, BlockClaim, Bridge, Presentation, Receipt
from xdream.laboratory.simulation.base import Driver, Offered
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values, to_bytes

SESSION, CHANNELS = "5e5510", ("a", "b", "c")
#: Generous: only a test that fails waits for so long.
LONG_S = 60.0
#: For how long nothing must come.
NOTHING_S = 0.5


@dataclass(frozen=True)
class Medium:
    """A bridge and its other end; both can be made anew on the same folder or port. kinds: of recordings that
    it carries beside values."""

    bridge: Callable[[], Bridge]
    driver: Callable[[], Driver]
    kinds: tuple[str, ...] = ("baseline", "spikes", "traces")


def a_block(
    number: int = 1, images: int = 4, repeats: int = 2, size: int = 6, fence: int = 1, fmt: str = "png"
) -> Block:
    """Images of noise, each `repeats` times, in an order in which repeats are rising."""
    random = torch.Generator().manual_seed(number)
    ids = [f"{SESSION}-g{number:04d}-r00-s{i:03d}" for i in range(images)]
    pixels = {i: torch.randint(0, 256, (3, size, size), generator=random, dtype=torch.uint8) for i in ids}
    shown = [(i, repeat) for repeat in range(repeats) for i in (ids if repeat % 2 == 0 else ids[::-1])]
    return Block(
        session=SESSION,
        number=number,
        fence=fence,
        presentations=tuple(
            Presentation(
                image,
                repeat,
                place,
                place + 1,
                False,
                hashlib.sha256(pixels[image].numpy().tobytes()).hexdigest(),
            )
            for place, (image, repeat) in enumerate(shown)
        ),
        images=pixels,
        image_format=fmt,
        show_ms=100.0,
        gap_ms=150.0,
        background=(128, 128, 128),
    )


def left_of(block: Block, keep: Callable[[Presentation], bool]) -> Block:
    """The block as it is offered after a restart."""
    left = tuple(one for one in block.presentations if keep(one))
    return replace(block, presentations=left, images={one.image: block.images[one.image] for one in left})


def value_rows(offered: Offered) -> list[AnswerRow]:
    """Values that follow from pixels and repeat, to the last bit."""
    rows = []
    for image, repeat, pixels in offered.presentations:
        light = pixels.to(torch.float64).mean((1, 2)).numpy()
        rows.append(AnswerRow(image, repeat, Values(light / 7.0 + repeat)))
    return rows


def said(rows: Sequence[AnswerRow]) -> dict[tuple[str, int | None], bytes | None]:
    """What is recorded, by image and repeat; None where it is missing in one way or the other."""
    found: dict[tuple[str, int | None], bytes | None] = {}
    for row in rows:
        missing = row.recorded is None or (
            isinstance(row.recorded, Values) and bool(np.isnan(row.recorded.values).all())
        )
        found[row.image, row.repeat] = None if missing or row.recorded is None else to_bytes(row.recorded)
    return found


class Desk:
    """A session's side of a bridge: the block for whoever asks, and every answer that came."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.block: Block | None = None
        self.answers: list[Answer] = []
        bridge.open(SESSION, CHANNELS)

    def offer(self, block: Block) -> None:
        self.block = block
        self.bridge.offer(block)

    @property
    def rows(self) -> list[AnswerRow]:
        return [row for answer in self.answers for row in answer.rows]

    @property
    def faults(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.fault is not None]

    def listen(self, until: Callable[[], bool], within_s: float = LONG_S) -> None:
        """Take what comes until something is so; that it never is fails the test."""
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline, f"it did not come to that; answers: {self.answers}"
            self.take(0.05)

    def take(self, timeout_s: float) -> None:
        for arrival in self.bridge.collect(timeout_s):
            if isinstance(arrival, BlockClaim):
                arrival.reply(self.block if self.block is not None else "over")
            elif isinstance(arrival, Answer):
                self.answers.append(arrival)
                arrival.reply(Receipt({"taken": len(arrival.rows)}, arrival.fault, True))

    def while_(self, call: Callable[[], Any]) -> Any:
        """What a call of the driver returns, while the bridge is listened to."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(call)
            self.listen(future.done)
            return future.result()

    def next_block(self, driver: Driver, timeout_s: float = LONG_S / 2) -> Offered:
        offered = self.while_(lambda: driver.next_block(timeout_s))
        assert offered is not None, "no block came to the rig"
        return offered


@contextmanager
def at_work(medium: Medium) -> Any:
    """A desk and a driver, both ended."""
    bridge = medium.bridge()
    desk = Desk(bridge)
    driver = medium.driver()
    try:
        yield desk, driver
    finally:
        driver.close()
        bridge.close()


# ---------------------------------------------------------------------- the checks


def check_exact_pixels_go_out(medium: Medium) -> None:
    for fmt in ("png", "bmp"):
        with at_work(medium) as (desk, driver):
            block = a_block(number=1 if fmt == "png" else 2, fmt=fmt)
            desk.offer(block)
            offered = desk.next_block(driver)
            assert offered.number == block.number
            assert offered.session in (None, SESSION)
            assert offered.fence in (None, block.fence)
            shown = [(image, repeat) for image, repeat, _ in offered.presentations]
            assert shown == [(one.image, one.repeat) for one in block.presentations]
            for image, _, pixels in offered.presentations:
                assert pixels.dtype == torch.uint8
                assert torch.equal(pixels, block.images[image])


def check_answers_are_joined_by_image_and_repeat(medium: Medium) -> None:
    with at_work(medium) as (desk, driver):
        desk.offer(a_block())
        offered = desk.next_block(driver)
        rows = value_rows(offered)
        shuffled = [rows[i] for i in (5, 2, 7, 0, 3, 6, 1, 4)]
        desk.while_(lambda: driver.answer(offered, shuffled))
        desk.listen(lambda: len(desk.rows) >= len(rows))
        assert said(desk.rows) == said(rows)
        assert all(answer.block in (None, 1) and answer.fault is None for answer in desk.answers)


def check_partial_answers_arrive(medium: Medium) -> None:
    with at_work(medium) as (desk, driver):
        desk.offer(a_block())
        offered = desk.next_block(driver)
        rows = value_rows(offered)
        for part in (rows[:2], rows[2:4], rows[4:]):  # never as many as channels: v5 refuses a square
            desk.while_(lambda part=part: driver.answer(offered, part, last=len(part) == 4))
            wanted = said(part)
            desk.listen(lambda wanted=wanted: wanted.items() <= said(desk.rows).items())
        assert said(desk.rows) == said(rows)
        assert not desk.faults


def check_nothing_is_carried_twice(medium: Medium) -> None:
    with at_work(medium) as (desk, driver):
        block = a_block()
        desk.offer(block)
        offered = desk.next_block(driver)
        desk.while_(lambda: driver.answer(offered, value_rows(offered)))
        desk.listen(lambda: len(desk.rows) >= len(block.presentations))
        desk.offer(block)
        desk.take(NOTHING_S)
        assert len(desk.rows) == len(block.presentations)


def check_what_is_left_is_offered_after_a_restart(medium: Medium) -> None:
    """The first bridge ends as a killed one does, as far as the medium sees: it is only closed."""
    block = a_block()
    with at_work(medium) as (desk, driver):
        desk.offer(block)
        offered = desk.next_block(driver)
        first = value_rows(offered)[:2]
        desk.while_(lambda: driver.answer(offered, first, last=False))
        desk.listen(lambda: len(desk.rows) >= 2)
    answered = {(row.image, row.repeat) for row in first}
    left = left_of(block, lambda one: (one.image, one.repeat) not in answered)
    with at_work(medium) as (desk, driver):
        desk.offer(left)
        offered = desk.next_block(driver)
        wanted = {(one.image, one.repeat) for one in left.presentations}
        assert wanted <= {(image, repeat) for image, repeat, _ in offered.presentations}
        rows = [row for row in value_rows(offered) if (row.image, row.repeat) in wanted]
        desk.while_(lambda: driver.answer(offered, rows))
        desk.listen(lambda: said(rows).items() <= said(desk.rows).items())
        everything = said(first) | said(rows)
        assert said(desk.rows).items() <= everything.items()
        assert not desk.faults


def check_the_next_block_is_shown(medium: Medium) -> None:
    with at_work(medium) as (desk, driver):
        for number in (1, 2, 3):
            block = a_block(number)
            desk.offer(block)
            offered = desk.next_block(driver)
            assert offered.number == number
            desk.while_(lambda offered=offered: driver.answer(offered, value_rows(offered)))
            desk.listen(lambda number=number: len(desk.rows) >= 8 * number)
            desk.bridge.withdraw(number)


def check_unreadable_bytes_become_faults(medium: Medium) -> None:
    """And the session goes on: the whole answer is taken afterwards."""
    spoilers: Mapping[str, Callable[[bytes], bytes]] = {
        "cut": lambda data: data[: len(data) // 2],
        "one byte short": lambda data: data[:-1],
        "zeros at the end": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        "zeros only": lambda data: bytes(len(data)),
        "nothing": lambda data: b"",
    }
    for number, (name, spoil) in enumerate(spoilers.items(), 1):
        with at_work(medium) as (desk, driver):
            desk.offer(a_block(number))
            offered = desk.next_block(driver)
            rows = value_rows(offered)
            desk.while_(lambda o=offered, r=rows, s=spoil: driver.answer(o, r, spoil=s))
            desk.listen(lambda: len(desk.answers) > 0)
            assert desk.rows == [], name
            [fault] = desk.faults
            assert fault.fault, name
            assert "\n" not in fault.fault
            assert fault.raw is not None
            assert len(fault.raw) <= 1 << 20
            desk.while_(lambda o=offered, r=rows: driver.answer(o, r))
            desk.listen(lambda r=rows: len(desk.rows) >= len(r))
            assert said(desk.rows) == said(rows), name


def recordings(kinds: Sequence[str]) -> list[Recorded | None]:
    """One of each kind, with what is easily lost: NaN, negative zero, the last bit, a silent channel."""
    nan, third = float("nan"), 1.0 / 3.0
    some = np.array([third, -0.0, 5e-324])
    found: list[Recorded | None] = [
        Values(some),
        Values(np.array([nan, 1e300, -third])),
        Values(np.full(3, nan)),
        None,
    ]
    if "baseline" in kinds:
        found.append(Values(some, np.array([nan, 0.1, 2.0])))
    if "spikes" in kinds:
        times = np.array([-12.5, third, 99.25, 7.0])
        found.append(Spikes(times, np.array([0, 0, 0, 2], dtype=np.int64), 3, -50.0, 250.0))
        found.append(Spikes(np.empty(0), np.empty(0, dtype=np.int64), 3, -50.0, 250.0))
    if "traces" in kinds:
        samples = np.stack([some, np.array([nan, 1.0, 2.0]), some * 3])
        found.append(Traces(samples, -50.0, 0.5))
    return found


def check_every_kind_of_recording_survives(medium: Medium) -> None:
    with at_work(medium) as (desk, driver):
        desk.offer(a_block())
        offered = desk.next_block(driver)
        recorded = recordings(medium.kinds)
        rows = [
            AnswerRow(image, repeat, one)
            for (image, repeat, _), one in zip(offered.presentations, recorded, strict=False)
        ]
        desk.while_(lambda: driver.answer(offered, rows))
        desk.listen(lambda: len(desk.rows) >= len(rows))
        assert said(desk.rows) == said(rows)


#: All of them; the last only for media that have bytes.
CHECKS = (
    check_exact_pixels_go_out,
    check_answers_are_joined_by_image_and_repeat,
    check_partial_answers_arrive,
    check_nothing_is_carried_twice,
    check_what_is_left_is_offered_after_a_restart,
    check_the_next_block_is_shown,
    check_every_kind_of_recording_survives,
    check_unreadable_bytes_become_faults,
)
