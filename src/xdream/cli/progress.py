"""A progress bar on standard error for the stages of an experiment or a training."""

from __future__ import annotations

import sys
from datetime import datetime
from types import TracebackType

from tqdm import tqdm


class Bar:
    """A callback that draws a bar; a context manager, so that the bar is closed when the work fails.

    hidden: no bar, only lines. log: the same where it would go to a file or a pipe, in which a bar that is
    drawn for hours buries the lines.
    """

    def __init__(self, *, hidden: bool = False, log: bool = False) -> None:
        self._hidden = hidden or (log and not sys.stderr.isatty())
        self._stage = ""
        self._bar: tqdm[None] | None = None

    def stage(self, name: str, done: int, total: int) -> None:
        """Move the bar; a new name begins a new one."""
        if name != self._stage or self._bar is None:
            self._close()
            # `initial`: what an earlier session did says nothing about today's speed.
            self._bar = tqdm(total=total, initial=done, desc=name, disable=self._hidden, leave=True)
            self._stage = name
        self._bar.update(done - self._bar.n if not self._hidden else 0)

    def best(self, score: float) -> None:
        """Write the best score of the last generation beside the bar."""
        self.note(f"best of this generation {score:.3g}")

    def trouble(self, text: str) -> None:
        """Write a line above the bar, with the time."""
        tqdm.write(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Write a short text beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
