"""Onsets on a rig's clock: one offset while it runs, another one where it was set back, none below zero."""

from collections.abc import Sequence

import pytest

from xdream.experiment.rig_clock import Onset, Restart, RigClock


def placed(
    *blocks: Sequence[tuple[float, float]], length_s: float = 4.0
) -> tuple[list[float], list[Restart]]:
    """Seconds of each onset of blocks of (onset, estimate); the restarts."""
    restarts: list[Restart] = []
    clock, found = RigClock(restarts), []
    for number, block in enumerate(blocks, 1):
        onsets = [Onset(*one) for one in block]
        found += [
            one.onset_s + offset
            for one, offset in zip(onsets, clock.offsets(number, onsets, length_s), strict=True)
        ]
    return found, restarts


def test_one_offset_for_a_clock_that_runs() -> None:
    found, restarts = placed([(500, 1.0), (501, 2.5)], [(507.25, 7.0)])
    assert found == [1.0, 2.0, 8.25]
    assert restarts == []


def test_a_clock_that_is_set_back_has_a_new_offset_from_there_on() -> None:
    found, restarts = placed([(500, 1.0), (501, 2.0)], [(0.5, 60.0), (1.5, 61.0)], [(9.0, 70.0)])
    assert found == [1.0, 2.0, 60.0, 61.0, 68.5]
    assert restarts == [Restart(2, 501, 0.5)]
    assert "went back in block 2, from 501 s to 0.5 s" in restarts[0].text


@pytest.mark.parametrize("first", [[], [(490.0, 0.5)]])
def test_also_within_a_block(first: list[tuple[float, float]]) -> None:
    found, restarts = placed(first, [(500, 1.0), (501, 2.0), (3.0, 60.0), (4.0, 61.0)], [(12.0, 69.0)])
    assert found[-3:] == [60.0, 61.0, 69.0]
    assert [one.block for one in restarts] == [2]


def test_answers_of_one_block_may_come_in_any_order() -> None:
    found, restarts = placed([(503, 1.0), (501, 2.0), (502, 3.0)], [(506, 9.0), (505, 10.0)])
    assert found == [3.0, 1.0, 2.0, 6.0, 5.0]
    assert restarts == []


def test_what_is_shown_after_a_restart_is_after_all_that_was_before() -> None:
    """The arrival of the answers does not know it better."""
    found, _ = placed([(500, 1.0), (530, 2.0)], [(0.5, 3.0)])
    assert found == [1.0, 31.0, 31.0]


def test_two_restarts_are_two() -> None:
    found, restarts = placed([(500, 1.0)], [(2.0, 20.0)], [(1.0, 40.0), (2.0, 41.0)], [(3.0, 42.0)])
    assert found == [1.0, 20.0, 40.0, 41.0, 42.0]
    assert [(one.block, one.onset_s) for one in restarts] == [(2, 2.0), (3, 1.0)]
