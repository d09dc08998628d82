"""The default hyperparameters are the published ones (Xiao & Kreiman 2020)."""

import dataclasses
from pathlib import Path

import pytest

import xdream
from xdream.description import Part
from xdream.errors import UnknownName
from xdream.experiment import defaults
from xdream.experiment.plan import Plan, plan_of
from xdream.generators import GENERATORS, Tuned
from xdream.optimizers import OPTIMIZERS
from xdream.registry import declares
from xdream.scoring.objectives import OBJECTIVES, Objective, mean

#: Genetic algorithm, per generator: n, m, v, q, h as published.
PUBLISHED = {
    "deepsim-norm1": (15, 1.0, 1.5, 2.0, 0.5),
    "deepsim-norm2": (10, 0.5, 0.7, 4.0, 0.5),
    "deepsim-conv3": (12, 0.65, 0.75, 2.25, 0.5),
    "deepsim-conv4": (10, 0.9, 0.75, 2.5, 0.5),
    "deepsim-pool5": (10, 0.6, 1.0, 2.5, 0.75),
    "deepsim-fc6": (20, 0.5, 0.5, 2.0, 0.5),
    "deepsim-fc7": (45, 0.6, 0.3, 1.25, 0.5),
    "deepsim-fc8": (20, 0.2, 0.6, 2.0, 0.5),
}
NAMES = ("population", "mutation_rate", "mutation_size", "selectivity", "heritability")


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("generator", PUBLISHED)
def test_the_genetic_algorithm_has_the_published_defaults_of_each_generator(
    generator: str, noisy: bool
) -> None:
    found = defaults.hyperparameters(generator, "genetic", noisy=noisy)
    assert found == dict(zip(NAMES, PUBLISHED[generator], strict=True)) | {
        "elites": 0,
        "selection": "boltzmann",
    }


@pytest.mark.parametrize("generator", ["deepsim-fc6", "deepsim-fc8", "elsewhere"])
def test_the_gradient_optimizers_have_the_published_defaults(generator: str) -> None:
    assert defaults.hyperparameters(generator, "fdgd", noisy=False) == {
        "population": 20,
        "search_radius": 1.25,
        "learning_rate": 1.25,
        "scores": "raw",
        "safe_start": False,
    }
    assert defaults.hyperparameters(generator, "nes", noisy=False) == {
        "population": 20,
        "search_radius": 1.25,
        "learning_rate": 1.75,
        "radius_learning_rate": 0.05,
        "least_radius": 0.01,
        "scores": "raw",
        "safe_start": False,
    }


def test_a_generator_without_defaults_takes_those_of_fc6() -> None:
    found = defaults.hyperparameters("elsewhere", "genetic", noisy=True)
    assert found == defaults.hyperparameters("deepsim-fc6", "genetic", noisy=True)


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(UnknownName, match="elsewhere"):
        defaults.hyperparameters("fourier", "elsewhere", noisy=False)


@dataclasses.dataclass(frozen=True)
class Own:
    """An optimizer of another package."""

    population: int = 7
    step: float = 0.5
    start: str = "here"
    tables: tuple[int, ...] = (1,)


def test_a_part_from_elsewhere_declares_its_defaults_and_a_generator_changes_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OPTIMIZERS, "_factories", {"own": declares(in_recordings={"step": 0.125})(Own)})

    @declares(tuned={"own": Tuned({"step": 2.0}, with_noise={"population": 70})})
    def generator() -> None: ...

    monkeypatch.setattr(GENERATORS, "_factories", {"mine": generator})
    own = {"population": 7, "step": 0.5, "start": "here"}
    assert defaults.hyperparameters("fourier", "own", noisy=True) == own
    assert defaults.hyperparameters("mine", "own", noisy=False) == own | {"step": 2.0}
    assert defaults.hyperparameters("mine", "own", noisy=True) == own | {"population": 70}
    in_recording = defaults.hyperparameters("mine", "own", noisy=True, in_recording=True)
    assert in_recording == own | {"population": 70, "step": 0.125}
    rows = {(row.generator, row.optimizer, row.noise): row.values for row in defaults.table()}
    assert rows["mine", "own", "without"]["step"] == 2.0
    assert rows["mine", "own", "with"]["population"] == 70
    assert rows["any other", "own", "with and without"] == own
    assert rows["deepsim-pool5", "genetic", "with and without"]["heritability"] == 0.75


def test_in_recordings_the_best_image_is_kept() -> None:
    assert defaults.hyperparameters("pixels", "genetic", noisy=True, in_recording=True)["elites"] == 1
    assert defaults.hyperparameters("pixels", "genetic", noisy=True)["elites"] == 0
    for optimizer in ("fdgd", "nes"):
        recorded = defaults.hyperparameters("pixels", optimizer, noisy=True, in_recording=True)
        assert recorded == defaults.hyperparameters("pixels", optimizer, noisy=True)
    recorded = defaults.hyperparameters("pixels", "rank-nes", noisy=True, in_recording=True)
    assert recorded["mean_every"] == 5


def test_every_default_is_taken_by_its_optimizer() -> None:
    for generator in [*PUBLISHED, "pixels", "fourier", "elsewhere"]:
        for optimizer in ("genetic", "fdgd", "nes"):
            for noisy in (False, True):
                found = defaults.hyperparameters(generator, optimizer, noisy=noisy)
                assert OPTIMIZERS.make(optimizer, **found).population == found["population"]


def test_whoever_changes_what_was_looked_up_changes_no_default() -> None:
    defaults.hyperparameters("deepsim-fc6", "genetic", noisy=False)["population"] = 3
    defaults.hyperparameters("elsewhere", "fdgd", noisy=False)["population"] = 3
    assert defaults.hyperparameters("deepsim-fc6", "genetic", noisy=False)["population"] == 20
    assert defaults.hyperparameters("elsewhere", "fdgd", noisy=False)["population"] == 20


def test_the_defaults_of_every_part_are_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an experiment goes on as it began when a default changes."""
    given = {"targets": "known:linear::0", "generator": "fourier", "presentations": 40}
    record = xdream.run(Plan.make(**given), tmp_path / "x")
    assert plan_of(record).generator.options == {"size_px": 128, "codes": "free"}

    def weighted(channel: int = 0, word: str = "a", file: Path | None = None) -> Objective:
        return mean

    monkeypatch.setitem(OBJECTIVES._factories, "weighted", weighted)
    given |= {"generator": "pixels", "image_size_px": 16, "variants": [{"objective": "weighted"}, {}]}
    found = plan_of(xdream.run(Plan.make(**given), tmp_path / "y"))
    assert found.generator.options == {"size_px": 16, "codes": "free"}
    assert found.variants[0].objective == Part(name="weighted", channel=0, word="a")
    assert found.objective == Part(name="mean")
