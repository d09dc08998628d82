"""Optimizers that follow ranks from a safe start: equations derived again in NumPy, and other libraries."""

import math
from pathlib import Path
from typing import Any

import cma as pycma
import cmaes
import numpy as np
import pytest
import torch

import xdream
from xdream import random
from xdream.errors import BadInput
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.plan import Plan
from xdream.optimizers import CMA, OPTIMIZERS, RankNES, SepCMA, SphereCMA
from xdream.optimizers.ranks import by_rank, log_weights, number_seen
from xdream.testing import check_optimizer

NAN, INF = float("nan"), float("inf")
NAMES = ("rank-nes", "sphere-cma", "sep-cma", "cma")
D = 7
CENTRE, SPREAD = 3.0, 0.5


def started(optimizer: Any, runs: int = 1, d: int = D) -> Any:
    initial = torch.stack((torch.full((runs, d), CENTRE), torch.full((runs, d), SPREAD)), dim=1)
    return optimizer.start(torch.arange(runs) + 5, initial)


def z_of(codes: torch.Tensor) -> np.ndarray[Any, Any]:
    return ((codes.to(torch.float64) - CENTRE) / SPREAD).numpy()


def scores_of(codes: torch.Tensor) -> torch.Tensor:
    """Unlike in every component, with its best away from the centre."""
    z = (codes.to(torch.float64) - CENTRE) / SPREAD
    weights = torch.arange(1, z.shape[-1] + 1, dtype=torch.float64)
    return -((z - 0.8) ** 2 * weights).sum(-1)


def awake(optimizer: Any, generations: int = 1, d: int = D) -> Any:
    state = started(optimizer, d=d)
    for _ in range(generations):
        n = optimizer.populations(state)[0] if hasattr(optimizer, "populations") else optimizer.population
        scores = scores_of(optimizer.ask(state))
        scores[:, n:] = NAN
        state = optimizer.tell(state, scores)
    return state


# ------------------------------------------------------------------ ranks


def test_weights_are_those_of_the_equation() -> None:
    (found,) = log_weights(torch.tensor([5]), 6).tolist()
    raw = [max(0.0, math.log(3.5) - math.log(i)) for i in range(1, 6)]
    assert found == pytest.approx([one / sum(raw) for one in raw] + [0.0])
    assert sum(found) == pytest.approx(1.0)


def test_equal_scores_share_their_weights_and_the_unseen_have_none() -> None:
    weights = torch.tensor([[0.5, 0.3, 0.2, 0.0, 0.0]], dtype=torch.float64)
    scores = torch.tensor([[1.0, 7.0, NAN, 1.0, 2.0]])
    assert by_rank(scores, weights).tolist() == [[0.1, 0.5, 0.0, 0.1, 0.3]]
    infinite = torch.tensor([[INF, 7.0, NAN, -INF, 5.0]])  # as great as the greatest, as small as the least
    assert by_rank(infinite, weights)[0].tolist() == pytest.approx([0.4, 0.4, 0.0, 0.1, 0.1])
    assert number_seen(scores).tolist() == [4]


