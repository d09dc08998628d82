"""What an answer is worth, and what becomes of blocks: every fault that a rig can have, without a rig."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from session_rig import CHANNELS, Rig, served, session_plan

from xdream.errors import BadInput, StoreFull
from xdream.experiment import loop
from xdream.experiment.assemble import assemble
from xdream.experiment.forward import Forward
from xdream.experiment.plan import Plan
from xdream.images.files import pixels_of
from xdream.laboratory.rigs import Answer, AnswerRow, Block, NoBlock, Receipt, json_messages
from xdream.laboratory.session.composition import block_sizes
from xdream.laboratory.session.session import Session
from xdream.report import summarise
from xdream.scoring.recordings import Spikes, Traces, Values
from xdream.store import Record, Store

ID = "5e5510"


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lab:
    """A session with the rig's answers in the test's hand."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.clock, self.rig = folder, Clock(), Rig()
        parts = assemble(session_plan(**changes))
        self.store = loop.new_store(parts, folder, session=ID)
        self.session = Session(parts, self.store, ID, self.clock)

    def restart(self) -> None:
        self.store.close()
        self.store = Store.open_existing(self.folder, loop.versions())
        record = Record(self.folder)
        parts = loop.parts_of(record)
        record.close()
        self.session = Session(parts, self.store, ID, self.clock)

    def block(self) -> Block:
        block = self.session.advance()
        assert block is not None
        return block

    def rows(self, block: Block) -> list[AnswerRow]:
        return self.rig.rows(block)

    def take(self, *rows: AnswerRow, **said: Any) -> Receipt:
        return self.session.take(Answer(tuple(rows), source="test", **said))

    def finish(self) -> None:
        """Answer every block that is left in this generation."""
        generation = self.session.generation
        while self.session.generation == generation and (block := self.session.advance()) is not None:
            if self.session.generation == generation:
                self.take(*self.rows(block))

    def statuses(self) -> dict[str, int]:
        return dict(self.store.query("SELECT status, count(*) FROM recording GROUP BY status"))

    def events(self) -> list[tuple[str, str]]:
        return self.store.query("SELECT kind, text FROM event ORDER BY id")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []

    def make(**changes: Any) -> Lab:
        made.append(Lab(tmp_path / str(len(made)), **changes))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def values(*numbers: float) -> Values:
    return Values(np.array(numbers))


# ------------------------------------------------------------------ blocks


def test_a_block_holds_every_image_of_every_run_and_the_references_once_in_a_random_order(
    lab: Callable[..., Lab], photographs: Path
) -> None:
    block = lab(references=str(photographs), references_per_generation=3).block()
    names = [one.image for one in block.presentations]
    assert len(set(names)) == len(names) == 2 * 4 + 3
    assert names != sorted(names)
    assert sum(one.reference for one in block.presentations) == 3
    assert [one.place for one in block.presentations] == list(range(11))
    assert all(block.images[name].shape == (3, 8, 8) for name in names)


def test_repeats_come_in_different_blocks_when_blocks_are_that_small(lab: Callable[..., Lab]) -> None:
    one = lab(repeats=2, session={"block_size": 8})
    first = one.block()
    assert {p.repeat for p in first.presentations} == {0}
    one.take(*one.rows(first))
    assert {p.repeat for p in one.block().presentations} == {1}


@pytest.mark.parametrize(
    ("count", "most", "even", "sizes"),
    [
        (44, 40, True, [22, 22]),
        (44, 40, False, [40, 4]),
        (44, None, True, [44]),
        (11, 4, True, [4, 4, 3]),
        (8, 4, True, [4, 4]),
        (3, 40, True, [3]),
        (0, 4, True, []),
        (0, None, False, []),
    ],
)
def test_blocks_have_even_sizes(count: int, most: int | None, even: bool, sizes: list[int]) -> None:
    assert block_sizes(count, most, even=even) == sizes


def test_a_session_has_even_blocks_and_one_of_before_keeps_full_ones(lab: Callable[..., Lab]) -> None:
    found = {}
    for even in (True, False):
        one = lab(session={"block_size": 5, "even_blocks": even})
        one.block()
        found[even] = [n for (n,) in one.store.query("SELECT count(*) FROM planned GROUP BY block")]
    assert found == {True: [4, 4], False: [5, 3]}
    old = session_plan(session={"block_size": 5}).to_toml().replace("even_blocks = true\n", "")
    assert "even_blocks" not in old
    stored = Plan.stored(old, 5)
    assert stored.session is not None
    assert not stored.session.even_blocks


def test_in_one_block_repeats_are_shuffled_too(lab: Callable[..., Lab]) -> None:
    repeats = [p.repeat for p in lab(repeats=2, presentations=24).block().presentations]
    assert 0 < sum(repeats[:8]) < 8


