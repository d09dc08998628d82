"""Every built-in generator, optimizer and objective passes its suite, and the suites find faults."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from xdream import random, testing
from xdream.experiment.defaults import hyperparameters
from xdream.generators import GENERATORS, GaussianCodes
from xdream.optimizers import OPTIMIZERS, State
from xdream.scoring.objectives import OBJECTIVES
from xdream.types import Codes

#: What parts need to be made here; weights of these are not shipped.
OPTIONS: dict[str, dict[str, Any]] = {
    "pixels": {"size_px": 8},
    "fourier": {"size_px": 16},
    "dcgan-faces": {"random_weights": True},
    "groups": {"groups": [[0, 2], [1]]},
    "difference": {"excitatory": [0, 1], "suppressive": [2]},
}


@pytest.mark.parametrize("name", GENERATORS.names())
def test_every_generator_passes(name: str) -> None:
    options = {"random_weights": True} if name.startswith("deepsim") else OPTIONS.get(name, {})
    testing.check_generator(GENERATORS.make(name, **options))


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_passes(name: str) -> None:
    testing.check_optimizer(OPTIMIZERS.make(name))
    for noisy in (False, True):
        testing.check_optimizer(OPTIMIZERS.make(name, **hyperparameters("natural-v1", name, noisy=noisy)))


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_objective_passes(name: str) -> None:
    testing.check_objective(OBJECTIVES.make(name, **OPTIONS.get(name, {})), channels=3)


# ------------------------------------------------------------------ faults are found


def changed(part: Any, **attributes: Any) -> Any:
    """The same part, of a class with other attributes or methods."""
    wrong = type("Wrong", (), {"__getattr__": lambda self, key: getattr(part, key)} | attributes)
    return wrong()


PIXELS = GENERATORS.make("pixels", size_px=8)


@dataclasses.dataclass
class Drawn:
    draw: Callable[[torch.Tensor, int], Codes]


def other_each_time(seeds: torch.Tensor, n: int) -> Codes:
    return torch.randn(len(seeds), n, 192)


def the_same_for_all(seeds: torch.Tensor, n: int) -> Codes:
    return PIXELS.initial.draw(torch.zeros_like(seeds), n)


def beside_others(seeds: torch.Tensor, n: int) -> Codes:
    return PIXELS.initial.draw(seeds, n) + len(seeds)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"name": ""}, "no name"),
        ({"fingerprint": None}, "its fingerprint is None"),
        ({"code_shape": (3, 8, 9)}, "asks for"),
        ({"centre": torch.zeros(192, dtype=torch.float64)}, "not float32"),
        ({"__call__": lambda self, codes: PIXELS(codes).double()}, "float64 instead of float32"),
        ({"__call__": lambda self, codes: PIXELS(codes)[:, :1]}, "instead of"),
        ({"__call__": lambda self, codes: PIXELS(codes) / 0.0}, "NaN or inf"),
        ({"__call__": lambda self, codes: PIXELS(codes) + 0.1 * len(codes)}, "alone than beside others"),
        ({"__call__": lambda self, codes: PIXELS(codes.mul_(2.0))}, "changed the codes"),
        ({"__call__": lambda self, codes: PIXELS(codes) + 0.1 * torch.rand(1)}, "made other images"),
        ({"__call__": lambda self, codes: PIXELS(codes.detach())}, "no gradient"),
        (
            {"invert": lambda self, images: images, "__call__": lambda self, codes: PIXELS(codes)},
            "`invert` gave",
        ),
        ({"initial": Drawn(other_each_time)}, "the same seeds drew other"),
        ({"initial": Drawn(the_same_for_all)}, "two seeds drew the same"),
        ({"initial": Drawn(beside_others)}, "alone than beside others"),
        ({"initial": GaussianCodes(torch.zeros(5), torch.ones(5))}, "`initial.draw` gave"),
    ],
)
def test_a_fault_of_a_generator_is_found(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_generator(changed(PIXELS, **attributes))


GENETIC = OPTIMIZERS.make("genetic")


def tells(change: Callable[[State, torch.Tensor], State]) -> dict[str, Any]:
    return {"tell": lambda self, state, scores: change(state, scores)}


def steps_only(state: State, scores: torch.Tensor) -> State:
    return dataclasses.replace(state, steps=state.steps + 1)


def shared(state: State, scores: torch.Tensor) -> State:
    """Draws of all runs from the first run's seed."""
    after = GENETIC.tell(dataclasses.replace(state, seeds=state.seeds[:1].expand(len(state.seeds))), scores)
    return dataclasses.replace(after, seeds=state.seeds)


def in_place(state: State, scores: torch.Tensor) -> State:
    after = GENETIC.tell(state, scores)
    state.codes.add_(1.0)  # type: ignore[attr-defined]
    return after


def infected(state: State, scores: torch.Tensor) -> State:
    """A missing score of a run spoils its codes."""
    after = GENETIC.tell(state, scores)
    spoilt = after.codes + 1e-3 * scores.sum(-1).clamp(-1.0, 1.0).to(torch.float32)[:, None, None]
    return dataclasses.replace(after, codes=spoilt)  # type: ignore[call-arg]


def not_alone(state: State, scores: torch.Tensor) -> State:
    after = GENETIC.tell(state, scores)
    return dataclasses.replace(after, codes=after.codes + len(scores))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"starts_from": "nowhere"}, "starts_from"),
        ({"ask": lambda self, state: GENETIC.ask(state).double()}, "float64 instead of float32"),
        ({"ask": lambda self, state: GENETIC.ask(state)[0]}, r"\(20, 6\) instead of \(2, 20"),
        (
            {"ask": lambda self, state: GENETIC.ask(state).repeat(1, 2, 1)},
            r"\(2, 40, 6\) instead of",
        ),
        ({"ask": lambda self, state: GENETIC.ask(state) + torch.rand(1)}, "other codes"),
        (tells(lambda state, scores: state), "did not count"),
        (tells(steps_only), "the same codes"),
        (tells(shared), "the same codes"),
        (tells(in_place), "changed the state"),
        (tells(infected), "not finite"),
        (tells(not_alone), "alone than beside others"),
    ],
)
def test_a_fault_of_an_optimizer_is_found(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_optimizer(changed(GENETIC, **attributes))


def test_an_optimizer_that_goes_the_wrong_way_is_found() -> None:
    wrong = tells(lambda state, scores: GENETIC.tell(state, -scores))
    with pytest.raises(AssertionError, match="no nearer to a known optimum"):
        testing.check_optimizer(changed(GENETIC, **wrong))


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (lambda r: r.mean((1, 2)), "missing repeat"),
        (lambda r: r.nanmean(1), "instead of"),
        (lambda r: r.nansum(1).nansum(1), "not NaN"),
        (lambda r: r.nanmean(1).nanmean(1).float(), "float32 instead of float64"),
        (lambda r: r.nanmean(1).nanmean(1) - r.nanmean(), "alone than beside others"),
        (lambda r: r[:, :, 5].nanmean(1), "not among 1"),
    ],
)
def test_a_fault_of_an_objective_is_found(objective: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_objective(objective)


def test_the_seed_of_a_suite_is_no_secret() -> None:
    """Suites draw through xdream.random, so that what fails here fails everywhere."""
    before = torch.random.get_rng_state()
    testing.check_optimizer(GENETIC, generations=2)
    testing.check_generator(PIXELS)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert random.VERSION
