"""The table of a study: one row per number, from which its claims, its report and its figure follow.

A row says of what a number is (study, network, depth, layer, unit, generator, optimizer, condition, seed),
which number (`measure`), at which place of an axis (`x`: generation, spikes, …) if there is one, and its
value. An image has no value but `image`, a PNG in base64.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import importlib.util
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xdream import files, text
from xdream.arrays import number
from xdream.errors import BadInput, StoreError
from xdream.files import mistaken
from xdream.images.files import chw, decoded, hwc, small_png
from xdream.studies.file_names import TABLE_SUFFIXES

#: The measure that may differ between two tables of the same shard.
TIME = "seconds"
SUFFIXES = TABLE_SUFFIXES
PixelArray: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TableRow:
    """One number, or one image.

    unit: its number in the layer, with `@y,x` where it is not at the centre; "" for none. x, value: NaN where
    there is none.
    """

    study: str = ""
    network: str = ""
    depth: str = ""
    layer: str = ""
    unit: str = ""
    generator: str = ""
    optimizer: str = ""
    condition: str = ""
    seed: int = -1
    measure: str = ""
    x: float = math.nan
    value: float = math.nan
    image: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells rows apart: all but the number."""
        x = None if math.isnan(self.x) else self.x
        return (*dataclasses.astuple(self)[:10], x)


COLUMNS = tuple(field.name for field in dataclasses.fields(TableRow))
_NUMBERS = ("x", "value")


class Table:
    """Rows, and what is asked of them."""

    def __init__(self, rows: Iterable[TableRow]) -> None:
        self.rows = tuple(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, **wanted: Any) -> Table:
        """The rows whose columns have these values; a tuple stands for any of its members."""
        sets = {key: value if isinstance(value, tuple) else (value,) for key, value in wanted.items()}
        return Table(row for row in self.rows if all(getattr(row, key) in some for key, some in sets.items()))

    def among(self, column: str) -> list[Any]:
        """The different values of a column, in order of their first row."""
        return list(dict.fromkeys(getattr(row, column) for row in self.rows))

    def by_unit(self, measure: str, **wanted: Any) -> dict[tuple[str, ...], float]:
        """(network, layer, unit) -> the value of a measure, the mean over what is left (seeds, pairs).

        Without rows of value NaN: a unit that has none is left out.
        """
        found: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for row in self.where(measure=measure, **wanted).rows:
            if not math.isnan(row.value):
                found[row.network, row.layer, row.unit].append(row.value)
        return {unit: float(np.mean(values)) for unit, values in found.items()}

    def values(self, measure: str, **wanted: Any) -> list[float]:
        """The same without the names of the units."""
        return list(self.by_unit(measure, **wanted).values())


def image_text(pixels: PixelArray) -> str:
    """(h, w, 3) uint8 as a row's `image`."""
    return base64.b64encode(small_png(chw(pixels))).decode()


def pixels_of(image: str) -> PixelArray:
    """And back. Raises BadInput."""
    try:
        return hwc(decoded(base64.b64decode(image, validate=True), ("png",)))
    except ValueError as error:  # of base64, and BadInput
        raise BadInput(f"an image of the table cannot be read: {error}") from None


def check_name(path: Path) -> None:
    """Raise BadInput for a table that could not be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"table '{path}' does not end in {' or '.join(SUFFIXES)}; give such a name")
    if _is_parquet(path) and importlib.util.find_spec("pyarrow") is None:
        raise BadInput(
            "a table in Parquet needs the package pyarrow; install it: pip install 'xdream[studies]'"
        )
    if not path.absolute().parent.is_dir():
        raise BadInput(f"folder '{path.parent}' does not exist; make it first")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def write(table: Table, path: Path) -> None:
    """As CSV or Parquet, by the name; whole or not at all. Raises BadInput, StoreError."""
    check_name(path)
    data = _parquet(table) if _is_parquet(path) else _csv(table).encode()
    try:
        files.replace(path, data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None


def read(path: Path) -> Table:
    """Raises BadInput for what is no table of studies."""
    check_name(path)
    try:
        rows = _parquet_rows(path) if _is_parquet(path) else _csv_rows(path)
        return Table(TableRow(**row) for row in rows)
    except OSError as error:
        raise BadInput(f"table '{path}' cannot be read: {error}") from None
    except (ValueError, TypeError, KeyError, csv.Error, UnicodeDecodeError) as error:
        what = mistaken(path) or error
        raise BadInput(f"'{path}' is no table of studies ({what}); make one with xdream merge") from None


def merged(tables: Sequence[Table]) -> Table:
    """All rows, each once. Raises BadInput when two tables contradict each other."""
    known: dict[tuple[Any, ...], TableRow] = {}
    for table in tables:
        for row in table.rows:
            before = known.setdefault(row.key, row)
            if row.measure != TIME and (str(before.value), before.image) != (str(row.value), row.image):
                raise BadInput(
                    f"two tables have different numbers for the same thing ({row.study}, {row.network}:"
                    f"{row.layer}:{row.unit}, {row.condition}, {row.measure}): {before.value:g} and "
                    f"{row.value:g}; they are of unlike studies: merge them into different tables"
                )
    found = Table(known.values())
    _check_alike(found)
    return found


def _check_alike(table: Table) -> None:
    """Whether what is reported together was done with the same effort. Raises BadInput."""
    for what in ("presentations", "natural images"):
        of: dict[tuple[str, ...], float] = {}
        for row in table.where(measure=what).rows:
            key = (row.study, row.condition, row.generator, row.optimizer)
            if of.setdefault(key, row.value) != row.value:
                raise BadInput(
                    f"the tables have evolutions of {row.study} with {of[key]:,.0f} and with "
                    f"{row.value:,.0f} {what}; merge them into different tables"
                )


def _csv(table: Table) -> str:
    content = io.StringIO()
    lines = csv.writer(content, lineterminator="\n")
    lines.writerow(COLUMNS)
    for row in table.rows:
        lines.writerow(
            "" if isinstance(one, float) and math.isnan(one) else one for one in dataclasses.astuple(row)
        )
    return content.getvalue()


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    if not data.rstrip(b"\0").endswith((b"\n", b"\r")):
        raise ValueError("it breaks off in its last line")
    lines = text.rows(data)
    _, head = next(lines, (1, []))
    if tuple(head) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}, but {', '.join(head) or 'none'}")
    for line, fields in lines:
        try:
            if len(fields) != len(COLUMNS):
                raise ValueError("another number of fields than in the first line")
            row = dict(zip(COLUMNS, fields, strict=True))
            numbers = {key: number(row[key]) if row[key] else math.nan for key in _NUMBERS}
            yield row | {"seed": int(row["seed"])} | numbers
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None


def _parquet(table: Table) -> bytes:
    import pyarrow
    import pyarrow.parquet

    types = {"seed": pyarrow.int64(), **dict.fromkeys(_NUMBERS, pyarrow.float64())}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS])
    columns = {name: [getattr(row, name) for row in table.rows] for name in COLUMNS}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), buffer)
    return buffer.getvalue()


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(" ".join(str(error).split())) from None
    if tuple(found.column_names) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    rows: list[dict[str, Any]] = found.to_pylist()
    # Other programs write NaN, and texts of no letters, as null.
    nulls = {name: math.nan if name in _NUMBERS else -1 if name == "seed" else "" for name in COLUMNS}
    return [{name: nulls[name] if one is None else one for name, one in row.items()} for row in rows]
