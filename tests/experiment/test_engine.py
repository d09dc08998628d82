"""Many runs at once: unlike ones, ends, small records, little memory; and a slow reference beside it all."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import torch

import xdream
from xdream.engines import through_compiler
from xdream.errors import BadInput, StoreError, SubjectError
from xdream.experiment import engine_choice, forward, replay, stopping
from xdream.experiment.assemble import assemble
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.engine_choice import Placed
from xdream.experiment.plan import Plan
from xdream.experiment.run_groups import groups_of
from xdream.generators import GENERATORS
from xdream.images import references
from xdream.optimizers import OPTIMIZERS, Genetic
from xdream.store import FILE_NAME, Record, Writer
from xdream.subjects import KnownPixels, known_pixels
from xdream.types import quantise

SIZE = 8
PIXELS = {"name": "pixels", "size_px": SIZE}


def plan(**changes: Any) -> Plan:
    small = {
        "targets": ["known:linear::3"],
        "generator": PIXELS,
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 12,
        "seed": 11,
        "threads": 1,
    }
    return Plan.make(**small | changes)


def rows_of(record: Record, run: int) -> list[tuple[Any, ...]]:
    """Everything of one run's images but their chunks: codes, pixels, scores."""
    return [(*row[1:3], *row[4:]) for row in record.dump()["image"] if row[0] == run]


# The reference: one run, one image at a time, nothing shared.


def one_by_one(
    target: str, seed: int, optimizer: dict[str, Any], generations: int, generator: Any
) -> Iterator[tuple[torch.Tensor, list[float]]]:
    """(codes, scores) of each generation of one run."""
    neuron = known_pixels(*target.rsplit(":", 2), size_px=generator.image_size_px)
    made = OPTIMIZERS.make(**optimizer)
    seeds = torch.tensor([seed])
    first = generator.initial.draw(seeds, made.population)
    state = made.start(seeds, first if made.starts_from == "population" else generator.centre[None, None])
    for _ in range(generations):
        codes = made.ask(state)[0]
        scores = [float(neuron.respond(quantise(generator(code[None])))[0, 0]) for code in codes]
        yield codes, scores
        state = made.tell(state, torch.tensor([scores], dtype=torch.float64))


@pytest.mark.parametrize("kept", ["everything", "scores"])
@pytest.mark.parametrize("optimizer", ["genetic", "fdgd", "nes"])
def test_runs_together_are_those_of_a_slow_reference(tmp_path: Path, optimizer: str, kept: str) -> None:
    targets = ["known:linear::3", "known:energy::1", "known:gaussian::0"]
    options = {"name": optimizer, "population": 6}
    record = xdream.run(
        plan(targets=targets, runs=2, optimizer=options, presentations=132, batch=7, record=kept),
        tmp_path / "x",
    )
    generator = GENERATORS.make(**PIXELS)
    for run in record.runs():
        expected = one_by_one(run.target, run.seed, run.optimizer, 22, generator)
        for (codes, scores), found, told in zip(
            expected, replay.generations(record, run.id), record.scores(run.id), strict=True
        ):
            np.testing.assert_array_equal(found, codes.numpy())
            np.testing.assert_array_equal(told, scores)


NETWORK = """
import torch
from torch import nn

def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(1152, 5)
        )
"""


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "network_to_compute.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    return "python:network_to_compute:make"


def on_network(network: str, **changes: Any) -> Plan:
    targets = [f"{network}:5:0-2", f"{network}:0:1,2"]
    preprocessing = {network: {"size_px": (16, 16)}}
    return plan(targets=targets, preprocessing=preprocessing, **changes)


