"""The bridge over HTTP and a WebSocket, for rigs that can ask a web server. See docs/rigs-http.md.

The server has a thread and an event loop of its own. It reads, checks who asks, and hands on: what is shown
and what an answer is worth is decided in the session's thread (`request_queue.py`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xdream.errors import BadInput, RigError
from xdream.laboratory.rigs.access import MostMegabytes, Port, PortNumber, ReplyTimeout
from xdream.laboratory.rigs.base import Arrival, Block
from xdream.laboratory.rigs.request_queue import RequestQueue
from xdream.options import checked

#: How long opening and closing the port may take.
OPEN_S, CLOSE_S = 15.0, 15.0


@checked
class Http:
    """Blocks and answers over HTTP.

    host: to listen on; another than this machine's own needs a token. port: 0 for any free one. token: the
    word that rigs must send as `Authorization: Bearer …`; it stands in the session's record, unlike one in
    token_file or in the environment's XDREAM_RIG_TOKEN. most_mb: of one message. reply_timeout_s: how long a
    rig is left waiting for a decision before it is told to try again.

    Raises BadInput for what cannot be.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: PortNumber = 8765,
        token: str | None = None,
        token_file: Path | None = None,
        most_mb: MostMegabytes = 256,
        reply_timeout_s: ReplyTimeout = 30,
    ) -> None:
        try:
            import aiohttp  # noqa: F401
        except ImportError:
            raise BadInput("the bridge http needs aiohttp: pip install 'xdream[rig]'") from None
        self._port = Port.of(host, port, token, token_file, most_mb, reply_timeout_s)
        self._queue = RequestQueue("http", self._port.most_bytes)
        self._thread: threading.Thread | None = None
        self._service: Any = None
        #: Where it listens, after `open`.
        self.url = ""

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Take the port. Raises BadInput when it cannot be had."""
        from xdream.laboratory.rigs.http_service import Service

        self._port.token.read()
        self._queue.open(session, channels)
        self._service = Service(self._queue, self._port)
        opened: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._run, args=(self._service, opened), name="xdream-http", daemon=True
        )
        self._thread.start()
        try:
            port = opened.result(OPEN_S)
        except BaseException as error:
            self.close()
            if not isinstance(error, OSError):  # TimeoutError is one
                raise
            raise self._port.cannot_be_had(error) from None
        host = self._port.host
        host = f"[{host}]" if ":" in host else host
        self.url = f"http://{host}:{port}"

    def offer(self, block: Block) -> None:
        """Tell whoever listens that there is a block, and give its images out."""
        self._queue.block = block
        self._push({"event": "block", "session": block.session, "block": block.number, "fence": block.fence})

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """What has arrived. Raises RigError when the server is gone."""
        if self._thread is None or not self._thread.is_alive():
            raise RigError(
                f"the server at {self.url or self._port.host} is not running; start the session again"
            )
        return self._queue.collect(timeout_s)

    def withdraw(self, number: int) -> None:
        """The block's images are not given out any more."""
        self._queue.withdraw(number)

    def status(self, status: Mapping[str, Any]) -> None:
        """For GET /status, and to whoever listens."""
        self._queue.state = dict(status)
        self._push({**status, "event": "status"})

    def close(self) -> None:
        """Whoever waits hears that it is over; the port is free."""
        thread, self._thread = self._thread, None
        self._queue.close()
        if thread is not None:
            self._service.stop()
            thread.join(CLOSE_S)

    def _run(self, service: Any, opened: concurrent.futures.Future[int]) -> None:
        try:
            asyncio.run(service.run(opened))
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def _push(self, event: Mapping[str, Any]) -> None:
        if self._service is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._service.push(event)
