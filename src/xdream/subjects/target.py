"""Targets as the user writes them: NETWORK:LAYER:UNITS, split from the right."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from xdream.errors import BadInput

_ITEM = re.compile(r"(?P<channels>all|\d+(?:-\d+)?)(?:@(?P<y>\d+),(?P<x>\d+))?")

FORM = "NETWORK:LAYER:UNITS, UNITS like 281, 3,7, 0-99, all or 5@6,6 (channel@y,x), or NETWORK::FILE.csv"

#: The network of targets that are channels of a recording: `rig:NAME:CHANNELS`.
RIG = "rig"

#: How the name of a file with a list of units ends.
LIST_SUFFIX = ".csv"


@dataclass(frozen=True)
class Unit:
    """One unit of a layer: a channel, and for a layer with a height and a width its position."""

    channel: int
    y: int | None = None
    x: int | None = None

    def __str__(self) -> str:
        return str(self.channel) if self.y is None else f"{self.channel}@{self.y},{self.x}"


def split(text: str) -> tuple[str, str, str]:
    """(network, layer, units) of a target as written. The layer may be empty. Raises BadInput."""
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not parts[0]:
        raise BadInput(f"target '{text}' is not of the form {FORM}")
    if not parts[2].endswith(LIST_SUFFIX):
        parse_units(parts[2], None)
    return parts[0], parts[1], parts[2]


def read_list(path: Path) -> dict[str, str]:
    """The units of a CSV file with the columns layer, unit and, where a layer has places, y and x.

    Layer -> units as a target has them, in the order of the file. Raises BadInput, with the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"unit list {path} cannot be read: {error}") from None
    found: dict[str, list[str]] = {}
    for line, row in enumerate(rows, 2):
        values = {str(key).strip(): (str(value) if value else "").strip() for key, value in row.items()}
        if not {"layer", "unit"} <= values.keys() <= {"layer", "unit", "y", "x"}:
            raise BadInput(
                f"unit list {path}: its columns are {', '.join(values)}; layer,unit,y,x are needed"
            )
        place = f"@{values['y']},{values['x']}" if values.get("y") or values.get("x") else ""
        unit = f"{values['unit']}{place}"
        if not re.fullmatch(r"\d+(@\d+,\d+)?", unit):
            raise BadInput(
                f"unit list {path}, line {line}: '{unit}' is no unit; give a number, and y and x or none"
            )
        found.setdefault(values["layer"], []).append(unit)
    if not found:
        raise BadInput(f"unit list {path} has no units; its first line is layer,unit,y,x")
    return {layer: ",".join(units) for layer, units in found.items()}


def parse_units(text: str, shape: tuple[int, ...] | None) -> tuple[Unit, ...]:
    """The units that `text` names in a layer of `shape`, (channels,) or (channels, height, width).

    Without a position: the centre, index size // 2. shape None checks the form alone. Raises BadInput.
    """
    units: list[Unit] = []
    at = 0
    while at < len(text) or not text:
        item = _ITEM.match(text, at)
        if item is None or (item.end() < len(text) and text[item.end()] != ","):
            raise BadInput(f"units '{text}' cannot be read; a target is {FORM}")
        at = item.end() + 1
        if at == len(text):
            raise BadInput(f"units '{text}' end in a comma; a target is {FORM}")
        if shape is not None:
            units += _expand(item, shape)
    if len(set(units)) < len(units):
        raise BadInput(f"units '{text}' name a unit twice")
    return tuple(units)


def _expand(item: re.Match[str], shape: tuple[int, ...]) -> list[Unit]:
    channels = shape[0]
    first, _, last = item["channels"].partition("-")
    numbers = range(channels) if first == "all" else range(int(first), int(last or first) + 1)
    if not numbers:
        raise BadInput(f"units '{item[0]}' name no unit; write the smaller number first")
    if numbers[-1] >= channels:
        raise BadInput(f"unit {numbers[-1]} does not exist; the layer has units 0 to {channels - 1}")
    if len(shape) == 1:
        if item["y"]:
            raise BadInput(f"unit '{item[0]}' has a position, but the layer has none (shape {shape})")
        return [Unit(c) for c in numbers]
    height, width = shape[1:]
    y, x = (int(item["y"]), int(item["x"])) if item["y"] else (height // 2, width // 2)
    if y >= height or x >= width:
        raise BadInput(f"position {y},{x} does not exist; the layer is {height} high and {width} wide")
    return [Unit(c, y, x) for c in numbers]
