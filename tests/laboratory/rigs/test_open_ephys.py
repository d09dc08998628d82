import json
import struct
import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from streams import a_block, code_of, free_port, offered, until

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs import BRIDGES, AnswerRow
from xdream.laboratory.rigs.onset_windows import Outbox, Window, Windows
from xdream.laboratory.rigs.open_ephys import OpenEphys
from xdream.laboratory.rigs.open_ephys_messages import Messages
from xdream.laboratory.simulation.open_ephys import OpenEphysDriver
from xdream.scoring.recordings import Spikes, Values

RATE = 1000  # samples are milliseconds


class Stream:
    """Messages as the plugin would send them, numbered."""

    def __init__(self, *blocks, by_word=False, units=("E1:1", "E2"), strobe_line=None, settle_ms=0.5):
        self.out = Outbox("test")
        windows = Windows(Window(-50, 200, 20), len(units), "s1", None, self.out)
        self.messages = Messages(
            windows, units, self.out, by_word=by_word, strobe_line=strobe_line, settle_ms=settle_ms
        )
        for block in blocks or (a_block(),):
            windows.offer(block)
        self.number = 0

    def make(self, kind, content, data=b"", number=None):
        if number is None:
            self.number += 1
            number = self.number
        content = {"stream": "A", **content}
        header = {"message_num": number, "type": kind, "spike" if kind == "spike" else "content": content}
        return [b"X", json.dumps(header).encode(), data]

    def data(self, sample):
        return self.make(
            "data", {"channel_num": 0, "num_samples": 1, "sample_num": sample, "sample_rate": RATE}
        )

    def spike(self, sample, electrode="E1", sorted_id=1, **more):
        return self.make(
            "spike",
            {"sample_num": sample, "electrode": electrode, "sorted_id": sorted_id, **more},
            b"waveform",
        )

    def text(self, sample, text, **more):
        return self.make("event", {"type": 5, "sample_num": sample, **more}, text.encode())

    def line(self, sample, line, state, word):
        return self.make("event", {"type": 3, "sample_num": sample}, struct.pack("<BBQ", line, state, word))

    def take(self, *messages):
        for one in messages:
            self.messages.take(one)

    def rows(self):
        return [row for one in self.out.get(0) for row in one.rows]

    def faults(self):
        return [one.fault for one in self.out.get(0) if one.fault]


def times(row, channel=0):
    return sorted(row.recorded.times_ms[row.recorded.channels == channel].tolist())


def test_spikes_are_told_relative_to_the_onset_each_to_its_channel():
    s = Stream()
    s.take(s.data(0), s.data(900), s.spike(960), s.text(1000, "xdream b1-0 0"), s.spike(1030))
    s.take(s.spike(1040, "E2", 0), s.spike(1041, "E2", 5), s.spike(1050, "E1", 2), s.spike(1060, "E9"))
    s.take(s.spike(949), s.spike(1200), s.spike(1199))
    assert s.rows() == []
    s.take(s.data(1220))
    (row,) = s.rows()
    assert (row.image, row.repeat) == ("b1-0", 0)
    assert times(row) == [-40, 30, 199]
    assert times(row, 1) == [40, 41]
    assert (row.recorded.count, row.recorded.start_ms, row.recorded.stop_ms) == (2, -50, 200)


def test_a_presentation_is_answered_when_the_streams_clock_has_passed_and_not_before():
    s = Stream()
    s.take(s.data(0), s.text(1000, "xdream b1-0 0"), s.data(1219))
    assert s.rows() == []
    s.take(s.spike(1220))
    assert len(s.rows()) == 1


def test_a_window_with_a_gap_in_message_num_is_missing_and_the_next_is_not():
    s = Stream()
    s.take(s.data(0), s.text(1000, "xdream b1-0 0"), s.spike(1010))
    s.spike(1020)  # made, numbered, never sent
    s.take(s.data(1100), s.data(1300), s.text(2000, "xdream b1-1 0"), s.spike(2010), s.data(2300))
    first, second = s.rows()
    assert first.recorded is None
    assert times(second) == [10]


def test_reordered_messages_lose_nothing():
    s = Stream()
    onset = [s.data(0), s.text(1000, "xdream b1-0 0")]
    early, late = s.spike(1010), s.spike(1020)
    s.take(*onset, late, early, s.data(1300))
    (row,) = s.rows()
    assert times(row) == [10, 20]


