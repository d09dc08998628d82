"""Fig 3 of the preprint, 4 of the journal version: what depends on the initial codes."""

from __future__ import annotations

import io
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from xdream import files, networks, report
from xdream.errors import BadInput
from xdream.experiment import replay
from xdream.experiment.assemble import assemble
from xdream.experiment.defaults import hyperparameters
from xdream.experiment.runs import Parts
from xdream.generators import Generator, Invertible, encode
from xdream.images.resizing import resize
from xdream.optimizers import OPTIMIZERS
from xdream.studies import drawing
from xdream.studies.base import Group, groups_of, hardly_begun, networks_and_depths, undecidable
from xdream.studies.claims import (
    TOO_FEW,
    Claim,
    Finding,
    above,
    at_most,
    below,
    every,
    published_median,
)
from xdream.studies.places import DEPTHS
from xdream.studies.plan import Scale, Size, StudyPlan
from xdream.studies.statistics import Interval, interval, paired
from xdream.studies.table import Row, Table, pixels_of, png
from xdream.studies.work import Condition, Evolved, Work, columns
from xdream.types import Codes

RELATIVE, INITIAL, BETWEEN = "relative activation", "initial relative activation", "between two ends"
SPREAD, ALIKE = "spread over seeds", "pixel correlation"
CHOICES, METHODS = ("best", "middle", "worst"), ("opt", "ivt")
#: On the line through the end codes of two seeds, 0 and 1 (the paper's Fig 3).
LOCATIONS = tuple(np.arange(-0.5, 1.51, 0.125).tolist())
#: Images are compared at this size too: what is left is colours and coarse shapes.
COARSE_PX = 8
#: Of the gradient descent that encodes natural images (200 in the paper).
STEPS: Mapping[Scale, int] = {"tiny": 20, "small": 100, "paper": 200}
#: What counts as no difference, in relative activation.
MARGIN = 0.1
#: Seeds of which pairs are made (10 in the paper).
MOST_SEEDS = 10

SMALL_SPREAD = Claim(
    "initialisations",
    "other random initial codes change the final response by less than 10 % (SD over mean)",
    "CV .045 / .066 / .082 / .079 (conv2 / conv4 / fc6 / fc8)",
    "the median over units of SD over mean is below 0.1, with its interval",
)
COUSINS = Claim(
    "initialisations",
    "the images of two seeds differ in pixels but share colours and shapes",
    "no data published",
    f"the images of two seeds of a unit correlate below 0.9 in pixels, and, shrunk to {COARSE_PX} px, above "
    "those of different units, with their intervals",
)
DIP = Claim(
    "initialisations",
    "between the end codes of two seeds the response dips but stays high",
    "midpoints .91 / .97 / .86 / .51 against ends 1.33 / 1.58 / 1.95 / 1.22",
    "within units the midpoint is below the ends, and above the best of the first generation, with their "
    "intervals",
)
HELPS = Claim(
    "initialisations",
    "starting from the best rather than the worst natural images does not help in early layers, and helps "
    "progressively in higher ones",
    "final, best / worst: conv2 opt 1.38 / 1.33, fc8 opt 1.36 / 1.23, ivt 1.67 / .94; Table 1 (its measure "
    "is not defined): opt .010 .037 .047 .056, ivt .044 .113 .241 .353",
    "the difference within units is above 0 in late and output layers, with its interval, and its median "
    "is larger there than in the early layer",
)
MORE_IVT = Claim(
    "initialisations",
    "with `ivt` it helps more than with `opt`",
    "Table 1: opt .056, ivt .353 in fc8",
    "the difference of best and worst in late and output layers is larger with ivt, with its interval",
)
NO_TRAP = Claim(
    "initialisations",
    "a worse start does not reduce the improvement over the start (no trapping)",
    "no data published",
    f"within units, the gain from the worst images is not below that from the best by {MARGIN}, with its "
    "interval",
)


