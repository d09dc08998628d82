"""Which hyperparameters of a plan are searched, and by which steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xdream.errors import BadInput
from xdream.experiment import budget
from xdream.experiment.plan import Plan
from xdream.optimizers import OPTIMIZERS, SearchRange, range_of
from xdream.registry import nearest
from xdream.studies.tuning.search import Parameter, Setting


def searched(
    plan: Plan, only: Sequence[str] = (), steps: Mapping[str, Sequence[float]] | None = None
) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """The numeric hyperparameters of a resolved plan as they are searched; and what to say of those left out.

    only: restricts the search to these. steps: other steps than the optimizer's, by name: factors, or addends
    for those that it has searched by addends or that are not positive (which no factor changes; without
    steps they are left out). Raises BadInput.
    """
    options, steps = plan.optimizer.options, dict(steps or {})
    for name in (*only, *steps):
        if name not in options:
            known = nearest(name, sorted(options)) if options else "none"
            raise BadInput(f"{plan.optimizer.name} has no parameter '{name}' in this plan; near: {known}")
        if not _is_number(options[name]):
            raise BadInput(f"parameter '{name}' is {options[name]!r}; only numbers can be searched")
    numeric = {name: value for name, value in options.items() if _is_number(value)}
    if not numeric:
        raise BadInput(
            f"the plan has no numeric hyperparameter of {plan.optimizer.name} to search; give each one to be "
            "searched a start: --set optimizer.NAME=VALUE"
        )
    apart = [name for name in steps if only and name not in only]
    if apart:
        raise BadInput(f"steps are given for '{apart[0]}', which is not among the parameters searched")
    declared = OPTIMIZERS.declared(plan.optimizer.name, "searched", {})
    found, left_out = [], []
    for name, value in numeric.items():
        if only and name not in only:
            continue
        parameter = _parameter(name, value, range_of(declared, name, value), steps.get(name))
        if parameter is not None:
            found.append(parameter)
            continue
        text = f"{name} is {value:g}, which no factor changes: give addends, --steps {name}=A,B,…"
        if only:
            raise BadInput(text)
        left_out.append(f"not searched: {text}")
    if not found:
        raise BadInput(left_out[0].removeprefix("not searched: "))
    return tuple(found), tuple(left_out)


def _parameter(
    name: str, value: float, declared: SearchRange, steps: Sequence[float] | None
) -> Parameter | None:
    """The parameter; None where only the user can say by which steps."""
    adds = declared.adds or not value > 0
    if steps is None and adds and not declared.adds:
        return None
    checked = _checked(name, declared.steps if steps is None else steps, adds)
    return Parameter(name, float(value), checked, adds, declared.least, declared.most, declared.whole)


def _checked(name: str, steps: Sequence[float], adds: bool) -> tuple[float, ...]:
    above = 0.0 if adds else 1.0
    values = tuple(float(step) for step in steps)
    shrinking = all(a > b for a, b in itertools.pairwise(values))
    if not values or not shrinking or not all(math.isfinite(v) and v > above for v in values):
        what = "addends above 0" if adds else "factors above 1"
        raise BadInput(
            f"steps of {name} are {', '.join(f'{v:g}' for v in values) or 'none'}; give {what}, each smaller "
            "than the one before"
        )
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def optimizer_options(plan: Plan, parameters: Sequence[Parameter], setting: Setting) -> dict[str, Any]:
    """All hyperparameters with this setting."""
    return plan.optimizer.options | {p.name: value for p, value in zip(parameters, setting, strict=True)}


def admission(plan: Plan, parameters: Sequence[Parameter]) -> Callable[[Setting], Setting | None]:
    """What the optimizer makes of a setting: None when it refuses it or no generation can be paid for; an
    odd population where codes come in pairs is rounded."""
    names = [parameter.name for parameter in parameters]

    def admit(setting: Setting) -> Setting | None:
        try:
            optimizer = OPTIMIZERS.make(plan.optimizer.name, **optimizer_options(plan, parameters, setting))
            budget.generations(plan.presentations, optimizer.population, plan.repeats)
        except ValueError:  # ours, and what an optimizer from elsewhere may raise
            return None
        return tuple(
            optimizer.population if name == "population" else value
            for name, value in zip(names, setting, strict=True)
        )

    return admit
