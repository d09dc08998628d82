"""The runs that have not ended, and the position of each of their images in a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xdream import random
from xdream.experiment.run_groups import RunGroup
from xdream.experiment.runs import Parts, Run
from xdream.optimizers import State, Varying, populations
from xdream.types import Codes


@dataclass(frozen=True)
class Stream:
    """The images of one generator for one subject in the order in which they are shown: run by run, slot by
    slot.

    places: (run, slot) of each. at: (n,) int64, where each is among all images of the generation. units:
    (n,) int64, the unit of the subject that answers for it.
    """

    subject: int
    generator: int
    runs: tuple[Run, ...]
    places: tuple[tuple[int, int], ...]
    at: torch.Tensor
    units: torch.Tensor

    @property
    def key(self) -> tuple[int, int]:
        """(subject, generator): which stream it is."""
        return self.subject, self.generator


@dataclass(frozen=True, eq=False)
class BatchLayout:
    """The images of a generation: group by group, run by run, slot by slot.

    A run whose population varies has room for the largest; what it does not ask for stands in no stream.
    slices: of each group. streams: of each subject and generator that have runs. spikes: (n,) float64, the
    noise scale of each image's run, NaN without noise. populations: of each run, by its id.
    """

    groups: tuple[RunGroup, ...]
    slices: tuple[slice, ...]
    streams: tuple[Stream, ...]
    spikes: torch.Tensor
    populations: Mapping[int, int]

    @property
    def size(self) -> int:
        """Room for images in a generation."""
        return len(self.spikes)

    @property
    def varies(self) -> bool:
        """Whether the population of any run may change."""
        return any(isinstance(g.optimizer, Varying) for g in self.groups)

    def codes(self, asked: Sequence[Codes]) -> dict[int, Codes]:
        """(population, d) codes of each run, by its id, from what each group's optimizer asks, (runs,
        population, d)."""
        return {
            r.id: own
            for g, of_group in zip(self.groups, asked, strict=True)
            for r, own in zip(g.runs, of_group, strict=True)
        }

    def codes_of(self, stream: Stream, codes: Mapping[int, Codes]) -> Codes:
        """(n, d) of the images of a stream, in its order, from the codes by run."""
        return torch.cat([codes[r.id][: self.populations[r.id]] for r in stream.runs])

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, group by group."""
        return tuple(r for g in self.groups for r in g.runs)


def populations_of(states: Mapping[RunGroup, State]) -> dict[int, int]:
    """How many images of each run are shown in the generation that follows these states."""
    return {
        r.id: n
        for g, state in states.items()
        for r, n in zip(g.runs, populations(g.optimizer, state), strict=True)
    }


def batch_layout(
    groups: Sequence[RunGroup], spikes: Mapping[int, float | None], sizes: Mapping[int, int]
) -> BatchLayout:
    """The layout of a generation's images.

    spikes: the noise scale of each run that has noise. sizes: the population of each run.
    """
    slices: list[slice] = []
    first_of: dict[int, int] = {}
    start = 0
    for g in groups:
        for row, r in enumerate(g.runs):
            first_of[r.id] = start + row * r.population
        slices.append(slice(start, start + len(g.runs) * g.optimizer.population))
        start = slices[-1].stop
    together: dict[tuple[int, int], list[Run]] = {}
    for r in sorted((r for g in groups for r in g.runs), key=lambda r: r.id):
        together.setdefault((r.subject, r.generator), []).append(r)
    streams = [
        Stream(
            subject,
            generator,
            tuple(runs),
            tuple((r.id, slot) for r in runs for slot in range(sizes[r.id])),
            torch.cat([torch.arange(first_of[r.id], first_of[r.id] + sizes[r.id]) for r in runs]),
            torch.cat([torch.full((sizes[r.id],), r.unit) for r in runs]),
        )
        for (subject, generator), runs in sorted(together.items())
    ]
    scales = [spikes.get(r.id) for g in groups for r in g.runs for _ in range(r.population)]
    each = torch.tensor([torch.nan if scale is None else scale for scale in scales], dtype=torch.float64)
    return BatchLayout(tuple(groups), tuple(slices), tuple(streams), each, dict(sizes))


def interleaved(parts: Parts, generation: int) -> list[int]:
    """The references of one generation: a shuffled round through all of them, drawn from the plan's seed."""
    count = parts.plan.references_per_generation
    if not count or parts.references is None:
        return []
    total = len(parts.references)
    seed = torch.tensor([parts.plan.seed])
    places = range(generation * count, (generation + 1) * count)
    return [
        int(random.permutation(seed, torch.tensor([place // total]), "references", total)[0, place % total])
        for place in places
    ]
