"""Each claim gets the right verdict on tables of which it is known whether it holds."""

from typing import Any

import numpy as np
import pytest

from study_tables import DEPTHS, around, table, verdicts
from xdream.studies import STUDIES, Study, StudyPlan, Table
from xdream.studies.initialisations import ALIKE, BETWEEN, INITIAL, LOCATIONS, spread
from xdream.studies.optimizers import NAMES, SPIKES, name_of, noise_measures
from xdream.studies.table import Row

RELATIVE = "relative activation"


def joined(*tables: Table) -> Table:
    return Table(row for one in tables for row in one.rows)


# ------------------------------------------------------------------ targets


def targets_table(
    medians: dict[str, float],
    n: int = 8,
    natural: int = 5000,
    expected: float = 1.3,
    presentations: int = 2000,
) -> Table:
    return joined(
        *(
            table(
                "targets",
                {("natural-v1", depth): around(value * factor, n) for depth, value in medians.items()},
                measure,
                natural=natural,
                presentations=presentations,
            )
            for measure, factor in ((RELATIVE, 1.0), ("over expected best", expected))
        )
    )


HELD = {"early": 1.1, "middle": 1.5, "late": 1.9, "output": 1.2}


def test_targets_that_do_as_in_the_paper() -> None:
    found = verdicts(STUDIES["targets"], targets_table(HELD))
    assert [verdict for verdict, _ in found] == ["reproduced"] * 3 + ["not testable"]
    assert "PlacesCNN" in found[3][1]


def test_targets_that_do_not() -> None:
    medians = {depth: 2.0 - median for depth, median in HELD.items()}
    found = verdicts(STUDIES["targets"], targets_table(medians, expected=1.01))
    assert [verdict for verdict, _ in found] == ["not reproduced"] * 3 + ["not testable"]


def test_targets_against_few_natural_images_say_nothing() -> None:
    found = verdicts(STUDIES["targets"], targets_table(HELD, natural=13))
    assert found[:3] == [("not testable", "only 13 natural images")] * 3


def test_targets_of_one_unit_say_nothing() -> None:
    found = verdicts(STUDIES["targets"], targets_table({"late": 1.9, "output": 1.2}, n=1))
    assert {verdict for verdict, _ in found} == {"not testable"}


def renamed(found: Table, network: str) -> Table:
    return Table(Row(**{**vars(row), "network": network}) for row in found.rows)


@pytest.mark.parametrize(("more", "verdict"), [(0.0, "reproduced"), (0.5, "not reproduced")])
def test_places_is_tested_where_its_weights_are(more: float, verdict: str) -> None:
    places = targets_table({depth: median + more for depth, median in HELD.items()})
    both = joined(targets_table(HELD), renamed(places, "placescnn"))
    assert verdicts(STUDIES["targets"], both)[-1] == (verdict, "")
    assert "CaffeNet" in verdicts(STUDIES["targets"], renamed(places, "placescnn"))[-1][1]


def test_matched_numbers_need_more_natural_images_than_presentations() -> None:
    found = joined(targets_table(HELD, natural=1500))
    assert verdicts(STUDIES["targets"], found)[1][0] == "not testable"
    assert "1,500 natural images are no more" in verdicts(STUDIES["targets"], found)[1][1]


def test_as_many_units_are_not_even_more() -> None:
    """Half of the units are above 1 by both measures."""
    values = around(0.9, 4) + around(1.6, 28)
    both = [
        table("targets", {("natural-v1", "late"): values}, measure)
        for measure in (RELATIVE, "over expected best")
    ]
    assert verdicts(STUDIES["targets"], joined(*both))[1][0] == "not testable"


def test_evolutions_that_have_hardly_begun_decide_nothing() -> None:
    tables = {
        "targets": table("targets", {("natural-v1", "late"): around(1.5)}, presentations=100),
        "generators": table("generators", {("pixels", "late"): around(1.5)}, presentations=100),
        "optimizers": joined(optimizers_table({}), table("optimizers", {}, presentations=100)),
        "initialisations": joined(initialisations_table(), table("initialisations", {}, presentations=100)),
    }
    for name, found in tables.items():
        assert {verdict for verdict, _ in verdicts(STUDIES[name], found)} == {"not testable"}, name


