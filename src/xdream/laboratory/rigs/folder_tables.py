"""Answer files of the original protocol that need no process of their own: CSV and npz."""

from __future__ import annotations

import codecs
import io
import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from xdream import arrays, text
from xdream.errors import BadInput
from xdream.laboratory.rigs.folder_files import (
    MOST_LETTERS,
    MOST_NUMBERS,
    FileTable,
    Unreadable,
    few,
    indices_of,
    table,
)

# ---------------------------------------------------------------------- csv


#: What a field has where there is no number, beside nothing: NaN, and what R and databases write.
_MISSING = ("", "na", "n/a", "nan", "null", "none")


def from_csv(data: bytes) -> FileTable:
    """A header `stimulusID,NAME,…`, then a line for each presentation; an empty field, or NA, is missing."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not wide and b"\0" in data:
        raise Unreadable(f"zero bytes from byte {data.index(0)} on")
    if not data.rstrip(b"\0" if wide else b"").endswith((b"\n", b"\r")):
        raise Unreadable("the last line has no end: the file was cut")
    head: list[str] | None = None
    names: list[str] = []
    values: list[list[float]] = []
    try:
        for number, line in text.rows(data):
            if head is None:
                head = line
                if len(head) < 2 or head[0].strip() != "stimulusID":
                    break
                continue
            if len(line) != len(head):
                raise Unreadable(f"line {number} has {len(line)} fields; the first has {len(head)}")
            if len(line[0]) > MOST_LETTERS:
                raise Unreadable(f"line {number} has a name of {len(line[0])} letters")
            names.append(line[0])
            values.append([_field(field, number) for field in line[1:]])
    except BadInput as error:
        raise Unreadable(str(error)) from None
    if head is None or len(head) < 2 or head[0].strip() != "stimulusID":
        raise Unreadable("the first line is not stimulusID and a name for each channel, with commas between")
    return table(np.array(values, dtype=np.float64), names)


def _field(field: str, line: int) -> float:
    try:
        return math.nan if field.strip().lower() in _MISSING else arrays.number(field)
    except ValueError as error:
        raise Unreadable(f"line {line}: {error}") from None


# ---------------------------------------------------------------------- npz


def from_npz(data: bytes) -> FileTable:
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
            return table(array("responses"), [str(one) for one in few(found, "stimulusID")])
        if "scores" in entries:
            indices = indices_of(array("indices")) if "indices" in entries else None
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
