"""Spikes and traces of a session in an NWB file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from xdream.experiment.plan import Plan
from xdream.experiment.presentation_rows import PresentationRecord
from xdream.scoring.recordings import Spikes, Traces

Array: TypeAlias = npt.NDArray[np.float64]

#: Digits of a time in seconds: a spike in two overlapping windows is one spike.
DIGITS = 6
#: Numbers that are compressed together.
CHUNK = 65_536


@dataclass(frozen=True)
class Survey:
    """What a session recorded. samples: most of a trace; 0: there are none."""

    spikes: bool = False
    samples: int = 0
    step_ms: float = 1.0
    onsets: bool = False


def survey(batches: Iterable[Sequence[PresentationRecord]], scratch: SpikeFiles) -> Survey:
    """One look at every recording; spikes are written into files on the way."""
    found = Survey()
    for batch in batches:
        for one in batch:
            if isinstance(one.recorded, Traces):
                samples = max(found.samples, one.recorded.samples.shape[1])
                found = replace(found, samples=samples, step_ms=one.recorded.step_ms)
            elif isinstance(one.recorded, Spikes) and not found.spikes:
                found = replace(found, spikes=True)
            if not one.onset_estimated and not found.onsets:
                found = replace(found, onsets=True)
        scratch.add(batch)
    return found


class SpikeFiles:
    """Spike times of each channel, in seconds on the file's clock, in files of their own: the library writes
    units as a whole. folder: is made with the first spikes."""

    def __init__(self, folder: Path, channels: int) -> None:
        self._folder, self._channels = folder, channels
        self._windows: list[Array] = []

    def add(self, batch: Iterable[PresentationRecord]) -> None:
        """The spikes of some presentations, and when was recorded."""
        found = [(one.onset_s, one.recorded) for one in batch if isinstance(one.recorded, Spikes)]
        if not found:
            return
        self._folder.mkdir(exist_ok=True)
        windows = [(s + one.start_ms / 1000.0, s + one.stop_ms / 1000.0) for s, one in found]
        self._windows.append(_merged(np.array(windows)))
        times = np.concatenate([onset + one.times_ms / 1000.0 for onset, one in found])
        channels = np.concatenate([one.channels for _, one in found])
        order = np.argsort(channels, kind="stable")
        ends = np.searchsorted(channels[order], np.arange(self._channels + 1))
        for channel in range(self._channels):
            with self._file(channel).open("ab") as file:
                times[order[ends[channel] : ends[channel + 1]]].tofile(file)

    def add_units(self, file: Any, labels: Sequence[str]) -> None:
        """A row of `units` for each channel. Of a channel all spikes are in memory at a time."""
        from hdmf.common import DynamicTableRegion, VectorData, VectorIndex
        from pynwb import H5DataIO
        from pynwb.misc import Units

        every, ends = self._folder / "all", np.zeros(self._channels, dtype=np.uint64)
        with every.open("wb") as into:
            for channel in range(self._channels):
                times = np.fromfile(self._file(channel))
                np.unique(np.round(times, DIGITS)).tofile(into)
                ends[channel] = into.tell() // times.itemsize
                self._file(channel).unlink()
        intervals = _merged(np.concatenate(self._windows))
        rows = np.arange(self._channels)
        data: dict[str, tuple[Any, str, Any]] = {
            "spike_times": (
                _chunks(
                    (int(ends[-1]),),
                    lambda rows: np.fromfile(every, np.float64, len(rows), offset=8 * rows.start),
                ),
                "spike times of each channel, in seconds",
                ends,
            ),
            "obs_intervals": (
                _chunks(
                    (self._channels * len(intervals), 2),
                    lambda rows: intervals[np.array(rows) % len(intervals)],
                ),
                "when was recorded, in seconds",
                (rows + 1) * len(intervals),
            ),
        }
        columns: list[Any] = []
        for name, (values, text, index) in data.items():
            column = VectorData(name=name, description=text, data=H5DataIO(values, compression="gzip"))
            # The index first: the library forgets columns of unknown length before it looks for an index.
            columns += [VectorIndex(name=f"{name}_index", data=index, target=column), column]
        text = "label of the channel: multi-unit activity, not sorted"
        columns.append(VectorData(name="channel", description=text, data=list(labels)))
        region = DynamicTableRegion(
            name="electrodes", description="electrode of the channel", data=rows, table=file.electrodes
        )
        columns += [region, VectorIndex(name="electrodes_index", data=rows + 1, target=region)]
        file.units = Units(
            name="units",
            description="spikes of each channel",
            id=rows,
            columns=columns,
            colnames=[*data, "channel", "electrodes"],
            electrode_table=file.electrodes,
        )
        file.units.resolution = 10.0**-DIGITS

    def _file(self, channel: int) -> Path:
        return self._folder / f"channel{channel}"


def _chunks(shape: tuple[int, ...], get: Callable[[range], Any]) -> Any:
    """Numbers that the library asks for when it writes them. get: some rows."""
    if not shape[0]:
        return np.empty(shape)
    from hdmf.data_utils import GenericDataChunkIterator

    class Chunks(GenericDataChunkIterator):  # type: ignore[misc]
        def _get_data(self, selection: tuple[slice, ...]) -> Any:
            rows = range(shape[0])[selection[0]]
            return get(rows)[(slice(None), *selection[1:])]

        def _get_maxshape(self) -> tuple[int, ...]:
            return shape

        def _get_dtype(self) -> Any:
            return np.dtype(np.float64)

    rows = max(1, min(shape[0], CHUNK))
    return Chunks(buffer_shape=(min(shape[0], 8 * rows), *shape[1:]), chunk_shape=(rows, *shape[1:]))


def _merged(windows: Array) -> Array:
    """(n, 2) intervals that do not overlap, in order."""
    windows = windows[np.argsort(windows[:, 0], kind="stable")]
    stops = np.maximum.accumulate(windows[:, 1])
    first = np.flatnonzero(np.r_[True, windows[1:, 0] > stops[:-1]])
    return np.column_stack([windows[first, 0], stops[np.r_[first[1:], len(windows)] - 1]])


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


def add_recordings(pynwb: Any, file: Any, found: Survey, plan: Plan) -> TraceSeries | None:
    """What traces are to go into, where there are any."""
    if not found.samples or plan.session is None:
        return None
    return TraceSeries(pynwb, file, found.samples, found.step_ms, len(plan.session.channels))
