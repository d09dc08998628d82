"""An emulated Open Ephys GUI with the ZMQ Interface, written from the plugin's documented messages.

Time is the number of samples played, not the time on the wall: a block is played as fast as it is read.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs.base import AnswerRow
from xdream.laboratory.rigs.onset_windows import STOP_MS
from xdream.laboratory.simulation.base import Driver, Offered, RigSetup
from xdream.laboratory.simulation.recorder import PAUSE_MS, RecorderDriver, Train, trains

#: Samples in a buffer, after which the GUI tells what happened in it.
BUFFER = 1024
RATE_HZ = 30_000.0
LISTENER_S = 30.0


def message(number: int, kind: str, content: dict[str, Any], data: bytes) -> list[bytes]:
    """One message as the plugin sends it: envelope, header, data."""
    key = "spike" if kind == "spike" else "content"
    envelope = b"DATA\0" if kind == "data" else b"EVENT\0"
    header = {"message_num": number, "type": kind, key: content, "data_size": len(data)}
    frames = [envelope, json.dumps(header).encode()]
    return [*frames, data] if data else frames


class OpenEphysDriver(RecorderDriver):
    """Plays blocks of a display as recordings.

    display: where blocks come from. port: of the data socket; the next one listens. electrodes: (name,
    sorted id) of each channel. codes: of a presentation, then onsets are TTL words, else texts. step_ms: from
    one onset to the next. A row without a recording is played with its messages lost.
    """

    sends_spikes: ClassVar[bool] = True

    def __init__(
        self,
        display: Driver | Callable[[float], Offered | None],
        electrodes: Sequence[tuple[str, int]],
        port: int,
        *,
        codes: Callable[[str, int], int] | None = None,
        rate_hz: float = RATE_HZ,
        stop_ms: float = STOP_MS,
        step_ms: float = STOP_MS + PAUSE_MS,
    ) -> None:
        try:
            import zmq
        except ImportError:
            raise BadInput("a rig over open-ephys needs pyzmq: pip install 'xdream[rig]'") from None
        self._zmq = zmq
        super().__init__(display)
        self._electrodes = tuple(electrodes)
        self._port = port
        self._codes = codes
        self._rate_hz = rate_hz
        self._stop_ms = stop_ms
        self._step = round(step_ms * rate_hz / 1000)
        self._number = 0
        self._sample = 0
        self._spoil: Callable[[bytes], bytes] | None = None
        self._context: Any = zmq.Context()
        self._closed = threading.Event()
        self._lines = 0
        self.heartbeats = 0
        self._bind()
        self._listener = threading.Thread(target=self._listen, name="open-ephys-listener", daemon=True)
        self._listener.start()

    @classmethod
    def for_bridge(
        cls,
        setup: RigSetup,
        port: int,
        units: Sequence[str] | None,
        onset: str,
        rate_hz: float | None,
        stop_ms: float,
    ) -> OpenEphysDriver:
        """For the bridge `open-ephys`."""
        assert setup.display is not None
        named = (unit.partition(":") for unit in units or setup.channels)
        return cls(
            setup.display,
            [(name, int(sorted_id or 0)) for name, _, sorted_id in named],
            port,
            codes=None if onset == "message" else setup.code,
            rate_hz=rate_hz or RATE_HZ,
            stop_ms=stop_ms,
            step_ms=stop_ms + PAUSE_MS,
        )

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Play the onsets and spikes of these rows, one after the other. Raises RigError without listener."""
        self._await_listener()
        self._spoil = spoil
        for one in trains(rows, self._stop_ms):
            self._play(one)
        self._buffers(self._sample + self._step)

    def disconnect(self, seconds: float) -> None:
        """The socket closes; acquisition goes on unheard."""
        self._socket.close(linger=0)
        time.sleep(seconds)
        self._sample += round(seconds * self._rate_hz) + self._step
        self._number += 10
        self._bind()

    def close(self) -> None:
        """End."""
        self._closed.set()
        self._listener.join(10)
        self._socket.close(linger=1000)
        self._context.term()

    def send(self, frames: list[bytes]) -> None:
        """Any message."""
        if self._spoil is not None:
            frames = [frames[0], self._spoil(frames[1]), *frames[2:]]
        self._socket.send_multipart(frames)

    def say(self, kind: str, content: dict[str, Any], data: bytes = b"", *, lost: bool = False) -> None:
        """The next message; lost: numbered, but not sent."""
        self._number += 1
        if not lost:
            self.send(message(self._number, kind, {"stream": "Emulated", **content}, data))

    def _play(self, one: Train) -> None:
        onset = self._sample + self._step // 2
        begin = onset - self._step // 2
        events: list[tuple[int, Callable[[bool], None]]] = [(onset, self._onset(one, onset))]
        for time_ms, channel in one.spikes or ():
            sample = onset + round(time_ms * self._rate_hz / 1000)
            events.append((max(begin, sample), self._spike(channel, sample)))
        if self._codes is not None:
            off = onset + self._step // 3
            events.append((off, self._word(0, off)))
        lost = one.spikes is None
        for sample, tell in sorted(events, key=lambda event: event[0]):
            self._buffers(sample)
            tell(lost and sample != onset)
        if lost:
            self.say("spike", {}, lost=True)
        self._buffers(begin + self._step)

    def _onset(self, one: Train, sample: int) -> Callable[[bool], None]:
        if self._codes is not None:
            return self._word(self._codes(one.image, one.repeat), sample)
        text = f"xdream {one.image} {one.repeat}".encode()
        content = {"source_node": 100, "type": 5, "sample_num": sample}
        return lambda lost: self.say("event", content, text, lost=lost)

    def _word(self, word: int, sample: int) -> Callable[[bool], None]:
        def tell(lost: bool) -> None:
            # One event for each line that changed; the word is whole only with the last of them.
            so_far = self._lines
            for line in range(16):
                bit = 1 << line
                if (so_far ^ word) & bit:
                    so_far ^= bit
                    data = struct.pack("<BBQ", line, bool(so_far & bit), so_far)
                    self.say("event", {"source_node": 100, "type": 3, "sample_num": sample}, data, lost=lost)
            self._lines = so_far

        return tell

    def _spike(self, channel: int, sample: int) -> Callable[[bool], None]:
        electrode, sorted_id = self._electrodes[channel]
        content = {
            "source_node": 101,
            "electrode": electrode,
            "sample_num": sample,
            "num_channels": 1,
            "num_samples": 40,
            "sorted_id": sorted_id,
            "threshold": [-50.0],
        }
        return lambda lost: self.say("spike", content, bytes(160), lost=lost)

    def _buffers(self, until: int) -> None:
        while self._sample + BUFFER <= until:
            self._sample += BUFFER
            content = {
                "channel_num": 0,
                "num_samples": 4,
                "sample_num": self._sample,
                "sample_rate": self._rate_hz,
            }
            self.say("data", content, bytes(16))

    def _bind(self) -> None:
        zmq = self._zmq
        self._listened = False
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDTIMEO, 30_000)
        # A publisher drops what a slow reader does not take; only losses on purpose are wanted here.
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        deadline = time.monotonic() + LISTENER_S
        while True:
            try:
                self._socket.bind(f"tcp://127.0.0.1:{self._port}")
                return
            except zmq.ZMQError:
                # The port of a socket that was just closed is free a moment later.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _await_listener(self) -> None:
        if self._subscribed():
            return
        if not self._socket.poll(round(LISTENER_S * 1000)):
            raise RigError(f"nobody listens to the emulated Open Ephys at port {self._port}")
        self._subscribed()

    def _subscribed(self) -> bool:
        while self._socket.poll(0):
            self._listened = self._socket.recv()[:1] == b"\x01"
        return self._listened

    def _listen(self) -> None:
        socket = self._context.socket(self._zmq.REP)
        socket.setsockopt(self._zmq.LINGER, 0)
        socket.bind(f"tcp://127.0.0.1:{self._port + 1}")
        while not self._closed.is_set():
            if socket.poll(50):
                heartbeat = json.loads(socket.recv())
                self.heartbeats += heartbeat.get("type") == "heartbeat"
                socket.send(b"heartbeat received")
        socket.close()
