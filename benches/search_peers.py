"""Optimizers of other packages, for benches/optimizers.py: pycma, cmaes, nevergrad, evosax.

They are installed for the bench only: pip install cma cmaes nevergrad evosax. Each minimises from 0 with a
first step of 1 (z is in units of the generator's spread) and its own default population.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Pycma:
    """`cma.CMAEvolutionStrategy` (Hansen): its mean is what it holds for the best ("xfavorite")."""

    def __init__(self, d: int, seed: int, presentations: int, **options: Any) -> None:
        import cma

        quiet = {"verbose": -9, "seed": seed, "tolfun": 0, "tolflatfitness": 10**9, "tolstagnation": 10**9}
        self._es = cma.CMAEvolutionStrategy(np.zeros(d), 1.0, quiet | options)

    def ask(self) -> np.ndarray:
        self._asked = self._es.ask()
        return np.stack(self._asked)

    def tell(self, scores: np.ndarray) -> None:
        self._es.tell(self._asked, (-scores).tolist())

    def recommended(self) -> np.ndarray:
        return np.asarray(self._es.result.xfavorite)


class Cmaes:
    """`cmaes.CMA` or `cmaes.SepCMA` (Nomura & Shibata)."""

    def __init__(self, d: int, seed: int, presentations: int, *, separable: bool = False) -> None:
        import cmaes

        make = cmaes.SepCMA if separable else cmaes.CMA
        self._es = make(mean=np.zeros(d), sigma=1.0, seed=seed)

    def ask(self) -> np.ndarray:
        self._asked = [self._es.ask() for _ in range(self._es.population_size)]
        return np.stack(self._asked)

    def tell(self, scores: np.ndarray) -> None:
        self._es.tell([(z, -float(s)) for z, s in zip(self._asked, scores, strict=True)])

    def recommended(self) -> np.ndarray:
        return np.asarray(self._es._mean)


class Nevergrad:
    """The optimizer that nevergrad chooses itself (`NGOpt`), with 20 workers."""

    WORKERS = 20

    def __init__(self, d: int, seed: int, presentations: int) -> None:
        import nevergrad

        space = nevergrad.p.Array(init=np.zeros(d))
        space.random_state.seed(seed)
        self._es = nevergrad.optimizers.NGOpt(space, budget=presentations, num_workers=self.WORKERS)

    def ask(self) -> np.ndarray:
        self._asked = [self._es.ask() for _ in range(self.WORKERS)]
        return np.stack([one.value for one in self._asked])

    def tell(self, scores: np.ndarray) -> None:
        for one, score in zip(self._asked, scores, strict=True):
            self._es.tell(one, -float(score))

    def recommended(self) -> np.ndarray:
        return np.asarray(self._es.provide_recommendation().value)


class Evosax:
    """One of evosax's strategies, with the population of CMA-ES (4 + 3 ln d, even)."""

    def __init__(self, d: int, seed: int, presentations: int, *, name: str) -> None:
        import evosax.algorithms
        import jax

        population = (4 + int(3 * math.log(d))) // 2 * 2
        self._jax = jax
        self._es = getattr(evosax.algorithms, name)(population_size=population, solution=jax.numpy.zeros(d))
        self._params = self._es.default_params
        self._key = jax.random.key(seed)
        self._state = self._es.init(self._next_key(), jax.numpy.zeros(d), self._params)

    def _next_key(self) -> Any:
        self._key, one = self._jax.random.split(self._key)
        return one

    def ask(self) -> np.ndarray:
        self._asked, self._state = self._es.ask(self._next_key(), self._state, self._params)
        return np.asarray(self._asked)

    def tell(self, scores: np.ndarray) -> None:
        told = self._jax.numpy.asarray(-scores)
        self._state, _ = self._es.tell(self._next_key(), self._asked, told, self._state, self._params)

    def recommended(self) -> np.ndarray:
        return np.asarray(self._es.get_mean(self._state))


def _evosax(name: str) -> Callable[[int, int, int], Any]:
    return lambda d, seed, presentations: Evosax(d, seed, presentations, name=name)


PEERS: dict[str, Callable[[int, int, int], Any]] = {
    "pycma": Pycma,
    "pycma, diagonal": lambda d, seed, n: Pycma(d, seed, n, CMA_diagonal=True),
    "cmaes": Cmaes,
    "cmaes, separable": lambda d, seed, n: Cmaes(d, seed, n, separable=True),
    "nevergrad NGOpt": Nevergrad,
    "evosax SNES": _evosax("SNES"),
    "evosax CR-FM-NES": _evosax("CR_FM_NES"),
}
