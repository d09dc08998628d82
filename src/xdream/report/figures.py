"""The figures of a record: response curves, the images behind them, the best image pixel by pixel.

Generations are counted from 1 here (the store counts from 0), so that the last one's number is their count.
Equal records give equal bytes (see figure_style).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.images import files
from xdream.report import figure_style, natural
from xdream.report.curves import (
    Curves,
    curves_of,
    dot_size,
    draw_curves,
    draw_references,
    each_generation,
    label_beside,
    label_x,
    last_seen,
    score_label,
    spread_labels,
    with_spreads,
)
from xdream.report.figure_style import (
    COLOURS,
    INK,
    VERMILION,
    WIDTH_IN,
    new_figure,
    style,
)
from xdream.report.redraw import NOT_IDENTICAL, Panel, Redrawn, best_reference, redraw
from xdream.report.spreads import electrodes
from xdream.report.summary import RunSummary, notes_of, plan_of, recommended_of, summarise
from xdream.report.text_table import number
from xdream.report.threads import Thread, threads_of
from xdream.store import ImageRecord, Record
from xdream.text import counted

#: Runs of at most so many targets are told apart by colour.
MOST_COLOURS = 5

CURVE_IN, CAPTION_IN = 2.7, 0.4


@dataclass(frozen=True)
class RunFigures:
    """What was written of one run. montage, best, best_last_generation: None where images could not be drawn.

    figure: curve and montage in one.
    """

    run: int
    figure: Path
    response: Path
    montage: Path | None
    best: Path | None
    best_last_generation: Path | None


@dataclass(frozen=True)
class Figures:
    """What was written. overview: all runs in one, when there are several. beside: of references, electrodes.

    warnings: sentences on what is missing or is not as it was shown.
    """

    runs: tuple[RunFigures, ...]
    overview: Path | None
    warnings: tuple[str, ...]
    beside: tuple[Path, ...] = ()

    @property
    def main(self) -> Path:
        """The figure to look at first."""
        return self.overview or self.runs[0].figure


@dataclass(frozen=True)
class _Frame:
    """What all figures of a record have in common."""

    plan: Plan
    notes: tuple[str, ...]
    file_format: str = "png"

    def name(self, stem: str) -> str:
        """Of a figure's file."""
        return f"{stem}.{self.file_format}"


def show(
    record: Record,
    folder: Path | None = None,
    most_runs: int = 12,
    *,
    runs: Collection[int] | None = None,
    file_format: str = "png",
) -> Figures:
    """Draw a record, finished or not, into `folder` (default: `figures` in the record's).

    A single run gives figure.png, response.png, montage.png, best.png, best_last_generation.png and, where
    its optimizer recommends a code, recommended.png; several give these with run000- before the name for the
    first `most_runs` of them (or for `runs`, by number), and runs.png. Beside them references.png (the
    references with the best and the worst responses), threads.png where runs of several generators drive one
    target, and, of a session, electrodes.png. file_format: of the
    figures, png, pdf or svg; images stay PNG. Whatever the
    images need and is gone (weights, references) is left out with a warning. An image that does not come out
    bit for bit as it was shown is written as best_not_identical.png. Raises BadInput when no generation is
    complete yet, a run is not there or the folder cannot be written.
    """
    plan = plan_of(record)
    every = [curves_of(record, s) for s in summarise(record) if s.generations]
    if not every:
        raise BadInput(
            f"{record.folder} has no complete generation to show yet; wait for it, or go on with it: "
            f"xdream resume {record.folder}"
        )
    folder = record.folder / "figures" if folder is None else folder
    levels = electrodes(record, plan) if record.is_session else []
    chosen = _single(every, most_runs, runs, record)
    single = [with_spreads(record, one, plan, levels) for one in chosen]
    frame = _Frame(plan, notes_of(record), file_format)
    drawn, alarms = redraw(record, plan, [i for one in single for i in one.images])
    width = max(3, len(str(max(s.summary.run for s in every))))
    written = []
    with style():
        for one in single:
            before = f"run{one.summary.run:0{width}d}-" if len(record.runs()) > 1 else ""
            reference, missing = best_reference(record, plan, one.summary, drawn)
            alarms += [missing] if missing else []
            last = _recommended(record, one.summary, folder, before)
            written.append(_run_figures(one, reference, drawn, last, frame, folder, before))
        overview = _overview(every, plan, frame, folder / frame.name("runs")) if len(every) > 1 else None
    beside, said = natural.figures(record, plan, single, levels, folder, frame.name, frame.notes)
    if together := threads_of(record, [one.summary for one in every]):
        with style():
            beside.append(_threads(together, every, frame, folder / frame.name("threads")))
    alarms += [] if any("best reference is left out" in text for text in alarms) else said
    if runs is None and len(every) > most_runs:
        alarms.append(f"figures of single runs are drawn for the first {most_runs} of {len(every)}")
    return Figures(tuple(written), overview, tuple(dict.fromkeys(alarms)), tuple(beside))


