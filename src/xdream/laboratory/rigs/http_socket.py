"""One WebSocket of the bridge `http`, and the end of a connection that takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from xdream.laboratory.rigs import json_messages

#: How long one piece of a reply may take.
PIECE_S = 30.0


class Socket:
    """One WebSocket. Of several events of a kind that it has not taken yet, only the last is sent."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._socket, self._transport, self._lock = socket, transport, asyncio.Lock()
        self._events: dict[str, Mapping[str, Any]] = {}
        self._there = asyncio.Event()
        self._pusher = asyncio.create_task(self._push())

    def push(self, event: Mapping[str, Any]) -> None:
        """An event, as soon as the client takes it."""
        self._events[event["event"]] = event
        self._there.set()

    async def send(self, data: bytes) -> None:
        """A reply. Raises TimeoutError, ConnectionError."""
        async with self._lock:
            await asyncio.wait_for(self._socket.send_str(data.decode("ascii")), PIECE_S)

    async def close(self) -> None:
        """What was pushed last is sent; then it ends."""
        try:
            async with asyncio.timeout(1.0):
                while self._events:
                    await self._send_next()
                await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
        except (TimeoutError, ConnectionError):
            cut(self._transport)
        self._pusher.cancel()

    async def _push(self) -> None:
        try:
            while True:
                await self._there.wait()
                self._there.clear()
                while self._events:
                    await self._send_next()
        except (TimeoutError, ConnectionError):
            cut(self._transport)

    async def _send_next(self) -> None:
        event = self._events.pop(next(iter(self._events)))
        await self.send(json_messages.dumps(event))


def cut(transport: asyncio.BaseTransport | None) -> None:
    """End a connection at once; the system does not go on sending what was not taken."""
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
