"""Answer files of the original's protocol, read as if they were made to do harm: a table, or why not.

This module imports nothing of XDream, because it is also a program: MATLAB and HDF5 files are read by
libraries in C, so that is done in a process of its own (`python folder_files.py mat < FILE`) which may crash,
hang or run out of memory without harm to a session. Files of the other kinds are read where they are needed
(`folder_tables.py`).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

#: No table holds more numbers, rows or letters in a name, whatever it declares.
MOST_NUMBERS, MOST_ROWS, MOST_LETTERS = 1 << 24, 100_000, 1024
#: Larger integers are not all floating-point numbers.
MOST_INTEGER = 1 << 53
#: An uncompressed file whose responses end in so many zero bytes was not written to its end.
ZERO_TAIL = 512
#: What the process that reads may take, beside the file itself some times over.
MEMORY_BYTES, TIMEOUT_S = 1 << 30, 30.0

#: Classes of MATLAB's whose arrays are numbers.
NUMERIC = (
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
#: What an object's place in a v7.3 file begins with.
OBJECT_HEADER = 0xDD000000

SUFFIXES = ("mat", "h5", "npz", "csv")
#: How `tEvokedResp` may stand in a MATLAB v5 file, as MATLAB shows it.
ORIENTATIONS = ("images-channels", "channels-images")


class Unreadable(ValueError):
    """Why a file cannot be read, in one line."""


class OfClass(Unreadable):
    """A variable is of a class of MATLAB's that is not read here. entry: an entry of it is."""

    def __init__(self, name: str, of: str, entry: bool = False) -> None:
        super().__init__(f"{name} is a MATLAB {of}")
        self.what = (name, of, entry)


@dataclass(frozen=True, eq=False)
class FileTable:
    """What an answer file holds, one row for each presentation.

    responses: (rows, channels), NaN = missing. names: file names as the rig gave them, or None: then the
    rows are in the order of the block's sorted file names, or `indices` are places in that order.
    orientation: of a v5 file whose shape tells it (see ORIENTATIONS).
    """

    responses: Array
    names: tuple[str, ...] | None = None
    indices: tuple[int, ...] | None = None
    orientation: str | None = None


def read(suffix: str, data: bytes, orientation: str | None = None) -> FileTable:
    """The table in a file with this suffix ("mat", "h5", "npz", "csv"). Raises Unreadable, nothing else.

    orientation: of v5 files with as many images as channels, whose shape does not tell it.
    """
    if not data.strip(b"\0"):
        raise Unreadable(f"{len(data)} zero bytes" if data else "the file is empty")
    with _as_unreadable():
        if suffix in ("npz", "csv"):
            # Not in the process that reads the others, and so not at the top.
            from xdream.laboratory.rigs import folder_tables

            return folder_tables.from_npz(data) if suffix == "npz" else folder_tables.from_csv(data)
        return _elsewhere(suffix, data, orientation)


@contextlib.contextmanager
def _as_unreadable() -> Any:
    """Libraries raise what their parsers happen to raise; to a session all of it is one thing."""
    try:
        yield
    except OfClass:
        raise
    except Unreadable as error:
        raise Unreadable(_line(str(error))) from None
    except (Exception, RecursionError) as error:
        raise Unreadable(_line(f"{type(error).__name__}: {error}")) from None


def _line(text: str) -> str:
    """On one line; of a long text the beginning and the end, where the reason stands."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:100]} … {line[-197:]}"


def table(
    responses: npt.NDArray[Any], names: Sequence[str] | None = None, indices: Sequence[int] | None = None
) -> FileTable:
    """Checked: (images, channels), or (images,) for one channel; a row for each name or index."""
    if responses.dtype.kind not in "fiu":
        raise Unreadable(f"responses are {responses.dtype}, not numbers")
    check_integers(responses)
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


def check_integers(found: npt.NDArray[Any]) -> None:
    """Raise Unreadable for integers that are no responses: NaN as an integer, or beyond a float64."""
    if found.dtype.kind not in "iu" or found.dtype.itemsize < 4 or not found.size:
        return
    least = int(found.min())
    if found.dtype.kind == "i" and least == np.iinfo(found.dtype).min:
        raise Unreadable(
            f"a response is {least}, which NaN becomes as {found.dtype}; save floating-point numbers"
        )
    if max(-least, int(found.max())) > MOST_INTEGER:
        raise Unreadable(
            f"a response of type {found.dtype} is beyond 2**53; responses are floating-point numbers"
        )


def few(entries: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """The entries of one name for each row. Raises Unreadable for more than a block has, or too long ones."""
    if entries.size > MOST_ROWS:
        raise Unreadable(f"{entries.size} entries of {name}; no block has more than {MOST_ROWS}")
    if entries.dtype.kind in "US" and entries.dtype.itemsize > 4 * MOST_LETTERS:
        raise Unreadable(f"{name} has names of more than {MOST_LETTERS} letters")
    return entries


def indices_of(found: npt.NDArray[Any]) -> list[int]:
    """Places in the order of a block's files, as numbers. Raises Unreadable."""
    flat = few(found.reshape(-1), "indices")
    if flat.dtype.kind not in "fiu" or not bool((flat == np.floor(flat)).all()):
        raise Unreadable("indices are not whole numbers")
    if not bool(((flat >= 0) & (flat < MOST_ROWS)).all()):
        raise Unreadable("an index is below 0 or too large")
    return [int(one) for one in flat]


