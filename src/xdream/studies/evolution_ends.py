"""Where evolutions of one unit end: lines between ends, how alike their images are (`initialisations`)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from xdream.experiment import replay
from xdream.experiment.runs import Parts
from xdream.images.files import hwc
from xdream.images.resizing import resize
from xdream.studies.shard_work import Evolved, Work, columns
from xdream.studies.table import TableRow, image_text

#: Measures.
BETWEEN, ALIKE = "between two ends", "pixel correlation"
#: On the line through the end codes of two seeds, 0 and 1 (the paper's Fig 3).
LOCATIONS = tuple(np.arange(-0.5, 1.51, 0.125).tolist())
#: Images are compared at this size too: what is left is colours and coarse shapes.
COARSE_PX = 8


def end_code(one: Evolved) -> npt.NDArray[np.float32]:
    """(d,) the code of the best image of the last generation."""
    last = len(one.scores) - 1
    code: npt.NDArray[np.float32] = replay.codes_of(one.record, one.run, [last])[last][
        int(np.nanargmax(one.scores[last]))
    ]
    return code


def rows_of_ends(
    work: Work, parts: Parts, ends: Sequence[tuple[Evolved, npt.NDArray[np.float32]]]
) -> Iterator[TableRow]:
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
                yield work.row("image", image=image_text(hwc(image)), **columns(one))
    yield from _alike(work, shown)


def _alike(work: Work, shown: Mapping[tuple[str, int], torch.Tensor]) -> Iterator[TableRow]:
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
