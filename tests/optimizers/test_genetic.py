"""The genetic algorithm: golden trajectories, and each step of its definition by itself."""

import numpy as np
import pytest
import torch

from xdream import random
from xdream.optimizers import Genetic
from xdream.optimizers.genetic import GeneticState

NAN = float("nan")
TEN = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0, 3.5, 8.0, 7.9]


def start(optimizer: Genetic, seed: int = 0, dim: int = 12) -> GeneticState:
    seeds = torch.tensor([seed])
    initial = random.normal(seeds, torch.zeros_like(seeds), "test", (optimizer.population, dim))
    return optimizer.start(seeds, initial)


def tell(optimizer: Genetic, state: GeneticState, scores: list[float]) -> GeneticState:
    return optimizer.tell(state, torch.tensor([scores], dtype=torch.float64))


def parents(scores: list[float], runs: int = 4000, **options: float) -> np.ndarray:
    """How often each code is the first parent, over many runs: with h = 1 and m = 0 a child is its parent."""
    n = len(scores)
    optimizer = Genetic(population=n, mutation_rate=0.0, heritability=1.0, **options)
    numbered = torch.arange(n, dtype=torch.float32)[None, :, None].expand(runs, n, 1)
    state = optimizer.start(torch.arange(runs), numbered)
    told = optimizer.tell(state, torch.tensor([scores], dtype=torch.float64).expand(runs, n))
    children = optimizer.ask(told)[~np.isnan(scores)[None, :].repeat(runs, 0)]
    return np.bincount(children.flatten().to(torch.int64).numpy(), minlength=n) / children.numel()


def softmax_of_clipped(scores: list[float], q: float, deviation: float, ceiling: float) -> np.ndarray:
    clipped = np.minimum(scores, ceiling)
    weights = np.exp((clipped - clipped.max()) * q / deviation)
    return weights / weights.sum()


