import struct

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from streams import a_block, code_of, free_port, offered, until

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs import BRIDGES, AnswerRow
from xdream.laboratory.rigs.intan import Intan
from xdream.laboratory.rigs.intan_bytes import Marks, Spiking
from xdream.laboratory.rigs.onset_windows import Outbox, Window, Windows
from xdream.laboratory.simulation.intan import IntanDriver, spike_record, waveform_block
from xdream.scoring.recordings import Spikes

RATE = 1000  # samples are milliseconds
FRAMES = 10


class Stream:
    def __init__(self, *blocks, units=("A-010", "A-011:2"), first=0, settle=2):
        self.out = Outbox("test")
        self.windows = Windows(Window(-50, 200, 20), len(units), "s1", RATE, self.out)
        self.marks = Marks(self.windows, self.out, 1, FRAMES, settle)
        self.spiking = Spiking(self.windows, self.out, units)
        for block in blocks or (a_block(),):
            self.windows.offer(block)
        self.sample = first

    def bytes_until(self, until, word=0):
        parts = []
        while self.sample < until:
            words = [[word(self.sample + i) if callable(word) else word] for i in range(FRAMES)]
            parts.append(waveform_block(self.sample, words))
            self.sample += FRAMES
        return b"".join(parts)

    def run(self, until, word=0):
        self.marks.take(self.bytes_until(until, word))

    def spike(self, sample, name="A-010", spike_id=1):
        self.spiking.take(spike_record(name, sample, spike_id))

    def rows(self):
        return [row for one in self.out.get(0) for row in one.rows]


def times(row, channel=0):
    return sorted(row.recorded.times_ms[row.recorded.channels == channel].tolist())


def test_spikes_are_told_relative_to_the_word_each_to_its_channel():
    s = Stream()
    s.run(1000)
    for sample in (949, 960, 1030, 1199, 1200):
        s.spike(sample)
    s.spike(1040, "A-011", 2)
    s.spike(1041, "A-011", 1)
    s.spike(1042, "B-010", 1)
    s.spike(1043, spike_id=0)
    s.spike(1044, spike_id=0x80)
    s.spike(1045, spike_id=0x40)
    s.run(1100, 1001)
    s.run(1210)
    assert s.rows() == []
    s.run(1230)
    (row,) = s.rows()
    assert (row.image, row.repeat) == ("b1-1", 0)
    assert times(row) == [-40, 30, 45, 199]
    assert times(row, 1) == [40]


def test_an_onset_is_the_first_sample_of_a_word_that_stands():
    s = Stream()
    # Lines that do not change together: other words for a sample each, 1000 among them, which is a code too.
    flicker = {1003: 1000, 1004: 1001, 1005: 1003}
    s.run(1100, lambda sample: flicker.get(sample, 1002 if sample >= 1006 else 0))
    s.spike(1016)
    s.run(1300, 1002)
    (row,) = s.rows()
    assert (row.image, times(row)) == ("b1-2", [10])


def test_a_word_that_flickers_and_comes_back_is_one_onset():
    s = Stream()
    s.run(1000)
    s.run(1100, lambda sample: 1000 if sample == 1050 else 1002)
    s.run(1400)
    assert [row.image for row in s.rows()] == ["b1-2"]


@pytest.mark.parametrize("first", [2**32 - 1000, 2**31 - 1000, 2**32 - 900, 2**32 - 950])
def test_a_window_across_the_wrap_of_the_timestamps_is_counted_whole(first):
    s = Stream(first=first)
    s.run(first + 900)
    for after in (-40, 30, 99, 100, 150):
        s.spike(first + 900 + after)
    s.run(first + 1000, 1001)
    s.run(first + 1200)
    (row,) = s.rows()
    assert times(row) == [-40, 30, 99, 100, 150]


def test_bytes_may_be_cut_anywhere():
    whole, cut = Stream(), Stream()
    records = b"".join(spike_record("A-010", sample) for sample in (960, 1030, 1100))
    blocks = whole.bytes_until(1000) + whole.bytes_until(1100, 1001) + whole.bytes_until(1400)
    for at in range(0, len(records), 5):
        cut.spiking.take(records[at : at + 5])
    for at in range(0, len(blocks), 7):
        cut.marks.take(blocks[at : at + 7])
    (row,) = cut.rows()
    assert times(row) == [-40, 30, 100]


