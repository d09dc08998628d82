"""Spikes and traces of a session in an NWB file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdream.experiment import presentation_rows
from xdream.experiment.plan import Plan
from xdream.experiment.presentation_rows import PresentationRecord
from xdream.scoring.recordings import Spikes, Traces
from xdream.store import Record

#: Digits of a time in seconds: a spike in two overlapping windows is one spike.
DIGITS = 6


@dataclass(frozen=True)
class Survey:
    """What a session recorded. samples: most of a trace; 0: there are none."""

    spikes: bool = False
    samples: int = 0
    step_ms: float = 1.0
    onsets: bool = False


def survey(record: Record) -> Survey:
    """One look at every recording."""
    found = Survey()
    if not record.is_session:
        return found
    for batch in presentation_rows.presentations(record):
        for one in batch:
            if isinstance(one.recorded, Traces):
                samples = max(found.samples, one.recorded.samples.shape[1])
                found = Survey(found.spikes, samples, one.recorded.step_ms, found.onsets)
            elif isinstance(one.recorded, Spikes) and not found.spikes:
                found = Survey(True, found.samples, found.step_ms, found.onsets)
            if not one.onset_estimated and not found.onsets:
                found = Survey(found.spikes, found.samples, found.step_ms, True)
    return found


class Units:
    """Spike times of each channel, in seconds from the start of the session, and when was recorded."""

    def __init__(self, channels: int) -> None:
        self._times: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(channels)]
        self._windows: list[tuple[float, float]] = []

    def add(self, batch: Iterable[PresentationRecord]) -> None:
        """The spikes of some presentations."""
        for one in batch:
            if not isinstance(one.recorded, Spikes):
                continue
            start, stop = one.recorded.start_ms / 1000.0, one.recorded.stop_ms / 1000.0
            self._windows.append((one.onset_s + start, one.onset_s + stop))
            for channel, times in enumerate(self._times):
                of = one.recorded.times_ms[one.recorded.channels == channel]
                times.append(one.onset_s + of / 1000.0)

    def write(self, file: Any, labels: Sequence[str]) -> None:
        """A row of `units` for each channel."""
        file.add_unit_column("channel", "label of the channel: multi-unit activity, not sorted")
        file.units.resolution = 10.0**-DIGITS
        intervals = _merged(self._windows)
        for channel, times in enumerate(self._times):
            every = np.unique(np.round(np.concatenate(times), DIGITS)) if times else np.empty(0)
            file.add_unit(
                spike_times=every, obs_intervals=intervals, channel=labels[channel], electrodes=[channel]
            )


def _merged(windows: Sequence[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """(n, 2) intervals that do not overlap."""
    merged: list[list[float]] = []
    for start, stop in sorted(windows):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return np.array(merged).reshape(-1, 2)


class TraceSeries:
    """A TimeSeries with one row for each presentation that has traces."""

    def __init__(self, pynwb: Any, file: Any, samples: int, step_ms: float, channels: int) -> None:
        self._pynwb, self._file, self._samples, self._step_ms = pynwb, file, samples, step_ms
        self._channels = channels

    def first(self, batch: Sequence[PresentationRecord]) -> None:
        """Begin the series with some presentations."""
        data, times = self._rows(batch)
        wrap = self._pynwb.H5DataIO
        series = self._pynwb.TimeSeries(
            name="traces",
            data=wrap(data, maxshape=(None, *data.shape[1:]), chunks=True),
            timestamps=wrap(times, maxshape=(None,), chunks=True),
            unit="as recorded",
            description="signal around each presentation: (presentations, samples, channels); sample j of a "
            f"row is {self._step_ms:g} ms * j after its timestamp; NaN: not recorded",
        )
        self._file.add_acquisition(series)

    def append(self, file: h5py.File, batch: Sequence[PresentationRecord]) -> None:
        """More of them."""
        data, times = self._rows(batch)
        group = file["acquisition/traces"]
        for name, values in (("data", data), ("timestamps", times)):
            group[name].resize(len(group[name]) + len(values), axis=0)
            if len(values):
                group[name][-len(values) :] = values

    def _rows(
        self, batch: Sequence[PresentationRecord]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        with_traces = [(one.onset_s, one.recorded) for one in batch if isinstance(one.recorded, Traces)]
        data = np.full((len(with_traces), self._samples, self._channels), np.nan)
        for row, (_, recorded) in zip(data, with_traces, strict=True):
            row[: recorded.samples.shape[1]] = recorded.samples.T
        times = np.array([onset + recorded.start_ms / 1000.0 for onset, recorded in with_traces])
        return data, times


def add_recordings(pynwb: Any, file: Any, found: Survey, electrodes: Any, plan: Plan) -> TraceSeries | None:
    """What traces are to go into, where there are any."""
    if not found.samples or electrodes is None or plan.session is None:
        return None
    return TraceSeries(pynwb, file, found.samples, found.step_ms, len(plan.session.channels))
