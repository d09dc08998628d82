"""LabStreamingLayer: markers of blocks go out, answers come in from a stream.

LSL loses what is sent before a reader has subscribed, and by itself it connects again without a word. So the
marker of a block that is open is sent again and again, each saying the same, and an answer may be sent again
as often: what was taken already counts once. docs/rigs-streams.md has the form of both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs.base import Answer, AnswerRow, Arrival, Block
from xdream.laboratory.rigs.forms import MessageError, count_of, flag_of, only_fields, read_responses, text_of
from xdream.laboratory.rigs.json_messages import ANSWER_FIELDS, dumps, message_of
from xdream.laboratory.rigs.onset_windows import BLOCKS_KEPT, Outbox
from xdream.laboratory.rigs.recorder_thread import SilenceTime
from xdream.options import checked
from xdream.scoring.recordings import Values

#: Names of the streams of answers and of markers.
STREAM, MARKERS = "XDreamResponses", "XDream"
#: An answer of more bytes is a fault.
SAMPLE_BYTES = 16_000_000
#: LSL keeps a hundred times as many samples of a stream until they are fetched.
BUFFERED = 10
#: So many streams of answers are read at once.
STREAMS = 8
OPEN_S = 2.0
POLL_S = 0.02
#: A stream that nobody announces any more is forgotten after this time.
FORGET_S = 5.0


def _of_a_stream(name: str) -> str:
    if not name or "'" in name or len(name) > 200:
        raise ValueError("a stream has a name of 1 to 200 letters, without '")
    return name


StreamName: TypeAlias = Annotated[str, AfterValidator(_of_a_stream)]


@checked
class Lsl:
    """Markers and answers over LabStreamingLayer; the images go over a display.

    stream: name of the stream of answers. form: "json" (one string per answer) or "numbers" (the
    presentation's code, then a value for each channel). markers: name of the stream of markers. again_s: how
    often the marker of an open block is sent again. silence_s: with a block offered and no stream of answers
    for so long, the medium has failed.
    """

    def __init__(
        self,
        stream: StreamName = STREAM,
        *,
        form: Literal["json", "numbers"] = "json",
        markers: StreamName = MARKERS,
        again_s: Annotated[float, Field(gt=0)] = 2.0,
        silence_s: SilenceTime = 10.0,
    ) -> None:
        try:
            import pylsl
            import pylsl.util  # has the errors
        except (ImportError, RuntimeError) as error:
            # Without liblsl pylsl raises RuntimeError.
            raise BadInput(f"bridge 'lsl' needs pylsl: pip install 'xdream[lsl]' ({error})") from None
        self._lsl = pylsl
        self._stream = stream
        self._form = form
        self._markers = markers
        self._again_s = again_s
        self._silence_s = silence_s
        #: Seconds that only rise.
        self.clock: Callable[[], float] = time.monotonic
        self._outlet: Any = None

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Announce the markers, look for answers. Nobody need be there yet."""
        lsl = self._lsl
        self._session = session
        self._channels = len(channels)
        self._out = Outbox(f"lsl {self._stream}")
        self._blocks: dict[int, Block] = {}
        self._current: int | None = None
        # The same id after a restart: readers find the stream again.
        info = lsl.StreamInfo(self._markers, "Markers", 1, 0.0, "string", f"xdream-{session}")
        self._outlet = lsl.StreamOutlet(info)
        self._resolver = lsl.ContinuousResolver("name", self._stream, forget_after=FORGET_S)
        self._inlets: dict[str, Any] = {}
        self._refused: set[str] = set()
        self._consumers = False
        self._next_marker = -math.inf
        self._heard = self.clock()

    def offer(self, block: Block) -> None:
        """Its marker is sent, and sent again while it is open."""
        if self._current is None:
            self._heard = self.clock()
        self._out.again()
        self._blocks.pop(block.number, None)
        self._blocks[block.number] = block
        while len(self._blocks) > BLOCKS_KEPT:
            del self._blocks[next(iter(self._blocks))]
        self._current = block.number
        self._mark()

    def withdraw(self, number: int) -> None:
        """A marker says that the block is closed."""
        self._push({"event": "closed", "session": self._session, "block": number})
        if self._current == number:
            self._current = None

    def status(self, status: Mapping[str, Any]) -> None:
        """Markers say no more than blocks."""

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """Answers of all streams. Raises RigError when there is no stream of answers."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._look()
            self._remind()
            self._fetch()
            found = self._out.get(0)
            if found or time.monotonic() >= deadline:
                break
            time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        if self._inlets:
            self._heard = self.clock()
        silent_s = self.clock() - self._heard
        if not found and self._current is not None and silent_s > self._silence_s:
            raise RigError(
                f"no LSL stream named '{self._stream}' for {silent_s:.0f} s; "
                "is the rig running, and on the same network?"
            )
        return found

    def close(self) -> None:
        """Take the streams back."""
        # LSL's objects end when nothing refers to them.
        self._outlet = self._resolver = None
        self._inlets = {}

    def _look(self) -> None:
        """Open streams of answers that are new."""
        for info in self._resolver.results():
            uid = info.uid()
            if uid in self._inlets or uid in self._refused or len(self._inlets) >= STREAMS:
                continue
            strings = info.channel_format() == self._lsl.cf_string
            expected = 1 if self._form == "json" else self._channels + 1
            if strings != (self._form == "json") or info.channel_count() != expected:
                self._refuse(
                    uid,
                    f"the stream '{self._stream}' has {info.channel_count()} channels of "
                    f"{'strings' if strings else 'numbers'}; {expected} of "
                    f"{'strings' if self._form == 'json' else 'numbers'} are needed",
                )
                continue
            # Not recover: a stream that is lost is noticed here, and found again by the resolver.
            inlet = self._lsl.StreamInlet(info, max_buflen=BUFFERED, recover=False)
            try:
                inlet.open_stream(OPEN_S)
            except (self._lsl.util.TimeoutError, self._lsl.util.LostError):
                continue
            self._inlets[uid] = inlet
            # What it said before this moment is lost: with the marker once more it says it again.
            self._next_marker = -math.inf

    def _refuse(self, uid: str, why: str) -> None:
        if len(self._refused) < 1000:
            self._refused.add(uid)
        self._out.fault(why)

    def _remind(self) -> None:
        if self._current is None:
            return
        consumers = bool(self._outlet.have_consumers())
        if (consumers and not self._consumers) or self.clock() >= self._next_marker:
            self._mark()
        self._consumers = consumers

    def _mark(self) -> None:
        if self._current is None:
            return
        block = self._blocks[self._current]
        order = [{"image": p.image, "repeat": p.repeat, "code": p.code} for p in block.presentations]
        said = {"event": "offered", "session": block.session, "block": block.number, "fence": block.fence}
        self._push(said | {"order": order})
        self._next_marker = self.clock() + self._again_s

    def _push(self, said: Mapping[str, Any]) -> None:
        self._outlet.push_sample([dumps(said).decode("ascii")])

    def _fetch(self) -> None:
        for uid, inlet in list(self._inlets.items()):
            for _ in range(BUFFERED * 100):
                try:
                    sample, _ = inlet.pull_sample(0.0)
                except UnicodeDecodeError:
                    self._out.fault("an answer that is not UTF-8")
                    continue
                except self._lsl.util.LostError:
                    del self._inlets[uid]
                    self._out.fault(f"the stream '{self._stream}' was lost; looking for it again")
                    break
                if sample is None:
                    break
                self._take(sample)

    def _take(self, sample: Sequence[Any]) -> None:
        raw = sample[0].encode("utf-8") if self._form == "json" else repr(list(sample)).encode("ascii")
        try:
            self._out.put(self._said(raw) if self._form == "json" else self._numbered(sample))
        except MessageError as error:
            self._out.fault(str(error), raw)

    def _said(self, raw: bytes) -> Answer:
        if len(raw) > SAMPLE_BYTES:
            raise MessageError(f"an answer of {len(raw)} bytes; at most {SAMPLE_BYTES} are read")
        message = message_of(raw)
        only_fields(message, ANSWER_FIELDS, "the answer")
        said = {name for name in ("session", "block", "fence") if message.get(name) is not None}
        return Answer(
            read_responses(message.get("responses"), self._channels),
            session=text_of(message, "session") if "session" in said else None,
            block=count_of(message, "block") if "block" in said else None,
            fence=count_of(message, "fence") if "fence" in said else None,
            last=flag_of(message, "last"),
            source=self._out.source,
        )

    def _numbered(self, sample: Sequence[float]) -> Answer:
        code, *values = sample
        for number in reversed(self._blocks):
            for one in self._blocks[number].presentations:
                if one.code == code:
                    row = AnswerRow(one.image, one.repeat, Values(np.array(values, dtype=np.float64)))
                    return Answer((row,), session=self._session, block=number, source=self._out.source)
        raise MessageError(f"an answer to the code {code!r}, which is in no block offered lately")
