"""The search of Xiao & Kreiman 2020 for hyperparameters: greedy, one at a time, with shrinking steps.

    take each parameter in turn:
        four values around the current one, at the parameter's present step; the best is kept     (1)
    after a round in which no value changed:
        the step of the parameter unchanged for longest shrinks                                   (2)
    until all predefined steps are used up                                                        (3)

Every round takes the parameters in the same order, so that none is taken again before all others were. The
search is a function of what is known: after a kill it is replayed from the results.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from xdream import random

#: Values of the parameters in their order, as an optimizer is given them.
Setting = tuple[float, ...]

#: Values are given to this many significant digits, so that one reached on two ways is one value.
DIGITS = 6


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter as it is searched.

    steps: from the widest to the narrowest; a step is a factor, or with `adds` an addend. least, most: the
    valid range. whole: only whole numbers.
    """

    name: str
    start: float
    steps: tuple[float, ...]
    adds: bool = False
    least: float = -math.inf
    most: float = math.inf
    whole: bool = False

    def around(self, value: float, step: float) -> list[float]:
        """The values two and one steps below and above, within the valid range."""
        four = [value + step * k if self.adds else value * step**k for k in (-2, -1, 1, 2)]
        return [min(max(one, self.least), self.most) for one in four]

    def given(self, value: float) -> float:
        """The value as an optimizer is given it."""
        return round(value) if self.whole else float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True)
class Position:
    """Where the search is. asked: settings to evaluate next; none: it has ended.

    number: the round, from 1; 0 while the start is evaluated. parameter, step: what is being tried.
    """

    asked: tuple[Setting, ...]
    number: int
    parameter: str = ""
    step: float = 0.0


def as_it_is(setting: Setting) -> Setting:
    """Every setting is valid."""
    return setting


def proceed(
    parameters: Sequence[Parameter],
    seed: int,
    results: Mapping[Setting, float],
    admit: Callable[[Setting], Setting | None] = as_it_is,
) -> Position:
    """Search with the results so far until one is missing, or to the end.

    results: greater is better; never NaN. admit: the setting as it will really be (an optimizer may round a
    value), or None when it is not valid. The order of the parameters is drawn from the seed.
    """
    order = _order(seed, len(parameters))
    values = [parameter.start for parameter in parameters]  # before they are rounded, so that steps add up
    used = [0] * len(parameters)
    changed = [(0, 0)] * len(parameters)  # round and place in it of each one's last change
    first = tuple(p.given(value) for p, value in zip(parameters, values, strict=True))
    here = admit(first) or first
    if here not in results:
        return Position((here,), 0)
    for number in itertools.count(1):
        for place, i in enumerate(order):
            parameter, step = parameters[i], parameters[i].steps[used[i]]
            reached: dict[Setting, float] = {}
            for value in parameter.around(values[i], step):
                setting = admit((*here[:i], parameter.given(value), *here[i + 1 :]))
                if setting is not None:
                    reached.setdefault(setting, value)
            unknown = tuple(setting for setting in reached if setting not in results)
            if unknown:
                return Position(unknown, number, parameter.name, step)
            best = max(reached, key=results.__getitem__, default=here)
            if results[best] > results[here]:  # (1)
                here, values[i], changed[i] = best, reached[best], (number, place)
        if max(changed)[0] < number:
            left = [i for i in order if used[i] + 1 < len(parameters[i].steps)]
            if not left:
                return Position((), number)  # (3)
            # Of those that never changed, the one whose step shrank least often; of these the first in order.
            used[min(left, key=lambda i: (changed[i], used[i]))] += 1  # (2)
    raise AssertionError  # rounds do not run out


def _order(seed: int, count: int) -> list[int]:
    drawn = random.permutation(torch.tensor([seed]), torch.tensor([0]), "tuning/order", count)[0]
    return [int(i) for i in drawn]
