"""Response curves: what is known of a run over its generations, drawn with labels beside the curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from xdream.experiment.plan import DEFAULT_OBJECTIVE, Plan
from xdream.report.figure_style import BLUE, GREY, LIGHT, VERMILION, quiet
from xdream.report.spreads import Electrode, Level, bootstrap, drift_of_references, repeat_error
from xdream.report.summary import RunSummary, reference_scores
from xdream.scoring.objectives import OBJECTIVES
from xdream.store import ImageRecord, Record
from xdream.subjects import SUBJECTS

Array = npt.NDArray[np.float64]

#: Images of one run in its montage, beside the best ever and the best reference.
MONTAGE_GENERATIONS = 5


@dataclass(frozen=True)
class Curves:
    """One run as it is drawn. best, mean, observed: (generations,), NaN where nothing was seen.

    observed: the mean with noise, None without.
    even: whether every generation has as many presentations, and all count. presentations: (generations,)
    shown until the end of each, those that do not count left out. valid: which count. references: (N,)
    scores. scores: of the images of each generation. Of a run that is drawn by itself (`with_spreads`)
    images: the best of some generations, in order; drift: of interleaved references; errors: of images, over
    repeats, by their ids.
    """

    summary: RunSummary
    best: Array
    mean: Array
    observed: Array | None
    images: tuple[ImageRecord, ...]
    presentations: Array
    valid: npt.NDArray[np.bool_]
    references: Array
    scores: tuple[Array, ...]
    even: bool = True
    drift: tuple[Level, ...] = ()
    errors: Mapping[int, float] = field(default_factory=dict)

    @property
    def x(self) -> Array:
        """Where each generation stands: its number from 1; presentations where generations are unlike."""
        return np.arange(1.0, len(self.best) + 1) if self.even else self.presentations


def curves_of(record: Record, summary: RunSummary) -> Curves:
    """What is drawn of one run."""
    clean = record.scores(summary.run)
    observed = record.scores(summary.run, noise_free=False)[: len(clean)]
    noisy = any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(clean, observed, strict=True))
    void = set(record.void_generations())
    valid = np.array([number not in void for number in range(len(clean))], dtype=bool)
    shown = np.array([len(scores) for scores in clean]) * valid
    repeats = summary.presentations / max(int(shown.sum()), 1)
    run = next(one for one in record.runs() if one.id == summary.run)
    return Curves(
        summary,
        each_generation(np.nanmax, clean),
        each_generation(np.nanmean, clean),
        each_generation(np.nanmean, observed) if noisy else None,
        (),
        np.cumsum(shown) * repeats,
        valid,
        reference_scores(record, run),
        tuple(clean),
        len({len(scores) for scores in clean}) <= 1 and bool(valid.all()),
    )


def with_spreads(record: Record, curves: Curves, plan: Plan, every: Sequence[Electrode]) -> Curves:
    """The same with what takes longer. every: the electrodes of a session."""
    images = _images_of(record, curves)
    errors = {} if record.is_session else {i.id: repeat_error(record, i.id) for i in images}
    return replace(curves, images=images, drift=drift(record, curves.summary, plan, every), errors=errors)


def _images_of(record: Record, curves: Curves) -> tuple[ImageRecord, ...]:
    """The best images of some generations, the first, the last and the best among them."""
    counting = np.flatnonzero(curves.valid).tolist()
    generations = {counting[at] for at in log_spaced(len(counting))} if counting else set()
    if not np.isnan(curves.best).all():
        generations.add(int(np.nanargmax(curves.best)))
    found = [record.best_image(curves.summary.run, g) for g in sorted(generations)]
    return tuple(one for one in found if one is not None)


def drift(record: Record, summary: RunSummary, plan: Plan, every: Sequence[Electrode]) -> tuple[Level, ...]:
    """Of the references that were interleaved, where scores are responses as they came."""
    if summary.objective != DEFAULT_OBJECTIVE:
        return ()
    if not record.is_session:
        return drift_of_references(record, summary.run)
    channel, how = summary.target.rpartition(":")[2], plan.responses
    plain = how.zscore_blocks is None and how.baseline != "overall" and not plan.variants
    if not plain or not channel.isdigit():
        return ()
    return every[int(channel)].references


def each_generation(function: Callable[[Array], Any], generations: Sequence[Array]) -> Array:
    """One number of each generation's finite scores; NaN where there is none."""
    finite = [scores[np.isfinite(scores)] for scores in generations]
    return np.array([function(scores) if scores.size else np.nan for scores in finite], dtype=np.float64)


def score_label(plan: Plan, objective: str) -> str:
    """What stands beside the axis of the scores."""
    networks = {target.network for target in plan.targets}
    # A network's own subject declares nothing; it is not imported for that.
    kinds = {
        SUBJECTS.declared(n, "response", "activation") if SUBJECTS.has(n) else "activation" for n in networks
    }
    label: str = OBJECTIVES.declared(objective, "label", f"score ({objective})")
    return label.format(response=" or ".join(sorted(kinds)))


def log_spaced(count: int, most: int = MONTAGE_GENERATIONS) -> list[int]:
    """`most` generations of `count` (all when there are fewer), counted from 0: the first, the last, and
    log-spaced between as far as whole numbers allow."""
    chosen = [1]
    for left in range(most - 1, 0, -1):
        if chosen[-1] < count:
            step = (count / chosen[-1]) ** (1 / left)
            chosen.append(max(chosen[-1] + 1, round(chosen[-1] * step)))
    return [generation - 1 for generation in chosen]


# ------------------------------------------------------------------ drawing


