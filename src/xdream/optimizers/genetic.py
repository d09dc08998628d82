"""The genetic algorithm of XDream (Xiao & Kreiman 2020, "Methods: genetic algorithm").

Numbers in brackets are the steps of one generation as that paper describes them: (1) temperature and
clipping, (2) parent probabilities, (3) elites and recombination, (4) mutation, (5) unscored codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from xdream import random
from xdream.errors import BadInput
from xdream.optimizers.base import (
    State,
    check,
    check_population,
    column,
    limited,
    usable,
)
from xdream.optimizers.ranks import by_rank, log_weights
from xdream.optimizers.search_range import SHARES, SearchRange
from xdream.registry import declares
from xdream.types import Codes, Scores, Seeds

LEAST_TEMPERATURE = 1e-8
CLIP_QUANTILE = 0.95


@dataclass(frozen=True)
class GeneticState(State):
    """codes: (runs, n, d) float32, the population that is being scored."""

    codes: Codes


@declares(
    free=True,  # as published
    in_recordings={"elites": 1},  # the best image is kept (Ponce et al. 2019)
    searched={
        "population": SearchRange(least=2.0, whole=True),
        "elites": SearchRange((2.0, 1.0), adds=True, least=0.0, whole=True),
        "mutation_rate": SearchRange(SHARES, adds=True, least=0.0, most=1.0),
        "heritability": SearchRange(SHARES, adds=True, least=0.5, most=1.0),  # below 0.5 it means 1 − h
        "mutation_size": SearchRange(),
        "selectivity": SearchRange(),
    },
)
@dataclass(frozen=True)
class Genetic:
    """Selection of parents by score, uniform crossover of two of them, Gaussian mutation.

    population n, mutation_rate m (probability per component), mutation_size v (standard deviation),
    selectivity q (0: all parents alike), heritability h (probability that a component comes from the
    first parent; below 0.5 it means 1 − h), elites e (best codes kept unchanged). Defaults: the paper's
    for fc6. selection: "boltzmann", a softmax of the scores, as published; "rank", a parent's probability
    is the logarithmic weight of its rank (`ranks.log_weights`: the better half), and q says nothing.
    """

    population: Annotated[int, Field(ge=1)] = 20
    mutation_rate: Annotated[float, Field(ge=0, le=1)] | torch.Tensor = 0.5
    mutation_size: Annotated[float, Field(ge=0, le=1e6)] | torch.Tensor = 0.5
    selectivity: Annotated[float, Field(ge=0, le=1e12)] | torch.Tensor = 2.0
    heritability: Annotated[float, Field(ge=0, le=1)] | torch.Tensor = 0.5
    elites: Annotated[float, Field(ge=0)] | torch.Tensor = 0
    selection: Literal["boltzmann", "rank"] = "boltzmann"

    state_type: ClassVar[type[GeneticState]] = GeneticState
    starts_from: ClassVar[str] = "population"

    def __post_init__(self) -> None:
        check_population("genetic", self.population, 1)
        check("mutation_rate", self.mutation_rate, 0.0, 1.0)
        check("mutation_size", self.mutation_size, 0.0, 1e6)
        check("selectivity", self.selectivity, 0.0, 1e12)
        check("heritability", self.heritability, 0.0, 1.0)
        check("elites", self.elites, 0, self.population - 1)
        if bool((torch.as_tensor(self.elites) % 1 != 0).any()):
            raise BadInput(f"elites is {self.elites}; it must be a whole number")
        if self.selection not in ("boltzmann", "rank"):
            raise BadInput(f"selection is {self.selection!r}; choose boltzmann or rank")

    def start(self, seeds: Seeds, initial: Codes) -> GeneticState:
        """initial: (runs, population, d), the first generation itself."""
        if initial.shape[1] != self.population:
            raise BadInput(
                f"{initial.shape[1]} initial codes for a population of {self.population}; "
                "genetic needs one for each"
            )
        return GeneticState(seeds, torch.zeros_like(seeds), limited(initial))

    def ask(self, state: GeneticState) -> Codes:
        """(runs, population, d): the population."""
        return state.codes

    def tell(self, state: GeneticState, scores: Scores) -> GeneticState:
        """The next population. A NaN code stays in its place, is shown again, and is no parent (5)."""
        raw, scores = scores.to(torch.float64), usable(scores)
        seen = ~torch.isnan(scores)
        probability = self._parent_probability(scores, seen)
        # Ranked as told: here infinite and huge scores still differ. Unseen codes come last.
        ranked = torch.where(seen, raw.clamp_min(torch.finfo(torch.float64).min), -torch.inf).argsort(
            stable=True, dim=-1, descending=True
        )
        place = ranked.argsort(-1)
        elite = seen & (place < column(self.elites, 2, scores))
        keep = (elite | ~seen)[:, :, None]
        codes = torch.where(keep, state.codes, self._children(state, probability))
        return GeneticState(state.seeds, state.steps + 1, codes)

    def _parent_probability(self, scores: Scores, seen: torch.Tensor) -> torch.Tensor:
        """(runs, n) float64, not normalised; zero where unseen."""
        if self.selection == "rank":
            return by_rank(scores, log_weights(seen.sum(-1), scores.shape[-1]))
        count = seen.sum(-1, keepdim=True).clamp_min(1)
        mean = torch.where(seen, scores, 0.0).sum(-1, keepdim=True) / count
        variance = torch.where(seen, (scores - mean) ** 2, 0.0).sum(-1, keepdim=True) / count
        selectivity = column(self.selectivity, 2, scores)
        temperature = (variance.sqrt() / selectivity).clamp_min(LEAST_TEMPERATURE)  # (1)
        temperature = torch.where(selectivity == 0.0, torch.inf, temperature)
        clipped = torch.minimum(scores, scores.nanquantile(CLIP_QUANTILE, -1, keepdim=True))
        best = torch.where(seen, clipped, -torch.inf).amax(-1, keepdim=True)
        p = torch.where(seen, ((clipped - best) / temperature).exp(), 0.0)  # (2)
        least = torch.where(p > 0.0, p, torch.inf).amin(-1, keepdim=True)
        return torch.where(seen & (p == 0.0), least, p)

    def _children(self, state: GeneticState, probability: torch.Tensor) -> Codes:
        """(runs, n, d): one child for every place, though elites and unseen codes may take it."""
        runs, n, d = state.codes.shape
        at = (state.seeds, state.steps)
        cumulative = probability.cumsum(-1)
        drawn = random.uniform64(*at, "genetic/parents", (2 * n,)) * cumulative[:, -1:]
        parents = torch.searchsorted(cumulative, drawn, right=True)
        # Rounding can put a draw at the total; the last code with any probability takes it.
        last = (probability > 0.0).to(torch.int64).cumsum(-1).argmax(-1, keepdim=True)
        parents = torch.minimum(parents, last)[:, :, None].expand(runs, 2 * n, d)
        first, second = state.codes.gather(1, parents).chunk(2, dim=1)

        share = column(self.heritability, 3, probability).to(torch.float32)
        share = torch.maximum(share, 1.0 - share)
        from_first = random.uniform(*at, "genetic/crossover", (n, d)) < share  # (3)
        rate = column(self.mutation_rate, 3, probability).to(torch.float32)
        mutated = random.uniform(*at, "genetic/mutated", (n, d)) < rate  # (4)
        size = column(self.mutation_size, 3, probability).to(torch.float32)
        step = size * random.normal(*at, "genetic/mutation", (n, d))
        return limited(torch.where(from_first, first, second) + torch.where(mutated, step, 0.0))
