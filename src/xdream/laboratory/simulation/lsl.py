"""An emulated rig on LabStreamingLayer: reads the markers, sends answers as a stream."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs import forms
from xdream.laboratory.rigs.base import AnswerRow
from xdream.laboratory.rigs.lsl import MARKERS, STREAM
from xdream.laboratory.simulation.base import Driver, Offered, RigSetup
from xdream.laboratory.simulation.recorder import RecorderDriver
from xdream.scoring.recordings import Spikes, Values

LISTENER_S = 30.0
SLICE_S = 0.1
#: A marker of a block that was answered longer ago than this says that the answer did not arrive.
SAID_S = 1.0


class LslDriver(RecorderDriver):
    """Answers blocks of a display over LSL.

    display: where blocks come from. channels: how many. stream, markers: names. codes: of a presentation,
    then answers are numbers, else JSON.
    """

    sends_spikes: ClassVar[bool] = False

    def __init__(
        self,
        display: Driver | Callable[[float], Offered | None],
        channels: int,
        *,
        stream: str = STREAM,
        markers: str = MARKERS,
        codes: Callable[[str, int], int] | None = None,
        source: str = "emulated-rig",
    ) -> None:
        try:
            import pylsl
        except (ImportError, RuntimeError) as error:
            raise BadInput(f"a rig over lsl needs pylsl: pip install 'xdream[lsl]' ({error})") from None
        self._lsl = pylsl
        super().__init__(display)
        self._channels = channels
        self._stream = stream
        self._codes = codes
        self._source = source
        self._markers = pylsl.ContinuousResolver("name", markers)
        self._marker_inlet: Any = None
        self._outlet: Any = None
        self._said: list[Any] = []
        self._said_at = -math.inf
        self._block: int | None = None
        self._announce()

    @classmethod
    def for_bridge(cls, setup: RigSetup, stream: str, markers: str, form: str) -> LslDriver:
        """For the bridge `lsl`."""
        assert setup.display is not None
        codes = None if form == "json" else setup.code
        return cls(setup.display, len(setup.channels), stream=stream, markers=markers, codes=codes)

    def next_block(self, timeout_s: float) -> Offered | None:
        """From the display; meanwhile says again what did not arrive."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = max(0.0, deadline - time.monotonic())
            offered = super().next_block(min(SLICE_S, left))
            if offered is not None:
                return offered
            self.read_markers()
            if self.over or time.monotonic() >= deadline:
                return None

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Send; raises RigError without listener."""
        if offered.number != self._block:
            self._block, self._said = offered.number, []
        samples: list[Any] = (
            self._numbers(rows) if self._codes is not None else [self._json(offered, rows, last)]
        )
        if spoil is None:
            self._said += samples
        else:
            samples = [[spoil(sample[0].encode())] for sample in samples if isinstance(sample[0], str)]
        self._send(samples)

    def read_markers(self) -> None:
        """What the session says; answers of a block that is still open are sent again."""
        if self._marker_inlet is None:
            found = self._markers.results()
            if not found:
                return
            self._marker_inlet = self._lsl.StreamInlet(found[0])
        while True:
            sample, _ = self._marker_inlet.pull_sample(0.0)
            if sample is None:
                return
            said = json.loads(sample[0])
            if said["block"] != self._block or not self._said:
                continue
            if said["event"] == "closed":
                self._said = []
            elif time.monotonic() - self._said_at > SAID_S:
                self._send(self._said)

    def disconnect(self, seconds: float) -> None:
        """The stream is gone, and comes back as another with the same source."""
        self._outlet = None
        time.sleep(seconds)
        self._announce()

    def close(self) -> None:
        """End."""
        self._outlet = self._marker_inlet = self._markers = None

    def _announce(self) -> None:
        numbers = self._codes is not None
        info = self._lsl.StreamInfo(
            self._stream,
            "Responses",
            self._channels + 1 if numbers else 1,
            0.0,
            "double64" if numbers else "string",
            self._source,
        )
        self._outlet = self._lsl.StreamOutlet(info)

    def _send(self, samples: Sequence[Any]) -> None:
        if not self._outlet.wait_for_consumers(LISTENER_S):
            raise RigError(f"nobody listens to the LSL stream '{self._stream}'")
        for sample in samples:
            self._outlet.push_sample(sample)
        self._said_at = time.monotonic()

    def _json(self, offered: Offered, rows: Sequence[AnswerRow], last: bool) -> list[str]:
        said: dict[str, Any] = {"block": offered.number, "last": last}
        if offered.session is not None:
            said["session"] = offered.session
        if offered.fence is not None:
            said["fence"] = offered.fence
        said["responses"] = [forms.row_json(row) for row in rows]
        return [json.dumps(said)]

    def _numbers(self, rows: Sequence[AnswerRow]) -> list[list[float]]:
        assert self._codes is not None
        found = []
        for row in rows:
            recorded = row.recorded
            values = [math.nan] * self._channels
            if isinstance(recorded, Values):
                values = recorded.values.tolist()
            elif isinstance(recorded, Spikes):
                values = np.bincount(recorded.channels, minlength=recorded.count).astype(float).tolist()
            found.append([float(self._codes(row.image, row.repeat or 0)), *values])
        return found