# ---------------------------------------------------------------------- MATLAB and HDF5, in another process


def _elsewhere(suffix: str, data: bytes, orientation: str | None) -> FileTable:
    """What `main` finds in a file, in a process of its own."""
    from xdream.laboratory.rigs import matlab_classes  # not in that process

    if suffix == "mat" and data[126:128] in (b"IM", b"MI") and not _is_hdf5(data):
        matlab_classes.check_v5(data)
    command = [sys.executable, "-P", str(Path(__file__).resolve()), suffix, orientation or ""]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PATH": "::"}
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S, env=quiet)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"it was not read within {TIMEOUT_S:g} s") from None
    head, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        raise Unreadable(f"it is so damaged that its reader ended with status {done.returncode}")
    said = json.loads(head)
    if "class" in said:
        raise Unreadable(matlab_classes.remedy(*said["class"]))
    if "unreadable" in said:
        raise Unreadable(said["unreadable"])
    found = table(np.frombuffer(body, np.float64).reshape(said["shape"]), said["names"], said["indices"])
    return replace(found, orientation=said["orientation"])


def main(suffix: str, orientation: str) -> None:
    """Read a file from standard input; write what is in it, or why it cannot be read, to standard output."""
    data = sys.stdin.buffer.read()
    with contextlib.suppress(ImportError):
        import resource  # not on Windows

        most = MEMORY_BYTES + 4 * len(data)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with _as_unreadable():
            found = from_mat(data, orientation or None) if suffix == "mat" else from_h5(data)
        said: dict[str, Any] = {
            "shape": found.responses.shape,
            "names": found.names,
            "indices": found.indices,
            "orientation": found.orientation,
        }
        body = found.responses.tobytes()
    except OfClass as error:
        said, body = {"class": error.what}, b""
    except Unreadable as error:
        said, body = {"unreadable": str(error)}, b""
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + body)
    sys.stdout.buffer.flush()
    os._exit(0)  # a damaged file may still crash the library when it is closed


def from_mat(data: bytes, orientation: str | None = None) -> FileTable:
    """`stimulusID` and `tEvokedResp`, MATLAB v7.3 (images, channels as HDF5 sees it) or v5 (either way)."""
    if _is_hdf5(data):
        with _hdf5(data) as file:
            responses = _numbers(file, "tEvokedResp", data)
            return table(responses, _names(file, "stimulusID"))
    if data[126:128] in (b"IM", b"MI"):
        return _from_v5(data, orientation)
    raise Unreadable("it is neither a MATLAB v7.3 nor a v5 file")


def _is_hdf5(data: bytes) -> bool:
    return any(data[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512))


def from_h5(data: bytes) -> FileTable:
    """`scores` (images, channels), perhaps `indices` into the block's sorted file names."""
    with _hdf5(data) as file:
        indices = indices_of(_numbers(file, "indices", data)) if "indices" in file else None
        return table(_numbers(file, "scores", data), None, indices)


def _hdf5(data: bytes) -> Any:
    import h5py

    return h5py.File(io.BytesIO(data), "r")


