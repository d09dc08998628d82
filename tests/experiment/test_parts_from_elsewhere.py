"""Parts of another package are worth as much as XDream's own: nothing in the house knows them by name."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xdream
from xdream import networks, random, testing
from xdream.cli.main import main
from xdream.errors import BadInput, UnknownName
from xdream.experiment.assemble import assemble
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.loop import resume, run
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS, Tuned
from xdream.registry import Registry, declares
from xdream.store import FILE_NAME
from xdream.subjects import SUBJECTS, SubjectRequest
from xdream.types import Codes, Images, ShownImages

PIXELS = {"name": "pixels", "size_px": 8}


class Uniform:
    """Initial codes that are no Gaussian."""

    def draw(self, seeds: torch.Tensor, n: int) -> Codes:
        return random.uniform(seeds, torch.zeros_like(seeds), "initial codes", (n, 3))


class Colour:
    """A generator without a module: one colour, through a table of weights."""

    code_shape = (3,)
    image_size_px = 8
    differentiable = True
    warnings: tuple[str, ...] = ()

    def __init__(self, weights: torch.Tensor) -> None:
        self.name = "colour"
        self.initial = Uniform()
        self.centre = torch.full((3,), 0.5)
        self._weights = weights

    @property
    def fingerprint(self) -> str:
        return str(self._weights.tolist())

    def __call__(self, codes: Codes) -> Images:
        return (codes * self._weights)[:, :, None, None].expand(-1, -1, 8, 8)

    def to(self, device: torch.device) -> "Colour":
        return self


class Silent(Colour):
    """One that does not say what its images depend on."""

    fingerprint = None  # type: ignore[assignment]


class Brightness:
    """A subject with three units: how red, green and blue an image is."""

    warnings: tuple[str, ...] = ()

    def __init__(self, request: SubjectRequest) -> None:
        self.name = request.network
        self._channels = [unit.channel for unit in request.parsed((3,))]
        self.units = tuple(f"{request.layer}:{channel}" for channel in self._channels)
        self.identities = {"measure of brightness": "1"}

    def respond(self, images: ShownImages) -> torch.Tensor:
        return images.to(torch.float64).mean((2, 3))[:, self._channels]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of weights of the generator `colour`, which is there like the subject `brightness`."""
    weights = tmp_path / "weights.json"
    weights.write_text("[1.0, 1.0, 1.0]")

    @declares(tuned={"genetic": Tuned({"population": 4})})
    def colour(weights: Path) -> Colour:
        return Colour(torch.tensor(json.loads(weights.read_text())))

    for registry, own in (
        (GENERATORS, {"colour": colour, "silent": lambda: Silent(torch.ones(3))}),
        (SUBJECTS, {"brightness": Brightness}),
    ):
        kept = dict(registry._factories)  # type: ignore[attr-defined]
        monkeypatch.setattr(registry, "_factories", kept | own)
    return weights


def evolved(weights: Path, out: Path, *more: str) -> int:
    plan = Plan.make(
        targets=["brightness:sheet:0-1"],
        generator={"name": "colour", "weights": weights.name},
        optimizer="genetic",
        presentations=40,
        threads=1,
    )
    (out.parent / "plan.toml").write_text(plan.to_toml())
    return main(["evolve", str(out.parent / "plan.toml"), "--out", str(out), *more])


def test_a_subject_and_a_generator_from_elsewhere_work_from_the_command_line(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evolved(elsewhere, tmp_path / "out") == 0
    record = xdream.Record(tmp_path / "out")
    plan = Plan.from_toml(record.facts["plan"])
    assert plan.generator.options["weights"] == str(elsewhere)  # absolute, by its type
    assert plan.optimizer.options["population"] == 4  # declared by the generator
    assert [run.target for run in record.runs()] == ["brightness:sheet:0", "brightness:sheet:1"]
    identities = json.loads(record.facts["identities"])
    assert identities == {"measure of brightness": "1", "generator colour": "[1.0, 1.0, 1.0]"}
    first = np.stack(list(record.codes(0, 0).values()))
    assert first.shape == (4, 3)
    assert ((first >= 0.0) & (first < 1.0)).all()  # its own distribution


def test_a_target_from_elsewhere_is_named_by_a_flag(
    elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--target", "brightness:sheet:0-2", "--generator", "natural-v1", "--presentations", "20"]
    assert main(["evolve", *flags, "--out", str(tmp_path / "flags")]) == 0
    assert len(xdream.Record(tmp_path / "flags").runs()) == 3


def test_a_generator_without_a_module_does_not_resume_with_other_weights(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan.make(
        targets=["brightness::0"], generator={"name": "colour", "weights": str(elsewhere)}, presentations=40
    )

    class Stopper(NoCallback):
        def best(self, score: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "out", Stopper())
    elsewhere.write_text("[1.0, 0.5, 1.0]")
    with pytest.raises(BadInput, match="the generator colour has changed"):
        resume(tmp_path / "out")
    elsewhere.write_text("[1.0, 1.0, 1.0]")
    assert resume(tmp_path / "out").finished


def test_a_generator_that_says_no_fingerprint_is_told_what_to_add(elsewhere: Path) -> None:
    with pytest.raises(BadInput, match=r"'colour' has no fingerprint.*SHA-256.*xdream.networks.fingerprint"):
        assemble(Plan.make(targets=["brightness::0"], generator="silent"))


def test_statistics_are_asked_of_the_generator(elsewhere: Path) -> None:
    plan = Plan.make(
        targets=["brightness::0"],
        generator={"name": "colour", "weights": str(elsewhere)},
        init="statistics:some.h5",
    )
    with pytest.raises(BadInput, match=r"'colour' reads no statistics.*initial_from"):
        assemble(plan)


def test_a_mistyped_subject_is_told_the_networks_and_the_subjects(elsewhere: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown network 'brigthness'.*other subjects: brightness, known"):
        assemble(Plan.make(targets=["brigthness::0"], generator=PIXELS))


def test_these_parts_pass_the_suites(elsewhere: Path) -> None:
    testing.check_generator(Colour(torch.tensor([1.0, 0.5, 0.25])))
    request = SubjectRequest("brightness", "sheet", ("0,2",), 8, torch.device("cpu"), networks.load)
    testing.check_subject(Brightness(request), 8)


@pytest.mark.parametrize(
    "objective",
    [
        {"name": "difference", "excitatory": [0], "suppressive": [1]},
        {"name": "groups", "groups": [[0], [2]]},
        {"name": "mean", "channels": [1]},
    ],
)
def test_an_objective_over_channels_is_refused_for_a_network_before_anything_is_written(
    tmp_path: Path, objective: dict[str, Any]
) -> None:
    plan = Plan.make(targets=["known:linear::0-2"], generator=PIXELS, objective=objective)
    with pytest.raises(BadInput, match=rf"objective {objective['name']} of target.*mean or minus-mean"):
        xdream.run(plan, tmp_path / "out")
    assert not (tmp_path / "out" / FILE_NAME).exists()


def test_an_objective_over_channel_0_is_that_of_the_unit() -> None:
    parts = assemble(
        Plan.make(targets=["known:linear::0"], generator=PIXELS, objective={"name": "mean", "channels": [0]})
    )
    assert len(parts.runs) == 1


def test_a_subject_registry_knows_networks_by_any_other_name() -> None:
    assert isinstance(SUBJECTS, Registry)
    assert {"known", "match", "rig"} <= set(SUBJECTS.names())
    assert SUBJECTS.declared("efficientnet-lite0", "together") is True
    assert not SUBJECTS.declared("known:linear", "together", False)
    assert dataclasses.is_dataclass(SubjectRequest)
