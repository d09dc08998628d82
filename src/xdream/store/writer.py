"""One thread that writes while the next images are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

#: Writes that may be waiting: more would only take memory.
MOST_WAITING = 4


class Writer:
    """Writes in the order in which they are given; a context manager.

    After one that failed none is made, and the failure is raised by the next `put` or `wait`. Whatever
    leaves the context, what was given before is written first.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xdream writer")
        self._waiting: deque[Future[None]] = deque()
        self._failed: BaseException | None = None

    def put(self, write: Callable[..., None], *values: Any) -> None:
        """Have `write(*values)` called, after all that was given before."""
        self._check()
        while len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._write, write, *values))

    def wait(self) -> None:
        """Return when everything is written."""
        while self._waiting:
            self._waiting.popleft().result()
        self._check()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _write(self, write: Callable[..., None], *values: Any) -> None:
        if self._failed is not None:
            return
        try:
            write(*values)
        except BaseException as error:
            self._failed = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.wait()
