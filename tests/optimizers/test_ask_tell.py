"""What holds for every optimizer, and the thin face that asks and tells with NumPy arrays."""

import dataclasses
from typing import Any

import cma
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream import optimizers, random
from xdream.errors import BadInput, UnknownName
from xdream.optimizers import OPTIMIZERS, Optimizer, State

NAMES = ("genetic", "fdgd", "nes")
NAN = float("nan")

SETS: dict[str, list[dict[str, float]]] = {
    "genetic": [
        {"mutation_rate": 0.5, "mutation_size": 0.5, "selectivity": 2.0, "heritability": 0.5, "elites": 0},
        {"mutation_rate": 0.9, "mutation_size": 0.75, "selectivity": 2.5, "heritability": 0.7, "elites": 1},
        {"mutation_rate": 1.0, "mutation_size": 1.5, "selectivity": 0.0, "heritability": 0.2, "elites": 3},
    ],
    "fdgd": [
        {"search_radius": 1.25, "learning_rate": 1.25},
        {"search_radius": 0.3, "learning_rate": 0.01},
        {"search_radius": 2.1, "learning_rate": 0.0},
    ],
    "nes": [
        {"search_radius": 1.25, "learning_rate": 0.1, "radius_learning_rate": 0.05, "least_radius": 0.01},
        {"search_radius": 0.3, "learning_rate": 0.01, "radius_learning_rate": 0.0, "least_radius": 0.7},
        {"search_radius": 2.1, "learning_rate": 0.07, "radius_learning_rate": 0.01, "least_radius": 0.1},
    ],
}
SEEDS = [3, 2**62 + 11, 0]


def hill(codes: np.ndarray, top: float = 2.0) -> np.ndarray:
    """Minus the squared distance to a known best code."""
    return -((codes.astype(np.float64) - top) ** 2).sum(-1)


def noisy_scores(codes: torch.Tensor, generation: int) -> torch.Tensor:
    """A hill, and NaN where a code's own first component says so: the same alone or among others."""
    scores = -((codes.to(torch.float64) - 0.5) ** 2).mean(-1)
    return torch.where((codes[..., 0] * 97.0 + generation).frac().abs() < 0.2, NAN, scores)


def run(optimizer: Optimizer[Any], state: State, generations: int = 5) -> tuple[list[torch.Tensor], State]:
    asked = []
    for generation in range(generations):
        codes = optimizer.ask(state)
        asked.append(codes)
        state = optimizer.tell(state, noisy_scores(codes, generation))
    return [*asked, optimizer.ask(state)], state


def started(name: str, index: list[int], population: int, dim: int) -> tuple[Optimizer[Any], State]:
    options = [{"population": population} | SETS[name][i] for i in index]
    optimizer = optimizers.grouped(name, options)
    seeds = torch.tensor([SEEDS[i] for i in index])
    initial = random.normal(seeds, torch.zeros_like(seeds), "initial codes", (population, dim))
    return optimizer, optimizer.start(seeds, initial)


def fields(state: State) -> dict[str, torch.Tensor]:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


def assert_same(one: State, other: State) -> None:
    for name, value in fields(one).items():
        assert torch.equal(value, fields(other)[name]), name


# Pure functions of an explicit state


@pytest.mark.parametrize("name", NAMES)
def test_asking_twice_gives_the_same(name):
    face = optimizers.make(name, dim=7, seed=5)
    face.tell(hill(face.ask()))
    first = face.ask()
    assert np.array_equal(first, face.ask())
    assert first.dtype == np.float32
    assert first.shape == (20, 7)


@pytest.mark.parametrize("name", NAMES)
def test_changing_the_codes_that_were_asked_for_changes_nothing(name):
    face = optimizers.make(name, dim=7, seed=5)
    before = face.ask()
    face.ask()[:] = 99.0
    assert np.array_equal(face.ask(), before)


