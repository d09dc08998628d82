"""The loop, against direct computations with neurons whose formula is known."""

import hashlib
import io
import itertools
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import xdream
from xdream import random
from xdream.errors import BadInput
from xdream.experiment import initialization
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS, encode
from xdream.images.references import load
from xdream.optimizers import OPTIMIZERS
from xdream.store import FILE_NAME, Record, RunRecord
from xdream.subjects import KNOWN, KnownPixels, noise_draws, poisson_responses

SIZE = 8
D = 3 * SIZE * SIZE
PIXELS = {"name": "pixels", "size_px": SIZE}
GENETIC = {"name": "genetic", "population": 4}


def plan(**changes: Any) -> Plan:
    small = {
        "targets": ["known:linear::3"],
        "generator": PIXELS,
        "optimizer": GENETIC,
        "presentations": 12,
        "seed": 11,
        "threads": 1,
    }
    return Plan.make(**small | changes)


def codes_of(record: Record, run: int = 0) -> np.ndarray:
    """(generations, population, d) float32."""
    rows = [row for row in record.dump()["image"] if row[0] == run]
    generations = max(row[1] for row in rows) + 1
    codes = np.stack([np.frombuffer(row[4], dtype="<f4") for row in rows])
    return codes.reshape(generations, -1, codes.shape[1])


def shown(codes: np.ndarray) -> np.ndarray:
    """What the generator `pixels` shows: clipped, on the 8-bit grid, round half to even."""
    return np.rint(np.clip(codes, 0, 1) * np.float32(255)).astype(np.uint8)


def linear(unit: int, images: np.ndarray) -> np.ndarray:
    """The responses of `known:linear` to flattened 8-bit images."""
    weights = KNOWN.make("linear", seed=unit, size_px=SIZE).weights.double().numpy()  # type: ignore[attr-defined]
    return (images / 255.0 - 0.5) @ weights


def direct_start(seed: int = 11, n: int = 4) -> torch.Tensor:
    """(1, n, d): the initial codes of `pixels`, N(0.5, 0.25²)."""
    z = random.normal(torch.tensor([seed]), torch.tensor([0]), "initial codes", (n, D))
    return 0.5 + 0.25 * z


def noise_on(
    clean: torch.Tensor, places: Sequence[int], spikes: float, repeats: int, generation: int
) -> torch.Tensor:
    """What the run of `plan` observes of noise-free responses, by where their images come."""
    draws = noise_draws(torch.tensor([11]), generation, ["known:linear::3"], (max(places) + 1, repeats))
    return poisson_responses(clean, draws[0, list(places)], torch.tensor(spikes))


def answers(record: Record, run: int, *, references: bool) -> list[tuple[Any, ...]]:
    """(generation, slot or reference, repeat, response, noise-free response) in order."""
    rows = record.dump()["presentation"]
    place = 4 if references else 3
    return sorted(
        (row[1], row[place], row[5], row[6], row[7])
        for row in rows
        if row[0] == run and row[place] is not None
    )


# One experiment by hand.


def test_a_generation_is_what_its_parts_make_of_it(tmp_path: Path) -> None:
    record = xdream.run(plan(), tmp_path / "x")
    optimizer = OPTIMIZERS.make("genetic", population=4, mutation_rate=0.25, mutation_size=0.125)
    state = optimizer.start(torch.tensor([11]), direct_start())
    rows = record.dump()["image"]
    assert len(rows) == 3 * 4
    for generation, scores in enumerate(record.scores(0)):
        codes = optimizer.ask(state)[0].numpy()
        np.testing.assert_array_equal(codes_of(record)[generation], codes)
        images = shown(codes)
        np.testing.assert_allclose(scores, linear(3, images), rtol=1e-5, atol=1e-6)
        for slot in range(4):
            row = rows[4 * generation + slot]
            assert row[:3] == (0, generation, slot)
            assert row[5] == hashlib.sha256(images[slot].tobytes()).hexdigest()
            assert row[6] == row[7] == scores[slot]
        state = optimizer.tell(state, torch.from_numpy(scores)[None])
    assert record.finished
    [(_, generation, _)] = record.dump()["state"]
    assert generation == 3
    best = record.best_image(0)
    assert best is not None
    assert best.noise_free_score == max(scores.max() for scores in record.scores(0))


