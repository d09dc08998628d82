"""The best of so many natural images: its closed form, its rows, and what is said of them."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_study import drawn, group, images, table_of, verdicts

from xdream import studies
from xdream.studies.random_exploration import (
    ALL,
    EVOLVED,
    EXPECTED,
    REACHED,
    TEN,
    counts_to,
    draws_of_ten,
    expected_within,
    line,
)
from xdream.studies.table import Table, TableRow

STUDY = studies.named("random-exploration")
LOGARITHMIC, BELOW, CATEGORIES = range(3)

Curve = Callable[[float, int], float]


def logarithmic(n: float, unit: int) -> float:
    """0.6 of the best of all with 10,000 images."""
    return 0.2 + 0.1 * math.log10(n) + 0.002 * (unit - 2.5)


def made(
    of_all: Curve = logarithmic,
    of_ten: Curve = lambda n, unit: 0.8 * logarithmic(n, unit),
    evolved: float = 1.4,
    units: int = 6,
    natural: int = 100_000,
    categories: int = 1_000,
    network: str = "net",
    presentations: float = 10_000,
    ten_to: int = 10_000,
) -> Table:
    """A table of one network with a late and an early layer. Curves: (images, unit) -> expected best."""

    def rows() -> Iterator[TableRow]:
        for depth in ("early", "late"):
            layer = TableRow(STUDY.name, network, depth, depth)
            yield replace(layer, measure="categories", value=float(categories))
            for unit in range(units):
                one = replace(layer, unit=str(unit))
                yield replace(one, measure="natural images", value=float(natural))
                for n in [*counts_to(natural), natural]:
                    yield replace(one, condition=ALL, measure=EXPECTED, x=float(n), value=of_all(n, unit))
                for n in counts_to(min(ten_to, natural // 2)):
                    # In the early layer categories make no difference.
                    value = (of_ten if depth == "late" else of_all)(n, unit)
                    yield replace(one, condition=TEN, measure=EXPECTED, x=float(n), value=value)
                end = replace(one, condition=EVOLVED, generator="pixels", seed=0)
                yield replace(end, measure="relative activation", value=evolved)
                yield replace(end, measure="presentations", value=float(presentations))
                for shown in (10, 100, 1_000):
                    yield replace(end, measure=REACHED, x=float(shown), value=evolved)

    return Table(rows())


def found(table: Table) -> list[str]:
    return verdicts(list(STUDY.findings(table)), "net")


def test_ten_categories_have_the_mean_of_the_best_over_all_ways_to_draw() -> None:
    responses = np.array([3.0, -1.0, 4.0, 1.5, 5.0, 9.0, 2.0], dtype=np.float32)
    draws = [[0, 1, 2, 3], [6, 4, 1]]
    for n in (1, 2, 3):
        ways = [[max(some) for some in itertools.combinations(responses[draw], n)] for draw in draws]
        expected = np.mean([np.mean(best) for best in ways])
        assert expected_within(responses, draws, n) == pytest.approx(expected)


def test_ten_categories_are_drawn_often_and_always_alike() -> None:
    categories = {f"n{number:03}": list(range(20 * number, 20 * number + 20)) for number in range(30)}
    draws = draws_of_ten(categories)
    assert len(draws) == 50
    for draw in draws:
        assert len(draw) == len(set(draw)) == 200
        assert len({image // 20 for image in draw}) == 10
    assert {image // 20 for draw in draws for image in draw} == set(range(30))
    assert len({tuple(draw) for draw in draws}) == 50
    assert draws == draws_of_ten(categories)


@pytest.mark.parametrize(("count", "each", "enough"), [(20, 10, True), (19, 10, False), (20, 9, False)])
def test_ten_are_drawn_only_of_enough_categories_with_enough_images(
    count: int, each: int, enough: bool
) -> None:
    categories = {str(number): list(range(each)) for number in range(count)}
    assert bool(draws_of_ten(categories)) == enough


def test_counts_are_spaced_evenly_on_a_logarithmic_axis() -> None:
    assert counts_to(13) == [1, 2, 5, 10]
    assert counts_to(2_000) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000]
    assert counts_to(0) == []


def test_a_line_says_how_straight_a_curve_is() -> None:
    counts = [10, 100, 1_000]
    assert line(counts, [1.0, 1.5, 2.0]) == pytest.approx((0.5, 1.0))
    slope, r2 = line(counts, [0.0, 1.0, 0.0])
    assert (slope, r2) == pytest.approx((0.0, 0.0))
    assert line(counts, [0.0, 1.0, 1.0])[1] == pytest.approx(0.75)
    assert line(counts, [2.0, 2.0, 2.0]) == (0.0, 0.0)


def test_the_claims_hold_where_growth_is_logarithmic_and_evolution_goes_beyond() -> None:
    findings = list(STUDY.findings(made()))
    assert [one.verdict for one in findings] == ["reproduced"] * 3
    assert "gain per factor of ten 0.10 [0.10, 0.10]" in findings[LOGARITHMIC].ours
    assert "expected best of 10,000 and evolved: 0.60 and 1.40" in findings[BELOW].ours
    assert "early 1.00, late 0.80" in findings[CATEGORIES].ours


def test_growth_with_the_number_itself_is_not_logarithmic() -> None:
    table = made(of_all=lambda n, unit: n / 100_000 + 0.001 * unit)
    assert found(table)[LOGARITHMIC] == "not reproduced"


def test_a_response_that_falls_is_no_growth() -> None:
    table = made(of_all=lambda n, unit: 1.0 - 0.1 * math.log10(n) + 0.001 * unit)
    assert found(table)[LOGARITHMIC] == "not reproduced"


def test_an_evolution_that_ends_where_random_images_do_contradicts_that_they_stay_below() -> None:
    assert found(made(evolved=0.65)) == ["reproduced", "not reproduced", "reproduced"]


def test_what_counts_is_ten_thousand_images_or_half_of_all() -> None:
    # Relative to the evolved 1.0: 0.6 with 10,000 images, though 0.9 with a hundred thousand.
    steep: Curve = lambda n, unit: 0.6 if n <= 10_000 else 0.9  # noqa: E731
    assert found(made(of_all=steep, evolved=1.0))[BELOW] == "reproduced"
    findings = list(STUDY.findings(made(natural=3_000)))
    assert "10 to 1,000 images" in findings[LOGARITHMIC].ours
    assert "expected best of 1,000" in findings[BELOW].ours


def test_no_more_natural_images_count_than_were_evolved() -> None:
    steep: Curve = lambda n, unit: 0.6 if n <= 500 else 0.9  # noqa: E731
    findings = list(STUDY.findings(made(of_all=steep, evolved=1.0, presentations=990)))
    assert findings[BELOW].verdict == "reproduced"
    assert "expected best of 500" in findings[BELOW].ours
    assert "10 to 10,000 images" in findings[LOGARITHMIC].ours


def test_an_evolution_that_has_hardly_begun_says_nothing_of_its_end() -> None:
    findings = list(STUDY.findings(made(presentations=200)))
    assert [one.verdict for one in findings] == ["reproduced", "not testable", "reproduced"]
    assert "200 presentations have hardly begun" in findings[BELOW].why


def test_categories_that_do_as_well_contradict_their_claim() -> None:
    assert found(made(of_ten=logarithmic))[CATEGORIES] == "not reproduced"


def test_only_high_layers_count_for_categories_and_only_where_most_images_are_shown() -> None:
    def of_ten(n: float, unit: int) -> float:
        return (0.8 if n == 1_000 else 1.0) * logarithmic(n, unit)

    assert found(made(of_ten=of_ten, ten_to=1_000))[CATEGORIES] == "reproduced"
    assert found(made(of_ten=of_ten, ten_to=2_000))[CATEGORIES] == "not reproduced"


def test_ten_of_few_categories_can_do_worse_but_not_contradict() -> None:
    assert found(made(categories=40))[CATEGORIES] == "reproduced"
    alike = list(STUDY.findings(made(of_ten=logarithmic, categories=40)))[CATEGORIES]
    assert (alike.verdict, alike.why) == (
        "not testable",
        "ten of only 40 categories are no small part of all images",
    )


def test_of_too_few_units_nothing_is_said() -> None:
    # Growth is judged over all layers: with one unit in each there are two.
    findings = list(STUDY.findings(made(units=1)))
    assert {one.verdict for one in findings} == {"not testable"}
    assert all("too few units" in one.why for one in findings)


def test_with_few_natural_images_their_best_says_nothing() -> None:
    findings = list(STUDY.findings(made(natural=1_999)))
    assert findings[LOGARITHMIC].why == findings[BELOW].why == "only 1,999 natural images; it needs 2,000"
    assert found(made(natural=2_000))[:2] == ["reproduced"] * 2


def test_without_categories_that_part_is_left_out() -> None:
    table = Table(row for row in made().rows if row.condition != TEN)
    findings = list(STUDY.findings(table))
    assert [one.verdict for one in findings] == ["reproduced", "reproduced", "not testable"]
    assert "at least 10 natural images each" in findings[CATEGORIES].why
    assert all("categories" not in one.condition for one in STUDY.groups(table))


def test_each_network_has_its_own_verdicts() -> None:
    both = Table([*made().rows, *made(evolved=0.5, network="other").rows])
    findings = list(STUDY.findings(both))
    assert verdicts(findings, "net")[BELOW] == "reproduced"
    assert verdicts(findings, "other")[BELOW] == "not reproduced"


def test_what_is_published_stands_beside_ten_thousand_images_and_the_evolved_ones() -> None:
    table = made()
    assert group(STUDY, table, condition="10,000 images", depth="late").published == 0.6643
    assert group(STUDY, table, condition="1,000 images", depth="late").published is None
    assert group(STUDY, table, condition="10,000 images of ten categories", depth="late").published is None
    assert group(STUDY, table, condition=EVOLVED, depth="late").published == 1.954
    assert all(not one.condition.startswith("1 images") for one in STUDY.groups(table))
    value = group(STUDY, table, condition="100 images", depth="early").values["net", "early", "2"]
    assert value == pytest.approx(0.399)


def test_the_figure_has_depths_side_by_side_and_networks_below_each_other() -> None:
    figure = drawn(STUDY, Table([*made().rows, *made(evolved=2.0, network="other").rows]))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["early", "late", "", ""]
    assert [axes.get_ylabel().split("\n")[0] for axes in panels] == ["net", "", "other", ""]
    late = panels[1]
    curves = [line.get_xydata() for line in late.lines if len(line.get_xydata()) > 2]
    [of_all, of_ten, evolved] = curves
    assert of_all[-1] == pytest.approx((100_000, 0.7))
    assert of_ten[-1] == pytest.approx((10_000, 0.8 * 0.6))
    assert evolved[-1] == pytest.approx((1_000, 1.4))
    assert "1k" in [text.get_text() for text in panels[3].get_xticklabels()]


def test_a_shard_has_the_curves_of_natural_images_and_of_the_evolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{category:02}_{number}.png" for category in range(20) for number in range(10)]
    references = images(tmp_path / "images", names)
    table = table_of(STUDY, references, tmp_path, monkeypatch, units=2, presentations=100)
    assert {row.value for row in table.where(measure="categories").rows} == {20.0}
    everything = table.where(measure=EXPECTED, condition=ALL)
    assert everything.among("x") == [1, 2, 5, 10, 20, 50, 100, 200]
    assert table.where(measure=EXPECTED, condition=TEN).among("x") == [1, 2, 5, 10, 20, 50, 100]
    assert set(everything.values(EXPECTED, x=200.0)) == {1.0}
    for unit, value in everything.by_unit(EXPECTED, x=1.0).items():
        alike = table.by_unit(EXPECTED, condition=TEN, x=1.0)[unit]
        assert alike == pytest.approx(
            value, abs=0.1
        )  # ten categories of twenty, often: about the mean of all
    curve = table.where(measure=REACHED)
    assert curve.among("x") == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert curve.by_unit(REACHED, x=100.0) == table.by_unit("relative activation")
    assert curve.by_unit(REACHED, x=20.0) == table.by_unit("initial relative activation")
    drawn(STUDY, table)


def test_without_names_of_categories_a_shard_leaves_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = images(tmp_path / "images", [f"{number}.png" for number in range(30)])
    table = table_of(STUDY, references, tmp_path, monkeypatch, units=1, presentations=60, layers=["late=2"])
    assert TEN not in table.among("condition")
    assert table.where(measure=EXPECTED).among("x") == [1, 2, 5, 10, 20, 30]
    drawn(STUDY, table)
