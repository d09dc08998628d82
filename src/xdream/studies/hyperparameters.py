"""Fig 6 of the preprint, of which no data were published: what each hyperparameter of the genetic algorithm
may be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xdream.description import Part
from xdream.experiment import defaults
from xdream.generators.cards import SHIPPED
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, networks_and_depths
from xdream.studies.claims import TOO_FEW, Claim, Finding, above, below, every, too_short
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import GENETIC, Condition, Work
from xdream.studies.statistics import Interval, interval
from xdream.studies.table import Table, TableRow

#: Of the last generation, over that with the defaults, of the same unit.
RELATIVE = "relative to default"
#: The rise over the default's first generation, as a part of the default's own.
RISE = "share of the default's rise"
#: The default's first generation over its last.
INITIAL = "initial relative to default"
#: Rows that say where the defaults are: condition = hyperparameter.
DEFAULT_VALUE = "default value"
DEFAULT = "default"

#: By what the default is multiplied; of heritability, which is a probability, the values themselves.
FACTORS: Mapping[str, tuple[float, ...]] = {
    "population": (0.5, 2, 5),
    "mutation_rate": (0.2, 0.5, 2, 5),
    "mutation_size": (0.2, 0.5, 2, 5),
    "selectivity": (0.25, 0.5, 2, 4, 50),
}
HERITABILITIES = (0.5, 0.75, 1.0)
#: With which there is nothing to select from, no selection, nothing new.
DEGENERATE: Mapping[str, float] = {
    "population": 1, "mutation_rate": 0.0, "mutation_size": 0.0, "selectivity": 0.0,
}  # fmt: skip
PARAMETERS = (*FACTORS, "heritability")

#: A range that is tolerated: the default times and by so much.
WIDE = 2.0

TOLERANT = Claim(
    "hyperparameters",
    "the genetic algorithm tolerates a wide range of every hyperparameter",
    "no data published",
    "with every setting within a factor of 2 of the default, the median over units of the final response is "
    "above 0.7 of that with the default, with its interval",
)
SELECTIVE = Claim(
    "hyperparameters",
    "far too high selectivity costs little",
    "no data published",
    "with 50 times the default selectivity the median is above 0.7, with its interval",
)
RECOMBINED = Claim(
    "hyperparameters",
    "recombination (heritability) hardly matters",
    "no data published",
    "with every heritability the median is above 0.8, with its interval",
)
FAILING = Claim(
    "hyperparameters",
    "degenerate values fail: population 1, selectivity 0, mutation rate or size 0",
    "no data published",
    "with each, the median over units of the rise over the default's first generation is below half of the "
    "default's rise, with its interval",
)


@dataclass(frozen=True)
class Setting:
    """One hyperparameter away from its default."""

    parameter: str
    value: float

    def __str__(self) -> str:
        return f"{self.parameter} = {self.value:g}"

    @property
    def degenerate(self) -> bool:
        """Whether there is nothing left to evolve with."""
        return self.value == DEGENERATE.get(self.parameter)


def defaults_with(generator: Part) -> dict[str, float]:
    """The hyperparameters that are varied, with this generator and without noise."""
    values = defaults.hyperparameters(generator.name, GENETIC.name, noisy=False)
    return {parameter: float(values[parameter]) for parameter in PARAMETERS}


def settings(around: Mapping[str, float]) -> tuple[Setting, ...]:
    """What is tried: hyperparameter by hyperparameter, each value once and in ascending order."""
    return tuple(
        Setting(parameter, value)
        for parameter in PARAMETERS
        for value in _values(parameter, around[parameter])
    )


def _values(parameter: str, default: float) -> list[float]:
    tried = [default * factor for factor in FACTORS.get(parameter, ())]
    if parameter == "population":
        tried = [max(2, math.ceil(value)) for value in tried]
    elif parameter == "mutation_rate":
        tried = [min(value, 1.0) for value in tried]
    elif parameter == "heritability":
        tried = list(HERITABILITIES)
    if parameter in DEGENERATE:
        tried.append(DEGENERATE[parameter])
    return sorted({float(f"{value:.6g}") for value in tried} - {float(f"{default:.6g}")})


class Hyperparameters:
    """One hyperparameter at a time around the defaults of the generator, degenerate values among them."""

    name = "hyperparameters"
    question = "how far from its defaults does the genetic algorithm still work?"
    figure_of = "6 (preprint; no data published)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = ("late", "output")
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=1, presentations=100),
        "small": Size(units=2, seeds=1, presentations=500),
        "paper": Size(units=10, seeds=1, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The defaults, then every setting."""
        generator = plan.generators[0]
        tried = settings(defaults_with(generator))
        return (Condition(DEFAULT, generator), *(_condition(one, generator) for one in tried))

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every evolution; then of every unit and setting, over all seeds, what follows (x: the value)."""
        yield from work.natural_rows()
        conditions = self.conditions(work.plan)
        first: dict[tuple[str, str], list[float]] = defaultdict(list)
        last: dict[tuple[str, str], list[float]] = defaultdict(list)
        for one in work.evolve(conditions):
            yield from work.rows(one)
            first[one.unit, one.condition.name].append(one.first)
            last[one.unit, one.condition.name].append(one.last)
        generator = work.plan.generators[0]
        around = defaults_with(generator)
        of = {"generator": generator.name, "optimizer": GENETIC.name}
        for parameter, default in around.items():
            yield work.row(DEFAULT_VALUE, default, condition=parameter, **of)
        for unit in work.units:
            start, end = (float(np.mean(values[unit, DEFAULT])) for values in (first, last))
            yield work.row(INITIAL, _over(start, end), condition=DEFAULT, unit=unit, **of)
            for setting in settings(around):
                reached = float(np.mean(last[unit, str(setting)]))
                which = of | {"unit": unit, "condition": setting.parameter, "x": setting.value}
                yield work.row(RELATIVE, _over(reached, end), **which)
                yield work.row(RISE, _over(reached - start, end - start), **which)

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """Every setting, by network and depth."""
        for setting in _settings_in(table):
            some = table.where(measure=RELATIVE, condition=setting.parameter, x=setting.value)
            for network, depth in networks_and_depths(some):
                values = some.by_unit(RELATIVE, network=network, depth=depth)
                yield UnitGroup(str(setting), network, depth, values)

    def findings(self, table: Table) -> Iterator[Finding]:
        """Over the units of all layers and networks; the table of groups has each by itself."""
        shown = min(table.where(condition=DEFAULT).values("presentations"), default=0.0)
        short = too_short(shown)
        usual = [one for one in _settings_in(table) if not one.degenerate]
        wide = [one for one in usual if one.parameter in FACTORS and _within(table, one, WIDE)]
        yield _all_above(TOLERANT, table, wide, 0.7, short)
        high = [one for one in usual if one.parameter == "selectivity" and not _within(table, one, 25.0)]
        yield _all_above(SELECTIVE, table, high, 0.7, short)
        recombined = [one for one in usual if one.parameter == "heritability"]
        yield _all_above(RECOMBINED, table, recombined, 0.8, short)
        degenerate = [one for one in _settings_in(table) if one.degenerate]
        found = {one: interval(_of(table, RISE, one)) for one in degenerate}
        fails = every(*(below(one, 0.5) for one in found.values())) if found else None
        yield FAILING.on("", _listed(found), None if short else fails, short or TOO_FEW)

    def draw(self, figure: Figure, table: Table) -> None:
        """A panel per hyperparameter; the sixth place has the legend."""
        figure.set_size_inches(drawing.WIDTH_IN, 0.9 + 2 * 2.05)
        panels = figure.subplots(2, 3, sharey=True).ravel()
        networks = table.among("network")
        for number, (axes, parameter) in enumerate(zip(panels, PARAMETERS, strict=False)):
            _panel(axes, table, parameter, networks)
            if number % 3 == 0:
                axes.set_ylabel("final response over default's")
        _key(panels[-1], networks)
        drawing.below(
            figure,
            "Median over units, those of all layers together, with its 95 % interval (with 6 units or more); "
            "one hyperparameter at a time, the others at their defaults.",
        )


def _condition(setting: Setting, generator: Part) -> Condition:
    value = int(setting.value) if setting.parameter == "population" else setting.value
    optimizer = Part(name=GENETIC.name, **{setting.parameter: value})
    return Condition(str(setting), generator, optimizer)


def _over(a: float, b: float) -> float:
    """NaN where the default reached nothing, which nothing can be compared with."""
    return a / b if b > 0.0 else math.nan


# ------------------------------------------------------------------ from the table


def _settings_in(table: Table) -> list[Setting]:
    found = {Setting(row.condition, row.x) for row in table.where(measure=RELATIVE).rows}
    return sorted(found, key=lambda one: (PARAMETERS.index(one.parameter), one.value))


def _default_in(table: Table, parameter: str) -> float:
    values = {row.value for row in table.where(measure=DEFAULT_VALUE, condition=parameter).rows}
    return next(iter(values), math.nan)


def _within(table: Table, setting: Setting, factor: float) -> bool:
    default = _default_in(table, setting.parameter)
    return default / factor <= setting.value <= default * factor


def _of(table: Table, measure: str, setting: Setting) -> list[float]:
    return table.values(measure, condition=setting.parameter, x=setting.value)


def _all_above(claim: Claim, table: Table, some: Sequence[Setting], bound: float, short: str) -> Finding:
    """The verdict on settings that each should do well."""
    found = {one: interval(_of(table, RELATIVE, one)) for one in some}
    holds = every(*(above(one, bound) for one in found.values())) if found else None
    return claim.on("", _listed(found), None if short else holds, short or TOO_FEW)


def _listed(found: Mapping[Setting, Interval]) -> str:
    return "; ".join(f"{setting}: {one}" for setting, one in found.items())


# ------------------------------------------------------------------ the figure


def _panel(axes: Axes, table: Table, parameter: str, networks: Sequence[str]) -> None:
    """One hyperparameter: the default at 1, values on both sides, the degenerate one apart."""
    default = _default_in(table, parameter)
    values = [one.value for one in _settings_in(table) if one.parameter == parameter]
    ticks = sorted({*values, *([] if math.isnan(default) else [default])})
    logarithmic = parameter != "heritability"
    least = min((value for value in ticks if value > 0.0), default=1.0)
    places = {value: value if value > 0.0 or not logarithmic else least / 3.0 for value in ticks}
    axes.axhline(1.0, color=drawing.LIGHT, lw=0.8, zorder=0)
    axes.axvline(default, color=drawing.LIGHT, lw=0.8, zorder=0)
    if logarithmic:
        axes.set_xscale("log")
    for value in values:
        if Setting(parameter, value).degenerate:
            axes.axvspan(places[value] / 1.4, places[value] * 1.4, color=drawing.LIGHT, alpha=0.25, lw=0)
    for number, network in enumerate(networks):
        some = table.where(network=network)
        initial = interval(some.values(INITIAL)).value
        colour = drawing.colour_of(number)
        axes.axhline(initial, color=colour, lw=0.7, ls=(0, (1, 2)), zorder=0)
        aside = number - (len(networks) - 1) / 2
        line = []
        for value in ticks:
            x = places[value] * 1.07**aside if logarithmic else places[value] + 0.01 * aside
            if value == default:
                line.append((x, 1.0))
                continue
            setting = Setting(parameter, value)
            found = interval(_of(some, RELATIVE, setting))
            if not math.isnan(found.low):
                axes.plot([x, x], [found.low, found.high], color=colour, lw=0.9)
            if setting.degenerate:
                axes.plot(x, found.value, "o", mfc="white", mec=colour, mew=1.0, ms=4.5)
            else:
                line.append((x, found.value))
                axes.plot(x, found.value, "o", color=colour, ms=3.5, mew=0)
        axes.plot(*zip(*line, strict=True), color=colour, lw=1.0, alpha=0.6)
    axes.plot(default, 1.0, "D", color=drawing.INK, ms=4, mew=0)
    axes.set_xticks([places[value] for value in ticks], [f"{value:g}" for value in ticks], fontsize=6.5)
    axes.minorticks_off()
    axes.set_title(parameter.replace("_", " "), fontsize=8, loc="left")


def _key(axes: Axes, networks: Sequence[str]) -> None:
    """What is what, in a panel of its own."""
    axes.set_axis_off()
    handles = [
        Line2D([], [], color=drawing.colour_of(number), marker="o", ms=3.5, lw=1.0, label=network)
        for number, network in enumerate(networks)
    ]
    handles += [
        Line2D([], [], color=drawing.INK, marker="D", ms=4, lw=0, label="default"),
        Line2D([], [], color=drawing.INK, marker="o", mfc="white", ms=4.5, lw=0, label="degenerate value"),
        Line2D([], [], color=drawing.INK, lw=0.7, ls=(0, (1, 2)), label="default's first generation"),
    ]
    axes.legend(handles=handles, loc="upper left", fontsize=7, frameon=False, borderaxespad=0.0)
