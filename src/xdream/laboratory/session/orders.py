"""The experimenter's orders to a session that runs elsewhere, or will go on: one small file each."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from xdream import files
from xdream.errors import BadInput, StoreError
from xdream.laboratory.rigs import Command

FOLDER = "orders"
WORDS = ("reject", "take-back", "accept", "acknowledge", "pause", "go-on", "stop")
#: Larger files are no orders.
MOST_BYTES = 10_000
#: How long a session is waited for that may have obeyed, and how often it is looked.
OBEY_S, LOOK_S = 0.35, 0.01
#: Beside an order that cannot be carried out: why.
REFUSED = ".refused"


def give(folder: str | Path, word: str, value: str = "") -> Path:
    """Leave an order for the session in a folder: taken up at once, or when the session goes on.

    word: reject, accept (value: the block's number), take-back (of the rejection that is held), acknowledge
    (value: the alarm's number, or nothing: all), pause (value: why), go-on, stop. Returns the order's file
    (see `obeyed`). Raises BadInput, StoreError.
    """
    if word not in WORDS:
        raise BadInput(f"'{word}' is no order; there are {', '.join(WORDS)}")
    data = json.dumps({"word": word, "value": value}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if len(data) > MOST_BYTES:
        raise BadInput(
            f"the order's text takes {len(data)} bytes in UTF-8, and {MOST_BYTES} is the most; shorten it"
        )
    place = Path(folder) / FOLDER
    try:
        place.mkdir(exist_ok=True)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        files.replace(place / name, data)
    except OSError as error:
        raise StoreError(f"{place} cannot be written: {error.strerror}") from None
    return place / name


def obeyed(order: Path, wait_s: float = OBEY_S) -> bool:
    """Whether a session has carried out an order by now. Raises BadInput with the reason when it cannot.

    wait_s: for how long it is waited for; a session that computes, or does not run, obeys later.
    """
    until = time.monotonic() + wait_s
    while order.exists():
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK_S)
    refused = order.with_suffix(REFUSED)
    with contextlib.suppress(FileNotFoundError):
        reason = refused.read_text("utf-8")
        refused.unlink(missing_ok=True)
        raise BadInput(f"the session does not do that: {reason}")
    return True


def age_s(name: str) -> float:
    """How long ago an order was given, by its file's name."""
    written = name.partition("-")[0]
    return (time.time_ns() - int(written)) / 1e9 if written.isdecimal() else math.inf


def refuse(folder: Path, name: str, reason: str) -> None:
    """Leave word that an order cannot be carried out, and remove it. One that nobody waits for is no loss."""
    with contextlib.suppress(OSError):
        (folder / FOLDER / name).with_suffix(REFUSED).write_text(reason, "utf-8")


def forget(folder: Path) -> None:
    """Leave none of a session that was in the folder before."""
    for ending in ("json", REFUSED[1:]):
        for path in (folder / FOLDER).glob(f"*.{ending}"):
            path.unlink(missing_ok=True)


def given(folder: Path) -> Iterator[tuple[str, Command]]:
    """(name, order) of those that were left, in order. Each is removed once carried out; one twice does no
    harm."""
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            text = path.read_bytes()[: MOST_BYTES + 1]
            order = json.loads(text)
            command = Command(str(order["word"]), str(order["value"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            command = Command("", path.name)
        if command.word == "stop":  # which does not come back here
            path.unlink(missing_ok=True)
        yield path.name, command
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
