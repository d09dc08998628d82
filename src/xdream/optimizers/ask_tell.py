"""Optimizers by name, and a thin stateful face on their pure functions, for codes alone."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy.typing as npt
import torch

from xdream import random
from xdream.arrays import numbers as read_numbers
from xdream.errors import BadInput
from xdream.optimizers.base import CODE_LIMIT, Optimizer, State, padded, populations
from xdream.registry import Registry
from xdream.types import Codes, Float32Array

#: Every optimizer by name; a factory takes the hyperparameters. It may declare (`xdream.registry.declares`)
#:     in_recordings: hyperparameters whose default is another when a rig records;
#:     free: True where its codes stay free, whatever region the generator declares (`Generator`);
#:     searched: how `xdream tune` searches hyperparameters, by name (`SearchRange`);
#:     compared: True where the study `optimizers` is to run it beside those of the paper.
OPTIMIZERS: Registry[Optimizer[Any]] = Registry("optimizer")


def group_key(name: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same for runs whose optimizer can be computed at once (`grouped`): the names of their
    hyperparameters, and the values of those that are one for all runs."""
    declared = OPTIMIZERS.options(name)
    one_for_all = sorted(
        (key, value)
        for key, value in options.items()
        if key in declared and torch.Tensor not in get_args(declared[key].annotation)
    )
    return name, frozenset(options), tuple(one_for_all)


def grouped(name: str, options: Sequence[Mapping[str, Any]]) -> Optimizer[Any]:
    """One optimizer for several runs of one population: a hyperparameter that differs is an array over them.

    options: the hyperparameters of each run, all with the same names. Each set is checked by itself, so
    that an error names one run's value.
    """
    for one in options:
        if one.keys() != options[0].keys() or one.get("population") != options[0].get("population"):
            raise BadInput(
                f"{dict(one)} and {dict(options[0])} cannot be one group; "
                "it needs the same names and the same population"
            )
    for one in options:
        OPTIMIZERS.make(name, **one)
    shared = {
        key: value
        if all(one[key] == value for one in options)
        else torch.tensor([one[key] for one in options], dtype=torch.float64)
        for key, value in options[0].items()
    }
    return OPTIMIZERS.make(name, **shared)


class AskTell:
    """One optimizer on vectors of `dim` numbers: ask for codes, tell their scores, in turn."""

    def __init__(self, optimizer: Optimizer[Any], state: State) -> None:
        self.optimizer = optimizer
        self.state = state

    def ask(self) -> Float32Array:
        """(n, dim) float32, n the population of this generation; the same until scores are told."""
        codes: Float32Array = self.optimizer.ask(self.state)[0, : self._population()].numpy().copy()
        return codes

    def tell(self, scores: npt.ArrayLike) -> None:
        """(n,) scores of the codes last asked for; NaN = not seen. Raises BadInput."""
        values = read_numbers(scores, "scores")
        n = self._population()
        if values.shape != (n,):
            raise BadInput(
                f"scores have shape {values.shape}; one for each of the {n} codes asked for is needed"
            )
        self.state = self.optimizer.tell(self.state, padded(values, self.optimizer.population)[None])

    def _population(self) -> int:
        return populations(self.optimizer, self.state)[0]


def make(
    name: str, dim: int, seed: int = 0, initial: npt.ArrayLike | None = None, **hyperparameters: Any
) -> AskTell:
    """An optimizer by name for codes of `dim` numbers.

    initial: (k, dim) codes to start from: `population` of them for `genetic`; the others start from their
    mean. Without: `genetic` starts from N(0, 1), the others from zero. Those that need the spread of the
    initial codes take it to be 1.
    """
    optimizer = OPTIMIZERS.make(name, **hyperparameters)
    if dim < 1:
        raise BadInput(f"dim is {dim}; codes need at least 1 number")
    seeds = torch.tensor([checked_seed(seed)])
    if initial is not None:
        codes = checked_codes(initial, dim)
    elif optimizer.starts_from == "population":
        shape = (optimizer.population, dim)
        codes = random.normal(seeds, torch.zeros_like(seeds), "initial codes", shape)[0]
    else:
        codes = torch.zeros(1, dim)
    if optimizer.starts_from == "spread":
        codes = torch.stack((torch.zeros(dim), torch.ones(dim), codes.mean(0)))
    return AskTell(optimizer, optimizer.start(seeds, codes[None]))


def checked_seed(seed: int) -> int:
    """The seed, when it is an integer in [0, 2**63). Raises BadInput."""
    if not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**63:
        raise BadInput(f"seed is {seed!r}; it must be an integer from 0 to 2**63 - 1")
    return seed


def checked_codes(values: npt.ArrayLike, dim: int) -> Codes:
    """Codes from elsewhere as (k, dim) float32, k > 0, all within ±CODE_LIMIT. Raises BadInput."""
    given = torch.from_numpy(read_numbers(values, "initial codes"))
    if given.ndim != 2 or given.shape[1] != dim or len(given) == 0:
        raise BadInput(f"initial codes have shape {tuple(given.shape)}; (k, {dim}) with k > 0 needed")
    if not bool((given.abs() <= CODE_LIMIT).all()):
        raise BadInput(f"initial codes hold NaN or values beyond ±{CODE_LIMIT:g}; finite ones needed")
    return given.to(torch.float32)