def _single(
    every: Sequence[Curves], most_runs: int, runs: Collection[int] | None, record: Record
) -> list[Curves]:
    """The runs of which figures of their own are drawn. Raises BadInput for one that has none."""
    if runs is None or len(every) == 1:
        return list(every[:most_runs])
    there = {one.summary.run: one for one in every}
    for run in runs:
        if run not in there:
            raise BadInput(f"{record.folder} has no run {run} to show; it has {', '.join(map(str, there))}")
    return [there[run] for run in dict.fromkeys(runs)]


# ------------------------------------------------------------------ figures of one run


def _run_figures(
    curves: Curves,
    reference: Panel | None,
    drawn: dict[int, Redrawn],
    last: Panel | None,
    frame: _Frame,
    folder: Path,
    before: str,
) -> RunFigures:
    panels = [_panel(image, drawn[image.id], curves) for image in curves.images if image.id in drawn]
    panels += [last] if panels and last is not None else []
    reference = reference if panels else None
    row_in = _row_in(panels, reference)
    title, notes = _title(curves.summary), frame.notes

    figure = new_figure(CURVE_IN + row_in, title, notes)
    places = figure.add_gridspec(2, 1, height_ratios=[CURVE_IN, row_in or 1e-3])
    labels = draw_curves(
        figure.add_subfigure(places[0]).add_subplot(), curves, frame.plan, marks=bool(panels)
    )
    _montage(figure.add_subfigure(places[1]), panels, reference)
    spread_labels(figure, labels)
    whole = figure_style.write_figure(figure, folder / frame.name(f"{before}figure"))

    figure = new_figure(CURVE_IN, title, notes)
    spread_labels(figure, draw_curves(figure.add_subplot(), curves, frame.plan, marks=False))
    response = figure_style.write_figure(figure, folder / frame.name(f"{before}response"))

    montage = None
    if panels:
        figure = new_figure(row_in, title, notes)
        _montage(figure, panels, reference)
        montage = figure_style.write_figure(figure, folder / frame.name(f"{before}montage"))
    shown = [image for image in curves.images if image.id in drawn]
    ever = max(shown, key=lambda image: image.noise_free_score, default=None)
    return RunFigures(
        curves.summary.run,
        whole,
        response,
        montage,
        _save_image(ever, drawn, folder, f"{before}best", notes),
        _save_image(shown[-1] if shown else None, drawn, folder, f"{before}best_last_generation", notes),
    )


def _recommended(record: Record, summary: RunSummary, folder: Path, before: str) -> Panel | None:
    """The image of the recommended code, which is written, too; None where none was kept."""
    found = recommended_of(record).get(summary.run)
    png = record.kept_image(found["pixels"]) if found else None
    if png is None:
        return None
    files.write(folder / f"{before}recommended.png", png)
    return Panel(files.pixels_of(png), f"recommended\n{number(summary.recommended, 3)}")


