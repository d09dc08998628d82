"""Bring your own neuron: ask, tell in any order, and nothing is taken that was not asked."""

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import xdream
from xdream import optimizers
from xdream.errors import BadInput, UnknownName
from xdream.experiment.evolution import Evolution
from xdream.generators import GENERATORS
from xdream.types import Batch

NAN = float("nan")


def small(**changes: Any) -> Evolution:
    options: dict[str, Any] = {
        "generator": "pixels",
        "generator_options": {"size_px": 8},
        "optimizer": "genetic",
        "seed": 3,
        "population": 5,
    }
    return Evolution(**options | changes)


def same(one: Batch, other: Batch) -> bool:
    return (
        one.ids == other.ids
        and np.array_equal(one.codes, other.codes)
        and np.array_equal(one.images, other.images)
    )


def test_it_is_one_of_the_public_names() -> None:
    assert xdream.Evolution is Evolution


def test_a_batch_is_codes_and_the_images_that_are_shown() -> None:
    batch = small().ask()
    assert len(set(batch.ids)) == 5
    assert batch.codes.shape == (5, 192)
    assert batch.images.shape == (5, 3, 8, 8)
    assert batch.codes.dtype == batch.images.dtype == np.float32
    expected = np.rint(np.clip(batch.codes, 0, 1) * np.float32(255)).reshape(5, 3, 8, 8)
    np.testing.assert_array_equal((batch.images * 255).round(), expected)
    assert batch.images.min() >= 0.0
    assert batch.images.max() <= 1.0


def test_asking_twice_gives_the_same_even_when_some_are_told() -> None:
    evolution = small()
    first = evolution.ask()
    assert same(evolution.ask(), first)
    evolution.tell(first.ids[1:3], [1.0, 2.0])
    assert same(evolution.ask(), first)
    assert same(small().ask(), first)


def test_it_is_the_optimizer_on_the_generators_codes() -> None:
    evolution = small(mutation_rate=0.3, mutation_size=0.2)
    plain = optimizers.make(
        "genetic",
        dim=192,
        seed=3,
        initial=evolution.ask().codes,
        population=5,
        mutation_rate=0.3,
        mutation_size=0.2,
    )
    for generation in range(4):
        batch = evolution.ask()
        assert evolution.generation == generation
        np.testing.assert_array_equal(batch.codes, plain.ask())
        scores = batch.codes.sum(1)
        evolution.tell(batch.ids, scores)
        plain.tell(scores)


def test_ids_are_unique_within_an_evolution() -> None:
    evolution = small()
    ids: list[str] = []
    for _ in range(3):
        batch = evolution.ask()
        ids += batch.ids
        evolution.tell(batch.ids, np.zeros(5))
    assert len(set(ids)) == 15


scores_of_five = st.lists(st.floats(-1e3, 1e3) | st.just(NAN), min_size=5, max_size=5)


@settings(deadline=None, max_examples=40)
@given(scores_of_five, st.permutations(range(5)), st.integers(0, 5), st.integers(0, 5))
def test_scores_may_come_in_any_order_and_in_any_parts(
    scores: list[float], order: list[int], one: int, other: int
) -> None:
    at_once, bit_by_bit = small(), small()
    batch = at_once.ask()
    assert same(batch, bit_by_bit.ask())
    at_once.tell(batch.ids, scores)
    cuts = sorted((one, other))
    for part in (order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]):
        if part:
            assert bit_by_bit.generation == 0
            bit_by_bit.tell([batch.ids[i] for i in part], [scores[i] for i in part])
    assert bit_by_bit.generation == at_once.generation == 1
    assert same(bit_by_bit.ask(), at_once.ask())


@settings(deadline=None, max_examples=40)
@given(scores_of_five, st.sets(st.integers(0, 4), max_size=4))
def test_closing_a_generation_declares_the_rest_not_seen(scores: list[float], seen: set[int]) -> None:
    closed, told_nan = small(), small()
    batch = closed.ask()
    assert same(batch, told_nan.ask())
    closed.tell([batch.ids[i] for i in seen], [scores[i] for i in seen])
    closed.close_generation()
    told_nan.tell(batch.ids, [scores[i] if i in seen else NAN for i in range(5)])
    assert closed.generation == told_nan.generation == 1
    assert same(closed.ask(), told_nan.ask())


def test_what_was_not_seen_is_asked_again() -> None:
    evolution = small()
    before = evolution.ask()
    evolution.tell(before.ids, [1.0, NAN, 2.0, NAN, 3.0])
    after = evolution.ask()
    np.testing.assert_array_equal(after.codes[[1, 3]], before.codes[[1, 3]])
    assert not np.array_equal(after.codes[0], before.codes[0])
    assert not set(after.ids) & set(before.ids)


@pytest.mark.parametrize(
    ("ids", "scores", "said"),
    [
        ([0, "g0000-005"], [1.0, 2.0], "'g0000-005' is not of this generation (g0000-000 to g0000-004)"),
        ([0, "g0001-000"], [1.0, 2.0], "'g0001-000' is not of this generation"),
        ([0, 0], [1.0, 2.0], "'g0000-000' has two scores"),
        ([0, 4], [1.0, 2.0], "'g0000-004' has two scores"),
        ([0, 1], [1.0], "2 ids but scores of shape (1,)"),
        ([0, 1], [1.0, 2.0, 3.0], "2 ids but scores of shape (3,)"),
        ([0, 1], 1.0, "2 ids but scores of shape ()"),
        ([0, 1], [[1.0, 2.0]], "2 ids but scores of shape (1, 2)"),
    ],
)
def test_a_wrong_telling_is_refused_and_nothing_of_it_is_taken(
    ids: list[Any], scores: Any, said: str
) -> None:
    evolution, other = small(), small()
    batch = evolution.ask()
    other.ask()
    for one in (evolution, other):
        one.tell(batch.ids[4:], [5.0])  # told before
    with pytest.raises(BadInput) as caught:
        evolution.tell([batch.ids[i] if isinstance(i, int) else i for i in ids], scores)
    assert said in str(caught.value)
    for one in (evolution, other):
        one.tell(batch.ids[:4], [4.0, 3.0, 2.0, 1.0])
    assert same(evolution.ask(), other.ask())


