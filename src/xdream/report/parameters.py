"""The parameters of the best image of each run, where the codes of the generator are named numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdream.generators.parameters import Parameter, read, values_of
from xdream.images import files
from xdream.report.text_table import number
from xdream.store import Record
from xdream.text import printable

#: A table for the terminal has at most so many rows and runs; the file has all.
MOST_ROWS, MOST_RUNS = 40, 5
FILE_NAME = "parameters.csv"


@dataclass(frozen=True)
class BestParameters:
    """Of a run's best image. values: by name, in their units. pressed: the names of those at a bound."""

    run: int
    target: str
    values: dict[str, float]
    pressed: frozenset[str]


def best_parameters(record: Record) -> tuple[tuple[Parameter, ...], list[BestParameters]]:
    """The parameters of the generator, and the values of each run's best image; nothing where it has none."""
    parameters = read(record.facts)
    found = []
    for run in record.runs() if parameters else ():
        image = record.best_image(run.id)
        if image is None:
            continue
        codes = record.codes(run.id, image.generation)
        if image.slot in codes:
            code = codes[image.slot]
        else:  # of a record of scores
            from xdream.experiment.replay import codes_of

            code = codes_of(record, run.id, [image.generation])[image.generation][image.slot]
        pressed = frozenset(
            one.name for one, c in zip(parameters, code, strict=True) if one.at_bound(float(c))
        )
        found.append(BestParameters(run.id, run.target, values_of(parameters, code), pressed))
    return parameters, found


def table(parameters: Sequence[Parameter], found: Sequence[BestParameters]) -> str:
    """Aligned, a row for each parameter and a column for each run; "" without any."""
    if not found or len(found) > MOST_RUNS:
        return ""
    heads = ["best image" if len(found) == 1 else f"run {one.run}" for one in found]
    rows = [["parameter", *heads, "bounds", "unit"]]
    for one in parameters[:MOST_ROWS]:
        cells = [number(each.values[one.name]) + "!" * (one.name in each.pressed) for each in found]
        bounds = "circular" if one.circular else f"{one.low:g} to {one.high:g}"
        rows.append([one.name, *cells, bounds, one.unit])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(w) if 0 < i <= len(found) else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(parameters) > MOST_ROWS:
        lines.append(f"… and {len(parameters) - MOST_ROWS} more, in {FILE_NAME}")
    if any(one.pressed for one in found):
        lines.append("!: at a bound; the best value may lie beyond it")
    return printable("\n".join(lines))


def write(parameters: Sequence[Parameter], found: Sequence[BestParameters], folder: Path) -> Path | None:
    """`parameters.csv` in a folder; None without any. Raises BadInput when it cannot be written."""
    if not found:
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "target", "parameter", "value", "unit", "low", "high", "circular", "at_bound"))
    for each in found:
        for one in parameters:
            flags = int(one.circular), int(one.name in each.pressed)
            value = f"{each.values[one.name]:.7g}"
            writer.writerow((each.run, each.target, one.name, value, one.unit, one.low, one.high, *flags))
    path = folder / FILE_NAME
    files.write(path, text.getvalue().encode(), "parameters")
    return path


def as_json(parameters: Sequence[Parameter], one: BestParameters) -> list[dict[str, Any]]:
    """Of one run."""
    return [
        {"name": p.name, "value": one.values[p.name], "unit": p.unit, "at_bound": p.name in one.pressed}
        for p in parameters
    ]