def test_a_message_that_comes_after_its_window_was_answered_changes_nothing():
    s = Stream()
    s.take(s.data(0), s.text(1000, "xdream b1-0 0"))
    spike = s.spike(1010)
    s.take(s.data(1100), s.data(1300))
    assert [row.recorded for row in s.rows()] == [None]
    s.take(spike, s.data(1400))
    assert s.rows() == []


def test_duplicated_messages_count_once():
    s = Stream()
    start, onset, spike = s.data(0), s.text(1000, "xdream b1-0 0"), s.spike(1010)
    s.take(start, onset, onset, spike, spike, spike, s.data(1300))
    (row,) = s.rows()
    assert times(row) == [10]


def test_a_plugin_that_counts_anew_leaves_what_was_under_way_missing():
    s = Stream()
    s.take(s.data(0), s.data(500), s.text(1000, "xdream b1-0 0"), s.spike(1010))
    s.number = 0
    s.take(s.data(10), s.data(600), s.text(700, "xdream b1-1 0"), s.spike(720), s.data(950))
    first, second = s.rows()
    assert (first.image, first.recorded) == ("b1-0", None)
    assert times(second) == [20]


def test_acquisition_that_starts_again_at_sample_zero_leaves_what_was_under_way_missing():
    s = Stream()
    s.take(s.data(0), s.data(500), s.text(1000, "xdream b1-0 0"), s.spike(1010))
    s.take(s.data(0), s.data(600), s.text(1000, "xdream b1-1 0"), s.spike(1020), s.data(1300))
    first, second = s.rows()
    assert (first.image, first.recorded) == ("b1-0", None)
    assert times(second) == [20]


def test_what_was_before_the_first_message_is_not_known():
    s = Stream()
    s.take(s.data(980), s.text(1000, "xdream b1-0 0"), s.data(1300))
    assert [row.recorded for row in s.rows()] == [None]


def test_an_onset_of_a_foreign_image_is_a_fault_and_told_once():
    s = Stream()
    s.take(s.data(0), s.text(1000, "xdream other-1 0"), s.text(1001, "xdream other-1 0"))
    s.take(s.text(1002, "somebody else's words"), s.data(2000))
    (fault,) = s.faults()
    assert "other-1" in fault


def test_an_onset_that_never_comes_is_never_answered():
    s = Stream()
    s.take(*[s.data(sample) for sample in range(0, 100_000, 500)])
    assert s.rows() == []


def test_an_onset_on_another_streams_clock_is_a_fault():
    s = Stream()
    s.take(s.data(0), s.text(1000, "xdream b1-0 0", stream="B"), s.spike(5, stream="B"), s.data(2000))
    answers = s.out.get(0)
    assert [one.rows for one in answers] == [()]
    assert "another stream" in answers[0].fault


def test_an_onset_of_a_block_that_was_closed_carries_its_number():
    s = Stream(a_block(number=1), a_block(number=2))
    s.take(s.data(0), s.text(1000, "xdream b1-2 0"), s.data(1300))
    (answer,) = s.out.get(0)
    assert (answer.block, answer.session, answer.last) == (1, "s1", False)


def test_the_last_presentation_of_a_block_says_so():
    s = Stream(a_block(2))
    s.take(
        s.data(0), s.text(1000, "xdream b1-1 0"), s.data(1300), s.text(2000, "xdream b1-0 0"), s.data(2300)
    )
    assert [one.last for one in s.out.get(0)] == [False, True]


def test_a_word_counts_when_all_its_lines_have_changed():
    s = Stream(by_word=True)
    # 1001 = 0b1111101001: the way there passes other words, 1000 among them, which is a code too.
    s.take(s.data(0), s.line(1000, 3, 1, 1000), s.line(1000, 0, 1, 1001), s.spike(1010), s.data(1300))
    (row,) = s.rows()
    assert (row.image, times(row)) == ("b1-1", [10])


@pytest.mark.parametrize("apart", [0, 1, 5])
def test_a_word_between_lines_that_change_apart_is_no_onset(apart):
    """Code 1001 comes over 1000, which is a code too, and is left over 1000 again."""
    s = Stream(by_word=True, settle_ms=10)
    s.take(s.data(0), s.line(1000, 3, 1, 1000), s.line(1000 + apart, 0, 1, 1001), s.data(1300))
    s.take(s.line(1500, 0, 0, 1000), s.line(1500 + apart, 3, 0, 0), s.data(1800), s.data(2200))
    assert [row.image for row in s.rows()] == ["b1-1"]


