"""What benches/optimizers.py is made of: neurons, noise, optimizers of ours and of other packages, the loop.

The loop is that of an experiment without its record: codes, images as they are shown, responses, scores.
All runs of an experiment go side by side. Each run's draws are its own: of its unit and seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from xdream.experiment import engine_choice
from xdream.experiment.assemble import assemble
from xdream.experiment.defaults import hyperparameters
from xdream.experiment.plan import Plan
from xdream.generators import spread_of
from xdream.generators.region import bounded
from xdream.images import references
from xdream.optimizers import OPTIMIZERS, Recommending, Varying, padded

#: Images that go through generator and network together.
BATCH = 40
SIZE_PX = 224


# ------------------------------------------------------------------ noise


@dataclass(frozen=True)
class Noise:
    """How a neuron varies. spikes: Poisson, so many at the best reference; None: without noise.

    gain_variance: of a gain around 1 that each presentation has (Goris et al. 2014). missing: the share of
    presentations without an answer.
    """

    spikes: float | None = None
    gain_variance: float = 0.0
    missing: float = 0.0

    def observed(self, clean: np.ndarray, best: float, draws: np.random.Generator) -> np.ndarray:
        """(n,) what is recorded of (n,) noise-free responses; NaN: nothing. best: to the references."""
        seen = clean.copy()
        if self.spikes is not None:
            mean = np.maximum(clean, 0.0) * self.spikes / best
            if self.gain_variance:
                mean = mean * draws.gamma(1.0 / self.gain_variance, self.gain_variance, len(mean))
            seen = draws.poisson(mean) * best / self.spikes
        seen[draws.random(len(seen)) < self.missing] = np.nan
        return seen


NOISES = {
    "none": Noise(),
    "20 spikes": Noise(spikes=20.0),
    "5 spikes": Noise(spikes=5.0),
    "overdispersed": Noise(spikes=20.0, gain_variance=0.25),
    "10 % missing": Noise(spikes=20.0, missing=0.1),
}


# ------------------------------------------------------------------ neurons


class Neurons(Protocol):
    """What is searched: n neurons of one space of codes.

    space: the generator's name. names: (layer, unit) of each. best: (n,) response to the best reference.
    centre, spread: (d,) of the initial codes.
    """

    space: str
    names: Sequence[tuple[str, int]]
    best: np.ndarray
    centre: torch.Tensor
    spread: torch.Tensor

    def respond(self, codes: torch.Tensor, which: np.ndarray, *, exact: bool = False) -> np.ndarray:
        """(n,) float64 without noise, of (n, d) codes shown to these neurons. exact: in float32."""
        ...

    def within(self, region: Mapping[str, Any], codes: torch.Tensor) -> torch.Tensor:
        """(n, d) codes as they are drawn in a region of the generator."""
        ...

    def first(self, runs: Sequence[int], n: int) -> torch.Tensor:
        """(runs, n, d) the initial codes of runs with these seeds."""
        ...

    def images(self, codes: torch.Tensor) -> np.ndarray | None:
        """(n, h, w, 3) uint8, as they are shown; None where there are none."""
        ...


class Units:
    """Units of a network behind a generator, computed by the engine that is given, in bfloat16."""

    def __init__(
        self,
        network: str,
        units: Sequence[tuple[str, int]],
        generator: str,
        photographs: str,
        engine: str | None,
    ) -> None:
        self.space, self.names = generator, list(units)
        plan = Plan.make(
            targets=[f"{network}:{layer}:{unit}" for layer, unit in units],
            generator={"name": generator, "codes": "free"},
            optimizer={"name": "genetic"},
            presentations=100,
            image_size_px=SIZE_PX,
            references=photographs,
            precision="bfloat16" if engine != "torch" else "float32",
            batch=BATCH,
            **({"engine": engine} if engine else {}),
        )
        parts = assemble(plan)
        self._forward, self.generator = parts.forward, parts.generator
        if parts.plan.engine != engine_choice.TORCH:
            engine_choice.place(parts.forward, parts.plan.engine, BATCH)
        self._exact = parts.forward.in_float32()
        self._subjects = np.array([r.subject for r in parts.runs])
        self._units = torch.tensor([r.unit for r in parts.runs])
        self.centre = parts.generator.centre
        self.spread = spread_of(parts.generator.initial, self.centre).expand_as(self.centre)
        self.best = self._best_of(photographs)

    def _best_of(self, photographs: str) -> np.ndarray:
        images = references.load(photographs)
        best = np.full(len(self.names), -np.inf)
        for start in range(0, len(images), BATCH):
            shown = images.images(range(start, min(start + BATCH, len(images))), SIZE_PX)
            answers = self._exact.respond_all(shown)
            each = [answers[s][:, u].max() for s, u in zip(self._subjects, self._units, strict=True)]
            best = np.maximum(best, np.array([float(one) for one in each]))
        return best

    def respond(self, codes: torch.Tensor, which: np.ndarray, *, exact: bool = False) -> np.ndarray:
        forward = self._exact if exact else self._forward
        found = np.empty(len(codes))
        for subject in np.unique(self._subjects[which]):
            (rows,) = np.nonzero(self._subjects[which] == subject)
            for start in range(0, len(rows), BATCH):
                some = rows[start : start + BATCH]
                answers = forward.respond(int(subject), forward.draw(codes[some]))
                found[some] = answers.gather(1, self._units[which[some]][:, None])[:, 0].numpy()
        return found

    def within(self, region: Mapping[str, Any], codes: torch.Tensor) -> torch.Tensor:
        if region["codes"] == "free":
            return codes
        return bounded(self.generator, region["codes"], region["radius"]).brought(codes)

    def first(self, runs: Sequence[int], n: int) -> torch.Tensor:
        return self.generator.initial.draw(torch.tensor(runs), n)

    def images(self, codes: torch.Tensor) -> np.ndarray | None:
        return self._exact.draw(codes).permute(0, 2, 3, 1).numpy()


class Tuned:
    """Neurons that are Gaussian-tuned in the space of codes: exp(−|z − p|² / (2 w² d)).

    With d numbers of unit spread. The preferred codes p are drawn from N(0, 1); w = 0.7, so that a code of
    the generator gives e^−2 on average. "energy" neurons: |(a·z, b·z)|² / d of two directions in the ball.
    """

    WIDTH = 0.7

    def __init__(self, d: int, units: Sequence[tuple[str, int]]) -> None:
        self.space, self.names = f"code-{d}", list(units)
        self.centre, self.spread = torch.zeros(d), torch.ones(d)
        self._preferred = np.stack(
            [np.random.default_rng([unit, d]).standard_normal((2, d)) for _, unit in units]
        )
        self._energy = np.array([layer == "energy" for layer, _ in units])
        z = np.random.default_rng(0).standard_normal((300, d))
        self.best = np.array([self._of(z, i).max() for i in range(len(units))])

    def _of(self, z: np.ndarray, i: int) -> np.ndarray:
        p, d = self._preferred[i], z.shape[-1]
        if self._energy[i]:
            inside = z / np.maximum(np.sqrt((z**2).mean(-1, keepdims=True)), 1.0)
            return ((inside @ p.T) ** 2).sum(-1) / d
        return np.exp(-((z - p[0]) ** 2).mean(-1) / (2.0 * self.WIDTH**2))

    def respond(self, codes: torch.Tensor, which: np.ndarray, *, exact: bool = False) -> np.ndarray:
        z = codes.double().numpy()
        found = np.empty(len(z))
        for i in np.unique(which):
            found[which == i] = self._of(z[which == i], int(i))
        return found

    def within(self, region: Mapping[str, Any], codes: torch.Tensor) -> torch.Tensor:
        if region["codes"] == "free":
            return codes
        rms = codes.square().mean(-1, keepdim=True).sqrt()
        return codes * (region["radius"] / rms).clamp_max(1.0)

    def first(self, runs: Sequence[int], n: int) -> torch.Tensor:
        draws = [torch.Generator().manual_seed(seed) for seed in runs]
        return torch.stack([torch.randn(n, len(self.centre), generator=one) for one in draws])

    def images(self, codes: torch.Tensor) -> np.ndarray | None:
        return None


# ------------------------------------------------------------------ optimizers


class Search(Protocol):
    """An optimizer of n runs side by side."""

    def begin(self, neurons: Neurons, seeds: Sequence[int], presentations: int, *, noisy: bool) -> None:
        """seeds: of each run, which is one neuron."""
        ...

    def ask(self) -> tuple[torch.Tensor, np.ndarray]:
        """(k, d) codes and (k,) the runs that show them."""
        ...

    def tell(self, scores: np.ndarray) -> None:
        """(k,) scores, NaN where there is none."""
        ...

    def recommended(self) -> torch.Tensor:
        """(runs, d) the code that it holds for the best."""
        ...


@dataclass
class Ours:
    """An optimizer of this package, with its defaults for the generator and the noise.

    scheduled: one whose `generations` are the budget's.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    scheduled: bool = False

    def begin(self, neurons: Neurons, seeds: Sequence[int], presentations: int, *, noisy: bool) -> None:
        options = {**hyperparameters(neurons.space, self.name, noisy=noisy), **self.options}
        if self.scheduled:
            population = OPTIMIZERS.make(self.name, **options).population
            options["generations"] = max(2, presentations // population)
        self._optimizer = made = OPTIMIZERS.make(self.name, **options)
        if made.starts_from == "population":
            initial = neurons.first(seeds, made.population)
        else:
            rows = [neurons.centre] + [neurons.spread] * (made.starts_from == "spread")
            initial = torch.stack(rows).expand(len(seeds), -1, -1)
        self._state = made.start(torch.tensor(seeds), initial)
        self._scores: list[torch.Tensor] = []

    def ask(self) -> tuple[torch.Tensor, np.ndarray]:
        codes = self._optimizer.ask(self._state)
        if isinstance(self._optimizer, Varying):
            self._counts = self._optimizer.populations(self._state).tolist()
        else:
            self._counts = [codes.shape[1]] * len(codes)
        self._codes = codes
        together = torch.cat([own[:n] for own, n in zip(codes, self._counts, strict=True)])
        return together, np.repeat(np.arange(len(codes)), self._counts)

    def tell(self, scores: np.ndarray) -> None:
        each = np.split(scores, np.cumsum(self._counts)[:-1])
        self._scored = self._codes  # those of the next generation are asked before the search ends
        self._scores = [padded(own, self._optimizer.population) for own in each]
        self._state = self._optimizer.tell(self._state, torch.stack(self._scores))

    def recommended(self) -> torch.Tensor:
        if isinstance(self._optimizer, Recommending):
            return self._optimizer.recommended(self._state)
        best = [int(own.nan_to_num(nan=-torch.inf).argmax()) for own in self._scores]
        return torch.stack([own[slot] for own, slot in zip(self._scored, best, strict=True)])


@dataclass
class Theirs:
    """One optimizer of another package for each run, in z. make(d, seed, presentations) -> a `Peer`.

    It starts at the centre, as its users start it, with the spread as its first step where it has one.
    """

    make: Callable[[int, int, int], Any]

    def begin(self, neurons: Neurons, seeds: Sequence[int], presentations: int, *, noisy: bool) -> None:
        self._neurons = neurons
        self._each = [self.make(len(neurons.centre), seed + 1, presentations) for seed in seeds]

    def ask(self) -> tuple[torch.Tensor, np.ndarray]:
        asked = [one.ask() for one in self._each]
        self._counts = [len(one) for one in asked]
        z = torch.from_numpy(np.concatenate(asked)).float()
        return self._codes(z), np.repeat(np.arange(len(asked)), self._counts)

    def tell(self, scores: np.ndarray) -> None:
        for one, own in zip(self._each, np.split(scores, np.cumsum(self._counts)[:-1]), strict=True):
            # None of these packages knows a score that is missing: it is the worst of its generation.
            one.tell(np.where(np.isnan(own), np.nanmin(own) if not np.isnan(own).all() else 0.0, own))

    def recommended(self) -> torch.Tensor:
        return self._codes(torch.from_numpy(np.stack([one.recommended() for one in self._each])).float())

    def _codes(self, z: torch.Tensor) -> torch.Tensor:
        return self._neurons.centre + self._neurons.spread * z


# ------------------------------------------------------------------ the loop

#: Presentations between two points of a curve.
MARK = 100


def searched(
    neurons: Neurons,
    search: Search,
    region: Mapping[str, Any],
    noise: Noise,
    seed: int,
    presentations: int,
) -> tuple[list[dict[str, Any]], np.ndarray | None]:
    """One run for each neuron; what is found of each, as columns of the table, and the images of the
    recommended codes."""
    seeds = [seed * 1_000_003 + unit for _, unit in neurons.names]
    draws = [np.random.default_rng([one, 17]) for one in seeds]
    runs = len(neurons.names)
    search.begin(neurons, seeds, presentations, noisy=noise != Noise())
    shown = np.zeros(runs, dtype=int)
    curves: list[list[float]] = [[] for _ in range(runs)]
    areas: list[list[tuple[int, float]]] = [[] for _ in range(runs)]
    firsts = np.full(runs, np.nan)
    last: list[np.ndarray] = [np.empty(0)] * runs
    thinking = 0.0
    generations = 0
    while True:
        began = time.perf_counter()
        codes, which = search.ask()
        thinking += time.perf_counter() - began
        if shown.max() + np.bincount(which, minlength=runs).max() > presentations:
            break
        clean = neurons.respond(neurons.within(region, codes), which)
        scores = np.empty(len(clean))
        for i in range(runs):
            own = which == i
            last[i] = clean[own]
            scores[own] = noise.observed(clean[own], neurons.best[i], draws[i])
            shown[i] += own.sum()
            areas[i].append((int(own.sum()), float(last[i].mean())))
            if np.isnan(firsts[i]):
                firsts[i] = last[i].max()
            while len(curves[i]) < shown[i] // MARK:
                curves[i].append(float(last[i].mean()))
        began = time.perf_counter()
        search.tell(scores)
        thinking += time.perf_counter() - began
        generations += 1
    drawn = neurons.within(region, search.recommended())
    found = neurons.respond(drawn, np.arange(runs), exact=True)
    rms = (((drawn - neurons.centre) / neurons.spread).square().mean(-1).sqrt()).tolist()
    images = neurons.images(drawn)
    rows = [
        {
            "layer": layer,
            "unit": unit,
            "recommended": float(found[i]),
            "best_last": float(last[i].max()),
            "mean_last": float(last[i].mean()),
            "first": float(firsts[i]),
            "area": sum(n * mean for n, mean in areas[i]) / sum(n for n, _ in areas[i]),
            "best_reference": float(neurons.best[i]),
            "rms": rms[i],
            "saturated": np.nan if images is None else saturated(images[i]),
            "dead": bool(max(curves[i], default=0.0) <= 1e-3 * abs(neurons.best[i])),
            "ms": 1e3 * thinking / generations / runs,
            "curve": ";".join(f"{one:.5g}" for one in curves[i]),
        }
        for i, (layer, unit) in enumerate(neurons.names)
    ]
    return rows, images


def saturated(image: np.ndarray) -> float:
    """The share of values below 2 % or above 98 %."""
    return float(((image <= 5) | (image >= 250)).mean())
