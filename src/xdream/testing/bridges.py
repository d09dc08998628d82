"""What every bridge must do, as checks for whoever writes one.

class MyAdapter(testing.BridgeAdapter):
    def bridge(self): return MyBridge(port=self.port)
    def rig(self, bridge, name, shown): return MyRig(self.port)

testing.check_bridge(MyAdapter())
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from xdream.laboratory.rigs import AnswerRow, Block, Bridge, NoBlock
from xdream.laboratory.simulation.base import Driver, Offered
from xdream.scoring.recordings import Recorded, Values
from xdream.testing.sessions import (
    DAMAGES,
    PATIENCE_S,
    SESSION,
    SmallSession,
    a_block,
    edge_cases,
    left_of,
    said_of,
    served,
)

#: (timeout_s) -> the block that is shown now, or None.
Shown = Callable[[float], Offered | None]
#: How long something that must not come is waited for.
NOTHING_S = 0.2
#: Of what cannot be read so much is kept at most.
RAW_BYTES = 1 << 20


class BridgeAdapter:
    """How the checks reach a bridge, and a rig behind it. Subclass it for your bridge.

    channels: of the session. asks: whether rigs ask for their blocks, so that one of them holds a block; with
    a rig that is shown its blocks (a folder, a recorder) it is False. replies: whether the rig's `answer`
    returns only when the session has decided. kinds: of recordings that are carried beside values. damages:
    what happens to the bytes of an answer so that it must be a fault. without: checks that do not apply to
    this kind of bridge, by name, each with the reason in a few words.
    """

    channels: Sequence[str] = ("a", "b", "c")
    asks: bool = True
    replies: bool = False
    kinds: Sequence[str] = ("baseline", "spikes", "traces")
    damages: Mapping[str, Callable[[bytes], bytes]] = DAMAGES
    without: Mapping[str, str] = {}

    def bridge(self) -> Bridge:
        """A bridge that is not open; each on the same folder, port or stream."""
        raise NotImplementedError

    def rig(self, bridge: Bridge, name: str, shown: Shown) -> Driver:
        """The other end of a bridge that is open (see `xdream.laboratory.simulation.Driver`).

        name: the rig's, for itself. shown: for a recorder, what is on the display.
        """
        raise NotImplementedError

    def response(self, number: int) -> Recorded:
        """A recording that arrives as it was sent, to the last bit; another for each number from 0."""
        third = number / 3.0
        baseline = np.array([0.0, 1.0, third]) if "baseline" in self.kinds else None
        return Values(np.array([float(number), np.nan, -third]), baseline)

    def edge_cases(self) -> Sequence[Recorded | None]:
        """At most eight recordings with what is easily lost: NaN, negative zero, the last bit, a silent
        channel, None for a response that is missing."""
        return edge_cases(self.kinds)

    def responses(self, offered: Offered, shift: int = 0) -> list[AnswerRow]:
        """One for each presentation."""
        return [
            AnswerRow(image, repeat, self.response(shift + at))
            for at, (image, repeat, _) in enumerate(offered.presentations)
        ]


def check_bridge(adapter: BridgeAdapter, only: str | None = None) -> None:
    """Serve small sessions over a bridge. Raises AssertionError with the name of the check and a sentence.

    only: the name of one check (see `bridge_checks`); default: all that apply.
    """
    names = bridge_checks(adapter) if only is None else [only]
    for name in names:
        assert name in _CHECKS, f"there is no check '{name}'; there are {', '.join(_CHECKS)}"
        try:
            _CHECKS[name](adapter)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def bridge_checks(adapter: BridgeAdapter) -> list[str]:
    """The names of the checks that apply to a bridge: all but those that the adapter is `without`."""
    for name, reason in adapter.without.items():
        assert name in _CHECKS, f"without: there is no check '{name}'; there are {', '.join(_CHECKS)}"
        assert reason, f"without: say why '{name}' does not apply"
    return [name for name in _CHECKS if name not in adapter.without]


_Check = Callable[[BridgeAdapter], None]
_CHECKS: dict[str, _Check] = {}


def _check(check: _Check) -> _Check:
    _CHECKS[check.__name__.strip("_")] = check
    return check


@contextlib.contextmanager
def _at_work(
    adapter: BridgeAdapter, *blocks: Block, closes: bool = True
) -> Iterator[tuple[SmallSession, Driver]]:
    bridge = adapter.bridge()
    with (
        served(bridge, adapter.channels, *blocks, closes=closes) as session,
        contextlib.closing(adapter.rig(bridge, "rig-1", session.shown)) as rig,
    ):
        yield session, rig


def _next(rig: Driver) -> Offered:
    offered = rig.next_block(PATIENCE_S)
    assert offered is not None, "no block came to the rig"
    return offered


# ---------------------------------------------------------------------- blocks


@_check
def _images_arrive_exactly_and_in_order(adapter: BridgeAdapter) -> None:
    for number, (file_type, size) in enumerate((("png", 6), ("bmp", 7), ("png", 37)), 1):
        block = a_block(number, size=size, file_type=file_type)
        with _at_work(adapter, block) as (_, rig):
            offered = _next(rig)
            assert offered.number == number, f"block {number} arrived as block {offered.number}"
            assert offered.session in (None, SESSION), f"the session arrived as {offered.session!r}"
            assert offered.fence in (None, block.fence), f"the fence arrived as {offered.fence!r}"
            order = [(image, repeat) for image, repeat, _ in offered.presentations]
            assert order == [(p.image, p.repeat) for p in block.presentations], f"the order is {order}"
            for image, _, pixels in offered.presentations:
                assert pixels.dtype == torch.uint8, f"pixels are {pixels.dtype}"
                assert torch.equal(pixels, block.images[image]), f"pixels of {image} have changed"


@_check
def _blocks_are_shown_one_after_the_other(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, *(a_block(number) for number in (1, 2, 3))) as (session, rig):
        for number in (1, 2, 3):
            offered = _next(rig)
            assert offered.number == number, f"block {offered.number} came instead of {number}"
            rig.answer(offered, adapter.responses(offered))
            session.until(lambda number=number: number in session.closed, f"block {number} was not answered")  # type: ignore[misc]
        assert not session.faults, f"answers could not be read: {session.faults}"


@_check
def _last_ends_a_block_that_is_not_answered_whole(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, a_block(), a_block(2)) as (session, rig):
        for number in (1, 2):
            offered = _next(rig)
            assert offered.number == number, f"block {offered.number} came instead of {number}"
            rig.answer(offered, adapter.responses(offered)[:-1], last=True)
            session.until(lambda number=number: number in session.closed, f"block {number} did not end")  # type: ignore[misc]


@_check
def _the_end_of_the_session_is_told(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, a_block()) as (session, rig):
        offered = _next(rig)
        assert not rig.over, "the rig was told of the end before it came"
        rig.answer(offered, adapter.responses(offered))
        session.until(lambda: session.closed == [1], "the block was not answered")
        session.until(lambda: rig.next_block(0.0) is None and rig.over, "the rig does not hear of the end")


# ---------------------------------------------------------------------- answers


@_check
def _answers_are_joined_by_image_and_repeat(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, a_block()) as (session, rig):
        offered = _next(rig)
        rows = adapter.responses(offered)
        rig.answer(offered, [rows[i] for i in (5, 2, 7, 0, 3, 6, 1, 4)])
        session.until(lambda: session.closed == [1], "the block was not answered")
        assert session.taken == said_of(rows), "a response came to another presentation"
        assert all(answer.block in (None, 1) for answer in session.answers), "another block was named"
        assert not session.faults, f"answers could not be read: {session.faults}"


@_check
def _every_kind_of_recording_arrives_bit_for_bit(adapter: BridgeAdapter) -> None:
    cases = adapter.edge_cases()
    with _at_work(adapter, a_block(), closes=False) as (session, rig):
        offered = _next(rig)
        pairs = [(image, repeat) for image, repeat, _ in offered.presentations]
        rows = [AnswerRow(*pair, one) for pair, one in zip(pairs, cases, strict=False)]
        rig.answer(offered, rows)
        session.until(lambda: len(session.taken) >= len(rows), "not all responses came")
        for row, raw in zip(rows, said_of(rows).values(), strict=True):
            found = session.taken[row.image, row.repeat or 0]
            assert found == raw, f"{row.recorded} has changed"
        assert not session.faults, f"answers could not be read: {session.faults}"


@_check
def _an_answer_may_come_in_parts_in_any_order(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, a_block(), a_block(2)) as (session, rig):
        offered = _next(rig)
        rows = adapter.responses(offered)[::-1]
        for part in (rows[:2], rows[2:4], rows[4:]):
            rig.answer(offered, part, last=False)
            wanted = said_of(part)
            session.until(lambda w=wanted: w.items() <= session.taken.items(), "a part did not come")  # type: ignore[misc]
        session.until(lambda: session.closed == [1], "the block did not end with its last response")
        assert session.taken == said_of(rows), "the parts are not the whole"
        assert not session.faults, f"answers could not be read: {session.faults}"
        assert _next(rig).number == 2, "the next block did not come"


@_check
def _the_same_answer_once_more_does_no_harm(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, a_block()) as (session, rig):
        offered = _next(rig)
        rows = adapter.responses(offered)
        for _ in range(3):
            rig.answer(offered, rows[:2], last=False)
        if adapter.replies:
            assert len(session.answers) == 3, f"of 3 answers {len(session.answers)} came"
        session.until(lambda: len(session.taken) == 2, "the answer did not come")
        rig.answer(offered, rows[2:])
        session.until(lambda: session.closed == [1], "the block was not answered")
        assert session.taken == said_of(rows), "a response came to another presentation"
        assert not session.faults, f"answers could not be read: {session.faults}"


@_check
def _what_was_carried_is_not_carried_twice(adapter: BridgeAdapter) -> None:
    block = a_block()
    with _at_work(adapter, block, closes=False) as (session, rig):
        offered = _next(rig)
        rig.answer(offered, adapter.responses(offered))
        session.until(lambda: len(session.taken) == len(block.presentations), "the block was not answered")
        session.end()
        session.bridge.offer(block)
        again = list(session.bridge.collect(NOTHING_S))
        assert again == [], f"offered again, the block has brought {again}"


@_check
def _damaged_answers_are_faults_and_the_whole_one_is_taken_afterwards(adapter: BridgeAdapter) -> None:
    for number, (damage, spoil) in enumerate(adapter.damages.items(), 1):
        with _at_work(adapter, a_block(number)) as (session, rig):
            offered = _next(rig)
            rows = adapter.responses(offered)
            rig.answer(offered, rows, spoil=spoil)
            session.until(lambda: bool(session.answers), f"of an answer that was {damage} nothing came")
            assert session.rows == [], f"of an answer that was {damage} responses were read"
            [fault] = session.faults
            assert fault.fault is not None
            assert fault.fault, f"an answer that was {damage} has no reason"
            assert fault.fault.isprintable(), f"an answer that was {damage} has a reason of several lines"
            assert fault.raw is not None, f"of an answer that was {damage} nothing is kept"
            assert len(fault.raw) <= RAW_BYTES, f"{len(fault.raw)} bytes of a damaged answer are kept"
            again = _next(rig) if adapter.asks else offered
            assert again.number == number, f"block {again.number} came instead of {number}"
            rig.answer(again, adapter.responses(again))
            session.until(
                lambda: bool(session.closed), f"after an answer that was {damage} the whole one did not count"
            )
            assert session.taken == said_of(rows), f"after an answer that was {damage} others were taken"


# ---------------------------------------------------------------------- rigs that come and go


@_check
def _of_two_rigs_one_holds_the_block(adapter: BridgeAdapter) -> None:
    bridge = adapter.bridge()
    with (
        served(bridge, adapter.channels, a_block()) as session,
        contextlib.closing(adapter.rig(bridge, "one", session.shown)) as one,
        contextlib.closing(adapter.rig(bridge, "two", session.shown)) as two,
    ):
        offered = _next(one)
        assert two.next_block(0.1) is None, "two rigs have the same block"
        assert not two.over, "the rig that waits was told that the session is over"
        session.blocks[0] = replace(session.blocks[0], fence=2)
        one.answer(offered, adapter.responses(offered))
        assert not session.taken, "the answer of a rig that lost the block was taken"
        fence = session.answers[-1].fence
        assert fence == 1, f"the answer came with the fence {fence}, the rig had 1"


@_check
def _a_rig_that_was_away_goes_on(adapter: BridgeAdapter) -> None:
    with _at_work(adapter, a_block()) as (session, rig):
        offered = _next(rig)
        rows = adapter.responses(offered)
        rig.answer(offered, rows[:2], last=False)
        session.until(lambda: len(session.taken) == 2, "the first part did not come")
        rig.disconnect(0.05)
        left = replace(offered, presentations=offered.presentations[2:])
        if adapter.asks:
            left = _next(rig)
            count = len(offered.presentations) - 2
            assert len(left.presentations) == count, f"{len(left.presentations)} are shown, {count} are left"
        rig.answer(left, adapter.responses(left, shift=2))
        session.until(lambda: session.closed == [1], "what was left did not come")
        assert session.taken == said_of(rows), "a response came to another presentation"


@_check
def _a_pause_is_no_end(adapter: BridgeAdapter) -> None:
    bridge = adapter.bridge()
    with served(bridge, adapter.channels, a_block()) as session:
        session.no_block = NoBlock("paused", "paused: by the experimenter")
        with contextlib.closing(adapter.rig(bridge, "rig-1", session.shown)) as rig:
            assert rig.next_block(0.1) is None, "a block came in a pause"
            assert not rig.over, "the rig was told that the session is over"
            session.no_block = None
            assert _next(rig).number == 1, "the block did not come after the pause"


@_check
def _closing_ends_a_rig_that_waits(adapter: BridgeAdapter) -> None:
    bridge = adapter.bridge()
    bridge.open(SESSION, adapter.channels)
    with contextlib.closing(adapter.rig(bridge, "rig-1", lambda timeout_s: None)) as rig:
        found: list[Offered | None] = []
        asking = threading.Thread(target=lambda: found.append(rig.next_block(PATIENCE_S)))
        asking.start()
        bridge.close()
        asking.join(PATIENCE_S)
        assert found == [None], "the rig waits on"
        assert rig.over, "the rig does not know that the session is over"


# ---------------------------------------------------------------------- opening and closing


@_check
def _after_a_restart_what_is_left_is_offered_and_taken(adapter: BridgeAdapter) -> None:
    """The first bridge ends as a killed one does, as far as the medium sees: it is only closed."""
    block = a_block()
    with _at_work(adapter, block) as (session, rig):
        offered = _next(rig)
        first = adapter.responses(offered)[:2]
        rig.answer(offered, first, last=False)
        session.until(lambda: len(session.taken) == 2, "the first part did not come")
    answered = {(row.image, row.repeat) for row in first}
    left = left_of(block, lambda one: (one.image, one.repeat) not in answered)
    with _at_work(adapter, left) as (session, rig):
        offered = _next(rig)
        wanted = {(one.image, one.repeat) for one in left.presentations}
        shown = {(image, repeat) for image, repeat, _ in offered.presentations}
        assert wanted <= shown, f"{wanted - shown} are left and are not shown"
        rows = [row for row in adapter.responses(offered, shift=2) if (row.image, row.repeat) in wanted]
        rig.answer(offered, rows)
        session.until(lambda: session.closed == [1], "what was left did not come")
        everything = said_of(first) | said_of(rows)
        assert said_of(session.rows).items() <= everything.items(), "a response has changed"
        assert not session.faults, f"answers could not be read: {session.faults}"


@_check
def _it_can_be_opened_and_closed_again(adapter: BridgeAdapter) -> None:
    bridge = adapter.bridge()
    for _ in range(3):
        bridge.open(SESSION, adapter.channels)
        bridge.close()
    bridge = adapter.bridge()
    bridge.open(SESSION, adapter.channels)
    bridge.close()


@_check
def _collecting_ends_with_its_time(adapter: BridgeAdapter) -> None:
    bridge = adapter.bridge()
    bridge.open(SESSION, adapter.channels)
    with contextlib.closing(bridge):
        for timeout_s in (0.0, 0.01):
            collected: list[object] = []
            collect = functools.partial(bridge.collect, timeout_s)
            waiting = threading.Thread(target=lambda: collected.append(list(collect())), daemon=True)  # noqa: B023
            waiting.start()
            waiting.join(PATIENCE_S)
            assert collected == [[]], f"with nothing to collect, collect({timeout_s}) gave {collected}"
