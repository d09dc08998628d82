"""The bridge over HTTP and a WebSocket."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import torch
from talking import (
    CHANNELS,
    PATIENCE_S,
    SESSION,
    a_block,
    driven,
    rows_of,
    served,
    wait_for,
)

from xdream.errors import BadInput, RigError
from xdream.images.files import png
from xdream.laboratory.rigs import BRIDGES, NoBlock, http_service, http_socket, json_messages
from xdream.laboratory.rigs.http import Http
from xdream.laboratory.simulation.http import HttpDriver
from xdream.scoring.recordings import Values

EXAMPLES = Path(__file__).parents[3] / "examples"
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
    return json_messages.dumps(
        json_messages.answer_json(SESSION, block.number, 1, rows_of(block), last=True) | changed
    )


def test_the_bridge_is_registered() -> None:
    assert isinstance(BRIDGES.make("http", port=0), Http)


# ---------------------------------------------------------------------- requests


def test_a_block_says_all_that_a_rig_needs() -> None:
    block = a_block(images=2, repeats=1)
    with served(make_bridge, block) as (bridge, _):
        code, found = said(bridge, "GET", "/block?rig=r&pixels=raw")
        assert code == 200
        assert found["order"][1] == {
            "image": f"{SESSION}-1-1",
            "repeat": 0,
            "place": 1,
            "code": 2,
            "reference": False,
            "sha256": "0" * 64,
        }
        wanted = {"state": "showing", "session": SESSION, "block": 1, "fence": 1, "size_px": 5}
        wanted |= {"show_ms": 100.0, "gap_ms": 50.5, "background": [1, 2, 3], "channels": list(CHANNELS)}
        assert {key: found[key] for key in wanted} == wanted
        assert set(found["images"]) == {f"{SESSION}-1-0", f"{SESSION}-1-1"}
        assert "images" not in said(bridge, "GET", "/block?rig=r&pixels=none")[1]
        for bad in ("/block", "/block?rig=", "/block?rig=r&pixels=bmp", "/block?rig=" + "r" * 300):
            assert said(bridge, "GET", bad)[0] == 400


def test_one_image_is_given_by_its_id_and_nothing_else() -> None:
    block = a_block()
    with served(make_bridge, block) as (bridge, session):
        wait_for(lambda: bridge._queue.block is not None)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(bridge.url).netloc, timeout=PATIENCE_S)
        connection.request("GET", f"/image/{SESSION}-1-2")
        reply = connection.getresponse()
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
        assert reply.read() == png(block.images[f"{SESSION}-1-2"])
        connection.close()
        for name in (f"{SESSION}-1-9", "..", "%2e%2e%2fetc%2fpasswd", "..%5c..", "%00", f"{SESSION}-1-2/x"):
            assert said(bridge, "GET", f"/image/{name}")[0] == 404
        assert said(bridge, "POST", "/responses", answer_bytes(block))[0] == 200
        assert session.closed == [1]
        assert said(bridge, "GET", f"/image/{SESSION}-1-2")[0] == 404


def test_why_there_is_no_block_is_said() -> None:
    with served(make_bridge, a_block()) as (bridge, session):
        session.no_block = NoBlock("paused", "held up: by the experimenter")
        reason = {"state": "paused", "reason": "held up: by the experimenter"}
        assert said(bridge, "GET", "/block?rig=r") == (200, reason)
        session.no_block = None
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
        assert bridge._queue._bytes <= 5_000


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
        assert said(bridge, "GET", "/status")[1] == {"state": "showing", "block": 3, "session": SESSION}


# ---------------------------------------------------------------------- who is let in


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong-token", "Basic right-token", "Bearer é"]
)
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
        ({"port": 70_000}, "bridge 'http': port is 70000; it must be a whole number from 0 to 65535"),
        ({"port": "8765"}, "port is '8765'; it must be a whole number"),
        ({"most_mb": 0}, "most_mb"),
        ({"reply_timeout_s": float("nan")}, "reply_timeout_s"),
    ],
)
def test_what_cannot_be_is_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as raised:
        BRIDGES.make("http", **options)
    assert "long-enough" not in str(raised.value)


def test_a_port_that_is_taken_and_a_token_file_that_is_gone_are_bad_input(tmp_path: Path) -> None:
    with served(make_bridge) as (bridge, _):
        port = urllib.parse.urlsplit(bridge.url).port
        with pytest.raises(BadInput, match="another session"):
            make_bridge(port=port).open(SESSION, CHANNELS)
    with pytest.raises(BadInput, match="token_file"):
        make_bridge(token_file=str(tmp_path / "none")).open(SESSION, CHANNELS)


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


# ---------------------------------------------------------------------- what goes wrong on the way


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_while_it_is_read(chunked: bool) -> None:
    with served(lambda: make_bridge(most_mb=0.05), a_block()) as (bridge, session):
        with a_connection(bridge) as client:
            head = "Transfer-Encoding: chunked" if chunked else "Content-Length: 300000000"
            client.sendall(f"POST /responses HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
            reply = b""
            try:
                for _ in range(5_000 if chunked else 0):
                    client.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
            except OSError:
                pass
            try:
                while piece := client.recv(4096):
                    reply += piece
            except OSError:
                pass
            assert b" 413 " in reply.split(b"\r\n")[0] or (chunked and reply == b"")
        assert said(bridge, "GET", "/status")[0] == 200
        assert not session.answers


def test_a_client_that_hangs_up_in_the_middle_of_an_answer_leaves_nothing() -> None:
    block = a_block()
    with served(make_bridge, block) as (bridge, session):
        body = answer_bytes(block)
        for cut in (0, 1, len(body) // 2, len(body) - 1):
            with a_connection(bridge) as client:
                head = f"POST /responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body[:cut])
        assert said(bridge, "POST", "/responses", body)[0] == 200
        assert [answer.fault for answer in session.answers] == [None]


def test_an_answer_whose_client_is_gone_is_not_lost() -> None:
    block = a_block()
    with served(make_bridge, block, decide=False) as (bridge, session):
        body = answer_bytes(block)
        with a_connection(bridge) as client:
            head = f"POST /responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            wait_for(lambda: bool(bridge._queue._waiting))
        session.decides.set()
        wait_for(lambda: session.closed == [1])


def test_a_client_that_never_reads_is_cut_off_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_socket, "PIECE_S", 2.0)
    cut: list[Any] = []
    really = http_socket.cut
    monkeypatch.setattr(http_socket, "cut", lambda transport: (cut.append(transport), really(transport)))
    block = a_block(images=6, size=1500)
    with served(make_bridge, block) as (bridge, session), a_connection(bridge) as mute:
        mute.sendall(b"GET /block?rig=r&pixels=raw HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: session.claims == ["r"])
        with driven(lambda b, rig: make_driver(b, rig, gone_s=PATIENCE_S), bridge, "r") as driver:
            offered = driver.next_block(PATIENCE_S)
            driver.answer(offered, rows_of(offered))
        wait_for(lambda: len(cut) == 1)
        size = 0
        with suppress(ConnectionResetError):
            while piece := mute.recv(1 << 20):
                size += len(piece)
        assert size < 6 * 3 * 1500**2


def test_connections_that_ask_nothing_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "HEAD_S", 0.1)
    with served(make_bridge, a_block()) as (bridge, _):
        for beginning in (b"", b"GET /status HTTP/1.1\r\nX-Slow: "):
            with a_connection(bridge) as slow:
                slow.sendall(beginning)
                with suppress(ConnectionResetError):
                    assert slow.recv(1) == b""


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "BODY_S", 0.1)
    with served(make_bridge, a_block()) as (bridge, _), a_connection(bridge) as slow:
        slow.sendall(b"POST /responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{")
        assert b" 408 " in slow.recv(4096)


def test_there_is_an_end_to_the_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "MOST_CONNECTIONS", 2)
    with served(make_bridge, a_block()) as (bridge, _):
        with a_connection(bridge) as one, a_connection(bridge) as two:
            for client in (one, two):
                client.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.recv(12) == b"HTTP/1.1 200"
            with pytest.raises((OSError, http.client.HTTPException)):
                said(bridge, "GET", "/status")

        def free() -> bool:
            try:
                return said(bridge, "GET", "/status")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        wait_for(free)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /responses HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /responses HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
        b"GET /status HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"%" * 5_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_is_refused_and_the_server_goes_on(noise: bytes) -> None:
    with served(make_bridge, a_block()) as (bridge, session), a_connection(bridge) as client:
        client.sendall(noise)
        client.shutdown(socket.SHUT_WR)
        try:
            reply = client.recv(65_536)
        except ConnectionResetError:
            reply = b""
        assert reply == b"" or reply.split(b" ")[1][:1] == b"4"
        assert said(bridge, "GET", "/status")[0] == 200
        assert not session.answers


# ---------------------------------------------------------------------- clients


def test_the_example_answers_a_session() -> None:
    with served(make_bridge, a_block(), a_block(2)) as (bridge, session):
        command = [sys.executable, str(EXAMPLES / "rig_http.py"), bridge.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert session.closed == [1, 2]
        assert len(session.taken) == 12


@pytest.mark.skipif(OCTAVE is None, reason="GNU Octave (octave-cli) is not installed")
@pytest.mark.parametrize("token", [None, "for-octave"])
@pytest.mark.parametrize("images", [1, 3])
def test_the_matlab_example_answers_a_session_with_exact_pixels(
    token: str | None, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OCTAVE is not None
    if token is not None:
        monkeypatch.setenv("XDREAM_RIG_TOKEN", token)
    blocks = [a_block(1, images=images, repeats=1), a_block(2, images=images, repeats=2)]
    with served(make_bridge, *blocks) as (bridge, session):
        code = f"addpath('{EXAMPLES}'); rig_http('{bridge.url}')"
        command = [OCTAVE, "--no-gui", "--quiet", "--eval", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert session.closed == [1, 2]
        for block, answer in zip(blocks, session.answers, strict=True):
            for row in answer.rows:
                mean = float(block.images[row.image].to(torch.float64).mean())
                assert isinstance(row.recorded, Values)
                np.testing.assert_allclose(row.recorded.values, mean + np.array([1.0, 2.0, 3.0]), rtol=1e-12)


# ---------------------------------------------------------------------- the socket


def over_a_socket(bridge: Http, talk: Any) -> Any:
    """Run `talk(socket)` with a WebSocket to the bridge."""

    async def go() -> Any:
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{bridge.url}/socket") as opened,
            asyncio.timeout(PATIENCE_S),
        ):
            return await talk(opened)

    return asyncio.run(go())


async def reply_to(opened: Any, message: Any) -> Any:
    await opened.send_str(message if isinstance(message, str) else json.dumps(message))
    while True:
        found = await opened.receive_json()
        if "event" not in found:
            return found


def test_a_socket_carries_the_same_messages() -> None:
    block = a_block()
    with served(make_bridge, block) as (bridge, session):

        async def talk(opened: Any) -> None:
            found = await reply_to(opened, {"do": "block", "rig": "r", "pixels": "raw", "id": 1})
            assert (found["id"], found["code"], found["block"]) == (1, 200, 1)
            for name, image in block.images.items():
                assert torch.equal(json_messages.image_of(found["images"][name], "raw", 5), image)
            broken = await reply_to(opened, "{")
            assert (broken["code"], broken["error"]) == (422, session.answers[0].fault)
            answer = json_messages.answer_json(SESSION, 1, 1, rows_of(block), last=True)
            found = await reply_to(opened, {"do": "responses", "id": "a", **answer})
            assert found == {"id": "a", "code": 200, "counts": {"taken": 6}, "open": False}
            assert (await reply_to(opened, {"do": "block", "rig": "r"}))["state"] == "over"
            assert (await reply_to(opened, {"do": "status"}))["code"] == 200
            assert (await reply_to(opened, {"do": "dance", "id": 3})) == {
                "id": 3,
                "code": 400,
                "error": "do is none of block, responses, status, pause, go-on, stop, reject, take-back",
            }

        over_a_socket(bridge, talk)
        assert session.closed == [1]


def test_a_socket_hears_of_blocks_and_of_the_status() -> None:
    with served(make_bridge) as (bridge, _):

        async def talk(opened: Any) -> tuple[Any, Any]:
            await reply_to(opened, {"do": "status"})
            bridge.offer(a_block(7))
            bridge.status({"state": "paused", "reason": "why"})
            return await opened.receive_json(), await opened.receive_json()

        block, status = over_a_socket(bridge, talk)
        assert block == {"event": "block", "session": SESSION, "block": 7, "fence": 1}
        assert status == {"event": "status", "state": "paused", "reason": "why"}


def test_a_socket_that_never_reads_is_cut_off_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_socket, "PIECE_S", 0.2)
    with served(make_bridge, a_block()) as (bridge, _), a_connection(bridge) as mute:
        head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        mute.sendall(f"GET /socket HTTP/1.1\r\nHost: localhost\r\n{head}{key}\r\n".encode())
        assert mute.recv(12) == b"HTTP/1.1 101"
        wait_for(lambda: len(bridge._service._sockets) == 1)
        (opened,) = bridge._service._sockets
        bridge.status({"state": "showing", "reason": "x" * 30_000_000})
        wait_for(lambda: opened._transport.get_write_buffer_size() > 1_000_000)
        for _ in range(50):
            bridge.status({"state": "showing"})
        with driven(make_driver, bridge, "r") as driver:
            assert driver.next_block(PATIENCE_S) is not None
        assert len(opened._events) <= 2
        wait_for(lambda: not bridge._service._sockets)


def test_a_message_that_is_too_large_ends_its_socket() -> None:
    with served(lambda: make_bridge(most_mb=0.01), a_block()) as (bridge, session):

        async def talk(opened: Any) -> Any:
            await opened.send_str(" " * 20_000)
            return await opened.receive()

        assert over_a_socket(bridge, talk).type is aiohttp.WSMsgType.CLOSE
        assert said(bridge, "GET", "/status")[0] == 200
        assert not session.answers


def test_closing_ends_sockets_and_answers_who_waits() -> None:
    bridge = make_bridge()
    bridge.open(SESSION, CHANNELS)

    async def talk(opened: Any) -> list[Any]:
        await opened.send_str('{"do":"block","rig":"r","id":5}')
        await asyncio.to_thread(wait_for, lambda: bool(bridge._queue._waiting))
        await asyncio.to_thread(bridge.close)
        return [json.loads(m.data) async for m in opened]

    (found,) = over_a_socket(bridge, talk)
    assert (found["id"], found["state"]) == (5, "over")
