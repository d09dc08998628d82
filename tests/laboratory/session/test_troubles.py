"""What is wrong is said at once, everywhere, until it is over or acknowledged; orders are obeyed and said."""

import io
import json
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from session_rig import Rig, session_plan

from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.experiment.callbacks import NoCallback
from xdream.laboratory.rigs import Answer, AnswerRow, Arrival, Block, BlockClaim, Direct, Folder, NoBlock
from xdream.laboratory.session import give, obeyed, orders, rejection_cost, resume, serve, serving
from xdream.laboratory.session.troubles import Troubles
from xdream.report.text_table import MISSING
from xdream.scoring.channel_checks import drifted, level
from xdream.scoring.recordings import Values
from xdream.store import Record

pytestmark = pytest.mark.usefixtures("time_now")


def numbered() -> Callable[[], str]:
    """A clock of one letter."""
    times = iter("abcdefghijklmnopqrstuvwxyz" * 10)
    return lambda: next(times)


def test_what_happens_again_is_counted_and_said_ever_more_seldom() -> None:
    one = Troubles(numbered())
    said = [one.happened("answer:x", "x was refused", "it is empty") for _ in range(101)]
    assert [i + 1 for i, loud in enumerate(said) if loud] == [1, 2, 3, 10, 100]
    assert [trouble.text for trouble in one.open] == ["x was refused 101 times: it is empty"]
    assert one.happened("answer:x", "x was refused", "it is a link"), "another reason is news"
    assert [trouble.text for trouble in one.open] == ["x was refused: it is a link"]


def test_what_lasts_is_said_once_and_after_it_was_over_again() -> None:
    one = Troubles(numbered())
    assert [one.is_so("medium", "gone") for _ in range(3)] == [True, False, False]
    assert one.acknowledge(one.open[0].id) is None
    assert one.open == ()
    assert not one.is_so("medium", "gone"), "acknowledged, and not over"
    assert one.open == ()
    one.over("medium")
    assert one.is_so("medium", "gone")
    assert len(one.open) == 1


def test_the_newest_is_first_and_a_kind_ends_together() -> None:
    one = Troubles(numbered())
    one.is_so("notice:b", "first")
    one.is_so("notice:a", "second")
    one.is_so("notices", "third")
    assert [trouble["text"] for trouble in one.as_status()] == ["third", "second", "first"]
    assert [trouble["since"] for trouble in one.as_status()] == ["c", "b", "a"]
    one.over("notice:")
    assert [trouble.text for trouble in one.open] == ["third"]
    assert one.acknowledge(77) == "there is no alarm 77 now"


def test_a_list_is_the_same_after_a_restart() -> None:
    one = Troubles(numbered())
    one.is_so("medium", "gone")
    one.happened("answer:x", "x was refused", "why")
    again = Troubles(numbered(), one.to_json())
    assert again.open == one.open
    assert not again.is_so("medium", "gone")
    assert again.is_so("other", "new")
    assert len({trouble.id for trouble in again.open}) == 3


def test_a_hundred_names_make_no_endless_list() -> None:
    one = Troubles(lambda: "a")
    for number in range(120):
        one.happened(f"answer:{number}", f"{number} was refused")
    assert len(one.open) == 50
    assert one.open[0].text == "119 was refused"


# ------------------------------------------------------------------ a session


class Scripted(Direct):
    """A bridge whose `collect` does what the test's steps say, one each; then the rig answers."""

    def __init__(self, *steps: Callable[["Scripted"], Sequence[Arrival]], rig: Any = None) -> None:
        super().__init__(rig or Rig())
        self.steps = list(steps)
        self.blocks: list[int] = []
        self.withdrawn: list[int] = []
        self.said: list[Any] = []
        self.odd: dict[str, str] = {}

    def offer(self, block: Block) -> None:
        self.blocks.append(block.number)
        super().offer(block)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        return self.steps.pop(0)(self) if self.steps else super().collect(timeout_s)

    def withdraw(self, number: int) -> None:
        self.withdrawn.append(number)
        self._waiting.clear()

    def status(self, status: Any) -> None:
        self.said.append(status)

    def notices(self) -> dict[str, str]:
        return self.odd


class Notes(NoCallback):
    """What was said on the terminal."""

    def __init__(self) -> None:
        self.troubles: list[str] = []

    def trouble(self, text: str) -> None:
        self.troubles.append(text)


