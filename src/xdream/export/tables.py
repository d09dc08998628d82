"""A record as CSV or Parquet: a table of presentations, a table of images, the kept images, the plan."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xdream.errors import BadInput
from xdream.experiment.record import (
    IMAGE_COLUMNS,
    PRESENTATION_COLUMNS,
    image_columns,
    presentation_columns,
    spike_columns,
)
from xdream.export.base import (
    Request,
    images_with_progress,
    new_place,
    presentations_with_progress,
    write_about,
)
from xdream.export.pictures import file_name
from xdream.export.reference_rows import REFERENCE_COLUMNS, reference_columns

Columns = dict[str, list[Any]]
#: A column of lists of numbers.
LIST = "list"


class TableWriter(Protocol):
    """Writes columns, batch by batch."""

    def write(self, columns: Columns) -> None:
        """One batch."""
        ...

    def close(self) -> None:
        """The end of the file."""
        ...


class CsvWriter:
    """Comma-separated, UTF-8; a missing value is empty, a list is numbers with spaces between."""

    def __init__(self, path: Path, types: dict[str, str]) -> None:
        self._file = path.with_suffix(".csv").open("w", newline="", encoding="utf-8")
        self._table = csv.writer(self._file)
        self._table.writerow(types)
        self._lists = [name for name, kind in types.items() if kind == LIST]

    def write(self, columns: Columns) -> None:
        """One batch."""
        for name in self._lists:
            columns[name] = [
                None if one is None else " ".join(map(repr, one.tolist())) for one in columns[name]
            ]
        cells = ([("" if x is None or x != x else x) for x in values] for values in columns.values())
        self._table.writerows(zip(*cells, strict=True))

    def close(self) -> None:
        """The end of the file."""
        self._file.close()


class ParquetWriter:
    """Apache Parquet, one row group for each batch."""

    def __init__(self, path: Path, types: dict[str, str]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise BadInput("Parquet needs pyarrow: pip install 'xdream[tables]'") from None
        kinds = {"str": pyarrow.string(), "bool": pyarrow.bool_(), LIST: pyarrow.list_(pyarrow.float64())}
        kinds |= {"int64": pyarrow.int64(), "Int64": pyarrow.int64(), "float64": pyarrow.float64()}
        self._pyarrow = pyarrow
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in types.items()])
        self._writer = parquet.ParquetWriter(path.with_suffix(".parquet"), self._schema)

    def write(self, columns: Columns) -> None:
        """One batch."""
        if next(iter(columns.values())):
            self._writer.write_table(self._pyarrow.table(columns, schema=self._schema))

    def close(self) -> None:
        """The end of the file."""
        self._writer.close()


WRITERS: dict[str, Any] = {"csv": CsvWriter, "parquet": ParquetWriter}


def export_tables(request: Request, form: str) -> None:
    """A folder: presentations.csv (or .parquet), images.csv, references.csv, images/ as far as they were
    kept, about.json."""
    make = WRITERS[form]
    with new_place(request.out) as folder:
        folder.mkdir()
        write_about(request.record, folder)
        presentation_types = dict(PRESENTATION_COLUMNS) | ({"spike_times_ms": LIST} if request.spikes else {})
        image_types = IMAGE_COLUMNS | {"code": LIST, "file": "str"}
        if request.record.keeps_everything:
            _write_all(make(folder / "presentations", presentation_types), lambda: _presentations(request))
        else:
            request.notes.append("a record of scores has no presentations: only the images are written")
        _write_all(make(folder / "images", image_types), lambda: _images(request, folder))
        if request.record.references:
            references = make(folder / "references", REFERENCE_COLUMNS)
            _write_all(references, lambda: reference_columns(request.record))


def _write_all(writer: TableWriter, batches: Callable[[], Iterator[Columns]]) -> None:
    try:
        for columns in batches():
            writer.write(columns)
    finally:
        writer.close()


def _presentations(request: Request) -> Iterator[Columns]:
    for batch in presentations_with_progress(request):
        columns = presentation_columns(request.record, batch)
        if request.spikes:
            columns["spike_times_ms"] = list(spike_columns(batch))
        yield columns


def _images(request: Request, folder: Path) -> Iterator[Columns]:
    for batch in images_with_progress(request):
        columns: Columns = dict(image_columns(batch))
        columns["code"] = [None if one.code is None else one.code.astype(np.float64) for one in batch]
        columns["file"] = [_kept(request, one, folder) for one in batch]
        yield columns


def _kept(request: Request, image: Any, folder: Path) -> str | None:
    """The file of an image that was kept, which is written."""
    data = request.record.kept_image(image.pixels)
    if data is None:
        return None
    name = Path("images") / file_name(image)
    (folder / "images").mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return name.as_posix()