def test_a_rigs_evolution_keeps_its_best_image() -> None:
    assert assemble(session_plan()).runs[0].hyperparameters["elites"] == 1


def test_blocks_follow_from_the_seed(lab: Callable[..., Lab]) -> None:
    a, b, c = (lab(seed=seed).block() for seed in (1, 1, 2))
    assert [p.image for p in a.presentations] == [p.image for p in b.presentations]
    assert [p.image for p in a.presentations] != [p.image for p in c.presentations]


# ------------------------------------------------------------------ answers


def test_scores_are_the_means_over_repeats_of_each_runs_channel(lab: Callable[..., Lab]) -> None:
    one = lab(targets=["rig::2", "rig:both:all"], repeats=2, presentations=24)
    block = one.block()
    one.take(*one.rows(block))
    one.block()
    for run, of_channel in ((0, lambda v: v[2]), (1, lambda v: v.mean())):
        for slot, score in one.store.query(
            "SELECT slot, score FROM image WHERE run = ? AND generation = 0", run
        ):
            name = f"{ID}-g0000-r{run:02d}-s{slot:03d}"
            both = [of_channel(one.rig.response(name, k, block.images[name])) for k in range(2)]
            assert score == pytest.approx(np.mean(both), rel=1e-12)


def test_answers_may_come_in_any_order_and_in_parts(lab: Callable[..., Lab]) -> None:
    whole, parted = lab(), lab()
    for one in (whole, parted):
        block = one.block()
        rows = one.rows(block)
        if one is whole:
            one.take(*rows)
        else:
            for row in reversed(rows):
                assert one.take(row).counts == {"taken": 1}
        one.block()
    scores = "SELECT score FROM image WHERE generation = 0 ORDER BY run, slot"
    assert whole.store.query(scores) == parted.store.query(scores)


def test_an_unanswered_image_is_missing_and_carried_over(lab: Callable[..., Lab]) -> None:
    one = lab(targets=["rig::0"])
    block = one.block()
    absent = block.presentations[0].image
    one.take(*(row for row in one.rows(block) if row.image != absent), last=True)
    one.block()
    slot = int(absent[-3:])
    [(score,)] = one.store.query("SELECT score FROM image WHERE generation = 0 AND slot = ?", slot)
    assert score is None
    codes = [c for (c,) in one.store.query("SELECT code FROM image WHERE slot = ? ORDER BY generation", slot)]
    assert codes[0] == codes[1]
    assert ("missing", "block 1: 1 presentations have no response") in one.events()


def test_a_row_of_nan_is_no_answer(lab: Callable[..., Lab]) -> None:
    one = lab()
    block = one.block()
    row, *rest = one.rows(block)
    assert one.take(AnswerRow(row.image, row.repeat, values(*[np.nan] * CHANNELS))).counts == {"missing": 1}
    assert row.image in {p.image for p in one.block().presentations}, "it is not offered any more"
    assert one.take(row, *rest).counts == {"taken": len(rest) + 1}


def test_a_response_after_nan_counts_after_a_restart_too(lab: Callable[..., Lab]) -> None:
    one = lab()
    row, *_ = one.rows(one.block())
    one.take(AnswerRow(row.image, row.repeat, None))
    one.take(row)
    one.restart()
    assert row.image not in {p.image for p in one.block().presentations}


def test_the_best_reference_is_by_the_mean_of_its_responses(
    lab: Callable[..., Lab], photographs: Path
) -> None:
    one = lab(targets=["rig::1"], references=str(photographs), references_per_generation=7)
    found = []
    for _ in range(2):
        rows = one.rows(one.block())
        shift = 10.0 * len(found)
        rows = [AnswerRow(r.image, r.repeat, values(*(r.recorded.values + shift))) for r in rows]  # type: ignore[union-attr]
        found.append({r.image: r.recorded.values[1] for r in rows if "-n" in r.image})  # type: ignore[union-attr]
        one.take(*rows)
    one.block()
    for number, response in one.store.query("SELECT reference, response FROM reference_response"):
        name = f"{ID}-n{number:05d}"
        assert response == pytest.approx(np.mean([of[name] for of in found]))


def test_the_same_answer_once_more_changes_nothing(lab: Callable[..., Lab]) -> None:
    one = lab()
    row = one.rows(one.block())[0]
    one.take(row)
    assert one.take(row).counts == {"repeated": 1}
    assert one.statuses() == {"taken": 1}


def test_of_two_answers_to_one_presentation_the_first_stands(lab: Callable[..., Lab]) -> None:
    one = lab()
    row, *rest = one.rows(one.block())
    one.take(row)
    assert one.take(AnswerRow(row.image, row.repeat, values(9, 9, 9))).counts == {"duplicate": 1}
    assert one.statuses() == {"taken": 1, "duplicate": 1}
    one.take(*rest)
    one.block()
    [(score,)] = one.store.query(
        "SELECT score FROM image WHERE generation = 0 AND run = ? AND slot = ?", *at(row)
    )
    assert row.recorded is not None
    assert score == row.recorded.values[at(row)[0]]  # type: ignore[union-attr]


