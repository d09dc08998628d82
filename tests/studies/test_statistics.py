import math

import numpy as np
import pytest

from xdream.studies.claims import above, below, every, published, published_median
from xdream.studies.statistics import (
    FEWEST,
    Interval,
    difference,
    interval,
    paired,
    share_above,
    summarised,
)


def test_the_interval_of_a_median_is_near_its_known_error() -> None:
    """Of a normal sample: standard error of the median 1.2533 / sqrt(n)."""
    values = np.random.default_rng(1).normal(5.0, 1.0, 400)
    found = interval(values)
    assert found.value == np.median(values)
    half = 1.96 * 1.2533 / math.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.25)
    assert found.low < 5.0 < found.high


def test_the_same_values_give_the_same_interval() -> None:
    """Of the mean, whose bootstrap samples are hardly ever alike."""
    values = [1.0, 2.0, 4.0, 8.0, 9.0, 11.0, 12.5]
    assert interval(values, np.mean) == interval(values, np.mean)


def test_few_units_have_no_interval() -> None:
    few = interval([1.0] * (FEWEST - 1))
    assert (few.value, few.n) == (1.0, FEWEST - 1)
    assert math.isnan(few.low)
    assert math.isnan(interval([]).value)


def test_equal_values_have_an_interval_without_width() -> None:
    assert interval([2.0] * 6) == Interval(2.0, 2.0, 2.0, 6)


def test_the_share_has_wilsons_interval() -> None:
    """9 of 10 above: centre and half width from Wilson's formula, z = 1.96."""
    z, n, p = 1.959964, 10, 0.9
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = share_above([2.0] * 9 + [0.5], 1.0)
    assert (found.value, found.low, found.high) == pytest.approx((p, centre - half, centre + half), abs=1e-5)


def test_quartiles_are_those_of_the_units() -> None:
    found = summarised([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.q1, found.median.value, found.q3) == (2.0, 3.0, 4.0)


def test_pairs_are_within_units_only() -> None:
    a = {"x": 1.0, "y": 5.0, "z": 3.0, "only here": 100.0}
    b = {"x": 0.0, "y": 4.0, "z": 2.5, "only there": -100.0}
    assert paired(a, b).difference.value == 1.0
    assert paired(a, b).difference.n == 3


def test_the_paired_test_is_wilcoxons() -> None:
    """Six differences of one sign: the exact two-sided p is 2 / 2^6."""
    a = {unit: float(unit) + 1.0 + unit / 10 for unit in range(6)}
    b = {unit: float(unit) for unit in range(6)}
    assert paired(a, b).p == pytest.approx(2 / 64)


def test_the_difference_of_medians_is_of_unlike_groups() -> None:
    found = difference([3.0, 4.0, 5.0, 5.0, 6.0, 7.0], [1.0] * 6)
    assert found.value == 4.0
    assert found.low > 1.0
    assert math.isnan(difference([1.0], []).value)


@pytest.mark.parametrize(
    ("low", "high", "is_above", "is_below"),
    [
        (1.1, 2.0, True, False),
        (0.1, 0.9, False, True),
        (0.5, 1.5, None, None),
        (math.nan, math.nan, None, None),
    ],
)
def test_a_bound_inside_the_interval_decides_nothing(
    low: float, high: float, is_above: bool | None, is_below: bool | None
) -> None:
    found = Interval((low + high) / 2, low, high, 10)
    assert above(found, 1.0) is is_above
    assert below(found, 1.0) is is_below


def test_one_part_that_fails_decides_even_where_another_is_open() -> None:
    assert every(True, None, False) is False
    assert every(True, None) is None
    assert every(True, True) is True


def test_the_published_numbers_are_all_there() -> None:
    """Counted and looked up in the data beside the paper."""
    assert len(published()) == 264
    assert published_median("2/3", "caffenet|fc6") == 1.954
    assert published_median("4", "best_ivt|fc8") == 1.6695
    assert published_median("4", "worst_ivt|fc8", "Rel_act_init") == -0.082
    assert published_median("5", "raw_pixel|caffenet|conv2") == 1.308
    assert published_median("6", "True|FDGD|caffenet|fc6") == 0.7031
    assert published_median("6", "250.0|inception-resnet-v2|classifier") == 1.0335
    assert published_median("6", "nothing") is None
    assert published_median("2/3", "placescnn|fc6") == 1.8345  # the data write it placesCNN
