"""The web server of the page: files of its own, what is new as server-sent events, images, orders.

It reads records through read-only connections. Orders go the way of the commands: a file in the folder of the
session, which the session takes up (`xdream.laboratory.session.orders`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xdream.dashboard import feed, places
from xdream.dashboard.access import Access
from xdream.dashboard.channels import channel_view
from xdream.dashboard.hub import Hub
from xdream.dashboard.one_time import OneTimeLink
from xdream.errors import BadInput, StoreError, XDreamError
from xdream.experiment.plan import plan_of
from xdream.experiment.stopping import ask_to_end
from xdream.laboratory.session.costs import rejection_cost
from xdream.laboratory.session.orders import give, obeyed
from xdream.store import Record

Answering = Callable[[Request], Awaitable[Response]]
#: Of one order; viewers at a time; how long one that does not read is waited for at the end.
MOST_BYTES, MOST_VIEWERS, END_S = 10_000, 200, 1
#: Orders that the page gives, beside "end"; between two looks at the parts of a study.
WORDS = ("pause", "go-on", "reject", "take-back", "accept", "acknowledge")
PARTS_S = 0.5
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_SHA = re.compile(r"[0-9a-f]{64}")
#: Of a channel or block: a number that every part of the program can hold.
_NUMBER = re.compile(r"[0-9]{1,9}")


class Page:
    """The application for one folder."""

    def __init__(self, folder: Path, access: Access) -> None:
        self._places, self._access = places.Places(folder), access
        self._hubs: dict[str, Hub] = {}
        self._files = _static_files()
        self._viewers = 0
        self.link = OneTimeLink()
        routes = Starlette(
            routes=[
                Route("/", self._guarded(self._index)),
                Route("/static/{name}", self._guarded(self._static)),
                Route("/enter", self._guarded(self._enter), methods=["POST"]),
                Route("/open/{key}", self._guarded(self._open)),
                Route("/overview", self._guarded(self._seen(self._overview))),
                Route("/events", self._guarded(self._seen(self._events))),
                Route("/image/{sha}", self._guarded(self._seen(self._image))),
                Route("/channel/{number}", self._guarded(self._seen(self._channel))),
                Route("/cost/{number}", self._guarded(self._seen(self._cost))),
                Route("/order", self._guarded(self._order), methods=["POST"]),
            ]
        )
        self.application = WithHeaders(routes, access.headers)

    # ------------------------------------------------------------------ who is let in

    def _guarded(self, answer: Answering) -> Answering:
        async def guarded(request: Request) -> Response:
            refused = self._access.refuses(request)
            if refused is not None:
                response: Response = _error(refused, 403)
            else:
                try:
                    response = await answer(request)
                except BadInput as error:
                    response = _error(str(error), 422)
                except XDreamError as error:
                    response = _error(str(error), 503)
            return response

        return guarded

    def _seen(self, answer: Answering) -> Answering:
        async def seen(request: Request) -> Response:
            if not self._access.sees(request):
                return _error("open the address, with its token, that xdream watch has printed", 401)
            return await answer(request)

        return seen

    async def _enter(self, request: Request) -> Response:
        """Who has the token gets a cookie with which images and events are seen."""
        if not self._access.commands(request):
            return _error("the token is missing or wrong", 401)
        response = JSONResponse({"entered": True})
        cookie = self._access.cookie(request)
        response.set_cookie(cookie, self._access.seeing, httponly=True, samesite="strict", path="/")
        return response

    async def _open(self, request: Request) -> Response:
        """The link that a browser is started with gives the address with the token, once."""
        client, server = request.client, request.scope["server"]
        key = request.path_params["key"]
        if client is None or not await asyncio.to_thread(self.link.opens, key, client.port, server[1]):
            text = "this link opens the page once, soon, and for one user; open the address that xdream watch"
            return _error(f"{text} has printed", 403)
        return RedirectResponse(f"/#token={self._access.token}", 303)

    # ------------------------------------------------------------------ what is seen

    async def _index(self, request: Request) -> Response:
        return await self._file("index.html")

    async def _static(self, request: Request) -> Response:
        return await self._file(request.path_params["name"])

    async def _file(self, name: str) -> Response:
        if name not in self._files:
            return _error("there is no such file", 404)
        kind = TYPES[f".{name.rpartition('.')[2]}"]
        return Response(self._files[name], media_type=kind)

    async def _overview(self, request: Request) -> Response:
        return JSONResponse({"kind": self._places.kind})

    def _place(self, request: Request) -> Path:
        return self._places.place(request.query_params.get("at", ""))

    async def _events(self, request: Request) -> Response:
        if self._viewers >= MOST_VIEWERS:
            return _error(f"{MOST_VIEWERS} viewers look already", 503)
        at = request.query_params.get("at", "")
        if self._places.kind == "experiment" or at:
            folder = await asyncio.to_thread(self._place, request)
            hub = self._hubs.setdefault(at, Hub(lambda: feed.Feed(folder)))
        else:
            hub = self._hubs.setdefault("", Hub(lambda: _Overview(self._places)))
        messages = hub.messages()
        first = await anext(messages)  # a record that cannot be read is said as such
        return StreamingResponse(self._stream(first, messages), media_type="text/event-stream")

    async def _stream(self, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            yield first
            async for message in rest:
                yield message
        finally:
            self._viewers -= 1
            with contextlib.suppress(RuntimeError):
                await rest.aclose()  # type: ignore[attr-defined]

    async def _image(self, request: Request) -> Response:
        sha = request.path_params["sha"]
        if not _SHA.fullmatch(sha):
            return _error("that is no image", 404)
        folder = await asyncio.to_thread(self._place, request)
        png = await asyncio.to_thread(_reading, folder, lambda record: record.kept_image(sha))
        if png is None:
            return _error("this image is not kept in the record", 404)
        response = Response(png, media_type="image/png")
        response.headers["ETag"] = f'"{sha}"'
        return response

    async def _channel(self, request: Request) -> Response:
        number = _number_in(request)
        if number is None:
            return _error("there is no such channel", 404)
        folder = await asyncio.to_thread(self._place, request)

        def read(record: Record) -> dict[str, Any]:
            if not record.is_session:
                raise BadInput("an experiment without a rig has no channels")
            return channel_view(record, plan_of(record), number)

        return JSONResponse(await asyncio.to_thread(_reading, folder, read))

    async def _cost(self, request: Request) -> Response:
        number = _number_in(request)
        if number is None:
            return _error("there is no such block", 404)
        folder = await asyncio.to_thread(self._place, request)

        def read(record: Record) -> str:
            session = plan_of(record).session
            if session is None:
                raise BadInput("an experiment without a rig has no blocks")
            return rejection_cost(record, number, (session.show_ms + session.gap_ms) / 1000).text

        return JSONResponse({"text": await asyncio.to_thread(_reading, folder, read)})

    # ------------------------------------------------------------------ what is ordered

    async def _order(self, request: Request) -> Response:
        """{"word": …, "value": …}, or {"word": "end", "runs": […]}; the token is needed from everywhere."""
        if not self._access.commands(request):
            return _error("orders need the token: open the address that xdream watch has printed", 401)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _error("an order is JSON", 415)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                return _error(f"an order has at most {MOST_BYTES} bytes", 413)
        word, value, runs = _order_of(body)
        folder = await asyncio.to_thread(self._place, request)
        return JSONResponse(await asyncio.to_thread(_given, folder, word, value, runs))


class WithHeaders:
    """An application whose every reply has some headers: also where no route is found, or one fails."""

    def __init__(self, application: ASGIApp, headers: dict[str, str]) -> None:
        self._application, self._headers = application, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._application(scope, receive, sent)


class _Overview:
    """The parts of a study or tuning as a source."""

    def __init__(self, where: places.Places) -> None:
        self._places, self._now = where, dict[str, Any]()
        self._looks = 0

    def update(self) -> dict[str, Any] | None:
        """All of it, when any has changed."""
        self._looks += 1
        if self._looks % round(PARTS_S / 0.1) != 1:
            return None
        now = self._places.overview()
        if now == self._now:
            return None
        self._now = now
        return {"overview": now}

    def snapshot(self) -> dict[str, Any]:
        """The same."""
        return {"overview": self._now}

    def close(self) -> None:
        """Nothing is open."""


def _order_of(body: bytes) -> tuple[str, str, list[int]]:
    """(word, value, runs). Raises BadInput."""
    try:
        said = json.loads(body)
        word, value, runs = said["word"], said.get("value", ""), said.get("runs", [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput("an order is a JSON object with a word") from None
    if word not in (*WORDS, "end"):
        raise BadInput(f"the page gives no order '{str(word)[:50]}'; it gives {', '.join((*WORDS, 'end'))}")
    whole = isinstance(runs, list) and all(type(run) is int for run in runs)
    if not isinstance(value, str) or not whole:
        raise BadInput("the value of an order is text, and its runs are numbers")
    return word, value, runs


def _given(folder: Path, word: str, value: str, runs: list[int]) -> dict[str, Any]:
    """Give the order, and say whether it was obeyed. Raises BadInput."""
    with Record(folder) as record:
        if record.finished:
            raise BadInput("it is over; no order can change it any more")
        if word != "end" and not record.is_session:
            raise BadInput("an experiment without a rig takes one order: to end runs")
    if word == "end":
        return {"obeyed": False, "runs": ask_to_end(folder, runs)}
    return {"obeyed": obeyed(give(folder, word, value))}


def _reading(folder: Path, read: Callable[[Record], Any]) -> Any:
    with Record(folder) as record:
        return read(record)


def _number_in(request: Request) -> int | None:
    said = request.path_params["number"]
    return int(said) if _NUMBER.fullmatch(said) else None


def _error(text: str, status: int) -> Response:
    return JSONResponse({"error": text}, status)


def _static_files() -> dict[str, bytes]:
    """The page's own files, and those of the charting library. Raises BadInput where that is missing."""
    own = resources.files("xdream.dashboard").joinpath("static")
    found = {
        one.name: one.read_bytes() for one in own.iterdir() if f".{one.name.rpartition('.')[2]}" in TYPES
    }
    library = importlib.util.find_spec("uplot")  # which is not imported: it would bring a shell
    if library is None or library.origin is None:
        raise BadInput("the live page needs the package uplot-python: pip install 'xdream[watch]'")
    folder = Path(library.origin).parent / "static"
    return found | {name: (folder / name).read_bytes() for name in ("uPlot.iife.js", "uPlot.min.css")}


# ---------------------------------------------------------------------- a port, and a loop


def listening(host: str, port: int | None, default: int) -> socket.socket:
    """A socket on a port; without one, on the default or any that is free. Raises BadInput."""
    numbers = [port] if port is not None else [default, 0]
    for number in numbers:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        taken = socket.socket(family)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host.strip("[]"), number))
            taken.listen(128)  # who hears of the address may come at once
        except (OSError, OverflowError) as error:
            taken.close()
            problem = error
        else:
            return taken
    raise BadInput(f"port {numbers[0]} of {host} cannot be had ({problem}); choose another with --port")


def run(page: Page, bound: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        page.application,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=END_S,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=16_384,
    )
    with contextlib.suppress(KeyboardInterrupt, StoreError):
        uvicorn.Server(config).run([bound])
