"""The bytes of Intan RHX's spike and waveform outputs: to spikes, onsets and the clock.

Both outputs are streams of records, each beginning with a magic number; garbage is skipped until the next.
Timestamps are samples modulo 2**32 (some versions call them signed: the bytes are the same).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from xdream.laboratory.rigs.onset_windows import Outbox, Windows

SPIKE_MAGIC = 0x3AE2710F
WAVEFORM_MAGIC = 0x2EF07A08
#: RHX's ids of what is no spike: none, and one that it takes for an artefact.
NO_SPIKE, ARTEFACT = 0, 0x80

#: A spike further from the clock than this is none: half a record with the beginning of the next, say.
PLAUSIBLE_S = 60.0

_SPIKE = struct.Struct("<I5sIB")
_NAME = re.compile(rb"[A-Z]-[0-9]{3}")


def unwrapped(timestamp: int, near: int | None) -> int:
    """The sample nearest to `near` that is `timestamp` modulo 2**32."""
    if near is None:
        return timestamp
    return near + (timestamp - near + 2**31) % 2**32 - 2**31


class Spiking:
    """The spike output. units: "A-010" or "A-010:ID", of each channel."""

    def __init__(self, windows: Windows, out: Outbox, units: Sequence[str]) -> None:
        self._windows = windows
        self._out = out
        self._channels = {unit: channel for channel, unit in enumerate(units)}
        self._bytes = bytearray()
        self._last: int | None = None
        self._endless: list[int] = []

    def cut(self) -> None:
        """The connection ended: from here on spikes are lost, until `heard`."""
        self._bytes.clear()
        self._lost()

    def heard(self, sample: int | None) -> None:
        """From this sample on spikes are known again."""
        if sample is not None:
            self._known(sample)

    def take(self, received: bytes) -> None:
        """Bytes as they come, cut anywhere."""
        self._bytes += received
        at = 0
        magic = struct.pack("<I", SPIKE_MAGIC)
        while len(self._bytes) - at >= _SPIKE.size:
            if self._bytes.startswith(magic, at) and self._one(*_SPIKE.unpack_from(self._bytes, at)):
                at += _SPIKE.size
                continue
            found = self._bytes.find(magic, at + 1)
            skip = found if found >= 0 else len(self._bytes) - len(magic) + 1
            self._out.fault("bytes in the spike output that are no spikes", bytes(self._bytes[at:skip]))
            self._lost()
            at = skip
        del self._bytes[:at]

    def _one(self, magic: int, native: bytes, timestamp: int, spike: int) -> bool:
        """Whether it is a record."""
        clock, rate_hz = self._windows.clock, self._windows.rate_hz
        sample = unwrapped(timestamp, self._last if clock is None else clock)
        if not _NAME.fullmatch(native):
            return False
        if clock is not None and rate_hz is not None and abs(sample - clock) > PLAUSIBLE_S * rate_hz:
            return False
        name = native.decode("ascii")
        self._last = sample
        self._known(sample)
        for unit in (name, f"{name}:{spike}"):
            if unit in self._channels and (spike not in (NO_SPIKE, ARTEFACT) or unit != name):
                self._windows.spike(self._channels[unit], sample)
        return True

    def _lost(self) -> None:
        # The spikes of a time are read before its waveforms: up to the clock they have come.
        if not self._endless and self._windows.clock is not None:
            self._endless.append(self._windows.lost(self._windows.clock, None))

    def _known(self, sample: int) -> None:
        for gap in self._endless:
            self._windows.until(gap, sample)
        self._endless.clear()


class Marks:
    """The waveform output: its timestamps are the clock, its digital word the onsets.

    words: 16-bit numbers in a frame, the last of which is the digital word. frames: in a block. settle: for
    how many samples a word must stand.
    """

    def __init__(self, windows: Windows, out: Outbox, words: int, frames: int, settle: int) -> None:
        self._windows = windows
        self._out = out
        self._frame = np.dtype([("timestamp", "<u4"), ("words", "<u2", (words,))])
        self._frames = frames
        self._settle = settle
        self._bytes = bytearray()
        self._next: int | None = None
        self._at_first: Callable[[int], None] | None = None
        self._forget()

    def begin(self, at_first: Callable[[int], None]) -> None:
        """A new connection: `at_first` is told the first sample that comes over it."""
        self._at_first = at_first

    def cut(self) -> None:
        """The connection ended; the next timestamp says how much was lost."""
        self._bytes.clear()

    def take(self, received: bytes) -> None:
        """Bytes as they come, cut anywhere."""
        self._bytes += received
        magic = struct.pack("<I", WAVEFORM_MAGIC)
        size = len(magic) + self._frames * self._frame.itemsize
        at = 0
        self._begun_anew: int | None = None
        while len(self._bytes) - at >= size:
            if self._bytes.startswith(magic, at):
                frames = np.frombuffer(bytes(self._bytes[at + len(magic) : at + size]), dtype=self._frame)
                if np.all(np.diff(frames["timestamp"]) == 1):
                    self._block(frames["timestamp"], frames["words"][:, -1])
                    at += size
                    continue
            found = self._bytes.find(magic, at + 1)
            skip = found if found >= 0 else len(self._bytes) - len(magic) + 1
            self._out.fault(
                f"bytes in the waveform output that are no block of {self._frames} frames of "
                f"{self._frame.itemsize} bytes; the numbers of words and frames must be as RHX sends them",
                bytes(self._bytes[at:skip]),
            )
            at = skip
        del self._bytes[:at]
        if self._begun_anew is not None and self._windows.clock is not None:
            self._windows.until(self._begun_anew, self._windows.clock)

    def _forget(self) -> None:
        self._value: int | None = None
        self._since = 0
        self._certain = False
        self._settled: int | None = None

    def _block(self, timestamps: npt.NDArray[np.uint32], words: npt.NDArray[np.uint16]) -> None:
        first = unwrapped(int(timestamps[0]), self._next)
        if self._next is not None and first < self._next:
            # Begun anew. Spikes of the new run may have been read already, and go with those of the old one.
            self._windows.restart()
            self._begun_anew = self._windows.lost(None, None)
            self._forget()
        elif self._next is not None and first > self._next:
            self._windows.lost(self._next, first - 1)
            self._value = None
        if self._at_first is not None:
            self._at_first(first)
            self._at_first = None
        self._next = first + len(words)
        changes = [0, *(np.flatnonzero(np.diff(words)) + 1).tolist(), len(words)]
        for begin, end in itertools.pairwise(changes):
            self._stands(int(words[begin]), first + begin, first + end)
        self._windows.advance(self._next - 1)

    def _stands(self, value: int, begin: int, end: int) -> None:
        """The word is `value` from a sample to before another."""
        if value != self._value:
            self._certain = self._value is not None
            self._value, self._since = value, begin
        if end - self._since < self._settle or value == self._settled:
            return
        known, self._settled = self._settled, value
        if value and (self._certain or known is not None):
            # When it changed within a gap, the time of the onset is not known.
            known_onset = self._windows.onset_of_code(value, self._since, missing=not self._certain)
            if not known_onset:
                self._out.fault(f"an onset with the code {value}, which is in no block offered lately")
