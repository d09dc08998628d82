"""The figures of a record: response curves, the images behind them, the best image pixel by pixel.

Generations are counted from 1 here (the store counts from 0), so that the last one's number is their count.
Nothing in a figure depends on the time or on the user's matplotlib settings: equal records give equal bytes.
"""

from __future__ import annotations

import textwrap
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.report.redraw import NOT_IDENTICAL, Panel, Redrawn, best_reference, redraw
from xdream.report.summary import RunSummary, notes_of, plan_of, summarise
from xdream.report.text_table import number
from xdream.store import ImageRecord, Record

Array = npt.NDArray[np.float64]

#: Images of one run in its montage, beside the best ever and the best reference.
MONTAGE_GENERATIONS = 5
#: Runs of at most so many targets are told apart by colour.
MOST_COLOURS = 5

# Okabe & Ito's colours, which colour-blind readers tell apart.
BLUE, VERMILION, GREY, LIGHT, INK = "#0072B2", "#D55E00", "#757575", "#B5B5B5", "#333333"
COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", INK)
WIDTH_IN, CURVE_IN, CAPTION_IN, TITLE_IN, NOTE_IN = 7.2, 2.7, 0.4, 0.3, 0.13
STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # names of targets and files may hold dollar signs
    "savefig.dpi": 200,
}


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
    """What was written. overview: all runs in one, when there are several.

    warnings: sentences on what is missing or is not as it was shown.
    """

    runs: tuple[RunFigures, ...]
    overview: Path | None
    warnings: tuple[str, ...]

    @property
    def main(self) -> Path:
        """The figure to look at first."""
        return self.overview or self.runs[0].figure


@dataclass(frozen=True)
class _Story:
    """One run as it is drawn. best, mean, observed: (generations,), NaN where nothing was seen.

    observed: the mean with noise, None without. images: the best of some generations, in order.
    """

    summary: RunSummary
    best: Array
    mean: Array
    observed: Array | None
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class _Frame:
    """What all figures of a record have in common."""

    plan: Plan
    notes: tuple[str, ...]


def show(
    record: Record,
    folder: Path | None = None,
    most_runs: int = 12,
    *,
    runs: Collection[int] | None = None,
) -> Figures:
    """Draw a record, finished or not, into `folder` (default: `figures` in the record's).

    A single run gives figure.png, response.png, montage.png, best.png and best_last_generation.png; several
    give these with run000- before the name for the first `most_runs` of them (or for `runs`, by number),
    and runs.png. Whatever the images need and is gone (weights, references) is left out with a warning. An
    image that does not come out bit for bit as it was shown is written as best_not_identical.png. Raises
    BadInput when no generation is complete yet, a run is not there or the folder cannot be written.
    """
    stories = [_story(record, s) for s in summarise(record) if s.generations]
    if not stories:
        raise BadInput(
            f"{record.folder} has no complete generation to show yet; wait for it, or go on with it: "
            f"xdream resume {record.folder}"
        )
    folder = record.folder / "figures" if folder is None else folder
    single = _single(stories, most_runs, runs, record)
    plan = plan_of(record)
    frame = _Frame(plan, notes_of(record))
    drawn, alarms = redraw(record, plan, [i for story in single for i in story.images])
    width = max(3, len(str(max(s.summary.run for s in stories))))
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with matplotlib.style.context(STYLE, after_reset=True):
            for story in single:
                before = f"run{story.summary.run:0{width}d}-" if len(record.runs()) > 1 else ""
                reference, missing = best_reference(record, plan, story.summary, drawn)
                alarms += [missing] if missing else []
                written.append(_run_figures(story, reference, drawn, frame, folder, before))
            overview = _overview(stories, plan, frame, folder / "runs.png") if len(stories) > 1 else None
    except OSError as error:
        raise BadInput(f"figures cannot be written to {folder} ({error.strerror}); free it") from None
    if runs is None and len(stories) > most_runs:
        alarms.append(f"figures of single runs are drawn for the first {most_runs} of {len(stories)}")
    return Figures(tuple(written), overview, tuple(dict.fromkeys(alarms)))


