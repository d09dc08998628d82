"""Fig S1: the best of so many natural images, from everywhere or from few categories, beside an evolution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from xdream import random
from xdream.generators.cards import SHIPPED
from xdream.images import references
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, natural_images, networks_and_depths, published_layer
from xdream.studies.claims import TOO_FEW, Claim, Finding, above, below, every, published_median, too_short
from xdream.studies.natural_responses import Array
from xdream.studies.network_layers import DEPTHS
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Evolved, Work, columns
from xdream.studies.statistics import interval
from xdream.studies.table import Table, TableRow

#: Measures, both relative to the best of all natural images; x: images shown.
EXPECTED, REACHED = "expected best", "best of the generation"
#: Conditions.
ALL, TEN, EVOLVED = "all images", "ten categories", "evolved"

#: Categories of so many images count, and there must be so many of them for ten to be drawn.
LEAST_IMAGES, LEAST_CATEGORIES, CATEGORIES_DRAWN = 10, 20, 10
#: How often ten are drawn.
DRAWS = 50
#: Ten of fewer categories than this are no small part of them: that they do well then says nothing.
MANY_CATEGORIES = 100
#: With fewer natural images their best says too little.
FEWEST_NATURAL = 2_000
#: What an experiment can show; less where there are not twice as many natural images.
SHOWN = 10_000
#: From how many images on growth is judged.
FROM = 10
#: So many generations of an evolution are kept, evenly spaced on a logarithmic axis.
KEPT = 40
#: Where the figure's axis ends below.
LOWEST = -0.25

LOGARITHMIC = Claim(
    "random-exploration",
    "the best response to random natural images grows about with the logarithm of their number",
    "no data published",
    "R² of the expected best against log N, from 10 images to 10,000 (or half of all), is above 0.95 in the "
    "median over units, and the gain per factor of ten is above 0, both with their intervals",
)
BELOW = Claim(
    "random-exploration",
    "it stays well below the optimum for the numbers that experiments can show",
    "the expected best of 10,000 is 0.62 to 0.83 of the best of all 1.43 million; evolved 1.37 of it",
    "the expected best of as many images as were evolved (at most 10,000, and half of all) is below 0.8 of "
    "the evolved response, with its interval",
)
CATEGORIES = Claim(
    "random-exploration",
    "in high layers images from only ten categories do clearly worse than random ones",
    "no data published",
    "in late and output layers, at the largest N that ten categories have, their expected best is below 0.9 "
    "of that from all images, with its interval",
)


def counts_to(most: int) -> list[int]:
    """1, 2, 5, 10, … up to `most`."""
    decades = range(len(str(most)))
    return [n for decade in decades for n in (10**decade, 2 * 10**decade, 5 * 10**decade) if n <= most]


def draws_of_ten(categories: Mapping[str, Sequence[int]]) -> list[list[int]]:
    """The images of ten categories, drawn `DRAWS` times, always alike; none where there are too few."""
    usable = [images for images in categories.values() if len(images) >= LEAST_IMAGES]
    if len(usable) < LEAST_CATEGORIES:
        return []
    seeds = torch.zeros(DRAWS, dtype=torch.int64)
    order = random.uniform64(seeds, torch.arange(DRAWS), "studies/ten categories", (len(usable),)).argsort(-1)
    return [
        [image for number in some for image in usable[number]]
        for some in order[:, :CATEGORIES_DRAWN].tolist()
    ]


def expected_within(responses: Array, draws: Sequence[Sequence[int]], n: int) -> float:
    """The expected best of n images of one draw, which are drawn without replacement; mean over the draws."""
    found = [references.expected_best(torch.from_numpy(responses[list(one)]), n) for one in draws]
    return float(np.mean(found))


class RandomExploration:
    """Natural images at random, the more the better, and one evolution of each unit."""

    name = "random-exploration"
    question = "how good is the best of so many natural images, beside an evolved one?"
    figure_of = "S1"
    sample = "units"
    measure = "response over the best natural one"
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=1, presentations=200),
        "small": Size(units=4, seeds=1, presentations=1_000),
        "paper": Size(units=100, seeds=1, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """One evolution, with the first generator."""
        return (Condition(EVOLVED, plan.generators[0]),)

    def rows(self, work: Work) -> Iterator[TableRow]:
        """The curves of natural images, in closed form, then those of the evolutions."""
        yield from work.natural_rows()
        yield from natural_curves(work)
        for one in work.evolve(self.conditions(work.plan)):
            yield from work.rows(one)
            yield from _evolved_curve(work, one)

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """Powers of ten of natural images; the evolution's end."""
        for condition in (ALL, TEN):
            some = table.where(measure=EXPECTED, condition=condition)
            for n in sorted(n for n in some.among("x") if n >= FROM and math.log10(n).is_integer()):
                known = condition == ALL and n == SHOWN
                name = f"{n:,.0f} images" + ("" if condition == ALL else f" of {condition}")
                yield from _groups(name, some.where(x=n), EXPECTED, "Rel_exp_max" if known else "")
        yield from _groups(EVOLVED, table.where(condition=EVOLVED), "relative activation", "Rel_act")

    def findings(self, table: Table) -> Iterator[Finding]:
        """Of each network by itself, over the units of all layers."""
        for network in table.among("network"):
            some = table.where(network=network)
            few = _too_few(some)
            yield LOGARITHMIC.untestable(few, network) if few else _logarithmic(network, some)
            yield BELOW.untestable(few, network) if few else _below(network, some)
            yield _categories(network, some)

    def draw(self, figure: Figure, table: Table) -> None:
        """Depths side by side, networks below each other."""
        places = networks_and_depths(table)
        networks, depths = (list(dict.fromkeys(one[at] for one in places)) for at in (0, 1))
        order = [depth for depth in DEPTHS if depth in depths]
        depths = [*order, *(depth for depth in depths if depth not in DEPTHS)]
        figure.set_size_inches(drawing.WIDTH_IN, 1.1 + 1.75 * len(networks))
        heights = [0.1, *[1.75] * len(networks)]
        grid = figure.add_gridspec(len(heights), len(depths), height_ratios=heights)
        head, *panels = grid.subplots(sharex=True, sharey="row", squeeze=False)
        for row, network in zip(panels, networks, strict=True):
            for axes, depth in zip(row, depths, strict=True):
                _panel(axes, table.where(network=network, depth=depth))
                if network == networks[0]:
                    axes.set_title(depth, fontsize=8, loc="left")
                if network == networks[-1]:
                    axes.set_xlabel("images shown")
            row[0].set_ylabel(f"{network}\nresponse / best natural", fontsize=7)
            # One image at random may drive a unit far below nothing, which is not of interest here.
            row[0].set_ylim(bottom=max(LOWEST, min(0.0, *row[0].get_ylim())))
        shown = [one for one in _LOOK if len(table.where(condition=one))]
        handles = [
            Line2D([], [], color=colour, lw=1.5, ls=style, label=label)
            for label, colour, style in (_LOOK[one] for one in shown)
        ]
        for axes in head:
            axes.set_axis_off()
        key = head[0].legend(
            handles=handles, loc="center left", ncols=3, fontsize=7, frameon=False, borderaxespad=0.0
        )
        key.set_in_layout(False)  # it is wider than its place, but the place is all free
        drawing.below(
            figure,
            "Median over units, shaded: their quartiles. Natural images: expected best of so many, without "
            "replacement; evolved: best of each generation, against all images shown until then.",
        )


