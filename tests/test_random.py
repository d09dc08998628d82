"""Counter-based draws: the published vectors, the derivation, the distributions, and pinned values."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from xdream import random

DERIVED = runpy.run_path(str(Path(__file__).parent / "golden" / "derivation.py"))
SEEDS = [0, 1, 12345, 2**32, 2**40 + 17, 2**63 - 1]
DRAWS = (random.uniform, random.uniform64, random.normal)

#: Random123 1.14.0, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def of(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def normal_probability(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x.tolist()])


# The bits


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, answer):
    words = random.philox(tuple(of(c) for c in counter), tuple(of(k) for k in key))
    assert tuple(int(word) for word in words) == answer
    assert DERIVED["philox"](counter, key) == answer


@pytest.mark.parametrize("step", [0, 1, 2**31, 2**32 - 1])
def test_bits_are_those_of_the_derivation(step):
    found = random.bits(of(*SEEDS), torch.full((6,), step), "noise", 23)
    assert found.tolist() == [DERIVED["words"](seed, step, "noise", 23) for seed in SEEDS]


def test_bits_are_balanced():
    words = random.bits(of(5), of(0), "a", 20_000)[0]
    for bit in range(32):
        assert float((words >> bit & 1).to(torch.float64).mean()) == pytest.approx(0.5, abs=0.018), bit
    assert len(words.unique()) > 19_995


# Each number is a function of its coordinates


@pytest.mark.parametrize("draw", DRAWS)
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(draw):
    longest = draw(of(9, 4), of(2, 7), "a", (50,))
    for n in (0, 1, 2, 3, 5, 49):
        assert torch.equal(draw(of(9, 4), of(2, 7), "a", (n,)), longest[:, :n]), n


@pytest.mark.parametrize("draw", DRAWS)
def test_a_shape_is_filled_row_by_row(draw):
    assert torch.equal(
        draw(of(9, 4), of(2, 7), "a", (3, 5)), draw(of(9, 4), of(2, 7), "a", (15,)).reshape(2, 3, 5)
    )


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_draws_the_same_alone_or_beside_others(draw):
    steps = torch.arange(6) * 3
    together = draw(of(*SEEDS), steps, "a", (7, 5))
    for i, seed in enumerate(SEEDS):
        assert torch.equal(draw(of(seed), steps[i : i + 1], "a", (7, 5))[0], together[i])


@pytest.mark.parametrize("draw", DRAWS)
def test_seeds_steps_and_purposes_draw_differently(draw):
    def drawn(seed: int, step: int, purpose: str) -> torch.Tensor:
        return draw(of(seed), of(step), purpose, (100,))[0]

    all_of_them = [
        drawn(0, 0, "a"),
        drawn(1, 0, "a"),
        drawn(2**32, 0, "a"),
        drawn(0, 1, "a"),
        drawn(1, 1, "a"),
        drawn(0, 0, "b"),
        drawn(0, 0, "aa"),
    ]
    for i, one in enumerate(all_of_them):
        for other in all_of_them[:i]:
            assert not torch.isin(one, other).any()


@pytest.mark.parametrize("draw", DRAWS)
def test_neighbouring_seeds_steps_and_purposes_are_uncorrelated(draw):
    n = 40_000
    sequences = [
        draw(of(seed), of(step), purpose, (n,))[0].to(torch.float64).numpy()
        for seed, step, purpose in [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (2**32, 0, "a")]
    ]
    correlations = np.corrcoef(sequences) - np.eye(5)
    assert np.abs(correlations).max() < 4.5 / math.sqrt(n)
    for x in sequences:
        assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4.5 / math.sqrt(n)


# Uniform numbers


def test_uniforms_are_those_of_the_derivation():
    found = random.uniform(of(*SEEDS), torch.full((6,), 3), "a", (31,))
    assert found.dtype == torch.float32
    assert found.tolist() == [DERIVED["uniforms"](seed, 3, "a", 31) for seed in SEEDS]
    found = random.uniform64(of(*SEEDS), torch.full((6,), 3), "a", (31,))
    assert found.dtype == torch.float64
    assert found.tolist() == [DERIVED["uniforms64"](seed, 3, "a", 31) for seed in SEEDS]


@pytest.mark.parametrize(("draw", "grid"), [(random.uniform, 2**24), (random.uniform64, 2**53)])
def test_uniforms_lie_on_their_grid_from_0_to_below_1(draw, grid):
    values = draw(of(1, 2), of(0, 0), "a", (50_000,)).to(torch.float64)
    assert 0.0 <= float(values.min()) < 1e-4
    assert 1.0 - 1e-4 < float(values.max()) <= 1.0 - 1.0 / grid
    assert torch.equal((values * grid).floor(), values * grid)


@pytest.mark.parametrize("word", [0, 2**32 - 1])
@pytest.mark.parametrize("draw", [random.uniform, random.uniform64])
def test_the_extreme_words_stay_within_0_and_1(draw, word, monkeypatch):
    monkeypatch.setattr(random, "bits", lambda _seeds, _steps, _purpose, count: torch.full((1, count), word))
    value = float(draw(of(0), of(0), "a", (1,)))
    assert value == 0.0 if word == 0 else 0.9999 < value < 1.0


@pytest.mark.parametrize("draw", [random.uniform, random.uniform64])
def test_uniforms_are_uniform(draw):
    n = 100_000
    values = np.sort(draw(of(2026), of(0), "a", (n,))[0].numpy().astype(np.float64))
    distance = np.abs(values - (np.arange(n) + 0.5) / n).max()
    assert distance * math.sqrt(n) < 1.63  # Kolmogorov and Smirnov's bound at 1 %


# Normal numbers


def test_normals_are_those_of_the_derivation():
    steps = torch.arange(6)
    found = random.normal(of(*SEEDS), steps, "a", (1001,))
    assert found.dtype == torch.float32
    expected = [DERIVED["normals"](seed, step, "a", 1001) for step, seed in enumerate(SEEDS)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6)


def test_a_normal_is_rounded_as_ieee_754_has_it():
    """With NumPy's square root, which is the processor's; equal on every processor."""
    count = 20_000
    words = random.bits(of(3), of(0), "a", count).reshape(-1, 2)
    radius = np.sqrt(np.float32(-2.0) * random._log_of_fraction(words[:, 0]).numpy())
    cosine, sine = (one.numpy() for one in random._turn(words[:, 1]))
    found = random.normal(of(3), of(0), "a", (count,))[0].numpy()
    np.testing.assert_array_equal(found, np.stack([radius * cosine, radius * sine], axis=1).ravel())


def test_normals_are_good_to_2e_6_wherever_radius_and_angle_lie(monkeypatch):
    near_both_ends = [
        *range(0, 2**31, 2**31 // 3),
        *(2**k for k in range(32)),
        *(3 * 2**k for k in range(31)),
    ]
    of_radius = sorted({w for k in near_both_ends for w in (k, 2**32 - 1 - k)})
    quarters = [q * 2**30 + w for q in range(4) for w in (0, 2**6, 2**27 + 123, 2**29, 2**29 + 7, 2**30 - 1)]
    pairs = [(r, a) for r in of_radius for a in quarters]
    words = torch.tensor(pairs, dtype=torch.int64).reshape(1, -1)
    monkeypatch.setattr(random, "bits", lambda _seeds, _steps, _purpose, count: words[:, :count])
    found = random.normal(of(0), of(0), "a", (words.numel(),))[0].numpy()
    expected = np.array([DERIVED["box_muller"](*pair) for pair in pairs]).flatten()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    assert np.abs(found).max() < 6.77


def test_normals_have_the_moments_of_a_normal_distribution():
    n = 200_000
    x = random.normal(of(7), of(0), "a", (n,))[0].to(torch.float64)
    # mean, then E x², E x³, E x⁴, each with the standard error of its own variance.
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert float((x**power).mean()) == pytest.approx(moment, abs=4.0 * math.sqrt(variance / n)), power


def test_normals_are_normally_distributed():
    n = 50_000
    values = np.sort(random.normal(of(2026), of(0), "a", (n,))[0].numpy().astype(np.float64))
    distance = np.abs(normal_probability(values) - (np.arange(n) + 0.5) / n).max()
    assert distance * math.sqrt(n) < 1.63


def test_the_two_normals_of_a_pair_are_independent():
    x = random.normal(of(11), of(0), "a", (100_000, 2))[0].to(torch.float64)
    first, second = x.unbind(-1)
    for one, other in [(first, second), (first**2, second**2), (first, second**2)]:
        assert abs(float(torch.corrcoef(torch.stack((one, other)))[0, 1])) < 4.0 / math.sqrt(100_000)


# Poisson counts


def poisson_pmf(rate: float, most: int) -> list[float]:
    if rate == 0.0:
        return [1.0] + [0.0] * most
    return [math.exp(k * math.log(rate) - rate - math.lgamma(k + 1.0)) for k in range(most + 1)]


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.003, 0.7, 1.0, 4.5, 20.0, 99.5, 700.0, 3000.0])
def test_poisson_is_the_inverse_of_the_exact_distribution(rate):
    most = int(rate + 12.0 * math.sqrt(rate) + 40.0)
    below = np.cumsum(poisson_pmf(rate, most))
    uniforms = np.concatenate([(np.arange(2000) + 0.5) / 2000, [0.0, 1e-12, 1.0 - 1e-12]])
    # Away from the steps of the distribution by more than rounding, where the count is certain.
    distance = np.abs(uniforms[:, None] - below[None, :]).min(1)
    uniforms = uniforms[distance > 1e-9 * (1.0 - below[:1]) + 1e-13]
    expected = np.searchsorted(below, uniforms, side="right")
    found = random.poisson(torch.from_numpy(uniforms), torch.full((len(uniforms),), rate).to(torch.float64))
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found.numpy(), expected)
    assert len(uniforms) > 1900


def test_poisson_counts_follow_the_distribution_with_unlike_rates_side_by_side():
    n = 5_000
    rates = torch.tensor([0.2, 3.0, 20.0, 150.0], dtype=torch.float64)[:, None].expand(4, n)
    counts = random.poisson(random.uniform64(of(1, 2, 3, 4), of(0, 0, 0, 0), "noise", (n,)), rates)
    for row, rate in zip(counts, (0.2, 3.0, 20.0, 150.0), strict=True):
        seen = np.bincount(row.numpy().astype(np.int64), minlength=300)[:300]
        expected = n * np.array(poisson_pmf(rate, 299))
        common = expected > 5.0
        seen = np.append(seen[common], seen[~common].sum())
        expected = np.append(expected[common], expected[~common].sum())
        chi_square = float(((seen - expected) ** 2 / expected.clip(1e-9)).sum())
        freedom = len(seen) - 1
        assert abs(chi_square - freedom) < 4.0 * math.sqrt(2.0 * freedom), rate
        assert float(row.mean()) == pytest.approx(rate, abs=4.0 * math.sqrt(rate / n))


def test_a_poisson_count_is_the_same_alone_or_beside_other_rates():
    uniforms = random.uniform64(of(3), of(0), "noise", (100,))[0]
    rates = random.uniform64(of(3), of(0), "rates", (100,))[0] ** 4 * 300.0
    together = random.poisson(uniforms, rates)
    assert torch.equal(
        torch.cat([random.poisson(uniforms[i : i + 1], rates[i : i + 1]) for i in range(100)]), together
    )


def test_the_greatest_uniform_number_gives_a_finite_count():
    rates = torch.tensor([0.0, 1e-12, 1.0, 20.0, 5000.0], dtype=torch.float64)
    counts = random.poisson(torch.full((5,), 1.0 - 2.0**-53, dtype=torch.float64), rates)
    assert counts[0] == 0.0
    assert bool((counts <= rates + 20.0 * rates.sqrt() + 90.0).all())


def test_no_rates_give_no_counts():
    empty = torch.empty(0, 4, dtype=torch.float64)
    assert random.poisson(empty, empty).shape == (0, 4)


# Permutations


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_a_permutation_holds_every_place_once(n):
    found = random.permutation(of(*SEEDS), torch.zeros(6), "order", n)
    assert found.dtype == torch.int64
    assert found.sort(dim=1).values.tolist() == [list(range(n))] * 6
    for i, seed in enumerate(SEEDS):
        assert torch.equal(random.permutation(of(seed), of(0), "order", n)[0], found[i])


def test_every_order_is_equally_frequent():
    runs = 12_000
    found = random.permutation(torch.arange(runs), torch.zeros(runs), "order", 4)
    counts = torch.bincount((found * torch.tensor([64, 16, 4, 1])).sum(1))
    counts = counts[counts > 0].to(torch.float64)
    assert len(counts) == 24
    assert abs(float(((counts - 500.0) ** 2 / 500.0).sum()) - 23.0) < 4.0 * math.sqrt(46.0)


# Pinned: a change of any of these changes what a seed means, and `VERSION` must change with it.


def test_no_draw_has_changed_since_its_version():
    seeds, steps = of(2026, 2**62 + 5), of(3, 500)
    assert random.VERSION == "philox4x32-10/1"
    assert random.bits(seeds, steps, "pinned", 3).tolist() == BITS
    assert random.uniform(seeds, steps, "pinned", (3,)).tolist() == UNIFORM
    assert random.uniform64(seeds, steps, "pinned", (3,)).tolist() == UNIFORM64
    assert [[x.hex() for x in row] for row in random.normal(seeds, steps, "pinned", (3,)).tolist()] == NORMAL
    assert random.permutation(seeds, steps, "pinned", 9).tolist() == PERMUTATION
    rates = torch.tensor([[0.5, 20.0, 300.0]] * 2, dtype=torch.float64)
    uniforms = random.uniform64(seeds, steps, "pinned", (3,))
    assert random.poisson(uniforms, rates).tolist() == POISSON


BITS = [[1986168313, 792605388, 2054111721], [116962907, 2806139445, 43448490]]
UNIFORM = [
    [0.4624407887458801, 0.18454277515411377, 0.4782600998878479],
    [0.02723252773284912, 0.6533552408218384, 0.010116100311279297],
]
UNIFORM64 = [
    [0.46244084227489546, 0.47826015758129137, 0.9052415698055579],
    [0.027232547501886195, 0.010116137921696744, 0.1909766128924667],
]
NORMAL = [
    ["0x1.27f35a0000000p+0", "0x1.d0c5780000000p-2", "-0x1.c95b4c0000000p-1"],
    ["-0x1.522e2c0000000p+1", "-0x1.e72ba40000000p-2", "0x1.576df40000000p+1"],
]
PERMUTATION = [[1, 0, 2, 8, 7, 3, 5, 6, 4], [2, 0, 3, 5, 8, 4, 6, 1, 7]]
POISSON = [[0.0, 20.0, 323.0], [0.0, 10.0, 285.0]]