def _single(
    stories: Sequence[_Story], most_runs: int, runs: Collection[int] | None, record: Record
) -> list[_Story]:
    """The runs of which figures of their own are drawn. Raises BadInput for one that has none."""
    if runs is None or len(stories) == 1:
        return list(stories[:most_runs])
    there = {story.summary.run: story for story in stories}
    for run in runs:
        if run not in there:
            raise BadInput(f"{record.folder} has no run {run} to show; it has {', '.join(map(str, there))}")
    return [there[run] for run in dict.fromkeys(runs)]


def log_spaced(count: int, most: int = MONTAGE_GENERATIONS) -> list[int]:
    """`most` generations of `count` (all when there are fewer), counted from 0: the first, the last, and
    log-spaced between as far as whole numbers allow."""
    chosen = [1]
    for left in range(most - 1, 0, -1):
        if chosen[-1] < count:
            step = (count / chosen[-1]) ** (1 / left)
            chosen.append(max(chosen[-1] + 1, round(chosen[-1] * step)))
    return [generation - 1 for generation in chosen]


# ------------------------------------------------------------------ what is drawn


def _story(record: Record, summary: RunSummary) -> _Story:
    clean = record.scores(summary.run)
    observed = record.scores(summary.run, noise_free=False)[: len(clean)]
    best = _each(np.nanmax, clean)
    noisy = any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(clean, observed, strict=True))
    generations = log_spaced(len(clean))
    if not np.isnan(best).all():
        generations = sorted({*generations, int(np.nanargmax(best))})
    images = [record.best_image(summary.run, g) for g in generations]
    return _Story(
        summary,
        best,
        _each(np.nanmean, clean),
        _each(np.nanmean, observed) if noisy else None,
        tuple(i for i in images if i is not None),
    )


def _each(function: Callable[[Array], Any], generations: Sequence[Array]) -> Array:
    """One number of each generation's finite scores; NaN where there is none."""
    finite = [scores[np.isfinite(scores)] for scores in generations]
    return np.array([function(scores) if scores.size else np.nan for scores in finite], dtype=np.float64)


def _axis(plan: Plan, objective: str) -> str:
    if objective == "minus-mean":
        return "score (minus the activation)" if plan.rig is None else "score (minus the response)"
    if objective != "mean":
        return f"score ({objective})"
    if all(target.network.startswith("match:") for target in plan.targets):
        return "response (minus mean squared difference)"
    return "response (activation)" if plan.rig is None else "response (as recorded)"


# ------------------------------------------------------------------ figures of one run


def _run_figures(
    story: _Story,
    reference: Panel | None,
    drawn: dict[int, Redrawn],
    frame: _Frame,
    folder: Path,
    before: str,
) -> RunFigures:
    panels = [_panel(image, drawn[image.id], story) for image in story.images if image.id in drawn]
    reference = reference if panels else None
    row_in = _row_in(panels, reference)
    title, notes = _title(story.summary), frame.notes

    figure = _figure(CURVE_IN + row_in, title, notes)
    places = figure.add_gridspec(2, 1, height_ratios=[CURVE_IN, row_in or 1e-3])
    labels = _curve(figure.add_subfigure(places[0]).add_subplot(), story, frame, marks=bool(panels))
    _montage(figure.add_subfigure(places[1]), panels, reference)
    _spread(figure, labels)
    whole = _save(figure, folder / f"{before}figure.png")

    figure = _figure(CURVE_IN, title, notes)
    _spread(figure, _curve(figure.add_subplot(), story, frame, marks=False))
    response = _save(figure, folder / f"{before}response.png")

    montage = None
    if panels:
        figure = _figure(row_in, title, notes)
        _montage(figure, panels, reference)
        montage = _save(figure, folder / f"{before}montage.png")
    shown = [image for image in story.images if image.id in drawn]
    ever = max(shown, key=lambda image: image.noise_free_score, default=None)
    return RunFigures(
        story.summary.run,
        whole,
        response,
        montage,
        _save_image(ever, drawn, folder, f"{before}best", notes),
        _save_image(shown[-1] if shown else None, drawn, folder, f"{before}best_last_generation", notes),
    )


def _title(s: RunSummary) -> str:
    target = s.target if len(s.target) <= 60 else f"{s.target[:28]}…{s.target[-31:]}"
    text = f"{target}  ·  {s.generator}, {s.optimizer}, seed {s.seed}"
    return text if s.finished else f"{text}  ·  unfinished, {s.generations} generations so far"


