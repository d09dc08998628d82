"""Recordings into responses: pure; what is missing stays NaN, and nothing is ever filled in.

    recordings -> windows -> limits -> less the baseline -> deviations -> z-scores
                             (presentations, channels)

docs/responses.md has the formulas.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from xdream.description import Frozen
from xdream.errors import BadInput
from xdream.scoring.recordings import Array, Recorded, Spikes, Traces, Values, channels_of

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

#: Of a normal distribution: its standard deviation over its median absolute deviation.
NORMAL = 1.4826
#: So much of a step may a time be off the grid of samples by rounding.
ROUNDING = 1e-6


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    start, stop = window
    if stop <= start:
        raise ValueError(f"the window from {start:g} to {stop:g} ms stops before it has begun")
    return window


Window = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Artefacts(Frozen):
    """What is too much to be a response; nothing is rejected by default.

    above, below: a response beyond either is rejected; of traces, a channel with any such sample in the
    windows (and in the baseline's, where one is subtracted). deviations: a response is rejected when it is
    more than so many robust standard deviations (1.4826 times the median absolute deviation) from the
    channel's median over the generation; where that deviation is 0, none is. share: when this share of the
    channels that have a response are rejected in a presentation, all are.
    """

    above: float | None = None
    below: float | None = None
    deviations: float | None = Field(default=None, gt=0)
    share: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.above is not None and self.below is not None and self.above <= self.below:
            raise ValueError(f"above is {self.above:g} and below {self.below:g}; nothing would be left")
        if self.share is not None and self.above is self.below is self.deviations is None:
            raise ValueError("share needs above, below or deviations, which reject channels")
        return self


class ResponsesPlan(Frozen):
    """How recordings become responses.

    windows_ms: from the onset of the image, start included, stop not; of spikes the response is their rate
    in Hz over all windows together, of traces the mean of the samples inside. A rig that sends values has
    counted already. baseline: what is subtracted: nothing, each presentation's own, or the channel's mean
    over the presentations of the block. baseline_ms: its window. zscore_blocks: responses in standard
    deviations of the interleaved references in so many blocks, the present one included.
    """

    windows_ms: tuple[Window, ...] = Field(default=((70.0, 170.0),), min_length=1)
    baseline: Literal["none", "trial", "overall"] = "none"
    baseline_ms: Window = (-100.0, 0.0)
    zscore_blocks: int | None = Field(default=None, ge=1)
    artefacts: Artefacts = Artefacts()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        ordered = sorted(self.windows_ms)
        for (start, stop), (later, end) in itertools.pairwise(ordered):
            if later < stop:
                raise ValueError(
                    f"windows_ms: {start:g} to {stop:g} and {later:g} to {end:g} ms overlap, and what is in "
                    "both would count twice; make one window of them"
                )
        return self


@dataclass(frozen=True, eq=False)
class Trial:
    """One presentation that was recorded. block: never used again; later blocks have larger numbers."""

    generation: int
    block: int
    image: str
    repeat: int
    reference: bool
    recorded: Recorded


@dataclass(frozen=True, eq=False)
class _Reading:
    """values, baseline: (channels,). rejected: (channels,), beyond the limits."""

    values: Array
    baseline: Array
    rejected: Mask


def read(recorded: Recorded, settings: ResponsesPlan) -> tuple[Array, Array]:
    """(values, baseline), both (channels,), before anything is rejected or subtracted.

    NaN where there is none: a value that is not finite, a trace without a sample, a baseline that was not
    recorded and is not to be subtracted. Raises BadInput when a window that is needed was not recorded.
    """
    reading = _read(recorded, settings)
    return reading.values, reading.baseline


def responses(trials: Sequence[Trial], settings: ResponsesPlan) -> Array:
    """(presentations, channels) float64; NaN = missing. Raises BadInput (see `read`).

    trials: of whole generations, in the order in which they were presented, with the history that `needed`
    gives. A generation's responses depend on nothing after it.

    The z-score is (response − mean) / (population) standard deviation of the references' responses in the
    blocks numbered from block − zscore_blocks + 1 to block. A channel without a spread there (fewer than two
    references, or all alike) is measured by the latest earlier window in which it had one; before there is
    any, the deviation counts as 1, and the mean is that of the references in the present window, or 0.
    """
    if not trials:
        return np.empty((0, 0))
    values = _unscaled(trials, settings)
    if settings.zscore_blocks is None:
        return values
    for scale in _scales(values, trials, settings.zscore_blocks):
        values[scale.rows] = (values[scale.rows] - scale.mean) / scale.deviation
    return values


def needed(trials: Sequence[Trial], settings: ResponsesPlan) -> tuple[Trial, ...]:
    """Those of the trials on which the responses of later generations depend.

    Whole generations: of the blocks in the z-score's window, and of the latest window in which each channel
    had a spread. Nothing without a z-score.
    """
    if settings.zscore_blocks is None or not trials:
        return ()
    *_, last = _scales(_unscaled(trials, settings), trials, settings.zscore_blocks)
    size = settings.zscore_blocks
    blocks = {last.block - k for k in range(size - 1)}
    for block in np.unique(last.measured[last.measured >= 0]).tolist():
        blocks |= {block - k for k in range(size)}
    generations = {trial.generation for trial in trials if trial.block in blocks}
    return tuple(trial for trial in trials if trial.generation in generations)


# -------------------------------------------------------------------------------------- one recording


def _read(recorded: Recorded, settings: ResponsesPlan) -> _Reading:
    if isinstance(recorded, Values):
        return _read_values(recorded, settings)
    if isinstance(recorded, Spikes):
        return _read_spikes(recorded, settings)
    return _read_traces(recorded, settings)


def _read_values(recorded: Values, settings: ResponsesPlan) -> _Reading:
    values = np.asarray(recorded.values, dtype=np.float64)
    if recorded.baseline is not None:
        baseline = np.asarray(recorded.baseline, dtype=np.float64)
        if baseline.shape != values.shape:
            raise BadInput(f"{len(values)} values have a baseline of {len(baseline)}; send one for each")
    elif settings.baseline == "none":
        baseline = np.full(values.shape, np.nan)
    else:
        raise BadInput(
            f"the values have no baseline, and baseline is '{settings.baseline}'; have the rig send one with "
            "them, or set responses.baseline to 'none'"
        )
    return _Reading(_finite(values), _finite(baseline), _beyond(values, values, settings.artefacts))


def _read_spikes(recorded: Spikes, settings: ResponsesPlan) -> _Reading:
    times, channels, count = recorded.times_ms, recorded.channels, recorded.count
    if len(times) != len(channels):
        raise BadInput(f"{len(times)} spike times have {len(channels)} channels; send one for each")
    if len(channels) and not 0 <= channels.min() <= channels.max() < count:
        raise BadInput(
            f"spikes of channels {channels.min()} to {channels.max()} in a recording of {count} "
            "channels; they are numbered from 0"
        )
    span = (recorded.start_ms, recorded.stop_ms)

    def rate_hz(windows: Sequence[Window]) -> Array:
        inside = np.zeros(len(times), dtype=np.bool_)
        for start, stop in windows:
            inside |= (times >= start) & (times < stop)
        duration_s = math.fsum(stop - start for start, stop in windows) / 1000.0
        return np.bincount(channels[inside], minlength=count) / duration_s

    _check_within(settings.windows_ms, span)
    if settings.baseline != "none":
        _check_within((settings.baseline_ms,), span)
    known = _within(settings.baseline_ms, span)
    values = rate_hz(settings.windows_ms)
    baseline = rate_hz((settings.baseline_ms,)) if known else np.full(count, np.nan)
    return _Reading(values, baseline, _beyond(values, values, settings.artefacts))


def _read_traces(recorded: Traces, settings: ResponsesPlan) -> _Reading:
    samples, first, step = recorded.samples, recorded.start_ms, recorded.step_ms
    if not (step > 0 and math.isfinite(step) and math.isfinite(first)):
        raise BadInput(f"traces from {first} ms in steps of {step} ms; steps are more than 0 ms")
    span = (first, first + samples.shape[1] * step)

    def inside(window: Window) -> Array:
        start, stop = (max(math.ceil((time - first) / step - ROUNDING), 0) for time in window)
        if stop <= start:
            raise BadInput(
                f"the window from {window[0]:g} to {window[1]:g} ms has no sample in it; "
                f"they are {step:g} ms apart"
            )
        found: Array = samples[:, start:stop]
        return found

    _check_within(settings.windows_ms, span, step)
    if settings.baseline != "none":
        _check_within((settings.baseline_ms,), span, step)
    response = np.concatenate([inside(window) for window in settings.windows_ms], axis=1)
    known = _within(settings.baseline_ms, span, step)
    before = inside(settings.baseline_ms) if known else np.full((len(samples), 1), np.nan)
    looked_at = response if settings.baseline == "none" else np.concatenate([response, before], axis=1)
    # The lesser and the greater of NaN and a number is the number.
    least, greatest = np.fmin.reduce(looked_at, axis=1), np.fmax.reduce(looked_at, axis=1)
    rejected = _beyond(least, greatest, settings.artefacts)
    return _Reading(_mean(response, 1), _mean(before, 1), rejected)


def _within(window: Window, span: tuple[float, float], step_ms: float = 0.0) -> bool:
    slack = ROUNDING * step_ms
    return window[0] >= span[0] - slack and window[1] <= span[1] + slack


def _check_within(windows: Sequence[Window], span: tuple[float, float], step_ms: float = 0.0) -> None:
    for window in windows:
        if not _within(window, span, step_ms):
            raise BadInput(
                f"the window from {window[0]:g} to {window[1]:g} ms is not within what was recorded, "
                f"{span[0]:g} to {span[1]:g} ms; record longer or change the window"
            )


def _beyond(least: Array, greatest: Array, artefacts: Artefacts) -> Mask:
    rejected = np.zeros(least.shape, dtype=np.bool_)
    if artefacts.above is not None:
        rejected |= greatest > artefacts.above
    if artefacts.below is not None:
        rejected |= least < artefacts.below
    return rejected


# -------------------------------------------------------------------------------------- many


def _unscaled(trials: Sequence[Trial], settings: ResponsesPlan) -> Array:
    """(presentations, channels): everything but the z-score."""
    artefacts = settings.artefacts
    values, baselines, rejected = _read_all(trials, settings)
    present = np.isfinite(values) | rejected
    rejected = _whole(rejected, present, artefacts.share)
    values[rejected] = np.nan
    if settings.baseline == "trial":
        values -= baselines
    elif settings.baseline == "overall":
        baselines[rejected] = np.nan
        for rows in _rows_by([trial.block for trial in trials]):
            values[rows] -= _mean(baselines[rows], 0)
    if artefacts.deviations is not None:
        for rows in _rows_by([trial.generation for trial in trials]):
            rejected[rows] |= _deviant(values[rows], artefacts.deviations)
        rejected = _whole(rejected, present, artefacts.share)
        values[rejected] = np.nan
    return values


def _read_all(trials: Sequence[Trial], settings: ResponsesPlan) -> tuple[Array, Array, Mask]:
    channels = channels_of(trials[0].recorded)
    values, baselines = (np.full((len(trials), channels), np.nan) for _ in range(2))
    rejected = np.zeros((len(trials), channels), dtype=np.bool_)
    for row, trial in enumerate(trials):
        try:
            if channels_of(trial.recorded) != channels:
                raise BadInput(f"{channels_of(trial.recorded)} channels; the first has {channels}")
            reading = _read(trial.recorded, settings)
        except BadInput as error:
            where = f"image {trial.image}, repeat {trial.repeat}, of block {trial.block}"
            raise BadInput(f"{where}: {error}") from None
        values[row], baselines[row], rejected[row] = reading.values, reading.baseline, reading.rejected
    return values, baselines, rejected


def _whole(rejected: Mask, present: Mask, share: float | None) -> Mask:
    """Every channel of the presentations in which this share of them is rejected."""
    if share is None:
        return rejected
    counted = rejected.sum(1) / np.maximum(present.sum(1), 1)
    every: Mask = rejected | (counted >= share)[:, None]
    return every


def _deviant(values: Array, limit: float) -> Mask:
    """(presentations, channels) of one generation. Against NaN nothing is greater."""
    distance = np.abs(values - _median(values))
    spread = _median(distance)
    deviant: Mask = (distance > limit * NORMAL * spread) & (spread > 0)
    return deviant


@dataclass(frozen=True, eq=False)
class _Scale:
    """Of one block. rows: its presentations. mean, deviation: (channels,). measured: (channels,), the last
    block of the window that each channel's are from; −1: it had no spread yet."""

    block: int
    rows: Numbers
    mean: Array
    deviation: Array
    measured: Numbers


def _scales(values: Array, trials: Sequence[Trial], size: int) -> list[_Scale]:
    """The scales of the blocks, in order. Each window is summed by itself: running sums would depend on where
    the history begins, in their last digits."""
    numbers = np.array([trial.block for trial in trials], dtype=np.int64)
    references = np.flatnonzero([trial.reference for trial in trials])
    references = references[np.argsort(numbers[references], kind="stable")]
    shown_in = numbers[references]
    mean, deviation = np.zeros(values.shape[1]), np.ones(values.shape[1])
    measured = np.full(values.shape[1], -1, dtype=np.int64)
    found = []
    unscaled = values[references]
    for rows in _rows_by(numbers):
        block = int(numbers[rows[0]])
        first, last = np.searchsorted(shown_in, [block - size, block], side="right")
        window = unscaled[first:last]
        here = _mean(window, 0)
        least = np.fmin.reduce(window, axis=0, initial=np.nan)
        spread = np.fmax.reduce(window, axis=0, initial=np.nan) > least
        mean = np.where(spread, here, mean)
        deviation = np.where(spread, _deviation(window, here), deviation)
        measured = np.where(spread, block, measured)
        centre = np.where(measured >= 0, mean, np.where(np.isnan(here), 0.0, here))
        found.append(_Scale(block, rows, centre, deviation, measured))
    return found


def _rows_by(numbers: Sequence[int] | Numbers) -> list[Numbers]:
    """The rows of each number, in the order of the numbers."""
    every = np.asarray(numbers, dtype=np.int64)
    _, counts = np.unique(every, return_counts=True)
    return np.split(np.argsort(every, kind="stable"), np.cumsum(counts)[:-1])


# -------------------------------------------------------------------------------------- without NaN


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _mean(values: Array, axis: int) -> Array:
    """Of the finite ones; NaN where there is none."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    mean: Array = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean


def _deviation(values: Array, mean: Array) -> Array:
    """(n, channels) -> (channels,), of the population. Scaled: no square is too large or too small."""
    distance = np.abs(values - mean)
    greatest = np.fmax.reduce(distance, axis=0, initial=0.0)
    share = np.divide(distance, greatest, out=np.zeros_like(distance), where=greatest > 0)
    deviation: Array = np.sqrt(_mean(share**2, 0)) * greatest
    return deviation


def _median(values: Array) -> Array:
    """(n, channels) -> (channels,)."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(values).sum(0)
    low, high = (np.maximum(place, 0)[None] for place in ((count - 1) // 2, count // 2))
    # Of no number the first is NaN, too.
    middle = np.take_along_axis(ordered, low, 0) + np.take_along_axis(ordered, high, 0)
    half: Array = middle[0] / 2.0
    return half
