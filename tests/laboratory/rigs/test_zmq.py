"""The bridge over ZMQ."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
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
from xdream.laboratory.rigs import BRIDGES, json_messages
from xdream.laboratory.rigs.zmq import Zmq
from xdream.laboratory.simulation.zmq import ZmqDriver

EXAMPLE = Path(__file__).parents[3] / "examples" / "rig_zmq.py"


def make_bridge(**options: Any) -> Zmq:
    return Zmq(**{"port": 0, **options})


def make_driver(bridge: Zmq, rig: str, **options: Any) -> ZmqDriver:
    return ZmqDriver(bridge.url, rig=rig, **{"gone_s": 0.3, "timeout_s": 10.0, **options})


@contextmanager
def a_socket(bridge: Zmq, kind: int = zmq.REQ) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context:
        socket = context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        socket.connect(bridge.url)
        try:
            yield socket
        finally:
            socket.close(0)


def said(socket: zmq.Socket[bytes], message: Any) -> Any:
    socket.send(message if isinstance(message, bytes) else json.dumps(message).encode())
    return json.loads(socket.recv())


def test_the_bridge_is_registered() -> None:
    assert isinstance(BRIDGES.make("zmq", port=0), Zmq)


def test_a_client_that_dies_between_question_and_reply_blocks_nobody() -> None:
    with served(make_bridge, a_block(), decide=False) as (bridge, session):
        for _ in range(3):
            with a_socket(bridge) as dying:
                dying.send(b'{"do":"block","rig":"dying"}')
                wait_for(lambda: bool(bridge._queue._waiting))
        with a_socket(bridge) as living:
            session.decides.set()
            assert said(living, {"do": "status"})["code"] == 200


def test_a_message_without_the_empty_frame_is_answered_alike() -> None:
    with served(make_bridge, a_block()) as (bridge, _), a_socket(bridge, zmq.DEALER) as socket:
        assert said(socket, {"do": "status", "id": 7})["id"] == 7


def test_replies_carry_the_id_of_their_message_and_may_overtake() -> None:
    with (
        served(make_bridge, a_block(), decide=False) as (bridge, session),
        a_socket(bridge, zmq.DEALER) as socket,
    ):
        socket.send(b'{"do":"block","rig":"r","id":"slow","pixels":"none"}')
        wait_for(lambda: bool(bridge._queue._waiting))
        assert said(socket, {"do": "status", "id": "quick"})["id"] == "quick"
        session.decides.set()
        block = json.loads(socket.recv())
        assert (block["id"], block["code"], "images" in block) == ("slow", 200, False)


@pytest.mark.parametrize("token", [None, "", "wrong-token", 12, ["right-token"], "right-token "])
def test_nothing_is_said_without_the_token(token: Any) -> None:
    with (
        served(lambda: make_bridge(token="right-token"), a_block()) as (bridge, session),
        a_socket(bridge) as socket,
    ):
        reply = said(socket, {"do": "block", "rig": "r", "token": token})
        assert reply["code"] == 401
        assert "right-token" not in json.dumps(reply)
        assert said(socket, b"no json")["code"] == 401
        assert not session.claims
        assert not session.answers
        assert said(socket, {"do": "block", "rig": "r", "token": "right-token"})["code"] == 200


def test_a_driver_with_a_wrong_token_says_so() -> None:
    with served(lambda: make_bridge(token="right-token"), a_block()) as (bridge, _):
        driver = make_driver(bridge, "r", token="wrong-token")
        with pytest.raises(RigError, match="token"):
            driver.next_block(1.0)
        driver.close()


def test_a_message_that_is_too_large_is_not_read_and_others_go_on() -> None:
    with served(lambda: make_bridge(most_mb=0.01), a_block()) as (bridge, session):
        with a_socket(bridge) as socket:
            socket.setsockopt(zmq.RCVTIMEO, 300)
            socket.send(b" " * 20_000)
            with pytest.raises(zmq.Again):
                socket.recv()
        with a_socket(bridge) as socket:
            assert said(socket, {"do": "status"})["code"] == 200
        assert not session.answers


@pytest.mark.parametrize(
    "message",
    [
        b"[]",
        b"{}",
        b'{"do":[]}',
        b'{"do":{}}',
        b'{"do":"block"}',
        b'{"do":"block","rig":"r","pixels":[]}',
        b"3",
    ],
)
def test_what_is_no_message_has_a_reason(message: bytes) -> None:
    with served(make_bridge, a_block()) as (bridge, _), a_socket(bridge) as socket:
        reply = said(socket, message)
        assert reply["code"] in (400, 422)
        assert "\n" not in reply["error"]


def test_multiple_frames_are_an_envelope_and_many_are_ignored() -> None:
    with served(make_bridge, a_block()) as (bridge, _), a_socket(bridge, zmq.DEALER) as socket:
        socket.send_multipart([b"x"] * 50)
        socket.send_multipart([b"a", b"b", b'{"do":"status"}'])
        frames = socket.recv_multipart()
        assert frames[:2] == [b"a", b"b"]
        assert json.loads(frames[2])["code"] == 200


def test_a_client_that_never_reads_costs_a_few_replies() -> None:
    block = a_block(size=200)
    with served(make_bridge, block) as (bridge, session), a_socket(bridge, zmq.DEALER) as mute:
        mute.setsockopt(zmq.RCVHWM, 1)
        for _ in range(60):
            mute.send(b'{"do":"block","rig":"r","pixels":"raw"}')
        with driven(make_driver, bridge, "r") as driver:
            offered = driver.next_block(PATIENCE_S)
            driver.answer(offered, rows_of(offered))
            assert session.closed == [1]


def test_a_rig_that_waits_too_long_is_told_to_try_again() -> None:
    with (
        served(lambda: make_bridge(reply_timeout_s=0.1), a_block(), decide=False) as (bridge, session),
        a_socket(bridge) as socket,
    ):
        message = json_messages.answer_json(SESSION, 1, 1, rows_of(a_block()), last=True)
        assert said(socket, {"do": "responses", **message})["code"] == 503
        session.decides.set()
        wait_for(lambda: session.closed == [1])


def test_closing_answers_who_waits() -> None:
    bridge = make_bridge()
    bridge.open(SESSION, CHANNELS)
    with a_socket(bridge) as socket:
        socket.send(b'{"do":"block","rig":"r"}')
        wait_for(lambda: bool(bridge._queue._waiting))
        threading.Thread(target=bridge.close).start()
        assert json.loads(socket.recv())["state"] == "over"


def test_a_port_that_is_taken_is_bad_input() -> None:
    first = make_bridge()
    first.open(SESSION, CHANNELS)
    try:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(BadInput, match="another session"):
            make_bridge(port=port).open(SESSION, CHANNELS)
    finally:
        first.close()


def test_without_a_token_only_this_machine_is_served() -> None:
    with pytest.raises(BadInput, match="token"):
        make_bridge(host="0.0.0.0")


def test_commands_reach_the_session() -> None:
    with served(make_bridge, a_block()) as (bridge, session), a_socket(bridge) as socket:
        assert said(socket, {"do": "pause", "reason": "eye blink"}) == {"code": 200, "done": "pause"}
        assert said(socket, {"do": "go-on"})["code"] == 200
        assert said(socket, {"do": "stop"})["code"] == 200
        assert said(socket, {"do": "reject", "block": 4})["error"] == "there is no such block"
        assert said(socket, {"do": "reject", "block": "../4"})["code"] == 400
        assert session.commands == [("pause", "eye blink"), ("go-on", ""), ("stop", ""), ("reject", "4")]


def test_the_example_answers_a_session() -> None:
    with served(make_bridge, a_block(), a_block(2)) as (bridge, session):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), bridge.url], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert session.closed == [1, 2]
        assert len(session.taken) == 12