def at(row: AnswerRow) -> tuple[int, int]:
    return int(row.image[-7:-5]), int(row.image[-3:])


def test_two_answers_to_one_presentation_in_one_answer_are_both_put_aside(lab: Callable[..., Lab]) -> None:
    one = lab()
    row, other, *_ = one.rows(one.block())
    assert one.take(row, AnswerRow(row.image, row.repeat, values(9, 9, 9)), other).counts == {
        "quarantined": 2,
        "taken": 1,
    }


def test_without_a_repeat_an_answer_means_the_first_unanswered_one(lab: Callable[..., Lab]) -> None:
    one = lab(repeats=2)
    block = one.block()
    rows = [AnswerRow(row.image, None, row.recorded) for row in one.rows(block)]
    assert one.take(*rows).counts == {"taken": 16}


def test_an_unknown_image_is_written_down_and_not_used(lab: Callable[..., Lab]) -> None:
    one = lab()
    row = one.rows(one.block())[0]
    receipt = one.take(AnswerRow("../../etc/passwd", 0, row.recorded))
    assert receipt.counts == {"unknown": 1}
    assert receipt.refused is not None
    assert receipt.open


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_response_is_put_aside_and_can_be_answered_again(
    lab: Callable[..., Lab], bad: float
) -> None:
    one = lab()
    row = one.rows(one.block())[0]
    assert one.take(AnswerRow(row.image, row.repeat, values(1, bad, 2))).counts == {"quarantined": 1}
    assert one.take(row).counts == {"taken": 1}


def test_one_channel_may_be_missing(lab: Callable[..., Lab]) -> None:
    one = lab(targets=["rig::0", "rig::1"])
    one.take(*(AnswerRow(r.image, r.repeat, values(1.0, np.nan, 2.0)) for r in one.rows(one.block())))
    one.block()
    query = "SELECT count(score) FROM image WHERE generation = 0 AND run = ?"
    assert [one.store.query(query, run) for run in (0, 1)] == [[(4,)], [(0,)]]


def test_an_answer_with_another_number_of_channels_is_put_aside_as_a_whole(lab: Callable[..., Lab]) -> None:
    one = lab()
    rows = one.rows(one.block())
    receipt = one.take(*rows[:-1], AnswerRow(rows[-1].image, 0, values(1.0)), last=True)
    assert receipt.refused == f"image {rows[-1].image} has 1 channels; the session has 3"
    assert one.statuses() == {"quarantined": len(rows)}
    assert receipt.open
    assert one.take(*rows).counts == {"taken": len(rows)}


def test_an_answer_of_zeros_is_put_aside_until_the_experimenter_accepts_it(lab: Callable[..., Lab]) -> None:
    one = lab()
    rows = [AnswerRow(r.image, r.repeat, values(0, 0, 0)) for r in one.rows(one.block())]
    assert one.take(*rows, last=True).counts == {"quarantined": 8}
    assert "accept-block" in one.events()[-1][1]
    assert one.session.accept(2) == "block 2 is not open"
    assert one.session.accept(1) is None
    one.block()
    assert one.session.generation == 1
    assert one.store.query("SELECT DISTINCT score FROM image WHERE generation = 0") == [(0.0,)]


def zeros(one: Lab) -> list[AnswerRow]:
    return [AnswerRow(r.image, r.repeat, values(0, 0, 0)) for r in one.rows(one.block())]


def sometimes(one: Lab, often: int) -> list[AnswerRow]:
    """A block in which channel 1 answers so often, and no other."""
    return [
        AnswerRow(r.image, r.repeat, values(0, i < often, 0)) for i, r in enumerate(one.rows(one.block()))
    ]


@pytest.mark.parametrize(("often", "status"), [(4, "taken"), (5, "quarantined")])
def test_zeros_after_the_first_block_are_an_empty_file_if_a_channel_answered_more_often_than_not(
    lab: Callable[..., Lab], often: int, status: str
) -> None:
    one = lab()
    assert one.take(*sometimes(one, often)).counts == {"taken": 8}
    one.block()
    one.restart()  # the counts are the record's
    assert one.take(*zeros(one)).counts == {status: 8}


def test_zeros_are_compared_with_blocks_before_and_not_with_their_own(lab: Callable[..., Lab]) -> None:
    one = lab(session={"empty_rows": 4})
    rows = sometimes(one, 1)
    assert one.take(*rows[:4]).counts == {"taken": 4}
    assert one.take(*rows[4:]).counts == {"quarantined": 4}


