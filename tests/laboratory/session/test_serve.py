"""What is waited for: silence, lost media, full disks, orders. Clocks are moved by the test."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from session_rig import Rig, served, session_plan

from xdream.cli.main import main
from xdream.errors import BadInput, RigError, StoreFull, SubjectSilent
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import (
    BRIDGES,
    Answer,
    AnswerRow,
    Arrival,
    Block,
    BlockClaim,
    Command,
    Direct,
    NoBlock,
)
from xdream.laboratory.session import give, orders, resume, serve
from xdream.laboratory.session.session import Session
from xdream.store import Record

pytestmark = pytest.mark.usefixtures("time_now")


class Scripted(Direct):
    """A bridge whose `collect` does what the test's steps say, one each; then the rig answers."""

    def __init__(self, *steps: Callable[["Scripted"], Sequence[Arrival]]) -> None:
        super().__init__(Rig())
        self.steps = list(steps)
        self.blocks: list[Block] = []
        self.withdrawn: list[int] = []
        self.said: list[Mapping[str, Any]] = []
        self.opened = self.closed = 0

    def open(self, session: str, channels: Sequence[str]) -> None:
        self.opened += 1

    def offer(self, block: Block) -> None:
        self.blocks.append(block)
        super().offer(block)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        return self.steps.pop(0)(self) if self.steps else super().collect(timeout_s)

    def withdraw(self, number: int) -> None:
        self.withdrawn.append(number)

    def status(self, status: Mapping[str, Any]) -> None:
        self.said.append(status)

    def close(self) -> None:
        self.closed += 1


class Notes(NoCallback):
    """A callback that remembers."""

    def __init__(self) -> None:
        self.troubles: list[str] = []

    def trouble(self, text: str) -> None:
        self.troubles.append(text)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="no OpenVINO")
def test_an_engine_draws_a_sessions_images_in_float32_and_again_after_a_restart(tmp_path: Path) -> None:
    changes = {"generator": "natural-v1", "engine": "openvino", "precision": "bfloat16"}
    plan = session_plan(**changes)
    whole = served(plan, tmp_path / "whole", Rig())
    exact = served(session_plan(**changes | {"precision": "float32"}), tmp_path / "exact", Rig())
    assert json.loads(whole.facts["engines"])["generator natural-v1"]["engine"] == "openvino"
    assert "images for a rig are drawn in float32" in whole.facts["notes"]
    assert whole.dump()["image"] == exact.dump()["image"]
    stopped = iter([False] * 3 + [True] * 100)
    with pytest.raises(KeyboardInterrupt):
        served(plan, tmp_path / "x", Rig(), stop=lambda: next(stopped))
    again = served(plan, tmp_path / "x", Rig())
    assert again.dump()["image"] == whole.dump()["image"]
    assert not [event for event in again.events() if event.kind == "pixels"]


def events(record: Record) -> list[str]:
    return [event.kind for event in record.events()]


def test_a_session_ends_with_its_budget_and_says_so_to_the_rig(tmp_path: Path) -> None:
    bridge = Scripted()
    record = serve(session_plan(), tmp_path / "s", bridge=bridge)
    assert record.finished
    assert [block.number for block in bridge.blocks] == [1, 2, 3]
    assert bridge.withdrawn == [1, 2, 3]
    assert bridge.said[-1]["state"] == "over"
    assert (bridge.opened, bridge.closed) == (1, 1)
    record.close()


def test_a_finished_session_is_only_read(tmp_path: Path) -> None:
    serve(session_plan(), tmp_path / "s", bridge=Scripted()).close()
    bridge = Scripted()
    resume(tmp_path / "s", bridge=bridge).close()
    assert bridge.opened == 0


def lost(bridge: Scripted) -> Sequence[Arrival]:
    raise RigError("the folder is gone")


def test_a_lost_medium_is_waited_for_and_said_once(tmp_path: Path) -> None:
    notes = Notes()
    record = serve(session_plan(), tmp_path / "s", notes, bridge=Scripted(*[lost] * 30))
    assert record.finished
    assert notes.troubles == ["the folder is gone"]
    record.close()


