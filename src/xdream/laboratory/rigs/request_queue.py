"""Between a bridge's own thread, which talks with rigs, and the session's thread, which decides.

A rig's message becomes an arrival in a queue; `collect` empties it, and the arrival's reply goes back to
whoever waits. What arrived as an answer stays in the queue even when nobody waits for its receipt any more;
a claim of a rig that has gone does not.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xdream.laboratory.rigs import forms, json_messages
from xdream.laboratory.rigs.base import Answer, Arrival, Block, BlockClaim, Command, NoBlock
from xdream.types import ShownImages

#: A reply: a code as HTTP's, and what is said; a block is written out as JSON by the bridge.
Reply = tuple[int, forms.Json | Block]
#: So many arrivals may wait for the session.
MOST_WAITING = 100
COMMANDS = ("pause", "go-on", "stop", "reject", "take-back")


class PendingReply:
    """One who waits for a reply. `done` is called once, in the thread that has the reply."""

    def __init__(self, done: Callable[[Reply], None], size: int = 0) -> None:
        self.size, self.abandoned = size, False
        self._done: Callable[[Reply], None] | None = done
        self._lock = threading.Lock()

    def reply(self, code: int, said: forms.Json | Block) -> None:
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


class RequestQueue:
    """The queue, what is offered and how the session stands. most_bytes: of all answers in the queue."""

    def __init__(self, source: str, most_bytes: int) -> None:
        self._source, self._most_bytes = source, most_bytes
        self._there = threading.Condition()
        self._waiting: deque[tuple[Arrival, PendingReply]] = deque()
        self._pending: set[PendingReply] = set()
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
                found = [arrival for arrival, pending in self._waiting if _counts(arrival, pending)]
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
        for one in pending:
            one.reply(503, _OVER)

    # ------------------------------------------------------------------ the rigs' side

    def ask(self, message: Mapping[str, Any], data: bytes, pending: PendingReply) -> None:
        """One message of a rig, {"do": …}: its reply comes at once or with the session's decision."""
        do = message.get("do")
        said = {name: value for name, value in message.items() if name not in ("do", "id", "token")}
        try:
            if do == "status":
                pending.reply(200, {**self.state, "session": self.session})
            elif do == "block":
                rig = forms.text_of(said, "rig")
                self._put(BlockClaim(rig, lambda found: self._claimed(pending, found)), pending)
            elif do == "responses":
                self._answer(said, data, pending)
            elif do in COMMANDS:
                self._command(do, said, pending)
            else:
                names = ", ".join(("block", "responses", "status", *COMMANDS))
                pending.reply(400, {"error": f"do is none of {names}"})
        except forms.MessageError as error:
            pending.reply(400, {"error": str(error)})

    def unreadable(self, reason: str, data: bytes, pending: PendingReply) -> None:
        """Responses that cannot be read go to the session as such, and are its to refuse."""
        answer = json_messages.fault_of(reason, data, self._source)
        self._put(_with_reply(answer, pending), pending)

    def image(self, name: str) -> ShownImages | None:
        """Pixels of an image of the block that is offered, or None."""
        block = self.block
        return None if block is None else block.images.get(name)

    def _answer(self, said: Mapping[str, Any], data: bytes, pending: PendingReply) -> None:
        try:
            answer = json_messages.answer_of(said, len(self.channels), self._source)
        except forms.MessageError as error:
            self.unreadable(str(error), data, pending)
            return
        self._put(_with_reply(answer, pending), pending)

    def _command(self, word: str, said: Mapping[str, Any], pending: PendingReply) -> None:
        value = ""
        if word == "reject":
            value = str(forms.count_of(said, "block"))
        elif word == "pause" and said.get("reason") is not None:
            value = forms.text_of(said, "reason")

        def reply(problem: str | None) -> None:
            pending.reply(*((200, {"done": word}) if problem is None else (422, {"error": problem})))

        self._put(Command(word, value, reply), pending)

    def _claimed(self, pending: PendingReply, found: Block | NoBlock) -> None:
        pending.reply(*((200, found) if isinstance(found, Block) else json_messages.no_block_json(found)))

    def _put(self, arrival: Arrival, pending: PendingReply) -> None:
        with self._there:
            self._pending = {one for one in self._pending if one.waits}
            self._waiting = deque(one for one in self._waiting if _counts(*one))
            full = len(self._waiting) >= MOST_WAITING or (
                self._waiting and self._bytes + pending.size > self._most_bytes
            )
            if not full and not self._over:
                self._waiting.append((arrival, pending))
                self._pending.add(pending)
                self._bytes += pending.size
                self._there.notify_all()
                return
        pending.reply(503, _OVER if self._over else {"error": "the session is busy; try again"})


_OVER: forms.Json = {"state": "over", "error": "the session is over or stopped; nothing was taken"}


def _counts(arrival: Arrival, pending: PendingReply) -> bool:
    return not (isinstance(arrival, BlockClaim) and pending.abandoned)


def _with_reply(answer: Answer, pending: PendingReply) -> Answer:
    return Answer(
        answer.rows,
        *(answer.session, answer.block, answer.fence, answer.last, answer.source, answer.fault, answer.raw),
        reply=lambda receipt: pending.reply(*json_messages.receipt_json(receipt)),
    )
