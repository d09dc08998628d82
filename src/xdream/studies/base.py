"""What a study is: which evolutions it needs, and what follows from their table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure

from xdream.studies.claims import Finding, published_median, too_short
from xdream.studies.network_layers import DEPTHS, layer_at, short
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Work
from xdream.studies.table import Table, TableRow

#: With fewer natural images than this the best of them is no measure of what nature has, and no claim that
#: compares with it is judged.
LEAST_NATURAL_FOR_VERDICT = 1_000


@dataclass(frozen=True)
class UnitGroup:
    """What is reported together: a condition at one depth of a network.

    values: by unit. published: the median in the paper; of the same layer, or else of CaffeNet's at that
    depth.
    """

    condition: str
    network: str
    depth: str
    values: dict[tuple[str, ...], float]
    published: float | None = None


class Study(Protocol):
    """One published experiment.

    name: by its subject. question: in one sentence. figure_of: which figure of the paper, preprint and
    journal. sample: what `units` counts, units or images.
    measure: what is reported of each group. layers, generators: where nothing else is asked. sizes:
    how much it does at each scale.
    """

    name: str
    question: str
    figure_of: str
    sample: str
    measure: str
    layers: tuple[str, ...]
    generators: tuple[str, ...]
    sizes: Mapping[Scale, Size]

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The evolutions of each unit; their number says what the study costs. Raises BadInput."""
        ...

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Everything that a shard adds to the table. Raises BadInput, SubjectError, StoreError."""
        ...

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """What is reported, in order."""
        ...

    def findings(self, table: Table) -> Iterator[Finding]:
        """A verdict on each published claim, from the table alone."""
        ...

    def draw(self, figure: Figure, table: Table) -> None:
        """The figure, from the table alone."""
        ...


def evolved_rows(work: Work, conditions: tuple[Condition, ...]) -> Iterator[TableRow]:
    """The rows of a study that is nothing but its evolutions."""
    yield from work.natural_rows()
    for one in work.evolve(conditions):
        yield from work.rows(one)


def groups_of(
    table: Table, measure: str, published: Callable[[str, str], float | None] | None = None
) -> Iterator[UnitGroup]:
    """The values of a measure, by condition, network and depth. published: of (condition, layer's name)."""
    some = table.where(measure=measure)
    for condition in some.among("condition"):
        for network, depth in networks_and_depths(some.where(condition=condition)):
            here = some.where(condition=condition, network=network, depth=depth)
            known = published and published(condition, published_layer(here.rows[0]))
            yield UnitGroup(condition, network, depth, here.by_unit(measure), known)


def networks_and_depths(table: Table) -> list[tuple[str, str]]:
    """In the order of the table, depths from the image on."""
    found = dict.fromkeys((row.network, row.depth) for row in table.rows)
    order = {depth: number for number, depth in enumerate(DEPTHS)}
    networks = table.among("network")
    return sorted(found, key=lambda one: (networks.index(one[0]), order.get(one[1], len(order))))


def published_layer(row: TableRow) -> str:
    """What the published data call a layer, or CaffeNet's at the same depth: `caffenet|conv2`."""
    own = f"{row.network}|{row.layer}"
    if published_median("2/3", own) is not None:
        return own
    return f"caffenet|{layer_at('caffenet', row.depth) or row.depth}"


def few_natural(table: Table) -> str:
    """Why claims that compare with natural images cannot be tested; "" where they can."""
    count = natural_images(table)
    return "" if count >= LEAST_NATURAL_FOR_VERDICT else f"only {count:.0f} natural images"


def natural_images(table: Table) -> float:
    """With how many was compared."""
    return max((row.value for row in table.where(measure="natural images").rows), default=0.0)


def hardly_begun(table: Table) -> str:
    """Why claims about where evolutions end cannot be tested; "" where they can."""
    return too_short(min((row.value for row in table.where(measure="presentations").rows), default=0.0))


def undecidable(table: Table) -> str:
    """Why claims about where evolutions end beside natural images cannot be tested; "" where they can."""
    return few_natural(table) or hardly_begun(table)


def missing_networks(table: Table, wanted: Mapping[str, str]) -> str:
    """What to say of the networks that are not in the table: name -> what it would take."""
    there = {short(network).lower() for network in table.among("network")}
    return "; ".join(text for name, text in wanted.items() if name not in there)