def test_garbage_in_the_spike_output_makes_its_window_missing_and_not_the_next():
    s = Stream()
    s.run(1000)
    s.spike(1010)
    s.spiking.take(b"garbage!" + spike_record("A-010", 1030)[:9])
    s.spike(1040)
    s.run(1100, 1001)
    s.run(2000)
    s.spike(2010)
    s.run(2100, 1002)
    s.run(2400)
    answers = s.out.get(0)
    first, second = [row for one in answers for row in one.rows]
    assert first.recorded is None
    assert times(second) == [10]
    assert any("no spikes" in (one.fault or "") for one in answers)


def test_garbage_in_the_waveform_output_makes_its_window_missing_and_not_the_next():
    s = Stream()
    s.run(1000)
    s.run(1050, 1001)
    s.marks.take(b"\x00\x01\x02" + s.bytes_until(1060, 1001)[:-3])
    s.run(1100, 1001)
    s.run(2000)
    s.spike(2010)
    s.run(2100, 1002)
    s.run(2400)
    answers = s.out.get(0)
    first, second = [row for one in answers for row in one.rows]
    assert first.recorded is None
    assert times(second) == [10]
    assert any("no block" in (one.fault or "") for one in answers)


def test_an_onset_within_a_gap_of_the_waveforms_is_missing():
    s = Stream()
    s.run(1000)
    s.sample = 1500
    s.run(1600, 1001)
    s.run(1900)
    (row,) = s.rows()
    assert (row.image, row.recorded) == ("b1-1", None)


def test_spikes_that_nobody_heard_make_the_window_missing():
    s = Stream()
    s.run(1000)
    s.spike(1005)
    s.run(1050, 1001)
    s.spiking.cut()
    s.run(1100, 1001)
    s.spiking.heard(s.windows.clock)
    s.run(1400)
    assert [row.recorded for row in s.rows()] == [None]


def test_a_run_that_begins_anew_leaves_what_was_under_way_missing():
    s = Stream()
    s.run(1000)
    s.run(1100, 1001)
    s.sample = 0
    s.run(1500)
    s.run(2000)
    s.spike(2010)
    s.run(2100, 1002)
    s.run(2400)
    first, second = s.rows()
    assert (first.image, first.recorded) == ("b1-1", None)
    assert times(second) == [10]


def test_garbage_after_a_run_began_anew_makes_its_window_missing():
    s = Stream()
    s.run(9000)
    s.spike(9000)
    s.sample = 0
    s.run(1000)
    s.run(2000)
    s.spiking.take(b"garbage, and more of it")
    s.run(2100, 1002)
    s.run(2400)
    assert [row.recorded for row in s.rows()] == [None]


def test_a_word_that_stood_before_anybody_listened_is_no_onset():
    s = Stream()
    s.run(1000, 1001)
    s.run(2000)
    assert s.out.get(0) == []


def test_a_foreign_code_is_a_fault_and_told_once():
    s = Stream()
    s.run(1000)
    s.run(1100, 77)
    s.run(1200)
    s.run(1300, 77)
    (answer,) = s.out.get(0)
    assert "77" in answer.fault


def test_an_onset_that_never_comes_is_never_answered():
    s = Stream()
    s.run(20_000)
    assert s.out.get(0) == []


@hypothesis.given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80), st.booleans()), max_size=12))
@hypothesis.settings(deadline=None)
def test_no_bytes_crash_the_readers_and_they_find_back(pieces):
    s = Stream()
    for spiking, data, magic in pieces:
        prefix = bytes.fromhex("0f71e23a" if spiking else "087af02e") if magic else b""
        (s.spiking if spiking else s.marks).take(prefix + data)
    s.spiking.take(bytes(14))
    s.marks.take(bytes(100))
    assert len(s.marks._bytes) < 200
    s.out.get(0)
    s.sample = 100_000
    s.run(100_500)
    s.spike(100_510)
    s.run(101_000)
    s.spike(101_010)
    s.run(101_100, 1001)
    s.run(101_400)
    (row,) = s.rows()
    assert times(row) == [10]