def test_every_presentation_is_one_row_with_its_chunk(tmp_path: Path) -> None:
    record = xdream.run(plan(targets=["known:linear::3,1"], batch=3), tmp_path / "x")
    # Eight images of two runs a generation, in chunks of three: 0 0 0 1 | 1 1 2 2.
    for generation in range(3):
        chunks = [
            [row[3] for row in record.dump()["image"] if row[:2] == (run, generation)] for run in (0, 1)
        ]
        assert chunks == [[0, 0, 0, 1], [1, 1, 2, 2]]
    assert len(record.dump()["presentation"]) == 2 * 3 * 4
    for run in (0, 1):
        responses = [row[3] for row in answers(record, run, references=False)]
        np.testing.assert_array_equal(np.reshape(responses, (3, 4)), record.scores(run))


def test_repeats_are_averaged_and_count_as_presentations(tmp_path: Path) -> None:
    record = xdream.run(plan(presentations=24, repeats=3, noise_scale=7.0), tmp_path / "x")
    assert len(record.scores(0)) == 2
    assert record.presentation_count(0) == 24
    observed = record.scores(0, noise_free=False)
    for generation, clean in enumerate(record.scores(0)):
        np.testing.assert_allclose(
            clean, linear(3, shown(codes_of(record)[generation])), rtol=1e-5, atol=1e-6
        )
        noise = noise_on(torch.from_numpy(clean), range(4), 7.0, 3, generation)
        rows = [row for row in answers(record, 0, references=False) if row[0] == generation]
        assert [row[3] for row in rows] == noise.flatten().tolist()
        assert [row[4] for row in rows] == np.repeat(clean, 3).tolist()  # the noise-free beside it
        np.testing.assert_array_equal(observed[generation], noise.mean(1).numpy())
    assert not np.array_equal(observed[0], record.scores(0)[0])


def test_the_optimizer_is_told_what_was_observed_not_what_is_noise_free(tmp_path: Path) -> None:
    record = xdream.run(plan(noise_scale=7.0), tmp_path / "x")
    optimizer = OPTIMIZERS.make("genetic", population=4, mutation_rate=0.25, mutation_size=0.125)
    state = optimizer.start(torch.tensor([11]), direct_start())
    for generation, scores in enumerate(record.scores(0, noise_free=False)):
        assert not np.array_equal(scores, record.scores(0)[generation])
        np.testing.assert_array_equal(codes_of(record)[generation], optimizer.ask(state)[0].numpy())
        state = optimizer.tell(state, torch.from_numpy(scores)[None])


def test_repeats_without_noise_are_equal_and_change_nothing(tmp_path: Path) -> None:
    once = xdream.run(plan(presentations=12), tmp_path / "once")
    thrice = xdream.run(plan(presentations=36, repeats=3), tmp_path / "thrice")
    assert once.dump()["image"] == thrice.dump()["image"]
    assert thrice.presentation_count(0) == 36


def test_an_objective_turns_the_evolution_round(tmp_path: Path) -> None:
    down = xdream.run(plan(objective="minus-mean", presentations=200), tmp_path / "down")
    responses = [row[3] for row in answers(down, 0, references=False)]
    np.testing.assert_array_equal(np.concatenate(down.scores(0)), -np.array(responses))
    assert np.mean(responses[-20:]) < np.mean(responses[:20])


def test_a_missing_response_is_missing_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    respond = KnownPixels.respond

    def blinking(subject: KnownPixels, images: torch.Tensor) -> torch.Tensor:
        responses = respond(subject, images)
        responses[1] = torch.nan
        return responses

    monkeypatch.setattr(KnownPixels, "respond", blinking)
    record = xdream.run(plan(), tmp_path / "x")
    assert [np.isnan(scores).tolist() for scores in record.scores(0)] == 3 * [[False, True, False, False]]
    codes = codes_of(record)
    np.testing.assert_array_equal(codes[:, 1], codes[[0, 0, 0], 1])  # shown again, unchanged
    assert not np.array_equal(codes[0, 0], codes[1, 0])


# Many runs are one run with a longer first axis.


