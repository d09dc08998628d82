"""Classes of MATLAB's variables: those of a v5 file, and what to save instead of one that is not read."""

from __future__ import annotations

import contextlib
import struct
import zlib

from xdream.laboratory.rigs.folder_files import NUMERIC, Unreadable

#: No answer has more variables.
MOST_VARIABLES = 1000
#: By the number in a v5 file.
V5_CLASSES = dict(enumerate(("cell", "struct", "object", "char", "sparse", "double", "single"), 1)) | dict(
    enumerate(
        ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "function_handle"), 8
    )
)
#: What to save instead of a variable of another class: for text, for numbers ("" where there is no one way).
REMEDIES = {
    "string": ("cellstr({})", "str2double({})"),
    "categorical": ("cellstr({})", ""),
    "table": ("cellstr of its column", "table2array({})"),
    "timetable": ("cellstr of its column", "table2array(timetable2table({}, 'ConvertRowTimes', false))"),
    "datetime": ("cellstr({})", ""),
    "duration": ("cellstr({})", "milliseconds({})"),
    "char": ("cellstr({})", "str2double({})"),
    "cell": ("", "cell2mat({})"),
    "struct": ("its field by itself", "its field by itself"),
    "sparse": ("", "full({})"),
    "gpuArray": ("", "gather({})"),
    "dlarray": ("", "extractdata({})"),
    "timeseries": ("", "{}.Data"),
}


def remedy(name: str, of: str, entry: bool = False) -> str:
    """That a variable (or an entry of it) is of a class that is not read here, and what to save instead."""
    text, numeric = REMEDIES.get(of, ("", ""))
    wanted = text if name == "stimulusID" else numeric
    plain = "a cell array of char vectors" if name == "stimulusID" else "a plain array of type double"
    kind = f"{of} array" if of in ("string", "categorical", "char", "cell") else of
    before = "an entry of " if entry else ""
    return f"{before}{name} is a MATLAB {kind}; save {wanted.format(name) if wanted else plain}"


def check_v5(data: bytes) -> None:
    """Raise Unreadable for a v5 file whose variables are not those, or not of the classes, that are read."""
    classes = _v5_classes(data)
    for name, possible in (("stimulusID", ("cell", "char")), ("tEvokedResp", NUMERIC)):
        if classes and name not in classes:
            there = ", ".join(f"{one} ({of})" for one, of in classes.items() if one)
            raise Unreadable(f"there is no {name}; there is {there or 'nothing'}")
        if classes and classes[name] not in possible:
            raise Unreadable(remedy(name, classes[name]))


def _v5_classes(data: bytes) -> dict[str, str]:
    """The variables of a v5 file, and what MATLAB calls each. SciPy does not say the name of an object.

    As far as the file can be read: its reader then says what is wrong with the rest.
    """
    order = "<" if data[126:128] == b"IM" else ">"
    found: dict[str, str] = {}
    at = 128
    with contextlib.suppress(struct.error, zlib.error, IndexError, UnicodeDecodeError):
        while at + 8 <= len(data) and len(found) < MOST_VARIABLES:
            kind, size = struct.unpack_from(f"{order}II", data, at)
            content = data[at + 8 : at + 8 + min(size, 1 << 16)]
            at += 8 + size
            if kind == 15:  # compressed
                content = zlib.decompressobj().decompress(content, 1 << 16)
                kind = struct.unpack_from(f"{order}I", content)[0]
                content = content[8:]
            if kind == 14:  # an array
                name, of = _v5_array(content, order)
                found[name] = of
    return found


def _v5_array(content: bytes, order: str) -> tuple[str, str]:
    """The name of an array, and what MATLAB calls it."""
    parts: list[bytes] = []
    at = 0
    while len(parts) < 4 and at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # up to four bytes stand beside the length
            parts.append(content[at + 4 : at + 4 + (kind >> 16)])
            at += 8
        else:
            parts.append(content[at + 8 : at + 8 + size])
            at += 8 + size + -size % 8
    number = struct.unpack_from(f"{order}I", parts[0])[0] & 0xFF
    if number == 17:  # an object has no size here, but the name of its class
        return parts[1].decode("ascii"), parts[3].decode("ascii")
    return parts[2].decode("ascii"), V5_CLASSES.get(number, f"class {number}")
