"""The other end of the bridges that carry messages: what a rig says, whatever the medium."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from xdream.errors import RigError
from xdream.laboratory.rigs import forms, json_messages
from xdream.laboratory.rigs.base import AnswerRow
from xdream.laboratory.simulation.base import Offered

#: Between two questions when there is nothing now.
PAUSE_S = 0.05


class NoReply(Exception):
    """The bridge did not answer."""


class Medium(Protocol):
    """Asks one thing and waits for the reply."""

    def ask(
        self, do: str, message: forms.Json, spoil: Callable[[bytes], bytes] | None
    ) -> tuple[int, forms.Json]:
        """(code, what was said). Raises NoReply."""
        ...

    def hang_up(self) -> None:
        """Until asked again."""
        ...


class MessageDriver:
    """A `simulation.base.Driver` over a medium.

    rig: its name. pixels: png or raw. gone_s: a bridge that has not answered for so long is gone for good.
    answer_s: for how long an answer is sent again until there is a receipt.
    """

    is_recorder: ClassVar[bool] = False
    sends_spikes: ClassVar[bool] = False

    def __init__(
        self,
        medium: Medium,
        *,
        rig: str = "simulated",
        pixels: str = "raw",
        gone_s: float = 60.0,
        answer_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._medium, self._rig, self._pixels = medium, rig, pixels
        self._gone_s, self._answer_s, self._clock = gone_s, answer_s, clock
        self._answered: set[tuple[str | None, int, int | None]] = set()
        self._heard = clock()
        self._over = False
        #: Whether the session is over for this rig only because it does not answer any more.
        self.gone = False
        self._ended = threading.Event()
        #: The digital word of each presentation of the latest block.
        self.codes: dict[tuple[str, int], int] = {}
        #: What the bridge said last to an answer: (code, JSON).
        self.receipt: tuple[int, forms.Json] | None = None

    @property
    def over(self) -> bool:
        """Whether the session said so, or is gone for good."""
        return self._over

    def next_block(self, timeout_s: float) -> Offered | None:
        """Ask until there is one that was not answered."""
        until = self._clock() + timeout_s
        while not self._over and not self._ended.is_set():
            code, said = self._ask("block", {"rig": self._rig, "pixels": self._pixels})
            if said.get("state") == "over":
                self._over = True
            elif code == 200 and "order" in said:
                key = (said["session"], said["block"], said["fence"])
                if key not in self._answered:
                    return self._offered(said)
            if self._over or self._clock() >= until:
                break
            self._ended.wait(PAUSE_S)
        return None

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Send, again and again, until there is a receipt (then `receipt` is it). Raises RigError: there was
        none in `answer_s`, or a wrong token."""
        message = json_messages.answer_json(offered.session, offered.number, offered.fence, rows, last=last)
        until = self._clock() + self._answer_s
        while not self._over and not self._ended.is_set():
            code, said = self._ask("responses", message, spoil)
            if said.get("state") == "over":
                self._over = True
            elif code not in (0, 503):
                self.receipt = (code, said)
                if code == 200 and last:
                    self._answered.add((offered.session, offered.number, offered.fence))
                return
            if self._clock() >= until:
                raise RigError(f"no receipt on block {offered.number} in {self._answer_s:g} s")
            self._ended.wait(PAUSE_S)

    def disconnect(self, seconds: float) -> None:
        """Hang up and be away."""
        self._medium.hang_up()
        self._ended.wait(seconds)
        self._heard = self._clock()

    def close(self) -> None:
        """End, also a wait in another thread."""
        self._ended.set()
        self._medium.hang_up()

    def _ask(
        self, do: str, message: forms.Json, spoil: Callable[[bytes], bytes] | None = None
    ) -> tuple[int, forms.Json]:
        try:
            code, said = self._medium.ask(do, message, spoil)
        except NoReply:
            if not self._over and self._clock() - self._heard >= self._gone_s:
                self._over = self.gone = True
            return 0, {}
        self._heard = self._clock()
        if code == 401:
            raise RigError(f"the bridge does not let this rig in: {said.get('error')}")
        return code, said

    def _offered(self, said: forms.Json) -> Offered:
        images = {
            name: json_messages.image_of(data, said["pixels"], said["size_px"])
            for name, data in said["images"].items()
        }
        shown = tuple((one["image"], one["repeat"], images[one["image"]]) for one in said["order"])
        self.codes = {(one["image"], one["repeat"]): one["code"] for one in said["order"]}
        return Offered(said["session"], said["block"], said["fence"], shown)
