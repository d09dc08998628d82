"""Answer files of the original's protocol, read as if they were made to do harm: a table, or why not.

This module imports nothing of XDream, because it is also a program: MATLAB and HDF5 files are read by
libraries in C, so that is done in a process of its own (`python folder_files.py mat < FILE`) which may crash,
hang or run out of memory without harm to a session. Files of the other kinds are read where they are needed.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

#: No table holds more numbers, rows or letters in a name, whatever it declares.
MOST_NUMBERS, MOST_ROWS, MOST_LETTERS = 1 << 24, 100_000, 1024
#: An uncompressed file whose responses end in so many zero bytes was not written to its end.
ZERO_TAIL = 512
#: What the process that reads may take.
MEMORY_BYTES, TIMEOUT_S = 2 << 30, 30.0

SUFFIXES = ("mat", "h5", "npz", "csv")


class Unreadable(ValueError):
    """Why a file cannot be read, in one line."""


@dataclass(frozen=True, eq=False)
class Table:
    """What an answer file holds, one row for each presentation.

    responses: (rows, channels), NaN = missing. names: file names as the rig gave them, or None: then the
    rows are in the order of the block's sorted file names, or `indices` are places in that order.
    """

    responses: Array
    names: tuple[str, ...] | None = None
    indices: tuple[int, ...] | None = None


def read(suffix: str, data: bytes) -> Table:
    """The table in a file with this suffix ("mat", "h5", "npz", "csv"). Raises Unreadable, and nothing else."""
    if not data.strip(b"\0"):
        raise Unreadable(f"{len(data)} zero bytes" if data else "the file is empty")
    with _as_unreadable():
        if suffix == "npz":
            return from_npz(data)
        if suffix == "csv":
            return from_csv(data)
        return _elsewhere(suffix, data)


@contextlib.contextmanager
def _as_unreadable() -> Any:
    """Libraries raise what their parsers happen to raise; to a session all of it is one thing."""
    try:
        yield
    except Unreadable as error:
        raise Unreadable(_line(str(error))) from None
    except (Exception, RecursionError) as error:
        raise Unreadable(_line(f"{type(error).__name__}: {error}")) from None


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def table(
    responses: npt.NDArray[Any], names: Sequence[str] | None = None, indices: Sequence[int] | None = None
) -> Table:
    """Checked: (images, channels), or (images,) for one channel; a row for each name or index."""
    if responses.dtype.kind not in "fiu":
        raise Unreadable(f"responses are {responses.dtype}, not numbers")
    if responses.ndim == 1:
        responses = responses[:, None]
    if responses.ndim != 2 or 0 in responses.shape:
        raise Unreadable(f"responses have shape {responses.shape}; they are (images, channels)")
    said = names if names is not None else indices
    if said is not None and len(said) != len(responses):
        what = "stimulusID" if names is not None else "indices"
        raise Unreadable(f"{len(said)} entries of {what}, but {len(responses)} rows of responses")
    if len(responses) > MOST_ROWS:
        raise Unreadable(f"{len(responses)} rows; no block has more than {MOST_ROWS}")
    return Table(
        np.ascontiguousarray(responses, dtype=np.float64),
        None if names is None else tuple(names),
        None if indices is None else tuple(int(i) for i in indices),
    )


# ---------------------------------------------------------------------- csv


def from_csv(data: bytes) -> Table:
    """A header `stimulusID,NAME,…`, then a line for each presentation; an empty field is a missing number."""
    if b"\0" in data:
        raise Unreadable(f"zero bytes from byte {data.index(0)} on")
    if not data.endswith((b"\n", b"\r")):
        raise Unreadable("the last line has no end: the file was cut")
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    head = next(lines, [])
    if len(head) < 2 or head[0].strip() != "stimulusID":
        raise Unreadable("the first line is not stimulusID and a name for each channel, with commas between")
    names: list[str] = []
    values: list[list[float]] = []
    for line in lines:
        if not line:
            continue
        if len(line) != len(head):
            raise Unreadable(f"line {lines.line_num} has {len(line)} fields; the first has {len(head)}")
        if len(line[0]) > MOST_LETTERS:
            raise Unreadable(f"line {lines.line_num} has a name of {len(line[0])} letters")
        names.append(line[0])
        values.append([float(field) if field.strip() else math.nan for field in line[1:]])
    return table(np.array(values, dtype=np.float64), names)


# ---------------------------------------------------------------------- npz


def from_npz(data: bytes) -> Table:
    """`stimulusID` and `responses`, or `scores` and perhaps `indices`. Pickled arrays are not read."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}

        def array(name: str) -> npt.NDArray[Any]:
            entry = entries[name]
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Unreadable(f"{name} is compressed in another way than deflate")
            most = MOST_NUMBERS * 8
            with archive.open(entry) as file:
                content = file.read(most + 1)
            if len(content) > most:
                raise Unreadable(f"{name} takes more than {most} bytes")
            return _from_npy(name, content)

        if "stimulusID" in entries and "responses" in entries:
            found = array("stimulusID").reshape(-1)
            if found.dtype.kind == "S":
                found = np.char.decode(found, "utf-8")
            if found.dtype.kind != "U":
                raise Unreadable(f"stimulusID is {found.dtype}, not text")
            return table(array("responses"), [str(one) for one in _few(found, "stimulusID")])
        if "scores" in entries:
            indices = _indices(array("indices")) if "indices" in entries else None
            return table(array("scores"), None, indices)
    raise Unreadable("there is neither stimulusID with responses nor scores")


def _from_npy(name: str, content: bytes) -> npt.NDArray[Any]:
    """An array, when all that its header declares is there: nothing is allocated for what is not."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise Unreadable(f"{name} is in version {version} of npy")
    if dtype.hasobject or dtype.kind not in "fiuUS":
        raise Unreadable(f"{name} is {dtype}, neither numbers nor text")
    rest = len(content) - file.tell()
    if math.prod(shape) * dtype.itemsize != rest:
        raise Unreadable(f"{name} declares {math.prod(shape)} entries of {dtype}, but has {rest} bytes")
    if rest == 0:
        raise Unreadable(f"{name} is empty")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _few(entries: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if entries.size > MOST_ROWS:
        raise Unreadable(f"{entries.size} entries of {name}; no block has more than {MOST_ROWS}")
    if entries.dtype.kind in "US" and entries.dtype.itemsize > 4 * MOST_LETTERS:
        raise Unreadable(f"{name} has names of more than {MOST_LETTERS} letters")
    return entries


def _indices(found: npt.NDArray[Any]) -> list[int]:
    flat = _few(found.reshape(-1), "indices")
    if flat.dtype.kind not in "fiu" or not bool((flat == np.floor(flat)).all()):
        raise Unreadable("indices are not whole numbers")
    if not bool(((flat >= 0) & (flat < MOST_ROWS)).all()):
        raise Unreadable("an index is below 0 or too large")
    return [int(one) for one in flat]