def test_bad_options_are_refused():
    for options, words in (
        ({}, "needs the option rate_hz"),
        ({"rate_hz": 0}, "rate_hz is 0"),
        ({"rate_hz": True}, "rate_hz is True"),
        ({"rate_hz": 30000, "words": 0}, "words is 0"),
        ({"rate_hz": 30000, "spike_port": 70000}, "spike_port is 70000"),
        ({"rate_hz": 30000, "settle_ms": -1}, "settle_ms is -1"),
        ({"rate_hz": 30000, "unit": ["A-010"]}, "has no option 'unit'"),
    ):
        with pytest.raises(BadInput, match=words):
            BRIDGES.make("intan", **options)


def test_silence_while_a_block_is_shown_is_a_failure_of_the_medium():
    now = [0.0]
    bridge = Intan(1000, spike_port=free_port(), waveform_port=free_port())
    bridge.clock = lambda: now[0]
    bridge.open("s1", ["A-010"])
    try:
        bridge.offer(a_block(1))
        now[0] = 11.0
        with pytest.raises(RigError, match="no waveforms"):
            bridge.collect(0)
    finally:
        bridge.close()


@pytest.fixture
def joined():
    made = []

    def join(block, **options):
        ports = free_port(), free_port()
        driver = IntanDriver(
            lambda _: None, ["A-010", "B-003"], code_of(block), ports, rate_hz=5000, **options
        )
        bridge = Intan(
            5000,
            waveform_port=ports[0],
            spike_port=ports[1],
            words=options.get("words", 1),
            units=["A-010", "B-003"],
        )
        bridge.open("s1", ["one", "two"])
        made.extend((bridge, driver))
        bridge.offer(block)
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


@pytest.mark.parametrize("words", [1, 3])
def test_a_block_over_tcp_comes_back_spike_for_spike(joined, words):
    block = a_block(3, repeats=2)
    # Begins before the timestamps wrap, and ends after.
    bridge, driver = joined(block, words=words, first=2**32 - 9_000)
    rows = played(block)
    driver.answer(offered(block), rows)
    found, faults, answers = until(bridge.collect, 6)
    assert faults == []
    assert answers[-1].last
    for said, row in zip(rows, found, strict=True):
        assert (said.image, said.repeat) == (row.image, row.repeat)
        for channel in (0, 1):
            np.testing.assert_allclose(times(row, channel), times(said, channel), atol=0.11)


def test_a_disconnect_makes_the_presentation_under_way_missing_and_the_rest_goes_on(joined):
    block = a_block(3)
    bridge, driver = joined(block)
    first, second, third = played(block)
    found, told = [], []
    # The emulator is faster than time: what was sent is read before the connections are closed.
    for row in (first, AnswerRow(second.image, 0, None), third):
        driver.answer(offered(block), [row])
        rows, faults, _ = until(bridge.collect, 1)
        found += rows
        told += faults
    assert [row.image for row in found] == ["b1-0", "b1-1", "b1-2"]
    assert [row.recorded is None for row in found] == [False, True, False]
    assert len(found[2].recorded.times_ms) == 30
    assert any("closed" in fault for fault in told)


def test_a_spoilt_block_over_tcp_is_a_fault_and_not_a_low_count(joined):
    block = a_block(2)
    bridge, driver = joined(block)
    rows = played(block)
    driver.answer(offered(block), rows, spoil=lambda data: data[:100])
    found, faults, _ = until(bridge.collect, 2)
    assert found[0].recorded is None
    assert len(found[1].recorded.times_ms) == 30
    assert faults


def test_the_emulators_records_have_the_documented_bytes():
    assert spike_record("A-010", 5, 2) == struct.pack("<I5sIB", 0x3AE2710F, b"A-010", 5, 2)
    assert waveform_block(7, [[1], [2]]) == struct.pack("<IIHIH", 0x2EF07A08, 7, 1, 8, 2)
