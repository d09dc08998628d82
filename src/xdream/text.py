"""Text files that other programs wrote, and text that other systems print: one reader, one way to escape.

Editors and spreadsheets save text in several encodings and with several ends of lines. What says what it is
(a byte order mark) is read; everything else is UTF-8 or refused with its line, since a guessed encoding gives
other letters without a word.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from xdream.errors import BadInput

#: UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
#: What a line has before a comment: no `#`, unless in quotes. Of prototxts, and of tables (whole lines).
IN_PROTOTXT = re.compile(r"""(?:[^#"'\n]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')*(?=#)""")
IN_TABLE = re.compile("(?=#)")
#: A byte that is no UTF-8, as Python keeps it (surrogateescape), also in names of files.
_LONE = re.compile("[\ud800-\udfff]")
#: What moves a terminal's cursor or gives it orders.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")
_IMAGE_BYTES = 2**27
#: Names of the end of a process, by which consoles that are not UTF-8 get what they can show.
ERRORS = "xdream.escaped"
_PLAIN = {
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2026": "...",
    "\u00d7": "x",
    "\u2019": "'",
    "\u00b1": "+-",
}


def decoded(data: bytes, *, comment: re.Pattern[str] | None = None) -> str:
    """The text of a file, its lines ended by a newline each.

    UTF-8, or what a byte order mark says. comment: what precedes a comment in a line; with it, bytes of
    another encoding (Latin-1, GBK) are taken inside comments, as `?`. Raises BadInput with the line.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return _lines_ended(data.decode(encoding))
            except UnicodeDecodeError as error:
                raise BadInput(
                    f"its {encoding.removesuffix('-sig').upper()} is damaged ({error.reason})"
                ) from None
    text = _lines_ended(data.decode("utf-8", "surrogateescape"))
    if _LONE.search(text) is None:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        bad = _LONE.search(line)
        if bad is None:
            continue
        before = None if comment is None else comment.match(line)
        if before is None or bad.start() < before.end():
            byte = ord(bad.group()) - 0xDC00
            raise BadInput(
                f"line {number} has a byte (0x{byte:02x}) that is not UTF-8; save the file as UTF-8"
            )
        lines[number - 1] = _LONE.sub("?", line)
    return "\n".join(lines)


def toml(data: bytes) -> str:
    """The text of a TOML file, which is UTF-8 by definition. Raises BadInput with the line."""
    for mark, encoding in _MARKS:
        if data.startswith(mark) and encoding != "utf-8-sig":
            raise BadInput(f"line 1 begins in {encoding.upper()}, and TOML is UTF-8; save the file as UTF-8")
    return decoded(data)


def read(path: str | Path) -> bytes:
    """The bytes of a file. Raises BadInput."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: of a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"cannot be read ({reason})") from None


def rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row of a table with commas between its fields; the first is its head.

    Lines that begin with # before the head are comments. Blank lines, and rows of empty fields, which
    spreadsheets leave, are passed over. Raises BadInput.
    """
    text = decoded(data, comment=IN_TABLE)
    begin, first = 0, 1
    while text.startswith(("#", "sep=,\n"), begin):
        end = text.find("\n", begin)
        begin, first = (len(text), first) if end < 0 else (end + 1, first + 1)
    head = text[begin : text.find("\n", begin) if "\n" in text[begin:] else len(text)]
    _check_separator(head)
    csv.field_size_limit(_IMAGE_BYTES)
    lines = csv.reader(io.StringIO(text[begin:], newline=""), strict=True)
    number = first
    try:
        for fields in lines:
            if any(field.strip() for field in fields):
                yield number, fields
            number = first + lines.line_num
    except csv.Error as error:
        raise BadInput(f"line {number}: {error}") from None


def _check_separator(head: str) -> None:
    """Raise BadInput for a table that a spreadsheet separated otherwise."""
    if head.startswith("sep="):
        raise BadInput(f"line 1 declares {head!r}; {_AS_COMMAS}")
    if "," not in head and ";" in head:
        raise BadInput(
            "its fields are separated by semicolons, as spreadsheets do where numbers have a decimal comma; "
            f"{_AS_COMMAS}"
        )
    if "," not in head and "\t" in head:
        raise BadInput(f"its fields are separated by tabs; {_AS_COMMAS}")


_AS_COMMAS = "save it with commas between the fields and points in the numbers"


def shortened(text: str, most: int = 300) -> str:
    """What a library said, on one line; of a long text the beginning and the end, where the reason stands."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    head = most // 3
    return f"{line[:head]} … {line[len(line) - (most - head - 3) :]}"


def cut(text: str, most: int) -> str:
    """The beginning of a text that takes at most so many bytes in UTF-8, in whole letters: for file names."""
    return text.encode("utf-8", "surrogateescape")[:most].decode("utf-8", "ignore")


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 block", "2 blocks"."""
    return f"{count} {noun}{'s' if count != 1 else ''}"


def storable(text: str) -> str:
    """A text that can be encoded, and so stored: the bytes of a file's name that are no UTF-8 as \\xNN."""
    return _LONE.sub(lambda found: _escaped(found.group()), text)


def unescaped(text: str) -> str:
    """The name of a file of which `storable` made a text."""
    return _BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def printable(text: str) -> str:
    """A name in one line of a terminal: also its newlines and escapes as \\xNN."""
    return _CONTROL.sub(lambda found: _escaped(found.group()), text)


def forgiving(*streams: TextIO | None) -> None:
    """Have streams print what they can: a letter that a console has not is replaced or escaped."""
    codecs.register_error(ERRORS, _replaced)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or _escaped(letter) for letter in found), error.end


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return letter.encode("ascii", "backslashreplace").decode("ascii")


def _lines_ended(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