def natural_curves(work: Work) -> Iterator[TableRow]:
    """The expected best of ever more natural images over the best, from all and from ten categories."""
    natural = work.natural
    usable = [images for images in natural.categories.values() if len(images) >= LEAST_IMAGES]
    draws = draws_of_ten(natural.categories)
    yield work.row("categories", float(len(usable)))
    everything = len(natural.references)
    of_all = dict.fromkeys([*counts_to(everything), everything])
    of_ten = counts_to(min(map(len, draws))) if draws else []
    for unit in work.units:
        best = natural.best(unit)
        for n in of_all:
            value = natural.expected_best(unit, n) / best
            yield work.row(EXPECTED, value, condition=ALL, unit=unit, x=float(n))
        for n in of_ten:
            value = expected_within(natural.of(unit), draws, n) / best
            yield work.row(EXPECTED, value, condition=TEN, unit=unit, x=float(n))


def _evolved_curve(work: Work, one: Evolved) -> Iterator[TableRow]:
    """The best of some generations over the best natural image."""
    best = work.natural.best(one.unit)
    shown = np.cumsum([len(scores) for scores in one.scores]) * one.condition.repeats
    last = len(one.scores) - 1
    kept = np.unique(np.rint(np.geomspace(1, last + 1, KEPT)).astype(int) - 1)
    for generation in kept:
        scores = one.scores[generation]
        value = math.nan if np.isnan(scores).all() else float(np.nanmax(scores)) / best
        yield work.row(REACHED, value, x=float(shown[generation]), **columns(one))


# ------------------------------------------------------------------ from the table


def _groups(name: str, table: Table, measure: str, published: str) -> Iterator[UnitGroup]:
    for network, depth in networks_and_depths(table.where(measure=measure)):
        here = table.where(measure=measure, network=network, depth=depth)
        known = None
        if published:
            known = published_median("2/3", published_layer(here.rows[0]), published)
        yield UnitGroup(name, network, depth, here.by_unit(measure), known)


def _images(table: Table) -> int:
    return int(natural_images(table))


def _too_few(table: Table) -> str:
    images = _images(table)
    return "" if images >= FEWEST_NATURAL else f"only {images:,} natural images; it needs {FEWEST_NATURAL:,}"


