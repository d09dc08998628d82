"""What the figures of studies have in common. Equal tables give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xdream.report.figure_style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    LIGHT,
    TITLE_IN,
    VERMILION,
    WIDTH_IN,
    add_notes,
    new_figure,
    style,
    write_figure,
)
from xdream.studies.base import Study, UnitGroup
from xdream.studies.statistics import interval
from xdream.studies.table import Table

__all__ = ["BLUE", "COLOURS", "GREY", "INK", "LIGHT", "PANEL_IN", "VERMILION", "WIDTH_IN", "draw", "strips"]

#: Height of a row of panels.
PANEL_IN = 2.3
#: What every figure of groups says below.
HOW = (
    "dots: units (mean of their seeds); bar: median, from 6 units on with its 95 % interval; "
    "diamond: published median"
)
MORE_COLOURS = (*COLOURS, "#56B4E9", "#F0E442", VERMILION)


def draw(study: Study, table: Table, path: Path) -> Path:
    """The figure of a study as a PNG. Raises BadInput."""
    with style():
        figure = new_figure(PANEL_IN - TITLE_IN, f"{study.name}: {study.question}")
        study.draw(figure, table.where(study=study.name))
    return write_figure(figure, path)


def below(figure: Figure, *texts: str) -> None:
    """Small print at the foot of a figure."""
    add_notes(figure, texts, columns=140)


def strips(axes: Axes, groups: Sequence[UnitGroup], label: str, bound: float | None = 1.0) -> None:
    """Units as dots, by depth along the axis and by condition in colour, with medians and their intervals."""
    depths = list(dict.fromkeys(group.depth for group in groups))
    conditions = list(dict.fromkeys(group.condition for group in groups))
    width = 0.8 / len(conditions)
    for group in groups:
        number = conditions.index(group.condition)
        colour = colour_of(number)
        x = depths.index(group.depth) + (number - (len(conditions) - 1) / 2) * width
        values = list(group.values.values())
        if values:
            spread = np.linspace(-0.28, 0.28, len(values)) * width if len(values) > 1 else [0.0]
            axes.plot(x + np.asarray(spread), values, ".", color=colour, alpha=0.45, ms=4, mew=0)
            found = interval(values)
            half = 0.38 * width
            axes.plot([x - half, x + half], [found.value] * 2, color=colour, lw=1.8)
            if not math.isnan(found.low):
                axes.plot([x, x], [found.low, found.high], color=colour, lw=0.9)
        if group.published is not None:
            axes.plot(x, group.published, "D", mfc="none", mec=INK, mew=0.7, ms=4)
    if bound is not None:
        axes.axhline(bound, color=LIGHT, lw=0.8, zorder=0)
    axes.set_xticks(range(len(depths)), depths)
    axes.set_ylabel(label)


def legend(axes: Axes, names: Sequence[str]) -> None:
    """Conditions in their colours, to the right of a panel."""
    handles = [Line2D([], [], color=colour_of(i), lw=2, label=name) for i, name in enumerate(names)]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        fontsize=6.5,
        frameon=False,
        borderaxespad=0,
    )


def colour_of(number: int) -> str:
    """Of a condition by its place."""
    return MORE_COLOURS[number % len(MORE_COLOURS)]


def by_network(figure: Figure, groups: Sequence[UnitGroup], label: str, bound: float | None = 1.0) -> None:
    """A panel of strips for each network, side by side, with one legend."""
    networks = list(dict.fromkeys(group.network for group in groups))
    conditions = list(dict.fromkeys(group.condition for group in groups))
    columns = min(len(networks), 2)
    rows = -(-len(networks) // columns)
    figure.set_size_inches(WIDTH_IN, 0.8 + PANEL_IN * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, network in zip(panels, networks, strict=False):
        strips(axes, [group for group in groups if group.network == network], label, bound)
        axes.set_title(network, fontsize=8, loc="left")
    for axes in panels[len(networks) :]:
        axes.set_axis_off()
    if len(conditions) > 1:
        legend(panels[columns - 1], conditions)
    published = any(group.published is not None for group in groups)
    below(figure, HOW if published else HOW.partition("; diamond")[0])