def unreadable(bridge: Scripted) -> Sequence[Arrival]:
    return [Answer((), source="block001.mat", fault="stimulusID is a MATLAB string array; save cellstr(…)")]


def test_an_answer_that_cannot_be_read_is_said_at_once(tmp_path: Path) -> None:
    """To the experimenter, and in the status, which a rig without replies can read; until one can be used."""
    notes, bridge = Notes(), Scripted(unreadable)
    serve(session_plan(), tmp_path / "s", notes, bridge=bridge).close()
    why = "stimulusID is a MATLAB string array; save cellstr(…)"
    assert notes.troubles == [f"block001.mat was refused: {why}"]
    assert f"block001.mat was refused: {why}" in [t["text"] for said in bridge.said for t in said["trouble"]]
    assert bridge.said[-1]["trouble"] == []


def silent(seconds: float, now: list[float]) -> Callable[[Scripted], Sequence[Arrival]]:
    def nothing(bridge: Scripted) -> Sequence[Arrival]:
        now[0] += seconds
        return []

    return nothing


def test_a_silent_rig_is_waited_for(tmp_path: Path, time_now: list[float]) -> None:
    notes = Notes()
    bridge = Scripted(*[silent(50, time_now)] * 20)
    record = serve(session_plan(session={"silence_s": 100}), tmp_path / "s", notes, bridge=bridge)
    assert record.finished
    assert notes.troubles == ["no answer for 100 s"]
    assert events(record).count("silent") == 1
    record.close()


def test_a_silent_rig_may_end_the_block(tmp_path: Path, time_now: list[float]) -> None:
    def one_row(bridge: Scripted) -> Sequence[Arrival]:
        [answer, *_] = bridge._waiting
        bridge._waiting.clear()
        assert isinstance(answer, Answer)
        return [Answer(answer.rows[:1], block=1)]

    bridge = Scripted(one_row, silent(101, time_now))
    plan = session_plan(session={"silence_s": 100, "on_silence": "close"})
    record = serve(plan, tmp_path / "s", bridge=bridge)
    first = np.concatenate([record.scores(run)[0] for run in (0, 1)])
    assert np.isfinite(first).sum() == 1
    record.close()


def test_a_silent_rig_may_end_the_session_which_then_goes_on(tmp_path: Path, time_now: list[float]) -> None:
    plan = session_plan(session={"silence_s": 100, "on_silence": "stop"})
    with pytest.raises(SubjectSilent, match="no answer for 100 s to block 1"):
        serve(plan, tmp_path / "s", bridge=Scripted(silent(101, time_now)))
    record = resume(tmp_path / "s", bridge=Scripted())
    assert record.finished
    record.close()


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, fails = Session.take, iter([True] * 7)

    def sometimes(session: Session, answer: Answer) -> Any:
        if next(fails, False):
            raise StoreFull("the disk is full")
        return take(session, answer)

    monkeypatch.setattr(Session, "take", sometimes)
    notes = Notes()
    record = serve(session_plan(), tmp_path / "s", notes, bridge=Scripted())
    assert record.finished
    assert notes.troubles == ["the disk is full"]
    record.close()


def test_a_stop_is_heard_while_a_full_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(session: Session, answer: Answer) -> Any:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "take", full)
        asked = iter([False] * 10)
        with pytest.raises(KeyboardInterrupt):
            serve(session_plan(), tmp_path / "s", bridge=Scripted(), stop=lambda: next(asked, True))
    resume(tmp_path / "s", bridge=Scripted()).close()


