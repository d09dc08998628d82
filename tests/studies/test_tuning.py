"""The search for hyperparameters: by hand on toy functions, and with experiments that are killed."""

import csv
import itertools
import json
import math
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
import torch
from PIL import Image

import xdream
from xdream import report
from xdream.cli.main import main
from xdream.errors import BadInput, StoreBusy, StoreError
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan
from xdream.optimizers import OPTIMIZERS, Genetic
from xdream.store import FILE_NAME, Record, Store, locked
from xdream.studies import tuning
from xdream.studies.tuning import Parameter, Position, Setting, proceed, searched
from xdream.studies.tuning.parameters import admission
from xdream.studies.tuning.results import scales_of, value_of
from xdream.subjects import KnownPixels

# The search by hand.

#: With this seed two parameters are taken in the order a, b.
A_FIRST = 1


def a(start: float = 1.0, steps: tuple[float, ...] = (2.0,), **more: Any) -> Parameter:
    return Parameter("a", start, steps, **more)


def b(start: float = 1.0, steps: tuple[float, ...] = (2.0,), **more: Any) -> Parameter:
    return Parameter("b", start, steps, **more)


def positions(
    parameters: list[Parameter],
    worth: Callable[..., float],
    seed: int = A_FIRST,
    most: int = 100,
    **more: Any,
) -> list[Position]:
    """Every position of a search whose settings are worth `worth(*setting)`, the end included."""
    results: dict[Setting, float] = {}
    found = []
    for _ in range(most):
        position = proceed(parameters, seed, results, **more)
        found.append(position)
        if not position.asked:
            break
        results |= {setting: worth(*setting) for setting in position.asked}
    return found


def octaves(value: float, best: float) -> float:
    """Greatest where the value is the best one."""
    return -abs(math.log2(value / best))


def flat(*_: float) -> float:
    return 0.0


def test_the_start_is_evaluated_first_and_alone() -> None:
    assert proceed([a(3.0), b(5.0)], 0, {}) == Position(((3.0, 5.0),), 0)


def test_four_values_around_the_current_one_are_tried_of_one_parameter_alone() -> None:
    factors = positions([a(1.0, (2.0,)), b(7.0)], flat)[1]
    assert (factors.parameter, factors.step, factors.number) == ("a", 2.0, 1)
    assert factors.asked == ((0.25, 7.0), (0.5, 7.0), (2.0, 7.0), (4.0, 7.0))
    addends = positions([a(0.5, (0.1,), adds=True), b(7.0)], flat)[1]
    assert addends.asked == ((0.3, 7.0), (0.4, 7.0), (0.6, 7.0), (0.7, 7.0))


def test_the_best_of_the_four_is_kept_and_the_next_four_are_around_it() -> None:
    found = positions([a(1.0)], lambda x: octaves(x, 8.0))
    # 1 -> 4 -> 8 (of 1, 2, 8, 16) -> stays (of 2, 4, 16, 32); what is known is not asked for again.
    assert [one.asked for one in found] == [
        ((1.0,),),
        ((0.25,), (0.5,), (2.0,), (4.0,)),
        ((8.0,), (16.0,)),
        ((32.0,),),
        (),
    ]


def test_the_other_parameter_goes_on_from_what_was_kept() -> None:
    found = positions([a(1.0), b(1.0)], lambda x, y: octaves(x, 2.0) + octaves(y, 1.0))
    assert found[2].asked == ((2.0, 0.25), (2.0, 0.5), (2.0, 2.0), (2.0, 4.0))


def test_what_is_only_as_good_is_not_a_change() -> None:
    found = positions([a(1.0), b(1.0)], flat)
    assert [one.parameter for one in found] == ["", "a", "b", ""]
    assert found[-1] == Position((), 1)