def _panel(image: ImageRecord, drawn: Redrawn, story: _Story) -> Panel:
    best = image.generation == np.nanargmax(story.best)
    caption = (
        f"generation {image.generation + 1}\n{number(image.noise_free_score, 3)}{' (best)' if best else ''}"
    )
    return Panel(drawn.pixels, caption if drawn.exact else f"{caption}\nnot bit-identical")


def _curve(axes: Axes, story: _Story, frame: _Frame, *, marks: bool) -> list[Text]:
    """Best and mean over generations, references as lines; the labels that stand beside them."""
    s, count = story.summary, len(story.best)
    x = np.arange(1, count + 1)
    labels = []
    if story.observed is not None:
        axes.plot(x, story.observed, color=LIGHT, lw=0.8, marker=".", ms=_dot(count))
        labels.append(_label(axes, _last(story.observed), "mean as observed", LIGHT))
    axes.plot(x, story.mean, color=GREY, lw=1.0, marker=".", ms=_dot(count))
    labels.append(_label(axes, _last(story.mean), "mean of the generation", GREY))
    axes.plot(x, story.best, color=BLUE, lw=1.6, marker=".", ms=_dot(count))
    labels.append(_label(axes, _last(story.best), "best of the generation", BLUE))
    if marks:
        at = [image.generation for image in story.images]
        axes.plot(x[at], story.best[at], "o", mfc="white", mec=BLUE, mew=1.0, ms=4.0)
    labels += _reference_lines(axes, s)
    if np.isnan(story.best).all():
        axes.text(0.5, 0.5, "no response was seen", transform=axes.transAxes, ha="center")
    axes.set(xlabel="generation", ylabel=_axis(frame.plan, s.objective), xlim=_x_limits(count))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    each = s.presentations / s.generations
    if each > 0:
        top = axes.secondary_xaxis("top", functions=(partial(np.multiply, each), partial(_divided, each)))
        top.set_xlabel("presentations")
    return [label for label in labels if label is not None]


def _reference_lines(axes: Axes, s: RunSummary) -> list[Text | None]:
    if s.best_reference is None or not np.isfinite(s.best_reference):
        return []
    axes.axhline(s.best_reference, color=VERMILION, lw=1.0, zorder=1)
    count = f"best of {s.references:,} references" if s.references > 1 else "the only reference"
    labels = [_label(axes, s.best_reference, count, VERMILION)]
    expected = s.expected_best_reference
    if expected is not None and np.isfinite(expected) and s.presentations < s.references:
        axes.axhline(expected, color=VERMILION, lw=1.0, zorder=1, ls=(0, (4, 2)))
        labels.append(_label(axes, expected, f"expected best of\n{s.presentations:,} of these", VERMILION))
    return labels


def _divided(by: float, values: Array) -> Array:
    return values / by


def _dot(count: int) -> float:
    """The size of a point: single ones must be seen, many must not."""
    return 4.0 if count <= 40 else 0.0


def _x_limits(count: int) -> tuple[float, float]:
    margin = 0.02 * (count - 1) or 0.5
    return 1 - margin, count + margin


def _last(curve: Array) -> float:
    seen = curve[~np.isnan(curve)]
    return float(seen[-1]) if seen.size else float("nan")