@pytest.mark.parametrize("name", NAMES)
def test_telling_leaves_the_old_state_as_it_was(name):
    optimizer, state = started(name, [0, 1], population=6, dim=4)
    kept = type(state)(**{key: value.clone() for key, value in fields(state).items()})
    scores = noisy_scores(optimizer.ask(state), 0)
    told = scores.clone()
    first, second = optimizer.tell(state, scores), optimizer.tell(state, scores)
    assert_same(state, kept)
    assert_same(first, second)
    assert torch.equal(scores.nan_to_num(9.0), told.nan_to_num(9.0))
    assert (first.steps - state.steps).tolist() == [1, 1]


@pytest.mark.parametrize("name", NAMES)
def test_generations_and_seeds_draw_different_codes(name):
    one, other = (optimizers.make(name, dim=7, seed=seed) for seed in (0, 1))
    first = one.ask()
    assert not np.isin(first, other.ask()).any()
    one.tell(np.zeros(20))
    assert (one.ask() != first).mean() > 0.4


@pytest.mark.parametrize("dim", [5, 1000])
@pytest.mark.parametrize("population", [6, 7])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_does_the_same_alone_or_among_others_to_the_last_bit(name, population, dim):
    together, end = run(*started(name, [0, 1, 2], population, dim))
    for i in range(3):
        alone, own_end = run(*started(name, [i], population, dim))
        for generation, codes in enumerate(alone):
            assert torch.equal(together[generation][i], codes[0]), (generation, i)
        assert_same(optimizers.rows(end, [i]), own_end)


@pytest.mark.parametrize("name", NAMES)
def test_runs_may_leave_join_and_change_places(name):
    optimizer, state = started(name, [0, 1, 2], population=6, dim=5)
    reordered, _ = started(name, [2, 0, 1], population=6, dim=5)
    _, middle = run(optimizer, state, generations=2)
    moved = optimizers.joined([optimizers.rows(middle, [2]), optimizers.rows(middle, torch.tensor([0, 1]))])
    expected, end = run(optimizer, middle, generations=3)
    found, moved_end = run(reordered, moved, generations=3)
    assert torch.equal(found[-1], expected[-1][[2, 0, 1]])
    assert_same(moved_end, optimizers.rows(end, [2, 0, 1]))


@pytest.mark.parametrize("name", NAMES)
def test_resuming_from_the_state_gives_the_same(name, tmp_path):
    optimizer, state = started(name, [0, 1, 2], population=6, dim=5)
    expected, end = run(optimizer, state, generations=6)
    _, middle = run(optimizer, state, generations=3)
    np.savez(tmp_path / "state.npz", **{key: value.numpy() for key, value in fields(middle).items()})
    del middle
    with np.load(tmp_path / "state.npz") as file:
        restored = type(state)(**{key: torch.from_numpy(file[key]) for key in file.files})
    for generation in range(3, 6):
        codes = optimizer.ask(restored)
        assert torch.equal(codes, expected[generation])
        restored = optimizer.tell(restored, noisy_scores(codes, generation))
    assert_same(restored, end)


def test_a_group_of_one_takes_the_hyperparameters_as_they_are():
    optimizer = optimizers.grouped("nes", [{"population": 6, "learning_rate": 0.5}])
    assert optimizer == optimizers.NES(population=6, learning_rate=0.5)


def test_a_wrong_value_in_a_group_is_named_by_itself():
    with pytest.raises(BadInput, match=r"learning_rate is -3\.0"):
        optimizers.grouped("fdgd", [{"learning_rate": 1.0}, {"learning_rate": -3.0}])


@pytest.mark.parametrize(
    "options",
    [
        [{"population": 4}, {"population": 8}],
        [{"learning_rate": 1.0}, {"search_radius": 1.0}],
        [{"learning_rate": 1.0}, {"learning_rate": 1.0, "search_radius": 1.0}],
    ],
)
def test_runs_of_unlike_shape_are_not_one_group(options):
    with pytest.raises(BadInput, match=r"population|search_radius|learning_rate"):
        optimizers.grouped("fdgd", options)


