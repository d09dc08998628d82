"""What an optimizer is: pure functions of an explicit state, over vectors, for many runs at once."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from xdream.errors import BadInput
from xdream.types import Codes, Scores, Seeds

#: Codes are kept within ±this, centres too: a score of 1e300 moves them far, never to inf or NaN.
CODE_LIMIT = 1e12
#: Scores are kept within ±this before arithmetic, so that their squares are finite.
SCORE_LIMIT = 1e100

#: The least search radius: its square and its float32 value keep their digits.
LEAST_RADIUS = 1e-6

#: A hyperparameter: one number for all runs of a group, or (runs,) of them.
PerRun = float | torch.Tensor


@dataclass(frozen=True)
class State:
    """Everything an optimizer remembers. All fields are tensors with the runs as their first axis.

    seeds: (runs,) int64. steps: (runs,) int64, generations told so far.
    """

    seeds: Seeds
    steps: torch.Tensor


S = TypeVar("S", bound=State)


class Optimizer(Protocol[S]):
    """A search algorithm. `population` codes are asked for and scored per generation.

    starts_from: "population" when `start` needs `population` initial codes, "centre" when it starts from
    their mean, "spread" when it is given rows: the centre and the standard deviation of each component of the
    initial codes, among which it finds its start itself (`safe_start`), and if there is a third, the code
    from which it starts. An optimizer may also be `Varying`, `PartlySaved` or `Recommending`.
    """

    @property
    def state_type(self) -> type[Any]:
        """What its states are."""
        ...

    @property
    def starts_from(self) -> str:
        """What `start` needs: "population", "centre" or "spread"."""
        ...

    @property
    def population(self) -> int:
        """Codes per generation, or the most of any (an odd number is rounded down where codes come in
        pairs)."""
        ...

    def start(self, seeds: Seeds, initial: Codes) -> S:
        """The first state. initial: (runs, k, d) float32."""
        ...

    def ask(self, state: S) -> Codes:
        """(runs, population, d) float32: the codes to score. Asking twice gives the same."""
        ...

    def tell(self, state: S, scores: Scores) -> S:
        """The next state, from (runs, population) scores; NaN = not seen."""
        ...


@runtime_checkable
class Varying(Protocol):
    """An optimizer that may ask for fewer codes than `population`: how many is a function of its state."""

    def populations(self, state: Any) -> torch.Tensor:
        """(runs,) int64, each from 1 to `population`: how many of the codes of `ask` are scored, the first
        ones. `tell` is given NaN for the others."""
        ...


@runtime_checkable
class PartlySaved(Protocol):
    """An optimizer with fields of its state that follow from the others and are not written to the store."""

    derived: ClassVar[frozenset[str]]

    def restored(self, saved: Mapping[str, torch.Tensor]) -> Any:
        """The state, from the fields that are not `derived`: bit for bit the one that was saved."""
        ...


@runtime_checkable
class Recommending(Protocol):
    """An optimizer that says which code it holds for the best, where that is none of those that it asked."""

    def recommended(self, state: Any) -> Codes:
        """(runs, d) float32."""
        ...


def populations(optimizer: Optimizer[Any], state: State) -> list[int]:
    """How many codes of each run are scored in the generation that follows a state.

    Raises BadInput for an optimizer that does not say 1 to `population` for each run: nothing would be spent
    of the budget, or the codes of another run would be shown.
    """
    most, runs = optimizer.population, len(state.seeds)
    if not isinstance(optimizer, Varying):
        return [most] * runs
    found: list[int] = optimizer.populations(state).tolist()
    if len(found) != runs or not all(isinstance(n, int) and 1 <= n <= most for n in found):
        raise BadInput(
            f"{type(optimizer).__name__}.populations gave {found} for {runs} runs; each must be a whole "
            f"number from 1 to {most}"
        )
    return found


def padded(scores: Sequence[float] | npt.NDArray[np.float64], population: int) -> torch.Tensor:
    """(population,) float64 scores: those that there are, then NaN."""
    row = torch.full((population,), torch.nan, dtype=torch.float64)
    row[: len(scores)] = torch.as_tensor(scores, dtype=torch.float64)
    return row


def saved(optimizer: Optimizer[Any], state: State) -> dict[str, torch.Tensor]:
    """What of a state is written, by the name of the field."""
    left_out = optimizer.derived if isinstance(optimizer, PartlySaved) else frozenset()
    return {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name not in left_out}


def restored(optimizer: Optimizer[Any], tensors: Mapping[str, torch.Tensor]) -> State:
    """The state of which `saved` gave these tensors."""
    state: State = (
        optimizer.restored(tensors) if isinstance(optimizer, PartlySaved) else optimizer.state_type(**tensors)
    )
    return state


def column(value: PerRun, axes: int, like: torch.Tensor) -> torch.Tensor:
    """A hyperparameter as float64 on the device of `like`: (runs or 1, 1, …) with `axes` axes."""
    tensor = torch.as_tensor(value, dtype=torch.float64, device=like.device)
    return tensor.reshape(-1, *(1,) * (axes - 1))


def check(name: str, value: PerRun, least: float, most: float, *, above: bool = False) -> None:
    """Raise BadInput unless all values are finite and in [least, most] (above: in (least, most])."""
    if not isinstance(value, numbers.Real | torch.Tensor) or isinstance(value, bool):
        raise BadInput(f"{name} is {value!r}; it must be a number")
    values = torch.as_tensor(value, dtype=torch.float64)
    low = values > least if above else values >= least
    if not bool((torch.isfinite(values) & low & (values <= most)).all()):
        bound = f"{'above' if above else 'at least'} {least:g} and at most {most:g}"
        raise BadInput(f"{name} is {values.tolist()}; it must be {bound}")


def check_population(optimizer: str, population: int, least: int) -> None:
    """Raise BadInput for a population below the least with which the algorithm is defined."""
    if not isinstance(population, numbers.Integral) or isinstance(population, bool):
        raise BadInput(f"population is {population!r}; it must be a whole number")
    if population < least:
        raise BadInput(f"population is {population}; the least for {optimizer} is {least}")


def usable(scores: Scores) -> Scores:
    """Scores in float64 that arithmetic cannot break; NaN stays NaN.

    An infinite score counts as the greatest (−inf: the least) finite score of its run's generation; where
    no score is finite there is nothing to compare it with and it counts as not seen.
    """
    scores = scores.to(torch.float64)
    finite = torch.isfinite(scores)
    greatest = torch.where(finite, scores, -torch.inf).amax(-1, keepdim=True)
    least = torch.where(finite, scores, torch.inf).amin(-1, keepdim=True)
    scores = torch.where(scores == torch.inf, greatest, scores)
    scores = torch.where(scores == -torch.inf, least, scores)
    scores = torch.where(finite.any(-1, keepdim=True), scores, torch.nan)
    return scores.clamp(-SCORE_LIMIT, SCORE_LIMIT)


def antithetic(scores: Scores) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """((s⁺ − s⁻) / 2, (s⁺ + s⁻) / 2, number of complete pairs, at least 1) of (runs, n) scores.

    The first half of the scores belongs to c + d_i, the second to c − d_i. A pair with one side missing is
    0 in both and not counted, so that it contributes nothing to a mean over the complete pairs.
    """
    plus, minus = usable(scores).chunk(2, dim=-1)
    complete = ~torch.isnan(plus + minus)
    half_difference = torch.where(complete, (plus - minus) / 2.0, 0.0)
    half_sum = torch.where(complete, (plus + minus) / 2.0, 0.0)
    return half_difference, half_sum, complete.sum(-1).clamp_min(1)


def limited(codes: torch.Tensor) -> Codes:
    """float32 codes within ±CODE_LIMIT."""
    return codes.clamp(-CODE_LIMIT, CODE_LIMIT).to(torch.float32)


def rows(state: S, index: Sequence[int] | torch.Tensor) -> S:
    """The state of some of the runs."""
    device = state.seeds.device
    at = torch.as_tensor(index, dtype=torch.int64, device=device)
    return type(state)(**{f.name: getattr(state, f.name)[at] for f in dataclasses.fields(state)})


def joined(states: Sequence[S]) -> S:
    """States of several runs as one, in order."""
    return type(states[0])(
        **{
            f.name: torch.cat([getattr(state, f.name) for state in states])
            for f in dataclasses.fields(states[0])
        }
    )
