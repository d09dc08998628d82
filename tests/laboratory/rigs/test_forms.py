"""Every envelope reads the forms of a response alike: what is on the edge of what may be said."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from xdream.laboratory.rigs import Answer
from xdream.laboratory.rigs.folder_manifest import read_answer
from xdream.laboratory.rigs.forms import MessageError
from xdream.laboratory.rigs.json_messages import answer_of, message_of
from xdream.scoring.recordings import Recorded, Spikes, Values

SPIKES = {"start_ms": 0, "stop_ms": 100}
TRACES = {"start_ms": 0, "step_ms": 1}


def from_a_message(rows: Any, channels: int) -> Answer:
    said = {"session": "s", "block": 1, "fence": 1, "responses": rows}
    return answer_of(message_of(json.dumps(said).encode()), channels)


def from_a_file(rows: Any, channels: int) -> Answer:
    count = len(rows) if isinstance(rows, list) else 1
    said = {"session": "s", "block": 1, "fence": 1, "rows": count, "responses": rows}
    return read_answer(json.dumps(said).encode(), "x", channels)


def from_a_file_with_a_checksum(rows: Any, channels: int) -> Answer:
    import hashlib

    said = {"session": "s", "block": 1, "fence": 1, "rows": len(rows), "responses": rows}
    text = json.dumps(said)
    whole = {"answer": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return read_answer(json.dumps(whole).encode(), "x", channels)


ENVELOPES = [from_a_message, from_a_file, from_a_file_with_a_checksum]
every_envelope = pytest.mark.parametrize("read", ENVELOPES)
Read = Callable[[Any, int], Answer]


def plain(recorded: Recorded | None) -> Any:
    """A recording as lists, None for NaN: what a test can write down."""
    if recorded is None:
        return "missing"
    if isinstance(recorded, Values):
        found = [recorded.values] if recorded.baseline is None else [recorded.values, recorded.baseline]
    elif isinstance(recorded, Spikes):
        found = [recorded.times_ms[recorded.channels == channel] for channel in range(recorded.count)]
    else:
        found = list(recorded.samples)
    return [[None if math.isnan(number) else number for number in one.tolist()] for one in found]


@every_envelope
@pytest.mark.parametrize(
    ("channels", "said", "meant"),
    [
        # a list without lists in it
        (1, {"spikes": [10, 20], **SPIKES}, [[10, 20]]),
        (2, {"spikes": [10, 20], **SPIKES}, [[10], [20]]),
        (1, {"spikes": 10, **SPIKES}, [[10]]),
        (3, {"spikes": [[1, 2], 7, []], **SPIKES}, [[1, 2], [7], []]),
        (1, {"spikes": [[]], **SPIKES}, [[]]),
        (1, {"traces": [1, 2, 3], **TRACES}, [[1, 2, 3]]),
        (3, {"traces": [1, 2, 3], **TRACES}, [[1], [2], [3]]),
        (1, {"values": 4}, [[4]]),
        (1, {"values": 4, "baseline": 1}, [[4], [1]]),
        # what is empty or null is as if left out
        (2, {"values": [], "spikes": [[10], []], **SPIKES}, [[10], []]),
        (2, {"values": None, "spikes": [[10], []], **SPIKES}, [[10], []]),
        (2, {"values": [1, 2], "baseline": []}, [[1, 2]]),
        (2, {"values": [1, 2], "baseline": None, "start_ms": [], "stop_ms": None}, [[1, 2]]),
        (2, {"values": [1, 2], "missing": None}, [[1, 2]]),
        (2, {"values": None, "missing": True}, "missing"),
        # what is missing
        (2, {"values": None}, [[None, None]]),
        (2, {"values": [None, math.nan]}, [[None, None]]),
        (2, {"traces": [[None, 1], [2, math.nan]], **TRACES}, [[None, 1], [2, None]]),
        (2, {"missing": 1}, "missing"),
        (2, {"values": [1, 2], "missing": False}, [[1, 2]]),
        (2, {"values": [1, 2], "missing": 0}, [[1, 2]]),
        # numbers beyond all numbers are the session's to refuse
        (1, {"values": [10**400]}, [[math.inf]]),
        (1, {"values": [-math.inf]}, [[-math.inf]]),
        # another number of channels too
        (2, {"values": [1, 2, 3]}, [[1, 2, 3]]),
    ],
)
def test_a_form_means_the_same_in_every_envelope(read: Read, channels: int, said: Any, meant: Any) -> None:
    (row,) = read([{"image": "i", "repeat": 0, **said}], channels).rows
    assert plain(row.recorded) == meant


@every_envelope
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "has none of values"),
        ({"values": []}, "has none of values"),
        ({"spikes": [], **SPIKES}, "has none of values"),
        ({"values": [1], "spikes": [[1]], **SPIKES}, "has values and spikes"),
        ({"values": [1], "missing": True}, "has values and missing"),
        ({"values": [1], "valeus": [1]}, "a field 'valeus'"),
        ({"missing": True, "reason": "the animal looked away"}, "a field 'reason'"),
        ({"values": [1], "start_ms": 0}, "a field 'start_ms'"),
        ({"spikes": [[1]], **SPIKES, "baseline": [1]}, "a field 'baseline'"),
        ({"missing": "yes"}, "neither true nor false"),
        ({"missing": 2}, "neither true nor false"),
        ({"values": [1, 2], "baseline": [1]}, "2 values, but a baseline of 1"),
        ({"values": [[1]]}, "neither a number nor null"),
        ({"values": [True]}, "neither a number nor null"),
        ({"spikes": [[1]], "start_ms": 0}, "stop_ms is None, no number"),
        ({"spikes": [[1]], "start_ms": 100, "stop_ms": 100}, "start_ms is 100, not before stop_ms 100"),
        ({"spikes": [[1]], "start_ms": math.nan, "stop_ms": 1}, "start_ms is nan, no number"),
        ({"traces": [[1]], "start_ms": 0, "step_ms": 0}, "step_ms is 0, not above 0"),
        ({"traces": [[1]], "start_ms": math.inf, "step_ms": 1}, "start_ms is inf, no number"),
        ({"traces": [[1], [1, 2]], **TRACES}, "traces of several lengths"),
        ({"traces": [[], []], **TRACES}, "traces without a sample"),
        ({"values": [1], "repeat": 0.5}, "repeat is 0.5"),
        ({"values": [1], "image": ""}, "image is '', no text of 1 to 200 letters"),
        ({"values": [1], "image": "x" * 201}, "no text of 1 to 200 letters"),
    ],
)
def test_what_is_not_clear_is_refused_alike_in_every_envelope(read: Read, said: Any, words: str) -> None:
    with pytest.raises(MessageError, match="response 0.*" + words):
        read([{"image": "i", "repeat": 0, **said}], 2)


@every_envelope
def test_without_a_repeat_it_is_the_first_that_nobody_answered(read: Read) -> None:
    assert read([{"image": "i", "values": [1]}], 1).rows[0].repeat is None


@pytest.mark.parametrize("read", ENVELOPES[:2])
def test_one_response_may_be_an_object(read: Read) -> None:
    assert [row.image for row in read({"image": "i", "values": 1}, 1).rows] == ["i"]


def test_unknown_fields_of_an_envelope_are_refused_alike() -> None:
    said = {"session": "s", "block": 1, "fence": 1, "responses": [], "lst": True}
    with pytest.raises(MessageError, match="a field 'lst'"):
        answer_of(message_of(json.dumps(said).encode()), 1)
    with pytest.raises(MessageError, match="a field 'lst'"):
        read_answer(json.dumps(said | {"rows": 0}).encode(), "x", 1)


def test_a_name_twice_in_one_object_is_refused_alike() -> None:
    data = b'{"session":"s","block":1,"fence":1,"rows":0,"responses":[],"block":2}'
    for read in (lambda: answer_of(message_of(data), 1), lambda: read_answer(data, "x", 1)):
        with pytest.raises(MessageError, match="occurs twice"):
            read()