def _title(s: RunSummary) -> str:
    target = s.target if len(s.target) <= 60 else f"{s.target[:28]}…{s.target[-31:]}"
    target = f"{target} ({s.name[:30]})" if s.name else target
    text = f"{target}  ·  {s.generator}, {s.optimizer}, seed {s.seed}"
    return text if s.finished else f"{text}  ·  unfinished, {s.generations} generations so far"


def _panel(image: ImageRecord, drawn: Redrawn, curves: Curves) -> Panel:
    best = image.generation == np.nanargmax(curves.best)
    caption = (
        f"generation {image.generation + 1}\n{number(image.noise_free_score, 3)}{' (best)' if best else ''}"
    )
    return Panel(drawn.pixels, caption if drawn.exact else f"{caption}\nnot bit-identical")


def _columns(panels: int, reference: bool) -> list[float]:
    """Widths: the images, a gap and the reference; blanks that keep a few images from growing too large."""
    beside = [0.1, 1.0] if reference else []
    return [1.0] * panels + beside + [1.0] * (5 - panels)


def _row_in(panels: Sequence[Panel], reference: Panel | None) -> float:
    if not panels:
        return 0.0
    return WIDTH_IN / sum(_columns(len(panels), reference is not None)) + CAPTION_IN


def _montage(figure: FigureBase, panels: Sequence[Panel], reference: Panel | None) -> None:
    widths = _columns(len(panels), reference is not None)
    places = figure.add_gridspec(1, len(widths), width_ratios=widths)
    placed = [(panel, column, INK) for column, panel in enumerate(panels)]
    if reference is not None:
        placed.append((reference, len(panels) + 1, VERMILION))
    for panel, column, colour in placed:
        axes = figure.add_subplot(places[column])
        axes.imshow(panel.pixels)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(panel.caption, color=colour, fontsize=7, labelpad=3)


# ------------------------------------------------------------------ all runs in one


def _overview(runs: Sequence[Curves], plan: Plan, frame: _Frame, path: Path) -> Path:
    """The best of each generation of every run, thin; medians bold, by target where these are few."""
    targets: dict[str, list[Curves]] = defaultdict(list)
    optimizers = sorted({curves.summary.optimizer for curves in runs})
    generators = sorted({curves.summary.generator for curves in runs})
    objectives = sorted({curves.summary.objective for curves in runs})
    for curves in runs:
        s = curves.summary
        unlike = [s.generator] * (len(generators) > 1) + [s.optimizer] * (len(optimizers) > 1)
        unlike += [s.objective] * (len(objectives) > 1)
        target = f"{s.target} ({s.name[:30]})" if s.name else s.target
        targets[", ".join([target, *unlike])].append(curves)
    relative = len(targets) > 1 and all((s.summary.best_reference or 0.0) > 0.0 for s in runs)
    together = {"": list(runs)} if len(targets) > MOST_COLOURS else targets
    count = max(len(curves.best) for curves in runs)
    first = [c.presentations[0] for c in runs]
    # A few missing answers do not make runs unlike.
    even = all(c.even for c in runs) and max(first) <= 1.2 * min(first)
    title = f"{len(runs)} runs of {counted(len({s.summary.target for s in runs}), 'target')}"
    if len(targets) == 1:
        title = f"{len(runs)} runs of {next(iter(targets))}"
    parts = ", ".join([*generators, *optimizers])
    figure = new_figure(CURVE_IN + 0.5, f"{title}  ·  {parts}", frame.notes)
    axes = figure.add_subplot()
    labels: list[Text | None] = []
    for (target, members), colour in zip(together.items(), COLOURS, strict=False):
        values = np.full((len(members), count), np.nan)
        for row, curves in enumerate(members):
            scale = curves.summary.best_reference if relative else 1.0
            values[row, : len(curves.best)] = curves.best / (scale or 1.0)
        name = target if len(together) > 1 else ""
        alike = even or all(np.array_equal(c.presentations, members[0].presentations) for c in members)
        x = np.full(count, np.nan)
        longest = max(members, key=lambda c: len(c.best))
        x[: len(longest.best)] = np.arange(1.0, count + 1) if even else longest.presentations
        if len(members) == 1:
            ok = members[0].valid
            of_run, scores = x[: len(ok)][ok], values[0, : len(ok)][ok]
            axes.plot(of_run, scores, color=colour, lw=1.2, marker=".", ms=dot_size(count))
            labels.append(label_beside(axes, last_seen(values[0]), name, colour))
            continue
        thin, alpha = (0.7, 0.45) if len(members) <= 30 else (0.5, 0.3)
        for curves, row_values in zip(members, values, strict=True):
            ok, n = curves.valid, len(curves.best)
            of_run = (x[:n] if even else curves.presentations)[ok]
            axes.plot(of_run, row_values[:n][ok], color=colour, lw=thin, alpha=alpha)
        if not alike:
            labels.append(label_beside(axes, last_seen(values[0]), name, colour))
            continue
        median = each_generation(np.median, list(values.T))
        seen = np.isfinite(median)
        axes.plot(x[seen], median[seen], color=colour, lw=2.2, marker=".", ms=dot_size(count))
        label = "\n".join(filter(None, (name, f"median of {len(members)} runs")))
        labels.append(label_beside(axes, last_seen(median), label, colour))
    if relative:
        axes.axhline(1.0, color=VERMILION, lw=1.0, zorder=1)
        labels.append(label_beside(axes, 1.0, "best reference of each target", VERMILION))
    elif len(targets) == 1:
        labels += draw_references(axes, runs[0].summary)
    what = f"best {score_label(plan, objectives[0])}" if len(objectives) == 1 else "best score"
    if relative:
        what = f"best {'response' if objectives == ['mean'] else 'score'} / best reference"
    axes.set(ylabel=what)
    label_x(axes, even, max(float(count if even else c.presentations[-1]) for c in runs))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    spread_labels(figure, [label for label in labels if label is not None])
    return figure_style.write_figure(figure, path)