def test_a_word_that_stands_while_another_line_changes_is_one_onset():
    s = Stream(by_word=True)
    high = 1 << 40
    s.take(s.data(0), s.line(1000, 0, 1, 1001), s.line(1005, 40, 1, 1001 | high), s.data(1300))
    assert len(s.rows()) == 1


def test_with_a_strobe_the_word_counts_when_the_strobe_rises():
    s = Stream(by_word=True, strobe_line=16)
    strobe = 1 << 16
    s.take(s.data(0), s.line(990, 0, 1, 1000), s.line(995, 1, 1, 1001), s.line(1000, 16, 1, 1001 | strobe))
    s.take(s.line(1002, 16, 0, 1001), s.spike(1010), s.data(1300))
    (row,) = s.rows()
    assert (row.image, times(row)) == ("b1-1", [10])


def test_a_sample_rate_unlike_the_one_before_makes_everything_missing():
    s = Stream()
    s.take(s.data(0), s.text(1000, "xdream b1-0 0"))
    wrong = s.make("data", {"sample_num": 1500, "sample_rate": 2 * RATE})
    s.take(wrong)
    answers = s.out.get(0)
    assert any("times a second" in (one.fault or "") for one in answers)
    assert [row.recorded for one in answers for row in one.rows] == [None]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"message_num": 1e999}',
        b'{"message_num": ' + b"9" * 5000 + b"}",
        b'{"message_num": 1, "type": "spike", "spike": 3}',
        b'{"message_num": 1, "type": "spike", "spike": {"sample_num": "7"}}',
        b'{"message_num": 1, "type": "event", "content": {"sample_num": -1}}',
        b'{"message_no": 1, "type": "data", "content": {"timestamp": 1}}',
        b'{"a": "' + b"x" * 5_000_000 + b'"}',
        b"\xff\xfe",
    ],
)
def test_a_header_that_cannot_be_read_is_a_fault_of_bounded_size(header):
    s = Stream()
    s.take([b"EVENT", header])
    (answer,) = s.out.get(0)
    assert answer.fault
    assert len(answer.raw) <= 1_000_000


@hypothesis.given(st.lists(st.lists(st.binary(max_size=60), max_size=4), max_size=6))
@hypothesis.settings(deadline=None)
def test_no_bytes_crash_the_reader(messages):
    s = Stream()
    s.take(*messages)
    s.take(s.data(5000), s.data(6000), s.text(7000, "xdream b1-0 0"), s.spike(7010), s.data(7300))
    (row,) = s.rows()
    assert times(row) == [10]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
some_sample = st.integers(0, 3000) | json_values
content = st.fixed_dictionaries(
    {"sample_num": some_sample},
    optional={
        "type": st.sampled_from([3, 5]) | json_values,
        "stream": st.sampled_from(["A", "B", ""]) | json_values,
        "sample_rate": st.sampled_from([RATE]) | json_values,
        "electrode": st.sampled_from(["E1", "E2"]) | json_values,
        "sorted_id": st.integers(0, 3) | json_values,
    },
)


@hypothesis.given(
    st.lists(
        st.tuples(
            st.integers(0, 50) | json_values, st.sampled_from(["data", "spike", "event", "param"]), content
        ),
        max_size=20,
    ),
    st.binary(max_size=12),
)
@hypothesis.settings(deadline=None)
def test_no_fields_crash_the_reader(messages, data):
    s = Stream()
    for number, kind, fields in messages:
        header = {"message_num": number, "type": kind, "content": fields, "spike": fields}
        s.take([b"", json.dumps(header).encode(), data])
    s.out.get(0)


def test_faults_are_limited_until_the_next_block():
    s = Stream()
    for one in range(500):
        s.take([b"", b"bad %d" % one], s.text(one, f"xdream foreign-{one} 0"))
    assert len(s.faults()) <= 51
    s.messages.windows.offer(a_block(number=2))
    s.take(s.text(900, "xdream foreign-1 0"))
    assert len(s.faults()) == 1


def test_bad_options_are_refused():
    for options, words in (
        ({"port": 0}, "port is 0; it must be a whole number from 1"),
        ({"onset": "light"}, "onset is 'light'; it must be 'message' or 'word'"),
        ({"start_ms": 10, "stop_ms": 5}, "a window from 10.0 to 5.0 ms"),
        ({"stop_ms": float("nan")}, "a window from -100.0 to nan ms"),
        ({"slack_ms": -1}, "slack_ms = -1.0 must be from 0"),
        ({"rate_hz": 0}, "rate_hz is 0; it must be"),
        ({"first_line": 60}, "first_line is 60; it must be"),
        ({"strobe_line": 64}, "strobe_line is 64; it must be"),
        ({"strobe_line": 3}, "is one of the code's lines"),
        ({"settle_ms": 101}, "settle_ms is 101; it must be"),
    ):
        with pytest.raises(BadInput, match=words):
            BRIDGES.make("open-ephys", **options)
    with pytest.raises(BadInput, match="units has 1 entries"):
        OpenEphys(units=["E1"]).open("s", ["a", "b"])


