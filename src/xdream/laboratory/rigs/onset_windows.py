"""Spikes in a window after each onset, on a recorder's own clock; shared by recorders that stream.

A recorder's stream tells three things, all in samples of one clock: an onset (which presentation), a spike
(which channel), and how far the clock has come. A presentation is answered when the clock has passed the end
of its window, never by the time on the wall; and when anything may have been lost within its window it is
missing, never a low count.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

from xdream.errors import BadInput
from xdream.laboratory.rigs.base import Answer, AnswerRow, Arrival, Block
from xdream.scoring.recordings import Spikes

#: What is counted around an onset, by default.
START_MS, STOP_MS, SLACK_MS = -100.0, 300.0, 100.0
#: Of so many blocks onsets are known: a marker that arrives after its block was closed is late, not unknown.
BLOCKS_KEPT = 8
#: Spikes in memory at most; a recorder that sends more loses windows, not memory.
SPIKES_KEPT = 2_000_000
#: Windows that wait for the clock, at most.
WINDOWS_OPEN = 20_000
#: Spikes are kept this long before the clock for onsets that are told late.
HISTORY_S = 10.0
#: Faults told between two blocks; more are counted only.
FAULTS_TOLD = 50
#: Bytes of an unreadable message that are kept.
RAW_BYTES = 1_000_000


@dataclass(frozen=True)
class Window:
    """What is counted around an onset. slack_ms: how much later than its time a spike may be told."""

    start_ms: float
    stop_ms: float
    slack_ms: float

    def __post_init__(self) -> None:
        if not -HISTORY_S * 500 <= self.start_ms < self.stop_ms <= 60_000:
            raise BadInput(
                f"rig: a window from {self.start_ms} to {self.stop_ms} ms cannot be counted; "
                f"start_ms must be before stop_ms, at least {-HISTORY_S * 500:.0f}, stop_ms at most 60000"
            )
        if not 0 <= self.slack_ms <= HISTORY_S * 500:
            raise BadInput(f"rig: slack_ms = {self.slack_ms} must be from 0 to {HISTORY_S * 500:.0f}")


@dataclass
class _Open:
    image: str
    repeat: int
    block: int
    sample: int


class Outbox:
    """What a recorder has to say, from its own thread to the session's; faults are limited in number."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._queue: SimpleQueue[Arrival] = SimpleQueue()
        self._faults = 0
        self._told: set[str] = set()

    def put(self, answer: Answer) -> None:
        """An answer with rows."""
        self._queue.put(answer)

    def fault(self, why: str, raw: bytes = b"") -> None:
        """What could not be read: the same fault once between two blocks."""
        if why in self._told or self._faults > FAULTS_TOLD:
            return
        self._faults += 1
        self._told.add(why)
        if self._faults > FAULTS_TOLD:
            why, raw = f"more than {FAULTS_TOLD} faults in one block; the rest is not told", b""
        self._queue.put(Answer((), source=self.source, fault=why, raw=raw[:RAW_BYTES]))

    def again(self) -> None:
        """A new block: faults are told again."""
        self._faults = 0
        self._told.clear()

    def get(self, timeout_s: float) -> list[Arrival]:
        """All there is; waits for the first."""
        try:
            found = [self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()]
        except Empty:
            return []
        while True:
            try:
                found.append(self._queue.get_nowait())
            except Empty:
                return found


