"""What is odd about a channel, and what is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream.scoring.channel_checks import LEAST, MOST, Flag, Level, level, silent, stepped

NAN = float("nan")


def levels(*blocks: list[list[float]]) -> list[Level]:
    return [level(np.array(block)) for block in blocks]


def column(*values: float) -> list[list[float]]:
    return [[value] for value in values]


def poisson(seed: int, rates: np.ndarray, presentations: int = 20) -> list[Level]:
    """rates: (blocks, channels)."""
    rng = np.random.default_rng(seed)
    return [level(rng.poisson(row, (presentations, len(row))).astype(float)) for row in rates]


def flags(every: list[Level]) -> list[Flag]:
    """All that is said from the first to the last block."""
    return [
        flag for n, now in enumerate(every) for find in (silent, stepped) for flag in find(every[:n], now)
    ]


def test_a_level_is_counted_by_channel_without_what_is_missing() -> None:
    [one] = levels([[0.0, 4.0, NAN], [-2.0, NAN, NAN], [3.0, 8.0, NAN], [1.0, 6.0, NAN]])
    assert one.seen.tolist() == [4, 3, 0]
    assert one.responding.tolist() == [3, 3, 0]
    np.testing.assert_array_equal(one.median, [0.5, 6.0, NAN])


def test_the_error_of_a_median_is_that_of_normal_numbers_or_somewhat_more() -> None:
    # √(π/2) / √n for the standard normal, of many.
    rng = np.random.default_rng(0)
    for n in (5, 8, 400):
        errors = [float(level(rng.standard_normal((n, 1))).error[0]) for _ in range(400)]
        assert 0.98 < np.mean(errors) / np.sqrt(np.pi / 2 / n) < 1.35


def test_a_channel_that_falls_silent_is_flagged_with_its_numbers() -> None:
    before = levels(*[[[5.0, 5.0]] * 10] * 3)
    now = level(np.array([[0.0, 5.0]] * 10))
    text = "all 10 responses of the block are 0; 30 of 30 before were not"
    assert silent(before, now) == (Flag(0, "silent", text),)


def test_the_chance_of_silence_is_that_of_an_exact_test() -> None:
    # All of 20 responded, and none of m: 1 / C(20 + m, m). C(25, 5) is 53,130 and C(30, 10) 30,045,015.
    before = levels(column(*[1.0] * 20))
    assert silent(before, level(np.zeros((5, 1)))) == ()
    assert len(silent(before, level(np.zeros((10, 1))))) == 1
    # C(27, 7) is 888,030, C(28, 8) is 3,108,105.
    assert silent(before, level(np.zeros((7, 1)))) == ()
    assert len(silent(before, level(np.zeros((8, 1))))) == 1


def test_neither_missing_responses_nor_a_channel_that_never_responded_are_silence() -> None:
    before = levels([[5.0, 0.0, 5.0]] * 30)
    now = np.array([[NAN, 0.0, 0.0]] * 30)
    assert [flag.channel for flag in silent(before, level(now))] == [2]
    now[3, 2] = 0.1
    assert silent(before, level(now)) == ()
    assert silent([], level(np.zeros((30, 3)))) == ()


def test_only_the_latest_blocks_are_compared_with_for_silence() -> None:
    responding, dead = level(np.ones((30, 1))), level(np.zeros((30, 1)))
    assert len(silent([responding, *[dead] * (MOST - 1)], dead)) == 0  # 30 of 600, none of 30: it may be
    assert len(silent([*[responding] * 10, *[dead] * 10], dead)) == 1
    [flag] = silent([*[dead] * 30, *[responding] * MOST], dead)
    assert flag.text == "all 30 responses of the block are 0; 600 of 600 before were not"
    assert silent([*[responding] * 10, *[dead] * MOST], dead) == ()


def test_a_step_of_the_baseline_is_flagged_with_its_numbers() -> None:
    before = levels(*[column(9.0, 10.0, 10.0, 11.0, 10.0)] * LEAST)
    [flag] = stepped(before, level(np.array(column(19.0, 20.0, 20.0, 21.0, 20.0))))
    assert (flag.channel, flag.kind) == (0, "step")
    assert flag.text == "the baseline is 20 in this block; in the 5 before it was 10 ± 0.56"  # 2 · √5 / 2 / 4
    [flag] = stepped(before, level(np.zeros((5, 1))), what="response")
    assert flag.text.startswith("the response is 0 in this block")


def test_a_step_is_one_beyond_the_limit() -> None:
    # Medians 8 9 10 11 12 without errors: 1.4826 · 1 · (1 + 10/5) = 4.4478 is a deviation.
    before = levels(*[column(*[x] * 5) for x in (8.0, 9.0, 10.0, 11.0, 12.0)])
    for limit, edge in ((6.0, 6 * 4.4478), (2.0, 2 * 4.4478)):
        assert stepped(before, level(np.full((5, 1), 10 + edge - 0.01)), limit) == ()
        assert len(stepped(before, level(np.full((5, 1), 10 + edge + 0.01)), limit)) == 1
        assert len(stepped(before, level(np.full((5, 1), 10 - edge - 0.01)), limit)) == 1


def test_a_step_is_looked_for_after_enough_blocks_in_which_the_channel_was_seen() -> None:
    before = levels(*[[[1.0, 1.0]] * 5] * LEAST)
    now = level(np.full((5, 2), 9.0))
    assert stepped(before[1:], now) == ()
    assert [flag.channel for flag in stepped(before, now)] == [0, 1]
    unseen = levels([[NAN, 1.0]] * 5)
    assert [flag.channel for flag in stepped([*unseen, *before[1:]], now)] == [1]
    assert stepped(before, level(np.full((5, 2), NAN))) == ()
    # Four presentations say too little of a block.
    assert stepped(before, level(np.full((4, 2), 9.0))) == ()
    assert stepped([*before[1:], level(np.ones((4, 2)))], now) == ()


def test_a_step_that_lasts_is_no_longer_one_when_most_blocks_are_like_it() -> None:
    low, high = levels(column(*[1.0] * 5), column(*[9.0] * 5))
    assert len(stepped([low] * MOST, high)) == 1
    assert stepped([*[low] * 100, *[high] * (MOST // 2 + 1)], high) == ()


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e12])
def test_a_constant_channel_is_not_flagged(value: float) -> None:
    rng = np.random.default_rng(0)
    same = np.full((10, 1), value)
    assert flags([level(same) for _ in range(30)]) == []
    # Nor one that is constant up to rounding.
    assert flags([level(same * (1 + 1e-12 * rng.standard_normal((10, 1)))) for _ in range(30)]) == []
    assert flags([*[level(same)] * 10, level(same * (1 + 4e-16))]) == []


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([4, 5, 10, 20, 41]))
def test_poisson_channels_however_sparse_are_not_flagged(seed: int, presentations: int) -> None:
    rates = np.tile([0.02, 0.1, 0.3, 0.5, 0.69, 1.0, 2.0, 5.0, 30.0], (40, 1))
    assert flags(poisson(seed, rates, presentations)) == []


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([-0.02, -0.01, 0.01, 0.02]))
def test_channels_that_drift_slowly_are_not_flagged(seed: int, share: float) -> None:
    blocks = np.arange(60)[:, None]
    rates = np.array([[0.5, 2.0, 10.0, 50.0]]) * (1 + share) ** blocks
    assert flags(poisson(seed, rates)) == []


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.floats(-0.3, 0.3))
def test_a_normal_baseline_that_drifts_is_not_flagged(seed: int, slope: float) -> None:
    rng = np.random.default_rng(seed)
    assert flags([level(50 + slope * n + rng.standard_normal((20, 3))) for n in range(40)]) == []


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([5.0, 20.0]))
def test_a_poisson_channel_that_is_lost_or_multiplied_is_flagged_in_that_block(
    seed: int, rate: float
) -> None:
    rates = np.full((16, 3), rate)
    rates[15] = [0.0, rate, 6 * rate]
    every = poisson(seed, rates)
    assert [flag.channel for flag in silent(every[:15], every[15])] == [0]
    assert 2 in [flag.channel for flag in stepped(every[:15], every[15])]
    assert 1 not in [flag.channel for flag in stepped(every[:15], every[15])]
    assert flags(every[:15]) == []