def test_a_silent_neuron_is_asked_about_once(lab: Callable[..., Lab]) -> None:
    one = lab(presentations=24)
    assert one.take(*zeros(one)).counts == {"quarantined": 8}
    assert one.session.accept(1) is None
    assert [one.take(*zeros(one)).counts for _ in range(2)] == [{"taken": 8}] * 2


def test_spike_times_with_limits_and_no_spike_are_silence(lab: Callable[..., Lab]) -> None:
    one = lab(responses={"windows_ms": [[50, 150]]})
    silence = Spikes(np.empty(0), np.empty(0, dtype=np.int64), 3, -100.0, 400.0)
    rows = [AnswerRow(r.image, r.repeat, silence) for r in one.rows(one.block())]
    assert one.take(*rows).counts == {"taken": 8}
    one.block()
    assert one.store.query("SELECT DISTINCT score FROM image WHERE generation = 0") == [(0.0,)]


def test_traces_of_zeros_are_always_put_aside(lab: Callable[..., Lab]) -> None:
    one = lab(responses={"windows_ms": [[50, 150]]})
    assert one.take(*sometimes(one, 1)).counts == {"taken": 8}
    flat = Traces(np.zeros((3, 40)), 0.0, 10.0)
    rows = [AnswerRow(r.image, r.repeat, flat) for r in one.rows(one.block())]
    assert one.take(*rows).counts == {"quarantined": 8}


def test_what_is_accepted_keeps_the_onset_that_the_rig_said(lab: Callable[..., Lab]) -> None:
    one = lab()
    found = one.rows(one.block())
    one.take(*(AnswerRow(r.image, r.repeat, values(0, 0, 0), 7.0 + i) for i, r in enumerate(found)))
    assert one.session.accept(1) is None
    taken = one.store.query("SELECT onset_s FROM recording WHERE status = 'taken' ORDER BY planned")
    aside = one.store.query("SELECT onset_s FROM recording WHERE status = 'quarantined' ORDER BY planned")
    assert taken == aside
    assert None not in {onset for (onset,) in taken}


@pytest.mark.parametrize("onset", [math.inf, -math.inf, math.nan, "soon", np.array([1.0, 2.0])])
def test_an_onset_that_is_no_number_is_refused_as_it_is_over_http(
    lab: Callable[..., Lab], onset: Any
) -> None:
    one = lab()
    first, *others = one.rows(one.block())
    receipt = one.take(AnswerRow(first.image, first.repeat, first.recorded, onset), *others)
    assert receipt.refused is not None
    assert f"image {first.image}: onset_s is " in receipt.refused
    assert receipt.refused.endswith("no number of seconds")
    assert one.statuses() == {"quarantined": len(others) + 1}
    assert one.store.query("SELECT count(onset_s) FROM recording") == [(0,)]
    # NumPy's numbers are numbers.
    assert one.take(AnswerRow(first.image, first.repeat, first.recorded, np.float32(1.5))).refused is None  # type: ignore[arg-type]


def test_fewer_zeros_than_the_plan_says_are_taken(lab: Callable[..., Lab]) -> None:
    one = lab(session={"empty_rows": 0})
    rows = [AnswerRow(r.image, r.repeat, values(0, 0, 0)) for r in one.rows(one.block())]
    assert one.take(*rows).counts == {"taken": 8}


def test_what_cannot_be_read_is_kept_with_its_bytes(lab: Callable[..., Lab]) -> None:
    one = lab()
    one.block()
    receipt = one.session.take(Answer((), fault="cut in the middle", raw=b"half a fi", source="block001.mat"))
    assert receipt.refused == "cut in the middle"
    assert one.store.query("SELECT status, raw, source FROM recording") == [
        ("quarantined", b"half a fi", "block001.mat")
    ]
    assert ("alarm", "cut in the middle") in one.events()


def test_an_answer_of_another_session_is_stale(lab: Callable[..., Lab]) -> None:
    one = lab()
    rows = one.rows(one.block())
    receipt = one.take(*rows, session="0ther", last=True)
    assert receipt.counts == {"stale": 8}
    assert receipt.open


def test_an_answer_to_an_earlier_block_is_late_kept_and_never_told(lab: Callable[..., Lab]) -> None:
    one = lab()
    first = one.block()
    row, *rest = one.rows(first)
    one.take(*rest, last=True)
    second = one.block()
    assert second.number == first.number + 1
    before = one.store.query("SELECT * FROM image ORDER BY id")
    assert one.take(row, block=first.number).counts == {"late": 1}
    assert one.store.query("SELECT * FROM image ORDER BY id") == before
    [(planned,)] = one.store.query("SELECT planned FROM recording WHERE status = 'late'")
    assert one.store.query("SELECT name FROM planned WHERE id = ?", planned) == [(row.image,)]


