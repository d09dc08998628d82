"""Finite-difference gradient descent (Xiao & Kreiman 2020, "Methods: FDGD"), here ascending.

    d_i ~ N(0, r²),  Δ_i = (s(c + d_i) − s(c − d_i)) / 2                      (1)
    gradient = mean_i Δ_i d_i / (mean |d_i|)²,  mean |·| over components      (2)
    c ← c + l · gradient                                                      (3)

Missing scores: a pair with one side missing says nothing about the slope and contributes nothing; the mean
is over the complete pairs, which keeps the estimate unbiased. Without any the centre stays.

Beside the published rule: scores standardised or ranked within their generation (`ranks.followed`), and a
start that waits until the neuron answers (`safe_start`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from xdream import random
from xdream.optimizers import safe_start
from xdream.optimizers.base import (
    LEAST_RADIUS,
    State,
    antithetic,
    check,
    check_population,
    column,
    limited,
)
from xdream.optimizers.ranks import ScoreRule, check_score_rule, followed
from xdream.optimizers.safe_start import ExploringState
from xdream.optimizers.search_range import SearchRange
from xdream.registry import declares
from xdream.types import Codes, Scores, Seeds


@dataclass(frozen=True)
class CentreState(State):
    """centre: (runs, d) float32."""

    centre: torch.Tensor


@declares(
    free=True,  # as published
    searched={
        "population": SearchRange(least=2.0, whole=True),
        "search_radius": SearchRange(),
        "learning_rate": SearchRange(),
    },
)
@dataclass(frozen=True)
class FDGD:
    """Antithetic steps around a centre estimate the slope.

    population n (an odd one is rounded down), search_radius r, learning_rate l. Defaults: the paper's for
    fc6. scores: "raw", as published, so that the best l depends on the scale of the target's response;
    "standardised" or "ranks" within their generation. safe_start: codes are drawn until scores differ.
    """

    population: Annotated[int, Field(ge=2)] = 20
    search_radius: Annotated[float, Field(ge=LEAST_RADIUS, le=1e6)] | torch.Tensor = 1.25
    learning_rate: Annotated[float, Field(ge=0, le=1e12)] | torch.Tensor = 1.25
    scores: ScoreRule = "raw"
    safe_start: bool = False

    def __post_init__(self) -> None:
        check_population("fdgd", self.population, 2)
        check("search_radius", self.search_radius, LEAST_RADIUS, 1e6)
        check("learning_rate", self.learning_rate, 0.0, 1e12)
        check_score_rule(self.scores)
        object.__setattr__(self, "population", self.population // 2 * 2)

    @property
    def state_type(self) -> type[CentreState | ExploringState]:
        """What its states are."""
        return ExploringState if self.safe_start else CentreState

    @property
    def starts_from(self) -> str:
        """Centre and spread where it may have to draw."""
        return "spread" if self.safe_start else "centre"

    def start(self, seeds: Seeds, initial: Codes) -> CentreState | ExploringState:
        """initial: (runs, k, d); the centre starts at their mean. With safe_start: (runs, 2, d)."""
        if self.safe_start:
            return ExploringState(**safe_start.explores(seeds, initial))
        return CentreState(seeds, torch.zeros_like(seeds), limited(initial.mean(1)))

    def ask(self, state: CentreState | ExploringState) -> Codes:
        """(runs, population, d): c + d_i in the first half, c − d_i in the second."""
        step = self._steps(state)
        centre = state.centre[:, None, :]
        codes = limited(torch.cat((centre + step, centre - step), dim=1))
        return safe_start.asked(state, codes) if isinstance(state, ExploringState) else codes

    def tell(self, state: CentreState | ExploringState, scores: Scores) -> CentreState | ExploringState:
        """Move the centre along the estimated gradient."""
        step = self._steps(state).to(torch.float64)
        slope, _, pairs = antithetic(followed(scores, self.scores))  # (1)
        length = step.abs().mean(-1)
        weight = torch.where(length > 0.0, slope / length**2, 0.0)  # a step of 0 says nothing
        gradient = (weight[:, None, :] @ step)[:, 0] / pairs[:, None]  # (2)
        centre = state.centre + column(self.learning_rate, 2, gradient) * gradient  # (3)
        moved = dataclasses.replace(state, steps=state.steps + 1, centre=limited(centre))
        if isinstance(state, ExploringState) and isinstance(moved, ExploringState):
            return safe_start.told(state, moved, scores)
        return moved

    def _steps(self, state: CentreState | ExploringState) -> torch.Tensor:
        shape = (self.population // 2, state.centre.shape[-1])
        radius = column(self.search_radius, 3, state.centre).to(torch.float32)
        return radius * random.normal(state.seeds, state.steps, "fdgd/steps", shape)
