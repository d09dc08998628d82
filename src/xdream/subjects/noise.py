"""Poisson noise on the response of a unit (Xiao & Kreiman 2020, "Methods: stochastic neurons")."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xdream import random
from xdream.types import Seeds


def noise_draws(
    seeds: Seeds, generation: int, targets: Sequence[str], shape: tuple[int, int]
) -> torch.Tensor:
    """(runs, *shape) float64, uniform in [0, 1): the noise of (places, repeats) of a generation.

    Drawn from each run's own stream by target, generation, place and repeat, so that the same presentation
    always has the same noise, and units that share a seed do not share their noise.
    """
    steps = torch.full_like(seeds, generation)
    return random.uniform64(seeds, steps, [f"noise of {target}" for target in targets], shape)


def poisson_responses(
    clean: torch.Tensor, draws: torch.Tensor, spikes_per_activation: torch.Tensor
) -> torch.Tensor:
    """Noisy repeats of noise-free responses: Poisson(max(0, a k)) / k.

    clean: (n,) float64, a. draws: (n, repeats), see `noise_draws`. spikes_per_activation: (n,) or (), k > 0.
    -> (n, repeats) float64; NaN where `clean` is not finite.
    """
    scale = torch.as_tensor(spikes_per_activation, dtype=torch.float64).expand_as(clean)[:, None]
    rates = (clean[:, None] * scale).expand_as(draws)
    answered = torch.isfinite(rates)
    counts = random.poisson(draws, torch.where(answered, rates, 0.0).clamp_min(0.0))
    return torch.where(answered, counts / scale, torch.nan)
