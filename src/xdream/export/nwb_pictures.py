"""The images of an NWB file. The library writes the first and h5py the others, one at a time: as objects of
the library all of them would be in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import h5py

from xdream.experiment import presentation_rows
from xdream.experiment.presentation_rows import ShownImage
from xdream.export.base import Request, note
from xdream.images.files import pixels_of

#: More images than this are left to `--to images`: a reader of the file makes an object of each.
MOST_IMAGES = 20_000
WHERE = "stimulus/templates/shown_images"
ORDER = "order_of_images"


class Pictures:
    """The images that a record kept. place: by an image's id where it stands in their order; empty where
    there are none, or too many, which is noted."""

    def __init__(self, request: Request) -> None:
        self._record = request.record
        self.place: dict[str, int] = {}
        [(count,)] = self._record.query("SELECT count(*) FROM kept_image")
        if count > MOST_IMAGES:
            note(request, [f"{count:,} images are left out: xdream export --to images"])
            return
        kept = {pixels for (pixels,) in self._record.query("SELECT pixels FROM kept_image")}
        first_of: dict[str, int] = {}
        for image in self._images():
            if (
                image.pixels is not None and image.pixels in kept
            ):  # the same pixels once more are the same picture
                self.place[image.id] = first_of.setdefault(image.pixels, len(first_of))
        if not self.place:
            note(request, ["no images were kept: the file has none; xdream export --to images"])

    def first(self, pynwb: Any, file: Any) -> Any:
        """Begin `shown_images` with the first of them; the object of the library."""
        image, pixels = next(self._pictures())
        made = pynwb.image.RGBImage(name=image.id, data=pixels, description=_described(image))
        images = pynwb.base.Images(
            name="shown_images",
            images=[made],
            description="images as they were shown, 8 bits, RGB",
            order_of_images=pynwb.base.ImageReferences(name=ORDER, data=[made]),
        )
        file.add_stimulus_template(images)
        return images

    def append(self, file: h5py.File) -> None:
        """The others, in the file that the library has written."""
        if not self.place:
            return
        group = file[WHERE]
        order: list[h5py.Reference] = []
        for image, pixels in self._pictures():
            if not order:
                like = dict(group[image.id].attrs)
            else:
                made = group.create_dataset(image.id, data=pixels)
                made.attrs.update(like | {"description": _described(image), "object_id": str(uuid.uuid4())})
            order.append(group[image.id].ref)
        attributes = dict(group[ORDER].attrs)
        del group[ORDER]
        group.create_dataset(ORDER, data=order, dtype=h5py.ref_dtype).attrs.update(attributes)

    def _pictures(self) -> Iterator[tuple[ShownImage, Any]]:
        """Each picture once, in order: its image and its pixels, (h, w, 3)."""
        done = 0
        for image in self._images():
            if self.place.get(image.id) != done:
                continue
            data = self._record.kept_image(image.pixels)
            assert data is not None
            done += 1
            yield image, pixels_of(data)

    def _images(self) -> Iterator[ShownImage]:
        for batch in presentation_rows.images(self._record):
            yield from batch


def _described(image: ShownImage) -> str:
    return f"reference photograph {image.name}" if image.reference else f"evolved image {image.id}"
