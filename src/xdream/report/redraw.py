"""Images drawn again from their codes, and compared with the identity of what was shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xdream.description import Part
from xdream.errors import BadInput, XDreamError
from xdream.experiment.plan import Plan, generators_of
from xdream.images import references
from xdream.images.files import chw, pixels_of, png
from xdream.images.references import References
from xdream.report.summary import RunSummary
from xdream.report.text_table import number
from xdream.store import ImageRecord, Record
from xdream.types import CodeArray

if TYPE_CHECKING:  # at run time PyTorch comes with the first image that is drawn
    from xdream.experiment.runs import Parts

PixelArray = npt.NDArray[np.uint8]

NOT_IDENTICAL = "not bit-identical to what was shown"


@dataclass(frozen=True)
class Redrawn:
    """An image, (h, w, 3), drawn again from its code; exact: whether its pixels are those that were shown."""

    pixels: PixelArray
    exact: bool


@dataclass(frozen=True)
class Panel:
    """An image and what stands below it."""

    pixels: PixelArray
    caption: str


def png_of(image: Redrawn) -> bytes:
    """The image as the bytes of a PNG file."""
    return png(chw(image.pixels))


def redraw(record: Record, plan: Plan, images: Sequence[ImageRecord]) -> tuple[dict[int, Redrawn], list[str]]:
    """Images by their id, each drawn in the company in which it was shown; and what went wrong."""
    if not images:
        return {}, []
    drawn = _kept(record, images)
    images = [image for image in images if image.id not in drawn]
    if not images:
        return drawn, []
    import torch

    from xdream.experiment.record_policy import identity

    chunk, pixels = None, torch.empty(0)
    try:
        with _threads(plan.threads):
            declared, said = generators_of(record), list[str]()
            parts: dict[int, Parts] = {}
            derived = _derived(record, images)
            for image in sorted(images, key=lambda i: (i.generation, i.chunk or 0)):
                codes, row = (derived[image.id], 0) if image.id in derived else record.chunk_codes(image)
                if image.chunk is None or chunk != (image.generation, image.chunk):
                    chunk = (image.generation, image.chunk)
                    which = declared[image.run]
                    number = declared.index(which)
                    if number not in parts:
                        parts[number], told = _drawing_parts(record, plan, which)
                        said += told
                    forward = parts[number].forward
                    pixels = forward.draw(torch.from_numpy(codes).to(forward.device)).cpu()
                exact = image.pixels in (identity(pixels[row]), None)  # in a record of scores: not known
                drawn[image.id] = Redrawn(pixels[row].permute(1, 2, 0).numpy().copy(), exact)
    except XDreamError as error:
        return drawn, [
            f"the images that were not kept are left out: {error}"
            if drawn
            else f"the images are left out: {error}"
        ]
    if all(one.exact for one in drawn.values()):
        return drawn, said
    return drawn, [
        *said,
        f"images are {NOT_IDENTICAL} (another machine, device, engine or library version): "
        "the captions and the names of the files say which",
    ]


def _kept(record: Record, images: Sequence[ImageRecord]) -> dict[int, Redrawn]:
    """The images that the record kept as they were shown, by their id."""
    found = {}
    for image in images:
        kept = record.kept_image(image.pixels)
        if kept is not None:
            found[image.id] = Redrawn(pixels_of(kept), exact=True)
    return found


def _derived(record: Record, images: Sequence[ImageRecord]) -> dict[int, CodeArray]:
    """Of a record of scores, the (1, d) code of each image, by its id: each run is replayed once."""
    if record.keeps_everything:
        return {}
    from xdream.experiment.replay import codes_of

    codes: dict[int, CodeArray] = {}
    for run in {image.run for image in images}:
        wanted = [image for image in images if image.run == run]
        of_run = codes_of(record, run, {image.generation for image in wanted})
        codes |= {image.id: of_run[image.generation][[image.slot]] for image in wanted}
    return codes


def _drawing_parts(record: Record, plan: Plan, generator: Part) -> tuple[Parts, list[str]]:
    """The parts of one generator without what images do not depend on, which may be gone: targets,
    references, first codes.

    And what to say of an engine that is gone, too.
    """
    from xdream.experiment import engine_choice
    from xdream.experiment.assemble import assemble

    batch = int(record.facts["batch"])
    lean = {
        "batch": batch,
        "generator": generator,
        "targets": (),
        "variants": (),
        "references": None,
        "references_per_generation": 0,
        "init": "default",
        "engine": engine_choice.TORCH,
        "compiled": False,
    }
    try:
        parts = assemble(plan.model_copy(update=lean))
    except BadInput:
        if plan.device == "cpu":
            raise
        parts = assemble(plan.model_copy(update=lean | {"device": "cpu"}))
    # Where images are not compared, drawing a few is not worth the compiler's minute.
    if plan.engine == engine_choice.TORCH or not record.keeps_everything:
        return parts, []
    missing = engine_choice.missing(plan.engine, parts.forward)
    if missing:
        return parts, [f"images are drawn with PyTorch, not with the engine {plan.engine}: {missing}"]
    before = record.facts.get("engines")
    placed = engine_choice.place(
        parts.forward, plan.engine, batch, None if before is None else engine_choice.read(before)
    )
    return parts, engine_choice.notes_of(plan.engine, placed)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_reference(
    record: Record, plan: Plan, summary: RunSummary, drawn: dict[int, Redrawn]
) -> tuple[Panel | None, str]:
    """The best reference at the size of the images, if the file is still the one that was shown."""
    if summary.best_reference_name is None or plan.references is None or not drawn:
        return None, ""
    names, hashes = zip(*record.references, strict=True)
    size_px = next(iter(drawn.values())).pixels.shape[0]
    try:
        # The one file's hash is checked when it is read; the others may be many.
        found = References(plan.references, references.place_of(plan.references), names, hashes)
        [image] = found.images([names.index(summary.best_reference_name)], size_px)
    except BadInput as error:
        return None, f"the best reference is left out: {error}"
    name = Path(summary.best_reference_name).name
    name = name if len(name) <= 16 else f"{name[:15]}…"
    caption = f"{name}\n{number(summary.best_reference, 3)} (reference)"
    return Panel(image.permute(1, 2, 0).numpy(), caption), ""
