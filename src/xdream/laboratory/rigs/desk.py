"""Between a bridge's own thread, which talks with rigs, and the session's thread, which decides.

A rig's message becomes an arrival in a queue; `collect` empties it, and the arrival's reply goes back to
whoever waits. What arrived as an answer stays in the queue even when nobody waits for its verdict any more;
a claim of a rig that has gone does not.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdream.errors import BadInput
from xdream.laboratory.rigs import wire
from xdream.laboratory.rigs.base import Answer, Arrival, Block, Claim, Command
from xdream.types import ShownImages

#: A reply: a code as HTTP's, and what is said; a block is written out as JSON by the bridge.
Reply = tuple[int, wire.Json | Block]
#: So many arrivals may wait for the session.
MOST_WAITING = 100
TOKEN_VARIABLE = "XDREAM_RIG_TOKEN"
COMMANDS = ("pause", "go-on", "stop", "reject")


class Ticket:
    """One who waits for a reply. `done` is called once, in the thread that has the reply."""

    def __init__(self, done: Callable[[Reply], None], size: int = 0) -> None:
        self.size, self.abandoned = size, False
        self._done: Callable[[Reply], None] | None = done
        self._lock = threading.Lock()

    def reply(self, code: int, said: wire.Json | Block) -> None:
        """The first reply counts."""
        with self._lock:
            done, self._done = self._done, None
        if done is not None and not self.abandoned:
            done((code, said))

    @property
    def waits(self) -> bool:
        """Whether a reply is still to come."""
        return self._done is not None and not self.abandoned

    def abandon(self) -> None:
        """Nobody waits any more."""
        self.abandoned = True


class Desk:
    """The queue, what is offered and how the session stands. most_bytes: of all answers in the queue."""

    def __init__(self, source: str, most_bytes: int) -> None:
        self._source, self._most_bytes = source, most_bytes
        self._there = threading.Condition()
        self._waiting: deque[tuple[Arrival, Ticket]] = deque()
        self._pending: set[Ticket] = set()
        self._bytes = 0
        self._over = False
        self.channels: tuple[str, ...] = ()
        self.session = ""
        self.block: Block | None = None
        self.state: Mapping[str, Any] = {"state": "waiting"}

    # ------------------------------------------------------------------ the session's side

    def open(self, session: str, channels: Sequence[str]) -> None:
        """A session begins."""
        self.session, self.channels, self._over, self.block = session, tuple(channels), False, None

    def withdraw(self, number: int) -> None:
        """The block is closed."""
        if self.block is not None and self.block.number == number:
            self.block = None

    def collect(self, timeout_s: float) -> list[Arrival]:
        """What has arrived; waits for the first."""
        until = time.monotonic() + timeout_s
        with self._there:
            while True:
                found = [arrival for arrival, ticket in self._waiting if _counts(arrival, ticket)]
                self._waiting.clear()
                self._bytes = 0
                left = until - time.monotonic()
                if found or left <= 0 or self._over:
                    return found
                self._there.wait(left)

    def close(self) -> None:
        """Nobody decides any more: whoever waits hears that it is over."""
        with self._there:
            self._over = True
            pending = list(self._pending)
            self._waiting.clear()
            self._pending.clear()
            self._there.notify_all()
        for ticket in pending:
            ticket.reply(503, _OVER)

    # ------------------------------------------------------------------ the rigs' side

    def ask(self, message: Mapping[str, Any], data: bytes, ticket: Ticket) -> None:
        """One message of a rig, {"do": …}: its reply comes at once or with the session's decision."""
        do = message.get("do")
        said = {name: value for name, value in message.items() if name not in ("do", "id", "token")}
        try:
            if do == "status":
                ticket.reply(200, {**self.state, "session": self.session})
            elif do == "block":
                rig = wire.text_of(said, "rig")
                self._put(Claim(rig, lambda found: self._claimed(ticket, found)), ticket)
            elif do == "responses":
                self._answer(said, data, ticket)
            elif do in COMMANDS:
                self._command(do, said, ticket)
            else:
                names = ", ".join(("block", "responses", "status", *COMMANDS))
                ticket.reply(400, {"error": f"do is none of {names}"})
        except wire.Unreadable as error:
            ticket.reply(400, {"error": str(error)})

    def unreadable(self, reason: str, data: bytes, ticket: Ticket) -> None:
        """Responses that cannot be read go to the session as such, and are its to refuse."""
        answer = wire.fault_of(reason, data, self._source)
        self._put(_with_reply(answer, ticket), ticket)

    def image(self, name: str) -> ShownImages | None:
        """Pixels of an image of the block that is offered, or None."""
        block = self.block
        return None if block is None else block.images.get(name)

    def _answer(self, said: Mapping[str, Any], data: bytes, ticket: Ticket) -> None:
        try:
            answer = wire.answer_of(said, len(self.channels), self._source)
        except wire.Unreadable as error:
            self.unreadable(str(error), data, ticket)
            return
        self._put(_with_reply(answer, ticket), ticket)

    def _command(self, word: str, said: Mapping[str, Any], ticket: Ticket) -> None:
        value = ""
        if word == "reject":
            value = str(wire.count_of(said, "block"))
        elif word == "pause" and said.get("reason") is not None:
            value = wire.text_of(said, "reason")

        def reply(problem: str | None) -> None:
            ticket.reply(*((200, {"done": word}) if problem is None else (422, {"error": problem})))

        self._put(Command(word, value, reply), ticket)

    def _claimed(self, ticket: Ticket, found: Block | str) -> None:
        ticket.reply(*((200, found) if isinstance(found, Block) else wire.reason_json(found)))

    def _put(self, arrival: Arrival, ticket: Ticket) -> None:
        with self._there:
            self._pending = {one for one in self._pending if one.waits}
            self._waiting = deque(one for one in self._waiting if _counts(*one))
            full = len(self._waiting) >= MOST_WAITING or (
                self._waiting and self._bytes + ticket.size > self._most_bytes
            )
            if not full and not self._over:
                self._waiting.append((arrival, ticket))
                self._pending.add(ticket)
                self._bytes += ticket.size
                self._there.notify_all()
                return
        ticket.reply(503, _OVER if self._over else {"error": "the session is busy; try again"})


