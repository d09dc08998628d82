"""Where a search starts that moves a centre: not before the responses differ.

A neuron that is silent at the centre of a generator's codes gives the same score to all codes there, and
nothing to follow. So codes are drawn from the generator's own distribution until scores differ; the first
mean is that of these codes weighted by rank, rescaled to the contrast of such codes.

Searches of this kind work in z = (code − centre) / spread, with the centre and the standard deviations of the
generator's initial codes, so that one set of constants serves all generators.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from xdream import random
from xdream.optimizers.base import State, limited, usable
from xdream.optimizers.ranks import by_rank, log_weights, number_seen
from xdream.types import Codes, Scores, Seeds

#: Draws of a neuron that stays silent become wider: by so much of the spread each generation, to so much.
WIDER, WIDEST = 0.05, 2.0


@dataclass(frozen=True)
class ExploringState(State):
    """centre, spread: (runs, d) float32, of the generator's initial codes. awake: (runs,) bool, whether
    scores have differed; a search whose centre moves has its own from then on."""

    centre: torch.Tensor
    spread: torch.Tensor
    awake: torch.Tensor


@dataclass(frozen=True)
class StartedState(ExploringState):
    """mean: (runs, d) float64, of z; zero before the scores differ."""

    mean: torch.Tensor


E = TypeVar("E", bound=ExploringState)


def explores(seeds: Seeds, initial: Codes) -> dict[str, torch.Tensor]:
    """Of a first `ExploringState`. initial: (runs, 2, d), centre and spread; or (runs, 3, d), with a code at
    which the search begins at once, unless that is the centre."""
    centre, first = initial[:, 0], initial[:, 2 if initial.shape[1] > 2 else 0]
    return {
        "seeds": seeds,
        "steps": torch.zeros_like(seeds),
        "centre": limited(first),
        "spread": limited(initial[:, 1]),
        "awake": (first != centre).any(-1),
    }


def fields(seeds: Seeds, initial: Codes) -> dict[str, torch.Tensor]:
    """Of a first `StartedState`, whose centre stays. initial: as of `explores`."""
    found = explores(seeds, initial)
    centre = limited(initial[:, 0])
    z = (found["centre"].to(torch.float64) - centre) / found["spread"]
    return {**found, "centre": centre, "mean": z}


def codes(state: ExploringState, z: torch.Tensor) -> Codes:
    """z: (runs, n, d) -> codes."""
    return limited(state.centre[:, None].to(torch.float64) + state.spread[:, None].to(torch.float64) * z)


def exploring(state: ExploringState, n: int) -> torch.Tensor:
    """(runs, n, d) float64: z of the draws of a neuron that is silent so far; asking twice gives the same."""
    width = (1.0 + WIDER * state.steps.to(torch.float64)).clamp_max(WIDEST)
    drawn = random.normal(state.seeds, state.steps, "safe start", (n, state.centre.shape[-1]))
    return width[:, None, None] * drawn.to(torch.float64)


def sampled(state: ExploringState, followed: torch.Tensor, drawn: Callable[[], torch.Tensor]) -> torch.Tensor:
    """(runs, n, d): what follows the scores of runs that are awake; of others draws, made only for them."""
    if bool(state.awake.all()):
        return followed
    return torch.where(state.awake[:, None, None], followed, drawn())


def wakes(scores: Scores) -> torch.Tensor:
    """(runs,) whether scores differ."""
    scores = usable(scores)
    seen = ~torch.isnan(scores)
    greatest = torch.where(seen, scores, -torch.inf).amax(-1)
    least = torch.where(seen, scores, torch.inf).amin(-1)
    return greatest > least


def first_mean(z: torch.Tensor, scores: Scores) -> torch.Tensor:
    """(runs, d) float64: the mean of z weighted by rank, with a root mean square of 1.

    Of a neuron that answers to a few codes only, the silent others share the least weight and have none.
    """
    weights = by_rank(scores, log_weights(number_seen(scores), scores.shape[-1]))
    seen = ~torch.isnan(usable(scores))
    least = torch.where(seen, weights, torch.inf).amin(-1, keepdim=True)
    mean = (torch.where(seen, weights - least, 0.0)[:, None, :] @ z)[:, 0]
    length = mean.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    found: torch.Tensor = mean * (math.sqrt(z.shape[-1]) / length)
    return found


# ------------------------------------------------------------------ searches whose centre is a code


def asked(state: ExploringState, followed: Codes) -> Codes:
    """(runs, n, d): what a search asks around its centre; of runs that are not awake draws."""
    return sampled(state, followed, lambda: codes(state, exploring(state, followed.shape[1])))


def told(state: E, moved: E, scores: Scores) -> E:
    """`moved` of the runs that were awake; others stay, or begin at their first mean when scores differ."""
    begun = wakes(scores) & ~state.awake
    first = moved.centre
    if bool(begun.any()):
        first = codes(state, first_mean(exploring(state, scores.shape[-1]), scores)[:, None])[:, 0]
    kept = {
        f.name: torch.where(_beside(state.awake, before), getattr(moved, f.name), before)
        for f in dataclasses.fields(state)
        if f.name not in ("seeds", "steps", "awake")
        for before in [getattr(state, f.name)]
    }
    kept["centre"] = torch.where(begun[:, None], first, kept["centre"])
    return dataclasses.replace(moved, **kept, awake=state.awake | begun)


def _beside(runs: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """(runs,) with as many axes as a field."""
    return runs.reshape(-1, *(1,) * (field.ndim - 1))
