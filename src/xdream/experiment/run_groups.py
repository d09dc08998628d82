"""Runs of one algorithm, whose optimizer is computed at once; their states in and out of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch

from xdream.experiment.runs import Run
from xdream.optimizers import Optimizer, State, group_key, grouped, joined, restored, rows, saved


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs of one algorithm, population and generator, whose optimizer is computed at once."""

    optimizer: Optimizer[Any]
    runs: tuple[Run, ...]

    @property
    def generator(self) -> int:
        """Which of the parts' generators draws their images."""
        return self.runs[0].generator

    def without(self, state: State, ended: Collection[int]) -> tuple[RunGroup, State] | None:
        """What is left when some runs end, with its state; None when nothing is."""
        if not any(r.id in ended for r in self.runs):
            return self, state
        stay = [row for row, r in enumerate(self.runs) if r.id not in ended]
        if not stay:
            return None
        return _group([self.runs[row] for row in stay]), rows(state, stay)


def groups_of(runs: Sequence[Run]) -> list[RunGroup]:
    """Runs of the same algorithm, population and generator that can be computed at once, in order."""
    alike: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for one in runs:
        alike[one.generator, one.population, *group_key(one.optimizer, one.hyperparameters)].append(one)
    return [_group(members) for members in alike.values()]


def _group(runs: Sequence[Run]) -> RunGroup:
    return RunGroup(grouped(runs[0].optimizer, [r.hyperparameters for r in runs]), tuple(runs))


#: States of more bytes per run are not written after each generation, but every so many.
LARGE_STATE_BYTES, STATE_EVERY = 1 << 20, 20


def state_is_due(group: RunGroup, state: State, generation: int) -> bool:
    """Whether a state is written before a generation; those between follow from the scores."""
    bytes_in_all = sum(one.numel() * one.element_size() for one in saved(group.optimizer, state).values())
    return bytes_in_all <= LARGE_STATE_BYTES * len(group.runs) or generation % STATE_EVERY == 0


def saved_states(group: RunGroup, state: State) -> Iterator[tuple[Run, bytes]]:
    """Each run's own state as safetensors."""
    for number, r in enumerate(group.runs):
        tensors = saved(group.optimizer, rows(state, [number]))
        yield r, safetensors.torch.save({name: one.cpu().contiguous() for name, one in tensors.items()})


def loaded_state(optimizer: Optimizer[Any], written: Sequence[bytes], device: torch.device) -> State:
    """One state for several runs, from those of each."""
    states = [
        restored(
            optimizer,
            {name: tensor.to(device) for name, tensor in safetensors.torch.load(one).items()},
        )
        for one in written
    ]
    together: State = joined(states)
    return together
