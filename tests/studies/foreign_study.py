"""A study as another package brings it: everything in one file."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from xdream.description import Part
from xdream.studies import (
    Claim,
    Condition,
    Finding,
    Size,
    StudyPlan,
    Table,
    TableRow,
    UnitGroup,
    Work,
    drawing,
    evolved_rows,
    groups_of,
)

LARGER = Claim("populations", "a larger population is better", "", "its median is above that of the smaller")


class Populations:
    """Populations of 5 and of 10 images with the same number of presentations."""

    name = "populations"
    question = "is a small or a large population better for the same number of presentations?"
    figure_of = ""
    sample = "units"
    measure = "relative activation"
    layers = ("late",)
    generators = ("natural-v1",)
    sizes = {  # noqa: RUF012 (as a reader of the documentation writes it)
        "tiny": Size(units=1, seeds=1, presentations=40),
        "small": Size(units=2, seeds=1, presentations=80),
        "paper": Size(units=4, seeds=2, presentations=400),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        return tuple(
            Condition(f"population {n}", plan.generators[0], Part(name="genetic", population=n))
            for n in (5, 10)
        )

    def rows(self, work: Work) -> Iterator[TableRow]:
        yield from evolved_rows(work, self.conditions(work.plan))

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        yield from groups_of(table, self.measure)

    def findings(self, table: Table) -> Iterator[Finding]:
        yield LARGER.untestable("one unit says nothing")

    def draw(self, figure: Figure, table: Table) -> None:
        drawing.by_network(figure, list(self.groups(table)), self.measure)