def _dataset(file: Any, name: str) -> Any:
    """A data set that is in the file itself: links and other files lead elsewhere on this machine."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        there = ", ".join(sorted(str(one) for one in file if not str(one).startswith("#"))[:10])
        raise Unreadable(f"there is no {name}; there is {there or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise Unreadable(f"{name} is a link")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        if "MATLAB_class" not in found.attrs and "MATLAB_sparse" not in found.attrs:
            raise Unreadable(f"{name} is no array")
        raise OfClass(name, "sparse" if "MATLAB_sparse" in found.attrs else "struct")
    _check(found, name)
    return found


def _class_of(found: Any) -> str:
    """What MATLAB calls a data set ("double", "table"); "" where it did not write it."""
    said = found.attrs.get("MATLAB_class", b"")
    name = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
    is_object = "MATLAB_object_decode" in found.attrs
    if not is_object and found.dtype == np.uint32 and found.size >= 6:  # a copy without its attributes
        is_object = int(np.asarray(found[()]).reshape(-1)[0]) == OBJECT_HEADER
    return name or "object" * is_object


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
    import h5py

    found = _dataset(file, name)
    of = _class_of(found)
    if of and of not in NUMERIC:
        raise OfClass(name, of)
    if found.dtype.kind not in "fiu" or h5py.check_enum_dtype(found.dtype) is not None:
        raise Unreadable(f"{name} is {found.dtype}, not numbers")
    if "MATLAB_empty" in found.attrs:
        raise Unreadable(f"{name} is empty")
    for end in _ends(found):
        if end >= ZERO_TAIL and not data[end - ZERO_TAIL :].strip(b"\0"):
            raise Unreadable(
                f"{name} ends in zero bytes, and the file with it: it was not written to its end (if the "
                "responses are truly zero, save them compressed)"
            )
    if found.id.get_storage_size() == 0:
        raise Unreadable(f"{name} was never written: the file has room for it and nothing else")
    packed = [one for one in ("scale_factor", "add_offset") if one in found.attrs]
    if packed:
        raise Unreadable(f"{name} is packed ({' and '.join(packed)} of netCDF); save the numbers themselves")
    values = np.asarray(found[()])
    for fill in ("_FillValue", "missing_value"):  # of netCDF
        if fill in found.attrs:
            values = np.where(values == np.asarray(found.attrs[fill]).reshape(-1)[0], np.nan, values)
    return values


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
    of = _class_of(found)
    if of and of not in ("cell", "char"):
        raise OfClass(name, of)
    few(np.broadcast_to(np.empty(1), found.shape), name)
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
    of = _class_of(found)
    if of and of != "char":
        raise OfClass(name, of, True)
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


def _from_v5(data: bytes, orientation: str | None) -> FileTable:
    import scipy.io

    if len(data) >= ZERO_TAIL and not data[-ZERO_TAIL:].strip(b"\0"):
        raise Unreadable("the file ends in zero bytes: it was not written to its end")
    wanted = ("stimulusID", "tEvokedResp")
    found = scipy.io.loadmat(io.BytesIO(data), variable_names=wanted, chars_as_strings=True)
    for name in wanted:
        if name not in found:
            raise Unreadable(f"there is no {name}")
    cells = few(np.asarray(found["stimulusID"]).reshape(-1), "stimulusID")
    names = [_short(_cell(one)) for one in cells]
    responses = np.asarray(found["tEvokedResp"])
    if responses.ndim != 2 or responses.size > MOST_NUMBERS:
        raise Unreadable(f"tEvokedResp has shape {responses.shape}")
    images = [axis for axis in (0, 1) if responses.shape[axis] == len(names)]
    if not images:
        raise Unreadable(f"{len(names)} entries of stimulusID, but tEvokedResp has shape {responses.shape}")
    if len(images) == 2 and len(names) > 1:
        if orientation is None:
            raise Unreadable(
                f"tEvokedResp is {len(names)} x {len(names)}: images or channels first? save it as v7.3, or "
                f"say it in the plan: [rig] orientation = {' or '.join(map(repr, ORIENTATIONS))}"
            )
        return table(responses if orientation == ORIENTATIONS[0] else responses.T, names)
    found = table(responses if 0 in images else responses.T, names)
    return replace(found, orientation=None if len(images) == 2 else ORIENTATIONS[images[0]])


def _cell(cell: Any) -> str:
    """One cell's text."""
    value = np.asarray(cell)
    if value.dtype.kind == "V" and value.dtype.names and "s2" in value.dtype.names:  # SciPy's, of an object
        of = value.reshape(-1)[0]["s2"]
        said = of.decode("ascii", "replace") if isinstance(of, bytes) else str(of)
        raise OfClass("stimulusID", said, True)
    if value.dtype.kind != "U" or value.size > 1:
        raise Unreadable("an entry of stimulusID is no text")
    return str(value.reshape(-1)[0]).rstrip() if value.size else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
