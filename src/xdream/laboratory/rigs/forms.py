"""The forms of a response (values, spikes, traces, missing): JSON to recordings and back, for every bridge.

Each bridge has an envelope of its own around the list of responses (`json_messages` over HTTP, ZMQ and LSL,
`folder_manifest` in a folder); what stands in that list is read and written here alone. Whatever is wrong
with it is one line (`MessageError`), never another error. MATLAB's ways of writing JSON are taken: a scalar
for an array of one element, an object for a list of one, null for NaN, NaN and Infinity as they are, an
empty array for a field that a struct array has only in other elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from xdream.laboratory.rigs.base import AnswerRow
from xdream.scoring.recordings import Array, Recorded, Spikes, Traces, Values

Json: TypeAlias = dict[str, Any]

MOST_LETTERS = 200
MOST_COUNT = 2**53


class MessageError(Exception):
    """A message that cannot be read; the text is why, in one line."""


# ---------------------------------------------------------------------- fields


def only_fields(said: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """No field beside those of these names. Raises MessageError: a misspelt field must not go unnoticed."""
    for name in said:
        if name not in names:
            raise MessageError(f"{what} has a field {short(name)}; there are {', '.join(names)}")


def text_of(said: Mapping[str, Any], name: str) -> str:
    """A short text. Raises MessageError."""
    value = said.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MOST_LETTERS or not value.isprintable():
        raise MessageError(f"{name} is {short(value)}, no text of 1 to {MOST_LETTERS} letters")
    return value


def count_of(said: Mapping[str, Any], name: str) -> int:
    """A whole number from 0. Raises MessageError."""
    value: Any = said.get(name)
    whole = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not whole or not 0 <= value < MOST_COUNT or value != int(value):
        raise MessageError(f"{name} is {short(value)}, no whole number from 0")
    return int(value)


def flag_of(said: Mapping[str, Any], name: str) -> bool:
    """True or false, also as 1 or 0; false where it is not said. Raises MessageError."""
    value = said.get(name, False)
    if value is None or isinstance(value, (list, dict, str)) or value not in (0, 1):
        raise MessageError(f"{name} is {short(value)}, neither true nor false")
    return bool(value)


def short(value: object) -> str:
    """A value in one short line of printable letters, for a message about it."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:80])
    return text + "…" if len(text) == 80 else text


# ---------------------------------------------------------------------- reading

_FORMS: Mapping[str, tuple[str, ...]] = {
    "values": ("baseline",),
    "spikes": ("start_ms", "stop_ms"),
    "traces": ("start_ms", "step_ms"),
    "missing": (),
}
_FIELDS = ("image", "repeat", *_FORMS, "baseline", "start_ms", "stop_ms", "step_ms", "onset_s")


def read_responses(responses: object, channels: int) -> tuple[AnswerRow, ...]:
    """The responses of an answer: a list of objects, or one object.

    channels: of the session, which says what a list without lists in it means. Raises MessageError.
    """
    if isinstance(responses, Mapping):
        responses = [responses]
    if not isinstance(responses, list):
        raise MessageError("responses is no list")
    return tuple(_row(one, at, channels) for at, one in enumerate(responses))


def _row(row: object, at: int, channels: int) -> AnswerRow:
    what = f"response {at}"
    if not isinstance(row, Mapping):
        raise MessageError(f"{what} is no object")
    only_fields(row, _FIELDS, what)
    try:
        said = {name: value for name, value in row.items() if value is not None and value != []}
        repeat = count_of(said, "repeat") if "repeat" in said else None
        if not flag_of(said, "missing"):
            said.pop("missing", None)
        if "values" in row and row["values"] is None and not any(form in said for form in _FORMS):
            said["values"] = [None] * channels  # NaN, as MATLAB writes it
        onset_s = _number(said, "onset_s") if "onset_s" in said else None
        return AnswerRow(text_of(said, "image"), repeat, _recorded(said, channels), onset_s)
    except MessageError as error:
        raise MessageError(f"{what}: {error}") from None