@pytest.mark.parametrize("name", NAMES)
def test_the_size_of_scores_does_not_matter(name: str) -> None:
    """a s + b has the same ranks: the same codes, bit for bit."""
    optimizer = OPTIMIZERS.make(name)
    one, other = started(optimizer, 2), started(optimizer, 2)
    for _ in range(5):
        codes = optimizer.ask(one)
        assert torch.equal(codes, optimizer.ask(other))
        scores = scores_of(codes)
        if hasattr(optimizer, "populations"):
            scores = torch.where(
                torch.arange(scores.shape[1]) < optimizer.populations(one)[:, None], scores, NAN
            )
        one, other = optimizer.tell(one, scores), optimizer.tell(other, 3e-5 * scores + 17.0)
    assert bool(one.awake.all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", [0.0, 2.5, NAN, INF])
def test_a_silent_neuron_moves_nothing_and_draws_go_on(name: str, values: float) -> None:
    optimizer = OPTIMIZERS.make(name)
    state = started(optimizer)
    seen = []
    for _ in range(30):
        codes = optimizer.ask(state)
        seen.append(codes)
        state = optimizer.tell(state, torch.full((1, optimizer.population), values))
        assert not bool(state.awake)
        assert not state.mean.any()
        if hasattr(state, "radius"):
            assert torch.equal(state.radius, started(optimizer).radius)
    assert len({one.numpy().tobytes() for one in seen}) == len(seen)
    if name != "sphere-cma":
        first, last = z_of(seen[0]).std(), z_of(seen[-1]).std()
        assert first == pytest.approx(1.0, abs=0.3)
        assert last == pytest.approx(2.0, abs=0.6)  # wider, to twice the spread


@pytest.mark.parametrize("name", NAMES)
def test_the_first_mean_has_natural_contrast(name: str) -> None:
    state = awake(OPTIMIZERS.make(name), d=64)
    assert bool(state.awake)
    assert float(state.mean.square().mean().sqrt()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_slots_changes_the_next_state_by_rounding_only(name: str, monkeypatch: Any) -> None:
    """As if the same samples had been drawn in another order."""
    optimizer = OPTIMIZERS.make(name, population=12)
    state = awake(optimizer, 3)
    scores = scores_of(optimizer.ask(state))
    told = optimizer.tell(state, scores)
    n = 6 if name == "rank-nes" else 11 if name == "sphere-cma" else 12
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    drawn = random.normal

    def reordered(seeds: Any, steps: Any, purpose: str, shape: tuple[int, int]) -> torch.Tensor:
        found = drawn(seeds, steps, purpose, shape)
        return found if purpose == "safe start" else found[:, order]

    monkeypatch.setattr(random, "normal", reordered)
    both = torch.cat((order, order + n)) if name == "rank-nes" else order
    if name == "sphere-cma":
        both = torch.cat((order, torch.tensor([11])))
    again = optimizer.tell(state, scores[:, both])
    for field, value in vars(told).items():
        if field == "axes":  # of eigenvalues that are alike, any axes will do
            continue
        torch.testing.assert_close(getattr(again, field), value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_the_optimum_where_it_is_known(name: str) -> None:
    check_optimizer(OPTIMIZERS.make(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_recommended_code_is_the_mean(name: str) -> None:
    optimizer: Any = OPTIMIZERS.make(name)
    state = awake(optimizer, 2)
    np.testing.assert_allclose(z_of(optimizer.recommended(state)), state.mean.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", [*NAMES, "fdgd", "nes"])
def test_a_code_that_is_given_is_where_the_search_begins(name: str) -> None:
    """With the frame of the generator: its centre and spread."""
    optimizer: Any = OPTIMIZERS.make(name, **({"safe_start": True} if name in ("fdgd", "nes") else {}))
    rows = torch.stack((torch.full((D,), CENTRE), torch.full((D,), SPREAD), torch.full((D,), CENTRE + 0.4)))
    state = optimizer.start(torch.tensor([5, 6]), rows.expand(2, -1, -1))
    assert state.awake.tolist() == [True, True]
    expected = 1.0 if name == "sphere-cma" else 0.8  # on the sphere
    if name not in ("fdgd", "nes"):
        np.testing.assert_allclose(state.mean.numpy(), expected, rtol=1e-6)
        np.testing.assert_allclose(z_of(optimizer.recommended(state)), expected, rtol=1e-6)
    assert float(np.mean(z_of(optimizer.ask(state)))) == pytest.approx(expected, abs=0.5)
    same = optimizer.start(torch.tensor([5]), rows[[0, 1, 0]][None])  # the centre: as without one
    for field, value in vars(optimizer.start(torch.tensor([5]), rows[None, :2])).items():
        assert torch.equal(getattr(same, field), value)


def test_a_given_code_far_outside_is_brought_within_the_limit_of_the_mean_at_once() -> None:
    optimizer = RankNES(mean_limit=1.3)
    rows = torch.stack((torch.full((D,), CENTRE), torch.full((D,), SPREAD), torch.full((D,), CENTRE + 5.0)))
    state = optimizer.start(torch.tensor([5]), rows[None])
    np.testing.assert_allclose(z_of(optimizer.recommended(state)), 1.3, rtol=1e-6)


# ------------------------------------------------------------------ rank-nes


def test_rank_nes_follows_its_equations() -> None:
    optimizer = RankNES(population=6, search_radius=0.4, mean_limit=50.0)
    state = awake(optimizer, 2)
    codes = optimizer.ask(state)
    m, radius = state.mean[0].numpy(), float(state.radius)
    noise = (z_of(codes)[0] - m) / radius
    np.testing.assert_allclose(noise[:3], -noise[3:], atol=1e-5)
    scores = np.array([3.0, 1.0, NAN, 2.0, 5.0, 1.0])
    rank = {4: [1], 0: [2], 3: [3], 1: [4, 5], 5: [4, 5]}
    raw = {p: max(0.0, math.log(5 / 2 + 1) - math.log(p)) for p in range(1, 6)}
    total = sum(raw.values())
    u = {i: np.mean([raw[p] for p in places]) / total - 1 / 5 for i, places in rank.items()}
    expected = m + radius * sum(u[i] * noise[i] for i in u)
    eta = (3 + math.log(D)) / (5 * math.sqrt(D))
    change = eta * math.sqrt(D) / 4 * sum(u[i] * (noise[i] ** 2 - 1).mean() for i in u)
    after = optimizer.tell(state, torch.tensor(scores)[None])
    np.testing.assert_allclose(after.mean[0].numpy(), expected, atol=1e-5)
    assert float(after.radius) == pytest.approx(radius * math.exp(min(max(change, -0.5), 0.5)), rel=1e-5)


def test_the_mean_of_rank_nes_stays_in_its_ball_and_the_radius_in_its_range() -> None:
    optimizer = RankNES(mean_limit=1.1)
    state = started(optimizer)
    for _ in range(60):
        state = optimizer.tell(state, (optimizer.ask(state) - CENTRE).sum(-1).to(torch.float64))
        assert float(state.mean.square().mean().sqrt()) <= 1.1 + 1e-12
        assert 0.02 <= float(state.radius) <= 3.0
    assert float(state.mean.mean()) == pytest.approx(1.1, rel=0.05)


def test_one_score_or_equal_ones_leave_rank_nes_as_it_is() -> None:
    optimizer = RankNES(population=6)
    state = awake(optimizer)
    for scores in ([NAN] * 6, [NAN, 2.0, *[NAN] * 4], [3.0] * 6):
        after = optimizer.tell(state, torch.tensor([scores]))
        assert torch.equal(after.mean, state.mean)
        torch.testing.assert_close(after.radius, state.radius)


def test_rank_nes_shows_its_mean_now_and_then_and_gives_it_no_weight() -> None:
    optimizer, without = RankNES(population=6, mean_every=3), RankNES(population=6)
    state = awake(optimizer)
    shown = []
    for _ in range(9):
        codes, plain = optimizer.ask(state), without.ask(state)
        assert torch.equal(codes[:, :5], plain[:, :5])
        last = torch.equal(codes[0, 5], optimizer.recommended(state)[0])
        assert last != torch.equal(codes, plain)
        shown.append((int(state.steps), last))
        scores = scores_of(codes)
        missing = scores.clone()
        if last:
            missing[0, 5] = NAN
            scores[0, 5] = 1e9  # whatever it is
        told = optimizer.tell(state, scores)
        assert torch.equal(told.mean, without.tell(state, missing).mean)
        assert torch.equal(told.radius, without.tell(state, missing).radius)
        state = told
    assert [step for step, last in shown if last] == [3, 6, 9]


# ------------------------------------------------------------------ sphere-cma


def test_sphere_cma_follows_its_equations() -> None:
    optimizer = SphereCMA(generations=10)
    state = awake(optimizer, 3)
    assert int(state.followed) == 2
    z, x = z_of(optimizer.ask(state))[0], state.mean[0].numpy()
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), math.sqrt(D), rtol=1e-5)
    np.testing.assert_allclose(z[40], x, atol=1e-6)
    degrees = 50 * (7.33 / 50) ** (2 / 9)
    u = random.normal(state.seeds, state.steps, "sphere-cma/steps", (40, D))[0].double().numpy()
    v = u - np.outer(u @ x, x) / (x @ x)
    t = math.radians(degrees) / math.sqrt(D) * v
    size = np.linalg.norm(t, axis=1, keepdims=True)
    expected = math.sqrt(D) * (np.cos(size) * x / math.sqrt(D) + np.sin(size) * t / size)
    np.testing.assert_allclose(z[:40], expected, atol=1e-5)
    scores = scores_of(optimizer.ask(state))
    order = np.argsort(-scores[0, :40].numpy())[:20]
    w = np.log(20.5) - np.log(np.arange(1, 21))
    m = (w / w.sum()) @ expected[order]
    y = math.sqrt(D) * m / np.linalg.norm(m)
    alpha = math.acos(x @ y / D)
    turned = (math.sin(-0.5 * alpha) * x + math.sin(1.5 * alpha) * y) / math.sin(alpha)
    np.testing.assert_allclose(optimizer.tell(state, scores).mean[0].numpy(), turned, atol=1e-5)


def test_the_angles_of_sphere_cma_are_those_that_were_published() -> None:
    g = torch.tensor([0, 74, 100])
    assert SphereCMA().angle(g).tolist() == pytest.approx([50.0, 7.33, 7.33])
    found = SphereCMA(schedule="inverse").angle(g).tolist()
    assert found == pytest.approx([15 + 1 / 0.0146, 15 + 1 / (0.0017 * 74 + 0.0146), 15 + 1 / 0.1846])


def test_the_base_is_shown_once_there_is_one() -> None:
    optimizer = SphereCMA()
    state = started(optimizer)
    assert optimizer.populations(state).tolist() == [40]
    assert optimizer.populations(awake(optimizer)).tolist() == [41]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "linear"}, "exponential"),
        ({"learning_rate": 3.0}, "learning_rate"),
        ({"population": 2}, "3"),
    ],
)
def test_what_sphere_cma_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        OPTIMIZERS.make("sphere-cma", **options)