def _can_show(table: Table) -> int:
    """The number that an experiment can show: 10,000, or at most half of all images."""
    return min(SHOWN, _images(table) // 2)


def _logarithmic(network: str, table: Table) -> Finding:
    """A line through the expected best against log N, for each unit."""
    counts = [count for count in counts_to(_can_show(table)) if count >= FROM]
    of_count = [table.by_unit(EXPECTED, condition=ALL, x=float(count)) for count in counts]
    fits = [line(counts, [values[unit] for values in of_count]) for unit in of_count[0]]
    r2, gain = (interval([fit[at] for fit in fits]) for at in (1, 0))
    ours = f"R² {r2}, gain per factor of ten {gain} of the best of all, {FROM} to {counts[-1]:,} images"
    return LOGARITHMIC.on(network, ours, every(above(r2, 0.95), above(gain, 0.0)), TOO_FEW)


def line(counts: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Slope of a least-squares line against log10 of the counts, and R²; of a constant, 0 and 0."""
    if np.ptp(values) == 0.0:
        return 0.0, 0.0
    x = np.log10(counts)
    slope, _ = np.polyfit(x, values, 1)
    return float(slope), float(np.corrcoef(x, values)[0, 1] ** 2)


def _below(network: str, table: Table) -> Finding:
    """The expected best of no more images than the evolution showed, over what was evolved."""
    shown = min(table.where(condition=EVOLVED).values("presentations"), default=0.0)
    if short := too_short(shown):
        return BELOW.untestable(short, network)
    n = max(counts_to(min(_can_show(table), int(shown))))
    expected = table.by_unit(EXPECTED, condition=ALL, x=float(n))
    evolved = table.by_unit("relative activation", condition=EVOLVED)
    found = interval([expected[unit] / evolved[unit] for unit in expected if evolved.get(unit, 0.0) > 0.0])
    medians = (
        f"{interval(list(expected.values())).value:.2f} and {interval(list(evolved.values())).value:.2f}"
    )
    ours = f"expected best of {n:,} and evolved: {medians} of the best of all; ratio {found}"
    return BELOW.on(network, ours, below(found, 0.8), TOO_FEW)


def _categories(network: str, table: Table) -> Finding:
    """Ten categories beside all images, where most are shown."""
    some = table.where(measure=EXPECTED, condition=TEN)
    if not len(some):
        why = (
            f"there are no {LEAST_CATEGORIES} categories of at least {LEAST_IMAGES} natural images each; "
            "name the files CATEGORY_NUMBER"
        )
        return CATEGORIES.untestable(why, network)
    n = max(some.among("x"))
    ratios = {}
    for depth in table.among("depth"):
        ten, everything = (table.by_unit(EXPECTED, condition=of, x=n, depth=depth) for of in (TEN, ALL))
        ratios[depth] = [ten[unit] / everything[unit] for unit in ten if everything[unit] > 0.0]
    high = interval([*ratios.get("late", ()), *ratios.get("output", ())])
    holds, why = below(high, 0.9), TOO_FEW
    categories = int(max(table.where(measure="categories").among("value")))
    if holds is False and categories < MANY_CATEGORIES:
        holds, why = None, f"ten of only {categories} categories are no small part of all images"
    each = ", ".join(f"{depth} {interval(values).value:.2f}" for depth, values in ratios.items() if values)
    return CATEGORIES.on(
        network, f"ten categories over all images, of {n:,.0f}: late and output {high} ({each})", holds, why
    )


# ------------------------------------------------------------------ the figure

#: Condition -> what the legend says, colour, line: dashed over what may lie below.
_LOOK = {
    ALL: ("natural, from all", drawing.COLOURS[0], "-"),
    TEN: ("natural, from ten categories", drawing.COLOURS[1], "--"),
    EVOLVED: ("evolved", drawing.COLOURS[2], "-"),
}


def _short(count: float, _: object = None) -> str:
    """1, 10, 100, 1k, …"""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return f"{count:g}"


def _panel(axes: Axes, table: Table) -> None:
    """The curves of one layer."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(1.0, color=drawing.LIGHT, lw=0.8, zorder=0)
    for condition, (_, colour, style) in _LOOK.items():
        some = table.where(measure=(EXPECTED, REACHED), condition=condition)
        measure = REACHED if condition == EVOLVED else EXPECTED
        places = sorted(some.among("x"))
        values = [some.values(measure, x=x) for x in places]
        quartiles = np.array([np.quantile(one, (0.25, 0.5, 0.75)) for one in values if one]).reshape(-1, 3)
        kept = [x for x, one in zip(places, values, strict=True) if one]
        axes.plot(kept, quartiles[:, 1], color=colour, lw=1.3, ls=style)
        axes.fill_between(kept, quartiles[:, 0], quartiles[:, 2], color=colour, alpha=0.2, lw=0)
