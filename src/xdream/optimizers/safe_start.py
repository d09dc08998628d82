"""Where a search starts that moves a centre: not before the responses differ.

A neuron that is silent at the centre of a generator's codes gives the same score to all codes there, and
nothing to follow. So codes are drawn from the generator's own distribution until scores differ; the first
mean is that of these codes weighted by rank, rescaled to the contrast of such codes.

Searches of this kind work in z = (code − centre) / spread, with the centre and the standard deviations of the
generator's initial codes, so that one set of constants serves all generators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from xdream import random
from xdream.optimizers.base import State, limited, usable
from xdream.optimizers.ranks import by_rank, log_weights, number_seen
from xdream.types import Codes, Scores, Seeds

#: Draws of a neuron that stays silent become wider: by so much of the spread each generation, to so much.
WIDER, WIDEST = 0.05, 2.0


@dataclass(frozen=True)
class StartedState(State):
    """centre, spread: (runs, d) float32, of the generator's initial codes. awake: (runs,) bool, whether
    scores have differed. mean: (runs, d) float64, of z; zero before that."""

    centre: torch.Tensor
    spread: torch.Tensor
    awake: torch.Tensor
    mean: torch.Tensor


def fields(seeds: Seeds, initial: Codes) -> dict[str, torch.Tensor]:
    """Of a first state. initial: (runs, 2, d), centre and spread."""
    centre, spread = limited(initial[:, 0]), limited(initial[:, 1])
    return {
        "seeds": seeds,
        "steps": torch.zeros_like(seeds),
        "centre": centre,
        "spread": spread,
        "awake": torch.zeros_like(seeds, dtype=torch.bool),
        "mean": torch.zeros_like(centre, dtype=torch.float64),
    }


def codes(state: StartedState, z: torch.Tensor) -> Codes:
    """z: (runs, n, d) -> codes."""
    return limited(state.centre[:, None].to(torch.float64) + state.spread[:, None].to(torch.float64) * z)


def exploring(state: StartedState, n: int) -> torch.Tensor:
    """(runs, n, d) float64: z of the draws of a neuron that is silent so far; asking twice gives the same."""
    width = (1.0 + WIDER * state.steps.to(torch.float64)).clamp_max(WIDEST)
    drawn = random.normal(state.seeds, state.steps, "safe start", (n, state.centre.shape[-1]))
    return width[:, None, None] * drawn.to(torch.float64)


def sampled(state: StartedState, followed: torch.Tensor, drawn: Callable[[], torch.Tensor]) -> torch.Tensor:
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
    """(runs, d) float64: the mean of z weighted by rank, with a root mean square of 1."""
    weights = by_rank(scores, log_weights(number_seen(scores), scores.shape[-1]))
    mean = (weights[:, None, :] @ z)[:, 0]
    length = mean.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    found: torch.Tensor = mean * (math.sqrt(z.shape[-1]) / length)
    return found