def test_a_post_again_after_its_block_closed_is_repeated_and_nothing_is_written(
    lab: Callable[..., Lab],
) -> None:
    one = lab(repeats=2, presentations=24)
    rows = one.rows(one.block())
    rows[0] = AnswerRow(rows[0].image, rows[0].repeat, None)
    rows[1] = AnswerRow(rows[1].image, rows[1].repeat, values(math.nan, math.nan, math.nan))
    assert one.take(*rows, block=1).counts == {"taken": 14, "missing": 2}
    one.block()
    everything = "SELECT * FROM recording", "SELECT * FROM event"
    before = [one.store.query(query) for query in everything]
    without_repeat = [AnswerRow(r.image, None, r.recorded) for r in rows]
    for again in (rows, rows[:3], without_repeat):
        receipt = one.take(*again, block=1, fence=1, last=True)
        assert (receipt.counts, receipt.refused, receipt.alarm) == ({"repeated": len(again)}, None, None)
        assert receipt.open, "of block 2"
        assert json_messages.receipt_json(receipt)[0] == 200
    assert one.take(block=1, last=True).refused is None
    assert [one.store.query(query) for query in everything] == before


def test_what_was_not_taken_is_late_and_written_once(lab: Callable[..., Lab]) -> None:
    one = lab()
    rows = one.rows(one.block())
    one.take(*rows[1:], AnswerRow("n0-such", 0, values(1, 2, 3)), block=1)
    one.take(block=1, last=True)
    one.block()
    other = AnswerRow(rows[1].image, rows[1].repeat, values(1, 2, 3))
    for count in (1, 1):
        receipt = one.take(rows[0], block=1)
        assert (receipt.counts, receipt.refused) == ({"late": 1}, "block 1 is closed")
        assert json_messages.receipt_json(receipt)[0] == 422
        assert one.statuses()["late"] == count
    mixed = one.take(*rows[1:3], other, AnswerRow("n0-such", 0, values(1, 2, 3)), block=1)
    assert (mixed.counts, mixed.refused, mixed.alarm) == (
        {"repeated": 2, "late": 2},
        None,
        "block 1 is closed",
    )
    assert one.statuses() == {"taken": 7, "unknown": 1, "late": 2}


def test_blocks_may_be_counted_from_0(lab: Callable[..., Lab]) -> None:
    one = lab(session={"first_block": 0, "reshow": 1})
    row, *rest = one.rows(one.block())
    assert one.take(*rest, block=0, last=True).counts == {"taken": 7}
    one.restart()
    assert [(p.image, one.block().number) for p in one.block().presentations] == [(row.image, 1)]
    assert one.take(row, block=-1).counts == {"stale": 1}
    assert one.take(*rest, block=0).counts == {"repeated": 7}
    assert one.session.reject(0) is None
    assert one.session.advance() is not None
    record = Record(one.folder)
    with pytest.raises(BadInput, match="has no block 9; it has 0 to 2"):
        record.check_block(9)
    record.check_block(0)
    record.close()


@pytest.mark.parametrize("number", [0, -3, 99])
def test_an_answer_to_a_block_that_was_never_planned_is_stale(lab: Callable[..., Lab], number: int) -> None:
    one = lab()
    assert one.take(*one.rows(one.block()), block=number).counts == {"stale": 8}


def test_a_block_without_a_single_response_pauses_the_session(lab: Callable[..., Lab]) -> None:
    one = lab()
    one.block()
    one.take(last=True)
    assert one.session.paused == "block 1 ended without a single response"
    assert one.session.advance() is None
    assert not one.store.query("SELECT * FROM told"), "the experimenter may still reject the block"
    one.session.go_on()
    assert one.block().number == 2


def test_what_has_no_response_is_shown_again_as_often_as_the_plan_says(lab: Callable[..., Lab]) -> None:
    one = lab(session={"reshow": 2})
    block = one.block()
    row, *rest = one.rows(block)
    one.take(*rest, last=True)
    for number in (2, 3):
        again = one.block()
        assert (again.number, [p.image for p in again.presentations]) == (number, [row.image])
        assert one.session.generation == 0
        one.take(AnswerRow(row.image, row.repeat, None))
        one.session.go_on()  # a block without a response
    assert one.block().number == 4
    assert one.session.generation == 1


def test_the_last_word_counts_even_when_its_own_row_is_wrong(lab: Callable[..., Lab]) -> None:
    one = lab()
    first, *rest = one.rows(one.block())
    assert one.take(AnswerRow("nothing", 0, first.recorded), last=True).open, "nothing was answered yet"
    one.take(*rest)
    assert not one.take(AnswerRow("nothing", 0, first.recorded), last=True).open
    assert one.block().number == 2


# ------------------------------------------------------------------ who may answer