def far_apart(frequencies: np.ndarray, expected: np.ndarray, draws: int) -> bool:
    """A chi-square above its mean by more than five of its standard deviations."""
    chi_square = (draws * (frequencies - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    return bool(chi_square > freedom + 5.0 * (2.0 * freedom) ** 0.5)


def test_it_follows_the_golden_trajectories(follows_golden):
    follows_golden("genetic")


def test_unscored_codes_are_never_parents():
    optimizer = Genetic(population=8, mutation_rate=0.0, selectivity=0.0)
    numbered = torch.arange(8.0)[None, :, None].expand(50, 8, 40)
    state = optimizer.start(torch.arange(50), numbered)
    scores = torch.tensor([[1.0, NAN, 3.0, NAN, NAN, 2.0, 0.0, NAN]], dtype=torch.float64).expand(50, 8)
    codes = optimizer.ask(optimizer.tell(state, scores))
    assert set(codes[:, [0, 2, 5, 6]].unique().tolist()) == {0.0, 2.0, 5.0, 6.0}


def test_an_unscored_code_is_shown_again_unchanged():
    optimizer = Genetic(population=6, mutation_rate=1.0, elites=2)
    state = start(optimizer)
    scores = [1.0, NAN, 3.0, 2.0, NAN, 0.0]
    for _ in range(3):
        following = tell(optimizer, state, scores)
        same = (following.codes == state.codes).all(-1)[0]
        assert same.tolist() == [False, True, True, True, True, False]
        state = following


def test_all_unscored_shows_the_whole_population_again():
    optimizer = Genetic(population=6, elites=1)
    state = start(optimizer)
    assert torch.equal(tell(optimizer, state, [NAN] * 6).codes, state.codes)


def test_one_scored_code_is_the_parent_of_every_child():
    optimizer = Genetic(population=4, mutation_rate=0.0)
    state = start(optimizer)
    following = tell(optimizer, state, [NAN, NAN, -5.0, NAN])
    assert torch.equal(following.codes, state.codes)
    optimizer = Genetic(population=4, mutation_rate=1.0, mutation_size=0.25)
    child = tell(optimizer, state, [NAN, NAN, -5.0, NAN]).codes[0, 2]
    assert 0.0 < float((child - state.codes[0, 2]).abs().max()) < 1.5


def test_elites_survive_unchanged_and_are_the_best():
    optimizer = Genetic(population=10, mutation_rate=1.0, elites=3)
    state = start(optimizer)
    same = (tell(optimizer, state, TEN).codes == state.codes).all(-1)[0]
    assert same.nonzero().flatten().tolist() == [4, 8, 9]


def test_elites_are_ranked_before_clipping():
    # 41 scores: the 95th percentile is the 39th of them, so the best three are clipped to one value.
    scores = [0.0] * 38 + [10.0, 11.0, 12.0]
    optimizer = Genetic(population=41, mutation_rate=1.0, elites=1)
    state = start(optimizer)
    same = (tell(optimizer, state, scores).codes == state.codes).all(-1)[0]
    assert same.nonzero().flatten().tolist() == [40]


@pytest.mark.parametrize("greatest", [torch.inf, 1e200])
def test_the_greatest_score_is_the_elite_however_great(greatest):
    optimizer = Genetic(population=4, mutation_rate=1.0, elites=1)
    state = start(optimizer)
    same = (tell(optimizer, state, [1e150, 0.0, greatest, -1.0]).codes == state.codes).all(-1)[0]
    assert same.tolist() == [False, False, True, False]


def test_fewer_scored_codes_than_elites_all_survive():
    optimizer = Genetic(population=5, mutation_rate=1.0, elites=4)
    state = start(optimizer)
    assert torch.equal(tell(optimizer, state, [1.0, NAN, 2.0, NAN, 0.0]).codes, state.codes)


def test_parents_are_drawn_by_a_softmax_with_the_deviation_before_clipping():
    scores = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 6.0]
    ceiling = float(np.percentile(scores, 95))
    found = parents(scores, selectivity=2.0)
    draws = 4000 * len(scores)
    before = softmax_of_clipped(scores, 2.0, np.std(scores), ceiling)
    after = softmax_of_clipped(scores, 2.0, np.std(np.minimum(scores, ceiling)), ceiling)
    sample = softmax_of_clipped(scores, 2.0, np.std(scores, ddof=1), ceiling)
    assert not far_apart(found, before, draws)
    assert far_apart(found, after, draws)
    assert far_apart(found, sample, draws)


def test_scores_are_clipped_at_the_95th_percentile_by_linear_interpolation():
    scores = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 6.0]
    found = parents(scores, selectivity=2.0)
    draws = 4000 * len(scores)

    def expected(ceiling: float) -> np.ndarray:
        return softmax_of_clipped(scores, 2.0, np.std(scores), ceiling)

    # The place of the 95th percentile is 0.95 · 7 = 6.65, between 0.6 and 6.
    assert not far_apart(found, expected(0.6 + 0.65 * 5.4), draws)
    assert far_apart(found, expected(0.6 + 0.72 * 5.4), draws)  # the 96th
    for method in ("lower", "higher", "midpoint", "weibull"):
        assert far_apart(found, expected(float(np.percentile(scores, 95, method=method))), draws), method


def test_deviation_and_percentile_are_those_of_the_scored_codes():
    scores = [NAN, 0.0, 0.1, NAN, 0.2, 0.3, NAN, 0.4, 0.5, NAN, 0.6, 6.0]
    seen = [s for s in scores if not np.isnan(s)]
    expected = softmax_of_clipped(seen, 2.0, np.std(seen), float(np.percentile(seen, 95)))
    found = parents(scores, selectivity=2.0)
    assert found[np.isnan(scores)].sum() == 0.0
    assert not far_apart(found[~np.isnan(scores)], expected, 4000 * len(seen))


def test_selectivity_0_means_that_all_parents_are_alike():
    found = parents(TEN, selectivity=0.0)
    assert not far_apart(found, np.full(10, 0.1), 40_000)
    assert far_apart(parents(TEN, selectivity=0.3), np.full(10, 0.1), 40_000)


def test_equal_scores_make_all_parents_alike():
    assert not far_apart(parents([-7.25] * 6, selectivity=4.0), np.full(6, 1 / 6), 24_000)


