"""Blocks, answers and receipts as JSON, for the bridges that carry messages.

What comes from a rig is read strictly and within limits that are checked before anything is built from it:
whatever is wrong with a message is one line (`MessageError`), never another error. The responses in an answer
are read by `forms`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xdream.images.files import chw, decoded, hwc, png
from xdream.laboratory.rigs.base import Answer, AnswerRow, Block, NoBlock, Presentation, Receipt
from xdream.laboratory.rigs.forms import (
    Json,
    MessageError,
    count_of,
    flag_of,
    only_fields,
    read_responses,
    row_json,
    short,
    text_of,
)
from xdream.types import ShownImages

#: What an answer says.
ANSWER_FIELDS = ("session", "block", "fence", "last", "responses")

#: How pixels are written: as PNG, as raw bytes (row by row from the top, red green blue), or not at all.
PIXELS = ("png", "raw", "none")
#: Limits of one message: levels of brackets, brackets, numbers and other values.
MOST_LEVELS, MOST_BRACKETS, MOST_VALUES = 12, 400_000, 4_000_000
#: Only shorter messages may hold escapes and letters outside ASCII, which take more room once read.
MOST_ESCAPED_BYTES = 1_000_000
#: Of an answer that cannot be read, this much is kept.
MOST_RAW_BYTES = 1_000_000
_SCAN_BYTES = 1 << 20


# ---------------------------------------------------------------------- bytes to JSON


def loads(data: bytes, *, bounded: bool = True) -> Any:
    """JSON from a rig. Raises MessageError for anything that is none, is twice in one object or too much.

    bounded: False where a limit of bytes is all that the reader wants, so that how many values there are and
    how they are written is not limited beside it.
    """
    plain = data
    if bounded and len(data) > MOST_ESCAPED_BYTES:
        if not data.isascii() or b"\\" in data:
            raise MessageError(
                f"a message above {MOST_ESCAPED_BYTES} bytes holds escapes or letters beyond ASCII"
            )
    elif b"\\" in data:
        plain = re.sub(rb"\\.", b"", data, flags=re.DOTALL)
    _check_size(plain, bounded)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError:
        raise MessageError("the message is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the message is no JSON: {short(error)}") from None


def _check_size(data: bytes, bounded: bool) -> None:
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
            raise MessageError(f"the message is nested deeper than {MOST_LEVELS} levels")
        if bounded and (brackets > MOST_BRACKETS or values > MOST_VALUES):
            raise MessageError(
                f"the message holds more than {MOST_VALUES} values or {MOST_BRACKETS} lists; "
                "send the responses in several messages"
            )


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MessageError("a name occurs twice in one object")
    return found


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 19 else float(text)


def dumps(value: Any) -> bytes:
    """JSON for a rig, ASCII. Infinities, which only a driver sends, are Infinity."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


# ---------------------------------------------------------------------- an answer


def message_of(data: bytes) -> Json:
    """A message: one JSON object. Raises MessageError."""
    found = loads(data)
    if not isinstance(found, dict):
        raise MessageError("the message is no object")
    return found


def answer_of(message: Mapping[str, Any], channels: int, source: str = "") -> Answer:
    """Responses from {session, block, fence, last, responses: [...]}.

    channels: of the session. Raises MessageError.
    """
    only_fields(message, ANSWER_FIELDS, "the message")
    return Answer(
        read_responses(message.get("responses"), channels),
        session=text_of(message, "session"),
        block=count_of(message, "block"),
        fence=count_of(message, "fence"),
        last=flag_of(message, "last"),
        source=source,
    )


def fault_of(reason: str, data: bytes, source: str = "") -> Answer:
    """What arrived and could not be read."""
    return Answer((), source=source, fault=reason, raw=data[:MOST_RAW_BYTES])


def answer_json(
    session: str | None, block: int, fence: int | None, rows: Sequence[AnswerRow], *, last: bool
) -> Json:
    """What `answer_of` reads."""
    said = {"session": session, "block": block, "fence": fence, "last": last}
    return said | {"responses": [row_json(row) for row in rows]}


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
    return hwc(image).tobytes()


def image_of(text: str, pixels: str, size_px: int) -> ShownImages:
    """Pixels of a block as `block_json` wrote them, (3, size, size) uint8. Raises MessageError."""
    try:
        data = base64.b64decode(text, validate=True)
        if pixels == "png":
            return decoded(data, ("png",))
        return chw(np.frombuffer(data, np.uint8).reshape(size_px, size_px, 3).copy())
    except ValueError as error:  # BadInput, and of base64
        raise MessageError(f"an image cannot be read: {short(error)}") from None


# ---------------------------------------------------------------------- replies: a code as HTTP's, and JSON


def no_block_json(refusal: NoBlock) -> tuple[int, Json]:
    """Why a rig that asks gets no block now: 200, or 409 where another rig holds it."""
    return 409 if refusal.state == "held" else 200, {"state": refusal.state, "reason": refusal.reason}


def receipt_json(receipt: Receipt) -> tuple[int, Json]:
    """What became of an answer: 200, 409 where another rig holds the block, 422 where nothing was taken."""
    said: Json = {"counts": dict(receipt.counts), "open": receipt.open}
    if receipt.refused is None:
        return 200, said
    return 409 if receipt.conflict else 422, said | {"error": receipt.refused}