def texts(status: Any) -> list[str]:
    return [one["text"] for one in status["trouble"]]


def stored(folder: Path) -> list[str]:
    with Record(folder) as record:
        return [one["what"] for one in json.loads(record.facts["troubles"])["open"]]


def wrong(change: Callable[[AnswerRow], AnswerRow]) -> Callable[[Scripted], Sequence[Arrival]]:
    """An answer whose every row is changed; the right ones come after it."""

    def answer(bridge: Scripted) -> Sequence[Arrival]:
        rows = [row for one in bridge._waiting if isinstance(one, Answer) for row in one.rows]
        return [Answer(tuple(change(row) for row in rows), block=bridge.blocks[-1], source="rig")]

    return answer


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: AnswerRow(row.image, row.repeat, Values(np.full(3, np.inf))), "infinite"),
        (lambda row: AnswerRow(row.image, row.repeat, Values(np.zeros(3))), "all 8 responses are zero"),
        (
            lambda row: AnswerRow(row.image, row.repeat, Values(np.ones(2))),
            "has 2 channels; the session has 3",
        ),
        (lambda row: AnswerRow("nobody", row.repeat, row.recorded), "nobody, repeat 0, is not of block 1"),
    ],
)
def test_an_answer_that_is_put_aside_is_said_everywhere_until_one_is_taken(
    tmp_path: Path, change: Callable[[AnswerRow], AnswerRow], why: str
) -> None:
    notes, seen = Notes(), list[list[str]]()
    look = lambda bridge: seen.append(stored(tmp_path / "s")) or []  # noqa: E731
    bridge = Scripted(wrong(change), look)
    serve(session_plan(), tmp_path / "s", notes, bridge=bridge).close()
    first = notes.troubles[0]
    assert first.startswith("rig was refused: ")
    assert why in first
    listed = [texts(said) for said in bridge.said]
    assert [first] in listed
    assert listed[-1] == []
    assert seen == [["rig was refused"]], "whoever reads the record sees it, too"
    assert stored(tmp_path / "s") == []


def test_answers_of_other_sessions_and_blocks_are_said(tmp_path: Path) -> None:
    row = AnswerRow("x", 0, Values(np.ones(3)))
    notes = Notes()
    bridge = Scripted(
        lambda bridge: [Answer((row,), session="00000000", source="a")],
        lambda bridge: [Answer((row,), block=99, source="b")],
    )
    serve(session_plan(), tmp_path / "s", notes, bridge=bridge).close()
    assert "a was refused: the answer is of session 00000000" in notes.troubles[0]
    assert notes.troubles[1] == "b was refused: block 99 was never planned"


def test_a_late_copy_of_what_was_taken_is_no_alarm_and_another_late_answer_is(tmp_path: Path) -> None:
    kept: list[AnswerRow] = []
    rig = Rig()

    def respond(block: Block) -> Sequence[Answer]:
        rows = rig.rows(block)
        late = [Answer(tuple(kept), block=1, source="copy")] if block.number == 2 else []
        if block.number == 3:
            late = [Answer((AnswerRow(kept[0].image, 0, Values(np.ones(3))),), block=1, source="late")]
        if block.number == 1:
            kept.extend(rows)
        return [*late, Answer(tuple(rows), block=block.number, source="rig")]

    notes = Notes()
    serve(session_plan(), tmp_path / "s", notes, bridge=Scripted(rig=respond)).close()
    assert notes.troubles == ["late was refused: block 1 is closed"]


def test_silence_after_a_refused_answer_says_what_was_wrong_with_it(
    tmp_path: Path, time_now: list[float]
) -> None:
    def silent(bridge: Scripted) -> Sequence[Arrival]:
        time_now[0] += 60
        return []

    notes = Notes()
    inf = wrong(lambda row: AnswerRow(row.image, row.repeat, Values(np.full(3, np.inf))))
    bridge = Scripted(inf, silent, silent)
    serve(session_plan(session={"silence_s": 100}), tmp_path / "s", notes, bridge=bridge).close()
    assert not [text for text in notes.troubles if text.startswith("no answer for")]
    [said] = [text for text in notes.troubles if text.startswith("no answer that can be used for 100 s")]
    assert "infinite" in said


