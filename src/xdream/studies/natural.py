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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from xdream import files, networks, references
from xdream.errors import StoreError
from xdream.memory import out_of_memory
from xdream.networks import Network
from xdream.references import References
from xdream.studies.places import short
from xdream.subjects import Subject, network_units
from xdream.watcher import Watcher

Array = npt.NDArray[np.float32]

#: Images in one file, and in one batch.
PART, BATCH = 20_000, 100
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

    def expected_best(self, unit: str, n: int) -> float:
        """The expected best of n natural images drawn without replacement."""
        return references.expected_best(torch.from_numpy(self.of(unit)), n)

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
    found: References, network: Network, layer: str, units: Sequence[str], size_px: int,
    device: torch.device, folder: Path, watcher: Watcher,
) -> Natural:  # fmt: skip
    """Asked for where they are not there yet. folder: of all studies' natural responses.

    Raises BadInput, SubjectError, StoreError.
    """
    what = [networks.fingerprint(network.module), repr(network.preprocessing), layer, list(units), size_px]
    digest = hashlib.sha256(json.dumps([*what, found.hashes]).encode())
    name = re.sub(r"[^\w.-]", "_", f"{short(network.name)}-{layer}")
    parts = folder / f"{name}-{digest.hexdigest()[:16]}"
    parts.mkdir(parents=True, exist_ok=True)
    count = math.ceil(len(found) / PART)
    subject = None
    for number in range(count):
        path = parts / f"{number:05}.npy"
        if path.exists():
            continue
        subject = subject or network_units(network, [(layer, ",".join(units))], device, size_px)
        rows = range(number * PART, min((number + 1) * PART, len(found)))
        answers = []
        for some in _batches(rows):
            watcher.stage("natural images", some.start, len(found))
            answers.append(_answers(found, some, size_px, subject))
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(answers))
        files.replace(path, buffer.getvalue())
    watcher.stage("natural images", len(found), len(found))
    together = np.concatenate([np.load(parts / f"{number:05}.npy") for number in range(count)])
    return Natural(found, tuple(units), together)


def _answers(found: References, some: range, size_px: int, subject: Subject) -> Array:
    """The responses to some images; half as many at a time where the memory does not suffice."""
    try:
        return subject.respond(found.images(some, size_px)).numpy().astype(np.float32)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error) or len(some) == 1:
            raise
    middle = some.start + len(some) // 2
    halves = (range(some.start, middle), range(middle, some.stop))
    return np.concatenate([_answers(found, half, size_px, subject) for half in halves])


def _batches(rows: range) -> Iterator[range]:
    for start in range(rows.start, rows.stop, BATCH):
        yield range(start, min(start + BATCH, rows.stop))
