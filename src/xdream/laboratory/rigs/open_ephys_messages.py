"""The messages of Open Ephys' ZMQ Interface: to onsets, spikes and the clock."""

from __future__ import annotations

import json
import re
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from xdream.laboratory.rigs.forms import MessageError
from xdream.laboratory.rigs.onset_windows import Outbox, Windows

#: The plugin's types of event: a digital line changed, a text was broadcast.
TTL, TEXT = 3, 5
HEADER_BYTES = 64_000
TEXT_BYTES = 500
#: A message may come so many others too late; then it is lost. As many are remembered.
REORDERED = 1000
_LARGEST = 2**62
_ONSET = re.compile(r"xdream ([A-Za-z0-9-]{1,200}) ([0-9]{1,6})")


class Messages:
    """Messages in, in order or not; a message that comes twice counts once. Not thread-safe.

    units: of each channel. by_word, first_line, strobe_line, settle_ms, stream: as `OpenEphys` has them.
    """

    def __init__(
        self,
        windows: Windows,
        units: Sequence[str],
        out: Outbox,
        *,
        by_word: bool = False,
        first_line: int = 0,
        strobe_line: int | None = None,
        settle_ms: float = 0.5,
        stream: str | None = None,
    ) -> None:
        self.windows = windows
        self._channels = {unit: channel for channel, unit in enumerate(units)}
        self._out = out
        self._by_word = by_word
        self._first_line = first_line
        self._strobe_line = strobe_line
        self._settle_ms = settle_ms
        self._stream = stream
        self._rate_given = windows.rate_hz is not None
        self._forget()

    def take(self, frames: Sequence[bytes]) -> None:
        """One message: envelope, header, and bytes if there are any. Never raises."""
        try:
            header = _header(frames)
            number = _whole(header, "message_num")
            kind = header.get("type")
            content = header.get("spike" if kind == "spike" else "content")
            if kind not in ("data", "event", "spike"):
                # A parameter or what later versions send: no time in it, but its number counts.
                self._in_sequence(number, frames, None)
                return
            if not isinstance(content, dict):
                raise MessageError(f"a message of type {kind} without content")
            sample = _whole(content, "sample_num")
        except MessageError as error:
            # Its number is not known to have come, so the next message shows a gap.
            self._out.fault(str(error), b"\n".join(frames[:3]))
            return
        came = self._in_sequence(number, frames, sample)
        if came is None:
            return
        try:
            self._read(str(kind), content, sample, frames[2] if len(frames) > 2 else b"", late=came)
        except MessageError as error:
            self.windows.lost(self.windows.clock, sample)
            self._out.fault(str(error), b"\n".join(frames[:3]))

    def _forget(self) -> None:
        self._number: int | None = None
        self._recent: OrderedDict[int, int] = OrderedDict()
        self._missing: OrderedDict[int, int] = OrderedDict()
        self._left: dict[int, int] = {}
        self._endless: list[int] = []
        self._data_sample = -1
        self._word: tuple[int, int] | None = None
        self._held = 0

    def _in_sequence(self, number: int, frames: Sequence[bytes], sample: int | None) -> bool | None:
        """None: to be ignored, it came before. Else whether it is late (a gap is filled)."""
        digest = hash(tuple(frames[1:]))
        late = False
        if self._number is not None and number <= self._number:
            if number in self._missing:
                late = True
                gap = self._missing.pop(number)
                self._left[gap] -= 1
                if not self._left[gap]:
                    del self._left[gap]
                    self.windows.found(gap)
            elif self._recent.get(number) == digest:
                return None
            else:
                # The plugin counts anew: it was started again, and what was under way is lost.
                self._forget()
                self.windows.restart()
        elif self._number is not None and number > self._number + 1:
            self._skipped(number, sample)
        if not late:
            self._number = number
        self._recent[number] = digest
        while len(self._recent) > REORDERED:
            self._recent.popitem(last=False)
        if sample is not None:
            for gap in self._endless:
                self.windows.until(gap, sample)
            self._endless.clear()
        return late

    def _skipped(self, number: int, sample: int | None) -> None:
        assert self._number is not None
        gap = self.windows.lost(self.windows.clock, sample)
        if sample is None:
            self._endless.append(gap)
        skipped = number - self._number - 1
        if skipped > REORDERED:
            return
        self._left[gap] = skipped
        for one in range(self._number + 1, number):
            self._missing[one] = gap
        while len(self._missing) > REORDERED:
            _, old = self._missing.popitem(last=False)
            # One of its messages is lost for good: the gap stays.
            self._left[old] += REORDERED * 2

    def _read(self, kind: str, content: Mapping[str, Any], sample: int, data: bytes, late: bool) -> None:
        stream = content.get("stream") or None
        if self._stream is None and isinstance(stream, str):
            self._stream = stream
        mine = stream is None or stream == self._stream
        if kind == "data":
            if mine:
                self._clock(content, sample, late)
        elif kind == "spike":
            if mine:
                self._spike(content, sample)
        elif content.get("type") == TEXT and not self._by_word:
            self._text(data, sample, mine)
        elif content.get("type") == TTL and self._by_word and mine:
            self._lines(data, sample)
        if mine:
            self._flush(sample)
            self.windows.advance(sample)

    def _clock(self, content: Mapping[str, Any], sample: int, late: bool) -> None:
        if sample < self._data_sample and not late:
            # Acquisition was stopped and started: samples count from 0 again.
            self.windows.restart()
            self._word, self._held, self._data_sample = None, 0, -1
        self._data_sample = max(self._data_sample, sample)
        rate_hz = content.get("sample_rate")
        if isinstance(rate_hz, bool) or not isinstance(rate_hz, int | float) or not 1 <= rate_hz <= 1e6:
            if self.windows.rate_hz is None:
                raise MessageError("continuous data without a sample_rate; write rate_hz into the plan")
            return
        if self.windows.rate_hz is None:
            self.windows.rate_hz = float(rate_hz)
        elif abs(rate_hz - self.windows.rate_hz) > 1e-3 * rate_hz:
            self.windows.lost(None, sample)
            given = "the plan says" if self._rate_given else "it was"
            self._out.fault(f"samples come {rate_hz} times a second; {given} {self.windows.rate_hz}")

    def _spike(self, content: Mapping[str, Any], sample: int) -> None:
        electrode = content.get("electrode")
        if isinstance(electrode, bool) or not isinstance(electrode, str | int):
            raise MessageError("a spike without the electrode's name")
        sorted_id = _whole(content, "sorted_id") if "sorted_id" in content else 0
        for unit in (str(electrode), f"{electrode}:{sorted_id}"):
            if unit in self._channels:
                self.windows.spike(self._channels[unit], sample)

    def _text(self, data: bytes, sample: int, mine: bool) -> None:
        text = data[:TEXT_BYTES].decode("utf-8", "replace").strip("\0 \r\n")
        if not text.startswith("xdream "):
            return
        said = _ONSET.fullmatch(text)
        if said is None:
            raise MessageError(f"the message {text[:80]!r} is not 'xdream IMAGE REPEAT'")
        if not mine:
            self._out.fault(f"an onset by another stream's clock than that of '{self._stream}'")
        elif not self.windows.onset(said[1], int(said[2]), sample):
            self._out.fault(f"an onset of '{said[1]}', repeat {said[2]}, which is in no block offered lately")

    def _lines(self, data: bytes, sample: int) -> None:
        if len(data) != 10:
            raise MessageError(f"a TTL event of {len(data)} bytes; it has line, state and word in 10")
        line, state, word = struct.unpack("<BBQ", data)
        code = (word >> self._first_line) & 0xFFFF
        if self._strobe_line is not None:
            if line == self._strobe_line and state == 1:
                self._code(code, sample)
            return
        self._flush(sample)
        if self._word is None or self._word[1] != code:  # else another line than the code's
            self._word = (sample, code)

    def _flush(self, sample: int) -> None:
        # Lines that change together make an event each, some a sample later: a word that stands is whole.
        settle = max(1, round(self._settle_ms * (self.windows.rate_hz or 0.0) / 1000))
        if self._word is None or sample - self._word[0] < settle:
            return
        (began, code), self._word = self._word, None
        if code != self._held:
            self._held = code
            self._code(code, began)

    def _code(self, code: int, sample: int) -> None:
        if code and not self.windows.onset_of_code(code, sample):
            self._out.fault(f"an onset with the code {code}, which is in no block offered lately")


def _header(frames: Sequence[bytes]) -> Mapping[str, Any]:
    if len(frames) < 2:
        raise MessageError(f"a message of {len(frames)} frame; it has an envelope and a header")
    if len(frames[1]) > HEADER_BYTES:
        raise MessageError(f"a header of {len(frames[1])} bytes; at most {HEADER_BYTES} are read")
    try:
        header = json.loads(frames[1].rstrip(b"\0"))
    except (ValueError, RecursionError):
        raise MessageError("a header that is not JSON") from None
    if not isinstance(header, dict):
        raise MessageError("a header that is not a JSON object")
    return header


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        raise MessageError(f"{name} is {str(value)[:40]!r}, not a whole number (GUI 0.6 or later is needed)")
    return value
