"""The bridge over ZMQ, for rigs that can send one message and wait for its reply. See docs/rigs-zmq.md.

It is the other end of REQ sockets, though it is a ROUTER: a REP socket serves one client at a time and is
stuck when that one dies between question and reply.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs import forms, json_messages
from xdream.laboratory.rigs.access import MostMegabytes, Port, PortNumber, ReplyTimeout
from xdream.laboratory.rigs.base import Arrival, Block
from xdream.laboratory.rigs.request_queue import PendingReply, Reply, RequestQueue
from xdream.options import checked

CLOSE_S = 15.0
#: Messages kept for one client that does not read, and of one that is not read yet.
MOST_UNSENT, MOST_UNREAD = 4, 8
#: Frames before the message: the client's identity, an empty one, and those of proxies.
MOST_FRAMES = 8
LINGER_MS = 1_000


@checked
class Zmq:
    """Blocks and answers over ZMQ.

    host, port, token, token_file, reply_timeout_s: as of the bridge http; the token is the message's field
    `token`. most_mb: of one message; longer ones are not read, and their sender is disconnected.

    Raises BadInput for what cannot be.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: PortNumber = 8766,
        token: str | None = None,
        token_file: Path | None = None,
        most_mb: MostMegabytes = 64,
        reply_timeout_s: ReplyTimeout = 30,
    ) -> None:
        try:
            import zmq  # noqa: F401
        except ImportError:
            raise BadInput("the bridge zmq needs pyzmq: pip install 'xdream[rig]'") from None
        self._port = Port.of(host, port, token, token_file, most_mb, reply_timeout_s)
        self._queue = RequestQueue("zmq", self._port.most_bytes)
        self._thread: threading.Thread | None = None
        self._listener: _Listener | None = None
        #: Where it listens, after `open`.
        self.url = ""

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Take the port. Raises BadInput when it cannot be had."""
        self._port.token.read()
        self._queue.open(session, channels)
        host = "127.0.0.1" if self._port.host == "localhost" else self._port.host
        listener = _Listener(self._queue, self._port)
        try:
            self.url = listener.bind(
                f"[{host}]" if ":" in host and "[" not in host else host, self._port.number
            )
        except OSError as error:
            listener.end()
            raise self._port.cannot_be_had(error) from None
        self._listener = listener
        self._thread = threading.Thread(target=listener.run, name="xdream-zmq", daemon=True)
        self._thread.start()

    def offer(self, block: Block) -> None:
        """Nothing is sent unasked."""
        self._queue.block = block

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """What has arrived. Raises RigError when the socket is gone."""
        if self._thread is None or not self._thread.is_alive():
            raise RigError(
                f"the socket at {self.url or self._port.host} is not open; start the session again"
            )
        return self._queue.collect(timeout_s)

    def withdraw(self, number: int) -> None:
        """The block is closed."""
        self._queue.withdraw(number)

    def status(self, status: Mapping[str, Any]) -> None:
        """For rigs that ask."""
        self._queue.state = dict(status)

    def close(self) -> None:
        """Whoever waits hears that it is over; the port is free."""
        thread, self._thread = self._thread, None
        self._queue.close()
        if thread is not None and self._listener is not None:
            self._listener.stop()
            thread.join(CLOSE_S)


class _Listener:
    """The socket, in its own thread. Replies come from the session's thread over a queue and a wake-up."""

    def __init__(self, queue: RequestQueue, port: Port) -> None:
        import zmq

        self._queue, self._port = queue, port
        self._replies: deque[tuple[list[bytes], forms.Json, str, Reply]] = deque()
        self._deadlines: deque[tuple[float, PendingReply]] = deque()
        self._stopping = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, port.most_bytes)
        self._socket.setsockopt(zmq.SNDHWM, MOST_UNSENT)
        self._socket.setsockopt(zmq.RCVHWM, MOST_UNREAD)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)

    def bind(self, host: str, port: int) -> str:
        """Take the port. Raises OSError."""
        import zmq

        try:
            self._socket.setsockopt(zmq.IPV6, int("[" in host))
            self._socket.bind(f"tcp://{host}:{port or '*'}")
            return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        except zmq.ZMQError as error:
            raise OSError(str(error)) from None

    def run(self) -> None:
        """Until `stop`."""
        import zmq

        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken.fileno(), zmq.POLLIN)
        try:
            while not self._stopping:
                ready = dict(poller.poll(self._until_next_ms()))
                self._drain()
                self._send_replies()
                self._give_up()
                if self._socket in ready:
                    self._take(self._socket.recv_multipart())
            self._send_replies()
        finally:
            self.end()

    def stop(self) -> None:
        """From another thread."""
        self._stopping = True
        self._awake()

    def end(self) -> None:
        """Give everything back; what was replied last is sent."""
        self._socket.close(LINGER_MS)
        self._context.term()
        self._wake.close()
        self._woken.close()

    def _take(self, frames: list[bytes]) -> None:
        """One message. A REQ puts an empty frame before it; a DEALER may leave it out."""
        data, envelope = frames[-1], frames[:-1]
        if not envelope or len(envelope) > MOST_FRAMES:
            return
        named: forms.Json = {}
        pixels = "png"
        try:
            message = json_messages.message_of(data)
            if isinstance(message.get("id"), (str, int, float)):
                named = {"id": message["id"]}
            reason = None
        except forms.MessageError as error:
            message, reason = {}, str(error)
        admitted = self._port.token.admits(message.get("token"))
        if message.get("do") == "block":
            pixels = message.pop("pixels", "png")

        def done(reply: Reply) -> None:
            self._replies.append((envelope, named, pixels, reply))
            self._awake()

        pending = PendingReply(done, len(data))
        if not admitted:
            pending.reply(401, {"error": "the token is missing or wrong; send it as the field token"})
        elif reason is not None:
            self._queue.unreadable(reason, data, pending)
        elif pixels not in json_messages.PIXELS:
            pending.reply(400, {"error": f"pixels is none of {', '.join(json_messages.PIXELS)}"})
        else:
            self._queue.ask(message, data, pending)
        if pending.waits:
            self._deadlines.append((time.monotonic() + self._port.reply_timeout_s, pending))

    def _send_replies(self) -> None:
        import zmq

        while self._replies:
            envelope, named, pixels, (code, said) = self._replies.popleft()
            if isinstance(said, Block):
                said = json_messages.block_json(said, self._queue.channels, pixels)
            data = json_messages.dumps(named | dict(said) | {"code": code})
            with contextlib.suppress(zmq.ZMQError):  # a client that is gone, or does not read
                self._socket.send_multipart([*envelope, data], zmq.DONTWAIT)

    def _give_up(self) -> None:
        """Who has waited too long is told so."""
        now = time.monotonic()
        while self._deadlines and (self._deadlines[0][0] <= now or not self._deadlines[0][1].waits):
            _, pending = self._deadlines.popleft()
            text = f"the session has not decided within {self._port.reply_timeout_s:g} s; try again"
            pending.reply(503, {"error": text})
            pending.abandon()

    def _until_next_ms(self) -> int | None:
        if self._replies:
            return 0
        if not self._deadlines:
            return None
        return max(1, int(1000 * (self._deadlines[0][0] - time.monotonic())) + 1)

    def _awake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway
            self._wake.send(b"w")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
