"""The web server of the bridge `http`: requests and sockets to the request queue and back, within limits.

Every wait for a client has an end, every body a size, and nothing of a request names a file. A browser is
kept out (its pages could reach a server on the same machine): no request with a foreign Origin or, on this
machine's own addresses, under another name is answered.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from aiohttp import web

from xdream.images.files import png
from xdream.laboratory.rigs import forms, http_socket, json_messages
from xdream.laboratory.rigs.access import Port, is_loopback
from xdream.laboratory.rigs.base import Block
from xdream.laboratory.rigs.request_queue import COMMANDS, PendingReply, Reply, RequestQueue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOG = logging.getLogger("xdream.laboratory.rigs.http")
#: aiohttp's own log holds what clients send, tokens among it.
QUIET = logging.getLogger("xdream.laboratory.rigs.http.protocol")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False

#: Until a new connection has sent its first request; a body.
HEAD_S, BODY_S = 10.0, 120.0
MOST_CONNECTIONS = 64
PIECE_BYTES = 1 << 18
#: Of a body that is a form, which is how MATLAB and Octave both write.
MOST_ESCAPES = 2_000_000
JSON = "application/json"


class Service:
    """One server. Made and stopped by the session's thread, run in its own."""

    def __init__(self, queue: RequestQueue, port: Port) -> None:
        self._queue, self._port = queue, port
        self._loopback = is_loopback(port.host)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._sockets: set[http_socket.Socket] = set()
        self._silent: set[asyncio.Protocol] = set()
        self._reading = 0
        self._closing = False
        self._encoded: tuple[object, bytes] | None = None

    async def run(self, opened: concurrent.futures.Future[int]) -> None:
        """Serve until `stop`. opened: gets the port, or the error."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=QUIET,
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=75.0,
            lingering_time=2.0,
            shutdown_timeout=1.0,
        )
        await runner.setup()
        try:
            host, number = self._port.host.strip("[]"), self._port.number
            server = await self._loop.create_server(lambda: self._protocol(runner), host, number)
        except (OSError, UnicodeError) as error:
            await runner.cleanup()
            opened.set_exception(error if isinstance(error, OSError) else OSError(str(error)))
            return
        opened.set_result(server.sockets[0].getsockname()[1])
        try:
            await self._stop.wait()
        finally:
            # A socket that was accepted just before asyncio closes its server is lost open (CPython issue
            # 109564): accept no more, let those become connections, and close then.
            self._closing = True
            for listening in server.sockets:
                with contextlib.suppress(NotImplementedError):
                    self._loop.remove_reader(listening.fileno())
            for _ in range(5):
                await asyncio.sleep(0)
            server.close()
            for one in list(self._sockets):
                await one.close()
            assert runner.server is not None
            open_now = [one.transport for one in runner.server.connections if one.transport is not None]
            await runner.cleanup()
            for transport in open_now:
                transport.abort()
            await asyncio.sleep(0)  # what was closed says so before the loop ends
            await asyncio.sleep(0)

    def stop(self) -> None:
        """From another thread."""
        if self._stop is not None:
            self._soon(self._stop.set)

    def push(self, event: Mapping[str, Any]) -> None:
        """An event to all sockets, from another thread."""
        self._soon(lambda: self._push(event))

    def _push(self, event: Mapping[str, Any]) -> None:
        for one in self._sockets:
            one.push(event)

    def _soon(self, do: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(do)

    def _application(self) -> web.Application:
        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        application = web.Application(middlewares=[guarded])
        routes = application.router
        routes.add_get("/block", self._get_block, allow_head=False)
        routes.add_get("/image/{name}", self._get_image, allow_head=False)
        routes.add_get("/status", self._get_status, allow_head=False)
        routes.add_get("/socket", self._get_socket, allow_head=False)
        routes.add_post("/responses", self._post)
        for word in COMMANDS:
            routes.add_post(f"/{word}", self._post)
        return application

    # ------------------------------------------------------------------ who is let in

    def _protocol(self, runner: web.AppRunner) -> asyncio.Protocol:
        """One connection: refused when there are many, cut when it does not ask."""
        assert runner.server is not None
        assert self._loop is not None
        if self._closing or len(runner.server.connections) >= MOST_CONNECTIONS:
            return _Refused()
        protocol = runner.server()
        self._silent.add(protocol)
        self._loop.call_later(HEAD_S, self._cut_silent, protocol)
        return protocol

    def _cut_silent(self, protocol: Any) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            http_socket.cut(protocol.transport)

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        refused = self._refused(request)
        if refused is not None:
            return await self._send(request, *refused)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return await self._send(request, error.status, {"error": error.reason})
        except forms.MessageError as error:
            return await self._send(request, 400, {"error": str(error)})
        except _Refusal as error:
            return await self._send(request, error.code, {"error": str(error)})
        except (ConnectionError, web.RequestPayloadError):
            return await self._send(request, 400, {"error": "the request broke off"})
        except Exception:
            LOG.exception("a request failed")
            return await self._send(request, 500, {"error": "the bridge has a defect; see its log"})

    def _refused(self, request: web.Request) -> tuple[int, forms.Json] | None:
        headers = request.headers
        host = headers.get("Host")
        if self._loopback and host is not None and not is_loopback(_name_of(host)):
            return 403, {"error": "this server answers only to 127.0.0.1 and localhost"}
        if "Origin" in headers and headers["Origin"] != f"http://{host}":
            return 403, {"error": "pages of other servers are not answered"}
        kind, _, said = headers.get("Authorization", "").partition(" ")
        if not self._port.token.admits(said.strip() if kind.lower() == "bearer" else ""):
            return 401, {"error": "the token is missing or wrong; send Authorization: Bearer TOKEN"}
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            return 415, {"error": "compressed bodies are not read"}
        return None

    # ------------------------------------------------------------------ requests

    async def _get_block(self, request: web.Request) -> web.StreamResponse:
        asked = {"do": "block", "rig": request.query.get("rig")}
        pixels = _pixels(request.query.get("pixels", "png"))
        code, said = await self._ask(asked, b"")
        if isinstance(said, Block):
            return await self._send(request, code, await self._block(said, pixels))
        return await self._send(request, code, said)

    async def _get_image(self, request: web.Request) -> web.StreamResponse:
        image = self._queue.image(request.match_info["name"])
        if image is None:
            return await self._send(request, 404, {"error": "no image of the block that is shown now"})
        return await self._send(request, 200, await asyncio.to_thread(png, image), "image/png")

    async def _get_status(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, *await self._ask({"do": "status"}, b""))

    async def _post(self, request: web.Request) -> web.StreamResponse:
        do = request.path.strip("/")
        data = await self._body(request)
        try:
            if request.content_type == "application/x-www-form-urlencoded":
                data = _from_form(data)
            message = await asyncio.to_thread(json_messages.message_of, data) if data.strip() else {}
            code, said = await self._ask({**message, "do": do}, data)
        except forms.MessageError as error:
            if do != "responses":
                raise
            code, said = await self._unreadable(str(error), data)
        return await self._send(request, code, said)

    async def _body(self, request: web.Request) -> bytes:
        """What was sent; no more than may be is kept at any time, of one client or of all."""
        pieces: list[bytes] = []
        size, most = 0, self._port.most_bytes
        too_large = _Refusal(413, f"the body is above {most} bytes; send it in several")
        if (request.content_length or 0) > most:
            raise too_large
        try:
            async with asyncio.timeout(BODY_S):
                async for piece in request.content.iter_any():
                    size += len(piece)
                    self._reading += len(piece)
                    if size > most:
                        raise too_large
                    if self._reading > 2 * most:
                        raise _Refusal(503, "the server is busy; try again")
                    pieces.append(piece)
        except TimeoutError:
            raise _Refusal(408, f"the body took longer than {BODY_S:g} s") from None
        finally:
            self._reading -= size
        return b"".join(pieces)

    # ------------------------------------------------------------------ to the request queue and back

    async def _ask(self, message: Mapping[str, Any], data: bytes) -> Reply:
        if message.get("do") == "responses":  # reading many numbers takes a while
            return await self._reply(
                lambda pending: asyncio.to_thread(self._queue.ask, message, data, pending), len(data)
            )
        return await self._reply(lambda pending: self._queue.ask(message, data, pending), len(data))

    async def _unreadable(self, reason: str, data: bytes) -> Reply:
        size = min(len(data), json_messages.MOST_RAW_BYTES)
        return await self._reply(lambda pending: self._queue.unreadable(reason, data, pending), size)

    async def _reply(self, put: Callable[[PendingReply], Awaitable[None] | None], size: int) -> Reply:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()

        def done(reply: Reply) -> None:
            self._soon(lambda: None if future.done() else future.set_result(reply))

        pending = PendingReply(done, size)
        try:
            async with asyncio.timeout(self._port.reply_timeout_s):
                waiting = put(pending)
                if waiting is not None:
                    await waiting
                return await future
        except TimeoutError:
            return 503, {
                "error": f"the session has not decided within {self._port.reply_timeout_s:g} s; try again"
            }
        finally:
            pending.abandon()

    async def _block(self, block: Block, pixels: str) -> bytes:
        """A block's JSON; kept, since several may ask for the same."""
        key = (block.session, block.number, block.fence, block.presentations, pixels)
        if self._encoded is not None and self._encoded[0] == key:
            return self._encoded[1]
        encoded = await asyncio.to_thread(
            lambda: json_messages.dumps(json_messages.block_json(block, self._queue.channels, pixels))
        )
        self._encoded = (key, encoded)
        return encoded

    async def _send(
        self, request: web.Request, code: int, said: forms.Json | Block | bytes, kind: str = JSON
    ) -> web.StreamResponse:
        """A reply, piece by piece: a client that does not read is cut off."""
        body = said if isinstance(said, bytes) else json_messages.dumps(said)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        response = web.StreamResponse(status=code, headers=headers)
        if code in (401, 403, 408, 413):
            response.force_close()
        try:
            await asyncio.wait_for(response.prepare(request), http_socket.PIECE_S)
            for start in range(0, len(body), PIECE_BYTES):
                await asyncio.wait_for(response.write(body[start : start + PIECE_BYTES]), http_socket.PIECE_S)
            await asyncio.wait_for(response.write_eof(), http_socket.PIECE_S)
        except (TimeoutError, ConnectionError):
            http_socket.cut(request.transport)
        return response

    # ------------------------------------------------------------------ the socket

    async def _get_socket(self, request: web.Request) -> web.StreamResponse:
        # A socket is not read while its reply is awaited: that must not count as silence.
        made = web.WebSocketResponse(
            max_msg_size=self._port.most_bytes, compress=False, heartbeat=2 * self._port.reply_timeout_s + 10
        )
        await made.prepare(request)
        opened = http_socket.Socket(made, request.transport)
        self._sockets.add(opened)
        try:
            async for message in made:
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
                await opened.send(await self._answer(data))
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._sockets.discard(opened)
            await opened.close()
        return made

    async def _answer(self, data: bytes) -> bytes:
        """The reply to one message of a socket."""
        named: forms.Json = {}
        try:
            message = await asyncio.to_thread(json_messages.message_of, data)
            named = {"id": message["id"]} if isinstance(message.get("id"), (str, int, float)) else {}
            pixels = _pixels(message.pop("pixels", "png")) if message.get("do") == "block" else "png"
            code, said = await self._ask(message, data)
            if isinstance(said, Block):
                head = json_messages.dumps(named | {"code": code})
                return head[:-1] + b"," + (await self._block(said, pixels))[1:]
        except forms.MessageError as error:
            code, said = await self._unreadable(str(error), data)
        except _Refusal as error:
            code, said = error.code, {"error": str(error)}
        assert not isinstance(said, Block)
        return json_messages.dumps(named | said | {"code": code})


class _Refusal(Exception):
    """A request that is not carried out."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Refused(asyncio.Protocol):
    """A connection beyond those that may be, or after the end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _name_of(host: str) -> str:
    """A Host header without its port."""
    return host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _pixels(said: object) -> str:
    if said not in json_messages.PIXELS:
        raise _Refusal(400, f"pixels is none of {', '.join(json_messages.PIXELS)}")
    return str(said)


def _from_form(data: bytes) -> bytes:
    """The JSON in a form's one field `json`. Raises forms.MessageError."""
    if not data.startswith(b"json=") or b"&" in data:
        raise forms.MessageError("the form is not of one field json")
    if data.count(b"%") > MOST_ESCAPES:
        raise forms.MessageError("the form is too long; send the responses in several messages, or as JSON")
    return urllib.parse.unquote_to_bytes(data[5:].replace(b"+", b" "))
