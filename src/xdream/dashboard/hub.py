"""One reader for all who look: the record is asked ten times a second whether it changed, and what is new is
sent to each. Who does not take it is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from xdream.errors import XDreamError

#: Between two looks; a sign of life when nothing happens; messages that may wait for one viewer.
LOOK_S, ALIVE_S, MOST_WAITING = 0.1, 5.0, 100


class Source(Protocol):
    """What can be looked at."""

    def update(self) -> dict[str, Any] | None:
        """What is new; None: nothing."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Everything so far."""
        ...

    def close(self) -> None:
        """Look no more."""
        ...


class Hub:
    """Viewers of one source, which is looked at while there are any."""

    def __init__(self, make: Callable[[], Source]) -> None:
        self._make = make
        self._source: Source | None = None
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._lock = asyncio.Lock()  # between a snapshot and what is new after it
        self._whole: bytes | None = None
        self._looking: asyncio.Task[None] | None = None

    async def messages(self) -> AsyncIterator[bytes]:
        """Server-sent events: first everything, then what is new. Raises XDreamError."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_WAITING)
        self._viewers.add(queue)  # now, so that whoever looks does not stop while this one waits
        try:
            async for message in self._messages(queue):
                yield message
        finally:
            self._viewers.discard(queue)

    async def _messages(self, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        async with self._lock:
            while not queue.empty():  # what came before the snapshot is in it
                queue.get_nowait()
            self._viewers.add(queue)  # again, if it had become full
            if self._source is None:
                self._source = await asyncio.to_thread(self._make)
                await asyncio.to_thread(self._source.update)
            if self._whole is None:
                self._whole = event("all", await asyncio.to_thread(self._source.snapshot))
            whole = self._whole
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
        yield whole
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), ALIVE_S)
            except TimeoutError:
                message = b": alive\n\n"
            if message is None:
                return
            yield message

    async def _look(self) -> None:
        """Until nobody looks any more."""
        while self._viewers:
            async with self._lock:
                assert self._source is not None
                try:
                    new = await asyncio.to_thread(self._source.update)
                    message = None if new is None else event("new", new)
                except Exception as error:  # the folder is gone, the disk failed: whatever it is, it is said
                    said = (
                        str(error) if isinstance(error, XDreamError) else f"{type(error).__name__}: {error}"
                    )
                    message = event("fault", {"text": said})
                if message is not None:
                    self._whole = None
                    self._send(message)
            await asyncio.sleep(LOOK_S)
        async with self._lock:
            if not self._viewers and self._source is not None:
                await asyncio.to_thread(self._source.close)
                self._source = self._whole = None

    def _send(self, message: bytes) -> None:
        for queue in list(self._viewers):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:  # it does not read: it may ask again for everything
                self._viewers.discard(queue)
                with contextlib.suppress(asyncio.QueueEmpty):
                    queue.get_nowait()
                queue.put_nowait(None)


def event(name: str, said: dict[str, Any]) -> bytes:
    """One server-sent event."""
    body = json.dumps(said, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {body}\n\n".encode()