class Initialisations:
    """Random seeds; the best, middle and worst natural images by `opt` and `ivt`; lines between ends."""

    name = "initialisations"
    question = "does the end depend on the beginning?"
    figure_of = "3 and Table 1 (preprint), 4 (journal)"
    sample = "units"
    measure = RELATIVE
    layers: tuple[str, ...] = DEPTHS
    generators: tuple[str, ...] = ("natural-v1",)
    sizes: Mapping[Scale, Size] = {
        "tiny": Size(units=1, seeds=2, presentations=60),
        "small": Size(units=2, seeds=3, presentations=600),
        "paper": Size(units=100, seeds=11, presentations=10_000),
    }

    def conditions(self, plan: StudyPlan) -> tuple[Condition, ...]:
        """Random codes with every seed; six prepared beginnings with one."""
        first = plan.generators[0]
        generator = plan.generator(first)
        prepared = [f"{choice} {method}" for method in _methods(plan, generator) for choice in CHOICES]
        return (
            Condition("random", first),
            # The codes of a unit are known only in its shard.
            *(Condition(name, first, seeds=1, init=_not_yet) for name in prepared),
        )

    def rows(self, work: Work) -> Iterator[Row]:
        """Of every evolution; of the lines between its ends, and of its images."""
        yield from work.natural_rows()
        beginnings = _Beginnings(work)
        conditions = [
            one if one.init == "default" else _with(one, beginnings) for one in self.conditions(work.plan)
        ]
        ends: list[tuple[Evolved, npt.NDArray[np.float32]]] = []
        for one in work.evolve(conditions):
            yield from work.rows(one)
            if one.condition.name == "random" and one.seed < work.plan.seed + MOST_SEEDS:
                ends.append((one, _end_code(one)))
        plan = report.plan_of(ends[0][0].record)
        yield from _of_ends(work, assemble(plan.model_copy(update={"variants": (), "compiled": False})), ends)

    def groups(self, table: Table) -> Iterator[Group]:
        """Final and initial relative activation by beginning; the spread over seeds."""
        yield from groups_of(table, RELATIVE, _published)
        for group in groups_of(table, INITIAL, partial(_published, measure="Rel_act_init")):
            yield Group(f"{group.condition}, at the start", *_rest(group))
        for network, depth in networks_and_depths(table):
            some = table.where(network=network, depth=depth)
            yield Group(SPREAD, network, depth, spread(some), PUBLISHED_SPREAD.get(depth))

    def findings(self, table: Table) -> Iterator[Finding]:
        """Over the units of all networks; the table of groups has each by itself."""
        if not len(table):
            return
        short, why = hardly_begun(table), undecidable(table)
        found = interval(list(spread(table).values()))
        by_depth = ", ".join(
            f"{depth} {interval(list(spread(table.where(depth=depth)).values())).value:.3f}"
            for depth in table.among("depth")
        )
        holds = None if short else below(found, 0.1)
        yield SMALL_SPREAD.on("", f"{by_depth}; all {_fine(found)}", holds, short or TOO_FEW)
        yield _cousins(table, short)
        yield _dip(table, short)
        yield from _beginnings(table, why)

    def draw(self, figure: Figure, table: Table) -> None:
        """By beginning; between ends; images of two seeds."""
        _draw(figure, table, list(groups_of(table, RELATIVE, _published)))


#: Of the paper, by depth of CaffeNet (Fig 3).
PUBLISHED_SPREAD: Mapping[str, float] = {"early": 0.045, "middle": 0.066, "late": 0.082, "output": 0.079}


def spread(table: Table) -> dict[tuple[str, ...], float]:
    """Unit -> standard deviation over mean of its final responses to random seeds.

    The deviation is divided by c4, which makes it right on average for few seeds of a normal distribution.
    """
    by_unit: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in table.where(measure=RELATIVE, condition="random").rows:
        by_unit[row.network, row.layer, row.unit].append(row.value)
    return {
        unit: float(np.std(values, ddof=1) / _c4(len(values)) / np.mean(values))
        for unit, values in by_unit.items()
        if len(values) > 1 and np.mean(values) > 0.0
    }


def _c4(n: int) -> float:
    """The expected standard deviation of n normal values over the true one (0.886 for 3)."""
    return math.sqrt(2.0 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))


# ------------------------------------------------------------------ the beginnings


def _not_yet(unit: str) -> str:
    raise AssertionError(f"no codes for {unit} yet")


