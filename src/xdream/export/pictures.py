"""Shown images as PNG files: as they were kept, else drawn again and compared with what was shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xdream.errors import BadInput
from xdream.experiment.presentation_rows import ShownImage
from xdream.export.base import Request, images_with_progress, new_place, note, write_about
from xdream.generators import GENERATORS
from xdream.images import references
from xdream.images.files import pixels_of, png
from xdream.images.references import References
from xdream.report.redraw import png_of, redraw
from xdream.store import ImageRecord, Record
from xdream.text import counted, cut

#: Images that are drawn again at a time.
DRAWN = 500
#: Bytes of a reference's own name in that of its file: systems take 255 in all.
MOST_NAME = 200


def export_images(request: Request) -> None:
    """A folder with every shown image as ID.png, and the references under their own names."""
    with new_place(request.out) as folder:
        folder.mkdir()
        write_about(request.record, folder)
        written = write_images(request, folder)
    if not written:
        request.notes.append("no image could be written")


def write_images(request: Request, folder: Path) -> int:
    """Every image that was shown, into a folder; how many.

    An experiment on a network shows every reference, before its first generation.
    """
    count, all_shown = 0, not request.record.is_session
    for batch in images_with_progress(request):
        shown = [image for image in batch if image.pixels or all_shown or not image.reference]
        for one, data in files_of(request, shown):
            (folder / file_name(one)).write_bytes(data)
            count += 1
    return count


def file_name(image: ShownImage) -> str:
    """Of an image in an export: its id; of a reference its own name, with its number before it."""
    if not image.reference:
        return f"{image.id}.png"
    name = cut(re.sub(r"[^\w.-]+", "_", Path(image.name or "").stem), MOST_NAME)
    return f"reference-{image.id.rpartition('n')[2]}-{name}.png"


def kept_file(record: Record, image: ShownImage) -> str:
    """The name of the file that an export with the kept images has of one, or nothing."""
    return f"images/{file_name(image)}" if record.kept_image(image.pixels) is not None else ""


def files_of(request: Request, images: Sequence[ShownImage]) -> Iterator[tuple[ShownImage, bytes]]:
    """Each with its PNG file; those that can neither be found nor drawn are left out, and noted."""
    record = request.record
    missing = []
    for image in images:
        data = record.kept_image(image.pixels)
        if data is not None:
            yield image, data
        else:
            missing.append(image)
    generated = [image for image in missing if not image.reference]
    for start in range(0, len(generated), DRAWN):
        part = generated[start : start + DRAWN]
        asked = {_as_record(record, image): image for image in part}
        drawn, said = redraw(record, request.plan, list(asked))
        note(request, said)
        yield from ((image, png_of(drawn[key.id])) for key, image in asked.items() if key.id in drawn)
    others = [image for image in missing if image.reference]
    if others:
        yield from _references(request, others)


def _as_record(record: Record, image: ShownImage) -> ImageRecord:
    [(i, chunk)] = record.query(
        "SELECT id, chunk FROM image WHERE run = ? AND generation = ? AND slot = ?",
        image.run,
        (image.generation or 1) - 1,
        image.slot,
    )
    assert image.run is not None
    assert image.generation is not None
    assert image.slot is not None
    place = (image.run, image.generation - 1, image.slot)
    return ImageRecord(i, *place, chunk, image.score, image.noise_free_score, image.pixels)


def _references(request: Request, images: Sequence[ShownImage]) -> Iterator[tuple[ShownImage, bytes]]:
    """Those whose files are still what they were, at the size at which they were shown."""
    plan, record = request.plan, request.record
    assert plan.references is not None
    names, hashes = zip(*record.references, strict=True)
    rows = {name: row for row, name in enumerate(names)}
    try:
        size_px = _shown_size(request)
        found = References(plan.references, references.place_of(plan.references), names, hashes)
    except BadInput as error:
        note(request, [f"references are left out: {error}"])
        return
    missing = 0
    for image in images:
        try:
            [pixels] = found.images([rows[image.name or ""]], size_px)
        except BadInput as error:
            missing += 1
            if missing == 1:
                reason = str(error)
            continue
        yield image, png(pixels)
    if missing:
        note(request, [f"{counted(missing, 'reference')} left out: {reason}"])


def _shown_size(request: Request) -> int:
    """Height and width of the shown images: the plan's, else the generator's. Raises BadInput."""
    plan = request.plan
    if plan.image_size_px is not None:
        return plan.image_size_px
    kept = request.record.query("SELECT png FROM kept_image LIMIT 1")
    if kept:
        return int(pixels_of(kept[0][0]).shape[0])
    return GENERATORS.make(plan.generator.name, **plan.generator.options).image_size_px
