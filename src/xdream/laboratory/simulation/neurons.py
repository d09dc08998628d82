"""Neurons as a rig sees them: units of a network with spikes, baseline, latency, drift, adaptation and loss.

Every draw is a function of (seed, block, image id, repeat): offered again after a kill, a block has the same
recordings, so that a session that was killed can be compared with one that was not. Drift depends on the
block's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from xdream import random
from xdream.description import Description
from xdream.errors import BadInput
from xdream.scoring.recordings import Recorded, Spikes, Values
from xdream.subjects import Subject
from xdream.types import ShownImages

#: No neuron is faster, whatever a network's unit does.
MOST_HZ = 10_000.0
#: Images that set the gain.
CALIBRATION = 16


class NeuronsPlan(Description):
    """How units become neurons.

    rate_hz: above the baseline, of the best of a few random images. baseline_hz: without an image.
    latency_ms, window_ms: when the response begins and how long it lasts. drift: share by which the gain
    falls from block to block. baseline_drift: share by which the baseline rises. adaptation: share by which
    the response falls with each repeat. lost: channels, from the block on in which they fall silent.
    records: counts in the response's window (with those of an equal baseline), or spike times from
    start_ms to stop_ms.
    """

    kind: ClassVar[str] = "neurons"

    rate_hz: float = Field(default=100.0, gt=0)
    baseline_hz: float = Field(default=5.0, ge=0)
    latency_ms: float = Field(default=70.0, ge=0)
    window_ms: float = Field(default=100.0, gt=0)
    drift: float = Field(default=0.0, ge=-1, le=1)
    baseline_drift: float = Field(default=0.0, ge=-1, le=1)
    adaptation: float = Field(default=0.0, ge=0, le=1)
    lost: dict[int, int] = Field(default={})
    records: Literal["counts", "spikes"] = "counts"
    start_ms: float = -100.0
    stop_ms: float = 400.0
    seed: int = Field(default=0, ge=0, lt=2**63)


class SimulatedNeurons:
    """The units of a subject as the channels of a recording. channels: how many the session has."""

    def __init__(self, subject: Subject, plan: NeuronsPlan, channels: int, size_px: int) -> None:
        """Raises BadInput when the subject has another number of units, or none responds to anything."""
        if len(subject.units) != channels:
            raise BadInput(
                f"the session has {channels} channels, but {len(subject.units)} units of {subject.name} are "
                "named; name as many"
            )
        self._subject, self._plan = subject, plan
        seeds = torch.tensor([plan.seed])
        noise = random.uniform(seeds, torch.tensor([0]), "calibration", (CALIBRATION, 3, 4, 4))[0]
        images = torch.nn.functional.interpolate(noise, (size_px, size_px), mode="bilinear")
        best = subject.respond((images * 255.0).round().to(torch.uint8)).abs().amax(0)
        self._gain = plan.rate_hz / best.clamp_min(1e-9)

    def record(self, block: int, presentations: Sequence[tuple[str, int, ShownImages]]) -> list[Recorded]:
        """What is recorded of (image id, repeat, pixels (3, h, w)), in order."""
        if not presentations:
            return []
        plan = self._plan
        clean = self._subject.respond(torch.stack([pixels for _, _, pixels in presentations]))
        repeats = torch.tensor([repeat for _, repeat, _ in presentations], dtype=torch.float64)[:, None]
        gain = self._gain * max(0.0, 1.0 - plan.drift * block)
        missing = ~torch.isfinite(clean)
        above = (
            torch.where(missing, 0.0, clean * gain).clamp(0.0, MOST_HZ) * (1.0 - plan.adaptation) ** repeats
        )
        base = torch.full_like(above, plan.baseline_hz * max(0.0, 1.0 + plan.baseline_drift * block))
        for channel, since in plan.lost.items():
            if block >= since:
                above[:, channel] = base[:, channel] = 0.0
        seconds = plan.window_ms / 1000.0
        if plan.records == "counts":
            during = self._counts(presentations, f"during {block}", (above + base) * seconds)
            during[missing] = torch.nan
            before = self._counts(presentations, f"before {block}", base * seconds)
            return [Values(d.numpy(), b.numpy()) for d, b in zip(during, before, strict=True)]
        whole = (plan.stop_ms - plan.start_ms) / 1000.0
        evoked = self._counts(presentations, f"during {block}", above * seconds)
        ongoing = self._counts(presentations, f"before {block}", base * whole)
        return [
            self._spikes(f"times {block} {names[0]} {names[1]}", e, o)
            for names, e, o in zip(presentations, evoked, ongoing, strict=True)
        ]

    def _counts(
        self, presentations: Sequence[tuple[str, int, ShownImages]], purpose: str, rates: torch.Tensor
    ) -> torch.Tensor:
        names = [f"{purpose} {image} {repeat}" for image, repeat, _ in presentations]
        seeds = torch.full((len(names),), self._plan.seed)
        draws = random.uniform64(seeds, torch.zeros_like(seeds), names, (rates.shape[1],))
        return random.poisson(draws, rates)

    def _spikes(self, purpose: str, evoked: torch.Tensor, ongoing: torch.Tensor) -> Spikes:
        plan = self._plan
        channels = len(evoked)
        which = torch.cat([torch.arange(channels).repeat_interleave(n.long()) for n in (evoked, ongoing)])
        seed, zero = torch.tensor([plan.seed]), torch.tensor([0])
        draws = random.uniform64(seed, zero, [purpose], (len(which),))[0]
        of_evoked = int(evoked.sum())
        times = plan.start_ms + draws * (plan.stop_ms - plan.start_ms)
        times[:of_evoked] = plan.latency_ms + draws[:of_evoked] * plan.window_ms
        order = np.lexsort((times.numpy(), which.numpy()))
        return Spikes(times.numpy()[order], which.numpy()[order], channels, plan.start_ms, plan.stop_ms)
