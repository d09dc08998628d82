"""Fig 4 of the preprint, 5 of the journal version: generators against targets of every depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from xdream.generators.cards import SHIPPED
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, evolved_rows, groups_of, hardly_begun
from xdream.studies.claims import TOO_FEW, Claim, Finding, above, every, published_median
from xdream.studies.network_layers import DEPTHS, short
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Work
from xdream.studies.statistics import Interval, interval, paired
from xdream.studies.table import Table, TableRow

RELATIVE = "relative activation"
#: What the published data call a generator.
PUBLISHED = {"pixels": "raw_pixel"}
HIGH = ("deepsim-conv4", "deepsim-pool5", "deepsim-fc6", "deepsim-fc7")
LOW = ("deepsim-norm1", "deepsim-norm2")
DEEP = ("late", "output")
OWN, OTHERS = "deepsim-fc6", "deepsim-fc6-places365"
#: Generators that have learned nothing.
UNLEARNED = ("pixels", "fourier")
#: How far below another a generator may be that does as well.
AS_WELL = 0.1

OF_HIGH_LAYERS = Claim(
    "generators",
    "generators of high layers (conv4 and above) work about equally well, and better than those of early "
    "layers",
    "overall medians: norm1 1.13, norm2 .69, conv3 1.07, conv4 1.36, pool5 1.39, fc6 1.36, fc7 1.34, fc8 "
    "1.25",
    "within units, the mean over generators of conv4 to fc7 is above that of norm1 and norm2, with its "
    "interval",
)
PIXELS = Claim(
    "generators",
    "raw pixels do poorly, except for early targets, where nearly all generators do equally well",
    "pixels: conv2 1.31 (fc6 generator 1.34), fc8 .54 (1.22)",
    "within late and output units the other generator with the highest median is above pixels, with its "
    "interval; within early units pixels reaches at least 0.8 of it, with the interval of the ratio",
)
SAME_BEST = Claim(
    "generators",
    "the same generators are best for all targets, also in another architecture",
    "best medians: fc6 or fc7 at CaffeNet fc6 and fc8; pool5, conv4, fc6 in Inception-ResNet-v2",
    "of at least two learned generators, one is within 0.1 of the best median at every depth beyond the "
    "early one in every network",
)
OTHER_IMAGES = Claim(
    "generators",
    "a generator trained on other images (Places365) does as well",
    "CaffeNet targets 1.45 and 1.45",
    f"within units the difference of the two lies within {AS_WELL} of 0, with its interval",
)


class Generators:
    """Every generator against the same units."""

    name = "generators"
    question = "which generator reaches the best images?"
    figure_of = "4 (preprint), 5 (journal)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = (SHIPPED, "fourier", "pixels")
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=1, presentations=100),
        "small": Size(units=3, seeds=1, presentations=1_000),
        "paper": Size(units=100, seeds=1, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The genetic algorithm without noise, with the hyperparameters of each generator."""
        return tuple(Condition(short(one.name), one) for one in plan.generators)

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every unit and generator."""
        yield from evolved_rows(work, self.conditions(work.plan))

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """By generator and layer."""
        yield from groups_of(table, RELATIVE, _published)

    def findings(self, table: Table) -> Iterator[Finding]:
        """Of each network, and one over all."""
        for network in table.among("network"):
            yield _of_high_layers(table.where(network=network), network)
        yield _pixels(table)
        yield _same_best(table)
        known = table.among("condition")
        if OWN in known and OTHERS in known:
            ours, others = (table.by_unit(RELATIVE, condition=name) for name in (OTHERS, OWN))
            apart, short = paired(ours, others), hardly_begun(table)
            holds = None if short else _within(apart.difference, AS_WELL)
            yield OTHER_IMAGES.on("", str(apart), holds, short or TOO_FEW)
        else:
            missing = ", ".join(name for name in (OWN, OTHERS) if name not in known)
            yield OTHER_IMAGES.untestable(f"missing: the weights of {missing}")

    def draw(self, figure: Figure, table: Table) -> None:
        """A panel per network."""
        drawing.by_network(figure, list(self.groups(table)), RELATIVE)


def _published(condition: str, place: str) -> float | None:
    return published_median("5", f"{PUBLISHED.get(condition, condition)}|{place}")


def _of_high_layers(table: Table, network: str) -> Finding:
    known = table.among("condition")
    high, low = ([name for name in names if name in known] for names in (HIGH, LOW))
    if not high or not low:
        missing = [name for name in (*HIGH, *LOW) if name not in known]
        return OF_HIGH_LAYERS.untestable(f"missing: the weights of {', '.join(missing)}", network)
    apart = paired(
        table.by_unit(RELATIVE, condition=tuple(high)), table.by_unit(RELATIVE, condition=tuple(low))
    )
    short = hardly_begun(table)
    return OF_HIGH_LAYERS.on(
        network, str(apart), None if short else above(apart.difference, 0.0), short or TOO_FEW
    )


def _pixels(table: Table) -> Finding:
    """Over the units of all networks."""
    medians = {
        name: interval(table.values(RELATIVE, condition=name)).value
        for name in table.among("condition")
        if name and name != "pixels"
    }
    if "pixels" not in table.among("condition") or not medians:
        return PIXELS.untestable("needs pixels beside another generator")
    best = max(medians, key=lambda name: medians[name])

    def of(name: str, *depths: str) -> dict[tuple[str, ...], float]:
        return table.by_unit(RELATIVE, condition=name, depth=depths)

    apart = paired(of(best, *DEEP), of("pixels", *DEEP)).difference
    early, pixels = of(best, "early"), of("pixels", "early")
    ratio = interval([pixels[unit] / early[unit] for unit in pixels if early.get(unit, 0.0) > 0.0])
    short = hardly_begun(table)
    holds = None if short else every(above(apart, 0.0), above(ratio, 0.8))
    ours = f"late and output: {best} beyond pixels by {apart}; early: pixels over it {ratio}"
    return PIXELS.on("", ours, holds, short or TOO_FEW)


def _same_best(table: Table) -> Finding:
    by_place: dict[str, dict[str, Interval]] = {}
    for group in groups_of(table, RELATIVE):
        if group.depth != "early":
            medians = by_place.setdefault(f"{group.network} {group.depth}", {})
            medians[group.condition] = interval(list(group.values.values()))
    best = {place: max(medians, key=lambda name: medians[name].value) for place, medians in by_place.items()}
    near = [
        {name for name, one in medians.items() if one.value >= medians[best[place]].value - AS_WELL}
        for place, medians in by_place.items()
    ]
    ours = ", ".join(f"{place}: {name}" for place, name in best.items())
    learned = [name for name in table.among("condition") if name and name not in UNLEARNED]
    why = hardly_begun(table)
    if len(table.among("network")) < 2:
        why = "one network"
    elif len(learned) < 2:
        why = f"{len(learned)} learned generator: that it beats the others says nothing of its like"
    elif any(math.isnan(one.low) for medians in by_place.values() for one in medians.values()):
        why = why or TOO_FEW
    holds = None if why or not near else bool(set.intersection(*near))
    return SAME_BEST.on("", ours, holds, why or "no units beyond the early layer")


def _within(found: Interval, bound: float) -> bool | None:
    """Whether a difference is within a bound of 0."""
    return every(above(found, -bound), None if above(found, bound) is None else not above(found, bound))