def test_a_second_rig_gets_the_block_only_when_the_first_is_silent(lab: Callable[..., Lab]) -> None:
    one = lab(session={"lease_s": 60})
    first = one.session.claim("left")
    assert isinstance(first, Block)
    assert first.fence == 1
    one.clock.now += 59
    assert one.session.claim("right") == NoBlock("held", "held by left for another 1 s")
    again = one.session.claim("left")
    assert isinstance(again, Block)
    assert again.fence == 1
    one.clock.now += 61
    taken = one.session.claim("right")
    assert isinstance(taken, Block)
    assert taken.fence == 2
    rows = one.rows(taken)
    receipt = one.take(*rows, block=1, fence=1, last=True)
    assert receipt.conflict
    assert receipt.counts == {"superseded": 8}
    assert one.take(*rows, block=1, fence=2).counts == {"taken": 8}


def test_answers_keep_a_lease_alive(lab: Callable[..., Lab]) -> None:
    one = lab(session={"lease_s": 60})
    block = one.session.claim("left")
    assert isinstance(block, Block)
    row, *_ = one.rows(block)
    one.clock.now += 50
    one.take(row, block=1, fence=1)
    one.clock.now += 50
    assert one.session.claim("right") == NoBlock("held", "held by left for another 10 s")


def test_a_rig_that_comes_back_gets_what_is_left(lab: Callable[..., Lab]) -> None:
    one = lab()
    block = one.session.claim("left")
    assert isinstance(block, Block)
    rows = one.rows(block)
    one.take(*rows[:3])
    one.restart()
    again = one.session.claim("left")
    assert isinstance(again, Block)
    assert again.fence == 1
    assert again.presentations == block.presentations[3:]
    for name in again.images:
        assert torch.equal(again.images[name], block.images[name])


# ------------------------------------------------------------------ rejected blocks


def test_a_rejected_block_is_shown_again_and_nothing_of_it_is_told(lab: Callable[..., Lab]) -> None:
    one = lab(session={"block_size": 4})
    first = one.block()
    one.take(*(AnswerRow(r.image, r.repeat, values(1e6, 1e6, 1e6)) for r in one.rows(first)))
    second = one.block()
    assert one.session.reject(first.number, "the animal slept") is None
    one.take(*one.rows(second))
    third = one.block()
    assert {p.image for p in third.presentations} == {p.image for p in first.presentations}
    one.take(*one.rows(third))
    one.block()
    assert one.session.generation == 1
    [(best,)] = one.store.query("SELECT max(score) FROM image")
    assert best < 100
    assert any("the animal slept" in text for _, text in one.events())


def test_a_block_that_was_told_takes_its_generation_back(lab: Callable[..., Lab]) -> None:
    """What follows is what would have followed had the corrupted block never been."""
    spoilt, clean = lab(presentations=20), lab(presentations=20)
    codes = "SELECT run, slot, code FROM image WHERE generation = ? ORDER BY run, slot"
    for one in (spoilt, clean):
        one.take(*one.rows(one.block()))
    block = spoilt.block()
    spoilt.take(*(AnswerRow(r.image, r.repeat, values(1e6, 0, 1e6)) for r in spoilt.rows(block)))
    spoilt.block()
    assert spoilt.session.generation == 2
    assert spoilt.session.reject(block.number) is None
    again = spoilt.block()
    assert spoilt.session.generation == 3
    assert spoilt.store.query(codes, 3) == spoilt.store.query(codes, 1)
    same = clean.block()
    for p in same.presentations:  # the same pixels, under another name
        twin = f"{ID}-g0003{p.image[-9:]}"
        assert torch.equal(same.images[p.image], again.images[twin])
    clean.take(*(AnswerRow(p.image, 0, values(*light(same, p.image))) for p in same.presentations))
    spoilt.take(*(AnswerRow(p.image, 0, values(*light(again, p.image))) for p in again.presentations))
    spoilt.restart()
    spoilt.block(), clean.block()
    assert spoilt.store.query(codes, 4) == clean.store.query(codes, 2)
    record = Record(spoilt.folder)
    assert [bool(np.isnan(scores).all()) for scores in record.scores(0)] == [False, True, True, False]
    best = record.best_image(0)
    assert best is not None
    assert best.score < 1000
    record.close()


def light(block: Block, image: str) -> list[float]:
    return block.images[image].to(torch.float64).mean((1, 2)).tolist()


def test_nothing_of_a_rejected_block_is_used_where_the_new_one_has_no_response(
    lab: Callable[..., Lab], photographs: Path
) -> None:
    one = lab(targets=["rig::0"], references=str(photographs), references_per_generation=2)
    one.take(*one.rows(one.block())[:-1])
    assert one.session.reject(1) is None
    row, *rest = one.rows(one.block())
    one.take(*rest, last=True)
    one.block()
    assert one.store.query("SELECT count(*) FROM image WHERE generation = 0 AND score IS NULL") == [
        (0 if "-n" in row.image else 1,)
    ]
    [(references,)] = one.store.query("SELECT count(response) FROM reference_response")
    assert references == (1 if "-n" in row.image else 2)


