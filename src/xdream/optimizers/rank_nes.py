"""A natural evolution strategy on ranks, with mirrored samples and one radius, from a safe start.

In z = (code − centre) / spread of the generator's initial codes:

    samples m ± σ ε_i, ε_i ~ N(0, I)
    u_i = max(0, ln(k/2 + 1) − ln rank_i), with the sum 1, − 1/k, over the k scores that were seen   (1)
    m ← m + σ Σ u_i ε_i                                                                             (2)
    σ ← σ exp(η √d / 4 · mean_j Σ_i u_i (ε_ij² − 1)), η = (3 + ln d) / (5 √d)                        (3)

(1) as in Hansen 2016, eq. 49, and xNES (Glasmachers et al. 2010), whose learning rate is η; the step of the
radius is that of separable NES with one radius for all components, scaled as it was found to be best
(benches/optimizers.py). The exponent is kept within ±0.5, the radius in [0.02, 3]. The start is that of
`safe_start`; the mean may be kept in a ball of root mean square `mean_limit`. In every `mean_every`-th
generation the mean takes the place of the last sample and has no weight: nearly the same image again and
again, so that a recording shows the best code so far, and a drift.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from xdream import random
from xdream.optimizers import safe_start
from xdream.optimizers.base import check, check_population, column
from xdream.optimizers.ranks import by_rank, centred_log_weights, number_seen
from xdream.optimizers.safe_start import StartedState
from xdream.optimizers.search_range import SearchRange
from xdream.registry import declares
from xdream.types import Codes, Scores, Seeds

LEAST_RADIUS, MOST_RADIUS = 0.02, 3.0
#: The logarithm of the radius changes by at most so much in a generation.
MOST_CHANGE = 0.5


@dataclass(frozen=True)
class RankNESState(StartedState):
    """radius: (runs,) float64, in units of the spread."""

    radius: torch.Tensor


@declares(
    in_recordings={"mean_every": 5},
    searched={
        "population": SearchRange(least=2.0, whole=True),
        "search_radius": SearchRange(least=LEAST_RADIUS, most=MOST_RADIUS),
        "mean_limit": SearchRange(),
    },
)
@dataclass(frozen=True)
class RankNES:
    """Follows the ranks of mirrored Gaussian samples, with one radius, from a safe start.

    population λ (an odd one is rounded down), search_radius σ at the start, in units of the spread of the
    generator's initial codes; mean_limit: the root mean square in which the mean is kept, in the same units;
    mean_every: the mean is shown in every so many generations (0: in none).
    """

    population: Annotated[int, Field(ge=2)] = 20
    search_radius: Annotated[float, Field(ge=LEAST_RADIUS, le=MOST_RADIUS)] | torch.Tensor = 0.5
    mean_limit: Annotated[float, Field(gt=0, le=1e6)] | torch.Tensor = 1.0
    mean_every: Annotated[int, Field(ge=0)] = 0

    state_type: ClassVar[type[RankNESState]] = RankNESState
    starts_from: ClassVar[str] = "spread"

    def __post_init__(self) -> None:
        check_population("rank-nes", self.population, 2)
        check("search_radius", self.search_radius, LEAST_RADIUS, MOST_RADIUS)
        check("mean_limit", self.mean_limit, 0.0, 1e6, above=True)
        object.__setattr__(self, "population", self.population // 2 * 2)

    def start(self, seeds: Seeds, initial: Codes) -> RankNESState:
        """initial: (runs, 2, d), centre and spread of the generator's initial codes; or (runs, 3, d), with a
        code to begin at, brought within mean_limit."""
        radius = column(self.search_radius, 1, initial).expand(len(seeds)).clone()
        fields = safe_start.fields(seeds, initial)
        fields["mean"] = self._within(fields["mean"])
        return RankNESState(**fields, radius=radius)

    def ask(self, state: RankNESState) -> Codes:
        """(runs, population, d): m + σ ε_i in the first half, m − σ ε_i in the second; m in the last slot
        where it is due."""
        step = state.radius[:, None, None] * self._noise(state)
        step = torch.where(self._shows_mean(state), 0.0, torch.cat((step, -step), dim=1))
        followed = state.mean[:, None] + step
        drawn = functools.partial(safe_start.exploring, state, self.population)
        return safe_start.codes(state, safe_start.sampled(state, followed, drawn))

    def tell(self, state: RankNESState, scores: Scores) -> RankNESState:
        """Move the mean and change the radius; where no score has differed yet, start or draw again."""
        noise = self._noise(state)
        both = torch.cat((noise, -noise), dim=1)
        scores = torch.where(self._shows_mean(state)[..., 0], torch.nan, scores)
        u = by_rank(scores, centred_log_weights(number_seen(scores), self.population))  # (1)
        mean = state.mean + state.radius[:, None] * (u[:, None, :] @ both)[:, 0]  # (2)
        d = state.centre.shape[-1]
        eta = (3.0 + math.log(d)) / (5.0 * math.sqrt(d))
        change = eta * math.sqrt(d) / 4.0 * (u * (both**2 - 1.0).mean(-1)).sum(-1)
        radius = state.radius * change.clamp(-MOST_CHANGE, MOST_CHANGE).exp()  # (3)
        begun = safe_start.wakes(scores) & ~state.awake
        mean = torch.where(state.awake[:, None], mean, state.mean)
        if bool(begun.any()):
            first = safe_start.first_mean(safe_start.exploring(state, self.population), scores)
            mean = torch.where(begun[:, None], first, mean)
        return RankNESState(
            state.seeds,
            state.steps + 1,
            state.centre,
            state.spread,
            state.awake | begun,
            self._within(mean),
            torch.where(state.awake, radius.clamp(LEAST_RADIUS, MOST_RADIUS), state.radius),
        )

    def recommended(self, state: RankNESState) -> Codes:
        """(runs, d): the mean, the code to show when the search ends."""
        return safe_start.codes(state, state.mean[:, None])[:, 0]

    def _shows_mean(self, state: RankNESState) -> torch.Tensor:
        """(runs, population, 1) bool, which slots the mean takes."""
        slots = torch.arange(self.population, device=state.steps.device) == self.population - 1
        due = state.awake & (state.steps % max(1, self.mean_every) == 0) & (self.mean_every > 0)
        return (due[:, None] & slots)[..., None]

    def _within(self, mean: torch.Tensor) -> torch.Tensor:
        rms = mean.square().mean(-1, keepdim=True).sqrt()
        limit = column(self.mean_limit, 2, mean)
        return torch.where(rms > limit, mean * (limit / rms), mean)

    def _noise(self, state: RankNESState) -> torch.Tensor:
        shape = (self.population // 2, state.centre.shape[-1])
        return random.normal(state.seeds, state.steps, "rank-nes/steps", shape).to(torch.float64)