def test_a_networks_responses_are_those_to_each_image_alone(network: str, tmp_path: Path) -> None:
    """Generation by generation from the same codes, to 1e-5 of the response: runs alone may part later."""
    made = on_network(network, runs=2, presentations=40, batch=9)
    record = xdream.run(made, tmp_path / "x")
    parts = assemble(made)
    for run in parts.runs:
        subject = parts.forward.subjects[run.subject]
        for codes, scores in zip(replay.generations(record, run.id), record.scores(run.id), strict=True):
            images = [quantise(parts.generator(torch.from_numpy(code[None]))) for code in codes]
            alone = [float(subject.respond(image)[0, run.unit]) for image in images]
            np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-6)


# Runs that differ.


def test_variants_are_runs_of_their_own(tmp_path: Path, photographs: Path) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"optimizer": {"name": "genetic", "population": 4, "mutation_size": 0.9}, "seed": 3},
        {"optimizer": {"name": "nes", "population": 6}, "presentations": 18},
        {"objective": "minus-mean", "targets": ["known:energy::1-2"]},
        {"noise_spikes": 20.0, "runs": 2},
        {"noise_scale": 3.0, "presentations": 40},
    ]
    base = {"references": str(photographs), "targets": ["known:linear::3", "known:gaussian::0"]}
    together = xdream.run(plan(**base, variants=variants, batch=5), tmp_path / "together")
    runs = iter(together.runs())
    for number, variant in enumerate(variants):
        alone = xdream.run(plan(**base | variant), tmp_path / str(number))
        for own in alone.runs():
            run = next(runs)
            assert (run.target, run.seed, run.optimizer, run.objective) == (
                *(own.target, own.seed, own.optimizer, own.objective),
            )
            assert run.spikes_per_activation == own.spikes_per_activation
            assert rows_of(together, run.id) == rows_of(alone, own.id), f"variant {number}"
    assert next(runs, None) is None
    assert Plan.from_toml(together.facts["plan"]).variants[3].objective is not None


def files_to_start_from(folder: Path) -> dict[str, str]:
    """Inits with a file: three codes, six other ones, statistics."""
    rng = np.random.default_rng(0)
    for name, count in (("three", 3), ("six", 6)):
        np.save(folder / f"{name}.npy", rng.normal(0.5, 0.25, (count, 3 * SIZE**2)).astype(np.float32))
    with h5py.File(folder / "statistics.h5", "w") as file:
        file["pixels/mu"], file["pixels/sig"] = rng.normal(size=(2, 3, SIZE, SIZE)) ** 2
    return {
        "three": f"codes:{folder / 'three.npy'}",
        "six": f"codes:{folder / 'six.npy'}",
        "statistics": f"statistics:{folder / 'statistics.h5'}",
    }


@pytest.mark.parametrize("optimizer", ["genetic", "fdgd", "nes"])
def test_each_run_starts_from_the_codes_of_its_own_variant(
    tmp_path: Path, photographs: Path, optimizer: str
) -> None:
    files = files_to_start_from(tmp_path)
    inits = [files["three"], "zeros", "references:worst", f"images:{photographs}", files["six"], "default"]
    inits += [files["statistics"]] * (optimizer == "genetic")
    part = {"name": optimizer, "population": 4}
    base: dict[str, Any] = {"references": str(photographs), "runs": 2, "optimizer": part}
    together = xdream.run(plan(**base, variants=[{"init": init} for init in inits]), tmp_path / "together")
    assert len(groups_of(assemble(Plan.from_toml(together.facts["plan"])).runs)) == 1
    assert len({together.codes(run.id, 0)[0].tobytes() for run in together.runs()[::2]}) == len(inits)
    for number, init in enumerate(inits):
        alone = xdream.run(plan(**base, init=init), tmp_path / str(number))
        for own in alone.runs():
            assert rows_of(together, 2 * number + own.id) == rows_of(alone, own.id), init
    if optimizer == "genetic":
        for number, name, rows in ((0, "three", [0, 1, 2, 0]), (4, "six", [0, 1, 2, 3])):
            given = np.load(tmp_path / f"{name}.npy")[rows]
            np.testing.assert_array_equal(np.stack(list(together.codes(2 * number, 0).values())), given)