def _methods(plan: StudyPlan, generator: Generator) -> list[str]:
    """By which natural images can become codes of this generator."""
    can = {
        "opt": generator.differentiable,
        "ivt": plan.inverse is not None or isinstance(generator, Invertible),
    }
    methods = [method for method in METHODS if can[method]]
    if not methods:
        raise BadInput(f"generator '{generator.name}' can encode no images; choose one that can")
    return methods


def _with(condition: Condition, beginnings: _Beginnings) -> Condition:
    choice, method = condition.name.split()
    own = partial(beginnings.file, choice, method)
    return Condition(condition.name, condition.generator, seeds=condition.seeds, init=own)


class _Beginnings:
    """Files of initial codes: of each unit its best, middle or worst natural images, encoded."""

    def __init__(self, work: Work) -> None:
        self._work = work
        first = work.plan.generators[0]
        device = networks.device(work.plan.device)
        self._generator = work.plan.generator(first).to(device)
        tuned = hyperparameters(first.name, "genetic", noisy=False)
        self._population = OPTIMIZERS.make("genetic", **tuned).population

    def file(self, choice: str, method: str, unit: str) -> str:
        """`codes:FILE`, made when it is asked for first."""
        path = self._work.folder / f"{choice}-{method}-{unit.replace('@', '-').replace(',', '-')}.npz"
        if not path.exists():
            order = self._work.natural.order(unit)
            n = min(self._population, len(order))
            first = {"best": 0, "middle": (len(order) - n) // 2, "worst": len(order) - n}[choice]
            images = self._work.natural.references.images(
                order[first : first + n], self._generator.image_size_px
            )
            buffer = io.BytesIO()
            name = np.array(self._generator.name)
            np.savez(buffer, codes=self._encoded(images, method).cpu().numpy(), generator=name)
            files.replace(path, buffer.getvalue())
        return f"codes:{path.absolute()}"

    def _encoded(self, images: torch.Tensor, method: str) -> Codes:
        inverse = self._work.plan.inverse
        if method == "ivt" and inverse is not None:
            network, _, layer = inverse.rpartition(":")
            reader, _ = networks.layer_reader(
                self._work.plan.network(network), [layer], self._generator.centre.device, images.shape[-1]
            )
            codes: Codes = reader.read(images)[layer].flatten(1).clamp_min(0.0).to(torch.float32)
            return codes.clone()
        floats = images.to(torch.float32) / 255.0
        codes, _ = encode(
            self._generator, floats, STEPS[self._work.plan.scale], "ivt" if method == "ivt" else "opt"
        )
        return codes


# ------------------------------------------------------------------ the ends


def _end_code(one: Evolved) -> npt.NDArray[np.float32]:
    """(d,) the code of the best image of the last generation."""
    last = len(one.scores) - 1
    code: npt.NDArray[np.float32] = replay.codes_of(one.record, one.run, [last])[last][
        int(np.nanargmax(one.scores[last]))
    ]
    return code


def _of_ends(
    work: Work, parts: Parts, ends: Sequence[tuple[Evolved, npt.NDArray[np.float32]]]
) -> Iterator[Row]:
    """Responses on the lines between two ends, the ends' images, and how alike these are."""
    by_unit: dict[str, list[tuple[Evolved, npt.NDArray[np.float32]]]] = defaultdict(list)
    for one, code in ends:
        by_unit[one.unit].append((one, code))
    device = parts.generator.centre.device
    shown: dict[tuple[str, int], torch.Tensor] = {}
    for number, (unit, of_unit) in enumerate(by_unit.items()):
        best = work.natural.best(unit)
        place = work.units.index(unit)  # the only subject has the units in this order
        for (one, a), (other, b) in itertools.combinations(of_unit, 2):
            codes = torch.from_numpy(np.stack([a + x * (b - a) for x in LOCATIONS]).astype(np.float32))
            images = parts.forward.draw(codes.to(device))
            for x, response in zip(
                LOCATIONS, parts.forward.respond(0, images)[:, place].tolist(), strict=True
            ):
                yield work.row(
                    BETWEEN,
                    response / best,
                    x=x,
                    **{**columns(one), "condition": f"{one.seed} to {other.seed}"},
                )
        for one, code in of_unit:
            image = parts.forward.draw(torch.from_numpy(code)[None].to(device))[0].cpu()
            shown[unit, one.seed] = image
            if number == 0 and one.seed < work.plan.seed + 2:
                pixels = image.permute(1, 2, 0).numpy()
                yield work.row("image", image=png(pixels), **columns(one))
    yield from _alike(work, shown)


def _alike(work: Work, shown: Mapping[tuple[str, int], torch.Tensor]) -> Iterator[Row]:
    """Mean correlation of a unit's images with each other, and with those of the other units."""
    for measure, size in ((ALIKE, None), (f"{ALIKE} at {COARSE_PX} px", COARSE_PX)):
        vectors = {key: _vector(image, size) for key, image in shown.items()}
        for unit in dict.fromkeys(unit for unit, _ in shown):
            own = [key for key in vectors if key[0] == unit]
            pairs = {
                "same unit": itertools.combinations(own, 2),
                "other unit": itertools.product(own, [key for key in vectors if key[0] != unit]),
            }
            for condition, some in pairs.items():
                found = [float(vectors[a] @ vectors[b]) for a, b in some]
                if found:
                    yield work.row(measure, float(np.mean(found)), unit=unit, condition=condition)


def _vector(image: torch.Tensor, size: int | None) -> npt.NDArray[np.float64]:
    """Of unit length and without mean: products of two are Pearson correlations."""
    floats = image.to(torch.float64)
    if size is not None:
        floats = resize(floats[None].to(torch.float32), (size, size))[0].to(torch.float64)
    vector: npt.NDArray[np.float64] = (floats - floats.mean()).flatten().numpy()
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


# ------------------------------------------------------------------ what is said


def _published(condition: str, place: str, measure: str = "Rel_act") -> float | None:
    name = "rand"
    if condition != "random":
        choice, method = condition.split()
        name = f"{ {'middle': 'mid'}.get(choice, choice) }_{method}"
    return published_median("4", f"{name}|{place.partition('|')[2]}", measure=measure)


def _rest(group: Group) -> tuple[str, str, dict[tuple[str, ...], float], float | None]:
    return group.network, group.depth, group.values, group.published


def _fine(found: Any) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _cousins(table: Table, short: str) -> Finding:
    fine = interval(table.values(ALIKE, condition="same unit"))
    coarse = f"{ALIKE} at {COARSE_PX} px"
    apart = paired(
        table.by_unit(coarse, condition="same unit"), table.by_unit(coarse, condition="other unit")
    )
    ours = f"two seeds {fine} in pixels; at {COARSE_PX} px beyond other units by {apart}"
    holds = None if short else every(below(fine, 0.9), above(apart.difference, 0.0))
    return COUSINS.on("", ours, holds, short or TOO_FEW)


def _dip(table: Table, short: str) -> Finding:
    middle = table.by_unit(BETWEEN, x=0.5)
    ends = table.by_unit(BETWEEN, x=(0.0, 1.0))
    start = table.by_unit(INITIAL, condition="random")
    dip, high = paired(ends, middle), paired(middle, start)
    by_depth = ", ".join(
        f"{depth} {_median(some, 0.5):.2f} of {_median(some, 0.0, 1.0):.2f}"
        for depth in table.among("depth")
        for some in [table.where(depth=depth)]
    )
    ours = f"midpoints {by_depth}; beyond the start by {high.difference}"
    holds = None if short else every(above(dip.difference, 0.0), above(high.difference, 0.0))
    return DIP.on("", ours, holds, short or TOO_FEW)


def _median(table: Table, *x: float) -> float:
    return interval(table.values(BETWEEN, x=x)).value


def _beginnings(table: Table, why: str) -> Iterator[Finding]:
    deep = ("late", "output")
    methods = [m for m in METHODS if table.where(condition=f"best {m}").rows]
    help_of: dict[str, dict[tuple[str, ...], float]] = {}
    for method in methods:
        best, worst = (
            table.by_unit(RELATIVE, condition=f"{choice} {method}") for choice in ("best", "worst")
        )
        help_of[method] = {unit: best[unit] - worst[unit] for unit in best if unit in worst}
        depth_of: dict[tuple[str, ...], str] = {
            (row.network, row.layer, row.unit): row.depth for row in table.rows
        }

        def at(*depths: str, method: str = method, depth_of: Mapping[Any, str] = depth_of) -> list[float]:
            return [value for unit, value in help_of[method].items() if depth_of[unit] in depths]

        late = interval(at(*deep))
        early = interval(at("early"))
        medians = ", ".join(f"{depth} {interval(at(depth)).value:+.2f}" for depth in table.among("depth"))
        ours = f"{method}: {medians}; late and output {late}"
        helps = above(late, 0.0)
        larger = None if helps is None or not early.n else late.value > early.value
        yield HELPS.on("", ours, None if why else every(helps, larger), why or TOO_FEW)
    if len(methods) == 2:
        apart = paired(
            *({u: v for u, v in help_of[m].items() if depth_of[u] in deep} for m in ("ivt", "opt"))
        )
        holds = None if why else above(apart.difference, 0.0)
        yield MORE_IVT.on("", str(apart), holds, why or TOO_FEW)
    else:
        yield MORE_IVT.untestable(
            "needs a generator that says codes of images, or `inverse`, the layer whose activations are "
            "its codes",
        )
    gains = {}
    for choice in ("best", "worst"):
        names = tuple(f"{choice} {method}" for method in methods)
        final, start = (table.by_unit(measure, condition=names) for measure in (RELATIVE, INITIAL))
        gains[choice] = {unit: final[unit] - start[unit] for unit in final}
    trap = paired(gains["worst"], gains["best"])
    lost = Interval(-trap.difference.value, -trap.difference.high, -trap.difference.low, trap.difference.n)
    holds = None if why else at_most(lost, 0.0, MARGIN)
    yield NO_TRAP.on("", f"gain from worst minus from best {trap}", holds, why or TOO_FEW)


# ------------------------------------------------------------------ the figure


def _draw(figure: Figure, table: Table, groups: Sequence[Group]) -> None:
    shown = table.among("network")
    rows = len(shown)
    figure.set_size_inches(drawing.WIDTH_IN, 0.9 + 3.9 * rows)
    outer = figure.subfigures(rows, 1, squeeze=False).ravel()
    for part, network in zip(outer, shown, strict=True):
        some = table.where(network=network)
        top, bottom = part.subfigures(2, 1, height_ratios=(2.1, 1.8))
        axes = top.subplots()
        drawing.strips(axes, [group for group in groups if group.network == network], RELATIVE)
        axes.set_title(network, fontsize=8, loc="left")
        drawing.legend(axes, list(dict.fromkeys(group.condition for group in groups)))
        left, right = bottom.subfigures(1, 2, width_ratios=(1.0, 1.25))
        _draw_between(left.subplots(), some)
        _draw_images(right, some)
    drawing.below(
        figure,
        drawing.HOW,
        "on the line: median over units of the response to codes between (and beyond) the end codes of "
        "two seeds, "
        "over the best natural image; right: the end images of two seeds of one unit, by depth",
    )


def _draw_between(axes: Any, table: Table) -> None:
    for number, depth in enumerate(table.among("depth")):
        some = table.where(depth=depth)
        medians = [_median(some, x) for x in LOCATIONS]
        axes.plot(LOCATIONS, medians, ".-", color=drawing.colour_of(number), ms=3, lw=1.1, label=depth)
    axes.set(xlabel="on the line from one seed's end (0) to another's (1)", ylabel=RELATIVE)
    axes.axhline(0.0, color=drawing.LIGHT, lw=0.6, zorder=0)
    axes.set_xticks([-0.5, 0.0, 0.5, 1.0, 1.5])
    axes.legend(fontsize=6, frameon=False, loc="upper center")


def _draw_images(part: Any, table: Table) -> None:
    depths = table.among("depth")
    panels = part.subplots(2, len(depths), squeeze=False)
    for column, depth in enumerate(depths):
        images = table.where(measure="image", depth=depth, condition="random").rows
        for row in range(2):
            axes = panels[row][column]
            axes.set_axis_off()
            if row < len(images):
                axes.imshow(pixels_of(images[row].image))
        if images:
            panels[0][column].set_title(f"{depth} {images[0].unit.partition('@')[0]}", fontsize=7)
