"""What is tried around the defaults, what follows from it, and what is said of it."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_study import drawn, group, images, table_of, verdicts

from xdream import studies
from xdream.description import Part
from xdream.errors import BadInput
from xdream.studies import StudyPlan
from xdream.studies.hyperparameters import (
    DEFAULT_VALUE,
    INITIAL,
    RELATIVE,
    RISE,
    Setting,
    defaults_with,
    settings,
)
from xdream.studies.shard_work import check_budget
from xdream.studies.table import Table, TableRow

STUDY = studies.named("hyperparameters")
DEFAULTS = {
    "population": 10.0,
    "mutation_rate": 0.4,
    "mutation_size": 0.5,
    "selectivity": 2.0,
    "heritability": 0.5,
}
TOLERANT, SELECTIVE, RECOMBINED, FAILING = range(4)

Reached = Callable[[Setting, int], tuple[float, float]]


def made(reached: Reached, units: int = 8, network: str = "net", presentations: float = 1_000.0) -> Table:
    """A table of one network. reached: (setting, unit) -> final response, rise, both over the default's."""

    def rows() -> Iterator[TableRow]:
        for parameter, default in DEFAULTS.items():
            yield TableRow(STUDY.name, network, condition=parameter, measure=DEFAULT_VALUE, value=default)
        for unit in range(units):
            of = TableRow(STUDY.name, network, "late", "fc6", str(unit))
            yield replaced(of, condition="default", measure="presentations", value=presentations)
            yield replaced(of, condition="default", measure=INITIAL, value=0.3)
            for one in settings(DEFAULTS):
                for measure, value in zip((RELATIVE, RISE), reached(one, unit), strict=True):
                    yield replaced(of, condition=one.parameter, x=one.value, measure=measure, value=value)

    return Table(rows())


def replaced(row: TableRow, **values: object) -> TableRow:
    return TableRow(**{**row.__dict__, **values})  # type: ignore[arg-type]


def as_published(one: Setting, unit: int) -> tuple[float, float]:
    value = 0.4 if one.degenerate else 0.95
    return value + 0.01 * unit, (value - 0.3) / 0.7


def with_one(parameter: str, value: float, relative: float, rise: float) -> Reached:
    """As published but for one setting."""
    odd = Setting(parameter, value)
    return lambda one, unit: (relative, rise) if one == odd else as_published(one, unit)


def found(table: Table) -> list[str]:
    return verdicts(list(STUDY.findings(table)), "")


def test_each_hyperparameter_is_tried_on_both_sides_of_its_default_and_where_it_is_degenerate() -> None:
    tried = settings(DEFAULTS)
    values = {name: [one.value for one in tried if one.parameter == name] for name in DEFAULTS}
    assert values == {
        "population": [1, 5, 20, 50],
        "mutation_rate": [0, 0.08, 0.2, 0.8, 1],
        "mutation_size": [0, 0.1, 0.25, 1, 2.5],
        "selectivity": [0, 0.5, 1, 4, 8, 100],
        "heritability": [0.75, 1],
    }
    assert [str(one) for one in tried if one.degenerate] == [
        "population = 1",
        "mutation_rate = 0",
        "mutation_size = 0",
        "selectivity = 0",
    ]


def test_half_of_an_odd_population_is_within_a_factor_of_two() -> None:
    tried = settings(DEFAULTS | {"population": 45.0})
    assert [one.value for one in tried if one.parameter == "population"] == [1, 23, 90, 225]


def test_a_learned_generator_is_varied_around_the_defaults_of_the_one_in_the_package(tmp_path: Path) -> None:
    shipped = defaults_with(Part(name="natural-v1"))
    assert shipped["population"] == 10
    assert defaults_with(Part(name=str(tmp_path / "own.safetensors"))) == shipped
    assert defaults_with(Part(name="deepsim-fc6"))["mutation_rate"] == 0.5


def test_a_budget_below_the_largest_population_is_refused_before_anything_is_run() -> None:
    conditions = STUDY.conditions(StudyPlan.make(study=STUDY.name, generators=["natural-v1"]))
    with pytest.raises(BadInput, match=r"presentations is 49, .*'population = 50' of 50.*at least 50"):
        check_budget(conditions, 49)
    check_budget(conditions, 50)
    assert conditions[0].name == "default"
    assert not conditions[0].optimizer.options
    [one] = [c for c in conditions if c.name == "population = 50"]
    assert one.optimizer.options == {"population": 50}
    assert isinstance(one.optimizer.options["population"], int)


def test_the_claims_hold_where_all_but_degenerate_values_do_well() -> None:
    assert found(made(as_published)) == ["reproduced"] * 4


@pytest.mark.parametrize(
    ("parameter", "value", "claim"),
    [
        ("population", 5, TOLERANT),
        ("mutation_rate", 0.8, TOLERANT),
        ("selectivity", 1, TOLERANT),
        ("selectivity", 100, SELECTIVE),
        ("heritability", 1, RECOMBINED),
    ],
)
def test_a_setting_that_does_badly_contradicts_its_claim_alone(
    parameter: str, value: float, claim: int
) -> None:
    expected = ["reproduced"] * 4
    expected[claim] = "not reproduced"
    assert found(made(with_one(parameter, value, 0.5, 0.3))) == expected


