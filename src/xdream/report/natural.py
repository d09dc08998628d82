"""Figures beside the evolution: the references with the best and the worst responses; every electrode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.images import references
from xdream.images.files import hwc, pixels_of
from xdream.images.references import References
from xdream.report.curves import Curves
from xdream.report.figure_style import BLUE, GREY, INK, VERMILION, WIDTH_IN, new_figure, style, write_figure
from xdream.report.spreads import Electrode, what_errors_are
from xdream.report.text_table import number
from xdream.store import Record

#: Photographs of each kind.
SHOWN = 9
#: Electrodes in a row of their figure, and in all.
COLUMNS, MOST_ELECTRODES = 6, 96


def figures(
    record: Record,
    plan: Plan,
    runs: Sequence[Curves],
    every: Sequence[Electrode],
    folder: Path,
    name: Callable[[str], str],
    notes: Sequence[str],
) -> tuple[list[Path], list[str]]:
    """Those that there can be; and what to say of those that are left out."""
    written, said = [], []
    several = len(record.runs()) > 1
    with style():
        for one in runs:
            if np.isfinite(one.references).sum() < 2:
                continue
            before = f"run{one.summary.run:03d}-" if several else ""
            try:
                written.append(_photographs(record, plan, one, folder / name(f"{before}references"), notes))
            except BadInput as error:
                said.append(f"the reference photographs are left out: {error}")
        if record.is_session:
            drawn = [one for one in every if one.evolved or one.references][:MOST_ELECTRODES]
            if drawn:
                void = set(record.void_generations())
                written.append(_electrodes(drawn, void, folder / name("electrodes"), plan.name, notes))
            if len(every) > MOST_ELECTRODES:
                said.append(f"the first {MOST_ELECTRODES} of {len(every)} electrodes are drawn")
    return written, said


def _photographs(record: Record, plan: Plan, run: Curves, path: Path, notes: Sequence[str]) -> Path:
    """The best and the worst, with their responses. Raises BadInput where the files are gone."""
    order = [i for i in np.argsort(-run.references, kind="stable") if np.isfinite(run.references[i])]
    count = min(SHOWN, len(order) // 2)
    rows = [("best", order[:count], VERMILION), ("worst", order[-count:][::-1], GREY)]
    s = run.summary
    target = f"{s.target} ({s.name})" if s.name else s.target
    title = f"{target}  ·  references with the best and the worst responses"
    each_in = WIDTH_IN / (SHOWN + 0.4)
    figure = new_figure(2 * (each_in + 0.35), title, notes)
    places = figure.add_gridspec(2, SHOWN)
    for row, (what, chosen, colour) in enumerate(rows):
        for column, reference in enumerate(chosen):
            axes = figure.add_subplot(places[row, column])
            axes.imshow(_pixels(record, plan, int(reference)))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_xlabel(number(float(run.references[reference]), 3), color=colour, labelpad=2)
            if column == 0:
                axes.set_ylabel(what, color=colour)
    return write_figure(figure, path)


def _pixels(record: Record, plan: Plan, reference: int) -> npt.NDArray[np.uint8]:
    """One reference as it was shown, or as its file is."""
    rows = record.query("SELECT pixels FROM planned WHERE reference = ? LIMIT 1", reference)
    kept = record.kept_image(rows[0][0]) if rows else None
    if kept is not None:
        return pixels_of(kept)
    if plan.references is None:
        raise BadInput("the plan has no references")
    names, hashes = zip(*record.references, strict=True)
    found = References(plan.references, references.place_of(plan.references), names, hashes)
    [image] = found.images([reference], plan.image_size_px or 128)
    return hwc(image)


def _electrodes(
    every: Sequence[Electrode], void: set[int], path: Path, name: str, notes: Sequence[str]
) -> Path:
    """Small multiples: the mean response to evolved images and to references, with its standard error over
    images, where there are several."""
    columns = min(COLUMNS, len(every))
    rows = math.ceil(len(every) / columns)
    evolved = what_errors_are(level for one in every for level in one.evolved)
    references = what_errors_are(level for one in every for level in one.references)
    said = f"mean {evolved}" if evolved == references else f"evolved: {evolved}; references: {references}"
    said = said.removeprefix("evolved: ") if not any(one.references for one in every) else said
    figure = new_figure(0.4 + 1.25 * rows, f"{name}  ·  response of every electrode", [*notes, said])
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for spare in axes.flat[len(every) :]:
        spare.set_visible(False)
    for at, (one, panel) in enumerate(zip(every, axes.flat, strict=False)):
        for levels, colour in ((one.evolved, BLUE), (one.references, VERMILION)):
            x = [_place(level.generation, void) for level in levels]
            y = np.array([level.mean for level in levels])
            error = np.array([level.error for level in levels])  # NaN, of one image, is not drawn
            panel.fill_between(x, y - error, y + error, color=colour, alpha=0.25, lw=0)
            panel.plot(x, y, color=colour, lw=1.0, marker=".", ms=2.0)
        panel.set_title(one.label, fontsize=7, color=INK, pad=2)
        if at + columns >= len(every):
            panel.set_xlabel("generation")
            panel.tick_params(labelbottom=True)
        if at % columns == 0:
            panel.set_ylabel("response")
    figure.text(0.99, 0.99, "evolved", color=BLUE, ha="right", va="top", fontsize=7)
    figure.text(0.93, 0.99, "references", color=VERMILION, ha="right", va="top", fontsize=7)
    return write_figure(figure, path)


def _place(generation: int, void: set[int]) -> int:
    """The number of a generation among those that count, from 1."""
    return generation + 1 - sum(one < generation for one in void)
