"""Fig 3 of the preprint, 4 of the journal version: what depends on the initial codes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from xdream import report
from xdream.experiment.assemble import assemble
from xdream.generators.cards import SHIPPED
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, groups_of, hardly_begun, networks_and_depths, undecidable
from xdream.studies.claims import (
    TOO_FEW,
    Claim,
    Finding,
    above,
    at_most,
    below,
    every,
    published_median,
)
from xdream.studies.evolution_ends import ALIKE, BETWEEN, COARSE_PX, LOCATIONS, end_code, rows_of_ends
from xdream.studies.network_layers import DEPTHS
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.prepared_codes import CHOICES, METHODS, PreparedCodes, methods
from xdream.studies.shard_work import Condition, Evolved, Work
from xdream.studies.statistics import Interval, interval, paired
from xdream.studies.table import Table, TableRow, pixels_of

RELATIVE, INITIAL, SPREAD = "relative activation", "initial relative activation", "spread over seeds"
#: What counts as no difference, in relative activation.
MARGIN = 0.1
#: Seeds of which pairs are made (10 in the paper).
MOST_SEEDS = 10

SMALL_SPREAD = Claim(
    "initialisations",
    "other random initial codes change the final response by less than 10 % (SD over mean)",
    "CV .045 / .066 / .082 / .079 (conv2 / conv4 / fc6 / fc8)",
    "the median over units of SD over mean is below 0.1, with its interval",
)
COUSINS = Claim(
    "initialisations",
    "the images of two seeds differ in pixels but share colours and shapes",
    "no data published",
    f"the images of two seeds of a unit correlate below 0.9 in pixels, and, shrunk to {COARSE_PX} px, above "
    "those of different units, with their intervals",
)
DIP = Claim(
    "initialisations",
    "between the end codes of two seeds the response dips but stays high",
    "midpoints .91 / .97 / .86 / .51 against ends 1.33 / 1.58 / 1.95 / 1.22",
    "within units the midpoint is below the ends, and above the best of the first generation, with their "
    "intervals",
)
HELPS = Claim(
    "initialisations",
    "starting from the best rather than the worst natural images does not help in early layers, and helps "
    "progressively in higher ones",
    "final, best / worst: conv2 opt 1.38 / 1.33, fc8 opt 1.36 / 1.23, ivt 1.67 / .94; Table 1 (its measure "
    "is not defined): opt .010 .037 .047 .056, ivt .044 .113 .241 .353",
    "the difference within units is above 0 in late and output layers, with its interval, and its median "
    "is larger there than in the early layer",
)
MORE_IVT = Claim(
    "initialisations",
    "with `ivt` it helps more than with `opt`",
    "Table 1: opt .056, ivt .353 in fc8",
    "the difference of best and worst in late and output layers is larger with ivt, with its interval",
)
NO_TRAP = Claim(
    "initialisations",
    "a worse start does not reduce the improvement over the start (no trapping)",
    "no data published",
    f"within units, the gain from the worst images is not below that from the best by {MARGIN}, with its "
    "interval",
)


class Initialisations:
    """Random seeds; the best, middle and worst natural images by `opt` and `ivt`; lines between ends."""

    name = "initialisations"
    question = "does the end depend on the beginning?"
    figure_of = "3 and Table 1 (preprint), 4 (journal)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=2, presentations=60),
        "small": Size(units=2, seeds=3, presentations=600),
        "paper": Size(units=100, seeds=11, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """Random codes with every seed; six prepared beginnings with one."""
        first = plan.generators[0]
        generator = plan.generator(first)
        prepared = [f"{choice} {method}" for method in methods(plan, generator) for choice in CHOICES]
        return (
            Condition("random", first),
            # The codes of a unit are known only in its shard.
            *(Condition(name, first, seeds=1, init=_not_yet) for name in prepared),
        )

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every evolution; of the lines between its ends, and of its images."""
        yield from work.natural_rows()
        prepared = PreparedCodes(work)
        conditions = [
            one if one.init == "default" else _with(one, prepared) for one in self.conditions(work.plan)
        ]
        ends: list[tuple[Evolved, npt.NDArray[np.float32]]] = []
        for one in work.evolve(conditions):
            yield from work.rows(one)
            if one.condition.name == "random" and one.seed < work.plan.seed + MOST_SEEDS:
                ends.append((one, end_code(one)))
        plan = report.plan_of(ends[0][0].record)
        few = {"variants": (), "engine": "torch", "compiled": False}
        yield from rows_of_ends(work, assemble(plan.model_copy(update=few)), ends)

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """Final and initial relative activation by beginning; the spread over seeds."""
        yield from groups_of(table, RELATIVE, _published)
        for group in groups_of(table, INITIAL, partial(_published, measure="Rel_act_init")):
            yield UnitGroup(f"{group.condition}, at the start", *_rest(group))
        for network, depth in networks_and_depths(table):
            some = table.where(network=network, depth=depth)
            yield UnitGroup(SPREAD, network, depth, spread(some), PUBLISHED_SPREAD.get(depth))

    def findings(self, table: Table) -> Iterator[Finding]:
        """Over the units of all networks; the table of groups has each by itself."""
        if not len(table):
            return
        short, why = hardly_begun(table), undecidable(table)
        found = interval(list(spread(table).values()))
        by_depth = ", ".join(
            f"{depth} {interval(list(spread(table.where(depth=depth)).values())).value:.3f}"
            for depth in table.among("depth")
        )
        holds = None if short else below(found, 0.1)
        yield SMALL_SPREAD.on("", f"{by_depth}; all {_fine(found)}", holds, short or TOO_FEW)
        yield _cousins(table, short)
        yield _dip(table, short)
        yield from _beginnings(table, why)

    def draw(self, figure: Figure, table: Table) -> None:
        """By beginning; between ends; images of two seeds."""
        _draw(figure, table, list(groups_of(table, RELATIVE, _published)))