# ------------------------------------------------------------------ generators


def generators_table(values: dict[str, tuple[float, float]], networks: tuple[str, ...] = ("a", "b")) -> Table:
    """Generator -> its early and its other units' median."""
    return joined(
        *(
            table(
                "generators",
                {
                    (name, depth): around(early if depth == "early" else deep)
                    for name, (early, deep) in values.items()
                    for depth in DEPTHS
                },
                network=network,
            )
            for network in networks
        )
    )


@pytest.mark.parametrize(
    ("values", "high", "pixels", "same"),
    [
        ({"natural-v1": (1.2, 1.4), "pixels": (1.2, 0.5)}, "not testable", "reproduced", "not testable"),
        ({"natural-v1": (1.2, 0.4), "pixels": (1.2, 0.5)}, "not testable", "not reproduced", "not testable"),
        ({"natural-v1": (1.9, 1.4), "pixels": (1.2, 0.5)}, "not testable", "not reproduced", "not testable"),
        (
            {"deepsim-fc6": (1.2, 1.4), "deepsim-norm2": (1.2, 0.6), "pixels": (1.2, 0.5)},
            *("reproduced", "reproduced", "reproduced"),
        ),
        (
            {"deepsim-fc6": (1.2, 0.3), "deepsim-norm2": (1.2, 0.6), "pixels": (1.2, 0.2)},
            *("not reproduced", "reproduced", "reproduced"),
        ),
    ],
)
def test_generators(values: dict[str, tuple[float, float]], high: str, pixels: str, same: str) -> None:
    found = verdicts(STUDIES["generators"], generators_table(values))
    assert [verdict for verdict, _ in found] == [high, high, pixels, same, "not testable"]
    assert "deepsim-fc6-places365" in found[-1][1]


def test_another_generator_is_best_in_each_network() -> None:
    first = generators_table({"deepsim-fc6": (1.2, 1.4), "deepsim-fc7": (1.2, 1.0)}, ("a",))
    second = generators_table({"deepsim-fc6": (1.2, 1.0), "deepsim-fc7": (1.2, 1.4)}, ("b",))
    near = generators_table({"deepsim-fc6": (1.2, 1.35), "deepsim-fc7": (1.2, 1.4)}, ("b",))
    assert verdicts(STUDIES["generators"], joined(first, second))[3][0] == "not reproduced"
    assert verdicts(STUDIES["generators"], joined(first, near))[3][0] == "reproduced"


def test_generators_trained_on_other_images() -> None:
    alike = generators_table({"deepsim-fc6": (1.3, 1.4), "deepsim-fc6-places365": (1.3, 1.42)})
    worse = generators_table({"deepsim-fc6": (1.3, 1.4), "deepsim-fc6-places365": (1.3, 1.0)})
    assert verdicts(STUDIES["generators"], alike)[-1][0] == "reproduced"
    assert verdicts(STUDIES["generators"], worse)[-1][0] == "not reproduced"


def test_one_network_does_not_say_which_generator_is_best_everywhere() -> None:
    found = verdicts(
        STUDIES["generators"], generators_table({"deepsim-fc6": (1, 2), "deepsim-fc7": (1, 1)}, ("a",))
    )
    assert found[2] == ("not testable", "one network")


# ------------------------------------------------------------------ optimizers

PAPER = {
    "genetic": (1.4, 1.6), "fdgd": (1.2, 2.0), "nes": (1.2, 2.0),
    "genetic, 20 spikes": (1.1, 1.0), "fdgd, 20 spikes": (0.4, 0.5), "nes, 20 spikes": (0.6, 0.8),
    "genetic, 5 spikes": (0.9, 0.8), "genetic, 250 spikes": (1.3, 1.5),
    "genetic, 20 spikes, 3 repeats": (0.9, 0.9), "fdgd, 20 spikes, 3 repeats": (0.6, 0.7),
    "nes, 20 spikes, 3 repeats": (0.5, 0.7),
}  # fmt: skip


