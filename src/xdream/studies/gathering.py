"""What is in folders of studies and shards, gathered into one table. Without PyTorch and SciPy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from xdream.errors import BadInput, StoreError
from xdream.store import FILE_NAME as EXPERIMENT
from xdream.studies import experiment_rows, table
from xdream.studies.file_names import STUDY
from xdream.studies.network_layers import LayerChoice
from xdream.studies.plan import Shard
from xdream.studies.table import Table

FILE_NAME, SHARDS_FILE, TABLE = STUDY, "shards.json", "table.csv"
SHARDS, RESULT = "shards", "result.csv"


def shards_of(folder: Path) -> tuple[Shard, ...]:
    """The shards of a study that was begun; no network is needed to know them. Raises StoreError."""
    path = folder / SHARDS_FILE
    try:
        found = json.loads(path.read_text("utf-8"))
        return tuple(Shard(one["number"], LayerChoice(**one["place"])) for one in found)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise StoreError(f"{path} is damaged; begin the study in another folder") from None


def shard_folder(folder: Path, shard: Shard) -> Path:
    """Where a shard is computed."""
    return folder / SHARDS / f"{shard.number:03}-{shard.name}"


def unfinished(folder: Path) -> list[Shard]:
    """The shards without a result."""
    return [s for s in shards_of(folder) if not (shard_folder(folder, s) / RESULT).exists()]


def gathered(places: Sequence[Path], *, partial: bool = False) -> Table:
    """One table of folders of studies, shards and single experiments, and of tables.

    partial: also of unfinished studies. Raises BadInput, also where a shard is not done.
    """
    tables = []
    for place in places:
        if (place / EXPERIMENT).exists():
            tables.append(Table(experiment_rows.rows_of(place)))
        else:
            tables += [_read(path) for path in _tables(place, partial)]
    return table.merged(tables)


def _read(path: Path) -> Table:
    try:
        return table.read(path)
    except BadInput as error:
        if path.name != RESULT:
            raise
        raise StoreError(f"{error}; remove it, and xdream resume makes it anew from its stores") from None


def _tables(place: Path, partial: bool) -> Iterator[Path]:
    if place.suffix.lower() in table.SUFFIXES and not place.is_dir():
        yield place
    elif (place / RESULT).exists():
        yield place / RESULT
    elif (place / FILE_NAME).exists():
        shards, missing = shards_of(place), unfinished(place)
        if missing and not partial:
            named = ", ".join(f"{s.number} {s.name}" for s in missing[:5])
            raise BadInput(
                f"{len(missing)} of {len(shards)} shards of {place} are not done "
                f"({named}{' …' if len(missing) > 5 else ''}); "
                f"continue with: xdream resume {place}, or take what there is with --partial"
            )
        done = [s for s in shards if s not in missing]
        if not done:
            raise BadInput(f"no shard of {place} is done yet; continue with: xdream resume {place}")
        yield from (shard_folder(place, s) / RESULT for s in done)
    else:
        raise BadInput(f"'{place}' is no table, no study's folder and no shard's folder that is done")