_OVER: wire.Json = {"state": "over", "error": "the session is over or stopped; nothing was taken"}


def _counts(arrival: Arrival, ticket: Ticket) -> bool:
    return not (isinstance(arrival, Claim) and ticket.abandoned)


def _with_reply(answer: Answer, ticket: Ticket) -> Answer:
    return Answer(
        answer.rows,
        *(answer.session, answer.block, answer.fence, answer.last, answer.source, answer.fault, answer.raw),
        reply=lambda verdict: ticket.reply(*wire.verdict_json(verdict)),
    )


# ---------------------------------------------------------------------- who may ask


class Token:
    """The word that a rig must know, or none: given, in a file, or in XDREAM_RIG_TOKEN. Never shown."""

    def __init__(self, token: str | None, token_file: str | None, host: str) -> None:
        """Raises BadInput: two of them, one that cannot be in a header, or none beyond this machine."""
        if token is not None and token_file is not None:
            raise BadInput("both token and token_file are given; leave one out")
        self._file = token_file
        self._token = token if token is not None or token_file is not None else os.environ.get(TOKEN_VARIABLE)
        if self._token is not None:
            self._check()
        elif token_file is None and not is_loopback(host):
            raise BadInput(
                f"host '{host}' can be reached from other machines and there is no token; give token_file "
                f"(or set {TOKEN_VARIABLE}), or use host 127.0.0.1"
            )

    def read(self) -> None:
        """Read the file, where it is in one. Raises BadInput."""
        if self._file is None:
            return
        try:
            with Path(self._file).open("rb") as file:
                self._token = file.read(4096).decode("ascii").strip()
        except (OSError, ValueError) as error:
            raise BadInput(f"token_file '{self._file}' cannot be read: {error}") from None
        self._check()

    def admits(self, said: object) -> bool:
        """Whether this is the token, in constant time."""
        if self._token is None:
            return True
        text = said if isinstance(said, str) else ""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def _check(self) -> None:
        token = self._token or ""
        if not token.isascii() or not token.isprintable() or " " in token or not 8 <= len(token) <= 256:
            raise BadInput(
                "the token is not of 8 to 256 letters, digits and signs without spaces; make another"
            )


@dataclass(frozen=True)
class Port:
    """Where a bridge listens, and to whom. most_bytes: of one message."""

    host: str
    number: int
    token: Token
    most_bytes: int
    reply_timeout_s: float

    @classmethod
    def of(
        cls,
        host: str,
        number: int,
        token: str | None,
        token_file: str | None,
        most_mb: float,
        reply_timeout_s: float,
    ) -> Port:
        """That of a bridge's options. Raises BadInput."""
        check_number("port", number, 0, 65_535)
        check_number("most_mb", most_mb, 0.001, 2_000)
        check_number("reply_timeout_s", reply_timeout_s, 0.001, 3_600)
        known = Token(token, token_file, host)
        return cls(host, number, known, int(most_mb * 1e6), float(reply_timeout_s))

    def cannot_be_had(self, error: BaseException) -> BadInput:
        """What to say when it is taken."""
        return BadInput(
            f"port {self.number} of {self.host} cannot be had ({error}); is another session running? "
            "Choose another port"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host in ("localhost", "::1", "[::1]") or (
        host.startswith("127.") and all(part.isdecimal() for part in host.split("."))
    )


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raises BadInput."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise BadInput(f"{name} is {value!r}; give a number from {low:g} to {high:g}")