@pytest.mark.parametrize(
    ("parameter", "value"), [("population", 50), ("selectivity", 8), ("selectivity", 0.5)]
)
def test_what_is_farther_from_the_default_is_shown_but_not_judged(parameter: str, value: float) -> None:
    assert found(made(with_one(parameter, value, 0.1, -0.3))) == ["reproduced"] * 4


@pytest.mark.parametrize("parameter", ["population", "mutation_rate", "mutation_size", "selectivity"])
def test_a_degenerate_value_that_rises_contradicts_the_last_claim(parameter: str) -> None:
    value = 1.0 if parameter == "population" else 0.0
    expected = ["reproduced"] * 3 + ["not reproduced"]
    assert found(made(with_one(parameter, value, 0.9, 0.8))) == expected
    # A high response is no rise: the default's first generation may have had it already.
    assert found(made(with_one(parameter, value, 0.9, 0.1))) == ["reproduced"] * 4


def test_of_too_few_units_nothing_is_said() -> None:
    findings = list(STUDY.findings(made(as_published, units=3)))
    assert {one.verdict for one in findings} == {"not testable"}
    assert all("too few units" in one.why for one in findings)


def test_units_that_disagree_decide_nothing() -> None:
    def reached(one: Setting, unit: int) -> tuple[float, float]:
        return (0.2 + 0.2 * unit, -0.4 + 0.4 * unit)

    assert found(made(reached, units=6)) == ["not testable"] * 4


def test_evolutions_that_have_hardly_begun_decide_nothing() -> None:
    findings = list(STUDY.findings(made(as_published, presentations=100.0)))
    assert {one.verdict for one in findings} == {"not testable"}
    assert findings[0].why == "evolutions of 100 presentations have hardly begun; give at least 500"


def test_the_units_of_all_networks_are_judged_together() -> None:
    """Three of each are six, of which there is an interval."""
    bad = with_one("heritability", 1, 0.5, 0.3)
    alike = [made(as_published, 3, name) for name in ("net", "other")]
    unlike = [alike[0], made(bad, 3, network="other")]
    assert found(alike[0])[RECOMBINED] == "not testable"
    assert found(Table([row for one in alike for row in one.rows]))[RECOMBINED] == "reproduced"
    assert found(Table([row for one in unlike for row in one.rows]))[RECOMBINED] == "not testable"


def test_every_setting_is_reported() -> None:
    table = made(as_published)
    assert len(list(STUDY.groups(table))) == len(settings(DEFAULTS))
    one = group(STUDY, table, condition="mutation_rate = 0.08", depth="late")
    assert one.values["net", "fc6", "3"] == pytest.approx(0.98)


def test_the_figure_has_the_median_of_each_value_at_its_place_and_zero_apart() -> None:
    figure = drawn(STUDY, made(with_one("mutation_size", 2.5, 0.6, 0.0)))
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels)[:5] == ["population", "mutation rate", "mutation size", "selectivity", "heritability"]
    axes = panels["mutation size"]
    marks = [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() in ("o", "D")]
    assert (0.5, 1.0) in marks
    assert (2.5, 0.6) in marks
    [zero] = [x for x, _ in marks if x < 0.1]
    ticks = dict(zip((t.get_text() for t in axes.get_xticklabels()), axes.get_xticks(), strict=True))
    assert ticks["0"] == zero
    assert [*ticks] == ["0", "0.1", "0.25", "0.5", "1", "2.5"]


def test_a_shard_has_every_setting_of_every_unit_relative_to_the_default_of_the_same_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = images(tmp_path / "images", [f"{number}.png" for number in range(5)])
    table = table_of(STUDY, references, tmp_path, monkeypatch, units=2, seeds=2, presentations=100)
    around = defaults_with(Part(name="pixels"))
    defaults = table.where(measure=DEFAULT_VALUE)
    assert {row.condition: row.value for row in defaults.rows} == around
    for layer in ("2", "4"):
        last, first = (table.by_unit(key, layer=layer, condition="default") for key in ("last", "first"))
        assert len(last) == 2
        for setting in settings(around):
            which = {"layer": layer, "condition": setting.parameter, "x": setting.value}
            reached = table.by_unit("last", layer=layer, condition=str(setting))
            assert reached.keys() == last.keys()
            for unit, value in table.by_unit(RELATIVE, **which).items():
                assert value == pytest.approx(reached[unit] / last[unit])
            for unit, value in table.by_unit(RISE, **which).items():
                expected = (reached[unit] - first[unit]) / (last[unit] - first[unit])
                assert value == pytest.approx(expected)
    shown = {row.condition: row.value for row in table.where(measure="presentations").rows}
    assert shown["population = 40"] == 80
    assert not math.isnan(table.by_unit(INITIAL).popitem()[1])
    # Where nothing is selected nothing rises.
    for parameter, value in (("population", 1.0), ("selectivity", 0.0)):
        assert max(table.values(RISE, condition=parameter, x=value)) < 0.5
    drawn(STUDY, table)
