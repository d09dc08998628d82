"""Blocks, answers and verdicts as JSON, for the bridges that carry messages.

What comes from a rig is read strictly and within limits that are checked before anything is built from it:
whatever is wrong with a message is one line (`Unreadable`), never another error. MATLAB's ways of writing
JSON are taken: a scalar for an array of one element, an object for a list of one, null for NaN, NaN and
Infinity as they are, an empty array for a field that a struct array has only in other elements.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from xdream.images.files import png
from xdream.laboratory.rigs.base import Answer, Block, Presentation, Row, Verdict
from xdream.scoring.recordings import Array, Recorded, Spikes, Traces, Values
from xdream.types import ShownImages

Json: TypeAlias = dict[str, Any]

#: How pixels are written: as PNG, as raw bytes (row by row from the top, red green blue), or not at all.
PIXELS = ("png", "raw", "none")
#: Limits of one message: levels of brackets, brackets, numbers and other values.
MOST_LEVELS, MOST_BRACKETS, MOST_VALUES = 12, 400_000, 4_000_000
#: Only shorter messages may hold escapes and letters outside ASCII, which take more room once read.
MOST_ESCAPED_BYTES = 1_000_000
#: Of an answer that cannot be read, this much is kept.
MOST_RAW_BYTES = 1_000_000
MOST_LETTERS = 200
MOST_COUNT = 2**53
_SCAN_BYTES = 1 << 20


class Unreadable(Exception):
    """A message that cannot be read; the text is why, in one line."""


# ---------------------------------------------------------------------- bytes to JSON


def loads(data: bytes) -> Any:
    """JSON from a rig. Raises Unreadable for anything that is none, is twice in one object or too much."""
    plain = data
    if len(data) > MOST_ESCAPED_BYTES:
        if not data.isascii() or b"\\" in data:
            raise Unreadable(
                f"a message above {MOST_ESCAPED_BYTES} bytes holds escapes or letters beyond ASCII"
            )
    elif b"\\" in data:
        plain = re.sub(rb"\\.", b"", data, flags=re.DOTALL)
    _check_size(plain)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError:
        raise Unreadable("the message is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the message is no JSON: {_short(error)}") from None


def _check_size(data: bytes) -> None:
    """Levels, brackets and values of a JSON text without escapes, before any of it is built."""
    level = quotes = brackets = values = 0
    for start in range(0, len(data), _SCAN_BYTES):
        letters = np.frombuffer(data, np.uint8, min(_SCAN_BYTES, len(data) - start), start)
        seen = np.cumsum(letters == ord('"'), dtype=np.int32) + quotes
        outside = seen % 2 == 0
        opens = ((letters == ord("[")) | (letters == ord("{"))) & outside
        closes = ((letters == ord("]")) | (letters == ord("}"))) & outside
        levels = np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32) + level
        quotes, level = int(seen[-1]) % 2, int(levels[-1])
        brackets += int(opens.sum())
        values += int((opens | ((letters == ord(",")) & outside)).sum())
        if levels.max() > MOST_LEVELS:
            raise Unreadable(f"the message is nested deeper than {MOST_LEVELS} levels")
        if brackets > MOST_BRACKETS or values > MOST_VALUES:
            raise Unreadable(
                f"the message holds more than {MOST_VALUES} values or {MOST_BRACKETS} lists; "
                "send the responses in several messages"
            )


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("a name occurs twice in one object")
    return found


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 19 else float(text)


def _short(value: object) -> str:
    """A value in one short line of printable letters, for a message about it."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:80])
    return text + "…" if len(text) == 80 else text


