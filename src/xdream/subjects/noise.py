"""Poisson noise on the response of a unit (Xiao & Kreiman 2020, "Methods: stochastic neurons")."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xdream import random


def poisson_responses(
    clean: torch.Tensor,
    places: Sequence[int],
    spikes_per_activation: float,
    repeats: int,
    seed: int,
    generation: int,
    target: str,
) -> torch.Tensor:
    """Noisy repeats of noise-free responses: Poisson(max(0, a k)) / k.

    clean: (n,) float64, a. places: where each image comes in the run's generation. spikes_per_activation:
    k > 0. -> (n, repeats) float64; NaN where `clean` is not finite. Drawn from the run's own stream by
    target, generation, place and repeat, so that the same presentation always has the same noise, and units
    that share a seed do not share their noise.
    """
    shape = (max(places, default=-1) + 1, repeats)
    seeds = torch.tensor([seed])
    uniforms = random.uniform64(seeds, torch.tensor([generation]), f"noise of {target}", shape)[
        0, list(places)
    ]
    rates = (clean * spikes_per_activation)[:, None].expand_as(uniforms)
    answered = torch.isfinite(rates)
    counts = random.poisson(uniforms, torch.where(answered, rates, 0.0).clamp_min(0.0))
    return torch.where(answered, counts / spikes_per_activation, torch.nan)
