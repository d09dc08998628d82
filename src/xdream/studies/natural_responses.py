"""Natural images and what a layer's units respond to them: shown once, kept beside the studies of a folder.

STUDIES/natural/NETWORK-LAYER-KEY/00000.npy   (images, units) float32, `PART` images in each file

The key is made of everything that the numbers follow from, so that studies share them, and a killed one loses
at most a part. They are not in the stores: a million images times a hundred units is no table of a database.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import filelock
import numpy as np
import numpy.typing as npt
import torch

from xdream import files, networks
from xdream.errors import StoreError
from xdream.experiment.callbacks import Callback
from xdream.images import references
from xdream.images.references import References
from xdream.memory import out_of_memory
from xdream.networks import Network
from xdream.store import LOCK_NAME
from xdream.studies.network_layers import short
from xdream.subjects import Subject, network_units
from xdream.types import ShownImages

Array = npt.NDArray[np.float32]

#: Images in one file, read at once (to open a large zip file takes long), and in one batch.
PART, READ, BATCH = 20_000, 1_000, 100
#: With so many it is tried whether a network is still the one that answered.
PROBE = 8
MANIFEST = "references.csv"


@dataclass(frozen=True)
class Natural:
    """The responses of some units of a layer to all natural images, (images, units), without noise."""

    references: References
    units: tuple[str, ...]
    responses: Array

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {unit: column for column, unit in enumerate(self.units)}

    def of(self, unit: str) -> Array:
        """(images,) of one unit."""
        return self.responses[:, self._columns[unit]]

    def best(self, unit: str) -> float:
        """The best natural image's response."""
        return float(self.of(unit).max())

    @cached_property
    def _expected(self) -> dict[tuple[str, int], float]:
        return {}

    def expected_best(self, unit: str, n: int) -> float:
        """The expected best of n natural images drawn without replacement."""
        if (unit, n) not in self._expected:  # of a million images it takes a third of a second
            found = references.expected_best(torch.from_numpy(self.of(unit)), n)
            self._expected[unit, n] = found
        return self._expected[unit, n]

    def order(self, unit: str) -> list[int]:
        """The images from the best to the worst."""
        order: list[int] = np.argsort(-self.of(unit), kind="stable").tolist()
        return order

    @cached_property
    def categories(self) -> dict[str, list[int]]:
        """Category -> its images, where the file names say it: what stands before the first underscore."""
        found: dict[str, list[int]] = {}
        for index, name in enumerate(self.references.names):
            category, underscore, _ = Path(name).name.partition("_")
            if underscore:
                found.setdefault(category, []).append(index)
        return found


def write_manifest(folder: Path, source: str) -> None:
    """The natural images of a study, each checked once, so that its shards need not. Raises BadInput."""
    found = references.load(source)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["name", "sha256"])
    lines.writerows(zip(found.names, found.hashes, strict=True))
    files.replace(folder / MANIFEST, text.getvalue().encode())


def from_manifest(folder: Path, source: str) -> References:
    """The natural images of a study; each file is compared with its hash when it is read."""
    try:
        with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
            rows = [(row["name"], row["sha256"]) for row in csv.DictReader(file, strict=True)]
        names, hashes = zip(*rows, strict=True)
    except OSError as error:
        raise StoreError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, csv.Error):
        raise StoreError(f"{folder / MANIFEST} is damaged; begin the study in another folder") from None
    return References(source, references.place_of(source), names, hashes)


def responses(
    found: References,
    network: Network,
    layer: str,
    units: Sequence[str],
    size_px: int,
    device: torch.device,
    folder: Path,
    callback: Callback,
) -> Natural:
    """Asked for where they are not there yet. folder: of all studies' natural responses.

    Another process that asks for the same is waited for. Raises BadInput, SubjectError, StoreError.
    """
    what = [networks.fingerprint(network.module), repr(network.preprocessing), layer, list(units), size_px]
    digest = hashlib.sha256(json.dumps([*what, found.hashes]).encode())
    name = re.sub(r"[^\w.-]", "_", f"{short(network.name)}-{layer}")
    parts = folder / f"{name}-{digest.hexdigest()[:16]}"
    subject = network_units(network, [(layer, ",".join(units))], device, size_px)
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(parts / LOCK_NAME):
            _complete(parts, found, size_px, subject, callback)
            together = _read(parts, found, len(units))
    except OSError as error:
        raise StoreError(f"{parts} cannot be used: {error.strerror or error}") from None
    _check_same(parts, together, _answers(found, range(min(PROBE, len(found))), size_px, subject))
    return Natural(found, tuple(units), together)


def _complete(parts: Path, found: References, size_px: int, subject: Subject, callback: Callback) -> None:
    """The files that are missing."""
    for number in range(_count(found)):
        path = parts / f"{number:05}.npy"
        if path.exists():
            continue
        answers = []
        for start in range(number * PART, min((number + 1) * PART, len(found)), READ):
            callback.stage("natural images", start, len(found))
            rows = range(start, min(start + READ, (number + 1) * PART, len(found)))
            answers.append(_answers(found, rows, size_px, subject))
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(answers))
        files.replace(path, buffer.getvalue())
    callback.stage("natural images", len(found), len(found))


def _read(parts: Path, found: References, units: int) -> Array:
    """All files as one array, (images, units). Raises StoreError for one that is damaged."""
    together = np.empty((len(found), units), np.float32)
    for number in range(_count(found)):
        path = parts / f"{number:05}.npy"
        rows = slice(number * PART, min((number + 1) * PART, len(found)))
        try:
            part = np.load(path, allow_pickle=False)
            if part.shape != together[rows].shape:
                raise ValueError
        except (ValueError, EOFError):
            raise StoreError(f"{path} is damaged; remove it, and it is made anew") from None
        together[rows] = part
    return together


def _check_same(parts: Path, together: Array, fresh: Array) -> None:
    """Whether a network still answers as it did: weights and preprocessing in the key are not all of it."""
    scale = max(float(np.abs(together).max()), 1e-6)
    if not np.allclose(together[: len(fresh)], fresh, rtol=0.01, atol=0.01 * scale, equal_nan=True):
        raise StoreError(
            f"{parts} holds the responses of another network with the same weights; remove that folder, and "
            "begin the study in another one"
        )


def _count(found: References) -> int:
    return math.ceil(len(found) / PART)


def _answers(found: References, rows: range, size_px: int, subject: Subject) -> Array:
    """The responses to some images, which are read at once and shown in batches."""
    images = found.images(rows, size_px)
    return np.concatenate([_respond(subject, images[at : at + BATCH]) for at in range(0, len(images), BATCH)])


def _respond(subject: Subject, images: ShownImages) -> Array:
    """Half as many at a time where the memory does not suffice."""
    try:
        return subject.respond(images).numpy().astype(np.float32)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error) or len(images) == 1:
            raise
    middle = len(images) // 2
    return np.concatenate([_respond(subject, half) for half in (images[:middle], images[middle:])])
