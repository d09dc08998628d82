"""Killed at any point, a session goes on as if it had not been: random plans, random rigs, random points."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from session_rig import Rig, served, session_plan

from xdream.experiment.forward import Forward
from xdream.laboratory.rigs import Direct
from xdream.optimizers.fdgd import FDGD
from xdream.optimizers.genetic import Genetic
from xdream.store import Store

#: Sessions of the property test (more with `make soak`); each is killed KILLS times, or ends before.
SESSIONS, KILLS = int(os.environ.get("XDREAM_KILLED_SESSIONS", "20")), 9
LEAST_KILLS = SESSIONS * (KILLS - 1)


class Killed(BaseException):
    """Not an error that anything handles."""


class Mortal:
    """Ends a session at its n-th tick: before, within and after each transaction, around each drawing,
    each step of an optimizer, each offer to the rig and each answer from it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = float("inf")
        self.ticks = self.kills = 0
        patch.setattr(Store, "transaction", self._transaction(Store.transaction))
        for kind, name in ((Forward, "draw"), (Direct, "offer"), (Direct, "collect"), (Direct, "withdraw")):
            patch.setattr(kind, name, self._around(getattr(kind, name)))
        for optimizer in (Genetic, FDGD):
            patch.setattr(optimizer, "tell", self._around(optimizer.tell))

    def live(self, ticks: float = float("inf")) -> None:
        self.left, self.ticks = ticks, 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks > self.left:
            self.kills += 1
            raise Killed

    def _around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def around(*values: Any) -> Any:
            self.tick()
            result = method(*values)
            self.tick()
            return result

        return around

    def _transaction(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def transaction(store: Store) -> Iterator[Any]:
            self.tick()
            with method(store) as connection:
                yield connection
                self.tick()
            self.tick()

        return transaction


PLANS = st.fixed_dictionaries(
    {},
    optional={
        "targets": st.sampled_from(
            [["rig::0"], ["rig::0-2"], ["rig:all of them:all"], ["rig::1", "rig:x:all"]]
        ),
        "optimizer": st.sampled_from(
            [
                {"name": "genetic", "population": 3, "elites": 0},
                {"name": "genetic", "population": 5},
                {"name": "fdgd", "population": 4},
            ]
        ),
        "variants": st.just([{}, {"generator": {"name": "fourier", "size_px": 16}}]),
        "repeats": st.integers(1, 2),
        "references_per_generation": st.integers(0, 3),
        "seed": st.integers(0, 2**40),
        "session": st.fixed_dictionaries(
            {}, optional={"block_size": st.integers(2, 9), "reshow": st.integers(0, 2)}
        ),
    },
)
RIGS = st.fixed_dictionaries(
    {"dropped": st.sampled_from([0.0, 0.3]), "nan": st.sampled_from([0.0, 0.2]), "parts": st.integers(1, 3)}
)


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Mortal:
    return Mortal(monkeypatch)


def test_killed_at_random_points_a_session_goes_on_as_if_it_had_not_been(
    mortal: Mortal, photographs: Path
) -> None:
    @settings(
        max_examples=SESSIONS, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
    )
    @given(changes=PLANS, how=RIGS, seed=st.integers(0, 2**32))
    def every_session(changes: Mapping[str, Any], how: Mapping[str, Any], seed: int) -> None:
        plan = session_plan(**changes, presentations=30, references=str(photographs))
        with TemporaryDirectory() as place:
            mortal.live()
            whole = Rig(**how)
            with contextlib.closing(served(plan, Path(place, "whole"), whole)) as record:
                expected = record.dump()
            ticks, rng = mortal.ticks, random.Random(seed)
            folder, rig = Path(place, "killed"), Rig(**how)
            for _ in range(KILLS):
                mortal.live(rng.randrange(1, 2 * ticks // KILLS))
                try:
                    served(plan, folder, rig).close()
                except Killed:
                    continue
                break
            mortal.live()
            with contextlib.closing(served(plan, folder, rig)) as record:
                assert record.dump() == expected

    every_session()
    assert mortal.kills >= LEAST_KILLS, "some sessions came to their end too early"
