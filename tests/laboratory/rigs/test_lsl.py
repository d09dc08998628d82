import json
import time

import numpy as np
import pytest
from streams import a_block, code_of, offered, until

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs import BRIDGES, AnswerRow
from xdream.scoring.recordings import Spikes, Values


@pytest.fixture
def names(request):
    """Streams of a test have names of its own."""
    return {"stream": f"answers-{request.node.name}", "markers": f"markers-{request.node.name}"}


@pytest.fixture
def joined(lsl, names):
    from xdream.laboratory.rigs.lsl import Lsl
    from xdream.laboratory.simulation.lsl import LslDriver

    made = []

    def join(form="json", codes=None, driver=True, clock=time.monotonic, **options):
        bridge = Lsl(form=form, **names, **options)
        bridge.clock = clock
        bridge.open("s1", ["a", "b"])
        made.append(bridge)
        rig = LslDriver(lambda _: None, 2, codes=codes, **names) if driver else None
        if rig is not None:
            made.append(rig)
        return bridge, rig

    yield join
    for one in made:
        one.close()


def collected(bridge, done, within_s=60.0):
    """Collects until a condition on what has come."""
    found = []
    deadline = time.monotonic() + within_s
    while not done(found):
        assert time.monotonic() < deadline, "it did not come"
        found += bridge.collect(0.05)
    return found


def reader(lsl, name, within_s=60.0):
    (info,) = lsl.resolve_byprop("name", name, 1, within_s)
    inlet = lsl.StreamInlet(info, recover=False)
    inlet.open_stream(within_s)
    return inlet


def connected(bridge, rig):
    """The rig speaks only when it is heard, and the bridge looks for it only while it collects."""
    collected(bridge, lambda _: rig._outlet.have_consumers())


def played(block):
    return [
        AnswerRow(p.image, p.repeat, Values(np.array([p.place + 0.5, np.nan]), np.array([1.0, 2.0])))
        for p in block.presentations
    ]


def test_a_block_comes_back_value_for_value(joined):
    bridge, rig = joined()
    block = a_block(3, repeats=2)
    bridge.offer(block)
    connected(bridge, rig)
    rig.answer(offered(block), played(block))
    found, faults, answers = until(bridge.collect, 6)
    assert faults == []
    assert (answers[0].session, answers[0].block, answers[0].fence, answers[0].last) == ("s1", 1, 1, True)
    for said, row in zip(played(block), found, strict=True):
        assert (said.image, said.repeat) == (row.image, row.repeat)
        np.testing.assert_array_equal(said.recorded.values, row.recorded.values)
        np.testing.assert_array_equal(said.recorded.baseline, row.recorded.baseline)


def test_spikes_and_missing_ones_come_back(joined):
    bridge, rig = joined()
    block = a_block(2)
    bridge.offer(block)
    connected(bridge, rig)
    spikes = Spikes(np.array([1.5, -3.0]), np.array([1, 0]), 2, -10.0, 20.0)
    rig.answer(offered(block), [AnswerRow("b1-0", 0, spikes), AnswerRow("b1-1", 0, None)])
    found, _, _ = until(bridge.collect, 2)
    assert sorted(zip(found[0].recorded.channels, found[0].recorded.times_ms, strict=True)) == [
        (0, -3.0),
        (1, 1.5),
    ]
    assert found[1].recorded is None


def test_numbers_are_joined_by_code(joined):
    block = a_block(3)
    bridge, rig = joined("numbers", code_of(block))
    bridge.offer(block)
    connected(bridge, rig)
    rows = played(block)
    rig.answer(offered(block), [rows[2], rows[0]])
    rig.answer(offered(block), [AnswerRow("nobody", 0, Values(np.array([1.0, 2.0])))])
    found, faults, answers = until(bridge.collect, 2)
    answers += collected(bridge, lambda some: faults or some) if not faults else []
    assert [(row.image, row.recorded.values[0]) for row in found] == [("b1-2", 2.5), ("b1-0", 0.5)]
    assert np.isnan(found[0].recorded.values[1])
    assert any("code 9" in (one.fault or "") for one in answers)


def test_a_reader_that_comes_late_gets_the_marker_of_the_open_block(lsl, joined, names):
    bridge, _ = joined(driver=False, again_s=1000.0)
    block = a_block(2)
    bridge.offer(block)
    late = reader(lsl, names["markers"])
    said = []
    collected(bridge, lambda _: said.extend(late.pull_sample(0.0)[0] or []) or said)
    marker = json.loads(said[0])
    assert (marker["event"], marker["session"], marker["block"], marker["fence"]) == ("offered", "s1", 1, 1)
    assert marker["order"] == [
        {"image": p.image, "repeat": p.repeat, "code": p.code} for p in block.presentations
    ]


