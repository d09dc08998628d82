"""Intan RHX: spikes around each onset, from the TCP outputs of the acquisition software.

RHX listens; this side connects to its spike output and to its waveform output, in which the DIGITAL-IN word
carries the presentation's code. docs/rigs-streams.md has the formats and what is assumed of them.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from xdream.errors import RigError
from xdream.laboratory.rigs.base import Arrival, Block
from xdream.laboratory.rigs.intan_bytes import Marks, Spiking
from xdream.laboratory.rigs.onset_windows import SLACK_MS, START_MS, STOP_MS, Outbox, Window, Windows
from xdream.laboratory.rigs.recorder_thread import (
    RecorderThread,
    SampleRate,
    SettleTime,
    SilenceTime,
    units_of,
)
from xdream.options import checked

#: Bytes asked for at once; a turn reads no more than TURNS of them from one output.
CHUNK_BYTES = 262_144
TURNS = 64
POLL_S = 0.05
CONNECT_S = 2.0
AGAIN_S = 0.5


@checked
class Intan:
    """Spike times around each onset, per channel, from Intan RHX.

    host, spike_port, waveform_port: of RHX's outputs. rate_hz: samples per second, as RHX is set. units: for
    each of the session's channels "A-010" (all its spikes) or "A-010:2" (those of one spike id); default: the
    channels' names. words: 16-bit numbers in a waveform frame, of which the last is the DIGITAL-IN word: 1
    when no other channel's waveform is sent. frames: in a block of waveforms. settle_ms: how long a word must
    stand to be an onset; shorter ones are lines that do not change together. start_ms, stop_ms: the window
    around the onset. slack_ms: how much later than its time a spike may be told. silence_s: with nothing
    heard for so long, and a block offered, the medium has failed.
    """

    def __init__(
        self,
        rate_hz: SampleRate,
        host: str = "127.0.0.1",
        *,
        spike_port: Annotated[int, Field(ge=1, le=65_535)] = 5002,
        waveform_port: Annotated[int, Field(ge=1, le=65_535)] = 5001,
        units: Sequence[str] | None = None,
        words: Annotated[int, Field(ge=1, le=10_000)] = 1,
        frames: Annotated[int, Field(ge=1, le=10_000)] = 128,
        settle_ms: SettleTime = 0.5,
        start_ms: float = START_MS,
        stop_ms: float = STOP_MS,
        slack_ms: float = SLACK_MS,
        silence_s: SilenceTime = 10.0,
    ) -> None:
        #: Seconds that only rise.
        self.clock: Callable[[], float] = time.monotonic
        self._addresses = {"spike": (host, spike_port), "waveform": (host, waveform_port)}
        self._units = None if units is None else tuple(units)
        self._rate_hz = float(rate_hz)
        self._layout = (words, frames, round(settle_ms * rate_hz / 1000))
        self._window = Window(start_ms, stop_ms, slack_ms)
        self._thread = RecorderThread("intan", silence_s, lambda: self.clock())

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Begin to connect. RHX need not be there yet."""
        units = units_of(self._units, channels)
        self._out = Outbox(f"intan {self._addresses['spike'][0]}")
        self._windows = Windows(self._window, len(units), session, self._rate_hz, self._out)
        words, frames, settle = self._layout
        self._marks = Marks(self._windows, self._out, words, frames, settle)
        self._spiking = Spiking(self._windows, self._out, units)
        self._thread.start(self._listen)

    def offer(self, block: Block) -> None:
        """The codes of its presentations are known from now on."""
        self._thread.offer(block.number)
        with self._thread.lock:
            self._windows.offer(block)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """What is complete. Raises RigError when RHX is silent while a block is shown."""
        found = self._out.get(timeout_s)
        silent_s = self._thread.too_silent_s()
        if not found and silent_s is not None:
            host, port = self._addresses["waveform"]
            raise RigError(
                f"no waveforms from Intan RHX at {host}:{port} for {silent_s:.0f} s; is it running, with its "
                "TCP outputs listening and the DIGITAL-IN word sent?"
            )
        return found

    def withdraw(self, number: int) -> None:
        """The block is closed; an onset of it that still comes is answered, as late."""
        self._thread.withdraw(number)

    def status(self, status: Mapping[str, Any]) -> None:
        """RHX does not ask."""

    def close(self) -> None:
        """Leave."""
        self._thread.end()

    def _listen(self) -> None:
        sockets: dict[str, socket.socket] = {}
        next_try = time.monotonic()
        try:
            while not self._thread.stop.is_set():
                if len(sockets) < 2 and time.monotonic() >= next_try:
                    self._connect(sockets)
                    next_try = time.monotonic() + AGAIN_S
                if not sockets:
                    self._thread.stop.wait(POLL_S)
                    continue
                ready, _, _ = select.select(list(sockets.values()), [], [], POLL_S)
                if ready:
                    self._turn(sockets)
        finally:
            for one in sockets.values():
                one.close()

    def _connect(self, sockets: dict[str, socket.socket]) -> None:
        # Spikes first: no clock runs before they are heard.
        for name, address in self._addresses.items():
            if name in sockets:
                continue
            try:
                one = socket.create_connection(address, timeout=CONNECT_S)
            except OSError:
                return
            one.setblocking(False)
            sockets[name] = one
            if name == "waveform":
                # All that comes over it was acquired after the spikes were heard.
                with self._thread.lock:
                    self._marks.begin(self._spiking.heard)

    def _turn(self, sockets: dict[str, socket.socket]) -> None:
        # The waveforms' clock closes windows: spikes that were sent before it must be read before it counts,
        # so the clock is read from the socket first and looked at last.
        marks, marks_end = _read(sockets.get("waveform"))
        spikes, spikes_end = _read(sockets.get("spike"))
        with self._thread.lock:
            self._spiking.take(spikes)
            self._marks.take(marks)
            if marks:
                self._thread.heard()
                if len(marks) < TURNS * CHUNK_BYTES // 2:
                    # Everything that was sent has been read: where garbage was, later spikes are heard.
                    self._spiking.heard(self._windows.clock)
            if spikes_end or marks_end:
                self._spiking.cut()
                self._marks.cut()
        if spikes_end or marks_end:
            # One without the other says nothing; both anew, in order.
            for one in sockets.values():
                one.close()
            sockets.clear()
            self._out.fault("Intan RHX closed a connection; connecting again")


def _read(one: socket.socket | None) -> tuple[bytes, bool]:
    """What is there, up to a limit; whether the other end has closed."""
    found: list[bytes] = []
    if one is None:
        return b"", False
    for _ in range(TURNS):
        try:
            chunk = one.recv(CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            break
        except OSError:
            return b"".join(found), True
        if not chunk:
            return b"".join(found), True
        found.append(chunk)
    return b"".join(found), False
