"""Finite-difference gradient descent: golden trajectories, and its estimate against known expectations.

On a linear function s = g·x the estimate from a pair is (g·d) d / (mean |d|)². Odd moments cancel, so its
expectation is κ g with κ = E[mean(d²) / (mean|d|)²], the same for every radius. κ is 1 in one dimension
(every pair gives g exactly), 4/π in two (the mean of 2 / (1 + |sin 2θ|) over the circle), and goes to π/2,
because mean|d| goes to r √(2/π).
"""

import math

import pytest
import torch

from xdream import random
from xdream.optimizers import FDGD
from xdream.optimizers.fdgd import CentreState

NAN = float("nan")


def start(optimizer: FDGD, runs: int, dim: int) -> CentreState:
    return optimizer.start(torch.arange(runs), torch.zeros(runs, 1, dim))


def linear(codes: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return codes.to(torch.float64) @ gradient.to(torch.float64)


def test_it_follows_the_golden_trajectories(follows_golden):
    follows_golden("fdgd")


def test_samples_are_steps_around_the_centre_and_their_negatives():
    optimizer = FDGD(population=6, search_radius=0.5)
    state = optimizer.start(torch.arange(3), torch.full((3, 2, 1000), 4.0))
    plus, minus = (optimizer.ask(state) - 4.0).chunk(2, dim=1)
    torch.testing.assert_close(plus, -minus, rtol=0, atol=1e-6)
    assert float(plus.std()) == pytest.approx(0.5, rel=0.03)


def test_in_one_dimension_every_pair_gives_the_slope_exactly():
    optimizer = FDGD(population=6, search_radius=0.3, learning_rate=1.0)
    state = start(optimizer, runs=100, dim=1)
    moved = optimizer.tell(state, linear(optimizer.ask(state), torch.tensor([-2.5])))
    torch.testing.assert_close(moved.centre, torch.full((100, 1), -2.5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("radius", [0.1, 3.0])
@pytest.mark.parametrize(("dim", "kappa"), [(2, 4.0 / math.pi), (100, math.pi / 2.0)])
def test_the_estimate_on_a_linear_function_has_its_known_expectation(dim, kappa, radius):
    # At 100 dimensions κ is 0.3 % below its limit.
    runs = 2000
    optimizer = FDGD(population=8, search_radius=radius, learning_rate=0.5)
    state = start(optimizer, runs, dim)
    gradient = torch.linspace(-4.0, 4.0, dim)
    moved = optimizer.tell(state, linear(optimizer.ask(state), gradient)).centre.mean(0)
    # Along g a pair gives about κ χ² with one degree of freedom: a relative deviation of √2.
    along = float(moved @ gradient / (gradient @ gradient))
    assert along == pytest.approx(0.5 * kappa, rel=4.0 * math.sqrt(2.0 / (4 * runs)))
    # A component's standard error is at most √2 l κ |g| / √pairs.
    error = math.sqrt(2.0) * 0.5 * kappa * float(gradient.norm()) / math.sqrt(4 * runs)
    torch.testing.assert_close(moved, 0.5 * kappa * gradient, rtol=0, atol=4.5 * error)


def test_missing_scores_leave_the_expectation_unchanged():
    runs, gradient = 8000, torch.tensor([3.0, -4.0])
    optimizer = FDGD(population=8, learning_rate=1.0)
    state = start(optimizer, runs, dim=2)
    scores = linear(optimizer.ask(state), gradient)
    lost = random.uniform(torch.arange(runs), torch.zeros(runs), "lost", (8,)) < 0.3
    lost[:, 0] = lost[:, 4] = False  # one pair is complete, so no run stands still
    moved = optimizer.tell(state, torch.where(lost, NAN, scores)).centre
    torch.testing.assert_close(moved.mean(0), 4.0 / math.pi * gradient, rtol=0, atol=0.2)


def test_a_pair_with_one_side_missing_contributes_nothing():
    optimizer = FDGD(population=8)
    state = start(optimizer, runs=1, dim=5)
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.5, 7.0, -1.0, 2.0]], dtype=torch.float64)
    without_one_side = scores.clone()
    without_one_side[0, 1] = NAN
    without_either = scores.clone()
    without_either[0, [1, 5]] = NAN
    moved = optimizer.tell(state, without_one_side)
    assert torch.equal(moved.centre, optimizer.tell(state, without_either).centre)

    step = optimizer.ask(state)[0, :4].to(torch.float64)
    half = (scores[0, :4] - scores[0, 4:]) / 2.0
    each = half[:, None] * step / step.abs().mean(1, keepdim=True) ** 2
    expected = 1.25 * each[[0, 2, 3]].mean(0)
    torch.testing.assert_close(moved.centre[0], expected.to(torch.float32))


@pytest.mark.parametrize("half", [slice(0, 4), slice(4, 8), slice(0, 8)])
def test_without_a_complete_pair_the_centre_stays(half):
    optimizer = FDGD(population=8)
    state = optimizer.start(torch.tensor([3]), torch.full((1, 1, 5), 1.5))
    scores = torch.arange(8.0, dtype=torch.float64)[None].clone()
    scores[0, half] = NAN
    following = optimizer.tell(state, scores)
    assert torch.equal(following.centre, state.centre)
    assert following.steps.tolist() == [1]
    assert not torch.equal(optimizer.ask(following), optimizer.ask(state))


def test_equal_scores_leave_the_centre_where_it_is():
    optimizer = FDGD(population=8)
    state = start(optimizer, runs=2, dim=5)
    assert torch.equal(optimizer.tell(state, torch.full((2, 8), 3.0)).centre, state.centre)


def test_a_step_of_length_zero_says_nothing(monkeypatch):
    optimizer = FDGD(population=4)
    monkeypatch.setattr(random, "normal", lambda seeds, _steps, _name, shape: torch.zeros(len(seeds), *shape))
    state = start(optimizer, runs=1, dim=1)
    for scores in ([[0.0, 0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0, 5.0]]):
        assert optimizer.tell(state, torch.tensor(scores)).centre.tolist() == [[0.0]]


def test_an_odd_population_is_rounded_down():
    optimizer = FDGD(population=7)
    assert optimizer.population == 6
    assert optimizer.ask(start(optimizer, runs=1, dim=3)).shape == (1, 6, 3)
    assert FDGD(population=3).population == 2


def test_it_starts_from_the_mean_of_the_initial_codes():
    initial = torch.tensor([[[1.0, 5.0], [2.0, 7.0], [6.0, 0.0]]])
    assert FDGD().start(torch.tensor([0]), initial).centre.tolist() == [[3.0, 4.0]]