def test_claims_and_commands_over_the_bridge_are_answered(tmp_path: Path) -> None:
    got: list[Any] = []

    def say(*arrivals: Callable[[Callable[[Any], None]], Arrival]) -> Callable[[Scripted], Sequence[Arrival]]:
        return lambda bridge: [one(got.append) for one in arrivals]

    bridge = Scripted(
        say(lambda reply: BlockClaim("rig", reply)),
        say(lambda reply: Command("pause", "water", reply)),
        say(lambda reply: BlockClaim("rig", reply)),
        say(lambda reply: Command("reject", "99", reply), lambda reply: Command("dance", "", reply)),
        say(lambda reply: Command("go-on", "", reply)),
    )
    serve(session_plan(), tmp_path / "s", bridge=bridge).close()
    assert isinstance(got[0], Block)
    assert got[1:] == [
        None,
        NoBlock("paused", "paused: water"),
        "there is no block 99",
        "'dance' is no order",
        None,
    ]


def test_a_rig_that_asks_hears_that_the_session_is_over(tmp_path: Path) -> None:
    got: list[Any] = []
    asked = iter([1])

    class Late(Scripted):
        def collect(self, timeout_s: float) -> Sequence[Arrival]:
            if self.said[-1]["state"] == "over":  # one question more, some time after the end
                return [BlockClaim("rig", got.append)] if next(asked, None) is None else []
            return super().collect(timeout_s)

    serve(session_plan(), tmp_path / "s", bridge=Late(lambda _: [BlockClaim("rig", got.append)])).close()
    assert isinstance(got[0], Block)
    assert got[1:] == [NoBlock("over", "over")]


