"""Neurons for rehearsals: the units of a subject as a rig would record them. Nothing is remembered.

What a presentation's recording is depends on its block's number, image, repeat and pixels, and on nothing
else: not on what was shown before, nor on how often the block was offered. So a kill changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from xdream import random
from xdream.description import Frozen
from xdream.errors import BadInput, SubjectError
from xdream.recorded import Recorded, Spikes, Values
from xdream.subjects import Subject
from xdream.types import ShownImages

Array = npt.NDArray[np.float64]

#: Drift ends at a tenth and at ten times what it began with.
MOST_DRIFT = 10.0
#: No neuron fires faster, whatever it is shown.
MOST_HZ = 1000.0
#: Longest recording of one presentation.
MOST_MS = 10_000.0
#: Spike times that are drawn at a time.
TOGETHER = 1_000_000
#: One presentation: (image id, repeat, pixels (3, h, w) uint8).
Shown = tuple[str, int, ShownImages]


class NeuronsPlan(Frozen):
    """How the neurons are.

    rate_hz: what the best image adds to baseline_hz, from latency_ms after its onset. A negative activation
    adds nothing, and a rate ends at 1000 Hz. gain_drift, baseline_drift: by which share each grows from block
    to block (0.01: by 1 %; negative: it shrinks), to no more than ten times and no less than a tenth.
    adaptation: by which share the response to an image falls with each repeat (the repeat's number counts,
    wherever the others were shown).
    lost: (channel, block): the channel is silent from this block on. record: "values" (spikes counted in
    window_ms, and as baseline in as long a time before the image) or "spikes" (their times, within
    recorded_ms). together: images in one pass through a network; its last digit may depend on which are
    together, so only 1 makes recordings the same whatever else is asked for.
    """

    rate_hz: float = Field(default=50.0, ge=0, le=MOST_HZ)
    baseline_hz: float = Field(default=5.0, ge=0, le=MOST_HZ)
    latency_ms: float = Field(default=70.0, ge=0)
    gain_drift: float = Field(default=0.0, gt=-1, le=1)
    baseline_drift: float = Field(default=0.0, gt=-1, le=1)
    adaptation: float = Field(default=0.0, ge=0, le=1)
    lost: tuple[tuple[int, int], ...] = ()
    record: Literal["values", "spikes"] = "values"
    window_ms: tuple[float, float] = (70.0, 170.0)
    recorded_ms: tuple[float, float] = (-100.0, 250.0)
    together: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key in ("window_ms", "recorded_ms"):
            start, stop = getattr(self, key)
            if stop <= start:
                raise ValueError(f"{key} is {start:g} to {stop:g}; it must stop after it has begun")
            if stop - start > MOST_MS:
                raise ValueError(f"{key} is {start:g} to {stop:g}; at most {MOST_MS:g} ms are recorded")
        return self


def best_of(subject: Subject, images: ShownImages) -> Array:
    """(units,): the greatest response of each to some images, as what `rate_hz` stands for.

    Raises BadInput when a unit responds to none of them.
    """
    best: Array = subject.respond(images).to(torch.float64).cpu().numpy().max(axis=0)
    for unit, response in zip(subject.units, best.tolist(), strict=True):
        if not 0 < response < np.inf:
            raise BadInput(
                f"unit {subject.name}{unit} has a best response of {response:g} to {len(images)} images; a "
                "simulated neuron needs one above 0: give other images or another unit"
            )
    return best


class SimulatedNeurons:
    """A population of channels, one for each unit of a subject.

    best: (units,), the activation to which each adds `rate_hz` (see `best_of`). Raises BadInput.
    """

    def __init__(self, subject: Subject, best: Array, plan: NeuronsPlan | None = None) -> None:
        self.subject, self.plan = subject, plan or NeuronsPlan()
        self.channels = len(subject.units)
        self._best = np.asarray(best, dtype=np.float64)
        if self._best.shape != (self.channels,) or not bool((self._best > 0).all()):
            raise BadInput(f"best is {best!r}; give a number above 0 for each of {self.channels} units")
        self._lost = np.full(self.channels, np.inf)
        for channel, block in self.plan.lost:
            if not 0 <= channel < self.channels:
                raise BadInput(f"lost has channel {channel}; there are channels 0 to {self.channels - 1}")
            self._lost[channel] = min(self._lost[channel], block)

    def record(self, block: int, presentations: Sequence[Shown]) -> list[Recorded]:
        """What is recorded of each presentation. block: its number. Raises SubjectError."""
        if not presentations:
            return []
        added = self._added_hz(block, presentations)
        baseline = np.full(added.shape, self.plan.baseline_hz * _drifted(self.plan.baseline_drift, block))
        baseline, driven = (np.minimum(rates, MOST_HZ) for rates in (baseline, baseline + added))
        for rates in (baseline, driven):
            rates[:, block >= self._lost] = 0.0
        names = [f"{image} {repeat}" for image, repeat, _ in presentations]
        make = self._values if self.plan.record == "values" else self._spikes
        return make(block, names, baseline, driven)

    def _added_hz(self, block: int, presentations: Sequence[Shown]) -> Array:
        """(presentations, channels)."""
        # By pixels, not by name: whether a medium carries the right ones is part of a rehearsal.
        keys = [pixels.cpu().numpy().tobytes() for _, _, pixels in presentations]
        images = {key: pixels for key, (_, _, pixels) in zip(keys, presentations, strict=True)}
        distinct = list(images.values())
        size = self.plan.together
        parts = [
            self.subject.respond(torch.stack(distinct[i : i + size])) for i in range(0, len(distinct), size)
        ]
        rows = torch.cat(parts).to(torch.float64).cpu().numpy()
        if self.plan.record == "spikes" and not np.isfinite(rows).all():
            raise SubjectError(f"a response of {self.subject.name} is not a number; spikes cannot say so")
        place = {key: row for row, key in enumerate(images)}
        activations = rows[[place[key] for key in keys]]
        adapted = np.array([(1.0 - self.plan.adaptation) ** repeat for _, repeat, _ in presentations])
        gain = self.plan.rate_hz * _drifted(self.plan.gain_drift, block)
        added: Array = np.maximum(activations / self._best, 0.0) * adapted[:, None] * gain
        return added

    def _uniform(self, what: str, block: int, names: Sequence[str], shape: tuple[int, ...]) -> torch.Tensor:
        """(presentations, *shape). Whatever is longest comes first in `shape`: then more of it changes
        nothing of what is there."""
        seeds = torch.full((len(names),), self.plan.seed)
        steps = torch.full((len(names),), block)
        return random.uniform64(seeds, steps, [f"neurons {what} {name}" for name in names], shape)

    def _counts(self, what: str, block: int, names: Sequence[str], expected: Array) -> Array:
        """Poisson counts; NaN where the activation is."""
        known = ~np.isnan(expected)
        rates = torch.from_numpy(np.where(known, expected, 0.0))
        drawn = random.poisson(self._uniform(what, block, names, (self.channels,)), rates).numpy()
        return np.where(known, drawn, np.nan)

    def _values(self, block: int, names: Sequence[str], baseline: Array, driven: Array) -> list[Recorded]:
        start, stop = self.plan.window_ms
        latency = min(max(self.plan.latency_ms, start), stop)
        expected = (baseline * (latency - start) + driven * (stop - latency)) / 1000.0
        values = self._counts("count", block, names, expected)
        before = self._counts("baseline", block, names, baseline * (stop - start) / 1000.0)
        return [Values(*row) for row in zip(values, before, strict=True)]

    def _spikes(self, block: int, names: Sequence[str], baseline: Array, driven: Array) -> list[Recorded]:
        start, stop = self.plan.recorded_ms
        latency = min(max(self.plan.latency_ms, start), stop)
        before = self._times("before", block, names, baseline, (start, latency))
        after = self._times("after", block, names, driven, (latency, stop))
        recorded: list[Recorded] = []
        for (times, channels), (later, theirs) in zip(before, after, strict=True):
            every, whose = np.concatenate([times, later]), np.concatenate([channels, theirs])
            order = np.argsort(every, kind="stable")
            recorded.append(Spikes(every[order], whose[order], self.channels, start, stop))
        return recorded

    def _times(
        self, what: str, block: int, names: Sequence[str], rates_hz: Array, span: tuple[float, float]
    ) -> list[tuple[Array, npt.NDArray[np.int64]]]:
        """(times, channels) of each presentation: so many as are drawn, each anywhere in the span."""
        start, stop = span
        counts = self._counts(what, block, names, rates_hz * (stop - start) / 1000.0)
        most = int(counts.max())
        size = max(TOGETHER // max(most * self.channels, 1), 1)
        found = []
        for first in range(0, len(names), size):
            part = names[first : first + size]
            uniform = self._uniform(f"times {what}", block, part, (most, self.channels)).numpy()
            for drawn, count in zip(uniform, counts[first : first + size], strict=True):
                there = np.arange(most)[:, None] < count
                times = start + drawn[there] * (stop - start)
                # Rounding may reach the end, which is not included.
                found.append((np.minimum(times, np.nextafter(stop, start)), np.nonzero(there)[1]))
        return found


def _drifted(share: float, block: int) -> float:
    """(1 + share)^(block − 1), within a tenth and ten times."""
    logarithm = np.log1p(share) * (block - 1)
    return float(np.exp(np.clip(logarithm, -np.log(MOST_DRIFT), np.log(MOST_DRIFT))))
