"""What every optimizer must do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import safetensors.torch
import torch

from xdream import random
from xdream.errors import BadInput
from xdream.optimizers import Optimizer, State, joined, populations, restored, rows, saved
from xdream.types import Codes, Scores

DIM = 6
#: Generations after which an optimizer must be nearer to an optimum that is known.
GENERATIONS = 60
SEEDS = (3, 2**62 + 5)
#: Where the optimum lies, in each component.
OPTIMUM = 2.0
NAN, INF = float("nan"), float("inf")


def check_optimizer(optimizer: Optimizer[Any], *, generations: int = GENERATIONS) -> None:
    """Ask an optimizer for codes and tell it scores. Raises AssertionError with a sentence.

    Codes are (runs, population, d) float32, finite, and the same when asked for twice; `tell` changes
    neither the state that it is given nor the scores. Where the population varies, the numbers that it says
    are in its range, and the codes beyond them are told as NaN. A state survives the store, and its runs
    can be taken apart and joined: a run goes the same way, bit for bit, alone or beside others. Other
    seeds, other codes. Scores may be NaN, some or all, or infinite, and codes stay finite. In `generations`
    it comes nearer to an optimum that is known.
    """
    assert optimizer.starts_from in ("population", "centre", "spread"), (
        f"its starts_from is {optimizer.starts_from!r}; it must be 'population', 'centre' or 'spread'"
    )
    assert isinstance(optimizer.population, int), f"its population is {optimizer.population!r}, no number"
    assert optimizer.population >= 1, f"its population is {optimizer.population}"
    state = _started(optimizer, SEEDS)
    _check_state(optimizer, state)
    _check_asking(optimizer, state)
    _check_seeds(optimizer)
    _check_alone(optimizer, state)
    _check_scores(optimizer, state)
    _check_improvement(optimizer, generations)


def _started(optimizer: Optimizer[Any], seeds: Sequence[int]) -> State:
    """From N(0, 1): the same codes for each run, so that only their seeds tell runs apart."""
    n = optimizer.population if optimizer.starts_from == "population" else 1
    first = random.normal(torch.tensor([0]), torch.tensor([0]), "initial codes", (n, DIM))
    if optimizer.starts_from == "spread":
        first = torch.cat((first, torch.ones_like(first)), dim=1)
    state: State = optimizer.start(torch.tensor(seeds), first.expand(len(seeds), -1, -1).clone())
    return state


def _asked(optimizer: Optimizer[Any], state: State) -> Codes:
    codes: Codes = optimizer.ask(state)
    wanted = (len(state.seeds), optimizer.population, DIM)
    assert tuple(codes.shape) == wanted, f"`ask` gave the shape {tuple(codes.shape)} instead of {wanted}"
    assert codes.dtype == torch.float32, f"`ask` gave {codes.dtype} instead of float32"
    assert bool(codes.isfinite().all()), "`ask` gave codes that are not finite"
    return codes


def _scores(codes: Codes) -> Scores:
    """(runs, n): minus the squared distance to the optimum."""
    return -((codes.to(torch.float64) - OPTIMUM) ** 2).sum(-1)


def _seen(optimizer: Optimizer[Any], state: State, scores: Scores) -> Scores:
    """The scores as an experiment tells them: NaN for codes that the population does not have this time."""
    try:
        sizes = populations(optimizer, state)
    except BadInput as error:
        raise AssertionError(str(error)) from error
    shown = torch.arange(optimizer.population) < torch.tensor(sizes)[:, None]
    return torch.where(shown, scores, torch.nan)


def _told(optimizer: Optimizer[Any], state: State, scores: Scores) -> State:
    told = _seen(optimizer, state, scores)
    given = told.clone()
    after: State = optimizer.tell(state, told)
    assert torch.equal(told.nan_to_num(), given.nan_to_num()), "`tell` changed the scores"
    assert type(after) is optimizer.state_type, f"`tell` gave a {type(after).__name__}, not its state_type"
    assert torch.equal(after.steps, state.steps + 1), "`tell` did not count its generation in `steps`"
    assert torch.equal(after.seeds, state.seeds), "`tell` changed the seeds"
    _asked(optimizer, after)
    return after


def _check_state(optimizer: Optimizer[Any], state: State) -> None:
    assert dataclasses.is_dataclass(state), "its state is no dataclass"
    assert type(state) is optimizer.state_type, f"`start` gave a {type(state).__name__}, not its state_type"
    for name, value in _fields(state).items():
        assert isinstance(value, torch.Tensor), f"the state's {name} is no tensor"
        assert len(value) == len(SEEDS), f"the first axis of the state's {name} is not the runs"
    loaded = _through_store(optimizer, state)
    assert _same(_fields(loaded), _fields(state)), "a state that was saved and loaded is another"
    assert torch.equal(_asked(optimizer, loaded), _asked(optimizer, state)), (
        "a state that was saved and loaded asks for other codes"
    )


def _check_asking(optimizer: Optimizer[Any], state: State) -> None:
    before = {name: value.clone() for name, value in _fields(state).items()}
    codes = _asked(optimizer, state)
    assert torch.equal(_asked(optimizer, state), codes), "asking twice gave other codes"
    scores = _scores(codes)
    first = _told(optimizer, state, scores)
    assert _same(_fields(state), before), "`ask` or `tell` changed the state that it was given"
    second = _told(optimizer, state, scores)
    assert _same(_fields(first), _fields(second)), "telling the same scores twice gave unlike states"


def _check_seeds(optimizer: Optimizer[Any]) -> None:
    state = _started(optimizer, SEEDS)
    for _ in range(2):
        state = _told(optimizer, state, _scores(_asked(optimizer, state)))
    one, other = _asked(optimizer, state)
    assert not torch.equal(one, other), "runs with other seeds ask for the same codes"


def _check_alone(optimizer: Optimizer[Any], state: State) -> None:
    alone = [rows(state, [run]) for run in range(len(SEEDS))]
    for _ in range(3):
        codes = _asked(optimizer, state)
        state = _through_store(optimizer, _told(optimizer, state, _scores(codes)))
        each = [_asked(optimizer, one) for one in alone]
        assert torch.equal(torch.cat(each), codes), "a run asks for other codes alone than beside others"
        told = zip(alone, each, strict=True)
        alone = [_told(optimizer, one, _scores(own)) for one, own in told]
    assert _same(_fields(joined(alone)), _fields(state)), "runs that are joined have another state"


def _check_scores(optimizer: Optimizer[Any], state: State) -> None:
    """What is missing or infinite goes in, and finite codes come out."""
    plain = _scores(_asked(optimizer, state))
    for value in (NAN, INF, -INF):
        for some in (slice(0, 1), slice(None)):
            scores = plain.clone()
            scores[:, some] = value
            after = _told(optimizer, state, scores)
            _told(optimizer, after, _scores(_asked(optimizer, after)))
    one_run = plain.clone()
    one_run[0] = NAN
    beside = _asked(optimizer, _told(optimizer, state, one_run))[1]
    assert torch.equal(beside, _asked(optimizer, _told(optimizer, state, plain))[1]), (
        "missing scores of one run changed another run"
    )
    _told(optimizer, state, torch.zeros_like(plain))
    _told(optimizer, state, plain * 1e300)


def _check_improvement(optimizer: Optimizer[Any], generations: int) -> None:
    state = _started(optimizer, SEEDS)
    first = _seen(optimizer, state, _scores(_asked(optimizer, state))).nanmean(1)
    for _ in range(generations):
        # Between 0 and 1, so that a learning rate for responses of that size does not run away.
        codes = _asked(optimizer, state)
        state = _told(optimizer, state, (_scores(codes) / (2.0 * DIM * OPTIMUM**2)).exp())
    last = _seen(optimizer, state, _scores(_asked(optimizer, state))).nanmean(1)
    assert bool((last > first).all()), (
        f"after {generations} generations it is no nearer to a known optimum: its mean scores went from "
        f"{first.tolist()} to {last.tolist()}"
    )


def _through_store(optimizer: Optimizer[Any], state: State) -> State:
    """As it comes back from a store, where what is `derived` is not written."""
    kept = {name: value.contiguous() for name, value in saved(optimizer, state).items()}
    return restored(optimizer, safetensors.torch.load(safetensors.torch.save(kept)))


def _fields(state: State) -> dict[str, torch.Tensor]:
    return {one.name: getattr(state, one.name) for one in dataclasses.fields(state)}


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    pairs = ((found[name], expected[name]) for name in expected)
    return all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in pairs)
