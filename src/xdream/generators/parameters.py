"""Named parameters of a generator whose codes are numbers with bounds; without PyTorch, for reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Parameter:
    """One number of a code, in [0, 1]: what it is called, the unit and bounds of its value.

    circular: both bounds are the same image. logarithmic: equal steps of the code multiply the value. folded:
    the name of another, circular parameter: the second half of this one's circle is the first half with the
    other negated (a grating turned by 180° is the one with the opposite phase), and tables show the first.
    """

    name: str
    unit: str
    low: float
    high: float
    circular: bool = False
    logarithmic: bool = False
    folded: str = ""

    def value(self, code: float) -> float:
        """In its unit and within its bounds."""
        c = code % 1.0 if self.circular else min(max(code, 0.0), 1.0)
        if self.logarithmic:
            return float(self.low * (self.high / self.low) ** c)
        return self.low + (self.high - self.low) * c

    def at_bound(self, code: float) -> bool:
        """Whether a search pressed against a bound here."""
        return not self.circular and not 0.0 < code < 1.0

    def __str__(self) -> str:
        kinds = ", circular" * self.circular + ", logarithmic" * self.logarithmic
        return f"{self.name}: {self.low:g} to {self.high:g}{' ' * bool(self.unit)}{self.unit}{kinds}"


def values_of(parameters: Sequence[Parameter], code: npt.NDArray[np.float32]) -> dict[str, float]:
    """The values of a code, (d,), by name; half circles are folded."""
    found = {one.name: one.value(float(c)) for one, c in zip(parameters, code, strict=True)}
    circles = {one.name: one.high - one.low for one in parameters}
    for one in parameters:
        half = circles[one.name] / 2.0
        if one.folded and found[one.name] >= one.low + half:
            found[one.name] -= half
            found[one.folded] = -found[one.folded] % circles[one.folded]
    return found


#: The fact of a record that holds them.
FACT = "parameters"


def written(of_generators: Sequence[Sequence[Parameter]], of_runs: Sequence[int]) -> dict[str, str]:
    """The fact of a record: the parameters of each generator, and which of them is each run's; none where no
    generator has any."""
    if not any(of_generators):
        return {}
    found = {"of_generators": [[asdict(p) for p in one] for one in of_generators], "of_runs": list(of_runs)}
    return {FACT: json.dumps(found)}


def read(facts: Mapping[str, str]) -> dict[int, tuple[Parameter, ...]]:
    """Of a record's facts, by run; nothing where no generator has any."""
    if FACT not in facts:
        return {}
    found = json.loads(facts[FACT])
    named = [tuple(Parameter(**p) for p in one) for one in found["of_generators"]]
    return {run: named[number] for run, number in enumerate(found["of_runs"]) if named[number]}