def test_a_plateau_that_a_rejected_block_made_is_none(lab: Callable[..., Lab]) -> None:
    one = lab(targets=["rig::0"], presentations=80, plateau=4)
    one.take(*(AnswerRow(r.image, r.repeat, values(1e6, 0, 0)) for r in one.rows(one.block())))
    one.block()
    assert one.session.reject(1) is None
    for generation in range(2, 8):
        one.block()
        assert one.session.generation == generation
        shift = float(generation)
        rows = one.rows(one.block())
        one.take(*(AnswerRow(r.image, r.repeat, values(*(r.recorded.values + shift))) for r in rows))  # type: ignore[union-attr]


def test_after_a_rewind_a_second_one_follows_the_history(lab: Callable[..., Lab]) -> None:
    one = lab(presentations=40)
    codes = "SELECT run, slot, code FROM image WHERE generation = ? ORDER BY run, slot"
    for _ in range(3):
        one.take(*one.rows(one.block()))
    one.block()  # generation 3
    assert one.session.reject(2) is None  # generation 1 again, as 4
    one.take(*one.rows(one.block()))  # 4
    one.take(*one.rows(one.block()))  # 5
    one.block()
    [(block,)] = one.store.query("SELECT id FROM block WHERE generation = 5")
    assert one.session.reject(block) is None
    one.block()
    assert one.session.generation == 7
    assert one.store.query(codes, 7) == one.store.query(codes, 5)


@pytest.mark.parametrize(("number", "said"), [(7, "there is no block 7"), (1, "was rejected already")])
def test_what_cannot_be_rejected_is_said(lab: Callable[..., Lab], number: int, said: str) -> None:
    one = lab()
    one.block()
    assert one.session.reject(1) is None
    assert said in str(one.session.reject(number))


# ------------------------------------------------------------------ the machine