def _label(axes: Axes, y: float, text: str, colour: str) -> Text | None:
    """A text to the right of the axes, to be moved to its height by `_spread`."""
    if np.isnan(y):
        return None
    colour = GREY if colour == LIGHT else colour
    return axes.annotate(
        text, (1.0, y), (5, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
        va="center", color=colour, fontsize=7, annotation_clip=False,
    )  # fmt: skip


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


def _overview(stories: Sequence[_Story], plan: Plan, frame: _Frame, path: Path) -> Path:
    """The best of each generation of every run, thin; medians bold, by target where these are few."""
    targets: dict[str, list[_Story]] = defaultdict(list)
    optimizers = sorted({story.summary.optimizer for story in stories})
    objectives = sorted({story.summary.objective for story in stories})
    for story in stories:
        s = story.summary
        unlike = [s.optimizer] * (len(optimizers) > 1) + [s.objective] * (len(objectives) > 1)
        targets[", ".join([s.target, *unlike])].append(story)
    relative = len(targets) > 1 and all((s.summary.best_reference or 0.0) > 0.0 for s in stories)
    together = {"": list(stories)} if len(targets) > MOST_COLOURS else targets
    count = max(len(story.best) for story in stories)
    x = np.arange(1, count + 1)
    title = f"{len(stories)} runs of {_counted(len({s.summary.target for s in stories}), 'target')}"
    if len(targets) == 1:
        title = f"{len(stories)} runs of {next(iter(targets))}"
    figure = _figure(
        CURVE_IN + 0.5, f"{title}  ·  {plan.generator.name}, {', '.join(optimizers)}", frame.notes
    )
    axes = figure.add_subplot()
    labels: list[Text | None] = []
    for (target, members), colour in zip(together.items(), COLOURS, strict=False):
        curves = np.full((len(members), count), np.nan)
        for row, story in enumerate(members):
            scale = story.summary.best_reference if relative else 1.0
            curves[row, : len(story.best)] = story.best / (scale or 1.0)
        name = target if len(together) > 1 else ""
        if len(members) == 1:
            axes.plot(x, curves[0], color=colour, lw=1.2, marker=".", ms=_dot(count))
            labels.append(_label(axes, _last(curves[0]), name, colour))
            continue
        thin = 0.7 if len(members) <= 30 else 0.5
        axes.plot(x, curves.T, color=colour, lw=thin, alpha=0.45 if len(members) <= 30 else 0.3)
        median = _each(np.median, list(curves.T))
        axes.plot(x, median, color=colour, lw=2.2, marker=".", ms=_dot(count))
        label = "\n".join(filter(None, (name, f"median of {len(members)} runs")))
        labels.append(_label(axes, _last(median), label, colour))
    if relative:
        axes.axhline(1.0, color=VERMILION, lw=1.0, zorder=1)
        labels.append(_label(axes, 1.0, "best reference of each target", VERMILION))
    elif len(targets) == 1:
        labels += _reference_lines(axes, stories[0].summary)
    what = f"best {_axis(plan, objectives[0])}" if len(objectives) == 1 else "best score"
    if relative:
        what = f"best {'response' if objectives == ['mean'] else 'score'} / best reference"
    axes.set(xlabel="generation", xlim=_x_limits(count), ylabel=what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _spread(figure, [label for label in labels if label is not None])
    return _save(figure, path)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


# ------------------------------------------------------------------ paper and ink


def _figure(height_in: float, title: str, notes: Sequence[str]) -> Figure:
    small = "\n".join(textwrap.fill(note, 130) for note in notes)
    lines = len(small.splitlines())
    figure = Figure(figsize=(WIDTH_IN, height_in + TITLE_IN + NOTE_IN * lines), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left")
    if small:
        figure.supxlabel(small, x=0.01, ha="left", fontsize=6.5, color=GREY)
    return figure


def _spread(figure: Figure, labels: Sequence[Text]) -> None:
    """Move labels up or down, as little as may be (least squares), until none lies on another."""
    with _quiet():
        figure.draw_without_rendering()
    boxes = sorted(((label, label.get_window_extent()) for label in labels), key=lambda pair: pair[1].y0)
    heights = [box.height * 1.1 for _, box in boxes]
    apart = np.cumsum([0.0, *((a + b) / 2 for a, b in pairwise(heights))])
    pools: list[list[float]] = []  # of neighbours that touch: isotonic regression on what is left free
    for (_, box), distance in zip(boxes, apart, strict=False):
        pools.append([(box.y0 + box.y1) / 2 - distance])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    free = [float(np.mean(pool)) for pool in pools for _ in pool]
    figure.set_layout_engine("none")  # what it found stays
    for (label, box), at, distance in zip(boxes, free, apart, strict=False):
        moved_pt = (at + distance - (box.y0 + box.y1) / 2) * 72.0 / figure.dpi
        label.set_position((label.get_position()[0], label.get_position()[1] + moved_pt))


def _save(figure: Figure, path: Path) -> Path:
    with _quiet():
        figure.savefig(path, format="png", metadata={"Software": None})
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes, without a warning for each letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


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
    about = PngInfo()
    said = f"generation {image.generation + 1}, response {number(image.noise_free_score)}"
    about.add_text("Description", "; ".join([said, *([] if one.exact else [NOT_IDENTICAL]), *notes]))
    Image.fromarray(one.pixels).save(names[one.exact], pnginfo=about)
    return names[one.exact]
