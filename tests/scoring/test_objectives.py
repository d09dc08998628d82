"""Responses into scores."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream.errors import BadInput, UnknownName
from xdream.scoring.objectives import OBJECTIVES, mean, minus_mean

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
    assert OBJECTIVES.names() == ["difference", "groups", "mean", "minus-mean"]
    # Runs that have the same formula are scored together, so it is the same function.
    assert OBJECTIVES.make("mean") is mean
    assert OBJECTIVES.make("mean", channels=None) is mean
    assert OBJECTIVES.make("minus-mean") is minus_mean
    with pytest.raises(UnknownName, match=r"'maen'.*mean"):
        OBJECTIVES.make("maen")
    with pytest.raises(BadInput, match="no option 'power'"):
        OBJECTIVES.make("mean", power=2)
    with pytest.raises(BadInput, match="'difference' needs the option suppressive"):
        OBJECTIVES.make("difference", excitatory=[0])


# Two images, two repeats, four channels.
MATRIX = (
    [[1.0, 2.0, 10.0, 40.0], [3.0, NAN, 20.0, 60.0]],
    [[5.0, NAN, NAN, 80.0], [7.0, NAN, NAN, NAN]],
)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mean", {"channels": [2]}, [15.0, NAN]),
        ("mean", {"channels": [1, 0]}, [2.0, 6.0]),
        ("mean", {"channels": [3, 2, 0]}, [67 / 3, 43.0]),
        ("minus-mean", {"channels": [3]}, [-50.0, -80.0]),
        ("minus-mean", {"channels": [0, 1]}, [-2.0, -6.0]),
        ("groups", {"groups": [[0, 1], [3]]}, [26.0, 43.0]),
        ("groups", {"groups": [[0, 1], [3]], "weights": [3, -0.5]}, [-19.0, -22.0]),
        ("groups", {"groups": [[0, 2], [3], [1]], "weights": [1, 0, 0]}, [8.5, NAN]),
        ("groups", {"groups": [[0], [1, 2]]}, [5.25, NAN]),
        ("difference", {"excitatory": [3, 2], "suppressive": [0]}, [30.5, 74.0]),
        ("difference", {"excitatory": [0], "suppressive": [3, 1]}, [-24.0, -74.0]),
        ("difference", {"excitatory": [0], "suppressive": [1, 2]}, [-6.5, NAN]),
    ],
)
def test_channels_are_scored_as_worked_out_by_hand(
    name: str, options: dict[str, Any], expected: list[float]
) -> None:
    scores = OBJECTIVES.make(name, **options)(responses(*MATRIX))
    assert scores.dtype == torch.float64
    assert scores.tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_a_group_without_any_value_leaves_the_image_without_a_score() -> None:
    # Not even where its weight is 0: nobody knows what it did.
    none = responses([[1.0, NAN]])
    assert OBJECTIVES.make("groups", groups=[[0], [1]])(none).isnan().all()
    assert OBJECTIVES.make("groups", groups=[[0], [1]], weights=[1, 0])(none).isnan().all()
    assert OBJECTIVES.make("difference", excitatory=[0], suppressive=[1])(none).isnan().all()
    assert OBJECTIVES.make("difference", excitatory=[1], suppressive=[0])(none).isnan().all()


def test_no_image_has_no_score() -> None:
    assert OBJECTIVES.make("groups", groups=[[0], [1]])(
        torch.empty((0, 2, 3), dtype=torch.float64)
    ).shape == (0,)


def test_a_channel_that_is_not_there_is_an_index_error() -> None:
    for name, options in (("mean", {"channels": [4]}), ("groups", {"groups": [[0], [1, 4]]})):
        with pytest.raises(IndexError):
            OBJECTIVES.make(name, **options)(responses(*MATRIX))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mean", {"channels": []}, r"channels is \[\]; it must be a non-empty list"),
        ("mean", {"channels": 3}, "channels is 3; it must be a non-empty list"),
        ("mean", {"channels": [0, -1]}, r"channels\[1\] is -1; it must be a whole number of at least 0"),
        ("mean", {"channels": [1.0]}, r"channels\[0\] is 1\.0"),
        ("mean", {"channels": [True]}, r"channels\[0\] is True"),
        ("mean", {"channels": ["V4-1"]}, r"channels\[0\] is 'V4-1'"),
        ("minus-mean", {"channels": [2, 0, 2]}, "channels has channel 2 twice; name each channel once"),
        ("groups", {"groups": []}, "a non-empty list of non-empty lists of whole numbers"),
        ("groups", {"groups": [0, 1]}, r"groups\[0\] is 0; it must be a non-empty list"),
        ("groups", {"groups": [[0], []]}, r"groups\[1\] is \[\]"),
        ("groups", {"groups": [[0], [1, 0]]}, r"groups\[1\] has channel 0 and groups\[0\] has it too"),
        ("groups", {"groups": [[0], [1]], "weights": [1]}, "one number for each of the 2 groups"),
        ("groups", {"groups": [[0], [1]], "weights": []}, "one number for each of the 2 groups"),
        ("groups", {"groups": [[0]], "weights": 1.0}, "weights is 1.0; it must be a list of numbers"),
        ("groups", {"groups": [[0]], "weights": [NAN]}, "weights has nan; each is a finite number"),
        ("groups", {"groups": [[0]], "weights": ["1"]}, r"weights\[0\] is '1'; it must be a number"),
        ("groups", {"groups": [[0], [1]], "weights": [0, 0.0]}, "scores every image 0"),
        ("difference", {"excitatory": [], "suppressive": [0]}, "excitatory is"),
        ("difference", {"excitatory": [0], "suppressive": []}, "suppressive is"),
        ("difference", {"excitatory": [0, 1], "suppressive": [1]}, "excitatory has it too"),
    ],
)
def test_options_that_cannot_be_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        OBJECTIVES.make(name, **options)
