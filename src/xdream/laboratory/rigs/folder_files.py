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
#: What the process that reads may take, beside the file itself some times over.
MEMORY_BYTES, TIMEOUT_S = 1 << 30, 30.0

SUFFIXES = ("mat", "h5", "npz", "csv")


class Unreadable(ValueError):
    """Why a file cannot be read, in one line."""


@dataclass(frozen=True, eq=False)
class FileTable:
    """What an answer file holds, one row for each presentation.

    responses: (rows, channels), NaN = missing. names: file names as the rig gave them, or None: then the
    rows are in the order of the block's sorted file names, or `indices` are places in that order.
    """

    responses: Array
    names: tuple[str, ...] | None = None
    indices: tuple[int, ...] | None = None


def read(suffix: str, data: bytes) -> FileTable:
    """The table in a file with this suffix ("mat", "h5", "npz", "csv"). Raises Unreadable, nothing else."""
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
) -> FileTable:
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
    return FileTable(
        np.ascontiguousarray(responses, dtype=np.float64),
        None if names is None else tuple(names),
        None if indices is None else tuple(int(i) for i in indices),
    )


# ---------------------------------------------------------------------- csv


def from_csv(data: bytes) -> FileTable:
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


# ---------------------------------------------------------------------- MATLAB and HDF5, in another process


def _elsewhere(suffix: str, data: bytes) -> FileTable:
    """What `main` finds in a file, in a process of its own."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), suffix]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PATH": "::"}
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S, env=quiet)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"it was not read within {TIMEOUT_S:g} s") from None
    head, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        raise Unreadable(f"it is so damaged that its reader ended with status {done.returncode}")
    said = json.loads(head)
    if "unreadable" in said:
        raise Unreadable(said["unreadable"])
    return table(np.frombuffer(body, np.float64).reshape(said["shape"]), said["names"], said["indices"])


def main(suffix: str) -> None:
    """Read a file from standard input; write what is in it, or why it cannot be read, to standard output."""
    data = sys.stdin.buffer.read()
    with contextlib.suppress(ImportError):
        import resource  # not on Windows

        most = MEMORY_BYTES + 4 * len(data)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with _as_unreadable():
            found = from_mat(data) if suffix == "mat" else from_h5(data)
        said: dict[str, Any] = {
            "shape": found.responses.shape,
            "names": found.names,
            "indices": found.indices,
        }
        body = found.responses.tobytes()
    except Unreadable as error:
        said, body = {"unreadable": str(error)}, b""
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + body)
    sys.stdout.buffer.flush()
    os._exit(0)  # a damaged file may still crash the library when it is closed


def from_mat(data: bytes) -> FileTable:
    """`stimulusID` and `tEvokedResp`, MATLAB v7.3 (images, channels as HDF5 sees it) or v5 (either way)."""
    if any(data[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512)):
        with _hdf5(data) as file:
            responses = _numbers(file, "tEvokedResp", data)
            return table(responses, _names(file, "stimulusID"))
    if data[126:128] in (b"IM", b"MI"):
        return _from_v5(data)
    raise Unreadable("it is neither a MATLAB v7.3 nor a v5 file")


def from_h5(data: bytes) -> FileTable:
    """`scores` (images, channels), perhaps `indices` into the block's sorted file names."""
    with _hdf5(data) as file:
        indices = _indices(_numbers(file, "indices", data)) if "indices" in file else None
        return table(_numbers(file, "scores", data), None, indices)


def _hdf5(data: bytes) -> Any:
    import h5py

    return h5py.File(io.BytesIO(data), "r")