@pytest.mark.parametrize("seed", range(5))
def test_no_parameter_is_taken_again_before_all_others_were(seed: int) -> None:
    parameters = [Parameter(name, 1.0, (2.0, 1.5)) for name in "abcd"]
    found = positions(parameters, lambda *setting: math.prod(setting), seed, most=41)[1:]
    taken = [one.parameter for one in found]  # each one grows without end, so none is passed over
    assert len(taken) == 40
    for start in range(37):
        assert sorted(taken[start : start + 4]) == ["a", "b", "c", "d"]
    assert [one.number for one in found] == [1 + i // 4 for i in range(40)]


def test_the_order_is_drawn_from_the_seed() -> None:
    parameters = [Parameter(name, 1.0, (2.0,)) for name in "abcd"]
    orders = ["".join(one.parameter for one in positions(parameters, flat, seed)) for seed in range(20)]
    assert orders == ["".join(one.parameter for one in positions(parameters, flat, s)) for s in range(20)]
    assert len(set(orders)) > 5
    assert {"".join(sorted(order)) for order in orders} == {"abcd"}


def shrinking(found: list[Position]) -> list[tuple[str, float, int]]:
    """(parameter, step, round) of every position that asks for something, after the start."""
    return [(one.parameter, one.step, one.number) for one in found[1:] if one.asked]


def test_after_a_round_without_change_the_step_of_the_parameter_unchanged_for_longest_shrinks() -> None:
    # a moves to 2 in round 1, b never: after round 2, in which nothing moves, b's step shrinks, not a's,
    # though a is first in order; and b's again, before a's.
    found = positions(
        [a(1.0, (2.0, 1.5)), b(1.0, (2.0, 1.5, 1.2))], lambda x, y: octaves(x, 2.0) + octaves(y, 1.0)
    )
    assert shrinking(found) == [
        ("a", 2.0, 1),
        ("b", 2.0, 1),
        ("a", 2.0, 2),  # 8; the others are known
        ("b", 1.5, 3),
        ("b", 1.2, 4),
        ("a", 1.5, 5),
    ]
    assert found[-1] == Position((), 5)


def test_of_two_that_changed_the_one_that_changed_earlier_shrinks_first() -> None:
    # Both move in round 1, and a once more in round 2: b is the one unchanged for longest. When they move
    # in the same round, it is the first in order.
    later = positions([a(1.0, (2.0, 1.5)), b(1.0, (2.0, 1.5))], lambda x, y: octaves(x, 8) + octaves(y, 4))
    assert [one for one in shrinking(later) if one[1] == 1.5] == [("b", 1.5, 4), ("a", 1.5, 5)]
    three = (2.0, 1.5, 1.2)
    alike = positions([a(1.0, three), b(1.0, three)], lambda x, y: octaves(x, 4) + octaves(y, 4))
    assert [one for one in shrinking(alike) if one[1] != 2.0] == [
        *(("a", 1.5, 3), ("a", 1.2, 4)),
        *(("b", 1.5, 5), ("b", 1.2, 6)),
    ]


def test_parameters_that_never_changed_shrink_in_turn() -> None:
    found = positions([a(1.0, (2.0, 1.5, 1.2)), b(1.0, (2.0, 1.5, 1.2))], flat)
    assert [one[:2] for one in shrinking(found)] == [
        *(("a", 2.0), ("b", 2.0)),
        *(("a", 1.5), ("b", 1.5)),
        *(("a", 1.2), ("b", 1.2)),
    ]


def test_no_step_shrinks_after_a_round_with_a_change() -> None:
    found = positions([a(1.0, (2.0, 1.5))], lambda x: octaves(x, 2.0**9))
    numbers = [one.number for one in found if one.step == 2.0]
    assert numbers == [1, 2, 3, 4, 5, 6]  # 4, 16, 64, 256, 512, and once without a change
    assert [one.number for one in found if one.step == 1.5] == [7]


def test_a_smaller_step_finds_what_the_wider_one_passed_over() -> None:
    found = positions([a(1.0, (2.0, 1.5))], lambda x: octaves(x, 1.4))
    # 1 is nearer to 1.4 than 2 is, so it is held until the step shrinks; from 1.5 only 3.375 is new.
    assert [one.asked for one in found[2:]] == [((0.444444,), (0.666667,), (1.5,), (2.25,)), ((3.375,),), ()]


def test_the_search_ends_only_when_all_steps_are_used_up() -> None:
    steps = {"a": (2.0, 1.4, 1.2), "b": (3.0,), "c": (2.0, 1.1)}
    found = positions([Parameter(name, 1.0, s) for name, s in steps.items()], flat)
    tried = {name: tuple(one.step for one in found if one.parameter == name) for name in steps}
    assert tried == steps


def test_values_stay_in_the_valid_range_and_none_is_tried_twice() -> None:
    [_, four, *_] = positions([a(0.9, (0.2,), adds=True, least=0.0, most=1.0)], flat)
    assert four.asked == ((0.5,), (0.7,), (1.0,))
    [_, four, *_] = positions([a(1.0, (0.2,), adds=True, least=0.0, most=1.0)], flat)
    assert four.asked == ((0.6,), (0.8,))  # the current one is not tried either


def test_whole_numbers_stay_whole_and_steps_add_up_before_they_are_rounded() -> None:
    found = positions([a(20.0, (1.4,), whole=True)], lambda x: x if x <= 39 else 0)
    assert found[1].asked == ((10,), (14,), (28,), (39,))
    assert found[2].asked == ((55,), (77,))  # 20 · 1.4³ = 54.9 and back to 20 and 28, which are known
    assert all(isinstance(value, int) for one in found for (value,) in one.asked)


@pytest.mark.parametrize("seed", range(8))
def test_no_setting_is_asked_for_twice_however_it_is_reached(seed: int) -> None:
    rng = np.random.default_rng(seed)
    worths: dict[Setting, float] = {}

    def worth(*setting: float) -> float:
        return worths.setdefault(setting, rng.normal() - 0.1 * sum(abs(math.log(x)) for x in setting))

    found = positions([a(0.3, (2, 1.4, 1.2)), b(0.7, (1.4, 1.2))], worth, seed, most=1000)
    assert not found[-1].asked
    asked = [setting for one in found for setting in one.asked]
    near = {tuple(float(f"{value:.4g}") for value in setting) for setting in asked}
    assert len(near) == len(asked)


def test_settings_that_are_not_valid_are_left_out_and_rounded_ones_counted_once() -> None:
    def even(setting: Setting) -> Setting | None:
        return None if setting[0] > 30 else (setting[0] // 2 * 2,)

    found = positions([a(9.0, (1.4,), whole=True)], flat, admit=even)
    assert [one.asked for one in found[:2]] == [((8,),), ((4,), (6,), (12,), (18,))]
    found = positions([a(20.0, (1.1,), whole=True)], flat, admit=even)
    assert found[1].asked == ((16,), (18,), (22,), (24,))


# Which hyperparameters are searched.

SMALL: dict[str, Any] = {
    "targets": ["known:gaussian::0-1"],
    "generator": {"name": "pixels", "size_px": 8},
    "optimizer": {"name": "genetic", "population": 4},
    "presentations": 8,
    "seed": 3,
    "threads": 1,
    "batch": 50,
}


def plan(**changes: Any) -> Plan:
    return Plan.make(**SMALL | changes)


def of(optimizer: dict[str, Any], **more: Any) -> dict[str, Parameter]:
    found, _ = searched(assemble(plan(optimizer=optimizer, presentations=1000)).plan, **more)
    return {parameter.name: parameter for parameter in found}


def test_every_hyperparameter_of_our_optimizers_has_its_steps() -> None:
    genetic = of({"name": "genetic"})
    assert list(genetic) == "population mutation_rate mutation_size selectivity heritability elites".split()
    assert genetic["mutation_size"] == Parameter("mutation_size", 0.125, (2.0, 1.4, 1.2))
    rate = Parameter("mutation_rate", 0.25, (0.2, 0.1, 0.05), adds=True, least=0.0, most=1.0)
    assert genetic["mutation_rate"] == rate
    assert (genetic["heritability"].least, genetic["heritability"].most) == (0.5, 1.0)
    assert genetic["population"] == Parameter("population", 20, (2.0, 1.4, 1.2), least=2, whole=True)
    assert genetic["elites"] == Parameter("elites", 0, (2.0, 1.0), adds=True, least=0, whole=True)
    for name in ("fdgd", "nes"):
        found = of({"name": name})
        options = assemble(plan(optimizer={"name": name, "population": 4})).plan.optimizer.options
        assert set(found) == options.keys() - {"scores", "safe_start"}
        assert all(not p.adds and p.whole is (p.name == "population") for p in found.values())


def test_a_number_given_without_a_point_is_no_whole_number_where_any_will_do() -> None:
    assert not of({"name": "genetic", "mutation_size": 1})["mutation_size"].whole


def test_other_steps_and_fewer_parameters_may_be_asked_for() -> None:
    found = of({"name": "genetic"}, only=["elites", "selectivity"], steps={"selectivity": [3, 1.5]})
    assert list(found) == ["selectivity", "elites"]
    assert found["selectivity"].steps == (3.0, 1.5)


@dataclass(frozen=True)
class Elsewhere(Genetic):
    """An optimizer of another package, with options of all kinds."""

    speed: float = 1.0
    tries: int = 3
    offset: float = 0.0
    mode: str = "plain"
    careful: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.speed > 3.0:
            raise ValueError("too fast")


#: Options of `Elsewhere` that are declared, with their search ranges, by the class that it is made of.
INHERITED = ("mutation_rate", "mutation_size", "selectivity", "heritability", "elites")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    OPTIMIZERS.names()  # entry points are looked up once
    monkeypatch.setitem(OPTIMIZERS._factories, "elsewhere", Elsewhere)
    values = {"speed": 1.5, "tries": 3, "offset": 0.0, "mode": "plain", "careful": True}
    return {"name": "elsewhere", "population": 4} | values


def test_numbers_of_an_optimizer_from_elsewhere_are_searched_by_factors(elsewhere: dict[str, Any]) -> None:
    found = of(elsewhere)
    assert [name for name in found if name not in INHERITED] == ["population", "speed", "tries"]
    assert found["speed"] == Parameter("speed", 1.5, (2.0, 1.4, 1.2))
    assert found["tries"] == Parameter("tries", 3, (2.0, 1.4, 1.2), least=1, whole=True)
    _, notes = searched(plan(optimizer=elsewhere))
    assert notes == (
        "not searched: offset is 0, which no factor changes: give addends, --steps offset=A,B,…",
    )
    assert of(elsewhere, steps={"offset": [0.5, 0.1]})["offset"] == Parameter(
        "offset", 0.0, (0.5, 0.1), adds=True
    )


def test_settings_that_the_optimizer_refuses_are_not_admitted(elsewhere: dict[str, Any]) -> None:
    where = plan(optimizer=elsewhere)
    admit = admission(where, searched(where, ["speed"])[0])
    assert admit((3.0,)) == (3.0,)
    assert admit((3.1,)) is None
    genetic = plan()
    parameters, _ = searched(assemble(genetic).plan, ["population", "elites"])
    admit = admission(genetic, parameters)
    assert admit((4, 3)) == (4, 3)
    assert admit((4, 4)) is None
    assert admit((8, 0)) == (8, 0)
    assert admit((9, 0)) is None  # no generation can be paid for


def test_a_population_of_pairs_is_even() -> None:
    pairs = plan(optimizer={"name": "nes", "population": 7}, presentations=16)
    parameters, _ = searched(assemble(pairs).plan, ["population"])
    found = positions(list(parameters), flat, admit=admission(pairs, parameters))
    assert found[0].asked == ((6,),)
    assert found[1].asked == ((2,), (4,), (14,))  # 28 cannot be paid for with 16 presentations
    assert all(setting[0] % 2 == 0 for one in found for setting in one.asked)


# With experiments.

TWO = {"mutation_size": [2.0], "elites": [1.0]}


@pytest.fixture(autouse=True, scope="module")
def _no_wait_for_the_disk() -> Iterator[None]:
    """Nothing here loses power, and every evaluation makes a store."""

    def hook(connection: apsw.Connection) -> None:
        connection.pragma("synchronous", "off")

    apsw.connection_hooks.append(hook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "_set_journal", lambda store: None)
        patch.setattr(os, "fsync", lambda file: None)
        yield
    apsw.connection_hooks.remove(hook)


def tuned(folder: Path, evaluations: int | None = None, **changes: Any) -> tuning.Tuning:
    return tuning.tune(plan(**changes), folder, tuple(TWO), TWO, evaluations)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, _no_wait_for_the_disk: None) -> tuning.Tuning:
    """A whole search, uninterrupted; to be looked at only."""
    return tuned(tmp_path_factory.mktemp("whole") / "x")


def everything(folder: Path) -> dict[str, Any]:
    """The table, and of each evaluation all that follows from its plan."""
    places = sorted((folder / "evaluations").iterdir())
    return {"table": (folder / "evaluations.csv").read_bytes()} | {
        place.name: Record(place).dump() for place in places
    }


def test_a_setting_is_worth_the_mean_over_runs_of_the_last_generations_best_over_the_scale(
    tmp_path: Path,
) -> None:
    found = tuned(tmp_path / "x", evaluations=5, runs=2)
    assert found.evaluations[0].setting == (0.125, 0)
    start = [Record(tmp_path / "x/evaluations/0000").scores(run)[-1].max() for run in range(4)]
    scale = [np.mean(start[:2]), np.mean(start[2:])]
    assert [(s.target, s.natural) for s in found.scales] == [
        ("known:gaussian::0", False),
        ("known:gaussian::1", False),
    ]
    np.testing.assert_allclose([s.value for s in found.scales], scale)
    for one in found.evaluations:
        size, elites = one.setting
        options = SMALL["optimizer"] | {"mutation_size": size, "elites": elites}
        alone = xdream.run(plan(optimizer=options, runs=2), tmp_path / f"alone{one.number}")
        last = [alone.scores(run)[-1].max() / scale[run // 2] for run in range(4)]
        assert one.value == pytest.approx(np.mean(last), rel=1e-12)
        assert alone.dump() == Record(tmp_path / f"x/evaluations/{one.number:04d}").dump()
    assert found.best.value == max(one.value for one in found.evaluations)
    assert found.evaluations[0].value == pytest.approx(1.0)


def test_the_evaluations_are_those_of_the_pure_search(whole: tuning.Tuning) -> None:
    results = {one.setting: one.value for one in whole.evaluations}
    expected = positions(list(whole.parameters), lambda *setting: results[setting], seed=3)
    asked = [(setting, one.number, one.parameter) for one in expected for setting in one.asked]
    assert [(one.setting, one.round, one.parameter) for one in whole.evaluations] == asked
    assert not expected[-1].asked
    assert whole.ended == "complete"


def test_the_table_has_a_line_for_every_evaluation(whole: tuning.Tuning) -> None:
    with open(whole.folder / "evaluations.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(whole.evaluations) > 5
    for line, one in zip(lines, whole.evaluations, strict=True):
        setting = (float(line["optimizer.mutation_size"]), float(line["optimizer.elites"]))
        found = (int(line["evaluation"]), setting, float(line["value"]))
        assert found == (one.number, one.setting, one.value)
    best = list(itertools.accumulate((one.value for one in whole.evaluations), max))
    assert [float(line["best_so_far"]) for line in lines] == best
    assert (lines[0]["parameter"], lines[0]["step"]) == ("", "")
    assert {line["parameter"] for line in lines[1:]} == {"mutation_size", "elites"}


def test_with_noise_the_optimizer_sees_it_and_the_value_does_not(tmp_path: Path, photographs: Path) -> None:
    noisy = {"noise_spikes": 5.0, "references": str(photographs)}
    found = tuned(tmp_path / "x", evaluations=2, **noisy)
    assert found.noisy
    assert all(scale.natural for scale in found.scales)
    for one in found.evaluations:
        record = Record(tmp_path / f"x/evaluations/{one.number:04d}")
        clean = [record.scores(run)[-1].max() / record.reference_responses(run).max() for run in (0, 1)]
        assert one.value == pytest.approx(np.mean(clean))
        assert not np.array_equal(record.scores(0), record.scores(0, noise_free=False))


def test_references_are_shown_once_and_every_evaluation_is_as_if_they_had_been_shown_in_it(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    respond = KnownPixels.respond

    def counting(subject: KnownPixels, images: torch.Tensor) -> torch.Tensor:
        shown.append(len(images))
        return respond(subject, images)

    monkeypatch.setattr(KnownPixels, "respond", counting)
    changes: dict[str, Any] = {
        "noise_spikes": 5.0,
        "references": str(photographs),
        "init": "references:middle",
        "references_per_generation": 1,
    }
    found = tuned(tmp_path / "x", evaluations=3, **changes)
    generations = 3 * 2
    assert sum(shown) == 7 + generations * (2 * 4 + 1)
    for one in found.evaluations:
        record = Record(tmp_path / f"x/evaluations/{one.number:04d}")
        alone = xdream.run(Plan.from_toml(record.facts["plan"]), tmp_path / f"alone{one.number}")
        assert alone.dump() == record.dump()
        assert alone.facts == record.facts


def test_responses_to_references_are_taken_over_only_from_the_same_runs_and_references(
    tmp_path: Path, photographs: Path
) -> None:
    first = xdream.run(plan(references=str(photographs)), tmp_path / "first")
    for changes in ({"seed": 4}, {"targets": ["known:gaussian::0,2"]}):
        with pytest.raises(BadInput, match="other runs"):
            xdream.run(plan(references=str(photographs), **changes), tmp_path / "x", like=first)
    (photographs / "3.png").unlink()
    with pytest.raises(BadInput, match="have changed"):
        xdream.run(plan(references=str(photographs)), tmp_path / "x", like=first)
    assert not (tmp_path / "x").exists()


def summaries(tmp_path: Path) -> list[report.RunSummary]:
    return report.summarise(xdream.run(plan(runs=2), tmp_path / "summarised"))


def test_a_scale_is_the_best_reference_where_that_is_positive_and_else_the_start(tmp_path: Path) -> None:
    one, two, three, four = summaries(tmp_path)
    start = [
        *(replace(s, best_reference=4.0, last_generation_best=x) for s, x in ((one, 2.0), (two, 6.0))),
        *(replace(s, best_reference=-4.0, last_generation_best=x) for s, x in ((three, 2.0), (four, 6.0))),
    ]
    scales = scales_of(start)
    assert [(s.value, s.natural) for s in scales] == [(4.0, True), (4.0, False)]
    later = [replace(s, last_generation_best=x) for s, x in zip(start, (4.0, 4.0, 2.0, 2.0), strict=True)]
    assert value_of(later, scales) == 0.75
    missing = [*later[:3], replace(later[3], last_generation_best=None)]
    assert math.isnan(value_of(missing, scales))
    for bad in (-2.0, 0.0, None, math.inf):
        with pytest.raises(BadInput, match="known:gaussian::1 has no scale"):
            scales_of([*start[:2], *(replace(s, last_generation_best=bad) for s in start[2:])])


def test_a_setting_without_a_value_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([1.0, math.nan, math.inf, 1.5, 0.5])
    monkeypatch.setattr("xdream.studies.tuning.evaluations.value_of", lambda *_: next(values))
    found = tuned(tmp_path / "x", evaluations=5)
    assert found.best.number == 3
    assert "2 evaluations have no value" in found.notes[0]
    assert json.dumps(tuning.as_json(found), allow_nan=False)
    tuning.draw(found)
    with open(tmp_path / "x" / "evaluations.csv") as file:
        lines = [(line["value"], line["best_so_far"]) for line in csv.DictReader(file)]
    assert lines == [("1.0", "1.0"), ("", "1.0"), ("", "1.0"), ("1.5", "1.5"), ("0.5", "1.5")]


# Kill and resume.


class Killed(BaseException):
    """Not an error that anything handles."""


class Mortal:
    """Ends the tuning at its n-th tick: at each answer of the subject, and within and after each commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, how: type[BaseException] = Killed) -> None:
        self.how = how
        self.left = math.inf
        self.ticks = 0
        respond, write = KnownPixels.respond, Store.write_reference_responses

        def ticking(subject: KnownPixels, images: torch.Tensor) -> torch.Tensor:
            self.tick()
            return respond(subject, images)

        def writing(store: Store, rows: Any) -> None:
            self.tick()  # the store is begun, what it takes over is not there yet
            write(store, rows)
            self.tick()

        monkeypatch.setattr(KnownPixels, "respond", ticking)
        monkeypatch.setattr(Store, "write_reference_responses", writing)

    def live(self, ticks: float = math.inf) -> None:
        self.left, self.ticks = ticks, 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks > self.left:
            raise self.how


@pytest.mark.parametrize("part", range(2))
def test_killed_at_any_point_a_tuning_goes_on_as_if_it_had_not_been(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    mortal = Mortal(monkeypatch)
    changes: dict[str, Any] = {"evaluations": 3, "references": str(photographs)}
    expected = tuned(tmp_path / "whole", **changes)
    total = mortal.ticks
    assert total == 3 + 2 + 2 * (2 + 2)  # the start with its references, and two that take them over
    for ticks in range(part, total, 2):
        folder = tmp_path / str(ticks)
        mortal.live(ticks)
        with pytest.raises(Killed):
            tuned(folder, **changes)
        mortal.live()
        # The same command, and `resume`, are two ways to go on.
        found = tuned(folder, **changes) if ticks // 2 % 2 else tuning.resume(folder)
        assert everything(folder) == everything(expected.folder), f"killed at tick {ticks}"
        assert same(found, expected)


def same(one: tuning.Tuning, other: tuning.Tuning) -> bool:
    """Whether two tunings are the same but for their folders."""
    return replace(one, folder=other.folder) == other


def test_killed_again_and_again_a_tuning_still_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuning.Tuning
) -> None:
    mortal = Mortal(monkeypatch)
    mortal.live(1)
    with pytest.raises(Killed):
        tuned(tmp_path / "x")
    deaths = 1
    while True:
        mortal.live(5)
        try:
            found = tuning.resume(tmp_path / "x")
            break
        except Killed:
            deaths += 1
    assert deaths > 3
    assert everything(tmp_path / "x") == everything(whole.folder)
    assert same(found, whole)


def test_an_evaluation_may_be_finished_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuning.Tuning
) -> None:
    mortal = Mortal(monkeypatch)
    mortal.live(8)
    with pytest.raises(Killed):
        tuned(tmp_path / "x", evaluations=5)
    mortal.live()
    last = max((tmp_path / "x" / "evaluations").iterdir())
    assert not Record(last).finished
    xdream.resume(last)
    assert tuning.resume(tmp_path / "x").evaluations[1:] == whole.evaluations[1:5]


def test_a_finished_tuning_is_only_replayed(monkeypatch: pytest.MonkeyPatch, whole: tuning.Tuning) -> None:
    before = everything(whole.folder)
    Mortal(monkeypatch).live(0)
    for found in (tuned(whole.folder), tuning.resume(whole.folder), tuning.read(whole.folder)):
        assert same(found, whole)
    assert everything(whole.folder) == before


def test_the_evaluations_allowed_end_it_early_and_more_go_on(tmp_path: Path, whole: tuning.Tuning) -> None:
    some = tuned(tmp_path / "x", evaluations=4)
    assert (len(some.evaluations), some.ended) == (4, "limit")
    assert "ended early, after the 4 evaluations allowed" in some.notes[-1]
    assert some.best.value == max(one.value for one in whole.evaluations[:4])
    assert same(tuning.resume(tmp_path / "x"), some)
    assert len(tuned(tmp_path / "x", evaluations=5).evaluations) == 5
    exactly = tuned(tmp_path / "x", evaluations=len(whole.evaluations))
    assert same(exactly, whole)
    assert everything(tmp_path / "x") == everything(whole.folder)


def test_a_plan_with_variants_is_not_tuned(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tune the plan of one of them"):
        tuning.tune(plan(variants=[{"optimizer": "nes"}]), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_is_finished_can_be_read_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mortal = Mortal(monkeypatch)
    mortal.live(0)
    with pytest.raises(Killed):
        tuned(tmp_path / "x")
    with pytest.raises(BadInput, match="no finished evaluation"):
        tuning.read(tmp_path / "x")
    mortal.live(7)
    with pytest.raises(Killed):
        tuning.resume(tmp_path / "x")
    with locked(tmp_path / "x"):
        found = tuning.read(tmp_path / "x")
    assert (len(found.evaluations), found.ended) == (2, "unfinished")
    assert "xdream resume" in found.notes[-1]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    tuned(tmp_path / "x", evaluations=1)
    with locked(tmp_path / "x"):
        with pytest.raises(StoreBusy):
            tuned(tmp_path / "x")
        with pytest.raises(StoreBusy):
            tuning.resume(tmp_path / "x")


def test_the_folder_of_another_tuning_is_refused(tmp_path: Path) -> None:
    tuned(tmp_path / "x", evaluations=1)
    before = everything(tmp_path / "x")
    with pytest.raises(BadInput, match=r"another plan \(other: presentations, seed\)"):
        tuned(tmp_path / "x", presentations=16, seed=4)
    with pytest.raises(BadInput, match=r"other: what is searched"):
        tuning.tune(plan(), tmp_path / "x", ["mutation_size"])
    assert everything(tmp_path / "x") == before
    xdream.run(plan(), tmp_path / "y")
    with pytest.raises(BadInput, match="already holds an experiment"):
        tuned(tmp_path / "y")


def test_threads_that_were_not_asked_for_are_those_of_the_beginning(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    tuned(tmp_path / "x", evaluations=1, threads=None)
    torch.set_num_threads(1)
    found = tuned(tmp_path / "x", evaluations=2, threads=None)
    assert found.plan.threads == 2
    assert Plan.from_toml(Record(tmp_path / "x/evaluations/0001").facts["plan"]).threads == 2


def test_an_evaluation_that_was_changed_is_not_taken_for_another(tmp_path: Path) -> None:
    tuned(tmp_path / "x", evaluations=3)
    evaluations = tmp_path / "x" / "evaluations"
    shutil.rmtree(evaluations / "0001")
    (evaluations / "0002").rename(evaluations / "0001")
    with pytest.raises(BadInput, match="other hyperparameters"):
        tuning.resume(tmp_path / "x")


def test_a_damaged_description_is_said(tmp_path: Path) -> None:
    tuned(tmp_path / "x", evaluations=1)
    (tmp_path / "x" / tuning.FILE_NAME).write_text("plan = 3")
    with pytest.raises(StoreError, match="damaged"):
        tuning.resume(tmp_path / "x")
    with pytest.raises(StoreError, match="cannot be read"):
        tuning.resume(tmp_path / "nowhere")


# The command line.


def command(*flags: object, target: str = "known:gaussian::0-1") -> int:
    quick = ["--generator", "pixels", "--set", "generator.size_px=8", "--quiet"]
    quick += ["--population", 4] + ["--optimizer", "genetic"] * ("--optimizer" not in flags)
    size = ["--presentations", 8, "--seed", 3]
    return main(["tune", "--target", target, *map(str, (*quick, *size, *flags))])


TWO_FLAGS = ("--parameter", "mutation_size", "--parameter", "elites", "--steps", "mutation_size=2")


def test_tune_prints_the_best_setting_for_a_plan_and_the_units_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--out", tmp_path / "x", *TWO_FLAGS) == 0
    printed = capsys.readouterr().out
    assert "units used (do not report on these): known:gaussian::0, known:gaussian::1" in printed
    assert "over that of the unit with the starting setting, mean over 2 units x 1 seed" in printed
    toml = printed[printed.index("[optimizer]") : printed.index("units used")]
    assert command("--out", tmp_path / "x", *TWO_FLAGS, "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert tomllib.loads(toml)["optimizer"] == found["optimizer"]
    plan_file = tmp_path / "plan.toml"
    plan_file.write_text(f'targets = ["known:gaussian::5"]\n{toml}')
    assert (
        Plan.read(plan_file).optimizer.options["mutation_size"] == found["best"]["setting"]["mutation_size"]
    )
    assert found["ended"] == "complete"
    assert found["units_used"] == ["known:gaussian::0", "known:gaussian::1"]
    assert found["scales"]["known:gaussian::0"]["of"] == "start"
    assert found["best"]["value"] > found["start"]["value"] == 1.0
    assert Path(found["table"]).is_file()
    with Image.open(tmp_path / "x" / "tuning.png") as image:
        assert image.size[0] == 1440


def test_a_tuning_can_be_shown_and_resumed_like_an_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--out", tmp_path / "x", *TWO_FLAGS, "--evaluations", 3)
    assert command(*flags, "--json", "--no-figures") == 0
    first = capsys.readouterr().out
    assert not (tmp_path / "x" / "tuning.png").exists()
    assert main(["resume", str(tmp_path / "x"), "--json", "--quiet", "--no-figures"]) == 0
    assert capsys.readouterr().out == first
    assert main(["show", str(tmp_path / "x"), "--json"]) == 0
    assert capsys.readouterr().out == first
    figure = (tmp_path / "x" / "tuning.png").read_bytes()
    assert main(["show", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x" / "tuning.png").read_bytes() == figure


def test_an_interruption_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal = Mortal(monkeypatch, KeyboardInterrupt)
    mortal.live(7)
    flags = ("--out", tmp_path / "x", *TWO_FLAGS, "--evaluations", 5)
    assert command(*flags) == 130
    assert f"interrupted; continue with: xdream resume {tmp_path / 'x'}" in capsys.readouterr().err
    mortal.live()
    assert main(["resume", str(tmp_path / "x"), "--quiet", "--no-figures"]) == 0


def test_progress_names_the_evaluation(tmp_path: Path, photographs: Path) -> None:
    told: dict[str, int] = {}

    class Callback:
        def stage(self, name: str, done: int, total: int) -> None:
            told[name] = done

        def best(self, score: float) -> None:
            assert score > 0

    tuning.tune(
        plan(references=str(photographs)), tmp_path / "x", ["elites"], evaluations=3, callback=Callback()
    )
    names = list(told)
    assert names[:2] == ["references", "evaluation 0, the start"]
    assert names[2].startswith("evaluation 1, elites = 2 (best so far ")
    assert list(told.values()) == [7, 2, 2, 2]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--parameter", "mutation"], ["mutation", "mutation_rate"]),
        (["--parameter", "mode", "--set", "optimizer.mode=fast"], ["mode"]),
        (["--parameter", "elites", "--steps", "selectivity=2"], ["selectivity", "not among"]),
        (["--steps", "mutation_size=1.2,2"], ["mutation_size", "1.2, 2", "factors above 1"]),
        (["--steps", "mutation_size=0.5"], ["0.5", "factors above 1"]),
        (["--steps", "mutation_size=nan"], ["nan", "factors above 1"]),
        (["--steps", "elites=0"], ["elites", "addends above 0"]),
        (["--steps", "elites"], ["elites", "NAME=STEP"]),
        (["--steps", "elites="], ["elites=", "NAME=STEP"]),
        (["--steps", "=2"], ["=2", "NAME=STEP"]),
        (["--steps", "elite=2"], ["elite", "elites"]),
        (["--evaluations", "0"], ["evaluations", "0", "at least 1"]),
        (["--evaluations", "-3"], ["-3", "at least 1"]),
        (["--parameter", "selectivity", "--set", "optimizer.selectivity=0"], ["selectivity", "addends"]),
        (["--presentations", "3"], ["3", "at least 4"]),
        (["--optimizer", "genetics"], ["genetics", "genetic"]),
        (["--references", "nowhere"], ["nowhere"]),
        (["--noise-spikes", "5"], ["references"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: list[str]
) -> None:
    assert command("--out", tmp_path / "a" / "x", *flags) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    assert all(word in error for word in ["xdream: ", *words]), error
    assert not (tmp_path / "a").exists()


def test_a_parameter_that_is_no_number_is_refused(elsewhere: dict[str, Any]) -> None:
    for name, value in (("mode", "'plain'"), ("careful", "True")):
        with pytest.raises(BadInput, match=f"'{name}' is {value}; only numbers"):
            searched(plan(optimizer=elsewhere), [name])
    with pytest.raises(BadInput, match="no numeric hyperparameter"):
        searched(plan(optimizer={"name": "elsewhere", "mode": "plain"}))
    with pytest.raises(BadInput, match="offset is 0, which no factor changes"):
        searched(plan(optimizer={"name": "elsewhere", "offset": 0.0}))


def test_noise_without_a_scale_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photographs: Path
) -> None:
    flags = ("--references", photographs, "--noise-spikes", 5)
    assert command("--out", tmp_path / "a" / "x", *flags, target=f"match:{photographs / '0.png'}::0") == 2
    assert "noise_scale" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_unit_without_a_positive_scale_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--out", tmp_path / "x", "--objective", "minus-mean") == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "known:gaussian::0 has no scale: no references, and its result" in error


def test_an_optimizer_from_elsewhere_is_tuned(tmp_path: Path, elsewhere: dict[str, Any]) -> None:
    found = tuning.tune(
        plan(optimizer=elsewhere, targets=["known:gaussian::0"]), tmp_path / "x", evaluations=4
    )
    names = [parameter.name for parameter in found.parameters]
    assert [name for name in names if name not in INHERITED] == ["population", "speed", "tries"]
    assert found.optimizer.options["mode"] == "plain"
    assert "not searched: offset" in tuning.said(found)
    tuning.draw(found)


def test_without_a_folder_a_tuning_goes_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*TWO_FLAGS, "--evaluations", 1, "--no-figures") == 0
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-evolution-tuning")
    assert (folder / "evaluations" / "0000" / FILE_NAME).is_file()
