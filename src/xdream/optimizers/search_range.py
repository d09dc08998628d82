"""How a hyperparameter is searched: what an optimizer declares for `xdream tune`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: Steps by factors, for numbers above zero of which nothing else is known.
FACTORS = (2.0, 1.4, 1.2)
#: Steps by addends, for shares and probabilities.
SHARES = (0.2, 0.1, 0.05)


@dataclass(frozen=True)
class SearchRange:
    """The steps and the range of a search over one hyperparameter.

    steps: from the widest to the narrowest; a step is a factor, or with `adds` an addend. least, most: the
    valid range. whole: only whole numbers. An optimizer declares them by name, as `searched`.
    """

    steps: tuple[float, ...] = FACTORS
    adds: bool = False
    least: float = -math.inf
    most: float = math.inf
    whole: bool = False


def range_of(declared: Mapping[str, SearchRange], name: str, value: float) -> SearchRange:
    """What is declared of a hyperparameter; else by factors, and a whole number stays whole, and above zero
    if it was."""
    if name in declared:
        return declared[name]
    whole = isinstance(value, int)
    return SearchRange(whole=whole, least=1.0 if whole and value > 0 else -math.inf)
