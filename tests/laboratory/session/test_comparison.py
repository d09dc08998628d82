"""Scores compared with what they were: expected numbers by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xdream.errors import BadInput
from xdream.laboratory.session.rescoring import Change, compare

NAN = float("nan")


def change(old: list[float], new: list[float]) -> Change:
    return compare(np.array(old), np.array(new))


def test_the_same_order_is_no_change() -> None:
    found = change([1, 5, 2, 3, 4, 0, -1, -2], [10, 500, 20, 30, 40, 0, -1, -20])
    assert found == Change(1.0, 2, 0, False, 0, 0)


def test_the_best_quarter_and_the_best_image_are_compared() -> None:
    # The best two are 3 and 2, then 3 and 0; the differences of the ranks are 2, 0, −1, 0, −1, 0, 0, 0.
    found = change([5, 4, 6, 8, 5.5, 3, 2, 1], [7, 4, 6, 8, 5, 3, 2, 1])
    assert found.rank_correlation == pytest.approx(1 - 6 * (4 + 1 + 1) / (8 * 63))
    assert (found.quarter, found.quarter_left, found.best_changed) == (2, 1, False)
    found = change([1, 2, 3, 4], [4, 3, 2, 1])
    assert found == Change(-1.0, 1, 1, True, 0, 0)


def test_what_lost_or_got_a_score_is_counted_and_not_correlated() -> None:
    found = change([9, 1, 2, NAN, 3, NAN, 0], [NAN, 1, 2, 8, 3, NAN, NAN])
    assert found == Change(1.0, 2, 2, True, 2, 1)


def test_ties_share_their_rank() -> None:
    # Ranks 1.5 1.5 3 and 1 2 3: Σ dx dy = 1.5, Σ dx² = 1.5, Σ dy² = 2.
    found = change([4, 4, 7], [1, 2, 3])
    assert found.rank_correlation == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_the_best_image_of_a_tie_has_not_changed_when_one_of_them_is_still_best() -> None:
    assert not change([3, 3, 1], [1, 3, 2]).best_changed
    assert change([3, 3, 1], [1, 1, 2]).best_changed


@pytest.mark.parametrize(
    ("old", "new"), [([], []), ([1], [2]), ([NAN, 1], [2, NAN]), ([1, 1], [1, 2]), ([1, 2], [3, 3])]
)
def test_without_two_orders_there_is_no_correlation(old: list[float], new: list[float]) -> None:
    assert math.isnan(change(old, new).rank_correlation)


def test_a_generation_without_scores_has_no_best_image() -> None:
    assert not change([NAN, NAN], [NAN, NAN]).best_changed
    assert change([NAN, NAN], [NAN, 1]).best_changed
    assert change([NAN, 1], [NAN, NAN]).best_changed
    assert change([NAN, 1], [NAN, NAN]).quarter_left == 1
    assert change([NAN, NAN], [NAN, 1]).quarter == 0


def test_infinite_scores_have_ranks_like_others() -> None:
    assert change([math.inf, 1, 2, -math.inf], [9, 1, 2, 0]) == Change(1.0, 1, 0, False, 0, 0)


def test_other_images_are_refused() -> None:
    with pytest.raises(BadInput, match=r"\(2,\) and \(3,\)"):
        change([1, 2], [1, 2, 3])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
def test_the_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    old, new = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    if min(len(set(old)), len(set(new))) > 1:
        assert compare(old, new).rank_correlation == pytest.approx(stats.spearmanr(old, new).statistic)
