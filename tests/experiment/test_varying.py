"""Optimizers whose population changes, whose state is large, or of whose state a part is derived."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch

import xdream
from xdream import random, report
from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.experiment import replay, run_groups
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.laboratory.session import give, resume, serve
from xdream.optimizers import OPTIMIZERS, State, make
from xdream.report.curves import curves_of
from xdream.scoring.recordings import Values
from xdream.store import Record
from xdream.testing import check_optimizer


@dataclass(frozen=True)
class Swarm(State):
    """norms: of the codes, which follow from them."""

    codes: torch.Tensor
    norms: torch.Tensor


@dataclass(frozen=True)
class Growing:
    """Asks for 1, 2, … `population`, 1, 2, … codes, shifted by the best one of the generation before.

    The run's seed decides how many come first. `tell` refuses scores of codes that were not shown.
    """

    state_type: ClassVar[type[Any]] = Swarm
    starts_from: ClassVar[str] = "population"
    derived: ClassVar[frozenset[str]] = frozenset({"norms"})
    population: int = 4

    def start(self, seeds: torch.Tensor, initial: torch.Tensor) -> Swarm:
        return Swarm(seeds, torch.zeros_like(seeds), initial.clone(), initial.norm(dim=2))

    def populations(self, state: Swarm) -> torch.Tensor:
        return (state.steps + state.seeds) % self.population + 1

    def ask(self, state: Swarm) -> torch.Tensor:
        return state.codes

    def tell(self, state: Swarm, scores: torch.Tensor) -> Swarm:
        shown = torch.arange(self.population) < self.populations(state)[:, None]
        assert bool(scores[~shown].isnan().all())
        best = scores.nan_to_num(-1e9).argmax(1)
        step = state.codes[torch.arange(len(best)), best][:, None] * 0.125
        codes = state.codes.roll(1, 1) - step
        assert torch.equal(state.norms, state.codes.norm(dim=2))
        return Swarm(state.seeds, state.steps + 1, codes, codes.norm(dim=2))

    def restored(self, saved: Mapping[str, torch.Tensor]) -> Swarm:
        assert "norms" not in saved
        return Swarm(**saved, norms=saved["codes"].norm(dim=2))


@pytest.fixture(autouse=True)
def growing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS._factories, "growing", Growing)


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "targets": ["known:linear::0-1"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": "growing",
        "presentations": 24,
        "repeats": 2,
        "noise_scale": 1.0,
        "runs": 3,
        "seed": 1,
        "threads": 1,
        "batch": 5,
    }
    return Plan.make(**values | changes)


class Stop(Exception):
    pass


class StopAt(NoCallback):
    def __init__(self, generation: int) -> None:
        self.generation = generation

    def stage(self, name: str, done: int, total: int) -> None:
        if name == "generations" and done == self.generation:
            raise Stop


def sizes(record: Record, run: int) -> list[int]:
    return [len(scores) for scores in record.scores(run)]


# Seed 1: 2, 3, 4, 1, 2 = 12 images; seed 2: 3, 4, 1, 2 = 10, and 3 more cannot be paid; seed 3: 4, 1, 2, 3.
EXPECTED = [[2, 3, 4, 1, 2], [3, 4, 1, 2], [4, 1, 2, 3]] * 2


@pytest.mark.parametrize("policy", ["everything", "scores"])
def test_a_run_ends_before_a_generation_that_its_budget_cannot_pay(tmp_path: Path, policy: str) -> None:
    record = xdream.run(plan(record=policy), tmp_path / "x")
    assert [sizes(record, run.id) for run in record.runs()] == EXPECTED
    assert [run.generations for run in record.runs()] == [len(some) for some in EXPECTED]
    assert {run.ending for run in record.runs()} == {"budget"}
    assert [record.presentation_count(run.id) for run in record.runs()] == [
        2 * sum(some) for some in EXPECTED
    ]


@pytest.mark.parametrize("policy", ["everything", "scores"])
@pytest.mark.parametrize("generation", [1, 2, 3, 4])
def test_interrupted_anywhere_it_goes_on_as_if_it_had_not_been(
    tmp_path: Path, policy: str, generation: int
) -> None:
    expected = xdream.run(plan(record=policy), tmp_path / "expected").dump()
    with pytest.raises(Stop):
        xdream.run(plan(record=policy), tmp_path / "x", StopAt(generation))
    assert xdream.resume(tmp_path / "x").dump() == expected


def test_alone_a_run_does_what_it_does_beside_others(tmp_path: Path) -> None:
    together = xdream.run(plan(), tmp_path / "together")
    alone = xdream.run(plan(targets=["known:linear::1"], seed=2, runs=1), tmp_path / "alone")
    for generation, scores in enumerate(alone.scores(0)):
        np.testing.assert_array_equal(scores, together.scores(4)[generation])


def test_codes_follow_from_scores(tmp_path: Path) -> None:
    whole, small = (xdream.run(plan(record=kind), tmp_path / kind) for kind in ("everything", "scores"))
    for run in range(6):
        for one, other in zip(replay.generations(whole, run), replay.generations(small, run), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_large_state_is_written_now_and_then_and_what_follows_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = xdream.run(plan(), tmp_path / "expected").dump()
    monkeypatch.setattr(run_groups, "LARGE_STATE_BYTES", 0)
    monkeypatch.setattr(run_groups, "STATE_EVERY", 3)
    with pytest.raises(Stop):
        xdream.run(plan(), tmp_path / "x", StopAt(3))
    with Record(tmp_path / "x") as record:
        assert set(record.states(0)) == {3}
    with pytest.raises(Stop):
        xdream.run(plan(), tmp_path / "y", StopAt(2))
    with Record(tmp_path / "y") as record:
        assert set(record.states(0)) == {0}
    for folder in (tmp_path / "x", tmp_path / "y"):
        found = xdream.resume(folder).dump()
        assert {**found, "state": None} == {**expected, "state": None}


def test_what_is_derived_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        xdream.run(plan(), tmp_path / "x", StopAt(1))
    with Record(tmp_path / "x") as record:
        written = safetensors.torch.load(record.states(0)[1])
    assert written.keys() == {f.name for f in dataclasses.fields(Swarm)} - {"norms"}


def test_ask_and_tell_have_the_population_of_the_generation() -> None:
    search = make("growing", dim=3, seed=1)
    found = []
    for _ in range(4):
        codes = search.ask()
        found.append(len(codes))
        search.tell(codes.sum(1))
    assert found == [2, 3, 4, 1]
    evolution = xdream.Evolution("pixels", "growing", seed=1, generator_options={"size_px": 8})
    for expected in (2, 3, 4, 1):
        batch = evolution.ask()
        assert len(batch.ids) == len(batch.codes) == len(batch.images) == expected
        evolution.tell(batch.ids, batch.codes.sum(1))


def answers(block: Block) -> list[Answer]:
    rows = [
        AnswerRow(
            one.image, one.repeat, Values(block.images[one.image].to(torch.float64).mean((1, 2)).numpy())
        )
        for one in block.presentations
    ]
    return [Answer(tuple(rows), block=block.number, source="test")]


def served(folder: Path, blocks: int) -> None:
    """A session that is interrupted after some blocks."""
    session = plan(targets=["rig::0-1"], noise_scale=None, rig="direct", session={"channels": 3})
    shown = iter(range(blocks))

    def answered(block: Block) -> list[Answer]:
        next(shown, None)
        return answers(block)

    with contextlib.suppress(KeyboardInterrupt):
        serve(
            session,
            folder,
            bridge=Direct(answered),
            identity="5e5510",
            stop=lambda: shown.__length_hint__() == 0,
        )


def test_a_session_shows_as_many_as_are_asked_for(tmp_path: Path) -> None:
    served(tmp_path / "whole", 100)
    served(tmp_path / "x", 2)
    with Record(tmp_path / "whole") as whole, resume(tmp_path / "x", bridge=Direct(answers)) as again:
        assert [sizes(whole, run.id) for run in whole.runs()] == EXPECTED
        assert again.dump() == whole.dump()


def test_a_rejected_generation_is_shown_again_with_its_own_population(tmp_path: Path) -> None:
    served(tmp_path / "x", 3)
    give(tmp_path / "x", "reject", "2")
    with resume(tmp_path / "x", bridge=Direct(answers)) as record:
        assert record.finished
        [void, *_] = record.void_generations()
        assert void == 1
        for run, expected in enumerate(EXPECTED):
            counted = [len(some) for some in record.scores(run) if not np.isnan(some).all()]
            assert counted == expected
            assert record.presentation_count(run) == 2 * sum(expected)


class Climbing(Growing):
    """Comes nearer to what it looks for, so that it passes the check of optimizers."""

    def tell(self, state: Swarm, scores: torch.Tensor) -> Swarm:
        after = super().tell(state, scores)
        best = state.codes[torch.arange(len(scores)), scores.nan_to_num(nan=-1e9, neginf=-1e9).argmax(1)]
        moves = random.normal(state.seeds, state.steps, "climbing", tuple(state.codes.shape[1:])) * 0.25
        codes = best[:, None] + moves
        codes[:, 0] = best
        return Swarm(after.seeds, after.steps, codes, codes.norm(dim=2))


class Wide(Climbing):
    def populations(self, state: Swarm) -> torch.Tensor:
        return super().populations(state) + 1


class Forgetful(Climbing):
    def restored(self, saved: Mapping[str, torch.Tensor]) -> Swarm:
        return Swarm(**saved, norms=saved["codes"].norm(dim=2) + 1)


def test_the_check_of_optimizers_knows_populations_and_derived_fields() -> None:
    check_optimizer(Climbing())
    with pytest.raises(AssertionError, match=r"populations gave \[.*5.*\] for 2 runs; .* from 1 to 4"):
        check_optimizer(Wide())
    with pytest.raises(AssertionError, match="a state that was saved and loaded is another"):
        check_optimizer(Forgetful())


class Silent(Growing):
    def populations(self, state: Swarm) -> torch.Tensor:
        return torch.zeros_like(state.steps)


@pytest.mark.parametrize("kind", [Silent, Wide])
def test_a_population_out_of_its_range_ends_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Growing]
) -> None:
    monkeypatch.setitem(OPTIMIZERS._factories, "growing", kind)
    with pytest.raises(BadInput, match="each must be a whole number from 1 to 4"):
        xdream.run(plan(), tmp_path / "x")


@pytest.mark.parametrize("policy", ["everything", "scores"])
def test_the_command_codes_gives_as_many_as_were_asked_for(tmp_path: Path, policy: str) -> None:
    record = xdream.run(plan(record=policy), tmp_path / "x")
    out = tmp_path / "codes.npz"
    assert main(["codes", str(tmp_path / "x"), "--run", "1", "--out", str(out)]) == 0
    with np.load(out) as found:
        assert found["generation"].tolist() == [1] * 3 + [2] * 4 + [3] + [4] * 2
        assert found["slot"].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 0, 1]
        assert len(found["codes"]) == 10
        np.testing.assert_array_equal(found["score"], np.concatenate(record.scores(1)))


def test_nothing_is_said_of_a_budget_that_is_no_multiple(tmp_path: Path) -> None:
    record = xdream.run(plan(presentations=23), tmp_path / "x")
    assert "multiple" not in record.facts["notes"]


def test_a_figure_has_no_axis_of_presentations_where_generations_differ(tmp_path: Path) -> None:
    record = xdream.run(plan(), tmp_path / "x")
    assert not any(curves_of(record, one).even for one in report.summarise(record))
    same = xdream.run(plan(optimizer={"name": "genetic", "population": 4}), tmp_path / "y")
    assert all(curves_of(same, one).even for one in report.summarise(same))