def test_an_answer_that_is_refused_after_silence_changes_the_alarm(
    tmp_path: Path, time_now: list[float]
) -> None:
    def silent(bridge: Scripted) -> Sequence[Arrival]:
        time_now[0] += 101
        return []

    inf = wrong(lambda row: AnswerRow(row.image, row.repeat, Values(np.full(3, np.inf))))
    bridge = Scripted(silent, lambda bridge: [], inf, lambda bridge: [], lambda bridge: [])
    serve(session_plan(session={"silence_s": 100}), tmp_path / "s", bridge=bridge).close()
    lists = [texts(said) for said in bridge.said]
    assert ["no answer for 100 s"] in lists
    after = lists[
        next(i for i, one in enumerate(lists) if any("no answer that can be used" in t for t in one)) :
    ]
    assert not any("no answer for 100 s" in one for one in after)
    assert lists[-1] == []


def test_what_a_bridge_does_not_understand_is_listed_while_it_is_there(tmp_path: Path) -> None:
    def odd(bridge: Scripted) -> Sequence[Arrival]:
        bridge.odd = {"f": "waiting for a; found b, which is not it"}
        return []

    def gone(bridge: Scripted) -> Sequence[Arrival]:
        bridge.odd = {}
        return []

    notes, bridge = Notes(), Scripted(odd, lambda bridge: [], lambda bridge: [], gone)
    serve(session_plan(), tmp_path / "s", notes, bridge=bridge).close()
    assert notes.troubles == ["waiting for a; found b, which is not it"]
    assert notes.troubles in [texts(said) for said in bridge.said]
    assert texts(bridge.said[-1]) == []


def test_an_alarm_is_acknowledged_by_its_number(tmp_path: Path) -> None:
    def acknowledge(bridge: Scripted) -> Sequence[Arrival]:
        [one] = bridge.said[-1]["trouble"]
        give(tmp_path / "s", "acknowledge", str(one["id"]))
        return []

    row = AnswerRow("x", 0, Values(np.ones(3)))
    bridge = Scripted(
        lambda bridge: [Answer((row,), block=99, source="b")],
        acknowledge,
        lambda bridge: [],
        lambda bridge: [],
    )
    serve(session_plan(), tmp_path / "s", bridge=bridge).close()
    lists = [texts(said) for said in bridge.said]
    assert ["b was refused: block 99 was never planned"] in lists
    assert bridge.said[-1]["block"] is None
    first = next(i for i, one in enumerate(lists) if one)
    after = next(i for i in range(first, len(lists)) if not lists[i])
    assert bridge.said[after]["block"] == 1, "it went while the block was still open"


@pytest.mark.parametrize("value", ["12x", "9" * 30, "-1"])
def test_an_alarm_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    said: list[str] = []

    def ask(bridge: Scripted) -> Sequence[Arrival]:
        bridge.order = give(tmp_path / "s", "acknowledge", value)  # type: ignore[attr-defined]
        return []

    def hear(bridge: Scripted) -> Sequence[Arrival]:
        with pytest.raises(BadInput) as caught:
            obeyed(bridge.order)  # type: ignore[attr-defined]
        said.append(str(caught.value))
        return []

    serve(session_plan(), tmp_path / "s", bridge=Scripted(ask, hear)).close()
    assert value[:50] in said[0]


# ------------------------------------------------------------------ files that are no answers


@pytest.mark.parametrize(
    ("protocol", "name", "said"),
    [
        (
            "original",
            "block001.dat",
            "waiting for block001.mat (or .npz, .csv, .h5); found block001.dat, which is not it",
        ),
        (
            "original",
            "blok001.mat",
            "waiting for block001.mat (or .npz, .csv, .h5); found blok001.mat, which is not it",
        ),
        ("original", "block000.mat", "found block000.mat, which is of block 0, which is not shown"),
        ("original", "Block99.CSV", "found Block99.CSV, which is of block 99, which is not shown"),
        ("original", "block099.csv", "found block099.csv, which is of block 99, which is not shown"),
        (
            "manifest",
            "block001.answers.json",
            "waiting for block001.answer.json; found block001.answers.json",
        ),
    ],
)
def test_a_file_that_nearly_matches_is_noticed(tmp_path: Path, protocol: Any, name: str, said: str) -> None:
    from xdream.testing.sessions import SESSION, a_block

    bridge = Folder(tmp_path, protocol)
    bridge.open(SESSION, ("a", "b", "c"))
    (tmp_path / "readme.txt").write_text("was here before")
    bridge.offer(a_block())
    bridge.collect(0.0)
    assert bridge.notices() == {}
    (tmp_path / name).write_bytes(b"x")
    bridge.collect(0.0)
    [notice] = bridge.notices().values()
    assert said in notice
    (tmp_path / name).unlink()
    bridge.collect(0.0)
    assert bridge.notices() == {}
    bridge.close()


