"""The bridge over HTTP and a WebSocket."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bridge_behaviour import (
    BEHAVIOURS,
    CHANNELS,
    PATIENCE_S,
    a_block,
    driven,
    rows_of,
    served,
    wait_for,
)

from xdream.errors import BadInput, RigError
from xdream.recorded import Values
from xdream.rigs import BRIDGES, http_service, wire
from xdream.rigs.http import Http
from xdream.simulation.http import HttpDriver

EXAMPLES = Path(__file__).parents[2] / "examples"
OCTAVE = shutil.which("octave-cli")


def make_bridge(**options: Any) -> Http:
    return Http(**{"port": 0, **options})


def make_driver(bridge: Http, rig: str, **options: Any) -> HttpDriver:
    return HttpDriver(bridge.url, rig=rig, **{"gone_s": 0.3, "timeout_s": 10.0, **options})


def said(
    bridge: Http, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(bridge.url).netloc, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


@contextmanager
def a_connection(bridge: Http) -> Iterator[socket.socket]:
    parts = urllib.parse.urlsplit(bridge.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as opened:
        yield opened


def answer_bytes(block: Any, **changed: Any) -> bytes:
    return wire.dumps(wire.answer_json("s1", block.number, 1, rows_of(block), last=True) | changed)


@pytest.mark.parametrize("pixels", ["png", "raw"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_bridge(behaviour: Any, pixels: str) -> None:
    behaviour(lambda: make_bridge(), lambda bridge, rig: make_driver(bridge, rig, pixels=pixels))


def test_the_bridge_is_registered() -> None:
    assert isinstance(BRIDGES.make("http", port=0), Http)


# ---------------------------------------------------------------------- requests


def test_a_block_says_all_that_a_rig_needs() -> None:
    block = a_block(images=2, repeats=1)
    with served(make_bridge, block) as (bridge, _):
        code, found = said(bridge, "GET", "/block?rig=r&pixels=raw")
        assert code == 200
        assert found["order"][1] == {
            **{"image": "s1-1-1", "repeat": 0, "place": 1, "code": 2, "reference": False},
            "sha256": "0" * 64,
        }
        wanted = {"state": "showing", "session": "s1", "block": 1, "fence": 1, "size_px": 5}
        wanted |= {"show_ms": 100.0, "gap_ms": 50.5, "background": [1, 2, 3], "channels": list(CHANNELS)}
        assert {key: found[key] for key in wanted} == wanted
        assert set(found["images"]) == {"s1-1-0", "s1-1-1"}
        assert "images" not in said(bridge, "GET", "/block?rig=r&pixels=none")[1]
        for bad in ("/block", "/block?rig=", "/block?rig=r&pixels=bmp", "/block?rig=" + "r" * 300):
            assert said(bridge, "GET", bad)[0] == 400


def test_one_image_is_given_by_its_id_and_nothing_else() -> None:
    block = a_block()
    with served(make_bridge, block) as (bridge, session):
        wait_for(lambda: bridge._desk.block is not None)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(bridge.url).netloc, timeout=PATIENCE_S)
        connection.request("GET", "/image/s1-1-2")
        reply = connection.getresponse()
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
        assert reply.read() == wire.png(block.images["s1-1-2"])
        connection.close()
        for name in ("s1-1-9", "..", "%2e%2e%2fetc%2fpasswd", "..%5c..", "%00", "s1-1-2/x"):
            assert said(bridge, "GET", f"/image/{name}")[0] == 404
        assert said(bridge, "POST", "/responses", answer_bytes(block))[0] == 200
        assert session.closed == [1]
        assert said(bridge, "GET", "/image/s1-1-2")[0] == 404


def test_why_there_is_no_block_is_said() -> None:
    with served(make_bridge, a_block()) as (bridge, session):
        session.said = "paused: by the experimenter"
        assert said(bridge, "GET", "/block?rig=r") == (200, {"state": "paused", "reason": session.said})
        session.said = None
        said(bridge, "GET", "/block?rig=r")
        code, found = said(bridge, "GET", "/block?rig=other")
        assert (code, found["state"]) == (409, "held")
        said(bridge, "POST", "/responses", answer_bytes(a_block()))
        assert said(bridge, "GET", "/block?rig=r")[1]["state"] == "over"


def test_codes_tell_what_became_of_an_answer() -> None:
    block = a_block()
    with served(make_bridge, block) as (bridge, session):
        for body, code in (
            (answer_bytes(block, session="s0"), 422),
            (answer_bytes(block, fence=7), 409),
            (answer_bytes(block, responses=7), 422),
            (answer_bytes(block)[:-9], 422),
            (answer_bytes(block), 200),
        ):
            found, reply = said(bridge, "POST", "/responses", body)
            assert found == code, reply
            assert ("error" in reply) == (code != 200)
        assert session.answers[3].raw == answer_bytes(block)[:-9]
        assert reply == {"counts": {"taken": 6}, "open": False}


def test_a_rig_that_waits_too_long_is_told_to_try_again_and_nothing_is_lost() -> None:
    block = a_block()
    with served(lambda: make_bridge(reply_timeout_s=0.1), block, decide=False) as (bridge, session):
        for _ in range(2):
            assert said(bridge, "POST", "/responses", answer_bytes(block))[0] == 503
        assert said(bridge, "GET", "/block?rig=gone")[0] == 503
        session.decides.set()
        wait_for(lambda: len(session.answers) == 2)
        assert session.closed == [1]
        assert session.claims == []


def test_answers_that_nobody_takes_are_refused_before_they_fill_memory() -> None:
    block = a_block()
    with served(lambda: make_bridge(reply_timeout_s=0.01, most_mb=0.005), block, decide=False) as (bridge, _):
        errors = [said(bridge, "POST", "/responses", answer_bytes(block))[1]["error"] for _ in range(20)]
        assert any("busy" in one for one in errors)
        assert bridge._desk._bytes <= 5_000


def test_commands_reach_the_session() -> None:
    with served(make_bridge, a_block()) as (bridge, session):
        assert said(bridge, "POST", "/pause", b'{"reason":"eye blink"}') == (200, {"done": "pause"})
        assert said(bridge, "POST", "/go-on")[0] == 200
        assert said(bridge, "POST", "/stop", b"{}")[0] == 200
        assert said(bridge, "POST", "/reject", b'{"block":4}')[0] == 422
        assert said(bridge, "POST", "/reject", b'{"block":"4"}')[0] == 400
        assert said(bridge, "POST", "/reject", b"not json")[0] == 400
        assert said(bridge, "GET", "/stop")[0] == 405
        assert session.commands == [("pause", "eye blink"), ("go-on", ""), ("stop", ""), ("reject", "4")]


def test_the_status_is_what_the_session_said_last() -> None:
    with served(make_bridge) as (bridge, _):
        bridge.status({"state": "showing", "block": 3})
        assert said(bridge, "GET", "/status")[1] == {"state": "showing", "block": 3, "session": "s1"}


# ---------------------------------------------------------------------- who is let in


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong-token", "Basic right-token", "Bearer é"])
@pytest.mark.parametrize("request_", [("GET", "/block?rig=r"), ("POST", "/responses"), ("GET", "/socket")])
def test_nothing_is_said_without_the_token(header: str | None, request_: tuple[str, str]) -> None:
    with served(lambda: make_bridge(token="right-token"), a_block()) as (bridge, session):
        headers = {} if header is None else {"Authorization": header}
        code, found = said(bridge, *request_, answer_bytes(a_block()), headers)
        assert code == 401
        assert "right-token" not in json.dumps(found)
        assert not session.claims
        assert not session.answers


def test_the_token_is_given_in_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file\n")
    right = {"Authorization": "Bearer from-the-file"}
    with served(lambda: make_bridge(token_file=str(file))) as (bridge, _):
        assert said(bridge, "GET", "/status")[0] == 401
        assert said(bridge, "GET", "/status", headers=right)[0] == 200
    monkeypatch.setenv("XDREAM_RIG_TOKEN", "from-outside")
    with served(lambda: make_bridge(host="0.0.0.0"), a_block()) as (bridge, _):
        local = Http.__new__(Http)
        local.url = bridge.url.replace("0.0.0.0", "127.0.0.1")
        assert said(local, "GET", "/status")[0] == 401
        with driven(lambda b, rig: make_driver(b, rig, token="from-outside"), local) as driver:
            assert driver.next_block(PATIENCE_S) is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "no token"),
        ({"host": "127.evil.example"}, "no token"),
        ({"token": "short"}, "8 to 256"),
        ({"token": "with a space"}, "spaces"),
        ({"token": "long-enough", "token_file": "x"}, "both"),
        ({"port": 70_000}, "port"),
        ({"port": "8765"}, "port"),
        ({"most_mb": 0}, "most_mb"),
        ({"reply_timeout_s": float("nan")}, "reply_timeout_s"),
    ],
)
def test_what_cannot_be_is_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as raised:
        make_bridge(**options)
    assert "long-enough" not in str(raised.value)


def test_a_port_that_is_taken_and_a_token_file_that_is_gone_are_bad_input(tmp_path: Path) -> None:
    with served(make_bridge) as (bridge, _):
        port = urllib.parse.urlsplit(bridge.url).port
        with pytest.raises(BadInput, match="another session"):
            make_bridge(port=port).open("s1", CHANNELS)
    with pytest.raises(BadInput, match="token_file"):
        make_bridge(token_file=str(tmp_path / "none")).open("s1", CHANNELS)


def test_pages_of_a_browser_are_kept_out() -> None:
    with served(make_bridge, a_block()) as (bridge, session):
        assert said(bridge, "GET", "/status", headers={"Host": "evil.example:8765"})[0] == 403
        assert said(bridge, "GET", "/status", headers={"Host": "localhost.evil.example"})[0] == 403
        assert said(bridge, "POST", "/stop", headers={"Origin": "http://evil.example"})[0] == 403
        assert said(bridge, "GET", "/socket", headers={"Origin": "null"})[0] == 403
        assert said(bridge, "GET", "/status", headers={"Host": "localhost:1"})[0] == 200
        assert not session.commands


def test_a_bridge_that_was_closed_fails_to_collect() -> None:
    bridge = make_bridge()
    with pytest.raises(RigError):
        bridge.collect(0.0)
