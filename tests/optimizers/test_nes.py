"""The natural evolution strategy: golden trajectories, and its estimates against known expectations.

On s = g·x the gradient estimate has the expectation g for every radius. On s = −|x|², at the optimum, the
expectation of s · mean(ε² − 1) is −r² Var(Σ ε²) / d = −2 r², so the radius changes by −2 k r on average;
on s = +|x|² by +2 k r.
"""

import math

import pytest
import torch

from xdream import random
from xdream.optimizers import NES
from xdream.optimizers.nes import NESState

NAN = float("nan")


def start(optimizer: NES, runs: int, dim: int) -> NESState:
    return optimizer.start(torch.arange(runs), torch.zeros(runs, 1, dim))


def sphere(codes: torch.Tensor) -> torch.Tensor:
    return -(codes.to(torch.float64) ** 2).sum(-1)


def test_it_follows_the_golden_trajectories(follows_golden):
    follows_golden("nes")


def test_samples_are_antithetic_with_the_radius_of_the_state():
    optimizer = NES(population=6, search_radius=0.5)
    state = optimizer.start(torch.arange(3), torch.full((3, 2, 1000), 4.0))
    plus, minus = (optimizer.ask(state) - 4.0).chunk(2, dim=1)
    torch.testing.assert_close(plus, -minus, rtol=0, atol=1e-6)
    assert float(plus.std()) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("radius", [0.1, 3.0])
def test_the_estimate_on_a_linear_function_has_the_gradient_as_its_expectation(radius):
    runs, gradient = 4000, torch.tensor([3.0, -4.0, 0.0])
    optimizer = NES(population=8, search_radius=radius, learning_rate=0.5)
    state = start(optimizer, runs, dim=3)
    scores = optimizer.ask(state).to(torch.float64) @ gradient.to(torch.float64)
    moved = optimizer.tell(state, scores).centre
    error = 0.5 * 5.0 * math.sqrt(2.0) / math.sqrt(4 * runs)
    torch.testing.assert_close(moved.mean(0), 0.5 * gradient, rtol=0, atol=4.0 * error)
    assert 4.0 * error < 0.12


@pytest.mark.parametrize("radius", [0.4, 2.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_radius_changes_by_its_known_expectation_at_the_centre_of_a_sphere(sign, radius):
    runs, k = 8000, 0.01
    optimizer = NES(population=4, search_radius=radius, learning_rate=0.0, radius_learning_rate=k)
    state = start(optimizer, runs, dim=6)
    moved = optimizer.tell(state, sign * sphere(optimizer.ask(state))).radius - radius
    assert float(moved.mean()) == pytest.approx(-sign * 2.0 * k * radius, rel=0.12)


def test_the_radius_shrinks_on_a_sphere_down_to_the_least():
    optimizer = NES(population=20, learning_rate=0.02, radius_learning_rate=0.05, least_radius=0.2)
    state = optimizer.start(torch.arange(5), torch.full((5, 1, 10), 1.0))
    radii = []
    for _ in range(150):
        radii.append(state.radius)
        state = optimizer.tell(state, sphere(optimizer.ask(state)))
    assert bool((state.radius < 0.3).all())
    assert min(float(radius.min()) for radius in radii) == 0.2
    assert float(state.centre.abs().max()) < 0.2


def test_the_radius_grows_at_the_bottom_of_a_bowl():
    optimizer = NES(learning_rate=0.0)
    state = start(optimizer, runs=200, dim=6)
    for _ in range(5):
        state = optimizer.tell(state, -sphere(optimizer.ask(state)))
    assert float(state.radius.mean()) > 1.25 * 1.3


def test_the_first_radius_is_raised_to_the_least():
    optimizer = NES(search_radius=0.1, least_radius=0.7)
    state = start(optimizer, runs=2, dim=2000)
    assert state.radius.tolist() == [0.7, 0.7]
    assert float(optimizer.ask(state).std()) == pytest.approx(0.7, rel=0.03)


def test_one_radius_serves_all_components():
    optimizer = NES(learning_rate=0.0)
    state = start(optimizer, runs=3, dim=5)
    scores = -(optimizer.ask(state)[..., 0] ** 2)
    assert optimizer.tell(state, scores).radius.shape == (3,)


def test_a_pair_with_one_side_missing_contributes_nothing():
    optimizer = NES(population=8)
    state = start(optimizer, runs=1, dim=5)
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.5, 7.0, -1.0, 2.0]], dtype=torch.float64)
    without_one_side = scores.clone()
    without_one_side[0, 1] = NAN
    without_either = scores.clone()
    without_either[0, [1, 5]] = NAN
    moved, expected = optimizer.tell(state, without_one_side), optimizer.tell(state, without_either)
    assert torch.equal(moved.centre, expected.centre)
    assert torch.equal(moved.radius, expected.radius)

    noise = optimizer.ask(state)[0].to(torch.float64) / 1.25
    each = scores[0, :, None] * noise / 1.25
    kept = [0, 2, 3, 4, 6, 7]
    torch.testing.assert_close(moved.centre[0], (1.75 * each[kept].mean(0)).to(torch.float32))
    spread = (scores[0, :, None] * (noise**2 - 1.0))[kept].mean()
    assert float(moved.radius) == pytest.approx(float(1.25 + 0.05 * spread / 1.25), rel=1e-6)


def test_missing_scores_leave_the_expectation_unchanged():
    runs, gradient = 8000, torch.tensor([3.0, -4.0])
    optimizer = NES(population=8, learning_rate=1.0)
    state = start(optimizer, runs, dim=2)
    scores = optimizer.ask(state).to(torch.float64) @ gradient.to(torch.float64)
    lost = random.uniform(torch.arange(runs), torch.zeros(runs), "lost", (8,)) < 0.3
    lost[:, 0] = lost[:, 4] = False  # one pair is complete, so no run stands still
    moved = optimizer.tell(state, torch.where(lost, NAN, scores)).centre
    torch.testing.assert_close(moved.mean(0), gradient, rtol=0, atol=0.2)


@pytest.mark.parametrize("half", [slice(0, 4), slice(4, 8), slice(0, 8)])
def test_without_a_complete_pair_centre_and_radius_stay(half):
    optimizer = NES(population=8)
    state = optimizer.start(torch.tensor([3]), torch.full((1, 1, 5), 1.5))
    scores = torch.arange(8.0, dtype=torch.float64)[None].clone()
    scores[0, half] = NAN
    following = optimizer.tell(state, scores)
    assert torch.equal(following.centre, state.centre)
    assert torch.equal(following.radius, state.radius)
    assert not torch.equal(optimizer.ask(following), optimizer.ask(state))


def test_an_odd_population_is_rounded_down():
    optimizer = NES(population=7)
    assert optimizer.population == 6
    assert optimizer.ask(start(optimizer, runs=1, dim=3)).shape == (1, 6, 3)


def test_it_starts_from_the_mean_of_the_initial_codes():
    initial = torch.tensor([[[1.0, 5.0], [2.0, 7.0], [6.0, 0.0]]])
    assert NES().start(torch.tensor([0]), initial).centre.tolist() == [[3.0, 4.0]]