# ------------------------------------------------------------------ drift


def test_a_drift_of_the_references_is_found_and_noise_is_none() -> None:
    rng = np.random.default_rng(0)
    steady = [level(rng.poisson(20, (10, 200)).astype(float)) for _ in range(20)]
    assert drifted(steady) == ()
    rates = np.linspace(30, 10, 20)
    falling = [
        level(np.stack([rng.poisson(rate, 10), rng.poisson(20, 10)], 1).astype(float)) for rate in rates
    ]
    [flag] = drifted(falling)
    assert (flag.channel, flag.kind) == (0, "drift")
    assert "falls" in flag.text
    assert drifted(falling[:5]) == (), "five blocks are too few for a trend"


# ------------------------------------------------------------------ rejections are held


def held_plan(**session: Any) -> Any:
    return session_plan(session={"undo_s": 10.0} | session)


def test_a_rejection_is_held_and_nothing_is_offered_until_it_is_obeyed(
    tmp_path: Path, time_now: list[float]
) -> None:
    folder, got = tmp_path / "s", list[Any]()

    def reject(bridge: Scripted) -> Sequence[Arrival]:
        give(folder, "reject", "1 juice")
        return []

    def claim(bridge: Scripted) -> Sequence[Arrival]:
        assert bridge.withdrawn == [1]
        return [BlockClaim("rig", got.append)]

    def later(bridge: Scripted) -> Sequence[Arrival]:
        time_now[0] += 11
        return []

    notes = Notes()
    bridge = Scripted(reject, claim, lambda bridge: [], later)
    record = serve(held_plan(), folder, notes, bridge=bridge)
    assert got == [NoBlock("waiting", "the rejection of block 1 is held for another 10 s")]
    assert bridge.blocks == [1, 2, 3, 4]
    assert 1 in [said["held"] for said in bridge.said]
    assert bridge.said[-1]["held"] is None
    assert "hold: block 1 is to be rejected (juice)" in notes.troubles
    assert any("juice" in event.text and event.kind == "again" for event in record.events())
    record.close()


def test_a_rejection_that_is_taken_back_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    steps = [
        lambda bridge: give(folder, "reject", "1") and [],
        lambda bridge: give(folder, "take-back") and [],
        lambda bridge: [],
    ]
    bridge = Scripted(*steps)  # type: ignore[arg-type]
    record = serve(held_plan(), folder, bridge=bridge, identity="5e5510")
    assert bridge.blocks == [1, 1, 2, 3]
    plain = serve(held_plan(), tmp_path / "p", bridge=Scripted(), identity="5e5510")
    assert record.dump() == plain.dump()
    record.close()
    plain.close()


