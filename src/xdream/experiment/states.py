"""The states of an experiment's optimizers: the first ones, and those of one that goes on."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from xdream.experiment.callbacks import Callback
from xdream.experiment.initialization import first_state, noise_scales, show_references
from xdream.experiment.run_groups import RunGroup, groups_of, loaded_state, saved_states
from xdream.experiment.runs import Parts
from xdream.optimizers import State, padded
from xdream.store import Store, queries
from xdream.types import Scores


def start_states(
    parts: Parts, store: Store, callback: Callback
) -> tuple[list[RunGroup], list[State], Mapping[int, float | None]]:
    """The first states, from the references' responses where they follow from them; committed."""
    groups = groups_of(parts.runs)
    responses = show_references(parts, store, callback)
    states = [first_state(parts, g, responses) for g in groups]
    spikes = noise_scales(parts, responses)
    store.write_start(
        spikes, {r.id: one for g, s in zip(groups, states, strict=True) for r, one in saved_states(g, s)}
    )
    return groups, states, spikes


def resume_states(
    parts: Parts, store: Store
) -> tuple[list[RunGroup], list[State], Mapping[int, float | None], int]:
    """The states of the runs that have not ended: the latest that is written, and what was told since."""
    ended = queries.ended_runs(store)
    groups = groups_of([r for r in parts.runs if r.id not in ended])
    told = queries.generations_told(store)
    latest = queries.latest_states(store)
    states = []
    for g in groups:
        [since] = {latest[r.id][0] for r in g.runs}
        state = loaded_state(g.optimizer, [latest[r.id][1] for r in g.runs], parts.forward.device)
        for generation in range(since, told):
            state = g.optimizer.tell(state, told_scores(store, g, generation).to(state.seeds.device))
        states.append(state)
    return groups, states, queries.noise_scales(store), told


def told_scores(store: Store, g: RunGroup, generation: int) -> Scores:
    """(runs, population) as a generation was told; NaN = not seen, or not asked for."""
    n = g.optimizer.population
    return torch.stack([padded(queries.told_scores(store, r.id, generation), n) for r in g.runs])