def test_an_underflowed_probability_is_raised_to_the_least_positive_one():
    # exp(-1 / kT) with kT = 0.5 / 3000 is zero; the least positive probability is that of the best.
    found = parents([0.0, 1.0, 0.0, 1.0, 1.0, 0.0], selectivity=3000.0)
    assert not far_apart(found, np.full(6, 1 / 6), 24_000)


def test_the_temperature_has_a_least_value():
    # The deviation is 1e-8, kT its least value 1e-8 and not 1e-8 / 1000.
    scores = [0.0, 2e-8]
    clipped = 0.95 * 2e-8
    worse = np.exp(-clipped / 1e-8)
    expected = np.array([worse, 1.0]) / (1.0 + worse)
    assert not far_apart(parents(scores, runs=8000, selectivity=1000.0), expected, 16_000)


def test_the_two_parents_are_drawn_independently():
    optimizer = Genetic(population=5, mutation_rate=0.0, selectivity=0.0)
    runs, dim = 2000, 30
    numbered = torch.arange(5.0)[None, :, None].expand(runs, 5, dim)
    state = optimizer.start(torch.arange(runs), numbered)
    children = optimizer.ask(optimizer.tell(state, torch.zeros(runs, 5, dtype=torch.float64)))
    greatest, least = children.amax(-1), children.amin(-1)
    # With 30 components of two parents, one of them missing altogether is a matter of 2^-29.
    same = float((greatest == least).to(torch.float64).mean())
    assert same == pytest.approx(0.2, abs=0.02)
    pairs = torch.bincount((5 * least + greatest).flatten().to(torch.int64), minlength=25).reshape(5, 5)
    unordered = pairs[torch.triu(torch.ones(5, 5), diagonal=1) > 0] / (runs * 5)
    assert unordered.numpy() == pytest.approx(np.full(10, 0.08), abs=0.015)


@pytest.mark.parametrize(("heritability", "share"), [(0.5, 0.5), (0.75, 0.75), (0.25, 0.75), (1.0, 1.0)])
def test_a_component_comes_from_the_first_parent_with_the_heritability(heritability, share):
    # Rank the shares of the two values within a child: whichever is first, they are h and 1 - h.
    optimizer = Genetic(population=2, mutation_rate=0.0, selectivity=0.0, heritability=heritability)
    runs, dim = 200, 1000
    state = optimizer.start(torch.arange(runs), torch.arange(2.0)[None, :, None].expand(runs, 2, dim))
    children = optimizer.ask(optimizer.tell(state, torch.zeros(runs, 2, dtype=torch.float64)))
    ones = children.mean(-1).flatten()
    mixed = ones[(ones > 0.0) & (ones < 1.0)]
    if share == 1.0:
        assert len(mixed) == 0
    else:
        larger = float(torch.maximum(mixed, 1.0 - mixed).mean())
        assert larger == pytest.approx(share, abs=0.015)


def test_heritability_below_a_half_means_one_minus_it():
    states = []
    for heritability in (0.25, 0.75):
        optimizer = Genetic(population=10, heritability=heritability)
        states.append(tell(optimizer, start(optimizer), TEN))
    assert torch.equal(states[0].codes, states[1].codes)


def test_components_mutate_at_the_rate_and_by_the_size():
    optimizer = Genetic(population=20, mutation_rate=0.3, mutation_size=0.7)
    state = optimizer.start(torch.tensor([5]), torch.zeros(1, 20, 2000))
    codes = tell(optimizer, state, [0.0] * 20).codes
    changed = codes[codes != 0.0]
    assert len(changed) / codes.numel() == pytest.approx(0.3, abs=0.01)
    assert float(changed.std()) == pytest.approx(0.7, rel=0.03)
    assert float(changed.mean()) == pytest.approx(0.0, abs=0.03)
    every = Genetic(population=20, mutation_rate=1.0, mutation_size=0.7)
    assert bool((tell(every, state, [0.0] * 20).codes != 0.0).all())


def test_the_initial_codes_are_the_first_generation():
    optimizer = Genetic(population=3)
    initial = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    assert torch.equal(optimizer.ask(optimizer.start(torch.tensor([0]), initial)), initial)
