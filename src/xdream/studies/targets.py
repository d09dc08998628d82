"""Fig 2 of the preprint, 2 and 3 of the journal version: units, layers, networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from xdream.studies import drawing
from xdream.studies.base import (
    Group,
    evolved_rows,
    few_natural,
    groups_of,
    missing_networks,
)
from xdream.studies.claims import TOO_FEW, Claim, Finding, above, every, published_median
from xdream.studies.places import DEPTHS, short
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.statistics import difference, interval, share_above
from xdream.studies.table import Row, Table
from xdream.studies.work import Condition, Work

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
    "that share lies above one half, and is not below the share of super stimuli",
)
DEPTH = Claim(
    "targets",
    "late and middle layers are driven to higher relative activation than early and output layers",
    "CaffeNet 1.34, 1.59, 1.95, 1.22; Inception-v3 0.86, 1.37, 1.64, 1.18 (early, middle, late, output)",
    "the median of middle and late units is above that of early and output units, with its interval",
)
PLACES = Claim(
    "targets",
    "it works alike on a network trained on other images (Places)",
    "PlacesCNN 1.27, 1.56, 1.84, 1.19",
    "the median relative activation of PlacesCNN is above 1, with its interval",
)


class Targets:
    """Relative activation of units of many layers and networks."""

    name = "targets"
    question = "which units have an image that drives them beyond every natural one?"
    figure_of = "2 (preprint), 2 and 3 (journal)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = ("natural-v1",)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=2, seeds=1, presentations=200),
        "small": Size(units=6, seeds=1, presentations=2_000),
        "paper": Size(units=100, seeds=1, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The genetic algorithm without noise, with each generator that was asked for."""
        return tuple(Condition(short(one.name), one) for one in plan.generators)

    def rows(self, work: Work) -> Iterator[Row]:
        """Of every unit."""
        yield from evolved_rows(work, self.conditions(work.plan))

    def groups(self, table: Table) -> Iterator[Group]:
        """By layer and generator; then the number-matched measure."""
        yield from groups_of(table, RELATIVE, lambda _, place: published_median("2/3", place))

    def findings(self, table: Table) -> Iterator[Finding]:
        """Of each network by itself."""
        for network in table.among("network"):
            some = table.where(network=network)
            relative = some.values(RELATIVE)
            share = share_above(relative, 1.0)
            ours = f"{share} of {len(relative)} units, median {interval(relative)}"
            few = few_natural(some)
            yield SUPER.on(network, ours, None if few else above(share, 0.5), few or TOO_FEW)
            matched = share_above(some.values(OVER_EXPECTED), 1.0)
            holds = None if few else every(above(matched, 0.5), matched.value >= share.value)
            yield MATCHED.on(network, str(matched), holds, few or TOO_FEW)
            deep, other = (
                some.values(RELATIVE, depth=depths) for depths in (("middle", "late"), ("early", "output"))
            )
            medians = ", ".join(
                f"{depth} {interval(some.values(RELATIVE, depth=depth)).value:.2f}"
                for depth in some.among("depth")
            )
            apart = difference(deep, other)
            deeper = None if few else above(apart, 0.0)
            yield DEPTH.on(network, f"{medians}; difference {apart}", deeper, few or TOO_FEW)
        lacking = missing_networks(table, {"placescnn": "the weights of PlacesCNN (docs/caffe.md)"})
        if lacking:
            yield PLACES.untestable(lacking)
        else:
            [network] = [name for name in table.among("network") if name.lower() == "placescnn"]
            some = table.where(network=network)
            found, few = interval(some.values(RELATIVE)), few_natural(some)
            yield PLACES.on(network, str(found), None if few else above(found, 1.0), few or TOO_FEW)

    def draw(self, figure: Figure, table: Table) -> None:
        """A panel per network."""
        drawing.by_network(figure, list(self.groups(table)), RELATIVE)
