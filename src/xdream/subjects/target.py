"""Targets as the user writes them: NETWORK:LAYER:UNITS, split from the right."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from xdream.errors import BadInput
from xdream.text import read, rows

_ITEM = re.compile(r"(?P<channels>all|\d+(?:-\d+)?)(?:@(?P<y>\d+),(?P<x>\d+))?")

FORM = "NETWORK:LAYER:UNITS, UNITS like 281, 3,7, 0-99, all or 5@6,6 (channel@y,x), or NETWORK::FILE.csv"

#: The same with nothing between the parts: in a plan file, for names of any letters.
TABLE = '{network = "NETWORK", layer = "LAYER", units = "UNITS"}'

#: How networks begin that are files; their names end where the file's does.
IN_FILES = ("file", "onnx", "caffe", "match")

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


def split(text: str, networks: Collection[str] = ()) -> tuple[str, str, str]:
    """(network, layer, units) of a target as written. The layer may be empty. Raises BadInput.

    Split from the right. Where the network or the unit list is a file, it is split where that file is, so
    that its name and the names of layers may hold colons. networks: those of which one begins the target,
    where they are known.
    """
    if _is_list(text):
        network, colons, units = _before_list(text)
        if colons:
            return network, "", units
    head, colon, units = text.rpartition(":")
    network, second, layer = split_layer(head, networks)
    if not colon or not second or not network:
        raise BadInput(f"target '{text}' is not of the form {FORM}; or as a table: {TABLE}")
    if not _is_list(units):
        parse_units(units, None)
    return network, layer, units


def split_layer(text: str, networks: Collection[str] = ()) -> tuple[str, str, str]:
    """NETWORK:LAYER as `str.partition` gives it, split as targets are."""
    places = [i for i, character in enumerate(text) if character == ":"]
    for i in reversed(places):
        if text[:i] in networks:
            return text[:i], ":", text[i + 1 :]
    scheme = text.partition(":")[0]
    if scheme in IN_FILES:
        for i in reversed(places):
            if _is_there(text[len(scheme) + 1 : i]):
                network, layer = text[:i], text[i + 1 :]
                if scheme == "match" and layer:  # match:FILE:NETWORK:LAYER
                    inner, colon, layer = split_layer(layer, networks)
                    return f"{network}:{inner}", colon, layer
                return network, ":", layer
    return text.rpartition(":")


def _is_there(path: str) -> bool:
    """Whether that is a file (of Caffe's: a folder, or two files with a plus between)."""
    whole = Path(path).expanduser()
    if whole.is_file() or (whole.is_dir() and bool(path.strip("./\\"))):
        return True
    pluses = [i for i, character in enumerate(path) if character == "+"]
    return any(
        Path(path[:i]).expanduser().is_file() and Path(path[i + 1 :]).expanduser().is_file() for i in pluses
    )


def _is_list(text: str) -> bool:
    return text.lower().endswith(LIST_SUFFIX)


def _before_list(text: str) -> tuple[str, str, str]:
    """NETWORK::FILE as `str.partition` gives it: split where the file is, else at the first `::`."""
    places = [i for i in range(len(text)) if text.startswith("::", i)]
    for i in places:
        if i and Path(text[i + 2 :]).expanduser().is_file():
            return text[:i], "::", text[i + 2 :]
    return text.partition("::")


def read_list(path: Path) -> dict[str, str]:
    """The units of a CSV file with the columns layer, unit and, where a layer has places, y and x.

    Layer -> units as a target has them, in the order of the file. Raises BadInput, with the line.
    """
    found: dict[str, list[str]] = {}
    columns: list[str] | None = None
    try:
        for line, fields in rows(read(path)):
            if columns is None:
                columns = [field.strip().lower() for field in fields]
                if not {"layer", "unit"} <= {*columns} <= {"layer", "unit", "y", "x"}:
                    raise BadInput(f"its columns are {', '.join(fields)}; layer,unit,y,x are needed")
                continue
            if len(fields) > len(columns):
                raise BadInput(f"line {line} has {len(fields)} fields; the first has {len(columns)}")
            values = dict(zip(columns, (field.strip() for field in fields), strict=False))
            place = f"@{values['y']},{values['x']}" if values.get("y") or values.get("x") else ""
            unit = f"{values.get('unit', '')}{place}"
            if not re.fullmatch(r"[0-9]+(@[0-9]+,[0-9]+)?", unit):
                raise BadInput(f"line {line}: '{unit}' is no unit; give a number, and y and x or none")
            found.setdefault(values["layer"], []).append(unit)
    except BadInput as error:
        raise BadInput(f"unit list {path}: {error}") from None
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
