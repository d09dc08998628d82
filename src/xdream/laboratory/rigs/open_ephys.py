"""Open Ephys: spikes around each onset, from the GUI's ZMQ Interface plugin.

The plugin publishes messages of two or three frames: an envelope, a JSON header, and bytes. Headers carry
`message_num`, one more each time, so that a lost message is noticed. docs/rigs-streams.md has the format.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs.base import Arrival, Block
from xdream.laboratory.rigs.onset_windows import SLACK_MS, START_MS, STOP_MS, Outbox, Window, Windows
from xdream.laboratory.rigs.open_ephys_messages import HEADER_BYTES, Messages
from xdream.laboratory.rigs.recorder_thread import (
    RecorderThread,
    SampleRate,
    SettleTime,
    SilenceTime,
    units_of,
)
from xdream.options import checked

#: A frame is at most this long; the connection of a sender of more is dropped.
FRAME_BYTES = 16_000_000
#: The plugin lists a client that says that it is there every two seconds.
HEARTBEAT_S = 2.0
POLL_MS = 50


@checked
class OpenEphys:
    """Spike times around each onset, per channel, from Open Ephys.

    host, port: of the plugin's data socket. units: for each of the session's channels the spikes that belong
    to it, "ELECTRODE" (all its spikes) or "ELECTRODE:SORTED_ID"; default: the channels' names. onset:
    "message" (a broadcast text "xdream IMAGE REPEAT") or "word" (a TTL word that is the presentation's code).
    first_line: the code's lowest TTL line. strobe_line: the line that rises when the word stands, or None:
    a word counts that stands for settle_ms; shorter ones are lines that do not change together. start_ms,
    stop_ms: the window around the onset. slack_ms: how much later than its time a spike may be told.
    stream: name of the data stream, or None: the first. rate_hz: samples per second, or None: as continuous
    data say. heartbeat: whether the plugin's other port is told that a client is there. silence_s: with
    nothing heard for so long, and a block offered, the medium has failed.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: Annotated[int, Field(ge=1, le=65_534)] = 5556,
        *,
        units: Sequence[str] | None = None,
        onset: Literal["message", "word"] = "message",
        first_line: Annotated[int, Field(ge=0, le=48)] = 0,
        strobe_line: Annotated[int, Field(ge=0, le=63)] | None = None,
        settle_ms: SettleTime = 0.5,
        start_ms: float = START_MS,
        stop_ms: float = STOP_MS,
        slack_ms: float = SLACK_MS,
        stream: str | None = None,
        rate_hz: SampleRate | None = None,
        heartbeat: bool = True,
        silence_s: SilenceTime = 10.0,
    ) -> None:
        try:
            import zmq
        except ImportError:
            raise BadInput("bridge 'open-ephys' needs pyzmq: pip install 'xdream[rig]'") from None
        if strobe_line is not None and first_line <= strobe_line < first_line + 16:
            raise BadInput(f"rig: strobe_line = {strobe_line} is one of the code's lines; choose another")
        #: Seconds that only rise.
        self.clock: Callable[[], float] = time.monotonic
        self._zmq = zmq
        self._address = (host, port)
        self._units = None if units is None else tuple(units)
        self._by: dict[str, Any] = {
            "by_word": onset == "word",
            "first_line": first_line,
            "strobe_line": strobe_line,
            "settle_ms": settle_ms,
            "stream": stream,
        }
        self._window = Window(start_ms, stop_ms, slack_ms)
        self._rate_hz = rate_hz
        self._heartbeat = heartbeat
        self._thread = RecorderThread("open-ephys", silence_s, lambda: self.clock())

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Subscribe. The plugin need not be there yet."""
        units = units_of(self._units, channels)
        host, port = self._address
        self._out = Outbox(f"open-ephys {host}:{port}")
        windows = Windows(self._window, len(units), session, self._rate_hz, self._out)
        self._messages = Messages(windows, units, self._out, **self._by)
        self._context = self._zmq.Context()
        self._thread.start(self._listen)

    def offer(self, block: Block) -> None:
        """The onsets of its presentations are known from now on."""
        self._thread.offer(block.number)
        with self._thread.lock:
            self._messages.windows.offer(block)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """What is complete. Raises RigError when the plugin is silent while a block is shown."""
        found = self._out.get(timeout_s)
        silent_s = self._thread.too_silent_s()
        if not found and silent_s is not None:
            host, port = self._address
            raise RigError(
                f"nothing from Open Ephys at {host}:{port} for {silent_s:.0f} s; "
                "is the GUI acquiring, with the ZMQ Interface after the spike sorter?"
            )
        return found

    def withdraw(self, number: int) -> None:
        """The block is closed; an onset of it that still comes is answered, as late."""
        self._thread.withdraw(number)

    def status(self, status: Mapping[str, Any]) -> None:
        """The plugin does not ask."""

    def close(self) -> None:
        """Leave."""
        if self._thread.end():
            self._context.destroy(linger=0)

    def _listen(self) -> None:
        zmq = self._zmq
        host, port = self._address
        data = self._context.socket(zmq.SUB)
        data.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES)
        data.setsockopt(zmq.RCVHWM, 10_000)
        data.setsockopt(zmq.LINGER, 0)
        data.subscribe(b"")
        data.connect(f"tcp://{host}:{port}")
        beat = self._context.socket(zmq.REQ)
        # The plugin may die between a request and its reply.
        beat.setsockopt(zmq.REQ_RELAXED, 1)
        beat.setsockopt(zmq.REQ_CORRELATE, 1)
        beat.setsockopt(zmq.MAXMSGSIZE, HEADER_BYTES)
        beat.setsockopt(zmq.LINGER, 0)
        beat.connect(f"tcp://{host}:{port + 1}")
        hello = {"application": "XDream", "uuid": str(uuid.uuid4()), "type": "heartbeat"}
        next_beat = time.monotonic()
        try:
            while not self._thread.stop.is_set():
                if self._heartbeat and time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + HEARTBEAT_S
                    with contextlib.suppress(zmq.Again):  # nobody was there for a long time
                        beat.send(json.dumps(hello).encode(), zmq.NOBLOCK)
                if data.poll(POLL_MS):
                    frames = _frames(data)
                    with self._thread.lock:
                        self._messages.take(frames)
                    self._thread.heard()
        except zmq.ZMQError as error:
            self._out.fault(f"the connection to Open Ephys failed: {error}")
        finally:
            data.close()
            beat.close()


def _frames(socket: Any) -> list[bytes]:
    """One message's first three frames; more are read and dropped."""
    frames = [socket.recv()]
    while socket.rcvmore:
        frame = socket.recv()
        if len(frames) < 3:
            frames.append(frame)
    return frames
