"""What the channels recorded: rasters and rates of spikes, traces, or values, for a few generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.scoring import responses
from xdream.scoring.recordings import Array, Recorded, Spikes, Traces, from_bytes
from xdream.store import queries, since
from xdream.store.record import Record, RunRecord

Json = dict[str, Any]
#: Rows of a raster; bins of a rate.
MOST_ROWS, BIN_MS = 60, 10.0


def channel_view(record: Record, plan: Plan, channel: int) -> Json:
    """One channel for three groups: images of the first generation, of the latest that was told, references
    of the latest.

    kind: spikes (per group: times_ms and rows of a raster, rate_hz in bins with its standard error), traces
    (mean and standard error of each sample), or values (the responses). Raises BadInput.
    """
    assert plan.session is not None
    names = plan.session.channels
    if not 0 <= channel < len(names):
        raise BadInput(f"there is no channel {channel}; there are 0 to {len(names) - 1}")
    last = queries.generations_told(record) - 1
    void = set(since.voids(record))
    counted = [g for g in range(last + 1) if g not in void]
    view: Json = {"channel": channel, "name": names[channel], "kind": None, "groups": []}
    if not counted:
        return view
    view["windows_ms"] = [list(window) for window in plan.responses.windows_ms]
    wanted = [("first generation", counted[0], False), ("latest generation", counted[-1], False)]
    for name, generation, references in [*wanted[: len(set(counted))], ("references", counted[-1], True)]:
        found = _read(since.recorded(record, generation, references=references))
        if found:
            view["kind"] = _kind(found[0])
            title = f"{name} (generation {generation + 1})"
            view["groups"].append({"name": title, "shown": len(found)} | _group(found, channel, plan))
    return view


def reference_responses(
    record: Record, plan: Plan, runs: Sequence[RunRecord], generation: int
) -> dict[int, list[float]]:
    """The responses of each run's channel to the references that were shown in a generation.

    Of a session as windows and baseline give them, before any z-score; of a run that sees all channels their
    mean.
    """
    if not record.is_session:
        return {run.id: since.references_answered(record, run.id, generation) for run in runs}
    found = _read(since.recorded(record, generation, references=True))
    rows = [row for one in found if (row := _response(one, plan)) is not None]
    if not rows:
        return {}
    values = np.stack(rows)
    of_runs = {}
    for run in runs:
        channel = run.target.rpartition(":")[2]
        own = values[:, int(channel)] if channel.isdecimal() else values.mean(1)
        of_runs[run.id] = own[np.isfinite(own)].tolist()
    return of_runs


def _response(recorded: Recorded, plan: Plan) -> Array | None:
    try:
        values, baseline = responses.read(recorded, plan.responses)
    except BadInput:
        return None
    return values - baseline if plan.responses.baseline == "trial" else values


def _read(raw: Sequence[bytes]) -> list[Recorded]:
    found = []
    for one in raw:
        try:
            found.append(from_bytes(one))
        except BadInput:  # a damaged row is said by those who score it
            continue
    return found


def _kind(recorded: Recorded) -> str:
    return {Spikes: "spikes", Traces: "traces"}.get(type(recorded), "values")


def _group(found: Sequence[Recorded], channel: int, plan: Plan) -> Json:
    first = found[0]
    if isinstance(first, Spikes):
        return _spikes([one for one in found if isinstance(one, Spikes)], channel)
    if isinstance(first, Traces):
        return _traces([one for one in found if isinstance(one, Traces)], channel)
    rows = [row for one in found if (row := _response(one, plan)) is not None and len(row) > channel]
    values = np.array([row[channel] for row in rows])
    return {"values": [float(value) for value in values[np.isfinite(values)]]}


def _spikes(found: Sequence[Spikes], channel: int) -> Json:
    start = max(one.start_ms for one in found)
    stop = min(one.stop_ms for one in found)
    bins = max(int((stop - start) / BIN_MS), 1)
    edges = start + BIN_MS * np.arange(bins + 1)
    trains = [one.times_ms[one.channels == channel] for one in found]
    rates = np.stack([np.histogram(train, edges)[0] for train in trains]) * (1000.0 / BIN_MS)
    pairs = sorted((float(t), row) for row, train in enumerate(trains[:MOST_ROWS]) for t in train)
    return {
        "times_ms": [round(t, 2) for t, _ in pairs],
        "rows": [row for _, row in pairs],
        "centres_ms": [float(edge) + BIN_MS / 2 for edge in edges[:-1]],
        **_mean_and_error(rates),
    }


def _traces(found: Sequence[Traces], channel: int) -> Json:
    size = min(one.samples.shape[1] for one in found)
    samples = np.stack([one.samples[channel, :size] for one in found])
    first = found[0]
    at = [first.start_ms + first.step_ms * i for i in range(size)]
    return {"centres_ms": at, **_mean_and_error(samples)}


def _mean_and_error(values: Array) -> Json:
    """Over rows; NaN is left out, and None where there is nothing."""
    count = np.isfinite(values).sum(0)
    total = np.where(np.isfinite(values), values, 0.0)
    mean = np.divide(total.sum(0), count, out=np.full(count.shape, np.nan), where=count > 0)
    spread = np.divide((total**2).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0) - mean**2
    error = np.sqrt(np.maximum(spread, 0.0) / np.maximum(count - 1, 1))
    return {
        name: [None if not np.isfinite(one) else round(float(one), 4) for one in array]
        for name, array in (("mean", mean), ("error", error))
    }
