"""Fig S2 of the journal version, S2 of the preprint: given images recovered, with and without gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from xdream.errors import BadInput
from xdream.generators.cards import SHIPPED
from xdream.images.files import hwc
from xdream.report.text_table import number
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, networks_and_depths
from xdream.studies.claims import Claim, Finding, below
from xdream.studies.image_recovery import DETAIL, FEATURE, IMAGE, ORIGINAL, PIXEL, STEPS, Recovery, chosen
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Work
from xdream.studies.statistics import interval
from xdream.studies.table import PixelArray, Table, TableRow, image_text, pixels_of

LOSSES, SEARCHES = ("pixel", "feature"), ("gradient", "genetic")
#: Every condition by its loss and what makes the loss small.
CONDITIONS = tuple(f"{loss}, {search}" for loss in LOSSES for search in SEARCHES)
#: Of the published search.
PRESENTATIONS = 10_000
#: The gradient has recovered an image whose error is below this part of the start's.
RECOVERED = 0.5

TOO_FEW = "too few images: the interval holds the bound"


def _claim(text: str, criterion: str) -> Claim:
    return Claim("expressiveness", text, "shown, without figures", criterion)


_START = "the error of the generator's centre image"
RECOVERY = {
    "pixel, gradient": _claim(
        "arbitrary images can be recovered approximately by minimising a pixel loss",
        f"the median pixel error is below half of {_START}, with its interval",
    ),
    "pixel, genetic": _claim(
        "the gradient-free search recovers them through a pixel loss, too",
        f"the median pixel error is below {_START}, with its interval",
    ),
    "feature, gradient": _claim(
        "arbitrary images can be recovered approximately by minimising a loss in a middle layer",
        f"the median error in the layer is below half of {_START}, with its interval",
    ),
    "feature, genetic": _claim(
        "the gradient-free search recovers them through a loss in a middle layer, too",
        f"the median error in the layer is below {_START}, with its interval",
    ),
}
_DETAIL_CRITERION = (
    "by gradient, which comes nearest to the least loss, the median power of fine detail (beyond a quarter "
    "of the Nyquist frequency) is below that of the original images, with its interval"
)
SMOOTH = {
    "pixel": _claim("what a pixel loss recovers is too smooth", _DETAIL_CRITERION),
    "feature": _claim("what a loss in a middle layer recovers has lost fine detail", _DETAIL_CRITERION),
}


class Expressiveness:
    """What a generator can express, and how much of it a search finds."""

    name = "expressiveness"
    question = "can given images be recovered, and without gradients?"
    figure_of = "S2"
    sample = "images"
    measure = "error relative to the start"
    layers: tuple[str, ...] = ("middle",)
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {  # units: images
        "tiny": Size(units=1, seeds=1, presentations=200),
        "small": Size(units=6, seeds=1, presentations=2_500),
        "paper": Size(units=20, seeds=1, presentations=PRESENTATIONS),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The genetic algorithm with each loss, of each image; the gradient is no evolution."""
        first = plan.generators[0]
        if not plan.generator(first).differentiable:
            raise BadInput(
                f"generator '{first.name}' has no gradients, which this study compares with the search; give "
                "one that has"
            )
        return tuple(Condition(f"{loss}, genetic", first) for loss in LOSSES)

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every image; through pixels in the first shard only, as that knows nothing of networks."""
        recovery = Recovery(work)
        for original in recovery.originals:
            yield work.row(ORIGINAL, unit=original.unit, image=image_text(hwc(original.pixels)))
        if work.shard.number == 1:
            yield from recovery.through_pixels()
        yield from recovery.through_features()

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """The error that was minimised."""
        for condition in CONDITIONS:
            some = table.where(condition=condition)
            for network, depth in networks_and_depths(some):
                here = some.where(network=network, depth=depth)
                yield UnitGroup(condition, network, depth, here.by_unit(_error(condition)))

    def findings(self, table: Table) -> Iterator[Finding]:
        """Of each network by itself; through pixels of the first."""
        for loss in LOSSES:
            conditions = tuple(f"{loss}, {search}" for search in SEARCHES)
            for network in table.where(condition=conditions).among("network"):
                yield from _findings(loss, network, table.where(network=network))

    def draw(self, figure: Figure, table: Table) -> None:
        """The images and what was recovered of them; below, when there are several, their measures."""
        grid = _Grid(tuple(_lines(table)))
        if not grid.images:
            return
        heights = [grid.height_in] + [drawing.PANEL_IN] * (grid.images > 1)
        figure.set_size_inches(drawing.WIDTH_IN, 0.6 + sum(heights))
        parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).ravel()
        grid.draw(parts[0])
        for part in parts[1:]:
            _draw_measures(part, list(self.groups(table)), table)
        images = len(table.where(measure=ORIGINAL).among("unit"))
        drawing.below(
            figure,
            "error: of pixels, or in the layer, whichever was minimised, over that of the generator's centre "
            "image; detail: power beyond a quarter of the Nyquist frequency, over the original's"
            + (f"; {grid.images} of {images} images are shown" if images > grid.images else ""),
            "dots: images; bar: median, with its 95 % interval" if grid.images > 1 else "",
        )


def _error(condition: str) -> str:
    """The measure that a condition minimises."""
    return PIXEL if condition.startswith("pixel") else FEATURE


def _findings(loss: str, network: str, table: Table) -> Iterator[Finding]:
    details = {}
    for search in SEARCHES:
        condition = f"{loss}, {search}"
        some = table.where(condition=condition)
        error = interval(some.values(_error(condition)))
        holds = below(error, RECOVERED if search == "gradient" else 1.0)
        short = _short(some, search)
        if short and not holds:  # more might do
            holds = None
        yield RECOVERY[condition].on(network, f"{error} of the start's", holds, short or TOO_FEW)
        details[search] = interval(some.values(DETAIL))
    ours = ", ".join(f"{search} {detail}" for search, detail in details.items())
    # After few steps nothing has much detail yet.
    short = _short(table.where(condition=f"{loss}, gradient"), "gradient")
    holds = None if short else below(details["gradient"], 1.0)
    yield SMOOTH[loss].on(network, ours, holds, short or TOO_FEW)


def _short(table: Table, search: str) -> str:
    """What to say of fewer steps or presentations than the published ones."""
    measure, published = ("steps", STEPS) if search == "gradient" else ("presentations", PRESENTATIONS)
    shown = min((row.value for row in table.where(measure=measure).rows), default=math.inf)
    # Generations need not fit evenly into the presentations.
    return (
        "" if shown > 0.98 * published else f"too short: {shown:,.0f} {measure}, the paper had {published:,}"
    )


# ------------------------------------------------------------------ the figure

#: Images side by side; so few are shown one below the other, with what was recovered beside them.
MOST_SHOWN, FEW_SHOWN = 8, 3
_CAPTION_IN, _HEAD_IN, _TITLE_IN = 0.27, 1.15, 0.4


@dataclass(frozen=True)
class _Line:
    """The same of every image: the originals, or what one condition recovered. cells: (pixels, caption)."""

    name: str
    cells: tuple[tuple[PixelArray, str] | None, ...]


def _shown(table: Table) -> list[str]:
    units = table.where(measure=ORIGINAL).among("unit")
    return [units[index] for index in chosen(MOST_SHOWN, len(units))] if units else []


def _lines(table: Table) -> list[_Line]:
    units = _shown(table)
    originals = {
        row.unit: (pixels_of(row.image), f"image {row.unit}") for row in table.where(measure=ORIGINAL).rows
    }
    lines = [_Line("original", tuple(originals[unit] for unit in units))]
    for loss in LOSSES:
        alike = table.where(condition=tuple(f"{loss}, {search}" for search in SEARCHES))
        for network, layer, condition in dict.fromkeys((r.network, r.layer, r.condition) for r in alike.rows):
            here = alike.where(network=network, layer=layer, condition=condition)
            here = here.where(seed=here.rows[0].seed)
            images = {row.unit: pixels_of(row.image) for row in here.where(measure=IMAGE).rows}
            error, detail = (
                {unit: value for (_, _, unit), value in here.by_unit(measure).items()}
                for measure in (_error(condition), DETAIL)
            )
            cells = (
                (
                    images[unit],
                    f"error {number(error.get(unit), 2)}\ndetail {number(detail.get(unit), 2)}",
                )
                if unit in images
                else None
                for unit in units
            )
            where = "pixel loss" if loss == "pixel" else f"{network}\n{layer}"
            lines.append(_Line(f"{where}\n{condition.removeprefix(loss + ', ')}", tuple(cells)))
    return lines


@dataclass(frozen=True)
class _Grid:
    """How lines are laid out: each in a row, or, where there are few images, in a column."""

    lines: tuple[_Line, ...]

    @property
    def images(self) -> int:
        return len(self.lines[0].cells)

    @property
    def turned(self) -> bool:
        return self.images <= FEW_SHOWN

    @property
    def rows(self) -> int:
        return self.images if self.turned else len(self.lines)

    @property
    def columns(self) -> int:
        """Blank ones included, which keep a few images from growing too large."""
        return max(len(self.lines) if self.turned else self.images, 5 if self.turned else 6)

    @property
    def image_in(self) -> float:
        return (drawing.WIDTH_IN - (0.0 if self.turned else _HEAD_IN)) / self.columns

    @property
    def height_in(self) -> float:
        return self.rows * (self.image_in + _CAPTION_IN) + (_TITLE_IN if self.turned else 0.0)

    def draw(self, part: SubFigure) -> None:
        """Names, images, captions."""
        heads = [] if self.turned else [_HEAD_IN / self.image_in]
        widths = [*heads, *[1.0] * self.columns]
        places = part.add_gridspec(self.rows, len(widths), width_ratios=widths)
        for number_of_line, line in enumerate(self.lines):
            if not self.turned:
                head = part.add_subplot(places[number_of_line, 0])
                head.set_axis_off()
                head.text(1.0, 0.5, line.name, ha="right", va="center", fontsize=7, transform=head.transAxes)
            for image, cell in enumerate(line.cells):
                place = (image, number_of_line) if self.turned else (number_of_line, image + 1)
                axes = part.add_subplot(places[place])
                if self.turned and image == 0:
                    axes.set_title(line.name, fontsize=7, linespacing=1.1)
                _draw_cell(axes, cell)


def _draw_cell(axes: Axes, cell: tuple[PixelArray, str] | None) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if cell is not None:
        axes.imshow(cell[0])
        axes.set_xlabel(cell[1], fontsize=6, labelpad=2, linespacing=1.1)


def _draw_measures(part: SubFigure, groups: Sequence[UnitGroup], table: Table) -> None:
    """Every image as a dot: its error, and its fine detail."""
    left, right = part.subplots(1, 2)
    renamed = [
        replace(one, condition=one.network, depth=one.condition.replace(", ", ",\n")) for one in groups
    ]
    drawing.strips(left, renamed, "error / start's error", 1.0)
    details = [
        replace(one, values=table.by_unit(DETAIL, condition=condition, network=one.condition))
        for one, condition in zip(renamed, (group.condition for group in groups), strict=True)
    ]
    drawing.strips(right, details, "fine detail / original's", 1.0)
    for axes in (left, right):
        axes.set_ylim(bottom=0.0)
    names = dict.fromkeys(one.condition for one in renamed)
    if len(names) > 1:
        handles = [
            Line2D([], [], color=drawing.colour_of(place), lw=2, label=name)
            for place, name in enumerate(names)
        ]
        left.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(names), frameon=False,
            fontsize=6.5,
        )  # fmt: skip
