"""How hyperparameters are searched is declared by their optimizer; a rule serves for all others."""

import dataclasses
from typing import Any

import pytest

from xdream.optimizers import OPTIMIZERS, SearchRange, range_of


@pytest.mark.parametrize("name", ["genetic", "fdgd", "nes"])
def test_every_hyperparameter_of_a_built_in_optimizer_is_declared(name: str) -> None:
    optimizer: Any = OPTIMIZERS.factory(name)
    assert set(optimizer.searched) == {field.name for field in dataclasses.fields(optimizer)}


def test_what_is_declared_holds_and_the_rule_serves_for_the_rest() -> None:
    class Foreign:
        searched = {"rate": SearchRange((0.3,), adds=True, least=0.0, most=1.0)}  # noqa: RUF012

    assert range_of(Foreign, "rate", 0.5).most == 1.0
    assert range_of(Foreign, "scale", 0.5) == SearchRange()
    assert range_of(Foreign, "population", 20) == SearchRange(whole=True, least=1.0)
    assert range_of(Foreign, "offset", -3) == SearchRange(whole=True)
    assert range_of(lambda: None, "scale", 0.5) == SearchRange()
