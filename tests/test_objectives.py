"""Responses into scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream.errors import BadInput, UnknownName
from xdream.objectives import OBJECTIVES, mean, minus_mean

NAN = float("nan")


def responses(*images: list[list[float]]) -> torch.Tensor:
    return torch.tensor(images, dtype=torch.float64)


def test_the_mean_is_over_repeats_and_then_over_units() -> None:
    # A repeat that one unit missed does not weigh the other unit less.
    both = responses([[1.0, 10.0], [3.0, NAN]])
    assert mean(both).tolist() == [6.0]


def test_a_missing_repeat_is_left_out_of_the_mean() -> None:
    assert mean(responses([[2.0], [NAN], [4.0]])).tolist() == [3.0]


def test_an_image_without_any_response_has_no_score() -> None:
    scores = mean(responses([[NAN], [NAN]], [[1.0], [2.0]]))
    assert scores.isnan().tolist() == [True, False]
    assert minus_mean(responses([[NAN], [NAN]])).isnan().all()


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=5))
def test_minus_mean_is_the_other_way_up(values: list[list[float]]) -> None:
    given_responses = torch.tensor(values, dtype=torch.float64)[:, :, None]
    expected = [sum(repeats) / 3 for repeats in values]
    assert mean(given_responses).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert torch.equal(minus_mean(given_responses), -mean(given_responses))


def test_the_responses_are_left_as_they_were() -> None:
    given_responses = responses([[1.0], [NAN]])
    before = given_responses.clone()
    mean(given_responses)
    assert torch.equal(given_responses.nan_to_num(-9.0), before.nan_to_num(-9.0))


def test_objectives_are_made_by_name() -> None:
    assert OBJECTIVES.names() == ["mean", "minus-mean"]
    assert OBJECTIVES.make("mean") is mean
    assert OBJECTIVES.make("minus-mean") is minus_mean
    with pytest.raises(UnknownName, match=r"'maen'.*mean"):
        OBJECTIVES.make("maen")
    with pytest.raises(BadInput, match="no option 'power'"):
        OBJECTIVES.make("mean", power=2)
