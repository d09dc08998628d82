"""How hyperparameters are searched is declared by their optimizer; a rule serves for all others."""

import pytest

from xdream.optimizers import OPTIMIZERS, SearchRange, range_of


@pytest.mark.parametrize("name", ["genetic", "fdgd", "nes"])
def test_every_number_of_a_built_in_optimizer_is_declared(name: str) -> None:
    numbers = {
        key
        for key, option in OPTIMIZERS.options(name).items()
        if isinstance(option.default, int | float) and not isinstance(option.default, bool)
    }
    assert set(OPTIMIZERS.declared(name, "searched")) == numbers


def test_what_is_declared_holds_and_the_rule_serves_for_the_rest() -> None:
    declared = {"rate": SearchRange((0.3,), adds=True, least=0.0, most=1.0)}
    assert range_of(declared, "rate", 0.5).most == 1.0
    assert range_of(declared, "scale", 0.5) == SearchRange()
    assert range_of(declared, "population", 20) == SearchRange(whole=True, least=1.0)
    assert range_of(declared, "offset", -3) == SearchRange(whole=True)
