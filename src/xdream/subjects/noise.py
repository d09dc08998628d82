"""Poisson noise on the response of a unit (Xiao & Kreiman 2020, "Methods: stochastic neurons")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

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


class NoisyRun(Protocol):
    """What the noise of a run depends on."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def population(self) -> int: ...  # noqa: D102


class GenerationNoise:
    """The noise of one generation: drawn at once for all of its images.

    groups: the runs in the order of the images; of one group all have the same population. spikes: (images,)
    float64, spikes per unit of activation of each image's run; NaN without noise. references: how many are
    interleaved in the generation; their noise is drawn after that of the population.
    """

    def __init__(
        self,
        groups: Iterable[Sequence[NoisyRun]],
        spikes: torch.Tensor,
        generation: int,
        references: int,
        repeats: int,
    ) -> None:
        self._repeats = repeats
        self._spikes = spikes
        self._images: torch.Tensor | None = None
        self._references: dict[int, torch.Tensor] = {}
        if bool(spikes.isnan().all()):
            return
        images = []
        for runs in groups:
            n = runs[0].population
            seeds = torch.tensor([r.seed for r in runs])
            draws = noise_draws(seeds, generation, [r.target for r in runs], (n + references, repeats))
            images.append(draws[:, :n].flatten(0, 1))
            self._references |= {r.id: draws[row, n:] for row, r in enumerate(runs)}
        self._images = torch.cat(images)

    def on_images(self, at: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """(n, repeats): what is observed of (n,) noise-free responses to the images with these numbers."""
        if self._images is None:
            return clean[:, None].expand(-1, self._repeats)
        return _observed(clean, self._images[at], self._spikes[at])

    def on_references(self, run: int, spikes: float | None, first: int, clean: torch.Tensor) -> torch.Tensor:
        """(n, repeats): the same of a run's responses to references, from the `first` on."""
        if not self._references:
            return clean[:, None].expand(-1, self._repeats)
        scale = torch.full((len(clean),), torch.nan if spikes is None else spikes, dtype=torch.float64)
        return _observed(clean, self._references[run][first : first + len(clean)], scale)


def _observed(clean: torch.Tensor, draws: torch.Tensor, spikes: torch.Tensor) -> torch.Tensor:
    silent = spikes.isnan()
    noisy = poisson_responses(clean, draws, torch.where(silent, 1.0, spikes))
    return torch.where(silent[:, None], clean[:, None], noisy)
