"""Before the training: images decoded, seen by the encoder once, and the projection to codes fitted.

Everything is kept in the training's folder, a row per image, so that a kill costs one batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from xdream import references
from xdream.errors import BadInput
from xdream.generators.projection import GridReader, Projection
from xdream.types import Codes, ShownImages

#: Images that the encoder sees at a time.
ENCODER_BATCH = 64
#: Rows that are multiplied at a time in fitting the projection.
ROWS = 4096
#: Subspace iteration: axes beside those that are kept, and rounds (Halko, Martinsson & Tropp 2011, §4.5).
SPARE_AXES, ROUNDS = 32, 8
#: Images per dimension of the code, at least: fewer would not say what a typical code is.
LEAST_IMAGES_PER_DIMENSION = 4

#: Called with (stage, done, total).
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pictures:
    """Images decoded at the generator's size, and what the encoder says of them.

    pixels: (n, 3, size, size) uint8. features: (n, features) float16. digest: SHA-256 over the hashes of
    their files.
    """

    pixels: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float16]
    digest: str

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> ShownImages:
        """(n, 3, size, size) uint8."""
        return torch.from_numpy(self.pixels[np.asarray(rows)])


def prepare(
    name: str,
    sources: Sequence[str],
    size_px: int,
    encoder: GridReader,
    folder: Path,
    report: Report,
    least: int = 0,
) -> Pictures:
    """The images of some folders or zip files, as the training needs them.

    name: of the files in the training's folder. least: how many they must be. Goes on where a killed call
    stopped. Raises BadInput for images that cannot be read, or are too few.
    """
    found = []
    for place, source in enumerate(sources):
        report(f"checking {name} images", place, len(sources))
        found.append(references.load(source))
    report(f"checking {name} images", len(sources), len(sources))
    count = sum(len(one) for one in found)
    hashes = "".join(h for one in found for h in one.hashes)
    digest = hashlib.sha256(hashes.encode()).hexdigest()

    if count < least:
        raise BadInput(
            f"{count} {name} images are too few for this code, which needs at least {least} "
            f"({LEAST_IMAGES_PER_DIMENSION} per dimension); give more, or fewer dimensions"
        )
    if not count:
        return Pictures(np.empty((0, 3, size_px, size_px), np.uint8), np.empty((0, 0), np.float16), digest)
    progress = _Progress(folder / f"{name}.json", digest, (count, size_px, encoder.features))
    pixels = _array(folder / f"{name}-pixels.npy", (count, 3, size_px, size_px), np.uint8)
    features = _array(folder / f"{name}-features.npy", (count, encoder.features), np.float16)
    start = progress.done
    for one, first, rows in _batches(found, ENCODER_BATCH):
        at = slice(first + rows.start, first + rows.stop)
        if at.stop <= start:
            continue
        report(f"encoding {name} images", at.start, count)
        shown = one.images(rows, size_px)
        pixels[at] = shown.numpy()
        with torch.inference_mode():
            features[at] = encoder(shown.to(torch.float32) / 255.0).to(torch.float16).cpu().numpy()
        if at.stop - progress.done >= 20 * ENCODER_BATCH or at.stop == count:
            pixels.flush()
            features.flush()
            progress.reached(at.stop)
    report(f"encoding {name} images", count, count)
    if not np.isfinite(features[:: max(1, count // 1000)]).all():
        raise BadInput(
            f"layer '{encoder.layer}' gives values beyond half precision, or none; choose another layer"
        )
    return Pictures(pixels, features, digest)


class _Progress:
    """How many rows are in the files beside, and of what."""

    def __init__(self, path: Path, digest: str, shape: tuple[int, ...]) -> None:
        self._path = path
        self._of = {"digest": digest, "shape": list(shape)}
        self.done = 0
        if path.exists():
            written = json.loads(path.read_text())
            if {key: written[key] for key in self._of} != self._of:
                raise BadInput(
                    f"the images are not those that {path.parent} was begun with; put them back, or give "
                    "another folder"
                )
            self.done = written["done"]

    def reached(self, rows: int) -> None:
        """Write it, whole or not at all."""
        self.done = rows
        temporary = self._path.with_suffix(".partial")
        temporary.write_text(json.dumps(self._of | {"done": rows}))
        temporary.replace(self._path)


def _array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    if path.exists():
        array = np.lib.format.open_memmap(path, mode="r+")
        if array.shape == shape and array.dtype == dtype:
            return array
        raise BadInput(f"{path} has the shape {array.shape}, not {shape}; give another folder")
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _batches(
    found: Sequence[references.References], size: int
) -> Iterator[tuple[references.References, int, range]]:
    first = 0
    for one in found:
        for start in range(0, len(one), size):
            yield one, first, range(start, min(start + size, len(one)))
        first += len(one)


def fit(features: npt.NDArray[np.float16], dimensions: int, seed: int, report: Report) -> Projection:
    """The projection onto the principal axes of the features, each scaled to variance 1 over the images.

    Randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4), a pass over the features
    each round. Axes are signed so that their largest weight is positive. Raises BadInput when the images
    differ too little.
    """
    n, width = features.shape
    mean = sum(_rows(features, i).sum(0, dtype=torch.float64) for i in range(0, n, ROWS)) / n
    assert isinstance(mean, torch.Tensor)
    mean = mean.to(torch.float32)
    axes = min(dimensions + SPARE_AXES, width)
    rng = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(width, axes, generator=rng)).Q
    small = q
    for turn in range(ROUNDS):
        report("fitting the code", turn, ROUNDS)
        product = torch.zeros(width, axes)
        for i in range(0, n, ROWS):
            x = _rows(features, i) - mean
            product += x.T @ (x @ q)
        small = q.T @ product / n
        q_next = torch.linalg.qr(product).Q
        if turn < ROUNDS - 1:
            q = q_next
    report("fitting the code", ROUNDS, ROUNDS)
    variance, within = torch.linalg.eigh((small + small.T) / 2)
    order = torch.argsort(variance, descending=True)[:dimensions]
    variance, directions = variance[order], q @ within[:, order]
    if not bool((variance > 1e-6 * variance[0]).all()):
        raise BadInput(
            f"the images differ in fewer than {dimensions} ways at this layer; give more images or fewer "
            "dimensions"
        )
    largest = directions.abs().argmax(0)
    signs = directions[largest, torch.arange(dimensions)].sign()
    return Projection(mean, (directions * signs / variance.sqrt()).T.contiguous())


def project(features: npt.NDArray[np.float16], projection: Projection) -> Codes:
    """(n, features) -> (n, d) codes."""
    return torch.cat([projection(_rows(features, i)) for i in range(0, len(features), ROWS)])


def _rows(features: npt.NDArray[np.float16], start: int) -> torch.Tensor:
    return torch.from_numpy(features[start : start + ROWS].astype(np.float32))
