"""The safe protocol's two files: the manifest that tells a rig what to show, and the answer to it.

An answer is `{"session", "block", "fence", "rows": how many, "responses": [...], "last": ...}`, or, with a
checksum, `{"answer": that as text, "sha256": of the text}`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xdream.laboratory.rigs.base import Answer, Block, Row
from xdream.laboratory.rigs.folder_files import MOST_LETTERS, Unreadable
from xdream.laboratory.rigs.wire import header_json, presentation_json
from xdream.scoring.recordings import Array, Recorded, Spikes, Traces, Values

#: A response is one of these, beside its image and its repeat.
FORMS = ("values", "spikes", "traces", "missing")


def manifest(block: Block, files: Mapping[int, tuple[str, str]], channels: Sequence[str]) -> bytes:
    """What a rig is to show. files: by place, (name, sha256 of the file)."""
    order = [
        presentation_json(one) | {"file": files[one.place][0], "sha256": files[one.place][1]}
        for one in block.presentations
    ]
    return json.dumps(header_json(block, order, channels), indent=1).encode()


def written_answer(
    session: str, block: int, fence: int, responses: Sequence[Mapping[str, Any]], *, last: bool
) -> bytes:
    """An answer with its checksum, as `read_answer` wants it."""
    text = json.dumps(
        {
            "session": session,
            "block": block,
            "fence": fence,
            "last": last,
            "rows": len(responses),
            "responses": list(responses),
        }
    )
    return json.dumps({"answer": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def read_answer(data: bytes, source: str) -> Answer:
    """The answer in a file. Raises Unreadable, and nothing else."""
    said = _object(data)
    if "answer" in said:
        text = said["answer"]
        if not isinstance(text, str):
            raise Unreadable("answer is no text")
        found = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        if said.get("sha256") != found:
            raise Unreadable(f"sha256 of the answer is {found}, not {str(said.get('sha256'))[:64]}")
        said = _object(text)
    session, last, responses = said.get("session"), said.get("last", False), said.get("responses")
    if not isinstance(session, str) or not isinstance(last, bool):
        raise Unreadable("session must be text, and last true or false")
    if isinstance(responses, dict):  # what MATLAB makes of one
        responses = [responses]
    if not isinstance(responses, list):
        raise Unreadable("responses are no list")
    if (rows := _whole(said, "rows")) != len(responses):
        raise Unreadable(f"rows says {rows}, but there are {len(responses)} responses")
    return Answer(
        tuple(_row(one, i) for i, one in enumerate(responses)),
        session=session[:MOST_LETTERS],
        block=_whole(said, "block"),
        fence=_whole(said, "fence"),
        last=last,
        source=source,
    )


def _object(text: bytes | str) -> dict[str, Any]:
    if not text:
        raise Unreadable("the file is empty")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(said, dict):
        raise Unreadable("it is no JSON object")
    return said


def _whole(said: Mapping[str, Any], key: str) -> int:
    value: Any = said.get(key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 1 << 53 or value != int(value):
        raise Unreadable(f"{key} is not a whole number from 0: {repr(value)[:50]}")
    return int(value)


# ---------------------------------------------------------------------- responses


def _row(one: Any, at: int) -> Row:
    try:
        if not isinstance(one, dict):
            raise Unreadable("it is no JSON object")
        image = one.get("image")
        if not isinstance(image, str) or len(image) > MOST_LETTERS:
            raise Unreadable("image is no text, or too long")
        return Row(image, _whole(one, "repeat"), recorded(one))
    except Unreadable as error:
        raise Unreadable(f"response {at + 1}: {error}") from None


def recorded(said: Mapping[str, Any]) -> Recorded | None:
    """A response's recording; None where it is missing. Raises Unreadable."""
    forms = [form for form in FORMS if form in said and said[form] is not False]
    if len(forms) != 1:
        raise Unreadable(f"it must have one of {', '.join(FORMS)}; it has {', '.join(forms) or 'none'}")
    [form] = forms
    if form == "values":
        baseline = None if said.get("baseline") is None else _numbers(said["baseline"], "baseline")
        values = _numbers(said["values"], "values")
        if baseline is not None and len(baseline) != len(values):
            raise Unreadable(f"{len(values)} values, but a baseline of {len(baseline)}")
        return Values(values, baseline)
    if form == "spikes":
        trains = [_numbers(one, "spikes", least=0) for one in _list(said["spikes"], "spikes")]
        start, stop = _number(said, "start_ms"), _number(said, "stop_ms")
        if not trains or not start < stop:
            raise Unreadable("spikes of no channel, or from start_ms to an earlier stop_ms")
        whose = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
        return Spikes(np.concatenate(trains), whose.astype(np.int64), len(trains), start, stop)
    if form == "traces":
        traces = _list(said["traces"], "traces")
        if not any(isinstance(one, list) for one in traces):  # what MATLAB makes of one channel
            traces = [traces]
        samples = [_numbers(one, "traces") for one in traces]
        if len({len(one) for one in samples}) != 1:
            raise Unreadable("the traces of the channels differ in length")
        start, step = _number(said, "start_ms"), _number(said, "step_ms")
        if step <= 0:
            raise Unreadable(f"step_ms is {step:g}, not above 0")
        return Traces(np.stack(samples), start, step)
    if said["missing"] is not True:
        raise Unreadable("missing is neither true nor false")
    return None


def _list(value: Any, name: str) -> list[Any]:
    """A list; MATLAB writes one of a single number as the number, and NaN as null."""
    if value is None or type(value) in (int, float):
        return [value]
    if not isinstance(value, list):
        raise Unreadable(f"{name} is no list")
    return value


def _numbers(value: Any, name: str, least: int = 1) -> Array:
    """Numbers and nulls, (n,)."""
    entries = _list(value, name)
    if len(entries) < least:
        raise Unreadable(f"{name} is empty")
    if not all(one is None or type(one) in (int, float) for one in entries):
        raise Unreadable(f"{name} has an entry that is neither a number nor null")
    try:
        return np.array([math.nan if one is None else float(one) for one in entries], dtype=np.float64)
    except OverflowError:
        raise Unreadable(f"{name} has a number that is too large") from None


def _number(said: Mapping[str, Any], name: str) -> float:
    [value] = _numbers([said.get(name)], name)
    if not math.isfinite(value):
        raise Unreadable(f"{name} is not a number")
    return float(value)