def test_what_several_variants_start_from_is_read_once_and_what_none_does_not_at_all(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = references.load

    def counted(source: str) -> references.References:
        read.append(source)
        return load(source)

    monkeypatch.setattr(references, "load", counted)
    monkeypatch.chdir(tmp_path)
    inits = ["images:photographs", "zeros", f"images:{photographs}"]
    parts = assemble(plan(init="codes:nowhere.npz", variants=[{"init": init} for init in inits]))
    assert read == [str(photographs)]
    assert list(parts.initial) == [(f"images:{photographs}", 0), ("zeros", 0)]
    assert [variant.init for variant in parts.plan.variants] == [inits[2], "zeros", inits[2]]


def test_codes_of_a_variant_that_are_not_used_are_noted_with_its_file(tmp_path: Path) -> None:
    files = files_to_start_from(tmp_path)
    variants: list[dict[str, Any]] = [
        {},
        {"init": files["six"]},
        {"init": files["three"]},
        {"init": files["six"], "optimizer": {"name": "genetic", "population": 2}},
        {"init": files["three"], "optimizer": {"name": "nes", "population": 2}},
    ]
    assert assemble(plan(variants=variants)).notes == (
        f"the first 2 of 6 initial codes are used ({files['six']}); a population of 6 would use all",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": [{"optimiser": "nes"}]}, "variants.0.optimiser: unknown key; near: optimizer"),
        ({"variants": [{"noise_spikes": 2.0}]}, "noise_spikes needs references"),
        ({"variants": [{"presentations": 0}]}, "variants.0.presentations"),
        ({"variants": [{"targets": ["known:linear::3", "known:linear::3"]}]}, "named twice"),
        ({"variants": [{}, {"optimizer": {"name": "nes", "population": 1}}]}, "population"),
        ({"variants": [{"init": "ones"}]}, "init is 'ones'; it is one of default, zeros"),
        ({"variants": [{"init": ""}]}, "init is ''"),
        ({"variants": [{"init": 3}]}, "variants.0.init"),
        ({"variants": [{}, {"init": "references:best"}]}, "'references:best'; it needs references"),
        ({"variants": [{}, {"init": "codes:nowhere.npz"}]}, "codes '.*nowhere.npz' cannot be read"),
        ({"variants": [{}, {"init": "images:nowhere"}]}, "nowhere' do not exist"),
        ({"variants": [{}, {"init": "statistics:nowhere.h5"}]}, "cannot read statistics file .*nowhere.h5"),
        (
            {"init": "statistics:x.h5", "variants": [{"init": "zeros"}, {"optimizer": "nes"}]},
            "init 'statistics:.*x.h5' says how a population is drawn, but nes starts from a centre",
        ),
        ({"plateau": 0}, "plateau"),
        ({"record": "nothing"}, "record"),
        ({"record": "scores", "references": "x", "references_per_generation": 1}, "needs record everything"),
    ],
)
def test_what_no_variant_can_be_is_one_line(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        xdream.run(plan(**changes), tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


# Ends.


def flat(images: torch.Tensor) -> torch.Tensor:
    """A neuron that knows no better and no worse."""
    return torch.ones(len(images), 1)


def test_a_run_that_no_longer_climbs_ends_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flat_neuron.py").write_text(
        "def respond(images):\n    return images.flatten(1)[:, :1] * 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    targets = ["known:linear::3", "python:flat_neuron:respond::0", "known:energy::1"]
    together = xdream.run(plan(targets=targets, plateau=3, presentations=400), tmp_path / "x")
    generations = [len(together.scores(run.id)) for run in together.runs()]
    assert [run.ending for run in together.runs()][1] == "plateau"
    assert generations[1] == 4  # the first is the best one, three are not above it
    assert min(generations[0], generations[2]) > 8
    for number in (0, 2):
        means = [float(np.mean(scores)) for scores in together.scores(number)]
        ended = together.runs()[number].ending
        first = next((g for g in range(3, 100) if max(means[: g - 2]) >= max(means[g - 2 : g + 1])), 99)
        assert generations[number] == min(first + 1, 100)
        assert ended == ("budget" if generations[number] == 100 else "plateau")
        alone = xdream.run(
            plan(targets=[targets[number]], plateau=3, presentations=400), tmp_path / str(number)
        )
        assert rows_of(alone, 0) == rows_of(together, number)


class At(NoCallback):
    """Does something when a generation begins."""

    def __init__(self, generation: int, what: Callable[[], object]) -> None:
        self.generation, self.what = generation, what

    def stage(self, name: str, done: int, total: int) -> None:
        if (name, done) == ("generations", self.generation):
            self.what()


def test_the_user_ends_runs_of_a_living_experiment(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    callback = At(2, lambda: stopping.ask_to_end(folder, [1]))
    record = xdream.run(plan(runs=3, presentations=40), folder, callback)
    assert [run.ending for run in record.runs()] == ["budget", "user", "budget"]
    assert [len(record.scores(run)) for run in range(3)] == [10, 3, 10]
    assert stopping.ask_to_end(folder) == []
    whole = xdream.run(plan(runs=3, presentations=40), tmp_path / "whole")
    for run in (0, 2):
        assert rows_of(record, run) == rows_of(whole, run)
    with pytest.raises(BadInput, match="has no run 3; it has 0 to 2"):
        stopping.ask_to_end(folder, [3])


# A record of scores.


def test_a_record_of_scores_has_all_scores_and_the_rest_follows(tmp_path: Path) -> None:
    changes = {"targets": ["known:linear::3", "known:energy::1"], "runs": 2, "presentations": 200}
    noise = {"noise_scale": 5.0, "optimizer": {"name": "genetic", "population": 4, "elites": 1}}
    full = xdream.run(plan(**changes, **noise), tmp_path / "full")
    small = xdream.run(plan(**changes, **noise, record="scores"), tmp_path / "small")
    assert small.dump()["presentation"] == []
    for run in range(4):
        for noise_free in (True, False):
            np.testing.assert_array_equal(
                small.scores(run, noise_free=noise_free), full.scores(run, noise_free=noise_free)
            )
        assert small.presentation_count(run) == full.presentation_count(run) == 200
        for generation, codes in enumerate(replay.generations(small, run)):
            expected = np.stack(list(full.codes(run, generation).values()))
            np.testing.assert_array_equal(codes, expected)
        np.testing.assert_array_equal(replay.codes_of(small, run, [7])[7], replay.codes_of(full, run, [7])[7])
        best, wanted = small.best_image(run), full.best_image(run)
        assert best is not None
        assert wanted is not None
        assert (best.generation, best.slot) == (wanted.generation, wanted.slot)
        kept = small.codes(run, best.generation)
        np.testing.assert_array_equal(kept[best.slot], full.codes(run, best.generation)[best.slot])
        assert list(small.codes(run, 49)) == [0, 1, 2, 3]  # the last generation
        assert {row[1] for row in small.dump()["kept_code"] if row[0] == run} == {best.generation, 49}
    with pytest.raises(BadInput, match=r"run 0 of .* has 50 generations; 50 is none of them"):
        replay.codes_of(small, 0, [3, 50])
    with pytest.raises(BadInput, match="has no run 4"):
        next(replay.generations(small, 4))


def test_a_large_record_takes_less_than_200_bytes_a_presentation(tmp_path: Path) -> None:
    """4,096 numbers a code would be 16 kB; the codes that are kept are shared out over the presentations."""
    made = plan(
        generator={"name": "pixels", "size_px": 16},
        optimizer={"name": "genetic", "population": 20},
        presentations=4000,
        runs=3,
        record="scores",
    )
    record = xdream.run(made, tmp_path / "x")
    numbers = 3 * 16 * 16
    kept = 3 * (3 * 20 + 1) * numbers * 4  # first and late state, last generation, best
    size = (tmp_path / "x" / FILE_NAME).stat().st_size
    each = (size - kept) / 12_000
    assert each < 90, each
    large = each + (3 * 20 + 1) * 4096 * 4 / 10_000
    assert large < 200, large
    assert sum(record.presentation_count(run) for run in range(3)) == 12_000


def test_figures_are_drawn_from_a_record_of_scores(tmp_path: Path) -> None:
    from xdream import report

    record = xdream.run(plan(presentations=200, record="scores"), tmp_path / "x")
    shown = report.show(record)
    assert shown.warnings == ()
    assert shown.main.stat().st_size > 10_000


# Memory.


class Small:
    """Responds to few images at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
        respond = KnownPixels.respond
        self.batches: list[int] = []

        def responding(subject: KnownPixels, images: torch.Tensor) -> torch.Tensor:
            self.batches.append(len(images))
            if len(images) > most:
                raise error
            return respond(subject, images)

        monkeypatch.setattr(KnownPixels, "respond", responding)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes"
        ),
        MemoryError(),
    ],
)
def test_without_memory_for_a_batch_half_of_it_is_tried_from_now_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    expected = xdream.run(plan(runs=5, batch=3), tmp_path / "expected")
    small = Small(monkeypatch, 3, error)
    record = xdream.run(plan(runs=5, batch=14), tmp_path / "x")
    assert small.batches[:4] == [14, 7, 3, 3]
    assert max(small.batches[2:]) == 3
    assert record.facts["batch"] == "3"
    for run in range(5):
        assert rows_of(record, run) == rows_of(expected, run)


def test_a_smaller_batch_is_remembered_by_a_resumed_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    small = Small(monkeypatch, 3, MemoryError())
    with pytest.raises(KeyboardInterrupt):
        xdream.run(plan(runs=5, batch=14), tmp_path / "x", At(1, stop))
    small.batches.clear()
    xdream.resume(tmp_path / "x")
    assert max(small.batches) == 3


def test_without_memory_for_one_image_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Small(monkeypatch, 0, MemoryError())
    with pytest.raises(SubjectError, match="memory does not suffice for one image"):
        xdream.run(plan(batch=4), tmp_path / "x")
    monkeypatch.undo()
    assert xdream.resume(tmp_path / "x").finished


def test_other_errors_of_a_subject_are_not_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small(monkeypatch, 0, RuntimeError("a wire is loose"))
    with pytest.raises(RuntimeError, match="a wire is loose"):
        xdream.run(plan(batch=4), tmp_path / "x")
    assert small.batches == [4]


def test_the_batch_is_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert assemble(plan()).plan.batch == 4  # a generation
    assert assemble(plan(runs=20)).plan.batch == forward.MOST["cpu"]
    assert assemble(plan(runs=25)).plan.batch == 50  # a generation of 100 in equal parts

    class Free:
        available = 6000 / forward.SHARE

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    monkeypatch.setattr(forward, "peak_bytes", lambda work: 1000 * forward.TRIAL)
    assert assemble(plan(runs=20)).plan.batch == 6
    Free.available = 0
    assert assemble(plan()).plan.batch == 1


def test_the_memory_of_tensors_is_counted_while_they_live() -> None:
    def work() -> None:
        with torch.inference_mode():
            a = torch.zeros(1000)  # 4,000 bytes
            b = a + 1  # 8,000
            del a
            c = b * 2  # 8,000: one went, one came
            d = c.reshape(10, 100)  # the same memory
            d + 1  # 12,000

    assert forward.peak_bytes(work) == 12_000


# The compiler.


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_networks_give_the_same_up_to_rounding(network: str, tmp_path: Path) -> None:
    changes = {
        "generator": "natural-v1",
        "references": "scikit-image",  # 13
        "batch": 13,
        "optimizer": {"name": "genetic", "population": 13},
        "presentations": 26,
    }
    eager = xdream.run(on_network(network, compiled=False, **changes), tmp_path / "eager")
    with torch._dynamo.config.patch(error_on_recompile=True):  # the compiler's minute is spent once
        compiled = xdream.run(on_network(network, compiled=True, **changes), tmp_path / "compiled")
    assert Plan.from_toml(compiled.facts["plan"]).compiled, compiled.facts["notes"]
    for run in compiled.runs():
        np.testing.assert_allclose(
            compiled.reference_responses(run.id), eager.reference_responses(run.id), rtol=1e-4, atol=1e-5
        )
        # From the same codes: later ones may part. An image differs by an 8-bit step here and there.
        np.testing.assert_allclose(compiled.scores(run.id)[0], eager.scores(run.id)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("generator", ["pixels", "natural-v1"])
def test_without_a_compiler_it_goes_on_and_says_so(
    generator: str, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", missing)
    eager = xdream.run(on_network(network, generator=generator, compiled=False), tmp_path / "eager")
    record = xdream.run(on_network(network, generator=generator, compiled=True), tmp_path / "x")
    notes = json.loads(record.facts["notes"])
    assert (
        f"network {network}:5 is computed by torch, not by torch-compiled: RuntimeError: no compiler here"
        in notes
    )
    assert len(notes) == (3 if generator == "natural-v1" else 2)  # two layers, two graphs
    assert record.dump() == eager.dump()
    assert not Plan.from_toml(record.facts["plan"]).compiled


def test_a_compiler_that_fails_on_a_resume_changes_nothing_else_of_the_plan(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    np.save(tmp_path / "codes.npy", np.zeros((4, 3 * SIZE**2), np.float32))
    init = f"codes:{tmp_path / 'codes.npy'}"
    placed = {f"network {network}:5": Placed("torch-compiled")}
    monkeypatch.setattr(engine_choice, "place", lambda *_: placed)
    with pytest.raises(KeyboardInterrupt):
        xdream.run(on_network(network, compiled=True, init=init), tmp_path / "x", At(1, stop))
    failed = {f"network {network}:5": Placed("torch", reason="no compiler now")}
    monkeypatch.setattr(engine_choice, "place", lambda *_: failed)
    record = xdream.resume(tmp_path / "x")
    resumed = Plan.from_toml(record.facts["plan"])
    assert (resumed.init, resumed.engine, resumed.compiled) == (init, "torch", False)
    assert "by torch, not by torch-compiled: no compiler now" in record.facts["notes"]


def test_what_is_compiled_is_filled_up_to_a_batch_its_half_its_quarter() -> None:
    forward = assemble(plan()).forward
    forward._batch = 10
    sizes = {n: len(forward._filled(torch.zeros(n, 1))) for n in (1, 2, 3, 5, 6, 10, 11)}
    assert sizes == {1: 1, 2: 2, 3: 5, 5: 5, 6: 10, 10: 10, 11: 11}


def test_lower_precision_changes_little(network: str, tmp_path: Path) -> None:
    exact = xdream.run(on_network(network), tmp_path / "exact")
    rough = xdream.run(on_network(network, precision="bfloat16"), tmp_path / "rough")
    for run in exact.runs():
        found, wanted = rough.scores(run.id)[0], exact.scores(run.id)[0]
        assert not np.array_equal(found, wanted)
        np.testing.assert_allclose(found, wanted, atol=0.03 * np.abs(wanted).max())


# The writer.


def test_what_is_given_to_write_is_written_in_order() -> None:
    written: list[int] = []
    with Writer() as writer:
        for number in range(20):
            writer.put(written.append, number)
        writer.wait()
        assert written == list(range(20))
        writer.put(written.append, 20)
    assert written == list(range(21))


def test_after_a_failure_nothing_more_is_written() -> None:
    written: list[int] = []

    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), Writer() as writer:  # noqa: PT012
        writer.put(written.append, 1)
        writer.put(fail)
        writer.put(written.append, 2)
    assert written == [1]


def test_a_failure_of_the_last_write_is_not_lost() -> None:
    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), Writer() as writer:
        writer.put(fail)


def test_an_optimizer_is_told_after_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each `tell` another reader sees the generation's scores (or its responses) in the file."""
    tell = Genetic.tell
    seen = []

    def looking(self: Genetic, state: Any, scores: torch.Tensor) -> Any:
        dump = Record(tmp_path / "x").dump()
        seen.append((len(dump["image"]), len(dump["presentation"])))
        return tell(self, state, scores)

    monkeypatch.setattr(Genetic, "tell", looking)
    for kept, expected in (
        ("everything", [(4, 4), (8, 8), (12, 12)]),
        ("scores", [(4, 0), (8, 0), (12, 0)]),
    ):
        seen.clear()
        xdream.run(plan(record=kept, batch=2), tmp_path / "x")
        assert seen == expected
        shutil.rmtree(tmp_path / "x")


# What a review found.


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("default")
def test_compiled_weights_are_frozen_and_every_function_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed weights change nothing; and the compiler's limit is of one function, not of all."""
    linear = torch.nn.Linear(4, 3).requires_grad_(False)
    through = through_compiler(linear)
    before = through(torch.ones(2, 4)).clone()
    linear.weight.zero_()
    torch.testing.assert_close(through(torch.ones(2, 4)), before)
    counted = []

    def backend(graph: Any, inputs: Any) -> Any:
        counted.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **_: real(function, backend=backend))
    for _ in range(12):
        through_compiler(torch.nn.Linear(4, 3))(torch.ones(2, 4))
    assert len(counted) == 12


def test_a_request_to_end_is_of_one_experiment_only(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    xdream.run(plan(), folder).close()
    (folder / stopping.FILE_NAME).write_text("0\n")
    (folder / FILE_NAME).unlink()
    assert xdream.run(plan(), folder).runs()[0].ending == "budget"
    (folder / stopping.FILE_NAME).write_text("1")  # half a line
    assert stopping.asked_to_end(folder) == set()


def test_a_run_that_never_answers_reaches_its_plateau(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(subject: KnownPixels, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 1), torch.nan, dtype=torch.float64)

    monkeypatch.setattr(KnownPixels, "respond", silent)
    record = xdream.run(plan(plateau=3, presentations=80), tmp_path / "x")
    assert record.runs()[0].ending == "plateau"
    assert len(record.scores(0)) == 4


def test_without_memory_for_the_references_fewer_are_shown_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: Path
) -> None:
    expected = xdream.run(plan(references=str(photographs), batch=2), tmp_path / "expected")
    Small(monkeypatch, 3, MemoryError())
    record = xdream.run(plan(references=str(photographs), batch=7), tmp_path / "x")
    np.testing.assert_array_equal(record.reference_responses(0), expected.reference_responses(0))
    assert record.facts["batch"] == "3"
    assert rows_of(record, 0) == rows_of(expected, 0)


def test_a_trial_without_memory_means_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    Small(monkeypatch, 0, MemoryError())
    assert assemble(plan()).plan.batch == 1


def test_sparse_tensors_do_not_stop_the_trial() -> None:
    matrix = torch.eye(8).to_sparse()
    assert forward.peak_bytes(lambda: torch.sparse.mm(matrix, torch.ones(8, 2))) >= 64


def test_what_a_plan_file_cannot_say_no_variant_can() -> None:
    with pytest.raises(BadInput, match="plateau is None"):
        plan(plateau=3, variants=[{}, {"plateau": None}])


def test_an_experiment_where_one_is_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xdream.run(plan(), tmp_path / "x").close()
    monkeypatch.setattr("xdream.experiment.loop.assemble", lambda _: pytest.fail("too late"))
    with pytest.raises(StoreError, match="already holds an experiment"):
        xdream.run(plan(), tmp_path / "x")