#: Of the paper, by depth of CaffeNet (Fig 3).
PUBLISHED_SPREAD: Mapping[str, float] = {"early": 0.045, "middle": 0.066, "late": 0.082, "output": 0.079}


def spread(table: Table) -> dict[tuple[str, ...], float]:
    """Unit -> standard deviation over mean of its final responses to random seeds.

    The deviation is divided by c4, which makes it right on average for few seeds of a normal distribution.
    """
    by_unit: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in table.where(measure=RELATIVE, condition="random").rows:
        by_unit[row.network, row.layer, row.unit].append(row.value)
    return {
        unit: float(np.std(values, ddof=1) / _c4(len(values)) / np.mean(values))
        for unit, values in by_unit.items()
        if len(values) > 1 and np.mean(values) > 0.0
    }


def _c4(n: int) -> float:
    """The expected standard deviation of n normal values over the true one (0.886 for 3)."""
    return math.sqrt(2.0 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))


def _not_yet(unit: str) -> str:
    raise AssertionError(f"no codes for {unit} yet")


def _with(condition: Condition, prepared: PreparedCodes) -> Condition:
    choice, method = condition.name.split()
    own = partial(prepared.file, choice, method)
    return Condition(condition.name, condition.generator, seeds=condition.seeds, init=own)


# ------------------------------------------------------------------ what is said


def _published(condition: str, place: str, measure: str = "Rel_act") -> float | None:
    name = "rand"
    if condition != "random":
        choice, method = condition.split()
        name = f"{ {'middle': 'mid'}.get(choice, choice) }_{method}"
    return published_median("4", f"{name}|{place.partition('|')[2]}", measure=measure)


def _rest(group: UnitGroup) -> tuple[str, str, dict[tuple[str, ...], float], float | None]:
    return group.network, group.depth, group.values, group.published


def _fine(found: Any) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _cousins(table: Table, short: str) -> Finding:
    fine = interval(table.values(ALIKE, condition="same unit"))
    coarse = f"{ALIKE} at {COARSE_PX} px"
    apart = paired(
        table.by_unit(coarse, condition="same unit"), table.by_unit(coarse, condition="other unit")
    )
    ours = f"two seeds {fine} in pixels; at {COARSE_PX} px beyond other units by {apart}"
    holds = None if short else every(below(fine, 0.9), above(apart.difference, 0.0))
    return COUSINS.on("", ours, holds, short or TOO_FEW)


def _dip(table: Table, short: str) -> Finding:
    middle = table.by_unit(BETWEEN, x=0.5)
    ends = table.by_unit(BETWEEN, x=(0.0, 1.0))
    start = table.by_unit(INITIAL, condition="random")
    dip, high = paired(ends, middle), paired(middle, start)
    by_depth = ", ".join(
        f"{depth} {_median(some, 0.5):.2f} of {_median(some, 0.0, 1.0):.2f}"
        for depth in table.among("depth")
        for some in [table.where(depth=depth)]
    )
    ours = f"midpoints {by_depth}; beyond the start by {high.difference}"
    holds = None if short else every(above(dip.difference, 0.0), above(high.difference, 0.0))
    return DIP.on("", ours, holds, short or TOO_FEW)


def _median(table: Table, *x: float) -> float:
    return interval(table.values(BETWEEN, x=x)).value