@pytest.mark.parametrize("generator", [PIXELS, {"name": "fourier", "size_px": 16, "cutoff_cycles": 4.0}])
@pytest.mark.parametrize("optimizer", ["genetic", "fdgd", "nes"])
@pytest.mark.parametrize("noise", [{}, {"noise_scale": 5.0, "repeats": 2}])
def test_a_run_is_bit_for_bit_the_same_alone_or_beside_others(
    tmp_path: Path, generator: dict[str, Any], optimizer: str, noise: dict[str, Any]
) -> None:
    same = {"generator": generator, "optimizer": {"name": optimizer, "population": 6}, "presentations": 24}
    together = xdream.run(
        plan(targets=["known:linear::0-2", "known:energy::4"], runs=2, batch=7, **same | noise),
        tmp_path / "together",
    )
    runs = together.runs()
    assert [(run.target, run.seed) for run in runs] == [
        (f"{kind}::{unit}", seed)
        for kind, unit in [("known:linear", 0), ("known:linear", 1), ("known:linear", 2), ("known:energy", 4)]
        for seed in (11, 12)
    ]
    for run in (runs[0], runs[3], runs[6], runs[7]):
        alone = xdream.run(
            plan(targets=[run.target], seed=run.seed, batch=5, **same | noise), tmp_path / str(run.id)
        )
        assert evolution_of(alone, alone.runs()[0]) == evolution_of(together, run)


def evolution_of(record: Record, run: RunRecord) -> Any:
    """Codes, pixels, scores, responses and the last state of one run."""
    images = [(*row[1:3], *row[4:]) for row in record.dump()["image"] if row[0] == run.id]
    state = [row[1:] for row in record.dump()["state"] if row[0] == run.id]
    return images, answers(record, run.id, references=False), state


def test_the_batch_changes_nothing_for_a_known_neuron(tmp_path: Path) -> None:
    records = [
        xdream.run(plan(noise_scale=3.0, batch=batch), tmp_path / str(batch)) for batch in (1, 3, 4, 50)
    ]
    first = evolution_of(records[0], records[0].runs()[0])
    for record in records[1:]:
        assert evolution_of(record, record.runs()[0]) == first


# Budgets.


def notes(record: Record) -> list[str]:
    found: list[str] = json.loads(record.facts["notes"])
    return found


def test_a_budget_is_rounded_down_to_whole_generations_and_says_so(tmp_path: Path) -> None:
    record = xdream.run(plan(presentations=23, repeats=2), tmp_path / "x")
    assert record.presentation_count(0) == 16
    assert notes(record) == ["23 presentations are no multiple of a generation of 8; 16 are shown"]
    assert notes(xdream.run(plan(presentations=16, repeats=2), tmp_path / "y")) == []


def test_an_odd_population_of_pairs_is_rounded_down_and_says_so(tmp_path: Path) -> None:
    record = xdream.run(plan(optimizer={"name": "nes", "population": 5}), tmp_path / "x")
    assert record.presentation_count(0) == 12
    assert [len(scores) for scores in record.scores(0)] == [4, 4, 4]
    assert notes(record) == ["population 5 is odd; nes shows codes in pairs and uses 4"]


