"""Runs of one algorithm, whose optimizer is computed at once; their states in and out of the store."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch

from xdream.assemble import Run
from xdream.optimizers import Optimizer, State, grouped, joined, rows
from xdream.store import Store


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one algorithm and population, whose optimizer is computed at once."""

    optimizer: Optimizer[Any]
    runs: tuple[Run, ...]


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Runs of the same algorithm, population and budget together, in the order of the plan."""
    alike: dict[tuple[str, int, int], list[Run]] = defaultdict(list)
    for one in runs:
        alike[one.optimizer, one.population, one.generations].append(one)
    return [
        Group(grouped(members[0].optimizer, [r.hyperparameters for r in members]), tuple(members))
        for members in alike.values()
    ]


def saved_states(group: Group, state: State) -> Iterator[tuple[Run, bytes]]:
    """Each run's own state as safetensors."""
    for number, r in enumerate(group.runs):
        one = rows(state, [number])
        tensors = {f.name: getattr(one, f.name).cpu().contiguous() for f in dataclasses.fields(one)}
        yield r, safetensors.torch.save(tensors)


def loaded_state(group: Group, store: Store, device: torch.device) -> State:
    """The group's state, from those of its runs."""
    saved = dict(store.query("SELECT run, tensors FROM state"))
    states = [
        group.optimizer.state_type(
            **{name: tensor.to(device) for name, tensor in safetensors.torch.load(saved[r.id]).items()}
        )
        for r in group.runs
    ]
    together: State = joined(states)
    return together