def test_images_that_do_not_fit_are_drawn_in_smaller_batches(
    lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lab()
    draw = Forward.draw

    def small(self: Forward, codes: torch.Tensor, generator: int = 0) -> torch.Tensor:
        if len(codes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return draw(self, codes, generator)

    monkeypatch.setattr(Forward, "draw", small)
    first = one.block()
    assert one.store.query("SELECT value FROM experiment WHERE key = 'batch'") == [("2",)]
    one.restart()
    assert one.block().presentations == first.presentations


def test_a_reference_that_becomes_unreadable_is_left_out(lab: Callable[..., Lab], photographs: Path) -> None:
    one = lab(references=str(photographs), references_per_generation=7)
    one.take(*one.rows(one.block()))
    (photographs / "3.png").write_bytes(b"no image")
    block = one.block()
    assert len(block.presentations) == 8 + 6
    assert [text for kind, text in one.events() if kind == "reference" and "3.png" in text]


def test_a_reference_lost_between_planning_and_a_restart_does_not_hold_the_block_up(
    tmp_path: Path, photographs: Path
) -> None:
    plan = session_plan(references=str(photographs), references_per_generation=7)
    stopped = iter([False] * 3 + [True] * 100)
    with pytest.raises(KeyboardInterrupt):
        served(plan, tmp_path / "one", lambda block: [], stop=lambda: next(stopped))
    (photographs / "3.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="repair or remove"):
        served(plan, tmp_path / "one", Rig())


def test_a_full_disk_loses_nothing(lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever transaction finds no room, the same call succeeds when there is some."""
    one, whole = lab(presentations=20), lab(presentations=20)
    transaction, left = Store.transaction, [0]

    @contextlib.contextmanager
    def full(store: Store) -> Iterator[Any]:
        with transaction(store) as connection:
            yield connection
            left[0] += 1
            if store is one.store and left[0] % 2:
                raise StoreFull("the disk is full")

    def again(work: Callable[[], Any]) -> Any:
        while True:
            with contextlib.suppress(StoreFull):
                return work()

    monkeypatch.setattr(Store, "transaction", full)
    for lab_ in (one, whole):
        while not lab_.session.over:
            block = again(lab_.session.advance)
            if block is not None:
                rows = lab_.rows(block)
                again(lambda lab_=lab_, rows=rows: lab_.take(*rows))
    dumps = []
    for lab_ in (one, whole):
        record = Record(lab_.folder)
        dumps.append(record.dump())
        record.close()
    assert dumps[0] == dumps[1]


# ------------------------------------------------------------------ plans


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": ["known:linear::0"]}, "with a rig every target is rig:NAME:CHANNELS"),
        ({"targets": ["rig::7"]}, "unit 7 does not exist"),
        ({"targets": ["rig::0@1,1"]}, "a channel has no position"),
        ({"noise_spikes": 20.0, "references": "x"}, "responses of a rig already contain noise"),
        ({"record": "scores"}, "recorded with everything"),
        ({"responses": {"zscore_blocks": 3}}, "needs references"),
        ({"session": {"channels": ["a", "a"]}}, "all different"),
        ({"session": {"channels": 0}}, "channels"),
        ({"session": {"background": [1, 2]}}, "background"),
        ({"session": {"lease": 3}}, "unknown key; near: lease_s"),
        ({"objective": {"name": "mean", "excitatory": [1]}}, "no option"),
        ({"init": "references:best", "references": "x"}, "before the first block"),
        ({"variants": [{"init": "references:best"}], "references": "x"}, "before the first block"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        assemble(session_plan(**changes))


def test_a_plan_with_a_rig_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="xdream serve"):
        loop.run(session_plan(), tmp_path / "e")


def test_a_plan_of_a_session_survives_toml() -> None:
    plan = session_plan(session={"channels": ["left", "right", "3"], "block_size": 5})
    assert Plan.from_toml(plan.to_toml()) == plan
    assert json.loads(plan.model_dump_json())["session"]["channels"] == ["left", "right", "3"]


# ------------------------------------------------------------------ what a review found


def test_half_a_character_in_a_name_is_no_end(lab: Callable[..., Lab]) -> None:
    one = lab()
    row, *_ = one.rows(one.block())
    assert one.take(AnswerRow("x\ud800", 0, row.recorded)).counts == {"unknown": 1}
    assert one.take(row, session="\ud800").counts == {"stale": 1}
    assert one.take(AnswerRow("x\ud800", 0, row.recorded), block=1, fence=0).conflict


def test_what_does_not_count_is_no_part_of_the_budget(lab: Callable[..., Lab]) -> None:
    one = lab(targets=["rig::0"], presentations=12)
    for _ in range(2):
        one.take(*one.rows(one.block()))
    one.block()  # the third and last
    assert one.session.reject(2) is None
    for _ in range(2):
        one.take(*one.rows(one.block()))
    assert one.session.advance() is None
    assert one.session.over
    record = Record(one.folder)
    assert [bool(np.isnan(scores).all()) for scores in record.scores(0)] == [False, True, True, False, False]
    assert record.presentation_count(0) == 12
    record.close()


def test_a_pause_outlasts_the_program(lab: Callable[..., Lab]) -> None:
    one = lab()
    one.block()
    one.session.pause("the animal is sick")
    one.restart()
    assert one.session.paused == "the animal is sick"
    one.session.go_on()
    one.restart()
    assert one.session.paused is None


def test_what_was_shown_again_elsewhere_is_not_shown_a_third_time(lab: Callable[..., Lab]) -> None:
    one = lab(targets=["rig::0"], session={"reshow": 1})
    first = one.block()
    missing, *rest = one.rows(first)
    one.take(*rest, last=True)
    second = one.block()
    one.take(*one.rows(second))
    assert [p.image for p in second.presentations] == [missing.image]


def test_a_number_beyond_all_responses_is_put_aside(lab: Callable[..., Lab]) -> None:
    one = lab()
    row, *_ = one.rows(one.block())
    assert one.take(AnswerRow(row.image, row.repeat, values(1.7e308, 0, 0))).counts == {"quarantined": 1}


def test_closing_a_block_that_is_closed_closes_no_other(lab: Callable[..., Lab]) -> None:
    one = lab(session={"block_size": 4})
    row, *_ = one.rows(one.block())
    one.take(row)
    one.session.close(1, "silent", "no answer")
    one.session.close(1, "silent", "no answer")
    assert one.block().number == 2


def test_threads_of_two_generators_are_shuffled_into_the_same_blocks(tmp_path: Path) -> None:
    """Two threads on each of two channels: every block shows images of both, and each thread is scored."""
    threads = [{}, {"generator": {"name": "fourier", "size_px": 16}}]
    plan = session_plan(variants=threads, session={"block_size": 8}, references_per_generation=0)
    rig = Rig(dropped=0.2, nan=0.1)
    with contextlib.closing(served(plan, tmp_path / "x", rig)) as record:
        assert [run.generations for run in record.runs()] == [3] * 4
        rows = record.query(
            "SELECT block, count(DISTINCT image.run / 2), count(*) FROM planned"
            " JOIN image ON image.id = planned.image GROUP BY block"
        )
        assert {threads for _, threads, shown in rows if shown == 8} == {2}
        sizes = {pixels_of(png).shape for (png,) in record.query("SELECT png FROM kept_image")}
        assert sizes == {(16, 16, 3)}
        lengths = record.query("SELECT DISTINCT run, length(code) / 4 FROM image ORDER BY run")
        assert len({length for _, length in lengths}) == 2
        assert all(np.isfinite(one).any() for run in range(4) for one in record.scores(run))
        assert [one.generator for one in summarise(record)] == ["pixels", "pixels", "fourier", "fourier"]
