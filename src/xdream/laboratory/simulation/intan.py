"""An emulated Intan RHX with its TCP outputs, written from the formats it documents.

Time is the number of samples played, not the time on the wall: a block is played as fast as it is read.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from xdream.errors import RigError
from xdream.laboratory.rigs.base import AnswerRow
from xdream.laboratory.rigs.onset_windows import STOP_MS
from xdream.laboratory.simulation.base import Driver, Offered, RigSetup
from xdream.laboratory.simulation.recorder import PAUSE_MS, RecorderDriver, Train, trains

FRAMES = 128
LISTENER_S = 30.0
#: RHX's id of a spike of the first type.
FIRST_TYPE = 1


def spike_record(name: str, timestamp: int, spike_id: int = FIRST_TYPE) -> bytes:
    """14 bytes: magic number, the channel's native name, time, id."""
    return (
        bytes.fromhex("0f71e23a")
        + name.encode("ascii")
        + struct.pack("<L", timestamp % 4294967296)
        + bytes([spike_id])
    )


def waveform_block(first: int, words: Sequence[Sequence[int]]) -> bytes:
    """A block of frames: magic number, then time and 16-bit numbers for each frame."""
    parts = [bytes.fromhex("087af02e")]
    for index, frame in enumerate(words):
        parts.append(struct.pack("<L", (first + index) % 4294967296))
        parts.append(struct.pack(f"<{len(frame)}H", *frame))
    return b"".join(parts)


class IntanDriver(RecorderDriver):
    """Plays blocks of a display as recordings.

    display: where blocks come from. names: the native name of each channel. codes: of a presentation.
    ports: of the waveform and the spike output. first: the timestamp to begin with. words: 16-bit numbers in
    a frame. step_ms: from one onset to the next. A row without a recording is played with a hole in it: both
    connections are closed for its middle.
    """

    sends_spikes: ClassVar[bool] = True

    def __init__(
        self,
        display: Driver | Callable[[float], Offered | None],
        names: Sequence[str],
        codes: Callable[[str, int], int],
        ports: tuple[int, int],
        *,
        rate_hz: float = 30_000.0,
        stop_ms: float = STOP_MS,
        step_ms: float = STOP_MS + PAUSE_MS,
        first: int = 0,
        words: int = 1,
    ) -> None:
        super().__init__(display)
        self._names = tuple(names)
        self._codes = codes
        self._ports = ports
        self._rate_hz = rate_hz
        self._stop_ms = stop_ms
        self._step = round(step_ms * rate_hz / 1000)
        self._sample = first
        self._others = words - 1
        self._word = 0
        self._waiting: list[tuple[int, int]] = []
        self._spoil: Callable[[bytes], bytes] | None = None
        self._waveform: socket.socket | None = None
        self._spike: socket.socket | None = None
        self._servers = [_listening(port) for port in ports]

    @classmethod
    def for_bridge(
        cls,
        setup: RigSetup,
        waveform_port: int,
        spike_port: int,
        rate_hz: float,
        units: Sequence[str] | None,
        stop_ms: float,
    ) -> IntanDriver:
        """For the bridge `intan`."""
        assert setup.display is not None
        return cls(
            setup.display,
            tuple(units or setup.channels),
            setup.code,
            (waveform_port, spike_port),
            rate_hz=rate_hz,
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
        """Play the onsets and spikes of these rows, one after the other. spoil: of the first block of
        waveforms after the onset. Raises RigError without listener."""
        self._spoil = spoil
        self.run(self._step // 2)
        for one in trains(rows, self._stop_ms):
            self._play(one)
        self.run(self._step)

    def run(self, samples: int, spikes: Sequence[tuple[int, int]] = ()) -> None:
        """Acquire so many samples, rounded up to blocks. spikes: (sample, channel), each after its block."""
        end = self._sample + samples
        self._waiting = sorted([*self._waiting, *spikes])
        while self._sample < end:
            frames = [[32768] * self._others + [self._word]] * FRAMES
            self._send(True, waveform_block(self._sample, frames))
            self._sample += FRAMES
            while self._waiting and self._waiting[0][0] < self._sample:
                sample, channel = self._waiting.pop(0)
                self._send(False, spike_record(self._names[channel], sample))

    def disconnect(self, seconds: float) -> None:
        """Both outputs close; acquisition goes on unheard."""
        for one in (self._waveform, self._spike):
            if one is not None:
                one.close()
        self._waveform = self._spike = None
        time.sleep(seconds)
        self._sample += round(seconds * self._rate_hz) + FRAMES

    def close(self) -> None:
        """End."""
        for one in (self._waveform, self._spike, *self._servers):
            if one is not None:
                one.close()

    def _play(self, one: Train) -> None:
        onset = self._sample + self._step // 2
        played = [
            (onset + round(time_ms * self._rate_hz / 1000), channel) for time_ms, channel in one.spikes or ()
        ]
        self.run(self._step // 2 - FRAMES, played)
        self._change(onset, self._codes(one.image, one.repeat))
        if one.spikes is None:
            self.disconnect(0)
        self.run(self._step // 2 - FRAMES)
        self._change(self._sample + FRAMES // 2, 0)

    def _change(self, at: int, word: int) -> None:
        """Run to the end of the block in which the word changes, at a sample."""
        while at >= self._sample + FRAMES:
            self.run(FRAMES)
        old, self._word = self._word, word
        frames = [
            [32768] * self._others + [word if self._sample + index >= at else old] for index in range(FRAMES)
        ]
        block = waveform_block(self._sample, frames)
        if self._spoil is not None:
            block, self._spoil = self._spoil(block), None
        self._send(True, block)
        self._sample += FRAMES

    def _send(self, waveform: bool, data: bytes) -> None:
        try:
            if self._waveform is None or self._spike is None:
                # The client connects to both; neither output says anything before.
                self._waveform = _accepted(self._servers[0])
                self._spike = _accepted(self._servers[1])
            (self._waveform if waveform else self._spike).sendall(data)
        except OSError as error:
            raise RigError(f"nobody listens to the emulated Intan RHX at {self._ports}: {error}") from None


def _listening(port: int) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port))
    server.settimeout(LISTENER_S)
    return server


def _accepted(server: socket.socket) -> socket.socket:
    one, _ = server.accept()
    one.settimeout(LISTENER_S)
    return one