def _threads(threads: Sequence[Thread], every: Sequence[Curves], frame: _Frame, path: Path) -> Path:
    """The mean of each generation of the threads of each target, on the same axes, with 95 % over images."""
    targets = list(dict.fromkeys(one.target for one in threads))
    title = f"threads of {counted(len(targets), 'target')}: mean of each generation (95 % over images)"
    figure = new_figure(CURVE_IN * len(targets), title, frame.notes)
    ylabel = f"mean {score_label(frame.plan, every[0].summary.objective)}"
    labels: list[Text | None] = []
    for axes, target in zip(figure.subplots(len(targets), 1, squeeze=False).flat, targets, strict=True):
        together = [one for one in threads if one.target == target]
        for one, colour in zip(together, itertools.cycle(COLOURS), strict=False):
            axes.fill_between(one.presentations, one.low, one.high, color=colour, alpha=0.2, lw=0)
            axes.plot(one.presentations, one.mean, color=colour, lw=1.4)
            count = f"\n({len(one.runs)} runs)" if len(one.runs) > 1 else ""
            labels.append(label_beside(axes, last_seen(one.mean), f"{one.name}{count}", colour))
        axes.set_title(target, loc="left", fontsize=8)
        axes.set(ylabel=ylabel, xlabel="presentations of each thread")
    spread_labels(figure, [label for label in labels if label is not None])
    return figure_style.write_figure(figure, path)


# ------------------------------------------------------------------ images


def _save_image(
    image: ImageRecord | None,
    drawn: dict[int, Redrawn],
    folder: Path,
    name: str,
    notes: Sequence[str],
) -> Path | None:
    """The pixels as they are, under a name that says whether they are those that were shown."""
    names = {True: folder / f"{name}.png", False: folder / f"{name}_not_identical.png"}
    for path in names.values():  # of an earlier look at the record
        path.unlink(missing_ok=True)
    if image is None:
        return None
    one = drawn[image.id]
    said = f"generation {image.generation + 1}, response {number(image.noise_free_score)}"
    description = "; ".join([said, *([] if one.exact else [NOT_IDENTICAL]), *notes])
    return files.write(names[one.exact], files.described_png(files.chw(one.pixels), description))