def test_a_rejection_that_is_held_is_still_held_after_a_restart(
    tmp_path: Path, time_now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    monkeypatch.setattr(serving, "utc_now", lambda: datetime.fromtimestamp(time_now[0], UTC).isoformat())
    stopped = iter([False, False])
    with pytest.raises(KeyboardInterrupt):
        serve(
            held_plan(),
            folder,
            bridge=Scripted(lambda bridge: give(folder, "reject", "1") and []),  # type: ignore[arg-type]
            stop=lambda: next(stopped, True),
        )

    def fact() -> Any:
        with Record(folder) as record:
            return json.loads(record.facts["held"])

    before = fact()
    assert before["since"] == serving.utc_now()
    time_now[0] += 1000

    def later(bridge: Scripted) -> Sequence[Arrival]:
        assert bridge.blocks == []
        assert fact() == before | {"since": serving.utc_now()}, "its time begins anew, and is said so"
        time_now[0] += 11
        return []

    bridge = Scripted(lambda bridge: [], later)
    record = resume(folder, bridge=bridge)
    assert bridge.blocks == [2, 3, 4]
    record.close()


def test_what_cannot_be_rejected_is_said_at_once_and_not_held(tmp_path: Path) -> None:
    folder, said = tmp_path / "s", list[str]()

    def ask(bridge: Scripted) -> Sequence[Arrival]:
        bridge.asked = [give(folder, "reject", "77"), give(folder, "take-back")]  # type: ignore[attr-defined]
        return []

    def hear(bridge: Scripted) -> Sequence[Arrival]:
        for order in bridge.asked:  # type: ignore[attr-defined]
            with pytest.raises(BadInput) as caught:
                obeyed(order)
            said.append(str(caught.value))
        return []

    serve(held_plan(), folder, bridge=Scripted(ask, hear)).close()
    assert said == [
        "the session does not do that: there is no block 77",
        "the session does not do that: no rejection is held; there is nothing to take back",
    ]


# ------------------------------------------------------------------ costs, and what commands say


@pytest.fixture
def stopped_session(tmp_path: Path) -> Path:
    """One that was stopped in its third generation, half answered."""
    stopped = iter([False] * 9)
    with pytest.raises(KeyboardInterrupt):
        serve(
            held_plan(),
            tmp_path / "s",
            bridge=Scripted(rig=Rig(parts=4)),
            stop=lambda: next(stopped, True),
        )
    return tmp_path / "s"


def test_costs_are_those_that_the_rejection_then_has(
    stopped_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Record(stopped_session) as record:
        told = record.runs()[0].generations
        [(last,)] = record.query("SELECT max(id) FROM block")
        first = rejection_cost(record, 1, 60.0)
        answered = record.query("SELECT count(*) FROM recording WHERE status = 'taken'")[0][0]
        assert told >= 1
        assert first.presentations == answered
        assert first.generations == (1, told + 1)
        under_way = rejection_cost(record, last, 60.0)
        assert under_way.generations is None
        assert "rejecting block 1 makes" in first.text
        with pytest.raises(BadInput, match="has no block 99"):
            rejection_cost(record, 99, 1.0)
    monkeypatch.setattr(serving.Server, "_hold_until", lambda server: -1.0)
    give(stopped_session, "reject", "1")
    record = resume(stopped_session, bridge=Scripted())
    assert record.void_generations() == list(range(told + 1))
    record.close()


def test_a_rejection_says_its_costs_and_asks_on_a_terminal(
    stopped_session: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stopped_session / orders.FOLDER

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["reject-block", str(stopped_session), "1"]) == 2
    said = capsys.readouterr().err
    assert "rejecting block 1 makes" in said
    assert "Do it? [y/N]" in said
    assert "nothing was changed" in said
    assert not waiting.exists()
    assert main(["reject-block", str(stopped_session), "1", "--yes"]) == 0
    out = capsys.readouterr()
    assert "Do it?" not in out.err
    assert "has not answered yet" in out.out
    assert "held for 10 s" in out.out
    assert len(list(waiting.iterdir())) == 1


@pytest.mark.parametrize("closed", ["stdin", "stderr"])
def test_without_a_terminal_a_rejection_needs_yes(
    stopped_session: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: closed != "stdin", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: closed != "stderr", raising=False)
    assert main(["reject-block", str(stopped_session), "1"]) == 2
    said = capsys.readouterr().err
    assert said.index("rejecting block 1 makes") < said.index("say --yes")
    assert not (stopped_session / orders.FOLDER).exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("accept-block {} 1", "block 1 is closed (answered)"),
        ("accept-block {} 99", "has no block 99"),
        ("reject-block {} 99", "has no block 99"),
        ("reject-block {} x", "invalid int value"),
        ("acknowledge {} x", "invalid int value"),
        ("take-back {}-not-there", "is no folder of an experiment or session"),
    ],
)
def test_orders_that_cannot_be_are_refused_by_the_command(
    stopped_session: Path, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    try:
        status = main(command.format(stopped_session).split())
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err
    assert not (stopped_session / orders.FOLDER).exists()


def test_nothing_that_was_put_aside_cannot_be_accepted(
    stopped_session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Record(stopped_session) as record:
        [(last,)] = record.query("SELECT max(id) FROM block WHERE ending IS NULL")
    assert main(["accept-block", str(stopped_session), str(last)]) == 2
    assert "was put aside that could be accepted" in capsys.readouterr().err


def test_an_order_to_a_session_that_does_not_run_is_not_waited_for_long(tmp_path: Path) -> None:
    began = time.monotonic()
    assert not obeyed(give(tmp_path, "pause"))
    assert time.monotonic() - began < 5.0


def test_formats_without_a_baseline_are_refused_where_one_is_subtracted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.toml"
    rig = {"name": "folder", "folder": str(tmp_path), "protocol": "original"}
    path.write_text(session_plan(rig=rig, responses={"baseline": "trial"}).to_toml())
    assert main(["doctor", str(path)]) == 2
    assert "carry no baseline" in capsys.readouterr().out
    assert main(["serve", str(path), "--out", str(tmp_path / "s")]) == 2
    said = capsys.readouterr().err
    assert "carry no baseline" in said
    assert "session in" not in said, "no folder is named before the plan is accepted"
    assert not (tmp_path / "s").exists()


def test_a_simulated_rig_whose_session_went_away_does_not_end_as_if_all_were_well() -> None:
    from xdream.errors import RigError
    from xdream.laboratory.simulation.http import HttpDriver
    from xdream.laboratory.simulation.rig import simulate

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        driver = HttpDriver(f"http://127.0.0.1:{nobody.getsockname()[1]}", gone_s=0.0)
        with pytest.raises(RigError, match="does not answer any more"):
            simulate(driver, None)  # type: ignore[arg-type]
    assert RigError.exit_status == 3


def test_show_says_how_many_events_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = AnswerRow("x", 0, Values(np.ones(3)))
    answers = [lambda bridge: [Answer((row,), block=99, source="b")]] * 15
    serve(session_plan(), tmp_path / "s", bridge=Scripted(*answers)).close()  # type: ignore[arg-type]
    assert main(["show", str(tmp_path / "s"), "--no-figures"]) == 0
    out = capsys.readouterr().out
    assert "3 earlier events left out; the last 12:" in out
    assert out.count("block 99 was never planned") == 12


# ------------------------------------------------------------------ a channel that is lost


class Losing(Rig):
    """Its first channel is silent from block 3 on, and responds again in the last generations."""

    def response(self, image: str, repeat: int, pixels: Any) -> np.ndarray:
        values = 1.0 + super().response(image, repeat, pixels)
        if 3 <= self.shown[-1][0] < 58:
            values[0] = 0.0
        return values


def test_a_channel_that_fell_silent_is_an_alarm_until_it_responds_and_is_shown_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = session_plan(
        targets=["rig::0-1", "rig::all"], optimizer={"name": "genetic", "population": 20}, presentations=1200
    )
    bridge = Scripted(rig=Losing())
    stop = {"now": False}

    class Stopping(Notes):
        def stage(self, name: str, done: int, total: int) -> None:
            stop["now"] = done >= 50

    with pytest.raises(KeyboardInterrupt):
        serve(plan, tmp_path / "s", Stopping(), bridge=bridge, stop=lambda: stop["now"])
    silent = [any("channel 0" in one for one in texts(said)) for said in bridge.said]
    first = silent.index(True)
    assert all(silent[first:]), "it does not go while the channel is dead"
    assert bridge.said[first]["block"] <= 5
    with Record(tmp_path / "s") as record:
        flags = [event for event in record.events() if event.kind == "flag" and "channel 0" in event.text]
        assert len([one for one in flags if "responses of the block are 0" in one.text]) == 1, "said once"
    assert main(["acknowledge", str(tmp_path / "s")]) == 0
    assert main(["show", str(tmp_path / "s"), "--no-figures"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()[1:]
    assert "channel" in head
    assert [line.split()[1] for line in lines[1:4]] == ["silent", MISSING, "0"], "target, what is odd"
    assert any(line.startswith("alarm since ") and "channel 0, block 3" in line for line in lines)

    bridge = Scripted(rig=Losing())
    resume(tmp_path / "s", bridge=bridge).close()
    assert not any("channel 0, block 3" in one for one in texts(bridge.said[-1])), "it responds again"


def test_what_is_under_way_is_shown_before_the_first_generation_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = iter([False, False])
    plan = session_plan(optimizer={"name": "genetic", "population": 6})
    with pytest.raises(KeyboardInterrupt):
        serve(plan, tmp_path / "s", bridge=Scripted(rig=Rig(parts=4)), stop=lambda: next(stopped, True))
    with Record(tmp_path / "s") as record:
        taken = record.query("SELECT count(*) FROM recording WHERE status = 'taken'")[0][0]
        planned = record.query("SELECT count(*) FROM planned")[0][0]
    assert 0 < taken < planned
    assert main(["show", str(tmp_path / "s")]) == 0
    said = capsys.readouterr()
    assert f"generation 1 is under way: {taken} of {planned} responses" in said.out
    assert "no generation is complete yet" in said.err


# ------------------------------------------------------------------ orders that nobody waits for


@pytest.mark.parametrize(("age_s", "listed"), [(0.1, False), (3.0, True)])
def test_an_order_that_is_refused_is_an_event_and_late_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float, listed: bool
) -> None:
    """Who gave it waits 0.35 s for the refusal."""
    monkeypatch.setattr(orders, "age_s", lambda name: age_s)
    folder = tmp_path / "s"

    def ordered(bridge: Scripted) -> Sequence[Arrival]:
        give(folder, "reject", "77")
        return []

    bridge = Scripted(ordered)
    serve(session_plan(), folder, bridge=bridge).close()
    said = "order 'reject 77' is not carried out: there is no block 77"
    with Record(folder) as record:
        assert [(e.kind, e.text) for e in record.events()] == [("refused-order", said)]
    assert (said in texts(bridge.said[-1])) is listed


def test_the_age_of_an_order_is_in_its_name(tmp_path: Path) -> None:
    assert 0 <= orders.age_s(give(tmp_path, "pause").name) < 60
    assert orders.age_s("mine.json") == float("inf")


def test_a_reason_is_as_long_as_its_bytes(tmp_path: Path) -> None:
    """3,000 letters of three bytes each fit; once they were written as six each, and were no order."""
    give(tmp_path, "pause", "試" * 3000)
    [(_, order)] = orders.given(tmp_path)
    assert (order.word, order.value) == ("pause", "試" * 3000)
    with pytest.raises(BadInput, match=r"takes 12\d+ bytes in UTF-8, and 10000 is the most; shorten it"):
        give(tmp_path, "pause", "試" * 4000)
    assert list(orders.given(tmp_path)) == []
    give(tmp_path, "pause", "caf\udce9")  # of a terminal that is not UTF-8
    [(_, order)] = orders.given(tmp_path)
    assert order.value.encode("ascii", "backslashreplace") == b"caf\\udce9"


def test_the_room_on_the_disk_is_looked_at_for_each_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while the third of four blocks of the only generation is shown."""
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)

    def fill(bridge: Scripted) -> Sequence[Arrival]:
        if bridge.blocks[-1] == 3:
            usage.free = 1000
        return Direct.collect(bridge, 0.0)

    bridge = Scripted(*([fill] * 40))
    plan = session_plan(presentations=16, repeats=4, session={"block_size": 4})
    serve(plan, tmp_path / "s", bridge=bridge).close()
    with Record(tmp_path / "s") as record:
        [text] = [e.text for e in record.events() if e.kind == "trouble"]
        assert "less than 200 MB are free" in text
        last = record.query("SELECT max(generation), max(id) FROM block")[0]
    assert last[0] == 0
    assert last[1] > 4


# ------------------------------------------------------------------ blocks that stay partly answered


def test_what_is_waited_for_is_named_until_it_comes(tmp_path: Path, time_now: list[float]) -> None:
    """Five of eight answers; then nothing for a while; then the rest."""
    folder, notes = tmp_path / "s", Notes()
    rest: list[Arrival] = []

    def some(bridge: Scripted) -> Sequence[Arrival]:
        [answer] = [one for one in bridge._waiting if isinstance(one, Answer) and one.rows]
        bridge._waiting.clear()
        rest[:] = [Answer(answer.rows[5:], block=1, source="rig")]
        return [Answer(answer.rows[:5], block=1, source="rig")]

    def nothing(bridge: Scripted) -> Sequence[Arrival]:
        time_now[0] += 3.0
        return []

    bridge = Scripted(some, nothing, nothing, nothing, lambda bridge: rest, rig=Rig(parts=1))
    serve(session_plan(), folder, notes, bridge=bridge).close()
    [said] = [text for text in notes.troubles if "answers came" in text]
    assert said.startswith("5 of 8 answers came for block001; waiting for ")
    with Record(folder) as record:
        names = [name for (name,) in record.query("SELECT name FROM planned WHERE block = 1 AND place >= 5")]
        assert all(f"{name} (place " in said for name in names)
        assert [e.text for e in record.events() if e.kind == "trouble"] == [said]
    listed = [texts(status) for status in bridge.said]
    assert [said] in listed
    assert listed[-1] == [], "it came"
