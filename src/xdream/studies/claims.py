"""The published claims, each with a verdict on it from a study's own numbers."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from xdream.studies.statistics import Interval

Verdict = Literal["reproduced", "not reproduced", "not testable"]


@dataclass(frozen=True)
class Finding:
    """A published claim (Xiao & Kreiman 2019/2020) beside what was found here.

    published: its figures. network: where it was tested; "" for all. ours: our figures. criterion: what
    counts as reproduced. why: of a claim that is not testable, what is missing.
    """

    study: str
    claim: str
    published: str
    network: str
    ours: str
    criterion: str
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim and the criterion that was fixed for it."""

    study: str
    text: str
    published: str
    criterion: str

    def on(self, network: str, ours: str, holds: bool | None, why: str = "") -> Finding:
        """The verdict. holds: None: it cannot be said, because of `why`, which is left out otherwise."""
        verdict: Verdict = "not testable" if holds is None else "reproduced" if holds else "not reproduced"
        why = why if holds is None else ""
        return Finding(self.study, self.text, self.published, network, ours, self.criterion, verdict, why)

    def untestable(self, why: str, network: str = "") -> Finding:
        """Without figures of our own."""
        return self.on(network, "", None, why)


def above(found: Interval, bound: float) -> bool | None:
    """Whether a figure is above a bound: None where its interval holds the bound, or there is none."""
    if math.isnan(found.low) or found.low <= bound <= found.high:
        return None
    return found.low > bound


def below(found: Interval, bound: float) -> bool | None:
    """Whether it is below."""
    side = above(found, bound)
    return None if side is None else not side


def every(*parts: bool | None) -> bool | None:
    """Whether all hold: False where one does not, None where one cannot be said and none fails."""
    if False in parts:
        return False
    return None if None in parts else True


def at_most(found: Interval, bound: float, margin: float) -> bool | None:
    """Whether a figure is not above a bound, but for a margin: None where its interval allows both."""
    if found.low > bound:
        return False
    return below(found, bound + margin)


#: What stands where an interval is too wide for a verdict.
TOO_FEW = "too few units: the interval contains the bound"
#: With fewer presentations an evolution has hardly begun.
FEWEST_PRESENTATIONS = 500


def too_short(shown: float) -> str:
    """Why evolutions of so few presentations say nothing of where evolutions end; "" of enough."""
    if shown >= FEWEST_PRESENTATIONS:
        return ""
    return f"evolutions of {shown:,.0f} presentations have hardly begun; give at least {FEWEST_PRESENTATIONS}"


@dataclass(frozen=True)
class Published:
    """A published condition: quartiles, mean and share above 1 over n units."""

    figure: str
    condition: str
    measure: str
    units: int
    q1: float
    median: float
    q3: float
    mean: float
    share_above_1: float


@functools.cache
def published() -> tuple[Published, ...]:
    """Every published condition, from the data beside the paper (published.csv has the source)."""
    text = resources.files("xdream.studies").joinpath("published.csv").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(_published(lines))


def _published(lines: list[str]) -> Iterator[Published]:
    for row in csv.DictReader(lines):
        numbers = [float(row[key]) for key in ("q1", "median", "q3", "mean", "share_above_1")]
        yield Published(row["figure"], row["condition"], row["measure"], int(row["units"]), *numbers)


def published_median(figure: str, condition: str, measure: str = "Rel_act") -> float | None:
    """The published median of a condition, as `published.csv` names it; None where there is none."""
    for row in published():
        if (row.figure, row.condition.lower(), row.measure) == (figure, condition.lower(), measure):
            return row.median
    return None