@pytest.fixture
def joined():
    """A bridge and an emulated GUI, connected."""
    made = []

    def join(**options):
        port = free_port(2)
        bridge = OpenEphys(port=port, **options)
        driver = OpenEphysDriver(lambda _: None, [("E1", 1), ("E2", 0)], port, codes=None)
        made.extend((driver, bridge))
        bridge.open("s1", ["E1:1", "E2"])
        return bridge, driver

    yield join
    for one in made:
        one.close()


def played(block):
    rng = np.random.default_rng(5)
    rows = []
    for one in block.presentations:
        ms = np.sort(np.round(rng.uniform(-99, 299, 30), 1))
        rows.append(AnswerRow(one.image, one.repeat, Spikes(ms, rng.integers(0, 2, 30), 2, -100, 300)))
    return rows


def test_a_block_over_zmq_comes_back_spike_for_spike(joined):
    bridge, driver = joined()
    block = a_block(4, repeats=2)
    bridge.offer(block)
    rows = played(block)
    driver.answer(offered(block), rows)
    found, faults, answers = until(bridge.collect, 8)
    assert faults == []
    assert answers[-1].last
    for said, row in zip(rows, found, strict=True):
        for channel in (0, 1):
            np.testing.assert_allclose(times(row, channel), times(said, channel), atol=0.02)


def test_a_lost_message_over_zmq_is_a_missing_presentation(joined):
    bridge, driver = joined()
    block = a_block(3)
    bridge.offer(block)
    first, second, third = played(block)
    driver.answer(offered(block), [first, AnswerRow(second.image, 0, None), third])
    found, _, _ = until(bridge.collect, 3)
    assert [row.recorded is None for row in found] == [False, True, False]


def test_a_disconnect_in_between_loses_nothing_that_was_shown_before_or_after(joined):
    bridge, driver = joined()
    block = a_block(4)
    bridge.offer(block)
    rows = played(block)
    driver.answer(offered(block), rows[:2])
    until(bridge.collect, 2)
    driver.disconnect(0)
    driver.answer(offered(block), [AnswerRow("b1-0", 0, Values(np.array([2.0, 1.0])))], last=False)
    driver.answer(offered(block), rows[2:])
    found, _, _ = until(bridge.collect, 3)
    assert [row.image for row in found] == ["b1-0", "b1-2", "b1-3"]
    assert len(times(found[1])) + len(times(found[2])) == sum(len(times(row)) for row in rows[2:])


def test_words_over_zmq_pass_through_other_words_on_their_way(joined):
    port = free_port(2)
    block = a_block(3)
    bridge = OpenEphys(port=port, onset="word")
    driver = OpenEphysDriver(lambda _: None, [("E1", 1), ("E2", 0)], port, codes=code_of(block))
    bridge.open("s1", ["E1:1", "E2"])
    try:
        bridge.offer(block)
        rows = played(block)
        driver.answer(offered(block), rows)
        found, faults, _ = until(bridge.collect, 3)
        assert [row.image for row in found] == [row.image for row in rows]
        assert faults == []
    finally:
        driver.close()
        bridge.close()


def test_the_plugin_hears_that_a_client_is_there(joined):
    bridge, driver = joined()
    deadline = time.monotonic() + 60.0
    while not driver.heartbeats:  # counted in a thread of its own
        assert time.monotonic() < deadline, "no heartbeat came"
        bridge.collect(0.1)


def test_silence_while_a_block_is_shown_is_a_failure_of_the_medium():
    now = [0.0]
    bridge = OpenEphys(port=free_port(2))
    bridge.clock = lambda: now[0]
    bridge.open("s1", ["E1"])
    try:
        now[0] = 100.0
        assert bridge.collect(0) == []
        bridge.offer(a_block(1))
        assert bridge.collect(0) == []
        now[0] = 111.0
        with pytest.raises(RigError, match="nothing from Open Ephys"):
            bridge.collect(0)
        bridge.withdraw(1)
        assert bridge.collect(0) == []
    finally:
        bridge.close()