# Upwards


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("genetic", {}),
        ("fdgd", {"search_radius": 0.3, "learning_rate": 0.1}),
        ("nes", {"search_radius": 0.3, "learning_rate": 0.1, "radius_learning_rate": 0.0}),
    ],
)
def test_scores_go_up_and_not_down(name, options):
    for seed in range(3):
        for sign in (1.0, -1.0):
            face = optimizers.make(name, dim=10, seed=seed, **options)
            first = sign * face.ask().mean()
            for _ in range(30):
                face.tell(sign * face.ask().sum(-1, dtype=np.float64))
            assert sign * face.ask().mean() > first + 1.0


def best_of_each(name: str, seeds: int, dim: int, evaluations: int, **options: float) -> list[float]:
    """The best score of each run within so many evaluations of `hill`, from codes around zero."""
    optimizer = OPTIMIZERS.make(name, **options)
    initial = random.normal(torch.arange(seeds), torch.zeros(seeds), "initial codes", (20, dim))
    state = optimizer.start(torch.arange(seeds), initial if name == "genetic" else torch.zeros(seeds, 1, dim))
    best = torch.full((seeds,), -torch.inf, dtype=torch.float64)
    for _ in range(evaluations // optimizer.population):
        scores = torch.from_numpy(hill(optimizer.ask(state).numpy()))
        best = torch.maximum(best, scores.amax(-1))
        state = optimizer.tell(state, scores)
    return best.tolist()


def test_they_climb_a_sphere_but_not_higher_than_cma_does():
    dim, evaluations = 10, 4000
    reference = cma.CMAEvolutionStrategy(dim * [0.0], 1.0, {"seed": 1, "popsize": 20, "verbose": -9})
    for _ in range(evaluations // 20):
        points = reference.ask()
        reference.tell(points, [-hill(np.asarray(point)) for point in points])
    upper = -reference.result.fbest
    start = float(hill(np.zeros(dim)))
    assert start == -40.0
    assert upper > -1e-6
    for name, factor, options in [
        ("genetic", 40.0, {"elites": 1}),
        ("fdgd", 100.0, {"search_radius": 0.1, "learning_rate": 0.05}),
        ("nes", 400.0, {"learning_rate": 0.05, "radius_learning_rate": 0.02}),
    ]:
        for best in best_of_each(name, 5, dim, evaluations, **options):
            assert start / factor < best < upper, (name, best)


# Missing, infinite, huge and tiny scores

EXTREME = [
    NAN,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1.0,
    1e300,
    -1e300,
    1e-300,
    -1e-300,
    1.7976931348623157e308,
    5e-324,
]
a_score = st.one_of(st.sampled_from(EXTREME), st.floats())
three_generations = st.lists(st.lists(a_score, min_size=6, max_size=6), min_size=3, max_size=3)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(generations=three_generations)
def test_codes_are_finite_whatever_the_scores(name, generations):
    optimizer, state = started(name, [0, 1, 2], population=6, dim=3)
    for scores in generations:
        state = optimizer.tell(state, torch.tensor([scores] * 3, dtype=torch.float64))
        assert bool(torch.isfinite(optimizer.ask(state)).all())


@pytest.mark.parametrize(
    "scores",
    [
        [NAN] * 6,
        [NAN, NAN, 2.0, NAN, NAN, NAN],
        [3.5] * 6,
        [np.inf] * 6,
        [-np.inf] * 6,
        [np.inf, -np.inf] * 3,
        [np.inf, NAN] * 3,
        [np.inf, NAN, 1.0, -np.inf, NAN, 2.0],
        [1e300] * 6,
        [1e300, -1e300] * 3,
        [1e300, 0.0, 1e-300, -1e-300, -1e300, 1e-300],
        [1e-300, 0.0] * 3,
        [1e16, 1e16 + 2, 1e16, 1e16, 1e16 + 4, 1e16],
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_codes_stay_finite_when_the_same_odd_scores_come_again_and_again(name, scores):
    optimizer, state = started(name, [0, 1, 2], population=6, dim=3)
    for _ in range(8):
        state = optimizer.tell(state, torch.tensor([scores] * 3, dtype=torch.float64))
        assert bool(torch.isfinite(optimizer.ask(state)).all())


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_score_counts_as_the_greatest_or_least_finite_one(name):
    faces = [optimizers.make(name, dim=5, seed=4, population=6) for _ in range(2)]
    faces[0].tell([1.0, np.inf, -2.0, 3.0, NAN, -np.inf])
    faces[1].tell([1.0, 3.0, -2.0, 3.0, NAN, -2.0])
    assert np.array_equal(faces[0].ask(), faces[1].ask())


@pytest.mark.parametrize("name", NAMES)
def test_where_no_score_is_finite_nothing_was_seen(name):
    faces = [optimizers.make(name, dim=5, seed=4, population=6) for _ in range(2)]
    faces[0].tell([np.inf, -np.inf, NAN, np.inf, NAN, -np.inf])
    faces[1].tell([NAN] * 6)
    assert np.array_equal(faces[0].ask(), faces[1].ask())


@pytest.mark.parametrize("name", ["fdgd", "nes"])
def test_a_radius_that_float32_cannot_hold_is_refused(name):
    with pytest.raises(BadInput, match="search_radius is 1e-300"):
        optimizers.make(name, dim=3, search_radius=1e-300)
    if name == "nes":
        with pytest.raises(BadInput, match="least_radius is 1e-300"):
            optimizers.make(name, dim=3, least_radius=1e-300)


# The thin face


def test_genetic_starts_from_normal_codes_and_the_others_from_zero():
    codes = optimizers.make("genetic", dim=5000, seed=8).ask()
    assert float(codes.std()) == pytest.approx(1.0, abs=0.02)
    assert float(codes.mean()) == pytest.approx(0.0, abs=0.02)
    for name in ("fdgd", "nes"):
        codes = optimizers.make(name, dim=50, seed=8).ask()
        np.testing.assert_array_equal(codes[:10], -codes[10:])


def test_initial_codes_may_be_given():
    initial = np.arange(8.0).reshape(4, 2)
    assert np.array_equal(optimizers.make("genetic", dim=2, population=4, initial=initial).ask(), initial)
    codes = optimizers.make("nes", dim=2, initial=initial).ask()
    np.testing.assert_allclose(codes.mean(0), [3.0, 4.0], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_scores_may_come_as_any_array(name):
    scores = np.linspace(-1.0, 3.0, 20)
    locked = scores.copy()
    locked.flags.writeable = False
    forms = [scores, list(scores), tuple(scores), locked, scores[::-1].copy()[::-1], scores.astype(">f8")]
    following = []
    for form in forms:
        face = optimizers.make(name, dim=3)
        face.tell(form)
        following.append(face.ask())
    assert all(np.array_equal(codes, following[0]) for codes in following)


@pytest.mark.parametrize("name", NAMES)
def test_integer_scores_are_numbers_too(name):
    faces = [optimizers.make(name, dim=3) for _ in range(2)]
    faces[0].tell(np.arange(20))
    faces[1].tell(np.arange(20.0))
    assert np.array_equal(faces[0].ask(), faces[1].ask())


@pytest.mark.parametrize("scores", [[1.0] * 19, [1.0] * 21, [[1.0] * 20], 1.0, []])
def test_scores_of_the_wrong_shape_are_refused(scores):
    face = optimizers.make("genetic", dim=3)
    before = face.ask()
    with pytest.raises(BadInput, match=r"scores have shape \(.*20 codes"):
        face.tell(scores)
    assert np.array_equal(face.ask(), before)


# Bad input names the value


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("genetic", {"population": 0}, "population is 0; .*of at least 1"),
        ("fdgd", {"population": 1}, "population is 1; .*of at least 2"),
        ("nes", {"population": -4}, "population is -4; .*of at least 2"),
        ("genetic", {"mutation_rate": -0.1}, r"mutation_rate is -0\.1; it must be a number from 0 to 1"),
        ("genetic", {"mutation_rate": 1.5}, r"mutation_rate is 1\.5"),
        ("genetic", {"mutation_size": -2.0}, r"mutation_size is -2\.0"),
        ("genetic", {"selectivity": -1.0}, r"selectivity is -1\.0"),
        ("genetic", {"selectivity": NAN}, "selectivity is nan"),
        ("genetic", {"heritability": 1.01}, r"heritability is 1\.01"),
        ("genetic", {"elites": 20}, r"elites is 20.*at most 19"),
        ("genetic", {"elites": -1}, "elites is -1"),
        ("fdgd", {"search_radius": 0.0}, r"search_radius is 0\.0; it must be"),
        ("fdgd", {"search_radius": np.inf}, "search_radius is inf"),
        ("fdgd", {"learning_rate": -1.0}, r"learning_rate is -1\.0"),
        ("fdgd", {"learning_rate": NAN}, "learning_rate is nan"),
        ("nes", {"search_radius": -1.0}, r"search_radius is -1\.0"),
        ("nes", {"learning_rate": -1.0}, r"learning_rate is -1\.0"),
        ("nes", {"radius_learning_rate": -0.5}, r"radius_learning_rate is -0\.5"),
        ("nes", {"least_radius": 0.0}, r"least_radius is 0\.0; it must be"),
    ],
)
def test_a_hyperparameter_out_of_range_is_named_with_its_value(name, options, message):
    with pytest.raises(BadInput, match=message):
        optimizers.make(name, dim=3, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("genetic", {"elites": 1.5}, r"elites is 1\.5"),
        ("genetic", {"population": 4.5}, r"population is 4\.5"),
        ("fdgd", {"population": 4.5}, r"population is 4\.5"),
        ("nes", {"population": "many"}, "population is '?many"),
        ("genetic", {"mutation_rate": "often"}, "mutation_rate is '?often"),
        ("fdgd", {"learning_rate": None}, "learning_rate is None"),
    ],
)
def test_a_hyperparameter_of_the_wrong_kind_is_named_with_its_value(name, options, message):
    with pytest.raises(BadInput, match=message):
        optimizers.make(name, dim=3, **options)


def test_a_value_above_a_large_limit_is_told_the_limit():
    with pytest.raises(BadInput, match=r"from 0 to 1e\+12"):
        optimizers.make("fdgd", dim=3, learning_rate=1e13)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, NAN, "a"])
