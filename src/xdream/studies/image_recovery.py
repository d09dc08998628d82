"""Given images recovered: the work of a shard of the study `expressiveness`."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xdream import networks
from xdream.errors import BadInput
from xdream.experiment.assemble import assemble
from xdream.generators import Features, encode, layer_features
from xdream.images.files import chw, hwc, png
from xdream.images.files import write as write_image
from xdream.report import plan_of
from xdream.report.redraw import redraw
from xdream.studies import natural_responses
from xdream.studies.shard_work import GENETIC, Work
from xdream.studies.table import PixelArray, TableRow, image_text
from xdream.subjects import ImageMatch, parse_units
from xdream.types import ShownImages

PIXEL, FEATURE = "relative pixel error", "relative feature error"
DETAIL = "fine detail kept"
IMAGE, ORIGINAL = "image", "original image"

#: The steps of the gradient, in the paper and in a tiny study.
STEPS, FEW_STEPS = 100, 20
#: Fine detail is what varies faster than this part of the highest frequency that pixels can show.
FINE = 0.25
#: A power that is nothing: one pixel that differs by one level has more.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Original:
    """An image to be recovered. unit: its number among the natural images. path: of a PNG of its pixels.

    measures: minus its error in pixels, and in the layer. start: the errors of the generator's centre image.
    """

    unit: str
    pixels: ShownImages
    path: Path
    measures: tuple[ImageMatch, ImageMatch]
    start: tuple[float, float]

    def errors(self, image: ShownImages) -> tuple[float, float]:
        """Of pixels, and in the layer."""
        return _errors(self.measures, image)


def _errors(measures: tuple[ImageMatch, ImageMatch], image: ShownImages) -> tuple[float, float]:
    pixel, feature = (-float(measure.respond(image[None])[0, 0]) for measure in measures)
    return pixel, feature


class Recovery:
    """What a shard recovers."""

    def __init__(self, work: Work) -> None:
        self._work, self._place = work, work.place
        self._part = work.plan.generators[0]
        self._device = networks.device(work.plan.device)
        self._network = work.plan.network(work.place.network)
        self._steps = FEW_STEPS if work.plan.scale == "tiny" else STEPS
        found = natural_responses.from_manifest(work.folder.parent.parent, work.plan.references)
        numbers = chosen(work.plan.units, len(found))
        shown = found.images(numbers, work.size_px)
        paths = [
            _written(Path(os.path.abspath(work.folder)), i, pixels)
            for i, pixels in zip(numbers, shown, strict=True)
        ]
        # Made as an experiment makes it, so that both searches draw alike.
        parts = assemble(work.base(targets=[f"match:{paths[0]}::0"], generator=self._part))
        self._generator, self._forward = parts.generator, parts.forward
        [start] = self._forward.draw(self._generator.centre[None]).cpu()
        reader, _ = networks.layer_reader(self._network, [self._place.layer], self._device, work.size_px)
        self.originals = []
        for i, pixels, path in zip(numbers, shown, paths, strict=True):
            measures = ImageMatch("pixels", pixels[None]), ImageMatch("layer", pixels[None], reader)
            self.originals.append(Original(str(i), pixels, path, measures, _errors(measures, start)))

    def through_pixels(self) -> Iterator[TableRow]:
        """By gradient, and by one experiment of all images."""
        yield from self._descended("pixel, gradient", None)
        targets = [f"match:{original.path}::0" for original in self.originals]
        yield from self._evolved("pixel, genetic", "pixel", targets, self.originals)

    def through_features(self) -> Iterator[TableRow]:
        """By gradient, and by an experiment of each image: every target loads a network of its own."""
        size_px = self._generator.image_size_px
        features = layer_features(self._network, self._place.layer, size_px, self._device)
        yield from self._descended("feature, gradient", features)
        for original in self.originals:
            target = f"match:{original.path}:{self._place}:0"
            yield from self._evolved("feature, genetic", f"feature-{original.unit}", [target], [original])

    def _descended(self, condition: str, features: Features | None) -> Iterator[TableRow]:
        images = torch.stack([original.pixels for original in self.originals]).to(torch.float32) / 255.0
        codes, _ = encode(self._generator, images, self._steps, "opt", features)
        about = {"condition": condition, "optimizer": "gradient"}
        for original, code in zip(self.originals, codes, strict=True):
            yield self._row(original, about, "steps", float(self._steps))
            [drawn] = self._forward.draw(code[None]).cpu()
            yield from self._rows(original, about, drawn)

    def _evolved(
        self, condition: str, key: str, targets: Sequence[str], originals: Sequence[Original]
    ) -> Iterator[TableRow]:
        seeds = self._work.plan.seeds or 1
        plan = self._work.base(targets=targets, generator=self._part, optimizer=GENETIC, runs=seeds)
        with contextlib.closing(self._work.experiment(key, plan, key)) as record:
            runs = record.runs()
            last = [record.best_image(run.id, len(record.scores(run.id)) - 1) for run in runs]
            drawn, alarms = redraw(record, plan_of(record), [image for image in last if image is not None])
            for alarm in alarms:
                self._work.callback.trouble(alarm)
            of_runs = [original for original in originals for _ in range(seeds)]
            for run, image, original in zip(runs, last, of_runs, strict=True):
                about = {"condition": condition, "optimizer": GENETIC.name, "seed": run.seed}
                yield self._row(original, about, "presentations", float(record.presentation_count(run.id)))
                if image is not None and image.id in drawn:
                    pixels = chw(drawn[image.id].pixels)
                    yield from self._rows(original, about, pixels)

    def _rows(self, original: Original, about: Mapping[str, Any], image: ShownImages) -> Iterator[TableRow]:
        """What is said of a recovered image."""
        pixel, feature = original.errors(image)
        kept = detail_kept(hwc(image), hwc(original.pixels))
        for measure, value in (
            ("pixel error", pixel),
            (PIXEL, _ratio(pixel, original.start[0])),
            (FEATURE, _ratio(feature, original.start[1])),
            (DETAIL, kept),
        ):
            yield self._row(original, about, measure, value)
        yield self._row(original, about, IMAGE, image=image_text(hwc(image)))

    def _row(
        self,
        original: Original,
        about: Mapping[str, Any],
        measure: str,
        value: float = math.nan,
        image: str = "",
    ) -> TableRow:
        name = self._part.name
        return self._work.row(measure, value, unit=original.unit, generator=name, image=image, **about)


def chosen(units: int | str | None, count: int) -> list[int]:
    """Images by their numbers: those that are named, or so many, spread over the list. Raises BadInput."""
    if isinstance(units, str):
        try:
            return [unit.channel for unit in parse_units(units, (count,))]
        except BadInput as error:
            raise BadInput(f"units are images here, of which there are {count}: {error}") from None
    wanted = min(units or 1, count)
    return [number * count // wanted for number in range(wanted)]


def _written(folder: Path, index: int, pixels: ShownImages) -> Path:
    """The file of an image, for targets to name."""
    path = folder / "images" / f"{index}.png"
    return write_image(path, png(pixels))


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0.0 else math.nan


def detail_kept(recovered: PixelArray, original: PixelArray) -> float:
    """The power of fine detail of an image over that of its original; NaN where that has none."""
    power = _fine_power(original)
    return _fine_power(recovered) / power if power > _ROUNDING else math.nan


def _fine_power(image: PixelArray) -> float:
    """Power beyond `FINE` of the Nyquist frequency, in all directions, over all colours.

    Under a Hann window: without it the borders, which do not meet, would count as detail.
    """
    values = image.astype(np.float64) / 255.0
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    values -= (values * window[..., None]).sum((0, 1)) / window.sum()
    power = np.abs(np.fft.fft2(values * window[..., None], axes=(0, 1))) ** 2
    y, x = (np.fft.fftfreq(size) / 0.5 for size in image.shape[:2])
    return float(power[np.hypot(y[:, None], x) > FINE].sum())