def optimizers_table(changes: dict[str, tuple[float, float]]) -> Table:
    values = {
        (name, depth): around(shallow if depth in ("early", "middle") else deep)
        for name, (shallow, deep) in (PAPER | changes).items()
        for depth in DEPTHS
    }
    levels = [
        Row("optimizers", "caffenet", optimizer="genetic", measure="SNR", x=x, value=x) for x in (5, 20, 250)
    ]
    return joined(table("optimizers", values), Table(levels))


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({}, None),
        ({"nes": (1.2, 1.5)}, 0),
        ({"nes": (1.9, 2.0)}, 0),
        ({"fdgd": (0.2, 0.3)}, 1),
        ({"nes, 20 spikes": (0.6, 1.3)}, 2),
        ({"fdgd, 20 spikes": (0.7, 0.9), "fdgd, 20 spikes, 3 repeats": (0.9, 1.0)}, 3),
        ({"nes, 20 spikes, 3 repeats": (0.7, 0.9)}, 4),
        ({"fdgd, 20 spikes, 3 repeats": (0.2, 0.3)}, 4),
        ({"genetic, 5 spikes": (1.35, 1.55)}, 5),
    ],
)
def test_optimizers(changes: dict[str, tuple[float, float]], fails: int | None) -> None:
    found = [verdict for verdict, _ in verdicts(STUDIES["optimizers"], optimizers_table(changes))]
    assert found == ["not reproduced" if number == fails else "reproduced" for number in range(6)]


def test_every_condition_of_the_optimizers_has_its_own_name() -> None:
    study = STUDIES["optimizers"]
    plan = StudyPlan.make(study="optimizers", scale="paper", networks=["efficientnet-lite0"])
    conditions = study.conditions(plan.filled(study.sizes, study.layers, study.generators))
    assert len({one.name for one in conditions}) == len(conditions) == 3 + 3 + 6 + 3


def test_noise_is_measured_as_defined() -> None:
    """Against Poisson draws: what the formulas say is what many showings show."""
    activations, k = np.array([1.0, 2.0, 4.0, 5.0]), 3.0
    found = noise_measures(activations, k)
    draws = np.random.default_rng(0).poisson(activations * k, (200_000, 4)) / k
    assert found["relative noise"] == pytest.approx((draws.std(0) / draws.mean(0)).mean(), rel=0.01)
    assert found["SNR"] == pytest.approx((draws.mean(0) ** 2 / draws.var(0)).mean(), rel=0.02)
    flat, again = draws[::2].ravel(), draws[1::2].ravel()
    assert found["self-correlation"] == pytest.approx(np.corrcoef(flat, again)[0, 1], rel=0.01)


def test_noise_of_silent_images_is_not_defined() -> None:
    assert np.isnan(noise_measures(np.array([-1.0, 0.0, np.nan]), 1.0)["SNR"])
    assert np.isnan(noise_measures(np.array([0.0, 2.0]), 1.0)["relative noise"])
    assert noise_measures(np.array([0.0, 2.0]), 1.0)["SNR"] == 1.0


def test_names_of_conditions_lead_to_the_published_numbers() -> None:
    groups = {
        (group.condition, group.depth): group.published
        for group in STUDIES["optimizers"].groups(optimizers_table({}))
    }
    # The tables' layers are called as their depths, so CaffeNet's at that depth are the published ones.
    assert groups["genetic", "late"] == 1.954
    assert groups["fdgd, 20 spikes", "late"] == 0.7031
    assert groups["genetic, 250 spikes", "output"] == 0.9871
    assert groups["nes, 20 spikes, 3 repeats", "late"] is None
    assert {name_of(name, SPIKES) for name in NAMES} <= set(PAPER)