def dumps(value: Any) -> bytes:
    """JSON for a rig, ASCII. Infinities, which only a driver sends, are Infinity."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


# ---------------------------------------------------------------------- an answer


def message_of(data: bytes) -> Json:
    """A message: one JSON object. Raises Unreadable."""
    found = loads(data)
    if not isinstance(found, dict):
        raise Unreadable("the message is no object")
    return found


def answer_of(message: Mapping[str, Any], channels: int, source: str = "") -> Answer:
    """Responses from {session, block, fence, last, responses: [...]}.

    channels: of the session, which says what a list without lists in it means. Raises Unreadable.
    """
    _only(message, ("session", "block", "fence", "last", "responses"), "the message")
    rows = message.get("responses")
    if isinstance(rows, Mapping):
        rows = [rows]
    if not isinstance(rows, list):
        raise Unreadable("responses is no list")
    return Answer(
        tuple(_row(one, at, channels) for at, one in enumerate(rows)),
        session=text_of(message, "session"),
        block=count_of(message, "block"),
        fence=count_of(message, "fence"),
        last=_flag(message, "last"),
        source=source,
    )


def fault_of(reason: str, data: bytes, source: str = "") -> Answer:
    """What arrived and could not be read."""
    return Answer((), source=source, fault=reason, raw=data[:MOST_RAW_BYTES])


def _only(message: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    for name in message:
        if name not in names:
            raise Unreadable(f"{what} has a field {_short(name)}; there are {', '.join(names)}")


def text_of(message: Mapping[str, Any], name: str) -> str:
    """A short text. Raises Unreadable."""
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MOST_LETTERS or not value.isprintable():
        raise Unreadable(f"{name} is {_short(value)}, no text of 1 to {MOST_LETTERS} letters")
    return value


def count_of(message: Mapping[str, Any], name: str) -> int:
    """A whole number from 0. Raises Unreadable."""
    value: Any = message.get(name)
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not whole or not 0 <= value < MOST_COUNT or value != int(value):
        raise Unreadable(f"{name} is {_short(value)}, no whole number from 0")
    return int(value)


def _flag(message: Mapping[str, Any], name: str) -> bool:
    value = message.get(name, False)
    if value is None or value == [] or isinstance(value, (list, dict, str)) or value not in (0, 1):
        raise Unreadable(f"{name} is {_short(value)}, neither true nor false")
    return bool(value)


_FORMS: Mapping[str, tuple[str, ...]] = {
    "values": ("baseline",),
    "spikes": ("start_ms", "stop_ms"),
    "traces": ("start_ms", "step_ms"),
    "missing": (),
}
_ROW = ("image", "repeat", *_FORMS, "baseline", "start_ms", "stop_ms", "step_ms")


def _row(row: object, at: int, channels: int) -> Row:
    what = f"response {at}"
    if not isinstance(row, Mapping):
        raise Unreadable(f"{what} is no object")
    _only(row, _ROW, what)
    try:
        said = {name: value for name, value in row.items() if value is not None and value != []}
        repeat = count_of(said, "repeat") if "repeat" in said else None
        if not _flag(said, "missing"):
            said.pop("missing", None)
        if "values" in row and row["values"] is None and not any(form in said for form in _FORMS):
            said["values"] = [None] * channels  # NaN, as MATLAB writes it
        return Row(text_of(said, "image"), repeat, _recorded(said, channels))
    except Unreadable as error:
        raise Unreadable(f"{what}: {error}") from None


def _recorded(said: Mapping[str, Any], channels: int) -> Recorded | None:
    forms = [form for form in _FORMS if form in said]
    if len(forms) != 1:
        found = " and ".join(forms) or "none"
        raise Unreadable(f"has {found} of {', '.join(_FORMS)}; it must have one")
    (form,) = forms
    _only(said, ("image", "repeat", form, *_FORMS[form]), f"a response with {form}")
    if form == "values":
        baseline = _numbers(said["baseline"], "baseline") if "baseline" in said else None
        return Values(_numbers(said["values"], "values"), baseline)
    if form == "spikes":
        return _spikes(said, channels)
    if form == "traces":
        rows = _per_channel(said["traces"], channels, "traces")
        if len({len(one) for one in rows}) > 1:
            raise Unreadable("traces of several lengths")
        return Traces(np.stack(rows), _number(said, "start_ms"), _number(said, "step_ms"))
    return None


def _spikes(said: Mapping[str, Any], channels: int) -> Spikes:
    trains = _per_channel(said["spikes"], channels, "spikes")
    numbers = [np.full(len(train), channel, np.int64) for channel, train in enumerate(trains)]
    return Spikes(
        np.concatenate(trains),
        np.concatenate(numbers),
        len(trains),
        _number(said, "start_ms"),
        _number(said, "stop_ms"),
    )


def _per_channel(value: object, channels: int, name: str) -> list[Array]:
    """A list for each channel. Without inner lists: of one channel, or one number for each."""
    values = value if isinstance(value, list) else [value]
    if not any(isinstance(one, list) for one in values):
        flat = _numbers(values, name)
        return [flat] if channels == 1 else [flat[i : i + 1] for i in range(len(flat))]
    return [_numbers(one, name) for one in values]


def _numbers(value: object, name: str) -> Array:
    values = value if isinstance(value, list) else [value]
    if not {type(one) for one in values} <= {int, float, type(None)}:
        raise Unreadable(f"{name} holds what is neither a number nor null")
    return np.array(values, dtype=np.float64)


def _number(said: Mapping[str, Any], name: str) -> float:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"{name} is {_short(value)}, no number")
    return float(value)


def answer_json(
    session: str | None, block: int, fence: int | None, rows: Sequence[Row], *, last: bool
) -> Json:
    """What `answer_of` reads."""
    said = {"session": session, "block": block, "fence": fence, "last": last}
    return said | {"responses": [row_json(row) for row in rows]}


def row_json(row: Row) -> Json:
    """One response."""
    return {"image": row.image, "repeat": row.repeat} | recorded_json(row.recorded)


def recorded_json(recorded: Recorded | None) -> Json:
    """The form of a recording, by itself."""
    if recorded is None:
        return {"missing": True}
    if isinstance(recorded, Values):
        said: Json = {"values": _nulls(recorded.values)}
        return said if recorded.baseline is None else said | {"baseline": _nulls(recorded.baseline)}
    if isinstance(recorded, Spikes):
        trains = [_nulls(recorded.times_ms[recorded.channels == c]) for c in range(recorded.count)]
        return {"spikes": trains, "start_ms": recorded.start_ms, "stop_ms": recorded.stop_ms}
    traces = [_nulls(one) for one in recorded.samples]
    return {"traces": traces, "start_ms": recorded.start_ms, "step_ms": recorded.step_ms}


def _nulls(numbers: Array) -> list[float | None]:
    return [None if one != one else one for one in numbers.tolist()]


# ---------------------------------------------------------------------- a block


def presentation_json(one: Presentation) -> Json:
    """A presentation in its order, without its pixels."""
    return {
        "image": one.image,
        "repeat": one.repeat,
        "place": one.place,
        "code": one.code,
        "reference": one.reference,
    }


def header_json(block: Block, order: Sequence[Json], channels: Sequence[str]) -> Json:
    """A block, without its images."""
    return {
        "session": block.session,
        "block": block.number,
        "fence": block.fence,
        "order": list(order),
        "size_px": max((int(one.shape[-1]) for one in block.images.values()), default=0),
        "show_ms": block.show_ms,
        "gap_ms": block.gap_ms,
        "background": list(block.background),
        "channels": list(channels),
    }


def block_json(block: Block, channels: Sequence[str], pixels: str) -> Json:
    """A block for a rig. pixels: see PIXELS; without pixels `images` is left out."""
    order = [presentation_json(one) | {"sha256": one.sha256} for one in block.presentations]
    said: Json = {"state": "showing"} | header_json(block, order, channels)
    if pixels == "none":
        return said
    write = png if pixels == "png" else raw
    images = {one.image: block.images[one.image] for one in block.presentations}
    encoded = {name: base64.b64encode(write(image)).decode("ascii") for name, image in images.items()}
    return said | {"pixels": pixels, "images": encoded}


def raw(image: ShownImages) -> bytes:
    """(3, h, w) uint8, RGB -> its pixels row by row from the top, each as red, green, blue."""
    return image.permute(1, 2, 0).contiguous().numpy().tobytes()


def image_of(text: str, pixels: str, size_px: int) -> ShownImages:
    """Pixels of a block as `block_json` wrote them, (3, size, size) uint8. Raises Unreadable."""
    try:
        data = base64.b64decode(text, validate=True)
        if pixels == "png":
            with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
                array = np.array(opened.convert("RGB"))
        else:
            array = np.frombuffer(data, np.uint8).reshape(size_px, size_px, 3).copy()
    except (binascii.Error, OSError, ValueError) as error:
        raise Unreadable(f"an image cannot be read: {_short(error)}") from None
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


# ---------------------------------------------------------------------- replies: a code as HTTP's, and JSON


def reason_json(reason: str) -> tuple[int, Json]:
    """Why a rig that asks gets no block now: 200, or 409 where another rig holds it."""
    word = reason.split(":")[0].split(" ")[0]
    states = {"held": (409, "held"), "paused": (200, "paused"), "over": (200, "over")}
    code, state = states.get(word, (200, "waiting"))
    return code, {"state": state, "reason": reason}


def verdict_json(verdict: Verdict) -> tuple[int, Json]:
    """What became of an answer: 200, 409 where another rig holds the block, 422 where nothing was taken."""
    said: Json = {"counts": dict(verdict.counts), "open": verdict.open}
    if verdict.refused is None:
        return 200, said
    return 409 if verdict.conflict else 422, said | {"error": verdict.refused}