def _dataset(file: Any, name: str) -> Any:
    """A data set that is in the file itself: links and other files lead elsewhere on this machine."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise Unreadable(f"there is no {name}")
    if not isinstance(link, h5py.HardLink):
        raise Unreadable(f"{name} is a link")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise Unreadable(f"{name} is no array")
    _check(found, name)
    return found


def _check(found: Any, name: str) -> None:
    if found.external or found.is_virtual:
        raise Unreadable(f"{name} is kept in another file")
    if found.shape is None or found.size > MOST_NUMBERS:
        raise Unreadable(f"{name} has shape {found.shape}")
    if found.chunks is not None:
        expected = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
        if math.prod(found.chunks) > MOST_NUMBERS:
            raise Unreadable(f"{name} is stored in pieces of {found.chunks}")
        if found.id.get_num_chunks() < expected:
            raise Unreadable(f"{found.id.get_num_chunks()} of {expected} pieces of {name} were written")


def _numbers(file: Any, name: str, data: bytes) -> npt.NDArray[Any]:
    found = _dataset(file, name)
    if found.dtype.kind not in "fiu":
        raise Unreadable(f"{name} is {found.dtype}, not numbers")
    if "MATLAB_empty" in found.attrs:
        raise Unreadable(f"{name} is empty")
    for end in _ends(found):
        if end >= ZERO_TAIL and not data[end - ZERO_TAIL :].strip(b"\0"):
            raise Unreadable(
                f"{name} ends in zero bytes, and the file with it: it was not written to its end (if the "
                "responses are truly zero, save them compressed)"
            )
    return np.asarray(found[()])


def _ends(found: Any) -> list[int]:
    """Where uncompressed pieces of a data set end in the file."""
    if found.chunks is None:
        at = found.id.get_offset()
        return [] if at is None else [at + found.id.get_storage_size()]
    if found.compression is not None:
        return []
    pieces = (found.id.get_chunk_info(i) for i in range(found.id.get_num_chunks()))
    return [max((one.byte_offset + one.size for one in pieces), default=0)]


def _names(file: Any, name: str) -> list[str]:
    """A cell array of names (references to character arrays), a character array, or HDF5's own text."""
    import h5py

    found = _dataset(file, name)
    _few(np.broadcast_to(np.empty(1), found.shape), name)
    if h5py.check_string_dtype(found.dtype) is not None:
        return [_short(str(one)) for one in np.asarray(found.asstr()[()]).reshape(-1)]
    if h5py.check_ref_dtype(found.dtype) is h5py.Reference:
        names = []
        for reference in np.asarray(found[()]).reshape(-1):
            text = file[reference] if reference else None
            if not isinstance(text, h5py.Dataset):
                raise Unreadable(f"an entry of {name} is no text")
            _check(text, name)
            [one] = _characters(text, name)
            names.append(one)
        return names
    return _characters(found, name)


def _characters(found: Any, name: str) -> list[str]:
    """A MATLAB character array, which HDF5 sees as (letters, rows)."""
    if found.dtype != np.uint16 or found.ndim != 2 or found.shape[0] > MOST_LETTERS:
        raise Unreadable(f"an entry of {name} is {found.dtype} of shape {found.shape}, no text")
    if "MATLAB_empty" in found.attrs:
        return [""]
    letters = np.asarray(found[()]).T
    return [row.astype("<u2").tobytes().decode("utf-16-le").rstrip() for row in letters]


def _short(text: str) -> str:
    if len(text) > MOST_LETTERS:
        raise Unreadable(f"a name has {len(text)} letters")
    return text


def _from_v5(data: bytes) -> FileTable:
    import scipy.io

    if len(data) >= ZERO_TAIL and not data[-ZERO_TAIL:].strip(b"\0"):
        raise Unreadable("the file ends in zero bytes: it was not written to its end")
    wanted = ("stimulusID", "tEvokedResp")
    found = scipy.io.loadmat(io.BytesIO(data), variable_names=wanted, chars_as_strings=True)
    for name in wanted:
        if name not in found:
            raise Unreadable(f"there is no {name}")
    cells = _few(np.asarray(found["stimulusID"]).reshape(-1), "stimulusID")
    names = [_short(_cell(one)) for one in cells]
    responses = np.asarray(found["tEvokedResp"])
    if responses.ndim != 2 or responses.size > MOST_NUMBERS:
        raise Unreadable(f"tEvokedResp has shape {responses.shape}")
    images = [axis for axis in (0, 1) if responses.shape[axis] == len(names)]
    if not images:
        raise Unreadable(f"{len(names)} entries of stimulusID, but tEvokedResp has shape {responses.shape}")
    if len(images) == 2 and len(names) > 1:
        raise Unreadable(f"tEvokedResp is {len(names)} x {len(names)}: images or channels? save it as v7.3")
    return table(responses if 0 in images else responses.T, names)


def _cell(cell: Any) -> str:
    """One cell's text."""
    value = np.asarray(cell)
    if value.dtype.kind != "U" or value.size > 1:
        raise Unreadable("an entry of stimulusID is no text")
    return str(value.reshape(-1)[0]).rstrip() if value.size else ""


if __name__ == "__main__":
    main(sys.argv[1])