def _recorded(said: Mapping[str, Any], channels: int) -> Recorded | None:
    forms = [form for form in _FORMS if form in said]
    if len(forms) != 1:
        found = " and ".join(forms) or "none"
        raise MessageError(f"has {found} of {', '.join(_FORMS)}; it must have one")
    (form,) = forms
    only_fields(said, ("image", "repeat", "onset_s", form, *_FORMS[form]), f"a response with {form}")
    if form == "values":
        return _values(said)
    if form == "spikes":
        return _spikes(said, channels)
    return _traces(said, channels) if form == "traces" else None


def _values(said: Mapping[str, Any]) -> Values:
    values = _numbers(said["values"], "values")
    baseline = _numbers(said["baseline"], "baseline") if "baseline" in said else None
    if baseline is not None and len(baseline) != len(values):
        raise MessageError(f"{len(values)} values, but a baseline of {len(baseline)}")
    return Values(values, baseline)


def _spikes(said: Mapping[str, Any], channels: int) -> Spikes:
    trains = _per_channel(said["spikes"], channels, "spikes")
    numbers = [np.full(len(train), channel, np.int64) for channel, train in enumerate(trains)]
    start_ms, stop_ms = _number(said, "start_ms"), _number(said, "stop_ms")
    if not start_ms < stop_ms:
        raise MessageError(f"start_ms is {start_ms:g}, not before stop_ms {stop_ms:g}")
    return Spikes(np.concatenate(trains), np.concatenate(numbers), len(trains), start_ms, stop_ms)


def _traces(said: Mapping[str, Any], channels: int) -> Traces:
    samples = _per_channel(said["traces"], channels, "traces")
    lengths = {len(one) for one in samples}
    if lengths == {0}:
        raise MessageError("traces without a sample")
    if len(lengths) > 1:
        raise MessageError("traces of several lengths")
    step_ms = _number(said, "step_ms")
    if step_ms <= 0:
        raise MessageError(f"step_ms is {step_ms:g}, not above 0")
    return Traces(np.stack(samples), _number(said, "start_ms"), step_ms)


def _per_channel(value: object, channels: int, name: str) -> list[Array]:
    """A list for each channel. Without inner lists: of one channel, or one number for each."""
    values = value if isinstance(value, list) else [value]
    if not any(isinstance(one, list) for one in values):
        flat = _numbers(values, name)
        return [flat] if channels == 1 else [flat[i : i + 1] for i in range(len(flat))]
    return [_numbers(one, name) for one in values]


def _numbers(value: object, name: str) -> Array:
    values = value if isinstance(value, list) else [value]
    if not {type(one) for one in values} <= {int, float, type(None)}:
        raise MessageError(f"{name} holds what is neither a number nor null")
    return np.array(values, dtype=np.float64)


def _number(said: Mapping[str, Any], name: str) -> float:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise MessageError(f"{name} is {short(value)}, no number")
    return float(value)


# ---------------------------------------------------------------------- writing


def row_json(row: AnswerRow) -> Json:
    """One response, as `read_responses` reads it."""
    onset = {} if row.onset_s is None else {"onset_s": row.onset_s}
    return {"image": row.image, "repeat": row.repeat} | onset | recorded_json(row.recorded)


def recorded_json(recorded: Recorded | None) -> Json:
    """The form of a recording, by itself."""
    if recorded is None:
        return {"missing": True}
    if isinstance(recorded, Values):
        said: Json = {"values": _nulls(recorded.values)}
        return said if recorded.baseline is None else said | {"baseline": _nulls(recorded.baseline)}
    if isinstance(recorded, Spikes):
        trains = [_nulls(recorded.times_ms[recorded.channels == c]) for c in range(recorded.count)]
        return {"spikes": trains, "start_ms": recorded.start_ms, "stop_ms": recorded.stop_ms}
    traces = [_nulls(one) for one in recorded.samples]
    return {"traces": traces, "start_ms": recorded.start_ms, "step_ms": recorded.step_ms}


def _nulls(numbers: Array) -> list[float | None]:
    return [None if one != one else one for one in numbers.tolist()]
