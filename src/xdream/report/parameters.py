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
    """Of a run's best image. named: the parameters of its generator. values: by name, in their units.
    pressed: the names of those at a bound."""

    run: int
    target: str
    named: tuple[Parameter, ...]
    values: dict[str, float]
    pressed: frozenset[str]


def best_parameters(record: Record) -> list[BestParameters]:
    """The values of each run's best image; of runs whose generator names its numbers."""
    named, found = read(record.facts), []
    for run in record.runs():
        image = record.best_image(run.id) if run.id in named else None
        if image is None:
            continue
        codes = record.codes(run.id, image.generation)
        if image.slot in codes:
            code = codes[image.slot]
        else:  # of a record of scores
            from xdream.experiment.replay import codes_of

            code = codes_of(record, run.id, [image.generation])[image.generation][image.slot]
        own = named[run.id]
        pressed = frozenset(one.name for one, c in zip(own, code, strict=True) if one.at_bound(float(c)))
        found.append(BestParameters(run.id, run.target, own, values_of(own, code), pressed))
    return found


def table(found: Sequence[BestParameters]) -> str:
    """Aligned, a row for each parameter and a column for each run, one table after the other where generators
    differ; "" without any."""
    if len(found) > MOST_RUNS:
        return ""
    alike = dict.fromkeys(one.named for one in found)
    return "\n".join(_table(named, [one for one in found if one.named == named]) for named in alike)


def _table(parameters: Sequence[Parameter], found: Sequence[BestParameters]) -> str:
    heads = [f"best of run {one.run}" for one in found]
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
    return "\n".join(printable(line) for line in lines)


def write(found: Sequence[BestParameters], folder: Path) -> Path | None:
    """`parameters.csv` in a folder; None without any. Raises BadInput when it cannot be written."""
    if not found:
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "target", "parameter", "value", "unit", "low", "high", "circular", "at_bound"))
    for each in found:
        for one in each.named:
            flags = int(one.circular), int(one.name in each.pressed)
            value = f"{each.values[one.name]:.7g}"
            writer.writerow((each.run, each.target, one.name, value, one.unit, one.low, one.high, *flags))
    path = folder / FILE_NAME
    files.write(path, text.getvalue().encode(), "parameters")
    return path


def as_json(one: BestParameters) -> list[dict[str, Any]]:
    """Of one run."""
    return [
        {"name": p.name, "value": one.values[p.name], "unit": p.unit, "at_bound": p.name in one.pressed}
        for p in one.named
    ]