def test_a_seed_that_is_no_integer_in_its_range_is_refused(seed):
    with pytest.raises(BadInput, match="seed is"):
        optimizers.make("genetic", dim=3, seed=seed)


def test_the_greatest_seed_works():
    assert np.isfinite(optimizers.make("genetic", dim=3, seed=2**63 - 1).ask()).all()


@pytest.mark.parametrize("dim", [0, -1])
def test_codes_without_numbers_are_refused(dim):
    with pytest.raises(BadInput, match=f"dim is {dim}"):
        optimizers.make("nes", dim=dim)


@pytest.mark.parametrize(
    "initial",
    [
        np.zeros(3),
        np.zeros((4, 2)),
        np.zeros((0, 3)),
        np.zeros((1, 4, 3)),
        np.full((4, 3), NAN),
        np.full((4, 3), 1e300),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_initial_codes_that_cannot_be_used_are_refused(name, initial):
    with pytest.raises(BadInput, match="initial codes"):
        optimizers.make(name, dim=3, population=4, initial=initial)


def test_genetic_needs_an_initial_code_for_each_place():
    with pytest.raises(BadInput, match="3 initial codes for a population of 4"):
        optimizers.make("genetic", dim=3, population=4, initial=np.zeros((3, 3)))


def test_an_unknown_optimizer_or_option_lists_what_there_is():
    with pytest.raises(UnknownName, match=r"'genetik'.*genetic"):
        optimizers.make("genetik", dim=3)
    with pytest.raises(BadInput, match=r"'genetic' has no option 'mutation'.*mutation_rate, mutation_size"):
        optimizers.make("genetic", dim=3, mutation=0.5)
    assert OPTIMIZERS.names() == ["cma", "fdgd", "genetic", "nes", "rank-nes", "sep-cma", "sphere-cma"]
