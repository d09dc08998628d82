"""Natural evolution strategy (Wierstra et al. 2014), as in Xiao & Kreiman 2020, "Methods: NES".

    antithetic samples c ± r ε_i, ε_i ~ N(0, I)
    gradient = mean over samples of s ε / r;  c ← c + l · gradient                           (1)
    r ← max(least, r + k · mean(s (ε² − 1)) / r), mean over samples and components           (2)

One radius serves all components. Missing scores: as in FDGD a pair with one side missing contributes
nothing, and the means are over the complete pairs; without any, centre and radius stay.

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

#: The radius is kept below this, whatever the scores.
MOST_RADIUS = 1e6


@dataclass(frozen=True)
class NESState(State):
    """centre: (runs, d) float32. radius: (runs,) float64."""

    centre: torch.Tensor
    radius: torch.Tensor


@dataclass(frozen=True)
class SafeNESState(ExploringState):
    """radius: (runs,) float64."""

    radius: torch.Tensor


@declares(
    free=True,  # as published
    searched={
        "population": SearchRange(least=2.0, whole=True),
        "search_radius": SearchRange(),
        "learning_rate": SearchRange(),
        "radius_learning_rate": SearchRange(),
        "least_radius": SearchRange(),
    },
)
@dataclass(frozen=True)
class NES:
    """Follows the score-weighted mean of Gaussian samples and adapts their radius.

    population n (an odd one is rounded down), search_radius r at the start, learning_rate l,
    radius_learning_rate k, least_radius. Defaults: the paper's for fc6. scores: "raw", as published;
    "standardised" or "ranks" within their generation. safe_start: codes are drawn until scores differ.
    """

    population: Annotated[int, Field(ge=2)] = 20
    search_radius: Annotated[float, Field(ge=LEAST_RADIUS, le=MOST_RADIUS)] | torch.Tensor = 1.25
    learning_rate: Annotated[float, Field(ge=0, le=1e12)] | torch.Tensor = 1.75
    radius_learning_rate: Annotated[float, Field(ge=0, le=1e12)] | torch.Tensor = 0.05
    least_radius: Annotated[float, Field(ge=LEAST_RADIUS, le=MOST_RADIUS)] | torch.Tensor = 0.01
    scores: ScoreRule = "raw"
    safe_start: bool = False

    def __post_init__(self) -> None:
        check_population("nes", self.population, 2)
        check("search_radius", self.search_radius, LEAST_RADIUS, MOST_RADIUS)
        check("learning_rate", self.learning_rate, 0.0, 1e12)
        check("radius_learning_rate", self.radius_learning_rate, 0.0, 1e12)
        check("least_radius", self.least_radius, LEAST_RADIUS, MOST_RADIUS)
        check_score_rule(self.scores)
        object.__setattr__(self, "population", self.population // 2 * 2)

    @property
    def state_type(self) -> type[NESState | SafeNESState]:
        """What its states are."""
        return SafeNESState if self.safe_start else NESState

    @property
    def starts_from(self) -> str:
        """Centre and spread where it may have to draw."""
        return "spread" if self.safe_start else "centre"

    def start(self, seeds: Seeds, initial: Codes) -> NESState | SafeNESState:
        """initial: (runs, k, d); the centre starts at their mean. With safe_start: (runs, 2, d). The first
        radius is at least the least."""
        radius = torch.maximum(
            column(self.search_radius, 1, initial), column(self.least_radius, 1, initial)
        ).expand(len(seeds))
        if self.safe_start:
            return SafeNESState(**safe_start.explores(seeds, initial), radius=radius.clone())
        return NESState(seeds, torch.zeros_like(seeds), limited(initial.mean(1)), radius.clone())

    def ask(self, state: NESState | SafeNESState) -> Codes:
        """(runs, population, d): c + r ε_i in the first half, c − r ε_i in the second."""
        step = state.radius.to(torch.float32)[:, None, None] * self._noise(state)
        centre = state.centre[:, None, :]
        codes = limited(torch.cat((centre + step, centre - step), dim=1))
        return safe_start.asked(state, codes) if isinstance(state, ExploringState) else codes

    def tell(self, state: NESState | SafeNESState, scores: Scores) -> NESState | SafeNESState:
        """Move the centre and change the radius."""
        noise = self._noise(state).to(torch.float64)
        half_difference, half_sum, pairs = antithetic(followed(scores, self.scores))
        gradient = (half_difference[:, None, :] @ noise)[:, 0] / (pairs * state.radius)[:, None]
        centre = state.centre + column(self.learning_rate, 2, gradient) * gradient  # (1)
        spread = (half_sum * (noise**2 - 1.0).mean(-1)).sum(-1) / pairs
        change = column(self.radius_learning_rate, 1, spread) * spread / state.radius
        least = column(self.least_radius, 1, spread)
        radius = torch.maximum(state.radius + change, least).clamp_max(MOST_RADIUS)  # (2)
        moved = dataclasses.replace(state, steps=state.steps + 1, centre=limited(centre), radius=radius)
        if isinstance(state, SafeNESState) and isinstance(moved, SafeNESState):
            return safe_start.told(state, moved, scores)
        return moved

    def _noise(self, state: NESState | SafeNESState) -> torch.Tensor:
        shape = (self.population // 2, state.centre.shape[-1])
        return random.normal(state.seeds, state.steps, "nes/steps", shape)
