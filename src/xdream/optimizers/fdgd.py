"""Finite-difference gradient descent (Xiao & Kreiman 2020, "Methods: FDGD"), here ascending.

    d_i ~ N(0, r²),  Δ_i = (s(c + d_i) − s(c − d_i)) / 2                      (1)
    gradient = mean_i Δ_i d_i / (mean |d_i|)²,  mean |·| over components      (2)
    c ← c + l · gradient                                                      (3)

Missing scores: a pair with one side missing says nothing about the slope and contributes nothing; the mean
is over the complete pairs, which keeps the estimate unbiased. Without any the centre stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from xdream import random
from xdream.optimizers.base import (
    LEAST_RADIUS,
    State,
    antithetic,
    check,
    check_population,
    column,
    limited,
)
from xdream.types import Codes, Scores, Seeds


@dataclass(frozen=True)
class CentreState(State):
    """centre: (runs, d) float32."""

    centre: torch.Tensor


@dataclass(frozen=True)
class FDGD:
    """Antithetic steps around a centre estimate the slope.

    population n (an odd one is rounded down), search_radius r, learning_rate l. Defaults: the paper's for
    fc6. Scores are not normalised, so the best l depends on the scale of the target's response.
    """

    population: Annotated[int, Field(ge=2)] = 20
    search_radius: Annotated[float, Field(ge=LEAST_RADIUS, le=1e6)] | torch.Tensor = 1.25
    learning_rate: Annotated[float, Field(ge=0, le=1e12)] | torch.Tensor = 1.25

    state_type: ClassVar[type[CentreState]] = CentreState
    starts_from: ClassVar[str] = "centre"

    def __post_init__(self) -> None:
        check_population("fdgd", self.population, 2)
        check("search_radius", self.search_radius, LEAST_RADIUS, 1e6)
        check("learning_rate", self.learning_rate, 0.0, 1e12)
        object.__setattr__(self, "population", self.population // 2 * 2)

    def start(self, seeds: Seeds, initial: Codes) -> CentreState:
        """initial: (runs, k, d); the centre starts at their mean."""
        return CentreState(seeds, torch.zeros_like(seeds), limited(initial.mean(1)))

    def ask(self, state: CentreState) -> Codes:
        """(runs, population, d): c + d_i in the first half, c − d_i in the second."""
        step = self._steps(state)
        centre = state.centre[:, None, :]
        return limited(torch.cat((centre + step, centre - step), dim=1))

    def tell(self, state: CentreState, scores: Scores) -> CentreState:
        """Move the centre along the estimated gradient."""
        step = self._steps(state).to(torch.float64)
        slope, _, pairs = antithetic(scores)  # (1)
        length = step.abs().mean(-1)
        weight = torch.where(length > 0.0, slope / length**2, 0.0)  # a step of 0 says nothing
        gradient = (weight[:, None, :] @ step)[:, 0] / pairs[:, None]  # (2)
        centre = state.centre + column(self.learning_rate, 2, gradient) * gradient  # (3)
        return CentreState(state.seeds, state.steps + 1, limited(centre))

    def _steps(self, state: CentreState) -> torch.Tensor:
        shape = (self.population // 2, state.centre.shape[-1])
        radius = column(self.search_radius, 3, state.centre).to(torch.float32)
        return radius * random.normal(state.seeds, state.steps, "fdgd/steps", shape)
