"""The experimenter's orders to a session that runs elsewhere, or will go on: one small file each."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from xdream import files
from xdream.errors import BadInput, StoreError
from xdream.laboratory.rigs import Command

FOLDER = "orders"
WORDS = ("reject", "accept", "pause", "go-on", "stop")
#: Larger files are no orders.
MOST_BYTES = 10_000


def give(folder: str | Path, word: str, value: str = "") -> None:
    """Leave an order for the session in a folder: taken up within a second, or when the session goes on.

    word: reject, accept (value: the block's number), pause (value: why), go-on, stop. Raises BadInput,
    StoreError.
    """
    if word not in WORDS:
        raise BadInput(f"'{word}' is no order; there are {', '.join(WORDS)}")
    place = Path(folder) / FOLDER
    try:
        place.mkdir(exist_ok=True)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        files.replace(place / name, json.dumps({"word": word, "value": value}).encode())
    except OSError as error:
        raise StoreError(f"{place} cannot be written: {error.strerror}") from None


def forget(folder: Path) -> None:
    """Leave none of a session that was in the folder before."""
    for path in (folder / FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def given(folder: Path) -> Iterator[Command]:
    """The orders that were left, in order. Each is removed once carried out; one twice does no harm."""
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            text = path.read_bytes()[: MOST_BYTES + 1]
            order = json.loads(text)
            command = Command(str(order["word"]), str(order["value"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            command = Command("", path.name)
        if command.word == "stop":  # which does not come back here
            path.unlink(missing_ok=True)
        yield command
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
