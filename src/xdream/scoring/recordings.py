"""What a rig recorded for one presentation, raw: values, spike times or traces; to bytes and back.

Channels are numbers from 0, in the order of the plan's `session.channels`. Times are milliseconds from the
onset of the image (before it: negative). NaN = missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from xdream.arrays import numbers
from xdream.errors import BadInput

Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Values:
    """A number for each channel, made by the rig. values, baseline (before the image): (channels,)."""

    values: Array
    baseline: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _read(self.values, "values"))
        if self.baseline is not None:
            object.__setattr__(self, "baseline", _read(self.baseline, "a baseline"))


@dataclass(frozen=True, eq=False)
class Spikes:
    """Spike times. times_ms: (spikes,). channels: (spikes,) int64, whose each is. count: channels in all.

    start_ms, stop_ms: what was recorded; a window must lie within.
    """

    times_ms: Array
    channels: npt.NDArray[np.int64]
    count: int
    start_ms: float
    stop_ms: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "times_ms", _read(self.times_ms, "spike times"))


@dataclass(frozen=True, eq=False)
class Traces:
    """A sampled signal. samples: (channels, samples). Sample i is at start_ms + i * step_ms."""

    samples: Array
    start_ms: float
    step_ms: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", _read(self.samples, "traces"))


Recorded: TypeAlias = Values | Spikes | Traces


def _read(values: Array, what: str) -> Array:
    """What a bridge gives, of which a masked value is a missing one. Raises BadInput."""
    return values if type(values) is np.ndarray and values.dtype == np.float64 else numbers(values, what)


def channels_of(recorded: Recorded) -> int:
    """How many channels were recorded."""
    if isinstance(recorded, Values):
        return len(recorded.values)
    return recorded.count if isinstance(recorded, Spikes) else len(recorded.samples)


def to_bytes(recorded: Recorded) -> bytes:
    """For the store (safetensors): equal recordings give equal bytes."""
    if isinstance(recorded, Values):
        arrays = {"values": recorded.values}
        if recorded.baseline is not None:
            arrays["baseline"] = recorded.baseline
    elif isinstance(recorded, Spikes):
        order = np.lexsort((recorded.times_ms, recorded.channels))
        arrays = {
            "times_ms": recorded.times_ms[order],
            "channels": recorded.channels[order].astype(np.float64),
            "limits": np.array([recorded.count, recorded.start_ms, recorded.stop_ms]),
        }
    else:
        arrays = {"samples": recorded.samples, "times": np.array([recorded.start_ms, recorded.step_ms])}
    return safetensors.numpy.save({k: np.ascontiguousarray(v, dtype=np.float64) for k, v in arrays.items()})


def from_bytes(data: bytes) -> Recorded:
    """What `to_bytes` wrote. Raises BadInput for anything else."""
    try:
        found = safetensors.numpy.load(data)
        if "values" in found:
            return Values(found["values"], found.get("baseline"))
        if "samples" in found:
            start, step = found["times"].tolist()
            return Traces(found["samples"], start, step)
        count, start, stop = found["limits"].tolist()
        return Spikes(found["times_ms"], found["channels"].astype(np.int64), int(count), start, stop)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BadInput(f"a recording in the store cannot be read ({error}); the file is damaged") from None
