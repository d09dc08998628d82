"""Fig 1: one unit, how its response rises, and the images behind it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from xdream.generators.cards import SHIPPED
from xdream.images.files import hwc
from xdream.report import plan_of
from xdream.report.redraw import redraw
from xdream.report.text_table import number
from xdream.studies import drawing
from xdream.studies.base import UnitGroup, natural_images
from xdream.studies.claims import Claim, Finding
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.shard_work import Condition, Evolved, Work, columns
from xdream.studies.table import PixelArray, Table, TableRow, image_text, pixels_of

Array = npt.NDArray[np.float64]
#: network, depth, layer, unit, generator, seed
Key = tuple[str, str, str, str, str, int]

BEST, MEAN = "best of generation", "mean of generation"
IMAGE, NATURAL_IMAGE = "image", "natural image"

#: The presentations of the published evolution, and the part of them over which its response is smoothed.
PRESENTATIONS, SMOOTHED = 10_000, 0.05
#: How much of the rise counts as quick, and how much as saturated.
HALF, SATURATED = 0.5, 0.95
#: What the published curve gives, as `share_until` measures it.
PUBLISHED = {HALF: 46 / 500, SATURATED: 314 / 500}

SATURATES = Claim(
    "overview",
    "the response rises quickly and saturates at about generation 300 of 500 (20 images each)",
    "half of the rise at generation 46, 95 % of it at 314 of 500 (0.09 and 0.63 of 10,000 presentations; "
    "measured as ours); last generation 72.4, best of 1.43 million natural images 40.6",
    "median over units: half of the rise before 0.2, and 95 % of it between 0.35 and 0.85 of 10,000 "
    "presentations; the best of each generation is smoothed over 5 % of them",
)


@dataclass(frozen=True)
class Curve:
    """The best of each generation, of one evolution. each: the presentations of a generation."""

    best: Array
    each: float

    @property
    def compared(self) -> Array:
        """As much of it as the published evolution had presentations."""
        return self.best[: max(1, round(PRESENTATIONS / self.each))]

    @property
    def long_enough(self) -> bool:
        """Whether no further generation would have fitted into the published evolution."""
        return len(self.best) * self.each > PRESENTATIONS - self.each

    def until(self, part: float) -> float:
        """The share of the presentations that were compared."""
        return share_until(self.compared, part)


class Overview:
    """The course of an evolution."""

    name = "overview"
    question = "how does the response of a unit rise, and what do the images look like?"
    figure_of = "1"
    sample = "units"
    measure = "share of the presentations until this part of the rise"
    layers: tuple[str, ...] = ("output",)
    generators: tuple[str, ...] = (SHIPPED,)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=1, presentations=400),
        "small": Size(units=1, seeds=1, presentations=PRESENTATIONS),
        "paper": Size(units=1, seeds=1, presentations=PRESENTATIONS),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """The genetic algorithm without noise, with each generator that was asked for."""
        return tuple(Condition(one.name, one) for one in plan.generators)

    def rows(self, work: Work) -> Iterator[TableRow]:
        """Of every evolution all generations, and the images of some."""
        yield from work.natural_rows()
        natural = work.natural
        for unit in work.units:
            [image] = natural.references.images(natural.order(unit)[:1], work.size_px)
            yield work.row(NATURAL_IMAGE, unit=unit, image=image_text(hwc(image)))
        for one in work.evolve(self.conditions(work.plan)):
            yield from work.rows(one)
            for generation, scores in enumerate(one.scores, 1):
                yield work.row(BEST, float(np.nanmax(scores)), x=generation, **columns(one))
                yield work.row(MEAN, float(np.nanmean(scores)), x=generation, **columns(one))
            yield from _image_rows(work, one)

    def groups(self, table: Table) -> Iterator[UnitGroup]:
        """How soon half of the rise is made, and nearly all of it."""
        found = curves(table)
        for network, depth, generator in dict.fromkeys((key[0], key[1], key[4]) for key in found):
            alike = {
                key: curve
                for key, curve in found.items()
                if (key[0], key[1], key[4]) == (network, depth, generator)
            }
            for part, published in PUBLISHED.items():
                risen = {unit: share for unit, share in _by_unit(alike, part).items() if math.isfinite(share)}
                known = published if depth == "output" else None
                yield UnitGroup(f"{100 * part:.0f} % of the rise, {generator}", network, depth, risen, known)

    def findings(self, table: Table) -> Iterator[Finding]:
        """Of each network by itself."""
        found = curves(table)
        for network in table.among("network"):
            alike = {key: curve for key, curve in found.items() if key[0] == network}
            half, nearly = (_median(list(_by_unit(alike, part).values())) for part in (HALF, SATURATED))
            shown = min((len(curve.best) * curve.each for curve in alike.values()), default=0)
            ours = (
                f"half of the rise at {half:.2f}, 95 % of it at {nearly:.2f} of the presentations; "
                f"{_last_and_natural(table.where(network=network))}"
            )
            enough = bool(alike) and all(curve.long_enough for curve in alike.values())
            holds = half < 0.2 and 0.35 <= nearly <= 0.85
            why = f"the evolution is too short: {shown:,.0f} presentations, the claim is of {PRESENTATIONS:,}"
            yield SATURATES.on(network, ours, holds if enough else None, why)

    def draw(self, figure: Figure, table: Table) -> None:
        """Of each network, layer and generator the first unit: its curve, and images below it."""
        found = curves(table)
        first: dict[tuple[str, ...], Key] = {}
        for key in found:
            first.setdefault((key[0], key[2], key[4]), key)
        if not first:
            return
        height = CURVE_IN + STRIP_IN
        figure.set_size_inches(drawing.WIDTH_IN, 0.55 + height * len(first))
        parts = figure.subfigures(len(first), 1, squeeze=False).ravel()
        for part, key in zip(parts, first.values(), strict=True):
            _draw_one(part, key, found[key], table)
        drawing.below(
            figure,
            "dots: the generations whose best images are shown, each with its generation and response"
            + ("; of several units the first is shown" if len(found) > len(first) else ""),
        )


def share_until(best: Sequence[float] | Array, part: float) -> float:
    """The share of generations after which a curve has made a part of its rise; infinite: it does not rise.

    The rise is from the first generation to the last, the curve a mean over `SMOOTHED` of the generations
    around each (fewer at the ends), but for the first, which is not mixed with those that rise from it.
    """
    curve = np.asarray(best, dtype=np.float64)
    smooth = _smoothed(curve)
    rise = smooth[-1] - curve[0]
    if not rise > 0.0:
        return math.inf
    return float(np.argmax(smooth - curve[0] >= part * rise) + 1) / len(curve)


def _smoothed(curve: Array) -> Array:
    half = int(SMOOTHED * len(curve)) // 2
    count = len(curve)
    return np.array([curve[max(0, i - half) : i + half + 1].mean() for i in range(count)])


def curves(table: Table) -> dict[Key, Curve]:
    """Every evolution of a table."""
    best: dict[Key, list[tuple[float, float]]] = defaultdict(list)
    presentations: dict[Key, float] = {}
    for row in table.where(measure=(BEST, "presentations")).rows:
        key = (row.network, row.depth, row.layer, row.unit, row.generator, row.seed)
        if row.measure == BEST:
            best[key].append((row.x, row.value))
        else:
            presentations[key] = row.value
    return {
        key: Curve(np.array([value for _, value in sorted(points)]), presentations[key] / len(points))
        for key, points in best.items()
    }


def _by_unit(found: Mapping[Key, Curve], part: float) -> dict[tuple[str, ...], float]:
    """(network, layer, unit) -> the mean share of its evolutions."""
    shares: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for (network, _, layer, unit, _, _), curve in found.items():
        shares[network, layer, unit].append(curve.until(part))
    return {unit: float(np.mean(values)) for unit, values in shares.items()}


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _last_and_natural(table: Table) -> str:
    last, natural = (_median(table.values(measure)) for measure in ("last", "best natural"))
    images = natural_images(table)
    return f"last generation {number(last, 3)}, best of {images:,.0f} natural images {number(natural, 3)}"


def doublings(count: int) -> list[int]:
    """Generations from 1: 1, 2, 4, 8, … and the last."""
    chosen = [2**power for power in range(count.bit_length()) if 2**power < count]
    return [*chosen, count]


def _image_rows(work: Work, one: Evolved) -> Iterator[TableRow]:
    """The best of some generations, drawn again from its code."""
    chosen = [one.record.best_image(one.run, generation - 1) for generation in doublings(len(one.scores))]
    images = [image for image in chosen if image is not None]
    drawn, alarms = redraw(one.record, plan_of(one.record), images)
    for alarm in alarms:
        work.callback.trouble(alarm)
    for image in images:
        if image.id in drawn:
            pixels = image_text(drawn[image.id].pixels)
            yield work.row(IMAGE, x=image.generation + 1, image=pixels, **columns(one))


# ------------------------------------------------------------------ the figure

CURVE_IN, STRIP_IN = 1.9, 1.15


def _draw_one(part: SubFigure, key: Key, curve: Curve, table: Table) -> None:
    network, _, layer, unit, generator, seed = key
    of_unit = table.where(network=network, layer=layer, unit=unit)
    mine = of_unit.where(generator=generator, seed=seed)
    mean = [row.value for row in sorted(mine.where(measure=MEAN).rows, key=lambda row: row.x)]
    [natural] = of_unit.values("best natural")
    images = [
        (int(row.x), pixels_of(row.image))
        for row in sorted(mine.where(measure=IMAGE).rows, key=lambda row: row.x)
    ]
    shown = [generation for generation, _ in images]
    top, bottom = part.subfigures(2, 1, squeeze=False, height_ratios=(CURVE_IN, STRIP_IN)).ravel()
    axes = top.subplots()
    x = np.arange(1, len(curve.best) + 1)
    axes.plot(x, curve.best, color=drawing.BLUE, lw=1.2, label="best of the generation")
    axes.plot(x, mean, color=drawing.GREY, lw=0.8, label="mean of the generation")
    axes.axhline(natural, color=drawing.VERMILION, lw=1.0, zorder=1, label="best natural image")
    axes.plot(shown, curve.best[np.array(shown, dtype=int) - 1], ".", color=drawing.BLUE, ms=5, clip_on=False)
    if curve.long_enough:
        for share, name in ((HALF, "half"), (SATURATED, "95 %")):
            if math.isfinite(curve.until(share)):
                at = curve.until(share) * len(curve.compared)
                axes.axvline(at, color=drawing.LIGHT, lw=0.7, ls=(0, (3, 2)), zorder=0)
                axes.annotate(
                    f"{name} of the rise", (at, 0.0), (3, 3), xycoords=axes.get_xaxis_transform(),
                    textcoords="offset points", fontsize=6.5, color=drawing.GREY,
                )  # fmt: skip
    axes.set(xlabel="generation", ylabel="response", xlim=(0, len(x) + 1))
    times = f"{number(curve.best[-1] / natural, 3)} times the best natural image"
    axes.set_title(f"{network}:{layer}, unit {unit}, {generator}: {times}", fontsize=8, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=6.5)
    panels = [
        (f"{generation}\n{number(curve.best[generation - 1], 3)}", image, drawing.INK)
        for generation, image in images
    ]
    panels += [
        (f"natural\n{number(natural, 3)}", pixels_of(row.image), drawing.VERMILION)
        for row in of_unit.where(measure=NATURAL_IMAGE).rows
    ]
    _strip(bottom, panels)


def _strip(part: SubFigure, panels: Sequence[tuple[str, PixelArray, str]]) -> None:
    """Images side by side, the last set apart, with captions below."""
    most = max(len(panels), 8)
    widths = [1.0] * (len(panels) - 1) + [0.15, 1.0] + [1.0] * (most - len(panels))
    places = part.add_gridspec(1, len(widths), width_ratios=widths)
    for column, (caption, pixels, colour) in enumerate(panels):
        axes = part.add_subplot(places[column + (column == len(panels) - 1)])
        axes.imshow(pixels)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(caption, color=colour, fontsize=6.5, labelpad=2)
