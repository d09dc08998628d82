"""What goes wrong in a rehearsal."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from xdream.recorded import Recorded, Spikes, Traces, Values, channels_of, to_bytes
from xdream.rigs.base import Row
from xdream.simulation.base import Offered
from xdream.simulation.faults import OF_ANSWERS, OF_ROWS, Faults, Mishap, Sent, apply


def values(number: float = 1.0) -> Values:
    return Values(np.array([number, number + 0.5]), np.array([1.0, 2.0]))


def rows(n: int, recorded: Recorded | None = None) -> list[Row]:
    return [Row(f"s-{i}", 0, recorded or values(float(i + 1))) for i in range(n)]


def mishap(**rates: Any) -> Mishap:
    return Faults(**rates).plan("s", 1, 0)


def sent(n: int = 20, recorded: Recorded | None = None, **rates: Any) -> Sent:
    return apply(rows(n, recorded), mishap(**rates))


def names(of: Sent) -> list[str]:
    return [row.image for part in of.parts for row in part]


def key(row: Row) -> tuple[str, int | None, bytes | None]:
    return row.image, row.repeat, None if row.recorded is None else to_bytes(row.recorded)


def test_without_faults_an_answer_is_as_it_was() -> None:
    given = rows(5)
    found = apply(given, mishap())
    assert found == Sent((tuple(given),), (), {})
    assert mishap().spoil is None
    offered = Offered("s", 3, 1, ())
    assert mishap().addressed(offered) == offered
    assert apply([], mishap(dropped=0.5, partial=1)).parts == ((),)


def test_the_same_attempt_always_goes_wrong_alike_and_another_otherwise() -> None:
    faults = Faults(**dict.fromkeys((*OF_ROWS, *OF_ANSWERS), 0.3), seed=5)

    def found(session: str = "s", block: int = 7, attempt: int = 0, faults: Faults = faults) -> Any:
        one = faults.plan(session, block, attempt)
        done = apply(rows(40), one)
        return one.happens, [[key(row) for row in part] for part in done.parts], done.injected

    assert found() == found()
    others = [
        found(),
        found(session="t"),
        found(block=8),
        found(attempt=1),
        found(faults=faults.model_copy(update={"seed": 6})),
    ]
    assert all(one != other for i, one in enumerate(others) for other in others[:i])


def test_what_happens_to_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    one = mishap(dropped=0.5)
    whole = set(names(apply(rows(40), one)))
    assert 0 < len(whole) < 40
    part = rows(40)[::-3]
    assert set(names(apply(part, one))) == whole & {row.image for row in part}


def test_faults_happen_as_often_as_their_rates_say() -> None:
    rates: dict[str, Any] = {
        "dropped": 0.1,
        "late": 0.2,
        "reordered": 0.3,
        "truncated": 0.05,
        "disconnect": 0.5,
    }
    counts: Counter[str] = Counter()
    for block in range(1000):
        counts.update(apply(rows(10), Faults(**rates).plan("s", block, 0)).injected)
    assert set(counts) == set(rates)
    for name, n, rate in (
        ("dropped", 10_000, 0.1),
        ("late", 10_000, 0.9 * 0.2),  # what is dropped is not late
        ("reordered", 1000, 0.3),
        ("truncated", 1000, 0.05),
        ("disconnect", 1000, 0.5),
    ):
        assert abs(counts[name] - n * rate) < 5 * np.sqrt(n * rate)


def test_dropped_rows_never_come_and_late_ones_come_later() -> None:
    assert sent(dropped=1) == Sent(((),), (), {"dropped": 20})
    found = sent(late=1)
    assert found.parts == ((),)
    assert [row.image for row in found.late] == [f"s-{i}" for i in range(20)]


def test_a_duplicated_row_is_sent_twice() -> None:
    found = sent(3, duplicated=1)
    assert names(found) == ["s-0", "s-1", "s-2"] * 2


def test_unknown_images_are_none_of_the_session() -> None:
    assert not set(names(sent(unknown_id=1))) & {row.image for row in rows(20)}


RECORDINGS: tuple[Recorded, ...] = (
    values(),
    Spikes(np.array([1.0, 2.0]), np.array([0, 1]), 2, 0.0, 9.0),
    Traces(np.ones((2, 4)), 0.0, 1.0),
)


def numbers(recorded: Recorded | None) -> np.ndarray:
    assert recorded is not None
    if isinstance(recorded, Values):
        return recorded.values
    return recorded.times_ms if isinstance(recorded, Spikes) else recorded.samples


@pytest.mark.parametrize("recorded", RECORDINGS)
def test_numbers_are_not_what_they_should_be(recorded: Recorded) -> None:
    before = to_bytes(recorded)
    for name, wrong in (("nan", np.isnan), ("inf", np.isinf)):
        for row in sent(3, recorded, **{name: 1}).parts[0]:
            assert wrong(numbers(row.recorded)).any()
    for row in sent(3, recorded, all_zero=1).parts[0]:
        assert not numbers(row.recorded).any()
    wider = [channels_of(row.recorded) for row in sent(3, recorded, wrong_shape=1).parts[0] if row.recorded]
    assert sorted(wider) == [2, 2, 3]
    assert to_bytes(recorded) == before


def test_a_row_without_a_recording_stays_without() -> None:
    one = mishap(nan=1, all_zero=1, wrong_shape=1)
    assert [row.recorded for row in apply([Row("s-0", 0, None)] * 2, one).parts[0]] == [None, None]


def test_reordered_rows_are_the_same_rows() -> None:
    found = names(sent(reordered=1))
    assert found != sorted(found, key=lambda name: int(name[2:]))
    assert sorted(found) == sorted(row.image for row in rows(20))


def test_a_count_is_one_too_few_or_one_too_many() -> None:
    counts = {len(apply(rows(20), Faults(count_mismatch=1).plan("s", b, 0)).parts[0]) for b in range(20)}
    assert counts == {19, 21}


def test_a_partial_answer_comes_in_two_parts_that_are_the_whole() -> None:
    for block in range(20):
        found = apply(rows(5), Faults(partial=1).plan("s", block, 0))
        assert len(found.parts) == 2
        assert all(found.parts)
        assert names(found) == [row.image for row in rows(5)]
    assert len(sent(1, partial=1).parts) == 1


def test_stale_answers_are_of_an_earlier_session_or_block() -> None:
    offered = Offered("s", 3, 1, ())
    assert mishap(stale_block=1).addressed(offered).number == 2
    assert mishap(stale_session=1).addressed(offered).session not in (None, "s")
    # Where the medium has no word for the session, the images tell.
    assert mishap(stale_session=1).addressed(Offered(None, 3, 1, ())).session is None
    assert not set(names(sent(stale_session=1))) & {row.image for row in rows(20)}


def test_bytes_are_cut_off_or_are_zeros() -> None:
    data = bytes(range(1, 200))
    cut, zeros = (Faults(**{name: 1}).plan("s", 1, 0).spoil for name in ("truncated", "zero_tail"))
    assert cut is not None
    assert zeros is not None
    assert data.startswith(cut(data))
    assert len(cut(data)) < len(data)
    assert len(zeros(data)) == len(data)
    left = zeros(data).rstrip(b"\0")
    assert data.startswith(left)
    assert len(left) < len(data)
    assert cut(b"") == zeros(b"") == b""


def test_how_long_the_rig_is_away_is_said() -> None:
    one = mishap(disconnect=1, disconnect_s=2.5)
    assert one.happens == {"disconnect"}
    assert one.disconnect_s == 2.5


def test_every_block_ends_after_a_bounded_number_of_attempts() -> None:
    faults = Faults(**dict.fromkeys((*OF_ROWS, *OF_ANSWERS), 0.99), attempts=4)
    assert faults.plan("s", 1, 3).happens
    given = rows(50)
    assert apply(given, faults.plan("s", 1, 4)) == Sent((tuple(given),), (), {})
    # What always happens goes on.
    assert Faults(truncated=1, attempts=4).plan("s", 1, 4).happens == {"truncated"}


@pytest.mark.parametrize("name", [*OF_ROWS, *OF_ANSWERS])
def test_a_rate_is_from_0_to_1_and_the_only_fault(name: str) -> None:
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValidationError, match=name):
            Faults(**{name: rate})
    assert set(sent(**{name: 1}).injected) == {name}
