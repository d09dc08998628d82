"""What evaluations say: what each setting is worth, and the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.report import RunSummary
from xdream.studies.tuning.parameters import optimizer_options
from xdream.studies.tuning.search import Parameter, Setting

#: How a tuning ended: the search is complete, the evaluations allowed are used up, or it is to go on.
Ended = Literal["complete", "limit", "unfinished"]


@dataclass(frozen=True)
class TargetScale:
    """What one unit's results are divided by.

    natural: its best response to the references; else its result with the starting setting.
    """

    target: str
    value: float
    natural: bool


@dataclass(frozen=True)
class Evaluation:
    """One setting and what it is worth.

    value: the mean over the runs of the best noise-free score of the last generation over the unit's scale;
    NaN when a run had no response there. round, parameter, step: what was being tried; 0 and "": the start.
    """

    number: int
    round: int
    parameter: str
    step: float
    setting: Setting
    value: float

    @property
    def rank(self) -> float:
        """The value for comparisons: what is not finite is never the best."""
        return self.value if math.isfinite(self.value) else -math.inf


@dataclass(frozen=True)
class Tuning:
    """What is known of a tuning.

    plan: resolved, with the starting setting. notes: what every output says.
    """

    folder: Path
    plan: Plan
    parameters: tuple[Parameter, ...]
    evaluations: tuple[Evaluation, ...]
    scales: tuple[TargetScale, ...]
    ended: Ended
    notes: tuple[str, ...]

    @property
    def best(self) -> Evaluation:
        """The best evaluation, of equal ones the first."""
        return max(self.evaluations, key=lambda one: one.rank)

    @property
    def noisy(self) -> bool:
        """Whether the responses that the optimizer saw had noise."""
        return self.plan.noise_spikes is not None or self.plan.noise_scale is not None

    @property
    def optimizer(self) -> Part:
        """The optimizer with the best setting, for a plan."""
        options = optimizer_options(self.plan, self.parameters, self.best.setting)
        return Part(name=self.plan.optimizer.name, **options)


def scales_of(start: Sequence[RunSummary]) -> tuple[TargetScale, ...]:
    """Each unit's scale, from the evaluation of the start. Raises BadInput where it is not positive."""
    scales = []
    for target in dict.fromkeys(one.target for one in start):
        own = [one for one in start if one.target == target]
        natural = own[0].best_reference
        if natural is not None and 0.0 < natural < math.inf:
            scales.append(TargetScale(target, natural, True))
            continue
        result = float(np.mean([_last(one) for one in own]))
        if not 0.0 < result < math.inf:
            references = "no reference has a positive response" if own[0].references else "no references"
            raise BadInput(
                f"{target} has no scale: {references}, and its result with the starting setting is "
                f"{result:g}; leave the unit out, or give references to which it responds"
            )
        scales.append(TargetScale(target, result, False))
    return tuple(scales)


def value_of(summaries: Sequence[RunSummary], scales: Sequence[TargetScale]) -> float:
    """The value of a setting from its runs; NaN when one of them is missing."""
    scale = {one.target: one.value for one in scales}
    return float(np.mean([_last(one) / scale[one.target] for one in summaries]))


def _last(summary: RunSummary) -> float:
    return math.nan if summary.last_generation_best is None else summary.last_generation_best
