"""The program as a laboratory runs it: pre-flight, signals, orders from another terminal."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from session_rig import Rig, served, session_plan

from xdream.cli import doctor
from xdream.cli.main import main
from xdream.errors import BadInput, SubjectError
from xdream.laboratory.session import serve
from xdream.subjects import Channels

#: Seconds in which anything that is waited for has come.
PATIENCE_S = 60.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def status(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as reply:
            return str(reply.read())
    except OSError:
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_session_with_the_line_that_goes_on(tmp_path: Path, number: int) -> None:
    port, path, folder = free_port(), tmp_path / "plan.toml", tmp_path / "s"
    path.write_text(session_plan(rig={"name": "http", "port": port}).to_toml())
    program = subprocess.Popen(
        [sys.executable, "-m", "xdream.cli", "serve", str(path), "--out", str(folder), "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # From a shell's background, where it is ignored, the signal would be ignored here too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_for(lambda: "showing" in status(port))
        assert main(["pause", str(folder), "--reason", "juice"]) == 0
        wait_for(lambda: "juice" in status(port))
        program.send_signal(number)
        _, said = program.communicate(timeout=PATIENCE_S)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 130
    assert f"continue with: xdream resume {folder}" in said
    assert main(["go-on", str(folder)]) == 0  # the pause outlasts the program
    served(session_plan(), folder, Rig()).close()


def found(findings: list[doctor.Check]) -> dict[str, doctor.Check]:
    return {finding.subject: finding for finding in findings}


def test_the_pre_flight_says_that_all_is_ready(tmp_path: Path, photographs: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    plan = session_plan(
        rig={"name": "folder", "folder": str(shared)},
        references=str(photographs),
        references_per_generation=2,
    )
    findings = doctor.preflight(plan)
    assert all(finding.ok for finding in findings)
    assert "7 in" in found(findings)["references"].text
    assert "10 presentations a generation, in 1 block" in found(findings)["time"].text
    assert [path.name for path in shared.iterdir() if path.suffix == ".png"] == []


def test_the_pre_flight_has_the_timetable(tmp_path: Path) -> None:
    plan = session_plan(
        presentations=36, repeats=3, session={"block_size": 5, "show_ms": 1000, "gap_ms": 1500}
    )
    said = found(doctor.preflight(plan))["time"].text
    assert (
        "24 presentations a generation, in 5 blocks (4 of 5 and 1 of 4): 60 s; 3 generations, 15 blocks: 3"
        in said
    )
    plan = session_plan(session={"block_size": 5})
    assert "8 presentations a generation, in 2 blocks (4 + 4)" in found(doctor.preflight(plan))["time"].text


@pytest.mark.parametrize(
    ("rig", "block_size", "warned"),
    [
        ({"protocol": "original"}, 4, True),
        ({"protocol": "original"}, 8, False),
        ({"protocol": "original", "orientation": "channels-images"}, 4, False),
        ({"protocol": "manifest"}, 4, False),
    ],
)
def test_the_pre_flight_warns_of_blocks_with_as_many_images_as_channels(
    tmp_path: Path, photographs: Path, rig: dict[str, Any], block_size: int, warned: bool
) -> None:
    plan = session_plan(
        rig={"name": "folder", "folder": str(tmp_path), **rig},
        references=str(photographs),
        references_per_generation=4,
        session={"channels": 4, "block_size": block_size},
    )
    findings = found(doctor.preflight(plan))
    assert ("answers" in findings) == warned
    if warned:
        assert "a block has 4 presentations (with references) and the session 4 channels" in (
            findings["answers"].text
        )
        assert findings["answers"].ok, "it is no reason not to begin"


@pytest.mark.parametrize(
    ("changes", "subject", "said"),
    [
        ({"rig": {"name": "folder", "folder": "/nowhere/at/all"}}, "bridge", "/nowhere/at/all"),
        ({"rig": {"name": "http", "host": "0.0.0.0"}}, "bridge", "token"),
        ({"references": "/no/photographs"}, "plan", "do not exist"),
        ({"targets": ["rig::9"]}, "plan", "unit 9 does not exist"),
        ({"generator": "deepsim-fc6"}, "plan", "weights"),
    ],
)
def test_the_pre_flight_says_what_is_wrong(changes: dict[str, Any], subject: str, said: str) -> None:
    finding = found(doctor.preflight(session_plan(**changes)))[subject]
    assert not finding.ok
    assert said in finding.text


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "as a display"])
def test_the_pre_flight_leaves_a_stopped_session_what_it_had(tmp_path: Path, beside: bool) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    folder = {"name": "folder", "folder": str(shared), "protocol": "original"}
    rig = (
        {"rig": {"name": "open-ephys", "port": free_port()}, "display": folder} if beside else {"rig": folder}
    )
    plan = session_plan(**rig)
    stopped = iter([False] * 3)
    with pytest.raises(KeyboardInterrupt):
        serve(plan, tmp_path / "s", stop=lambda: next(stopped, True))
    (shared / "block001.csv").write_text("an answer that waits")
    before = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    assert found(doctor.preflight(plan))["bridge"].ok
    assert {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()} == before
    assert len(before) > 8


def test_a_port_that_is_taken_is_found_before_the_session(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        plan = session_plan(rig={"name": "http", "port": taken.getsockname()[1]})
        check = found(doctor.preflight(plan))["bridge"]
    assert not check.ok
    assert check.state == "in use"
    assert "another program, a session that is running perhaps, holds the http bridge" in check.text


@pytest.mark.parametrize("bridge", ["folder", "http"])
def test_beside_a_running_session_the_pre_flight_says_that_it_runs(tmp_path: Path, bridge: str) -> None:
    (tmp_path / "shared").mkdir()
    options = {"folder": str(tmp_path / "shared")} if bridge == "folder" else {"port": free_port()}
    plan = session_plan(rig={"name": bridge, **options})
    said: list[doctor.Check] = []

    def look() -> bool:  # is asked while the session goes on, and ends it
        said.append(found(doctor.preflight(plan))["bridge"])
        return True

    asked = iter([lambda: False] * 3)
    with pytest.raises(KeyboardInterrupt):
        serve(plan, tmp_path / "s", stop=lambda: next(asked, look)(), identity="5e5510")
    [check] = said
    assert (check.ok, check.state) == (False, "in use")
    assert (
        f"session 5e5510 is running (generation 1 of 3, showing) and holds the {bridge} bridge" in check.text
    )
    assert found(doctor.preflight(plan))["bridge"].ok, "and afterwards not"


@pytest.mark.parametrize("setting", ["nonsense", "nonsense=1", "seed=3", "=1"])
def test_a_fault_that_is_none_is_refused_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(session_plan(rig={"name": "folder", "folder": str(tmp_path)}).to_toml())
    assert main(["simulate-rig", str(plan), "--fault", setting]) == 2
    said = capsys.readouterr().err
    assert f"--fault '{setting}': there is no such fault; there are dropped, duplicated" in said
    assert "disconnect" in said
    assert "disconnect_s" not in said
    assert ", seed" not in said


def test_the_pre_flight_is_for_plans_with_a_rig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('targets = ["known:linear::0"]')
    assert main(["doctor", str(path)]) == 2
    assert "no rig" in capsys.readouterr().err


def test_channels_are_not_asked_for_responses() -> None:
    import torch

    with pytest.raises(SubjectError, match="xdream serve"):
        Channels("", "0", 2).respond(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(BadInput, match="no position"):
        Channels("", "0@1,1", 2)