def _beginnings(table: Table, why: str) -> Iterator[Finding]:
    deep = ("late", "output")
    methods = [m for m in METHODS if table.where(condition=f"best {m}").rows]
    help_of: dict[str, dict[tuple[str, ...], float]] = {}
    for method in methods:
        best, worst = (
            table.by_unit(RELATIVE, condition=f"{choice} {method}") for choice in ("best", "worst")
        )
        help_of[method] = {unit: best[unit] - worst[unit] for unit in best if unit in worst}
        depth_of: dict[tuple[str, ...], str] = {
            (row.network, row.layer, row.unit): row.depth for row in table.rows
        }

        def at(*depths: str, method: str = method, depth_of: Mapping[Any, str] = depth_of) -> list[float]:
            return [value for unit, value in help_of[method].items() if depth_of[unit] in depths]

        late = interval(at(*deep))
        early = interval(at("early"))
        medians = ", ".join(f"{depth} {interval(at(depth)).value:+.2f}" for depth in table.among("depth"))
        ours = f"{method}: {medians}; late and output {late}"
        helps = above(late, 0.0)
        larger = None if helps is None or not early.n else late.value > early.value
        yield HELPS.on("", ours, None if why else every(helps, larger), why or TOO_FEW)
    if len(methods) == 2:
        apart = paired(
            *({u: v for u, v in help_of[m].items() if depth_of[u] in deep} for m in ("ivt", "opt"))
        )
        holds = None if why else above(apart.difference, 0.0)
        yield MORE_IVT.on("", str(apart), holds, why or TOO_FEW)
    else:
        yield MORE_IVT.untestable(
            "needs a generator that says codes of images, or `inverse`, the layer whose activations are "
            "its codes",
        )
    gains = {}
    for choice in ("best", "worst"):
        names = tuple(f"{choice} {method}" for method in methods)
        final, start = (table.by_unit(measure, condition=names) for measure in (RELATIVE, INITIAL))
        gains[choice] = {unit: final[unit] - start[unit] for unit in final}
    trap = paired(gains["worst"], gains["best"])
    lost = Interval(-trap.difference.value, -trap.difference.high, -trap.difference.low, trap.difference.n)
    holds = None if why else at_most(lost, 0.0, MARGIN)
    yield NO_TRAP.on("", f"gain from worst minus from best {trap}", holds, why or TOO_FEW)


# ------------------------------------------------------------------ the figure


def _draw(figure: Figure, table: Table, groups: Sequence[UnitGroup]) -> None:
    shown = table.among("network")
    rows = len(shown)
    figure.set_size_inches(drawing.WIDTH_IN, 0.9 + 3.9 * rows)
    outer = figure.subfigures(rows, 1, squeeze=False).ravel()
    for part, network in zip(outer, shown, strict=True):
        some = table.where(network=network)
        top, bottom = part.subfigures(2, 1, height_ratios=(2.1, 1.8))
        axes = top.subplots()
        drawing.strips(axes, [group for group in groups if group.network == network], RELATIVE)
        axes.set_title(network, fontsize=8, loc="left")
        drawing.legend(axes, list(dict.fromkeys(group.condition for group in groups)))
        left, right = bottom.subfigures(1, 2, width_ratios=(1.0, 1.25))
        _draw_between(left.subplots(), some)
        _draw_images(right, some)
    drawing.below(
        figure,
        drawing.HOW,
        "on the line: median over units of the response to codes between (and beyond) the end codes of "
        "two seeds, "
        "over the best natural image; right: the end images of two seeds of one unit, by depth",
    )


def _draw_between(axes: Any, table: Table) -> None:
    for number, depth in enumerate(table.among("depth")):
        some = table.where(depth=depth)
        medians = [_median(some, x) for x in LOCATIONS]
        axes.plot(LOCATIONS, medians, ".-", color=drawing.colour_of(number), ms=3, lw=1.1, label=depth)
    axes.set(xlabel="on the line from one seed's end (0) to another's (1)", ylabel=RELATIVE)
    axes.axhline(0.0, color=drawing.LIGHT, lw=0.6, zorder=0)
    axes.set_xticks([-0.5, 0.0, 0.5, 1.0, 1.5])
    axes.legend(fontsize=6, frameon=False, loc="upper center")


def _draw_images(part: Any, table: Table) -> None:
    depths = table.among("depth")
    panels = part.subplots(2, len(depths), squeeze=False)
    for column, depth in enumerate(depths):
        images = table.where(measure="image", depth=depth, condition="random").rows
        for row in range(2):
            axes = panels[row][column]
            axes.set_axis_off()
            if row < len(images):
                axes.imshow(pixels_of(images[row].image))
        if images:
            panels[0][column].set_title(f"{depth} {images[0].unit.partition('@')[0]}", fontsize=7)