def test_a_plan_that_cannot_be_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"presentations is 3, below one generation of 4 .*at least 4"):
        xdream.run(plan(presentations=3), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# References.


def direct_references(photographs: Path, unit: int = 3) -> np.ndarray:
    images = load(str(photographs)).images(range(7), SIZE)
    return linear(unit, images.flatten(1).numpy())


def test_every_reference_is_shown_once_without_noise(tmp_path: Path, photographs: Path) -> None:
    record = xdream.run(plan(references=str(photographs), noise_scale=5.0, batch=3), tmp_path / "x")
    np.testing.assert_allclose(
        record.reference_responses(0), direct_references(photographs), rtol=1e-5, atol=1e-6
    )
    assert [name for name, _ in record.references] == [f"{i}.png" for i in range(7)]
    digest = hashlib.sha256((photographs / "2.png").read_bytes()).hexdigest()
    assert record.references[2] == ("2.png", digest)


def test_interleaved_references_are_shown_but_neither_counted_nor_told(
    tmp_path: Path, photographs: Path
) -> None:
    changes = {
        "references": str(photographs),
        "noise_scale": 5.0,
        "repeats": 2,
        "presentations": 56,
        "batch": 3,
    }
    without = xdream.run(plan(**changes), tmp_path / "without")
    record = xdream.run(plan(references_per_generation=3, **changes), tmp_path / "with")
    assert record.presentation_count(0) == without.presentation_count(0) == 56
    assert evolution_of(record, record.runs()[0]) == evolution_of(without, without.runs()[0])
    between = answers(record, 0, references=True)
    assert answers(without, 0, references=True) == []
    assert len(between) == 7 * 3 * 2
    expected = record.reference_responses(0)
    assert {(row[1], row[4]) for row in between} == set(enumerate(expected.tolist()))
    for generation in range(7):
        # A shuffled round through all seven after another; their noise comes after that of the population.
        for turn, place in enumerate(range(3 * generation, 3 * generation + 3)):
            order = random.permutation(torch.tensor([11]), torch.tensor([place // 7]), "references", 7)
            reference = int(order[0, place % 7])
            clean = torch.from_numpy(expected[[reference]])
            noise = noise_on(clean, [4 + turn], 5.0, 2, generation)
            responses = [row[3] for row in between if row[:2] == (generation, reference)]
            assert set(noise[0].tolist()) <= set(responses)


def test_interleaved_references_go_round_through_all_before_any_comes_again(
    tmp_path: Path, photographs: Path
) -> None:
    record = xdream.run(
        plan(references=str(photographs), references_per_generation=3, presentations=56), tmp_path / "x"
    )
    rows = sorted((*row[1:3], row[4]) for row in record.dump()["presentation"] if row[4] is not None)
    assert [row[0] for row in rows] == [g for g in range(14) for _ in range(3)]
    counts = np.bincount([row[2] for row in rows if row[0] < 7], minlength=7)
    assert counts.tolist() == 7 * [3]  # three rounds of seven
    first_round = {row[2] for row in rows if row[0] < 2}
    assert len(first_round) == 6


def test_all_runs_of_a_subject_answer_the_same_interleaved_references(
    tmp_path: Path, photographs: Path
) -> None:
    record = xdream.run(
        plan(
            targets=["known:linear::3,5", "known:energy::1"],
            references=str(photographs),
            references_per_generation=2,
        ),
        tmp_path / "x",
    )
    shown_to = [[row[:2] for row in answers(record, run, references=True)] for run in range(3)]
    assert shown_to[0] == shown_to[1] == shown_to[2]
    for run in range(3):
        for _, reference, _, _, clean in answers(record, run, references=True):
            assert clean == record.reference_responses(run)[reference]


def test_noise_spikes_set_the_scale_by_the_expected_best_of_the_references(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = direct_references(photographs)
    assert responses.max() > 0
    record = xdream.run(plan(references=str(photographs), noise_spikes=20.0), tmp_path / "all")
    # Fewer than 10,000: the expected best of all of them, which is the best.
    assert record.runs()[0].spikes_per_activation == pytest.approx(20.0 / responses.max(), rel=1e-5)
    monkeypatch.setattr(initialization, "NOISE_REFERENCES", 3)
    record = xdream.run(plan(references=str(photographs), noise_spikes=20.0), tmp_path / "some")
    expected = np.mean([max(some) for some in itertools.combinations(responses, 3)])
    k = record.runs()[0].spikes_per_activation
    assert k == pytest.approx(20.0 / expected, rel=1e-5)
    observed = np.array([row[3] for row in answers(record, 0, references=False)])
    np.testing.assert_allclose(observed * k, np.rint(observed * k), atol=1e-6)


def test_each_run_has_its_own_scale_of_noise(tmp_path: Path, photographs: Path) -> None:
    units = [unit for unit in range(20) if direct_references(photographs, unit).max() > 0][:2]
    record = xdream.run(
        plan(
            targets=[f"known:linear::{unit}" for unit in units],
            references=str(photographs),
            noise_spikes=2.0,
        ),
        tmp_path / "x",
    )
    for run, unit in zip(record.runs(), units, strict=True):
        expected = 2.0 / direct_references(photographs, unit).max()
        assert run.spikes_per_activation == pytest.approx(expected, rel=1e-5)


def test_noise_spikes_without_a_positive_reference_are_refused_and_leave_nothing(
    tmp_path: Path, photographs: Path
) -> None:
    for name in "23456":
        (photographs / f"{name}.png").unlink()
    dark = load(str(photographs)).images(range(2), SIZE).flatten(1).numpy()
    unit = next(unit for unit in range(50) if linear(unit, dark).max() < 0)
    with pytest.raises(BadInput, match=rf"known:linear::{unit} gives -.*noise_scale"):
        xdream.run(
            plan(targets=[f"known:linear::{unit}"], references=str(photographs), noise_spikes=20.0),
            tmp_path / "x",
        )
    assert not (tmp_path / "x").exists()


# Initial codes.


def first_codes(folder: Path, **changes: Any) -> np.ndarray:
    return codes_of(xdream.run(plan(presentations=4, **changes), folder))[0]


def centre(codes: np.ndarray) -> np.ndarray:
    """The centre of antithetic pairs, exact to a rounding."""
    half = len(codes) // 2
    return ((codes[:half].astype(float) + codes[half:]) / 2).mean(0)


def test_by_default_the_genetic_algorithm_starts_from_the_generators_distribution(tmp_path: Path) -> None:
    np.testing.assert_array_equal(first_codes(tmp_path / "x"), direct_start()[0].numpy())


@pytest.mark.parametrize("optimizer", ["fdgd", "nes"])
def test_by_default_the_gradient_optimizers_start_at_the_generators_centre(
    tmp_path: Path, optimizer: str
) -> None:
    part = {"name": optimizer, "population": 4}
    np.testing.assert_allclose(centre(first_codes(tmp_path / "p", optimizer=part)), 0.5, atol=1e-6)
    fourier = {"name": "fourier", "size_px": 16, "cutoff_cycles": 4.0}
    found = centre(first_codes(tmp_path / "f", optimizer=part, generator=fourier))
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_zeros_are_zeros(tmp_path: Path) -> None:
    assert not first_codes(tmp_path / "x", init="zeros").any()
    part = {"name": "fdgd", "population": 4}
    found = first_codes(tmp_path / "y", init="zeros", optimizer=part)
    np.testing.assert_array_equal(found[:2], -found[2:])


def test_statistics_are_the_mean_and_spread_of_the_initial_codes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mu, sig = rng.normal(size=(3, SIZE, SIZE)), rng.uniform(0.1, 2.0, (3, SIZE, SIZE))
    with h5py.File(tmp_path / "statistics.h5", "w") as file:
        file["pixels/mu"], file["pixels/sig"] = mu, sig
    found = first_codes(tmp_path / "x", init=f"statistics:{tmp_path / 'statistics.h5'}")
    z = (direct_start()[0].numpy() - 0.5) / 0.25
    np.testing.assert_allclose(found, mu.reshape(-1) + sig.reshape(-1) * z, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_given_codes_are_taken_in_order_and_round_again(tmp_path: Path, kind: str) -> None:
    codes = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    file = tmp_path / f"codes.{kind}"
    np.save(file, codes) if kind == "npy" else np.savez(file, codes=codes)
    flat = codes.reshape(3, -1)
    np.testing.assert_array_equal(first_codes(tmp_path / "x", init=f"codes:{file}"), flat[[0, 1, 2, 0]])
    part = {"name": "nes", "population": 4}
    found = first_codes(tmp_path / "y", init=f"codes:{file}", optimizer=part)
    np.testing.assert_allclose(centre(found), flat.mean(0), atol=1e-6)


def test_more_codes_than_the_population_are_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.zeros((5, D), dtype=np.float32))
    record = xdream.run(plan(init=f"codes:{tmp_path / 'codes.npy'}"), tmp_path / "x")
    assert notes(record) == ["the first 4 of 5 initial codes are used; a population of 5 would use all"]
    all_of_them = {"name": "genetic", "population": 5}
    record = xdream.run(
        plan(init=f"codes:{tmp_path / 'codes.npy'}", optimizer=all_of_them, presentations=10), tmp_path / "y"
    )
    assert notes(record) == []


def as_codes(folder: Path, indices: list[int]) -> np.ndarray:
    """Images encoded for `pixels`: themselves, resized on the 8-bit grid."""
    return load(str(folder)).images(indices, SIZE).flatten(1).numpy() / np.float32(255)


def test_given_images_are_encoded(tmp_path: Path, photographs: Path) -> None:
    found = first_codes(tmp_path / "x", init=f"images:{photographs}")
    np.testing.assert_array_equal(found, as_codes(photographs, [0, 1, 2, 3]))
    fourier = {"name": "fourier", "size_px": 16, "cutoff_cycles": 4.0}
    made = GENERATORS.make(**fourier)
    images = load(str(photographs)).images(range(7), 16) / 255.0
    expected, _ = encode(made, images)
    found = first_codes(tmp_path / "y", init=f"images:{photographs}", generator=fourier)
    np.testing.assert_allclose(found, expected[:4].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "places"), [("best", slice(0, 4)), ("middle", slice(1, 5)), ("worst", slice(3, 7))]
)
def test_references_can_be_the_start_of_each_run(
    tmp_path: Path, photographs: Path, choice: str, places: slice
) -> None:
    record = xdream.run(
        plan(
            targets=["known:linear::3,4"],
            references=str(photographs),
            init=f"references:{choice}",
            presentations=4,
        ),
        tmp_path / "x",
    )
    orders = [np.argsort(-direct_references(photographs, unit)).tolist() for unit in (3, 4)]
    assert orders[0] != orders[1]
    for run, order in enumerate(orders):
        np.testing.assert_array_equal(codes_of(record, run)[0], as_codes(photographs, order[places]))


def test_fewer_references_than_the_population_are_taken_round_again(
    tmp_path: Path, photographs: Path
) -> None:
    for name in "3456":
        (photographs / f"{name}.png").unlink()
    order = np.argsort(-linear(3, load(str(photographs)).images(range(3), SIZE).flatten(1).numpy())).tolist()
    found = first_codes(tmp_path / "x", references=str(photographs), init="references:best")
    np.testing.assert_array_equal(found, as_codes(photographs, [*order, order[0]]))


def test_with_minus_mean_the_best_references_are_those_that_suppress_most(
    tmp_path: Path, photographs: Path
) -> None:
    order = np.argsort(direct_references(photographs)).tolist()
    found = first_codes(
        tmp_path / "x", references=str(photographs), init="references:best", objective="minus-mean"
    )
    np.testing.assert_array_equal(found, as_codes(photographs, order[:4]))


# What a record explains, and who watches.


def test_the_record_explains_itself(tmp_path: Path) -> None:
    record = xdream.run(plan(), tmp_path / "x")
    resolved = Plan.from_toml(record.facts["plan"])
    assert resolved.optimizer.options["mutation_rate"] == 0.25  # the defaults are written out
    assert resolved.threads == 1
    assert record.facts["draws"] == random.VERSION
    assert record.runs()[0].optimizer["selectivity"] == 2.0
    [versions] = record._rows("SELECT versions FROM process")
    assert json.loads(versions[0])["torch"] == metadata.version("torch")
    again = xdream.run(resolved, tmp_path / "again")
    assert again.dump() == record.dump()


def test_shown_images_can_be_drawn_again_from_the_record(tmp_path: Path) -> None:
    record = xdream.run(plan(image_size_px=20, batch=3), tmp_path / "x")
    image = record.best_image(0)
    assert image is not None
    codes, row = record.chunk_codes(image)
    made = GENERATORS.make("pixels", size_px=SIZE)
    clipped = made(torch.from_numpy(codes)).clamp(0, 1)
    larger = torch.nn.functional.interpolate(clipped, (20, 20), mode="bilinear")
    pixels = (larger[row] * 255).round().to(torch.uint8)
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == image.pixels


def test_without_a_folder_an_experiment_goes_under_runs_by_its_time_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = xdream.run(plan(name="v4-cell"))
    assert record.folder.parent == Path("runs")
    assert record.folder.match("[0-9]*-[0-9]*-v4-cell")
    assert (tmp_path / record.folder / FILE_NAME).is_file()


def test_a_watcher_is_told_what_is_committed_or_about_to_be(tmp_path: Path, photographs: Path) -> None:
    told: list[tuple[str, int, int]] = []
    bests: list[float] = []

    class Callback:
        def stage(self, name: str, done: int, total: int) -> None:
            told.append((name, done, total))
            if name == "generations":
                assert len(Record(tmp_path / "x").scores(0)) in (done - 1, done)

        def best(self, score: float) -> None:
            bests.append(score)

    record = xdream.run(
        plan(targets=["known:linear::3,4"], references=str(photographs), batch=4), tmp_path / "x", Callback()
    )
    assert told == [("references", i, 7) for i in (0, 4, 7)] + [("generations", i, 3) for i in range(4)]
    assert bests == [max(record.scores(run)[generation].max() for run in (0, 1)) for generation in range(3)]


def test_an_evolution_drives_its_neuron_upwards(tmp_path: Path) -> None:
    record = xdream.run(
        plan(optimizer={"name": "genetic", "population": 20}, presentations=2000), tmp_path / "x"
    )
    scores = record.scores(0)
    neuron = KNOWN.make("linear", seed=3, size_px=SIZE)
    top = float(neuron(neuron.best[None]))
    assert scores[-1].max() > scores[0].max() + 0.3 * top
    assert max(one.max() for one in scores) <= top * (1 + 1e-5)


def test_the_pixels_of_photographs_are_those_of_the_files(photographs: Path) -> None:
    """The direct computations above stand on `References.images`; this ties it to Pillow."""
    data = (photographs / "2.png").read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert 40 <= pixels.min() <= pixels.max() < 140
    found = load(str(photographs)).images([2], SIZE)[0].numpy()
    np.testing.assert_allclose(found.mean((1, 2)), pixels.mean((0, 1)), atol=2.0)
