"""How many generations a budget pays for."""

import pytest

from xdream.errors import BadInput
from xdream.experiment import budget


@pytest.mark.parametrize(("presentations", "count"), [(20, 1), (39, 1), (40, 2), (10_000, 500)])
def test_only_whole_generations_fit_into_a_budget(presentations: int, count: int) -> None:
    assert budget.generations(presentations, 10, 2) == count


def test_a_budget_below_one_generation_is_bad_input_with_the_value_and_the_remedy() -> None:
    with pytest.raises(BadInput) as error:
        budget.generations(19, 10, 2, "'clean'")
    assert str(error.value) == (
        "presentations is 19, below one generation of 'clean' of 20 (10 images x 2 repeats); give at least 20"
    )