# ------------------------------------------------------------------ initialisations


def initialisations_table(**changes: Any) -> Table:
    """best and worst: by depth, of opt; ivt adds to it. seeds: spread. middle: of the line. start: random."""
    what: dict[str, Any] = {
        "help": {"early": 0.0, "middle": 0.05, "late": 0.1, "output": 0.2},
        "ivt": 0.3, "spread": 0.05, "middle": 0.9, "start": 0.1, "fine": 0.4, "coarse": 0.6, "trap": 0.0,
    } | changes  # fmt: skip
    rows: list[Row] = []

    def add(depth: str, unit: int, measure: str, value: float, **columns: Any) -> None:
        rows.append(
            Row(
                "initialisations",
                "caffenet",
                depth,
                depth,
                str(unit),
                measure=measure,
                value=value,
                **columns,
            )
        )

    for depth in DEPTHS:
        for unit in range(6):
            wiggle = 0.01 * (unit - 2.5)
            for seed in range(3):
                value = 1.5 + wiggle + what["spread"] * (seed - 1) * 1.5
                add(depth, unit, RELATIVE, value, condition="random", seed=seed)
                add(depth, unit, INITIAL, what["start"] + wiggle, condition="random", seed=seed)
            for x in LOCATIONS:
                ends = 1.5 + wiggle if x in (0.0, 1.0) else what["middle"] + wiggle
                add(depth, unit, BETWEEN, ends, condition="0 to 1", x=x)
            for method, factor in (("opt", 1.0), ("ivt", 1.0 + what["ivt"])):
                help_ = what["help"][depth] * factor + 0.1 * wiggle
                for choice, start in (("best", 0.6), ("worst", 0.1)):
                    name = f"{choice} {method}"
                    value = 1.3 + wiggle + (help_ if choice == "best" else -what["trap"])
                    add(depth, unit, RELATIVE, value, condition=name)
                    add(depth, unit, INITIAL, start + wiggle, condition=name)
            for condition, less in (("same unit", 0.0), ("other unit", 0.4)):
                add(depth, unit, ALIKE, what["fine"] - less + wiggle, condition=condition)
                add(depth, unit, f"{ALIKE} at 8 px", what["coarse"] - less + wiggle, condition=condition)
    return joined(table("initialisations", {}), Table(rows))


@pytest.mark.parametrize(
    ("changes", "fail"),
    [
        ({}, []),
        ({"spread": 0.3}, [0]),
        ({"fine": 0.95, "coarse": 0.97}, [1]),
        ({"middle": 1.9}, [2]),
        ({"middle": 0.05}, [2]),
        ({"help": {"early": 0.0, "middle": 0.0, "late": -0.1, "output": -0.1}}, [3, 4, 5]),
        ({"help": {"early": 0.9, "middle": 0.1, "late": 0.1, "output": 0.2}}, [3, 4]),
        ({"ivt": -0.5}, [5]),
        ({"trap": 0.8}, [6]),
    ],
)
def test_initialisations(changes: dict[str, Any], fail: list[int]) -> None:
    found = [verdict for verdict, _ in verdicts(STUDIES["initialisations"], initialisations_table(**changes))]
    wrong = [number for number, verdict in enumerate(found) if verdict != "reproduced"]
    assert len(found) == 7
    assert wrong == fail


def test_the_spread_over_seeds_is_sd_over_mean() -> None:
    """Of two values, whose c4 is 0.7979."""
    found = table("initialisations", {("random", "late"): [1.0]}, seed=0)
    other = table("initialisations", {("random", "late"): [3.0]}, seed=1)
    assert list(spread(joined(found, other)).values()) == [
        pytest.approx(np.sqrt(2.0) / 0.7979 / 2.0, rel=1e-4)
    ]


# ------------------------------------------------------------------ all


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_an_empty_table_has_no_verdict_but_not_testable(study: Study) -> None:
    assert {one.verdict for one in study.findings(Table([]))} <= {"not testable"}
