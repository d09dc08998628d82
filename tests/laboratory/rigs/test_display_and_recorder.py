import threading
import time

import numpy as np
import pytest
from streams import a_block, free_port

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs import Answer, AnswerRow, BlockClaim, Command, DisplayAndRecorder, Http, OpenEphys
from xdream.laboratory.simulation.http import HttpDriver
from xdream.laboratory.simulation.open_ephys import OpenEphysDriver
from xdream.scoring.recordings import Values


class Fake:
    """A bridge that says what it is given, and keeps what it was told."""

    def __init__(self, log, name, says=(), fails=None):
        self.longest_s = 0.0
        self.log, self.name, self.says, self.fails = log, name, list(says), fails or {}

    def _do(self, word, *what):
        self.log.append((self.name, word, *what))
        if word in self.fails:
            raise self.fails[word]

    def open(self, session, channels):
        self._do("open", session, tuple(channels))

    def offer(self, block):
        self._do("offer", block.number)

    def withdraw(self, number):
        self._do("withdraw", number)

    def status(self, status):
        self._do("status", dict(status))

    def close(self):
        self._do("close")

    def collect(self, timeout_s):
        if "collect" in self.fails:
            raise self.fails["collect"]
        if not self.says:
            self.longest_s = max(self.longest_s, timeout_s)
            time.sleep(min(timeout_s, 1.0))
            return []
        return [self.says.pop(0)]


@pytest.fixture
def log():
    return []


def test_everything_goes_to_both_and_to_the_recorder_first(log):
    pair = DisplayAndRecorder(Fake(log, "display"), Fake(log, "recorder"))
    pair.open("s1", ["a"])
    pair.offer(a_block())
    pair.status({"x": 1})
    pair.withdraw(1)
    pair.close()
    said = [("open", "s1", ("a",)), ("offer", 1), ("status", {"x": 1}), ("withdraw", 1), ("close",)]
    assert log == [(name, *one) for one in said for name in ("recorder", "display")]


def test_when_one_cannot_be_opened_the_other_is_closed(log):
    pair = DisplayAndRecorder(Fake(log, "display", fails={"open": BadInput("no")}), Fake(log, "recorder"))
    with pytest.raises(BadInput):
        pair.open("s1", ["a"])
    assert log[-1] == ("recorder", "close")


def test_both_are_closed_also_when_one_fails(log):
    pair = DisplayAndRecorder(Fake(log, "display"), Fake(log, "recorder", fails={"close": RigError("no")}))
    with pytest.raises(RigError):
        pair.close()
    assert ("display", "close") in log


def test_claims_commands_and_responses_of_either_pass(log):
    claim, command = BlockClaim("rig", lambda _: None), Command("pause")
    shown, recorded = Answer((AnswerRow("a", 0, None),)), Answer((AnswerRow("b", 0, None),), last=True)
    pair = DisplayAndRecorder(
        Fake(log, "display", [claim, command, shown]), Fake(log, "recorder", [recorded])
    )
    found = []
    while len(found) < 4:
        found += pair.collect(1.0)
    assert [one for one in found if one is not recorded] == [claim, command, shown]
    assert recorded in found


def test_a_display_that_has_nothing_more_to_say_does_not_end_the_block(log):
    last = Answer((), block=1, last=True)
    (one,) = DisplayAndRecorder(Fake(log, "display", [last]), Fake(log, "recorder")).collect(5.0)
    assert (one.block, one.last) == (1, False)
    (one,) = DisplayAndRecorder(
        Fake(log, "display", [last]), Fake(log, "recorder"), display_ends=True
    ).collect(5.0)
    assert one.last


def test_one_that_always_talks_does_not_silence_the_other(log):
    endless = [Answer((), source="display")] * 50
    pair = DisplayAndRecorder(
        Fake(log, "display", endless), Fake(log, "recorder", [Answer((), source="recorder")])
    )
    found = [one for _ in range(2) for one in pair.collect(1.0)]
    assert "recorder" in [one.source for one in found]


def test_one_that_has_failed_does_not_silence_the_other(log):
    failed = {"collect": RigError("its folder is gone")}
    said = Answer((), source="recorder")
    pair = DisplayAndRecorder(Fake(log, "display", fails=failed), Fake(log, "recorder", [said]))
    assert pair.collect(5.0) == [said]
    with pytest.raises(RigError, match="folder is gone"):
        pair.collect(0.01)


def test_when_both_have_failed_nobody_waits(log):
    failed = {"collect": RigError("gone")}
    pair = DisplayAndRecorder(Fake(log, "display", fails=failed), Fake(log, "recorder", fails=failed))
    with pytest.raises(RigError):
        pair.collect(1e6)


def test_the_time_to_wait_is_kept_and_shared_in_short_turns(log):
    display, recorder = Fake(log, "display"), Fake(log, "recorder")
    pair = DisplayAndRecorder(display, recorder)
    began = time.monotonic()
    assert pair.collect(0.3) == []
    assert time.monotonic() - began >= 0.3
    assert pair.collect(0.0) == []
    assert 0 < max(display.longest_s, recorder.longest_s) <= 0.1


def test_images_go_over_http_and_spikes_come_from_open_ephys():
    port = free_port(2)
    display, recorder = Http(port=0), OpenEphys(port=port)
    pair = DisplayAndRecorder(display, recorder)
    pair.open("s1", ["E1:1", "E2"])
    seen = HttpDriver(display.url)
    rig = OpenEphysDriver(seen, [("E1", 1), ("E2", 0)], port)
    block = a_block(3, repeats=2)
    shown = []

    def play():
        offered = rig.next_block(60.0)
        shown.append(offered)
        rows = [
            AnswerRow(image, repeat, Values(np.array([place + 1.0, 2.0])))
            for place, (image, repeat, _) in enumerate(offered.presentations)
        ]
        rig.answer(offered, rows)

    thread = threading.Thread(target=play)
    rows, deadline = [], time.monotonic() + 60
    try:
        pair.offer(block)
        thread.start()
        while len(rows) < 6:
            assert time.monotonic() < deadline
            for one in pair.collect(0.1):
                if isinstance(one, BlockClaim):
                    one.reply(block)
                else:
                    assert one.fault is None
                    rows += one.rows
    finally:
        thread.join(60)
        for one in (rig, seen, pair):
            one.close()
    assert [(p.image, p.repeat) for p in block.presentations] == [(row.image, row.repeat) for row in rows]
    assert [int(np.sum(row.recorded.channels == 0)) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [one[:2] for one in shown[0].presentations] == [(row.image, row.repeat) for row in rows]