class Windows:
    """Onsets, spikes and the clock in; answers out. Not thread-safe: its owner holds a lock.

    count: channels. rate_hz: samples per second, or None until it is known (`rate_hz` is set later). Samples
    are whole numbers that do not wrap.
    """

    def __init__(self, window: Window, count: int, session: str, rate_hz: float | None, out: Outbox) -> None:
        self.rate_hz = rate_hz
        self.clock: int | None = None
        self._window = window
        self._count = count
        self._session = session
        self._out = out
        self._expected: dict[int, dict[tuple[str, int], int]] = {}
        self._unsaid: dict[int, set[tuple[str, int]]] = {}
        self._open: list[_Open] = []
        self._begun: deque[tuple[str, int, int]] = deque(maxlen=WINDOWS_OPEN)
        self._spikes: deque[tuple[int, int]] = deque()
        self._gaps: dict[int, tuple[float, float]] = {}
        self._gap_numbers = 0
        self._next_sweep = 0

    def offer(self, block: Block) -> None:
        """These presentations are expected from now on."""
        self._out.again()
        expected = {(p.image, p.repeat): p.code for p in block.presentations}
        self._expected.pop(block.number, None)
        self._expected[block.number] = expected
        self._unsaid[block.number] = set(expected)
        while len(self._expected) > BLOCKS_KEPT:
            gone = next(iter(self._expected))
            del self._expected[gone], self._unsaid[gone]

    @property
    def waiting(self) -> bool:
        """Whether a window waits for the clock."""
        return bool(self._open)

    def onset(self, image: str, repeat: int, sample: int, missing: bool = False) -> bool:
        """An image appeared. Returns whether it is a presentation of a block that was offered.

        missing: it appeared when nobody could see it exactly.
        """
        for number in reversed(self._expected):
            if (image, repeat) in self._expected[number]:
                if (image, repeat, sample) not in self._begun:
                    self._begun.append((image, repeat, sample))
                    one = _Open(image, repeat, number, sample)
                    if missing:
                        self._say([one], missing=True)
                        return True
                    self._open.append(one)
                    if len(self._open) > WINDOWS_OPEN:
                        self._say([self._open.pop(0)], missing=True)
                return True
        return False

    def onset_of_code(self, code: int, sample: int, missing: bool = False) -> bool:
        """The same, by the presentation's code; the newest block that has it."""
        for number in reversed(self._expected):
            for (image, repeat), own in self._expected[number].items():
                if own == code:
                    return self.onset(image, repeat, sample, missing)
        return False

    def spike(self, channel: int, sample: int) -> None:
        """A spike of a channel, by number."""
        self._spikes.append((sample, channel))
        if len(self._spikes) > SPIKES_KEPT:
            lost, _ = self._spikes.popleft()
            self._gap(-math.inf, lost + 1)

    def advance(self, sample: int) -> None:
        """The clock has come to `sample`; answers what is complete."""
        if self.clock is None:
            self.lost(None, sample - 1)
        elif self.rate_hz is not None and abs(sample - self.clock) > self._samples(1000 * HISTORY_S):
            if sample < self.clock:
                self.restart()
                self.lost(None, sample - 1)
            else:
                self.lost(self.clock + 1, sample - 1)
        self.clock = sample if self.clock is None else max(self.clock, sample)
        if self.rate_hz is None:
            return
        done = [one for one in self._open if self.clock >= self._end(one)]
        if done:
            self._open = [one for one in self._open if self.clock < self._end(one)]
            self._say(done)
        if self.clock >= self._next_sweep:
            self._sweep()

    def lost(self, first: int | None = None, last: int | None = None) -> int:
        """Something may be missing between two samples (None: without end). Returns the gap's name."""
        return self._gap(-math.inf if first is None else first, math.inf if last is None else last)

    def until(self, gap: int, last: int) -> None:
        """A gap without end is known to end."""
        if gap in self._gaps:
            first = self._gaps[gap][0]
            self._gaps[gap] = (min(first, last), max(first, last))

    def found(self, gap: int) -> None:
        """What was lost has come after all."""
        self._gaps.pop(gap, None)

    def restart(self) -> None:
        """The clock begins anew: what was under way is missing."""
        gone, self._open = self._open, []
        if gone:
            self._say(gone, missing=True)
        self._spikes.clear()
        self._gaps.clear()
        self._begun.clear()
        self.clock, self._next_sweep = None, 0

    def _gap(self, first: float, last: float) -> int:
        self._gap_numbers += 1
        self._gaps[self._gap_numbers] = (min(first, last), max(first, last))
        if len(self._gaps) > 1000:
            # One wide gap says no less than many small ones: more windows are missing, none is wrong.
            oldest = list(self._gaps.items())[:500]
            for name, _ in oldest:
                del self._gaps[name]
            self._gaps[oldest[-1][0]] = (min(g[0] for _, g in oldest), max(g[1] for _, g in oldest))
        return self._gap_numbers

    def _samples(self, ms: float) -> int:
        return round(ms * (self.rate_hz or 0.0) / 1000)

    def _end(self, one: _Open) -> int:
        return one.sample + self._samples(self._window.stop_ms) + self._samples(self._window.slack_ms)

    def _sweep(self) -> None:
        assert self.clock is not None
        span = self._samples(1000.0 * HISTORY_S)
        oldest = min([self.clock - span, *(one.sample - span for one in self._open)])
        self._spikes = deque(one for one in self._spikes if one[0] >= oldest)
        self._gaps = {name: gap for name, gap in self._gaps.items() if gap[1] >= oldest}
        # A spike from before this is gone, so a window that begins before it cannot be counted.
        self._gap(-math.inf, oldest)
        self._next_sweep = self.clock + span // 10 + 1

    def _say(self, ended: Sequence[_Open], missing: bool = False) -> None:
        for number in sorted({one.block for one in ended}):
            rows = tuple(self._row(one, missing) for one in ended if one.block == number)
            unsaid = self._unsaid.get(number, set())
            unsaid.difference_update((row.image, row.repeat) for row in rows if row.repeat is not None)
            self._out.put(
                Answer(
                    rows,
                    session=self._session,
                    block=number,
                    last=number in self._unsaid and not unsaid,
                    source=self._out.source,
                )
            )

    def _row(self, one: _Open, missing: bool) -> AnswerRow:
        if missing or self.rate_hz is None:
            return AnswerRow(one.image, one.repeat, None)
        first = one.sample + self._window.start_ms * self.rate_hz / 1000
        last = one.sample + self._window.stop_ms * self.rate_hz / 1000
        # What a lost message told may have happened up to the slack before it.
        slack = self._samples(self._window.slack_ms)
        onset_s = one.sample / self.rate_hz
        if any(begin - slack <= last and first <= end + slack for begin, end in self._gaps.values()):
            return AnswerRow(one.image, one.repeat, None, onset_s)
        inside = [
            (sample - one.sample, channel) for sample, channel in self._spikes if first <= sample < last
        ]
        times = np.array([sample for sample, _ in inside], dtype=np.float64) * 1000 / self.rate_hz
        channels = np.array([channel for _, channel in inside], dtype=np.int64)
        window = self._window
        spikes = Spikes(times, channels, self._count, window.start_ms, window.stop_ms)
        return AnswerRow(one.image, one.repeat, spikes, onset_s)
