"""Fig 5 of the preprint, 6 of the journal version: optimizers without noise, with noise, over noise levels.

What the paper reports of noise without defining it is here, over the images of the last generation with
noise-free activations a and k spikes per unit of activation (Poisson: variance a / k):

    relative noise     mean of sqrt(a / k) / a = 1 / sqrt(k a): one image's standard deviation over its mean
    SNR                mean of a² / (a / k) = k a: one image's squared mean over its variance, so its spikes
    self-correlation   var(a) / (var(a) + mean(a) / k): the expected correlation between two showings of the
                       same images

They are not defined where an activation is not positive (relative noise) or all are alike. The published
columns of fig_6-stoch_scales agree with this: SNR times squared relative noise is 1.02 to 1.22 in 90 % of
units, never below 1 (Jensen), and SNR and self-correlation together give the same spread of activations, 0.22
to 0.24 of their mean, at every level from 5 to 250 spikes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from xdream.description import Part
from xdream.generators.cards import SHIPPED
from xdream.optimizers import OPTIMIZERS
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, groups_of, undecidable
from xdream.studies.claims import TOO_FEW, Claim, Finding, above, at_most, every, published_median
from xdream.studies.network_layers import DEPTHS
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Evolved, Work, columns
from xdream.studies.statistics import Interval, interval, paired
from xdream.studies.table import Table, TableRow

RELATIVE = "relative activation"
NOISE_MEASURES = ("relative noise", "SNR", "self-correlation")
#: Of the paper, which the claims are about. Others that declare `compared` get rows beside them.
NAMES = ("genetic", "fdgd", "nes")
#: Spikes of the noisy condition, and repeats where each image is shown more than once.
SPIKES, REPEATS = 20.0, 3
LEVELS: Mapping[Scale, tuple[float, ...]] = {
    "tiny": (5.0, SPIKES),
    "small": (5.0, SPIKES, 250.0),
    "paper": (5.0, 10.0, SPIKES, 50.0, 75.0, 100.0, 250.0),
}
#: What counts as no difference, in relative activation.
MARGIN = 0.1
#: Of a claim: its figures here, and whether it holds.
Tested: TypeAlias = tuple[Claim, str, bool | None]
SHALLOW, DEEP = ("early", "middle"), ("late", "output")
#: What the published data call an optimizer.
PUBLISHED = {"genetic": "genetic", "fdgd": "FDGD", "nes": "NES"}

CLEAN = Claim(
    "optimizers",
    "without noise: alike in early and middle layers, the genetic algorithm slightly worse in higher ones",
    "conv2 GA 1.34, FDGD 1.10, NES 1.09; fc6 1.95, 2.45, 2.44; fc8 1.22, 1.61, 1.61",
    "nes above genetic within late and output units, with its interval, and by less than 0.1 in early and "
    "middle ones",
)
DEGRADE = Claim(
    "optimizers",
    "with Poisson noise all degrade",
    "at 20 spikes GA 1.00 (1.41 without noise), NES .72, FDGD .58",
    "of each optimizer, without noise is above with noise within units, with its interval",
)
ROBUST = Claim(
    "optimizers",
    "with noise the genetic algorithm is at least as good as the others nearly everywhere",
    "overall GA 1.00, NES .72, FDGD .58; better than NES in 3 of 5 layers",
    "within units, neither in early and middle nor in late and output layers does another optimizer "
    "exceed genetic by 0.1, with its interval",
)
WORST = Claim(
    "optimizers",
    "with noise FDGD is worst and often fails",
    "overall GA 1.00, NES .72, FDGD .58",
    "within units, genetic and nes are each above fdgd, with their intervals",
)
AVERAGING = Claim(
    "optimizers",
    "averaging repeats at the cost of unique images helps FDGD only (3 repeats)",
    "no data published",
    "within units, 3 repeats are above 1 for fdgd, with the interval, and by less than 0.1 for genetic and "
    "nes",
)
MORE_SPIKES = Claim(
    "optimizers",
    "more spikes (less noise), better results, towards the noise-free value",
    "GA .81, .90, 1.00, 1.11, 1.13, 1.15, 1.22 for 5, 10, 20, 50, 75, 100, 250 spikes; 1.41 without noise",
    "within units, most spikes are above fewest, and no noise above fewest, with their intervals; the "
    "medians of all levels rise but for at most one step of four or more",
)


class Optimizers:
    """The optimizers without and with noise; the genetic algorithm over noise levels."""

    name = "optimizers"
    question = "which optimizer reaches the best images, without and with noise?"
    figure_of = "5 (preprint), 6 (journal)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=1, presentations=240),
        "small": Size(units=2, seeds=1, presentations=1_000),
        "paper": Size(units=100, seeds=1, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """Without noise, at `SPIKES` with one and with `REPEATS` showings, and the genetic one's levels."""
        generator = plan.generators[0]

        def of(name: str, spikes: float | None = None, repeats: int = 1) -> Condition:
            title = name_of(name, spikes, repeats)
            return Condition(title, generator, Part(name=name), spikes=spikes, repeats=repeats)

        others = (name for name in OPTIMIZERS.names() if OPTIMIZERS.declared(name, "compared", False))
        names = dict.fromkeys((*NAMES, *others))
        levels = [spikes for spikes in LEVELS[plan.scale] if spikes != SPIKES]
        return (
            *(of(name) for name in names),
            *(of(name, SPIKES) for name in names),
            *(of("genetic", spikes) for spikes in levels),
            *(of(name, SPIKES, REPEATS) for name in names),
        )

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every unit, also how noisy its last generation was."""
        yield from work.natural_rows()
        for one in work.evolve(self.conditions(work.plan)):
            yield from work.rows(one)
            yield from _noise_rows(work, one)

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """By optimizer and noise."""
        yield from groups_of(table, RELATIVE, _published)

    def findings(self, table: Table) -> Iterator[Finding]:
        """Over the units of all networks; the table of groups has each by itself."""
        if not len(table):
            return
        short = undecidable(table)
        for test in (_clean, _degrade, _robust, _worst, _averaging, _more_spikes):
            claim, ours, holds = test(table)
            yield claim.on("", ours, None if short else holds, short or TOO_FEW)

    def draw(self, figure: Figure, table: Table) -> None:
        """Above the optimizers by depth; below the genetic algorithm over spikes, and how noisy it is."""
        networks = table.among("network")
        rows = len(networks) + 1
        figure.set_size_inches(drawing.WIDTH_IN, 0.8 + drawing.PANEL_IN * rows)
        places = figure.add_gridspec(rows, 3)
        names = [name for name in table.among("optimizer") if name]
        shown = [name_of(name, spikes) for spikes in (None, SPIKES) for name in names]
        groups = [group for group in self.groups(table) if group.condition in shown]
        for row, network in enumerate(networks):
            axes = figure.add_subplot(places[row, :])
            drawing.strips(axes, [group for group in groups if group.network == network], RELATIVE)
            axes.set_title(network, fontsize=8, loc="left")
            if row == 0:
                drawing.legend(axes, shown)
        axes = figure.add_subplot(places[-1, 0])
        _draw_levels(axes, table)
        for column, measure in enumerate(("relative noise", "self-correlation"), 1):
            _draw_measure(figure.add_subplot(places[-1, column]), table, measure)
        drawing.below(
            figure,
            drawing.HOW,
            "top: without noise, and with 20 spikes at the expected best natural image; bottom: genetic "
            "over noise levels (spikes at the expected best natural image), medians over "
            "all units "
            "with their intervals; dashed: published; right: of the last generation's images",
        )


def name_of(optimizer: str, spikes: float | None = None, repeats: int = 1) -> str:
    """Of a condition."""
    return ", ".join(
        [
            optimizer,
            *([] if spikes is None else [f"{spikes:g} spikes"]),
            *([] if repeats == 1 else [f"{repeats} repeats"]),
        ]
    )


def noise_measures(activations: npt.NDArray[np.float64], k: float) -> dict[str, float]:
    """Relative noise, SNR and self-correlation of images with these activations; see above.

    activations: (n,) without noise, NaN left out. k: spikes per unit of activation. NaN where not defined.
    """
    a = activations[~np.isnan(activations)].clip(0.0)  # what is negative gives no spikes
    if not len(a) or a.mean() <= 0.0:
        return dict.fromkeys(NOISE_MEASURES, math.nan)
    spread, noise = float(a.var()), float(a.mean()) / k
    return {
        "relative noise": float((1.0 / np.sqrt(k * a)).mean()) if a.min() > 0.0 else math.nan,
        "SNR": float((k * a).mean()),
        "self-correlation": spread / (spread + noise),
    }


def _noise_rows(work: Work, one: Evolved) -> Iterator[TableRow]:
    spikes = one.condition.spikes
    if spikes is None or one.condition.repeats > 1:
        return
    k = next(run.spikes_per_activation for run in one.record.runs() if run.id == one.run)
    assert k is not None
    for measure, value in noise_measures(one.scores[-1], k).items():
        yield work.row(measure, value, x=spikes, **columns(one))


def _published(condition: str, place: str) -> float | None:
    name, *how = condition.split(", ")
    if len(how) > 1 or name not in PUBLISHED:
        return None
    if how and name == "genetic" and how[0] != f"{SPIKES:g} spikes":
        level = float(how[0].removesuffix(" spikes"))
        return published_median("6", f"{level:.1f}|{place}")
    return published_median("6", f"{bool(how)}|{PUBLISHED[name]}|{place}")


# ------------------------------------------------------------------ the claims


def _of(table: Table, condition: str, *depths: str) -> dict[tuple[str, ...], float]:
    return table.by_unit(RELATIVE, condition=condition, **({"depth": depths} if depths else {}))


def _apart(table: Table, first: str, second: str, *depths: str) -> Interval:
    return paired(_of(table, first, *depths), _of(table, second, *depths)).difference


def _not_above(found: Interval) -> bool | None:
    """Whether a difference is not above 0, but for `MARGIN`."""
    return at_most(found, 0.0, MARGIN)


def _clean(table: Table) -> Tested:
    deep, shallow = (_apart(table, "nes", "genetic", *depths) for depths in (DEEP, SHALLOW))
    ours = f"nes beyond genetic: early and middle {shallow}, late and output {deep}"
    return CLEAN, ours, every(above(deep, 0.0), _not_above(shallow))


def _degrade(table: Table) -> Tested:
    lost = {name: _apart(table, name, name_of(name, SPIKES)) for name in NAMES}
    ours = ", ".join(f"{name} loses {found}" for name, found in lost.items())
    return DEGRADE, ours, every(*(above(found, 0.0) for found in lost.values()))


def _robust(table: Table) -> Tested:
    holds, parts = [], []
    for depths in (SHALLOW, DEEP):
        for other in ("nes", "fdgd"):
            apart = _apart(table, name_of(other, SPIKES), name_of("genetic", SPIKES), *depths)
            holds.append(_not_above(apart))
            parts.append(f"{' and '.join(depths)} {other} {apart}")
    overall = {name: interval(list(_of(table, name_of(name, SPIKES)).values())).value for name in NAMES}
    ours = ", ".join(f"{name} {value:.2f}" for name, value in overall.items())
    return ROBUST, f"{ours}; beyond genetic: {', '.join(parts)}", every(*holds)


def _worst(table: Table) -> Tested:
    fdgd = name_of("fdgd", SPIKES)
    apart = {name: _apart(table, name_of(name, SPIKES), fdgd) for name in ("genetic", "nes")}
    ours = ", ".join(f"{name} beyond fdgd by {found}" for name, found in apart.items())
    return WORST, ours, every(*(above(found, 0.0) for found in apart.values()))


def _averaging(table: Table) -> Tested:
    gain = {name: _apart(table, name_of(name, SPIKES, REPEATS), name_of(name, SPIKES)) for name in NAMES}
    ours = ", ".join(f"{name} {found}" for name, found in gain.items())
    holds = every(above(gain["fdgd"], 0.0), *(_not_above(gain[name]) for name in ("genetic", "nes")))
    return AVERAGING, f"3 repeats beyond 1: {ours}", holds


def _levels(table: Table) -> list[float]:
    return sorted({row.x for row in table.where(measure="SNR", optimizer="genetic").rows})


def _more_spikes(table: Table) -> Tested:
    levels = _levels(table)
    medians = [interval(list(_of(table, name_of("genetic", one)).values())).value for one in levels]
    clean = interval(list(_of(table, "genetic").values())).value
    ours = ", ".join(f"{value:.2f}" for value in medians)
    ours = f"{ours} for {', '.join(f'{one:g}' for one in levels)} spikes; {clean:.2f} without noise"
    fewest = name_of("genetic", levels[0])
    falls = sum(b < a for a, b in itertools.pairwise(medians))
    most = 1 if len(levels) > 3 else 0
    holds = every(
        above(_apart(table, name_of("genetic", levels[-1]), fewest), 0.0),
        above(_apart(table, "genetic", fewest), 0.0),
        falls <= most,
    )
    return MORE_SPIKES, ours, holds


# ------------------------------------------------------------------ the figure


def _draw_levels(axes: Any, table: Table) -> None:
    levels = _levels(table)
    for number, network in enumerate(table.among("network")):
        some = table.where(network=network)
        found = [interval(list(_of(some, name_of("genetic", one)).values())) for one in levels]
        colour = drawing.colour_of(number)
        _draw_intervals(axes, levels, found, colour)
        clean = interval(list(_of(some, "genetic").values())).value
        axes.axhline(clean, color=colour, lw=0.8, ls=":")
    axes.set_ylabel(f"{RELATIVE} (dotted: no noise)")
    for number, network in enumerate(table.among("network")):
        axes.plot([], [], color=drawing.colour_of(number), label=network)
    axes.legend(fontsize=6, frameon=False, loc="upper left", borderaxespad=0.2)
    published = [_published_overall(one) for one in levels]
    axes.plot(levels, published, "--", color=drawing.INK, lw=0.8)
    _spikes_axis(axes, levels)


def _published_overall(spikes: float) -> float:
    """The median over the units of all layers, as claims of the paper have it (Fig 6)."""
    known = {5.0: 0.81, 10.0: 0.90, 20.0: 1.00, 50.0: 1.11, 75.0: 1.13, 100.0: 1.15, 250.0: 1.22}
    return known.get(spikes, math.nan)


def _draw_measure(axes: Any, table: Table, measure: str) -> None:
    levels = _levels(table)
    for number, network in enumerate(table.among("network")):
        some = table.where(network=network, optimizer="genetic")
        found = [interval(some.values(measure, x=one)) for one in levels]
        _draw_intervals(axes, levels, found, drawing.colour_of(number))
    axes.plot(levels, [PUBLISHED_NOISE[measure].get(one, math.nan) for one in levels], "--",
              color=drawing.INK, lw=0.8)  # fmt: skip
    axes.set_ylabel(measure)
    _spikes_axis(axes, levels)


#: The medians of the published columns Rel_noise and Self_correlation (fig_6-stoch_scales), by spikes.
PUBLISHED_NOISE: Mapping[str, Mapping[float, float]] = {
    "relative noise": {5: 0.580, 10: 0.367, 20: 0.239, 50: 0.137, 75: 0.109, 100: 0.092, 250: 0.054},
    "SNR": {5: 3.249, 10: 8.036, 20: 19.09, 50: 57.55, 75: 91.95, 100: 129.8, 250: 366.0},
    "self-correlation": {5: 0.144, 10: 0.288, 20: 0.486, 50: 0.735, 75: 0.828, 100: 0.862, 250: 0.951},
}


def _draw_intervals(axes: Any, x: list[float], found: list[Interval], colour: str) -> None:
    axes.plot(x, [one.value for one in found], ".-", color=colour, lw=1.2, ms=5)
    for at, one in zip(x, found, strict=True):
        if not math.isnan(one.low):
            axes.plot([at, at], [one.low, one.high], color=colour, lw=0.8)


def _spikes_axis(axes: Any, levels: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(levels, [f"{one:g}" for one in levels])
    axes.minorticks_off()
    axes.set_xlabel("spikes")