# ------------------------------------------------------------------ cma, sep-cma


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        (SepCMA(population=12, search_radius=0.6), cmaes.SepCMA),
        (CMA(population=12, search_radius=0.6), cmaes.CMA),
    ],
)
def test_it_is_that_of_the_package_cmaes(optimizer: Any, make: Any) -> None:
    """Which is told the same codes with the same scores: the same mean, radius, covariance."""
    state = awake(optimizer)
    other = make(mean=state.mean[0].numpy().copy(), sigma=0.6, population_size=12, seed=1)
    for _ in range(40):
        codes = optimizer.ask(state)
        scores = scores_of(codes)
        other.tell([(z, -float(s)) for z, s in zip(z_of(codes)[0], scores[0], strict=True)])
        state = optimizer.tell(state, scores)
        np.testing.assert_allclose(state.mean[0].numpy(), other._mean, rtol=1e-3, atol=1e-5)
        assert float(state.radius) == pytest.approx(other._sigma, rel=1e-3)
        covariance = state.variances if hasattr(state, "variances") else state.covariance
        np.testing.assert_allclose(covariance[0].numpy(), other._C, rtol=1e-2, atol=1e-3)


def test_rates_of_cma_are_those_of_pycma() -> None:
    d, n = 50, 20
    found = CMA(population=n)
    es = pycma.CMAEvolutionStrategy(d * [0.0], 0.5, {"popsize": n, "verbose": -9, "seed": 1})
    from xdream.optimizers.cma import full_rates

    rates = full_rates(d, found.population)
    assert rates.rank_one == pytest.approx(es.sp.c1, rel=0.02)
    assert rates.rank_mu == pytest.approx(es.sp.cmu, rel=0.1)  # of a later version
    assert rates.effective == pytest.approx(es.sp.weights.mueff)
    np.testing.assert_allclose(rates.weights[: n // 2], es.sp.weights.positive_weights, rtol=1e-6)


def test_the_axes_of_cma_follow_from_its_covariance() -> None:
    state = awake(CMA(population=8), 6)
    rebuilt = state.axes[0] * state.lengths[0] ** 2 @ state.axes[0].T
    torch.testing.assert_close(rebuilt, state.covariance[0])
    assert not torch.allclose(state.covariance[0], torch.eye(D, dtype=torch.float64))


def test_a_code_that_was_not_seen_is_the_worst_of_cma() -> None:
    for optimizer in (SepCMA(population=8), CMA(population=8)):
        state: Any = awake(optimizer, 3)
        scores = scores_of(optimizer.ask(state))
        worst, missing = scores.clone(), scores.clone()
        worst[0, 2], missing[0, 2] = -1e9, NAN
        assert torch.equal(optimizer.tell(state, worst).mean, optimizer.tell(state, missing).mean)


def test_cma_refuses_codes_of_too_many_numbers_with_the_remedy() -> None:
    with pytest.raises(BadInput, match="up to 2000 numbers, and these have 2001; choose sep-cma"):
        started(CMA(), d=2_001)


# ------------------------------------------------------------------ in experiments


class Stop(Exception):
    """Ends the experiment in the middle."""


class StopAt(NoCallback):
    def stage(self, name: str, done: int, total: int) -> None:
        if name == "generations" and done == 4:
            raise Stop


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", ["everything", "scores"])
def test_an_experiment_goes_on_as_if_it_had_not_been_ended(tmp_path: Path, name: str, policy: str) -> None:
    """Two runs, of which one sees a neuron that is silent for all codes."""
    plan = Plan.make(
        targets=["known:energy::1", "known:linear::3"],
        generator={"name": "pixels", "size_px": 8, "codes": "ball", "radius": 2.0},
        optimizer={"name": name, "population": 6},
        presentations=54,
        record=policy,
        seed=5,
    )
    whole = xdream.run(plan, tmp_path / "whole")
    with pytest.raises(Stop):
        xdream.run(plan, tmp_path / "x", StopAt())
    assert xdream.resume(tmp_path / "x").dump() == whole.dump()
    assert 48 < whole.presentation_count(0) <= 54
    assert whole.scores(1)[-1].max() > whole.scores(1)[0].max()


def test_the_centre_and_spread_of_a_start_are_those_of_the_generator(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.full((3, 192), 0.75, np.float32))
    plan = {"targets": "known:linear::3", "generator": {"name": "pixels", "size_px": 8}, "presentations": 20}
    # Draws from all of the initial codes; around a code that is given, the samples of the search.
    for init, centre, spread in (("default", 0.5, 0.25), (f"codes:{tmp_path / 'c.npy'}", 0.75, 0.125)):
        record = xdream.run(Plan.make(**plan, optimizer="rank-nes", init=init), tmp_path / init[:4])
        codes = np.stack(list(record.codes(0, 0).values()))
        assert codes.mean() == pytest.approx(centre, abs=0.02)
        assert codes.std() == pytest.approx(spread, abs=0.02)
