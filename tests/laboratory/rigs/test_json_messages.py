"""Blocks and answers as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talking import a_block

from xdream.laboratory.rigs import Answer, AnswerRow, NoBlock, Receipt, forms, json_messages
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values, to_bytes

#: No test depends on the machine's speed.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(rows: Any, channels: int = 2, **changed: Any) -> Answer:
    message = {"session": "s", "block": 1, "fence": 1, "last": False, "responses": rows} | changed
    return json_messages.answer_of(json_messages.message_of(json.dumps(message).encode()), channels)


def recorded(channels: int = 2, **said: Any) -> Any:
    (row,) = read([{"image": "i", "repeat": 0, **said}], channels).rows
    return row.recorded


def in_one_line(error: Exception) -> None:
    assert str(error)
    assert str(error).isprintable()


def same(one: Recorded | None, other: Recorded | None) -> bool:
    return one is other is None or (
        one is not None and other is not None and to_bytes(one) == to_bytes(other)
    )


# ---------------------------------------------------------------------- there and back

NUMBERS = st.one_of(st.floats(width=64, allow_nan=False), st.just(math.nan))
CHANNELS = st.integers(2, 4)


@st.composite
def recordings(draw: Any) -> Recorded | None:
    count = draw(CHANNELS)
    kind = draw(st.sampled_from(["values", "spikes", "traces", "none"]))
    if kind == "values":
        lists = st.lists(NUMBERS, min_size=count, max_size=count).map(np.array)
        return Values(draw(lists), draw(st.none() | lists))
    if kind == "spikes":
        trains = [draw(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=4)) for _ in range(count)]
        owners = np.concatenate([np.full(len(t), c, np.int64) for c, t in enumerate(trains)])
        return Spikes(np.concatenate(trains), owners, count, -100.0, 300.5)
    if kind == "traces":
        samples = draw(st.lists(NUMBERS, min_size=2 * count, max_size=2 * count))
        return Traces(np.array(samples).reshape(count, 2), -1.0, 0.5)
    return None


@PATIENT
@given(st.lists(recordings(), max_size=4), st.none() | st.integers(0, 99))
def test_what_is_written_is_read_back_bit_for_bit(several: list[Recorded | None], repeat: int | None) -> None:
    rows = [AnswerRow(f"image-{at}", repeat, one) for at, one in enumerate(several)]
    data = json_messages.dumps(json_messages.answer_json("s-1", 7, 3, rows, last=True))
    answer = json_messages.answer_of(json_messages.message_of(data), 2, "here")
    assert (answer.session, answer.block, answer.fence, answer.last) == ("s-1", 7, 3, True)
    assert answer.source == "here"
    for sent, got in zip(rows, answer.rows, strict=True):
        assert (sent.image, sent.repeat) == (got.image, got.repeat)
        assert same(sent.recorded, got.recorded)


@pytest.mark.parametrize("pixels", ["png", "raw"])
@pytest.mark.parametrize("size", [1, 4, 33])
def test_pixels_are_exact(pixels: str, size: int) -> None:
    block = a_block(size=size)
    said = json.loads(json_messages.dumps(json_messages.block_json(block, ["a"], pixels)))
    assert said["size_px"] == size
    for name, image in block.images.items():
        assert torch.equal(json_messages.image_of(said["images"][name], pixels, size), image)


def test_raw_pixels_go_row_by_row_as_red_green_blue() -> None:
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    assert list(json_messages.raw(image)) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


# ---------------------------------------------------------------------- MATLAB's ways


def test_a_number_is_an_array_of_one() -> None:
    assert recorded(1, values=3).values.tolist() == [3.0]
    assert recorded(1, values=3, baseline=1.5).baseline.tolist() == [1.5]
    assert recorded(1, spikes=3, start_ms=0, stop_ms=9).times_ms.tolist() == [3.0]


def test_an_object_is_a_list_of_one() -> None:
    assert [row.image for row in read({"image": "i", "repeat": 0, "values": 1}).rows] == ["i"]


def test_fields_that_a_struct_array_has_elsewhere_are_no_fields() -> None:
    empty = {"spikes": [], "traces": None, "start_ms": [], "stop_ms": [], "step_ms": [], "baseline": []}
    assert recorded(values=[1, 2], missing=False, **empty).values.tolist() == [1.0, 2.0]
    assert recorded(missing=True, values=[], **empty) is None


def test_nan_is_written_as_null_or_as_nan() -> None:
    for text in ("[null,1]", "[NaN,1]"):
        data = f'{{"session":"s","block":1,"fence":1,"responses":{{"image":"i","values":{text}}}}}'
        (row,) = json_messages.answer_of(json_messages.message_of(data.encode()), 2).rows
        assert isinstance(row.recorded, Values)
        np.testing.assert_array_equal(row.recorded.values, [np.nan, 1.0])
        assert row.repeat is None
    np.testing.assert_array_equal(recorded(1, values=None).values, [np.nan])


def test_infinities_are_kept() -> None:
    assert recorded(values=[math.inf, -math.inf]).values.tolist() == [math.inf, -math.inf]
    assert recorded(values=[10**400, 1]).values.tolist() == [math.inf, 1.0]


def test_a_list_without_lists_is_one_channel_or_one_number_each() -> None:
    limits = {"start_ms": 0, "stop_ms": 9}
    assert recorded(1, spikes=[1, 2, 3], **limits).channels.tolist() == [0, 0, 0]
    assert recorded(3, spikes=[1, 2, 3], **limits).channels.tolist() == [0, 1, 2]
    mixed = recorded(3, spikes=[[1, 2], 3, []], **limits)
    assert (mixed.count, mixed.times_ms.tolist(), mixed.channels.tolist()) == (3, [1.0, 2.0, 3.0], [0, 0, 1])
    assert recorded(1, traces=[1, 2, 3], start_ms=0, step_ms=1).samples.shape == (1, 3)
    assert recorded(3, traces=[1, 2, 3], start_ms=0, step_ms=1).samples.shape == (3, 1)


def test_whole_numbers_may_be_written_as_fractions() -> None:
    answer = read([], block=3.0, fence=1e0, last=1)
    assert (answer.block, answer.fence, answer.last) == (3, 1, True)


# ---------------------------------------------------------------------- what is refused

ROW: dict[str, Any] = {"image": "i", "repeat": 0}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**ROW}, "none of values"),
        ({**ROW, "values": [1], "missing": True}, "values and missing"),
        ({**ROW, "values": [1], "spikes": [[1]]}, "values and spikes"),
        ({**ROW, "valeus": [1]}, "valeus"),
        ({**ROW, "values": [1], "start_ms": 0}, "start_ms"),
        ({**ROW, "values": ["1"]}, "neither"),
        ({**ROW, "values": [True]}, "neither"),
        ({**ROW, "values": [[1]]}, "neither"),
        ({**ROW, "values": {"a": 1}}, "neither"),
        ({**ROW, "spikes": [[1], "x"], "start_ms": 0, "stop_ms": 1}, "neither"),
        ({**ROW, "spikes": [[1]], "start_ms": 0}, "stop_ms"),
        ({**ROW, "traces": [[1], [1, 2]], "start_ms": 0, "step_ms": 1}, "lengths"),
        ({**ROW, "traces": [[1], [1]], "start_ms": 0, "step_ms": True}, "step_ms"),
        ({**ROW, "repeat": 0.5, "values": [1]}, "repeat"),
        ({**ROW, "repeat": -1, "values": [1]}, "repeat"),
        ({**ROW, "repeat": True, "values": [1]}, "repeat"),
        ({**ROW, "repeat": math.nan, "values": [1]}, "repeat"),
        ({**ROW, "repeat": math.inf, "values": [1]}, "repeat"),
        ({**ROW, "image": "", "values": [1]}, "image"),
        ({**ROW, "image": 7, "values": [1]}, "image"),
        ({**ROW, "image": "x" * 201, "values": [1]}, "image"),
        ({**ROW, "image": "a\nb", "values": [1]}, "image"),
        ({**ROW, "missing": "yes"}, "missing"),
        ([1], "no object"),
        (None, "no object"),
    ],
)
def test_a_response_that_is_not_clear_is_refused_in_one_line(row: Any, words: str) -> None:
    with pytest.raises(forms.MessageError, match=words) as raised:
        read([row])
    assert "\n" not in str(raised.value)
    assert "response 0" in str(raised.value)


@pytest.mark.parametrize("name", ["session", "block", "fence"])
@pytest.mark.parametrize("value", [None, [], {}, -1, True, ""])
def test_an_answer_says_whose_it_is(name: str, value: Any) -> None:
    with pytest.raises(forms.MessageError, match=name):
        read([], **{name: value})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"a":1}x', "no JSON"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'{"a":1,"a":2}', "twice"),
        (b"[1]", "no object"),
        (b"[" * 100_000, "deeper"),
        (b'{"a":' * 13, "deeper"),
        (b'["]]]]","' + b"[" * 13 + b'"', "no JSON"),
        (b'["\\"]","' + b"x" * 9 + b'",' + b"[" * 20, "deeper"),
        (b"[" + b"[]," * 500_000 + b"1]", "more than"),
        (b"[" + b"1," * 5_000_000 + b"1]", "more than"),
        (b'{"a":"' + b"\\n" * 600_000 + b'"}', "escapes"),
        ('{"a":"é' + "x" * 1_000_000 + '"}', "escapes"),
        (b'{"a":' + b"9" * 5_000 + b"}", ""),
    ],
)
def test_bombs_are_refused_before_they_are_built(data: bytes | str, words: str) -> None:
    data = data.encode() if isinstance(data, str) else data
    if not words:
        assert json_messages.message_of(data) == {"a": math.inf}
        return
    with pytest.raises(forms.MessageError, match=words):
        json_messages.message_of(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["image", "repeat", "values", "baseline", "spikes", "traces", "start_ms", "missing"])


@PATIENT
@given(
    st.dictionaries(st.sampled_from(["session", "block", "fence", "last", "responses", "x"]), JSON)
    | st.fixed_dictionaries(
        {
            "session": st.just("s"),
            "block": st.just(1),
            "fence": st.just(1),
            "responses": st.lists(st.dictionaries(FIELDS, JSON, max_size=5), max_size=3),
        }
    ),
    st.integers(1, 3),
)
def test_any_json_is_an_answer_or_has_a_reason(message: Any, channels: int) -> None:
    data = json.dumps(message).encode()
    try:
        answer = json_messages.answer_of(json_messages.message_of(data), channels)
    except forms.MessageError as error:
        in_one_line(error)
        return
    for row in answer.rows:
        if row.recorded is not None:
            to_bytes(row.recorded)


@PATIENT
@given(st.binary(max_size=200) | st.text('{}[]",:\\0123456789.eE-+ntfNaI ', max_size=60).map(str.encode))
def test_any_bytes_are_a_message_or_have_a_reason(data: bytes) -> None:
    try:
        assert isinstance(json_messages.message_of(data), dict)
    except forms.MessageError as error:
        in_one_line(error)


@PATIENT
@given(st.data())
def test_a_cut_or_changed_answer_is_never_another_error(data: Any) -> None:
    whole = json_messages.dumps(
        json_messages.answer_json("s", 1, 1, [AnswerRow("i", 0, Values(np.ones(2)))], last=True)
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    piece = data.draw(st.binary(max_size=3))
    try:
        json_messages.answer_of(json_messages.message_of(whole[:at] + piece + whole[at + 1 :]), 2)
    except forms.MessageError as error:
        in_one_line(error)


def test_of_what_cannot_be_read_a_part_is_kept() -> None:
    answer = json_messages.fault_of("why", b"x" * 3_000_000, "http")
    assert (answer.fault, answer.rows, answer.source) == ("why", (), "http")
    assert answer.raw == b"x" * json_messages.MOST_RAW_BYTES


def test_replies_have_a_code() -> None:
    assert json_messages.receipt_json(Receipt({"taken": 2}, None, True)) == (
        200,
        {"counts": {"taken": 2}, "open": True},
    )
    assert json_messages.receipt_json(Receipt({}, "no", True, conflict=True))[0] == 409
    assert json_messages.receipt_json(Receipt({}, "no", True))[0] == 422
    held = NoBlock("held", "a has it for another 3 s")
    assert json_messages.no_block_json(held) == (409, {"state": "held", "reason": held.reason})
    assert json_messages.no_block_json(NoBlock("over", "held by nobody: over")) == (
        200,
        {"state": "over", "reason": "held by nobody: over"},
    )


def test_an_onset_is_kept_with_any_form_and_is_a_number() -> None:
    said = [{"image": "a", "onset_s": 12.25, "values": [1.0]}, {"image": "b", "onset_s": 13, "missing": True}]
    rows = forms.read_responses(said, 1)
    assert [row.onset_s for row in rows] == [12.25, 13.0]
    assert forms.read_responses([forms.row_json(rows[0])], 1)[0].onset_s == 12.25
    assert "onset_s" not in forms.row_json(AnswerRow("a", 0, None))
    for wrong in ("now", True, float("inf")):
        with pytest.raises(forms.MessageError, match=r"onset_s is .*, no number"):
            forms.read_responses([{"image": "a", "onset_s": wrong, "values": [1.0]}], 1)
