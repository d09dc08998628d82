"""Before the training: images decoded, seen by the encoder once, and the projection to codes fitted.

Everything is kept in the training's folder, a row per image, so that a kill costs a few batches.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from xdream.errors import BadInput, SubjectError
from xdream.experiment.callbacks import Callback
from xdream.files import replace
from xdream.generators.projection import GridReader, Projection
from xdream.images import references
from xdream.images.references import References
from xdream.networks import one_line
from xdream.types import Codes, ShownImages

#: Images that the encoder sees at a time.
ENCODER_BATCH = 64
#: Bytes written at a time into a new file.
ZEROS = 2**24
#: Rows that are multiplied at a time in fitting the projection.
ROWS = 4096
#: Subspace iteration: axes beside those that are kept, and rounds (Halko, Martinsson & Tropp 2011, §4.5).
SPARE_AXES, ROUNDS = 32, 8
#: Images per dimension of the code, at least: fewer would not say what a typical code is.
LEAST_IMAGES_PER_DIMENSION = 4


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


def find(name: str, sources: Sequence[str], callback: Callback, least: int = 0) -> list[References]:
    """The images of some folders or zip files, checked.

    name: what they are called. least: how many they must be. Raises BadInput for images that cannot be
    read, or are too few.
    """
    found = []
    for place, source in enumerate(sources):
        callback.stage(f"checking {name} images", place, len(sources))
        found.append(references.load(source))
    callback.stage(f"checking {name} images", len(sources), len(sources))
    count = sum(len(one) for one in found)
    if count < least:
        raise BadInput(
            f"{count} {name} images are too few for this code, which needs at least {least} "
            f"({LEAST_IMAGES_PER_DIMENSION} per dimension); give more, or fewer dimensions"
        )
    return found


def prepare(
    name: str,
    found: Sequence[References],
    size_px: int,
    encoder: GridReader,
    folder: Path,
    callback: Callback,
) -> Pictures:
    """Images as the training needs them.

    name: of their files in the training's folder. Goes on where a killed call stopped. Raises BadInput when
    the images, or the encoder, are others than then.
    """
    count = sum(len(one) for one in found)
    hashes = "".join(h for one in found for h in one.hashes)
    digest = hashlib.sha256(hashes.encode()).hexdigest()
    if not count:
        return Pictures(np.empty((0, 3, size_px, size_px), np.uint8), np.empty((0, 0), np.float16), digest)
    written = _RowsWritten(
        folder / f"{name}.json", digest, (count, size_px, encoder.features), encoder.identity
    )
    files = folder / f"{name}-pixels.npy", folder / f"{name}-features.npy"
    if not all(path.exists() for path in files):  # deleted since: what is made in their place is empty
        written.done = 0
    pixels = _array(files[0], (count, 3, size_px, size_px), np.uint8)
    features = _array(files[1], (count, encoder.features), np.float16)
    start = written.done
    for one, first, rows in _batches(found, ENCODER_BATCH):
        at = slice(first + rows.start, first + rows.stop)
        if at.stop <= start:
            continue
        callback.stage(f"encoding {name} images", at.start, count)
        shown = one.images(rows, size_px)
        pixels[at] = shown.numpy()
        try:
            with torch.inference_mode():
                read = encoder(shown.to(torch.float32) / 255.0).to(torch.float16).cpu()
        except Exception as error:  # whatever the user's own network raises
            raise SubjectError(f"the encoder failed on a batch: {one_line(error)}") from error
        if not bool(torch.isfinite(read).all()):
            raise BadInput(
                f"layer '{encoder.layer}' gives values beyond half precision, or none; choose another layer"
            )
        features[at] = read.numpy()
        if at.stop - written.done >= 20 * ENCODER_BATCH or at.stop == count:
            pixels.flush()
            features.flush()
            written.reached(at.stop)
    callback.stage(f"encoding {name} images", count, count)
    return Pictures(pixels, features, digest)


class _RowsWritten:
    """How many rows are in the files beside, and of what."""

    def __init__(self, path: Path, digest: str, shape: tuple[int, ...], encoder: str) -> None:
        self._path = path
        self._of = {"digest": digest, "shape": list(shape), "encoder": encoder}
        self.done = 0
        if path.exists():
            there = json.loads(path.read_text())
            for key, what in (("digest", "images are"), ("encoder", "encoder is"), ("shape", "sizes are")):
                if there[key] != self._of[key]:
                    raise BadInput(
                        f"the {what} not what {path.parent} was begun with; put back what was, or give "
                        "another folder"
                    )
            self.done = there["done"]

    def reached(self, rows: int) -> None:
        """Write it."""
        self.done = rows
        replace(self._path, json.dumps(self._of | {"done": rows}).encode())


def _array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    """A file of rows, mapped; made when there is none."""
    if not path.exists():
        _make_array(path, shape, np.dtype(dtype))
    try:
        array = np.lib.format.open_memmap(path, mode="r+")
    except ValueError as error:
        raise BadInput(f"{path} cannot be read ({one_line(error)}); give another folder") from error
    if array.shape != shape or array.dtype != dtype:
        raise BadInput(f"{path} has the shape {array.shape}, not {shape}; give another folder")
    return array


def _make_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """A file of zeros, written out: a full disk is an error now, and would be the process's end when the
    room were only taken in writing to the mapped file."""
    partial = path.with_suffix(".partial")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    left = math.prod(shape) * dtype.itemsize
    try:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, left, ZEROS):
                file.write(bytes(min(ZEROS, left - start)))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _batches(found: Sequence[References], size: int) -> Iterator[tuple[References, int, range]]:
    first = 0
    for one in found:
        for start in range(0, len(one), size):
            yield one, first, range(start, min(start + size, len(one)))
        first += len(one)


def fit(features: npt.NDArray[np.float16], dimensions: int, seed: int, callback: Callback) -> Projection:
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
        callback.stage("fitting the code", turn, ROUNDS)
        product = torch.zeros(width, axes)
        for i in range(0, n, ROWS):
            x = _rows(features, i) - mean
            product += x.T @ (x @ q)
        small = q.T @ product / n
        q_next = torch.linalg.qr(product).Q
        if turn < ROUNDS - 1:
            q = q_next
    callback.stage("fitting the code", ROUNDS, ROUNDS)
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
    matrix = (directions * signs / variance.sqrt()).T.contiguous()
    if not bool(torch.isfinite(matrix.to(torch.float16)).all()):  # as the generator's file keeps it
        raise BadInput(
            f"this layer differs between images by {float(variance[0].sqrt()):.1e} at most, too little for "
            "half precision; choose another layer"
        )
    return Projection(mean, matrix)


def project(features: npt.NDArray[np.float16], projection: Projection) -> Codes:
    """(n, features) -> (n, d) codes."""
    return torch.cat([projection(_rows(features, i)) for i in range(0, len(features), ROWS)])


def _rows(features: npt.NDArray[np.float16], start: int) -> torch.Tensor:
    return torch.from_numpy(features[start : start + ROWS].astype(np.float32))