def test_a_command_may_stop_the_session(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        serve(session_plan(), tmp_path / "s", bridge=Scripted(lambda bridge: [Command("stop")]))
    resume(tmp_path / "s", bridge=Scripted()).close()


def test_orders_left_in_the_folder_are_carried_out_once(tmp_path: Path) -> None:
    folder = tmp_path / "s"

    def reject(bridge: Scripted) -> Sequence[Arrival]:
        give(folder, "reject", "1 spilt juice")
        (folder / orders.FOLDER / "0.json").write_bytes(b"\xff{")
        return []

    bridge = Scripted(reject, lambda bridge: [])
    record = serve(session_plan(), folder, bridge=bridge)
    assert [block.number for block in bridge.blocks] == [1, 2, 3, 4]
    assert any("spilt juice" in event.text for event in record.events())
    [refused] = (folder / orders.FOLDER).iterdir()
    assert refused.name == "0.refused"
    assert refused.read_text() == "'' is no order"
    record.close()


def test_a_watcher_that_fails_never_stops_a_session(tmp_path: Path) -> None:
    class Broken(NoCallback):
        def stage(self, name: str, done: int, total: int) -> None:
            raise RuntimeError("no display")

    record = serve(session_plan(), tmp_path / "s", Broken(), bridge=Scripted())
    assert record.finished
    assert events(record) == ["watcher"]
    record.close()


def test_two_sessions_cannot_write_to_one_store(tmp_path: Path) -> None:
    said: list[str] = []

    def second(bridge: Scripted) -> Sequence[Arrival]:
        try:
            resume(tmp_path / "s", bridge=Scripted())
        except Exception as error:
            said.append(str(error))
        return []

    serve(session_plan(), tmp_path / "s", bridge=Scripted(second)).close()
    assert len(said) == 1
    assert "in use" in said[0]


def test_a_wall_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = served(session_plan(), tmp_path / "a", Rig())
    times = iter(f"{year}-01-01T00:00:00+00:00" for year in [2030, 1970, 2100, 2001] * 1000)
    monkeypatch.setattr("xdream.store.sqlite.utc_now", lambda: next(times))
    monkeypatch.setattr("xdream.store.ledger.utc_now", lambda: next(times))
    found = served(session_plan(), tmp_path / "b", Rig())
    assert found.dump() == expected.dump()


def test_answers_without_a_block_go_to_the_one_that_is_open(tmp_path: Path) -> None:
    rig = Rig()
    record = served(session_plan(), tmp_path / "s", lambda block: [Answer(tuple(rig.rows(block)))])
    assert record.finished
    record.close()


# ------------------------------------------------------------------ the command line


def test_what_cannot_be_ordered_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "s"
    served(session_plan(), folder, Rig()).close()
    assert main(["reject-block", str(folder), "2"]) == 2
    assert "is over" in capsys.readouterr().err
    stopped = iter([False] * 5)
    with pytest.raises(KeyboardInterrupt):
        served(session_plan(), tmp_path / "t", Rig(), stop=lambda: next(stopped, True))
    assert main(["reject-block", str(tmp_path / "t"), "9"]) == 2
    assert "has no block 9; it has 1 to" in capsys.readouterr().err
    with pytest.raises(BadInput, match="no order"):
        give(folder, "dance")


def test_a_bridge_that_is_not_there_lists_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(session_plan(rig="carrier-pigeon").to_toml())
    assert main(["serve", str(path), "--out", str(tmp_path / "s")]) == 2
    assert "unknown bridge 'carrier-pigeon'" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_paths_of_bridges_are_stored_so_that_a_session_is_resumed_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = session_plan(
        rig={"name": "folder", "folder": "shared"}, display={"name": "http", "token_file": "t"}
    )
    record = serve(plan, tmp_path / "s", bridge=Scripted())
    stored = Plan.from_toml(record.facts["plan"])
    assert stored.rig is not None
    assert stored.display is not None
    assert stored.rig.options == BRIDGES.filled("folder", {"folder": str(tmp_path / "shared")})
    assert stored.rig.options["stable_s"] == 0.5
    assert stored.display.options == BRIDGES.filled("http", {"token_file": str(tmp_path / "t")})
    record.close()


def test_a_row_without_recording_is_no_row_of_zeros(tmp_path: Path) -> None:
    def respond(block: Block) -> Sequence[Answer]:
        first, *rest = Rig().rows(block)
        return [Answer((AnswerRow(first.image, first.repeat, None), *rest))]

    record = served(session_plan(targets=["rig::0"]), tmp_path / "s", respond)
    assert all(np.isnan(scores).sum() == 1 for scores in record.scores(0))
    record.close()


def test_the_command_line_starts_quickly_for_a_typing_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xdream.cli", "serve"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 2
    assert "plan" in done.stderr


def test_a_stop_that_was_left_stops_once(tmp_path: Path) -> None:
    folder = tmp_path / "s"

    def leave(bridge: Scripted) -> Sequence[Arrival]:
        give(folder, "stop")
        return []

    with pytest.raises(KeyboardInterrupt):
        serve(session_plan(), folder, bridge=Scripted(leave))
    record = resume(folder, bridge=Scripted())
    assert record.finished
    record.close()


def test_what_an_earlier_session_left_in_the_folder_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "end.txt").write_text("0\n1\n")
    give(tmp_path / "s", "pause", "long ago")
    record = serve(session_plan(), tmp_path / "s", bridge=Scripted())
    assert [len(record.scores(run)) for run in (0, 1)] == [3, 3]
    record.close()


def test_a_bridge_that_cannot_be_opened_leaves_nothing_behind(tmp_path: Path) -> None:
    class Taken(Scripted):
        def open(self, session: str, channels: Sequence[str]) -> None:
            raise BadInput("the port is taken")

    with pytest.raises(BadInput, match="taken"):
        serve(session_plan(), tmp_path / "s", bridge=Taken())
    serve(session_plan(), tmp_path / "s", bridge=Scripted()).close()


def test_silence_is_heard_while_the_medium_is_lost(tmp_path: Path) -> None:
    plan = session_plan(session={"silence_s": 100, "on_silence": "stop"})
    with pytest.raises(SubjectSilent):
        serve(plan, tmp_path / "s", bridge=Scripted(*[lost] * 1000))
    record = Record(tmp_path / "s")
    assert "trouble" in events(record), "the record does not say that the folder was gone"
    record.close()


def test_a_stop_after_the_end_interrupts_nothing(tmp_path: Path) -> None:
    bridge = Scripted(lambda _: [BlockClaim("rig", lambda block: None)])
    record = serve(
        session_plan(), tmp_path / "s", bridge=bridge, stop=lambda: bridge.said[-1]["state"] == "over"
    )
    assert record.finished
    record.close()