def test_the_marker_of_an_open_block_is_sent_again_and_says_the_same_until_it_is_closed(lsl, joined, names):
    now = [0.0]
    bridge, _ = joined(driver=False, again_s=2.0, clock=lambda: now[0])
    inlet = reader(lsl, names["markers"])
    bridge.offer(a_block(2))
    said = []

    def heard(count):
        return lambda _: said.extend(inlet.pull_sample(0.0)[0] or []) or len(said) >= count

    # Once when it is offered, once when the reader is seen.
    collected(bridge, heard(2))
    now[0] += 2.5
    collected(bridge, heard(3))
    assert len(set(said)) == 1
    bridge.withdraw(1)
    now[0] += 2.5
    collected(bridge, lambda _: heard(0)(_) and json.loads(said[-1])["event"] == "closed")
    assert json.loads(said[-1]) == {"event": "closed", "session": "s1", "block": 1}


def test_an_answer_that_was_lost_with_its_stream_comes_again(joined):
    bridge, rig = joined(again_s=0.2)
    block = a_block(2)
    bridge.offer(block)
    connected(bridge, rig)
    rig.answer(offered(block), played(block))
    until(bridge.collect, 2)
    rig.disconnect(0)
    connected(bridge, rig)

    def again(found):
        rig.read_markers()
        return sum(len(one.rows) for one in found) >= 2

    found = collected(bridge, again)
    assert {row.image for one in found for row in one.rows} == {"b1-0", "b1-1"}


def test_a_lost_stream_is_told_and_the_one_that_comes_after_is_heard(joined):
    bridge, rig = joined()
    block = a_block(2)
    bridge.offer(block)
    connected(bridge, rig)
    first, second = played(block)
    rig.answer(offered(block), [first], last=False)
    until(bridge.collect, 1)
    rig.disconnect(0)
    found = collected(bridge, lambda some: any("lost" in (one.fault or "") for one in some))
    connected(bridge, rig)
    rig.answer(offered(block), [second])
    found, _, _ = until(bridge.collect, 1)
    assert found[0].image == "b1-1"


def test_a_stream_that_is_lost_for_long_is_a_failure_of_the_medium(joined):
    now = [0.0]
    bridge, rig = joined(clock=lambda: now[0])
    bridge.offer(a_block(1))
    connected(bridge, rig)
    rig.close()
    collected(bridge, lambda some: any("lost" in (one.fault or "") for one in some))
    now[0] = 11.0
    with pytest.raises(RigError, match="no LSL stream"):
        collected(bridge, lambda _: False)


def test_what_a_rig_does_not_say_is_not_known(lsl, joined, names):
    bridge, rig = joined()
    bridge.offer(a_block(1))
    connected(bridge, rig)
    rig._outlet.push_sample(['{"responses": {"image": "b1-0", "values": [1, 2]}}'])
    _, _, (answer,) = until(bridge.collect, 1)
    assert (answer.session, answer.block, answer.fence, answer.last) == (None, None, None, False)
    assert answer.rows[0].repeat is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        '{"responses": 3}',
        '{"responses": [{"image": "b1-0", "values": ["x"]}]}',
        '{"responses": [{"image": "b1-0", "values": [1], "path": "/etc/passwd"}]}',
        '{"responses": [{"image": "../../x", "spikes": [[1]]}]}',
        '{"a": "' + "x" * 17_000_000 + '"}',
        b"\xff\xfe{}",
        '{"session": 3, "responses": []}',
    ],
)
def test_an_answer_that_cannot_be_read_is_a_fault(joined, said):
    bridge, rig = joined()
    bridge.offer(a_block(1))
    connected(bridge, rig)
    rig._outlet.push_sample([said])
    found = collected(bridge, bool)
    assert found[0].fault
    assert found[0].rows == ()
    assert len(found[0].raw or b"") <= 1_000_000


def test_a_stream_of_another_form_is_a_fault_told_once(lsl, joined, names):
    bridge, _ = joined("numbers", driver=False)
    outlet = lsl.StreamOutlet(lsl.StreamInfo(names["stream"], "EEG", 7, 0.0, "float32", "x"))
    bridge.offer(a_block(1))
    (fault,) = collected(bridge, bool)
    assert "7 channels" in fault.fault
    assert [bridge.collect(0.0) for _ in range(5)] == [[]] * 5
    del outlet


def test_no_stream_of_answers_while_a_block_is_open_is_a_failure_of_the_medium(joined):
    now = [0.0]
    bridge, _ = joined(driver=False, clock=lambda: now[0])
    now[0] = 100.0
    assert bridge.collect(0) == []
    bridge.offer(a_block(1))
    assert bridge.collect(0) == []
    now[0] = 111.0
    with pytest.raises(RigError, match="no LSL stream"):
        bridge.collect(0)


def test_bad_options_are_refused(lsl):
    for options in ({"stream": ""}, {"markers": "it's"}, {"form": "xml"}, {"again_s": 0}, {"silence_s": -1}):
        with pytest.raises(BadInput, match="bridge 'lsl': "):
            BRIDGES.make("lsl", **options)
