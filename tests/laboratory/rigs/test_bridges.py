"""The suite that every bridge passes, over those that listen; for the folder see test_folder.py."""

import socket
from collections.abc import Callable

import pytest
from bridge_checks import CHECKS, Medium

from xdream.laboratory.rigs import Http, Zmq
from xdream.laboratory.simulation.http import HttpDriver
from xdream.laboratory.simulation.zmq import ZmqDriver


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def over_http() -> Medium:
    port = free_port()
    return Medium(lambda: Http(port=port), lambda: HttpDriver(f"http://127.0.0.1:{port}"))


def over_zmq() -> Medium:
    port = free_port()
    return Medium(lambda: Zmq(port=port), lambda: ZmqDriver(f"tcp://127.0.0.1:{port}"))


@pytest.mark.parametrize("medium", [over_http, over_zmq])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_bridge(medium: Callable[[], Medium], check: Callable[[Medium], None]) -> None:
    check(medium())
