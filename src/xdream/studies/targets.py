"""Fig 2 of the preprint, 2 and 3 of the journal version: units, layers, networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from xdream.generators.cards import SHIPPED
from xdream.studies import drawing
from xdream.studies.base import (
    UnitGroup,
    evolved_rows,
    groups_of,
    missing_networks,
    natural_images,
    undecidable,
)
from xdream.studies.claims import TOO_FEW, Claim, Finding, above, every, published_median
from xdream.studies.network_layers import DEPTHS, short
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Work
from xdream.studies.statistics import Interval, difference, interval, share_above
from xdream.studies.table import Table, TableRow

RELATIVE = "relative activation"
OVER_EXPECTED = "over expected best"

SUPER = Claim(
    "targets",
    "super stimuli (relative activation above 1) for the great majority of units, in every architecture",
    "84 % of 2,731 units, median 1.37",
    "the interval of the share of units above 1 lies above one half",
)
MATCHED = Claim(
    "targets",
    "even more units exceed the best of an equal number of natural images",
    "about 95 % of units",
    "the interval of that share lies above one half, and it is larger than the share of super stimuli, where "
    "that leaves room; there are more natural images than presentations",
)
DEPTH = Claim(
    "targets",
    "late and middle layers are driven to higher relative activation than early and output layers",
    "CaffeNet 1.34, 1.59, 1.95, 1.22; Inception-v3 0.86, 1.37, 1.64, 1.18 (early, middle, late, output)",
    "the median of late units is above that of early and output units together, with its interval; that of "
    "middle units (in most networks higher, too) is not below it",
)
PLACES = Claim(
    "targets",
    "it works alike on a network trained on other images (Places)",
    "PlacesCNN 1.27, 1.56, 1.84, 1.19",
    "beside CaffeNet: both medians are above 1, with their intervals, and they differ by less than 0.3",
)


class Targets:
    """Relative activation of units of many layers and networks."""

    name = "targets"
    question = "which units have an image that drives them beyond every natural one?"
    figure_of = "2 (preprint), 2 and 3 (journal)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=2, seeds=1, presentations=200),
        "small": Size(units=6, seeds=1, presentations=2_000),
        "paper": Size(units=100, seeds=1, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The genetic algorithm without noise, with each generator that was asked for."""
        return tuple(Condition(short(one.name), one) for one in plan.generators)

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every unit."""
        yield from evolved_rows(work, self.conditions(work.plan))

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """By layer and generator; then the number-matched measure."""
        yield from groups_of(table, RELATIVE, lambda _, place: published_median("2/3", place))

    def findings(self, table: Table) -> Iterator[Finding]:
        """Of each network by itself."""
        for network in table.among("network"):
            some = table.where(network=network)
            why = undecidable(some)
            relative = some.values(RELATIVE)
            share = share_above(relative, 1.0)
            ours = f"{share} of {len(relative)} units, median {interval(relative)}"
            yield SUPER.on(network, ours, None if why else above(share, 0.5), why or TOO_FEW)
            yield _matched(network, some, share, why)
            yield _depth(network, some, why)
        yield _places(table)

    def draw(self, figure: Figure, table: Table) -> None:
        """A panel per network."""
        drawing.by_network(figure, list(self.groups(table)), RELATIVE)


def _matched(network: str, table: Table, share: Interval, why: str) -> Finding:
    """More units exceed the expected best of as many natural images than the best of all."""
    matched = share_above(table.values(OVER_EXPECTED), 1.0)
    presentations = max((row.value for row in table.where(measure="presentations").rows), default=0.0)
    natural = natural_images(table)
    if not why and natural <= presentations:
        why = f"{natural:,.0f} natural images are no more than the {presentations:,.0f} presentations"
    more = True if matched.value > share.value or share.value == 1.0 else None
    holds = None if why else every(above(matched, 0.5), more)
    return MATCHED.on(network, f"{matched}, super stimuli {share.value:.2f}", holds, why or TOO_FEW)


def _depth(network: str, table: Table, why: str) -> Finding:
    """Late units, and middle ones, beside early and output ones."""
    other = table.values(RELATIVE, depth=("early", "output"))
    apart = {depth: difference(table.values(RELATIVE, depth=depth), other) for depth in ("middle", "late")}
    medians = ", ".join(
        f"{depth} {interval(table.values(RELATIVE, depth=depth)).value:.2f}" for depth in table.among("depth")
    )
    middle = None if math.isnan(apart["middle"].low) else apart["middle"].high > 0.0
    holds = None if why else every(above(apart["late"], 0.0), middle)
    ours = f"{medians}; late beyond early and output {apart['late']}, middle {apart['middle']}"
    return DEPTH.on(network, ours, holds, why or TOO_FEW)


def _places(table: Table) -> Finding:
    """PlacesCNN beside CaffeNet."""
    wanted = {name: f"missing: the weights of {name} (docs/caffe.md)" for name in ("PlacesCNN", "CaffeNet")}
    lacking = missing_networks(table, {name.lower(): text for name, text in wanted.items()})
    if lacking:
        return PLACES.untestable(lacking)
    names = {name.lower(): name for name in table.among("network")}
    both = table.where(network=(names["placescnn"], names["caffenet"]))
    places, caffe = (both.where(network=names[name]).values(RELATIVE) for name in ("placescnn", "caffenet"))
    apart = difference(places, caffe)
    alike = None if math.isnan(apart.low) else abs(apart.value) < 0.3
    why = undecidable(both)
    holds = None if why else every(above(interval(places), 1.0), above(interval(caffe), 1.0), alike)
    ours = f"{interval(places)}, CaffeNet {interval(caffe)}, difference {apart}"
    return PLACES.on("", ours, holds, why or TOO_FEW)