def test_an_id_of_the_last_generation_is_refused() -> None:
    evolution = small()
    old = evolution.ask().ids
    with pytest.raises(BadInput, match="call ask first"):
        small().tell(old, np.arange(5))
    evolution.tell(old, np.arange(5))
    with pytest.raises(BadInput, match="call ask first"):
        evolution.tell(old[:1], [1.0])
    evolution.ask()
    with pytest.raises(BadInput, match="not of this generation"):
        evolution.tell(old[:1], [1.0])


def test_the_callers_arrays_are_not_the_evolutions() -> None:
    initial = np.random.default_rng(0).normal(size=(5, 192)).astype(np.float32)
    evolution, other = small(initial=initial), small(initial=initial.copy())
    initial[:] = 7.0
    scores = np.arange(5.0)
    batch = evolution.ask()
    expected = other.ask()
    assert same(batch, expected)
    batch.codes[:] = 9.0
    batch.images[:] = 9.0
    assert same(evolution.ask(), expected)
    evolution.tell(batch.ids[:4], scores[:4])
    scores[:] = -1.0
    evolution.tell(batch.ids[4:], [4.0])
    other.tell(batch.ids, np.arange(5.0))
    assert same(evolution.ask(), other.ask())
    assert scores.tolist() == [-1.0] * 5


def test_images_are_shown_at_the_size_that_is_asked_for() -> None:
    batch = small(image_size_px=20).ask()
    assert batch.images.shape == (5, 3, 20, 20)
    grid = batch.images * 255
    np.testing.assert_allclose(grid, grid.round(), atol=1e-4)


def test_a_generator_made_before_serves_too() -> None:
    generator = GENERATORS.make("pixels", size_px=8)
    assert same(Evolution(generator, "genetic", 3, population=5).ask(), small().ask())


@pytest.mark.parametrize("optimizer", ["fdgd", "nes"])
def test_a_gradient_optimizer_starts_at_the_centre_of_the_generator(optimizer: str) -> None:
    codes = small(optimizer=optimizer, population=6).ask().codes.astype(float)
    np.testing.assert_allclose((codes[:3] + codes[3:]) / 2, 0.5, atol=1e-6)


def test_hyperparameters_that_are_not_given_are_the_defaults_of_the_generator() -> None:
    assert len(Evolution(generator="pixels", generator_options={"size_px": 8}).ask().ids) == 20
    made = small(optimizer="nes", population=6, search_radius=2.0).optimizer
    assert (made.search_radius, made.learning_rate) == (2.0, 0.03)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"generator": "pixel"}, UnknownName, "unknown generator 'pixel'"),
        ({"optimizer": "genetics"}, UnknownName, "unknown optimizer 'genetics'"),
        ({"generator_options": {"size": 8}}, BadInput, "no option 'size'"),
        ({"populaton": 5}, BadInput, "no option 'populaton'"),
        ({"population": 0}, BadInput, "population is 0"),
        ({"seed": -1}, BadInput, "seed is -1"),
        ({"seed": 2**63}, BadInput, f"seed is {2**63}"),
        ({"initial": np.zeros((5, 191))}, BadInput, "(5, 191)"),
        ({"initial": np.full((5, 192), np.nan)}, BadInput, "finite"),
        ({"initial": np.zeros(192)}, BadInput, "(192,)"),
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, Any], error: type[BadInput], said: str) -> None:
    with pytest.raises(error) as caught:
        small(**changes)
    assert said in str(caught.value)


def test_an_evolution_finds_what_its_neuron_likes() -> None:
    evolution = small(population=20, elites=1)
    wanted = torch.nn.functional.normalize(
        torch.randn(192, generator=torch.Generator().manual_seed(0)), dim=0
    )
    bests = []
    for _ in range(80):
        batch = evolution.ask()
        scores = (batch.images.reshape(20, -1) - 0.5) @ wanted.numpy()
        bests.append(scores.max())
        evolution.tell(batch.ids, scores)
    assert bests[-1] > bests[0] + 1.5


def test_closing_a_generation_that_was_told_whole_does_not_close_the_next() -> None:
    evolution = Evolution("pixels", "genetic", generator_options={"size_px": 8}, seed=3)
    batch = evolution.ask()
    evolution.tell(batch.ids, np.arange(20.0))
    evolution.close_generation()
    assert evolution.generation == 1
    after = evolution.ask()
    evolution.close_generation()  # this one was asked, and nothing of it was seen
    assert evolution.generation == 2
    np.testing.assert_array_equal(evolution.ask().codes, after.codes)


def test_an_engine_draws_the_images_of_an_evolution() -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("no OpenVINO")
    own = xdream.Evolution("natural-v1", seed=2, engine="openvino", population=4).ask()
    torchs = xdream.Evolution("natural-v1", seed=2, population=4).ask()
    np.testing.assert_array_equal(own.codes, torchs.codes)
    np.testing.assert_allclose(own.images, torchs.images, atol=1.01 / 255)
    with pytest.raises(
        BadInput, match="engine 'openvino' cannot compute generator 'pixels': it is no network"
    ):
        xdream.Evolution("pixels", engine="openvino")