def draw_curves(axes: Axes, curves: Curves, plan: Plan, *, marks: bool) -> list[Text]:
    """Best and mean over generations, references as lines; the labels that stand beside them."""
    s, ok = curves.summary, curves.valid
    x, count = curves.x[ok], int(ok.sum())
    labels = []
    if curves.observed is not None:
        axes.plot(x, curves.observed[ok], color=LIGHT, lw=0.8, marker=".", ms=dot_size(count))
        labels.append(label_beside(axes, last_seen(curves.observed), "mean as observed", LIGHT))
    low, high = bootstrap(curves.scores)
    axes.fill_between(x, low[ok], high[ok], color=GREY, alpha=0.25, lw=0)
    axes.plot(x, curves.mean[ok], color=GREY, lw=1.0, marker=".", ms=dot_size(count))
    labels.append(
        label_beside(axes, last_seen(curves.mean), "mean of the generation\n(95 % over images)", GREY)
    )
    axes.plot(x, curves.best[ok], color=BLUE, lw=1.6, marker=".", ms=dot_size(count))
    labels.append(label_beside(axes, last_seen(curves.best), "best of the generation", BLUE))
    if marks:
        at = [image.generation for image in curves.images]
        errors = [curves.errors.get(image.id, np.nan) for image in curves.images]
        axes.plot(curves.x[at], curves.best[at], "o", mfc="white", mec=BLUE, mew=1.0, ms=4.0)
        bars: dict[str, Any] = {"fmt": "none", "ecolor": BLUE, "elinewidth": 0.8, "capsize": 1.5}
        axes.errorbar(curves.x[at], curves.best[at], errors, **bars)
    labels += draw_reference_spread(axes, curves)
    labels += draw_references(axes, s)
    if np.isnan(curves.best).all():
        axes.text(0.5, 0.5, "no response was seen", transform=axes.transAxes, ha="center")
    axes.set(ylabel=score_label(plan, s.objective))
    label_x(axes, curves.even, float(curves.x[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    each = s.presentations / s.generations
    if each > 0 and curves.even:
        top = axes.secondary_xaxis("top", functions=(partial(np.multiply, each), partial(_divided, each)))
        top.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        top.set_xlabel("presentations")
    return [label for label in labels if label is not None]


def label_x(axes: Axes, even: bool, last: float) -> None:
    """The name and the limits of an axis of generations, or of presentations."""
    margin = 0.02 * last
    axes.set(xlabel="generation" if even else "presentations")
    axes.set_xlim(*(x_limits(int(last)) if even else (-margin, last + margin)))


def draw_reference_spread(axes: Axes, curves: Curves) -> list[Text | None]:
    """The middle 80 % of the references as a band, their mean over the generations with its error."""
    labels: list[Text | None] = []
    seen = curves.references[np.isfinite(curves.references)]
    if len(seen) > 1:
        low, middle, high = np.percentile(seen, [10, 50, 90])
        axes.axhspan(low, high, color=VERMILION, alpha=0.1, lw=0, zorder=0)
        labels.append(label_beside(axes, middle, f"10 to 90 % of {len(seen):,}\nreferences", VERMILION))
    told = len(curves.best)
    levels = [one for one in curves.drift if one.generation < told and curves.valid[one.generation]]
    if levels:
        x = curves.x[[one.generation for one in levels]]
        means, errors = [one.mean for one in levels], [one.error for one in levels]
        axes.errorbar(x, means, errors, color=VERMILION, fmt=".", ms=2.5, elinewidth=0.6, alpha=0.8)
        kind = "± s.e. over images" if any(one.images > 1 for one in levels) else "of one image: no error"
        text = f"references between\n(mean {kind})"
        labels.append(label_beside(axes, levels[-1].mean, text, VERMILION))
    return labels


def draw_references(axes: Axes, s: RunSummary) -> list[Text | None]:
    """The best reference, and the expected best of as many as were presented, as lines; their labels."""
    if s.best_reference is None or not np.isfinite(s.best_reference):
        return []
    axes.axhline(s.best_reference, color=VERMILION, lw=1.0, zorder=1)
    count = f"best of {s.references:,} references" if s.references > 1 else "the only reference"
    labels = [label_beside(axes, s.best_reference, count, VERMILION)]
    expected = s.expected_best_reference
    if expected is not None and np.isfinite(expected) and s.presentations < s.references:
        axes.axhline(expected, color=VERMILION, lw=1.0, zorder=1, ls=(0, (4, 2)))
        labels.append(
            label_beside(axes, expected, f"expected best of\n{s.presentations:,} of these", VERMILION)
        )
    return labels


def _divided(by: float, values: Array) -> Array:
    return values / by


def dot_size(count: int) -> float:
    """The size of a point: single ones must be seen, many must not."""
    return 4.0 if count <= 40 else 0.0


def x_limits(count: int) -> tuple[float, float]:
    """Of an axis of so many generations."""
    margin = 0.02 * (count - 1) or 0.5
    return max(0.5, 1 - margin), count + margin  # generations are counted from 1


def last_seen(curve: Array) -> float:
    """The last value that is a number; NaN without one."""
    seen = curve[~np.isnan(curve)]
    return float(seen[-1]) if seen.size else float("nan")


def label_beside(axes: Axes, y: float, text: str, colour: str) -> Text | None:
    """A text to the right of the axes, to be moved to its height by `spread_labels`."""
    if np.isnan(y):
        return None
    colour = GREY if colour == LIGHT else colour
    return axes.annotate(
        text, (1.0, y), (5, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
        va="center", color=colour, fontsize=7, annotation_clip=False,
    )  # fmt: skip


def spread_labels(figure: Figure, labels: Sequence[Text]) -> None:
    """Move labels up or down, as little as may be (least squares), until none lies on another."""
    with quiet():
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
