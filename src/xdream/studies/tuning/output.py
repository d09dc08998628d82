"""What a tuning says: a table of its evaluations, the best setting for a plan, a figure."""

from __future__ import annotations

import csv
import io
import itertools
import math
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from xdream.report.figure_style import BLUE, GREY, LIGHT, VERMILION, new_figure, style, write_figure
from xdream.report.text_table import number
from xdream.studies.tuning.results import Evaluation, Tuning
from xdream.studies.tuning.search import Parameter
from xdream.studies.tuning.tuning_folder import FIGURE_NAME, TABLE_NAME, replace

HOW = "below, of each parameter: dark, where it was tried, joined by round; light, all others; ring, the best"
TOP_IN, PANEL_IN, PANELS_IN_ROW = 2.3, 1.7, 3


def write_table(folder: Path, parameters: Sequence[Parameter], done: Sequence[Evaluation]) -> None:
    """OUT/evaluations.csv: one line per evaluation, in order. A value that is missing is left empty."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    settings = [f"optimizer.{parameter.name}" for parameter in parameters]
    lines.writerow(["evaluation", "round", "parameter", "step", *settings, "value", "best_so_far"])
    for one, best in zip(done, _best_so_far(done), strict=True):
        step = one.step if one.parameter else None
        values = [value if math.isfinite(value) else None for value in (one.value, best)]
        lines.writerow([one.number, one.round, one.parameter, step, *one.setting, *values])
    replace(folder / TABLE_NAME, text.getvalue())


def table_of(tuning: Tuning) -> Path:
    """Where the table of all evaluations is."""
    return tuning.folder / TABLE_NAME


def _best_so_far(done: Sequence[Evaluation]) -> list[float]:
    return list(itertools.accumulate((one.rank for one in done), max))


def said(tuning: Tuning) -> str:
    """For the terminal: what was searched, the best setting as lines for a plan, the units used."""
    start, best = tuning.evaluations[0], tuning.best
    rows = [("", "start", "best")]
    rows += [
        (parameter.name, f"{a:g}", f"{b:g}")
        for parameter, a, b in zip(tuning.parameters, start.setting, best.setting, strict=True)
    ]
    rows.append(("value", number(start.value), number(best.value)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]
    return "\n".join(
        [
            *lines,
            f"best: evaluation {best.number} of {len(tuning.evaluations)} (0 is the start), {_noise(tuning)}",
            f"value: {_value(tuning)}",
            "",
            tomli_w.dumps({"optimizer": _options(tuning)}),
            f"units used (do not report on these): {', '.join(_units(tuning))}",
            *(f"note: {note}" for note in tuning.notes),
        ]
    )


def as_json(tuning: Tuning) -> dict[str, Any]:
    """For `--json`; a value that is missing is None."""
    names = [parameter.name for parameter in tuning.parameters]

    def one(evaluation: Evaluation) -> dict[str, Any]:
        return {
            "evaluation": evaluation.number,
            "setting": dict(zip(names, evaluation.setting, strict=True)),
            "value": evaluation.value if math.isfinite(evaluation.value) else None,
        }

    return {
        "folder": str(tuning.folder),
        "generator": tuning.plan.generator.name,
        "optimizer": _options(tuning),
        "noisy": tuning.noisy,
        "start": one(tuning.evaluations[0]),
        "best": one(tuning.best),
        "evaluations": len(tuning.evaluations),
        "ended": tuning.ended,
        "units_used": _units(tuning),
        "scales": {
            scale.target: {"scale": scale.value, "of": "best reference" if scale.natural else "start"}
            for scale in tuning.scales
        },
        "table": str(table_of(tuning)),
        "notes": list(tuning.notes),
    }


def _options(tuning: Tuning) -> dict[str, Any]:
    return {"name": tuning.optimizer.name} | tuning.optimizer.options


def _units(tuning: Tuning) -> list[str]:
    return [scale.target for scale in tuning.scales]


def _noise(tuning: Tuning) -> str:
    plan = tuning.plan
    if plan.noise_spikes is not None:
        return f"with noise ({plan.noise_spikes:g} spikes)"
    if plan.noise_scale is not None:
        return f"with noise ({plan.noise_scale:g} spikes per unit of activation)"
    return "without noise"


def _value(tuning: Tuning) -> str:
    """What the values are."""
    by_start = [scale.target for scale in tuning.scales if not scale.natural]
    what = "best noise-free score of the last generation over that"
    if not by_start:
        scale = "of the unit's best reference"
    elif len(by_start) == len(tuning.scales):
        scale = "of the unit with the starting setting"
    else:
        scale = f"of the unit's best reference (without a positive one, of the start: {', '.join(by_start)})"
    return f"{what} {scale}, mean over {_runs(tuning)}"


def _runs(tuning: Tuning) -> str:
    units, seeds = len(tuning.scales), tuning.plan.runs
    return f"{units} unit{'s' * (units > 1)} x {seeds} seed{'s' * (seeds > 1)}"


# ------------------------------------------------------------------ the figure


def draw(tuning: Tuning) -> Path:
    """OUT/tuning.png: the best value over the evaluations; each parameter's settings and their values."""
    rows = -(-len(tuning.parameters) // PANELS_IN_ROW)
    plan = tuning.plan
    title = f"{plan.optimizer.name} on {plan.generator.name}, {_noise(tuning)}  ·  {_runs(tuning)}"
    units = f"units used (do not report on these): {', '.join(_units(tuning))}"
    notes = [textwrap.shorten(units, 390, placeholder=" …"), f"value: {_value(tuning)}", HOW, *tuning.notes]
    with style():
        figure = new_figure(TOP_IN + PANEL_IN * rows, title, notes)
        heights = [TOP_IN, *[PANEL_IN] * rows]
        places = figure.add_gridspec(rows + 1, PANELS_IN_ROW, height_ratios=heights)
        top = figure.add_subplot(places[0, :])
        _draw_course(top, tuning)
        for i in range(len(tuning.parameters)):
            row, column = divmod(i, PANELS_IN_ROW)
            axes = figure.add_subplot(places[row + 1, column], sharey=top)
            _draw_parameter(axes, tuning, i)
            axes.set_ylabel("value" if column == 0 else "")
    return write_figure(figure, tuning.folder / FIGURE_NAME)


def _draw_course(axes: Axes, tuning: Tuning) -> None:
    done, best = tuning.evaluations, tuning.best
    so_far = np.array(_best_so_far(done))
    so_far[~np.isfinite(so_far)] = np.nan
    axes.plot([one.number for one in done], [_finite(one) for one in done], ".", color=LIGHT, ms=5)
    axes.plot(so_far, color=BLUE, lw=1.6, drawstyle="steps-post")
    axes.plot(best.number, _finite(best), "o", mfc="white", mec=VERMILION, mew=1.2, ms=5)
    axes.set(xlabel="evaluation (0: the start)", ylabel="value")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for y, text, colour in ((0.18, "each evaluation", GREY), (0.1, "best so far", BLUE)):
        axes.text(0.99, y, text, transform=axes.transAxes, ha="right", color=colour, fontsize=7)
    text = f"best: {number(best.value)}"
    axes.text(0.99, 0.02, text, transform=axes.transAxes, ha="right", color=VERMILION, fontsize=7)


def _draw_parameter(axes: Axes, tuning: Tuning, i: int) -> None:
    """One parameter's settings: where it was tried, joined by round with the one held then; all others."""
    parameter, best = tuning.parameters[i], tuning.best
    others = [one for one in tuning.evaluations if one.parameter != parameter.name]
    axes.plot([o.setting[i] for o in others], [_finite(o) for o in others], ".", color=LIGHT, ms=5)
    rounds: dict[int, list[Evaluation]] = defaultdict(list)
    for one in tuning.evaluations:
        if one.parameter == parameter.name:
            rounds[one.round].append(one)
    for tried in rounds.values():
        held = max(tuning.evaluations[: tried[0].number], key=lambda one: one.rank)
        some = sorted([held, *tried], key=lambda one: one.setting[i])
        axes.plot([o.setting[i] for o in some], [_finite(o) for o in some], ".-", color=BLUE, lw=0.6, ms=5)
    axes.plot(best.setting[i], _finite(best), "o", mfc="none", mec=VERMILION, mew=1.2, ms=6)
    if not parameter.adds:
        axes.set_xscale("log")
        seen = [one.setting[i] for one in tuning.evaluations]
        ticks = sorted({min(seen), parameter.start, best.setting[i], max(seen)})
        apart = [a for a, b in zip(ticks, [*ticks[1:], math.inf], strict=True) if b > 1.15 * a]
        axes.set_xticks(apart, [f"{tick:g}" for tick in apart])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"{parameter.name} = {best.setting[i]:g} (start {parameter.start:g})")


def _finite(one: Evaluation) -> float:
    return one.value if math.isfinite(one.value) else math.nan
