"""Runs of one algorithm, whose optimizer is computed at once; their states in and out of the store."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch

from xdream.experiment.runs import Run
from xdream.optimizers import Optimizer, State, grouped, joined, rows


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one algorithm and population, whose optimizer is computed at once."""

    optimizer: Optimizer[Any]
    runs: tuple[Run, ...]

    def without(self, state: State, ended: Collection[int]) -> tuple[Group, State] | None:
        """What is left when some runs end, with its state; None when nothing is."""
        if not any(r.id in ended for r in self.runs):
            return self, state
        stay = [row for row, r in enumerate(self.runs) if r.id not in ended]
        if not stay:
            return None
        return _group([self.runs[row] for row in stay]), rows(state, stay)


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Runs of the same algorithm and population, with the same names of hyperparameters, in order."""
    alike: dict[tuple[str, int, frozenset[str]], list[Run]] = defaultdict(list)
    for one in runs:
        alike[one.optimizer, one.population, frozenset(one.hyperparameters)].append(one)
    return [_group(members) for members in alike.values()]


def _group(runs: Sequence[Run]) -> Group:
    return Group(grouped(runs[0].optimizer, [r.hyperparameters for r in runs]), tuple(runs))


def saved_states(group: Group, state: State) -> Iterator[tuple[Run, bytes]]:
    """Each run's own state as safetensors."""
    for number, r in enumerate(group.runs):
        one = rows(state, [number])
        tensors = {f.name: getattr(one, f.name).cpu().contiguous() for f in dataclasses.fields(one)}
        yield r, safetensors.torch.save(tensors)


def loaded_state(optimizer: Optimizer[Any], saved: Sequence[bytes], device: torch.device) -> State:
    """One state for several runs, from those of each."""
    states = [
        optimizer.state_type(
            **{name: tensor.to(device) for name, tensor in safetensors.torch.load(one).items()}
        )
        for one in saved
    ]
    together: State = joined(states)
    return together
