"""A simulated rig's end of the bridge `zmq`."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xdream.errors import BadInput
from xdream.laboratory.rigs import forms, json_messages
from xdream.laboratory.rigs.access import reachable, word_of
from xdream.laboratory.simulation.base import RigSetup
from xdream.laboratory.simulation.messages import MessageDriver, NoReply

PROBE_MS = 500


class ZmqDriver(MessageDriver):
    """Over ZMQ. url: the bridge's. token: where it wants one. timeout_s: for one reply. Others: see base."""

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 60.0, **options: Any) -> None:
        super().__init__(_Requests(url, token, timeout_s), **options)

    @classmethod
    def for_bridge(
        cls, setup: RigSetup, host: str, port: int, token: str | None, token_file: Path | None
    ) -> ZmqDriver:
        """For the bridge `zmq` on this machine. Raises BadInput."""
        return cls(f"tcp://{reachable(host)}:{port}", word_of(token, token_file))


class _Requests:
    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        try:
            import zmq
        except ImportError:
            raise BadInput("a rig over zmq needs pyzmq: pip install 'xdream[rig]'") from None
        self._zmq, self._url, self._token, self._timeout_s = zmq, url, token, timeout_s
        self._context = zmq.Context()
        self._socket: Any = None

    def ask(
        self, do: str, message: forms.Json, spoil: Callable[[bytes], bytes] | None
    ) -> tuple[int, forms.Json]:
        """One message and its reply."""
        zmq = self._zmq
        body = json_messages.dumps(
            {"do": do, **message} | ({} if self._token is None else {"token": self._token})
        )
        try:
            if self._context.closed:
                self._context = zmq.Context()
            if self._socket is None:
                self._socket = self._context.socket(zmq.REQ)
                self._socket.setsockopt(zmq.LINGER, 0)
                self._socket.connect(self._url)
            self._socket.send(body if spoil is None else spoil(body))
            until = time.monotonic() + self._timeout_s
            while not self._socket.poll(PROBE_MS):
                if time.monotonic() >= until or not self._listens():
                    raise NoReply("no reply")
            said = json.loads(self._socket.recv())
        except (zmq.ZMQError, ValueError, NoReply) as error:
            # a REQ socket that got no reply cannot ask again
            self.hang_up()
            raise NoReply(str(error)) from None
        return int(said.pop("code")), said

    def _listens(self) -> bool:
        """Whether the port is open: ZMQ itself waits for a bridge that is gone as for one that is slow."""
        host, _, port = self._url.removeprefix("tcp://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), 5.0).close()
        except OSError:
            return False
        return True

    def hang_up(self) -> None:
        """Close the socket."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close(0)
        self._context.term()
