"""The check of bridges passes what is a bridge, and finds what is none."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from xdream.laboratory.rigs import Answer, AnswerRow, Arrival, Block, Bridge
from xdream.laboratory.simulation import Offered
from xdream.scoring.recordings import Spikes, Values
from xdream.testing import BridgeAdapter, bridge_checks, check_bridge, sessions

DAMAGED = "damaged_answers_are_faults_and_the_whole_one_is_taken_afterwards"


class Shelf:
    """The medium: a block lies on it, answers are put beside it."""

    def __init__(self) -> None:
        self.block: Block | None = None
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.status: Mapping[str, Any] = {}


class ShelfBridge:
    """A bridge as it should be."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def open(self, session: str, channels: Sequence[str]) -> None:
        pass

    def offer(self, block: Block) -> None:
        self.shelf.block = block

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        try:
            return [
                self.shelf.answers.get(timeout=timeout_s) if timeout_s else self.shelf.answers.get_nowait()
            ]
        except queue.Empty:
            return []

    def withdraw(self, number: int) -> None:
        self.shelf.block = None

    def status(self, status: Mapping[str, Any]) -> None:
        self.shelf.status = status

    def close(self) -> None:
        pass


class ShelfRig:
    """The other end."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.last: Block | None = None
        self.pause = threading.Event()

    def next_block(self, timeout_s: float) -> Offered | None:
        until = time.monotonic() + timeout_s
        while not self.over:
            block = self.shelf.block
            if block is not None and block is not self.last:
                self.last = block
                shown = tuple((p.image, p.repeat, block.images[p.image]) for p in block.presentations)
                return Offered(block.session, block.number, block.fence, shown)
            if time.monotonic() >= until:
                break
            self.pause.wait(0.001)
        return None

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        answer = Answer(tuple(rows), offered.session, offered.number, offered.fence, last)
        if spoil is not None:
            answer = Answer((), fault="it is damaged", raw=spoil(b"x" * 100))
        self.shelf.answers.put(answer)

    @property
    def over(self) -> bool:
        return self.shelf.status.get("state") == "over"

    def disconnect(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


class OnAShelf(BridgeAdapter):
    asks = False
    without: ClassVar = {
        "of_two_rigs_one_holds_the_block": "nobody asks for blocks",
        "a_pause_is_no_end": "nobody asks for blocks",
        "closing_ends_a_rig_that_waits": "nobody waits for a reply",
    }

    def __init__(self, kind: type[ShelfBridge] = ShelfBridge) -> None:
        self.kind, self.shelf = kind, Shelf()

    def bridge(self) -> Bridge:
        self.shelf.status, self.shelf.answers = {}, queue.Queue()
        return self.kind(self.shelf)

    def rig(self, bridge: Bridge, name: str, shown: Any) -> ShelfRig:
        return ShelfRig(self.shelf)


def test_a_bridge_passes() -> None:
    check_bridge(OnAShelf())


class Changed(ShelfBridge):
    """Does something to each answer."""

    def change(self, answer: Answer) -> Answer | None:
        raise NotImplementedError

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        changed = [self.change(one) for one in super().collect(timeout_s) if isinstance(one, Answer)]
        return [one for one in changed if one is not None]


class SwapsRepeats(Changed):
    def change(self, answer: Answer) -> Answer:
        return replace(answer, rows=tuple(replace(row, repeat=1 - (row.repeat or 0)) for row in answer.rows))


class DropsFaults(Changed):
    def change(self, answer: Answer) -> Answer | None:
        return None if answer.fault is not None else answer


class ReadsDamagedAnswers(Changed):
    def change(self, answer: Answer) -> Answer:
        row = AnswerRow("who", 0, Values(np.ones(3)))
        return answer if answer.fault is None else Answer((row,), block=1, fault="but still")


class RoundsToFloat32(Changed):
    def change(self, answer: Answer) -> Answer:
        return replace(answer, rows=tuple(self.rounded(row) for row in answer.rows))

    def rounded(self, row: AnswerRow) -> AnswerRow:
        if isinstance(row.recorded, Values):
            with np.errstate(over="ignore"):
                values = row.recorded.values.astype(np.float32).astype(np.float64)
            return replace(row, recorded=replace(row.recorded, values=values))
        return row


class LosesSilentChannels(Changed):
    def change(self, answer: Answer) -> Answer:
        return replace(answer, rows=tuple(self.fewer(row) for row in answer.rows))

    def fewer(self, row: AnswerRow) -> AnswerRow:
        if isinstance(row.recorded, Spikes):
            count = int(row.recorded.channels.max(initial=0)) + 1
            return replace(row, recorded=replace(row.recorded, count=count))
        return row


class ForgetsThatItWasTheLast(Changed):
    def change(self, answer: Answer) -> Answer:
        return replace(answer, last=False)


class AlwaysTheLast(Changed):
    def change(self, answer: Answer) -> Answer:
        return replace(answer, last=True)


class ChangesPixels(ShelfBridge):
    def offer(self, block: Block) -> None:
        super().offer(replace(block, images={name: 255 - image for name, image in block.images.items()}))


class SortsPresentations(ShelfBridge):
    def offer(self, block: Block) -> None:
        order = sorted(block.presentations, key=lambda one: (one.image, one.repeat))
        super().offer(replace(block, presentations=tuple(order)))


class SaysNothingOfTheEnd(ShelfBridge):
    def status(self, status: Mapping[str, Any]) -> None:
        pass


class AnswersAgainWhenOfferedAgain(ShelfBridge):
    kept: ClassVar[list[Answer]] = []

    def offer(self, block: Block) -> None:
        super().offer(block)
        for answer in self.kept:
            self.shelf.answers.put(answer)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        found = super().collect(timeout_s)
        self.kept += [one for one in found if isinstance(one, Answer)]
        return found


class CannotBeOpenedTwice(ShelfBridge):
    taken = False

    def open(self, session: str, channels: Sequence[str]) -> None:
        assert not self.taken, "it is open already"
        self.taken = True


class RaisesForADamagedAnswer(Changed):
    def change(self, answer: Answer) -> Answer:
        if answer.fault is not None:
            raise ValueError("no answer")
        return answer


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        (SwapsRepeats, "answers_are_joined_by_image_and_repeat", "a response came to another presentation"),
        (DropsFaults, DAMAGED, "of an answer that was cut in half nothing came"),
        (ReadsDamagedAnswers, DAMAGED, "of an answer that was cut in half responses were read"),
        (RaisesForADamagedAnswer, DAMAGED, "no answer"),
        (RoundsToFloat32, "every_kind_of_recording_arrives_bit_for_bit", "Values.*has changed"),
        (LosesSilentChannels, "every_kind_of_recording_arrives_bit_for_bit", "Spikes.*has changed"),
        (ForgetsThatItWasTheLast, "last_ends_a_block_that_is_not_answered_whole", "block 1 did not end"),
        (AlwaysTheLast, "an_answer_may_come_in_parts_in_any_order", "a part did not come"),
        (ChangesPixels, "images_arrive_exactly_and_in_order", "pixels of .* have changed"),
        (SortsPresentations, "images_arrive_exactly_and_in_order", "the order is"),
        (SaysNothingOfTheEnd, "the_end_of_the_session_is_told", "the rig does not hear of the end"),
        (AnswersAgainWhenOfferedAgain, "what_was_carried_is_not_carried_twice", "offered again"),
        (CannotBeOpenedTwice, "it_can_be_opened_and_closed_again", "it is open already"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bridge_that_does_something_else_is_found(
    broken: type[ShelfBridge], check: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PATIENCE_S", 1.0)
    with pytest.raises(AssertionError, match=f"{check}: .*{words}"):
        check_bridge(OnAShelf(broken), check)


def test_checks_that_do_not_apply_are_named_with_a_reason() -> None:
    adapter = OnAShelf()
    assert "a_pause_is_no_end" not in bridge_checks(adapter)
    assert "collecting_ends_with_its_time" in bridge_checks(adapter)
    adapter.without = {"a_paws_is_no_end": "a typing error"}  # type: ignore[misc]
    with pytest.raises(AssertionError, match="there is no check 'a_paws_is_no_end'"):
        bridge_checks(adapter)
    adapter.without = {"a_pause_is_no_end": ""}  # type: ignore[misc]
    with pytest.raises(AssertionError, match="say why"):
        check_bridge(adapter)
    with pytest.raises(AssertionError, match="there is no check 'all'"):
        check_bridge(OnAShelf(), "all")
