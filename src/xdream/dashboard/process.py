"""The page as a process of its own: for `xdream serve --watch` and for notebooks."""

from __future__ import annotations

import contextlib
import html
import json
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from xdream.errors import BadInput

#: How long it may take to start, and to end.
START_S, END_S = 20.0, 3.0


class View:
    """A page that is served by a process of its own, until `close` or the end of this one.

    In a notebook it shows itself. url: with the token, which orders need; whoever has it can steer.
    """

    def __init__(self, folder: str | Path, *, port: int | None = None, framed: bool = False) -> None:
        """Raises BadInput for a folder that holds nothing to watch."""
        command = [sys.executable, "-m", "xdream.cli", "watch", str(folder), "--json", "--with-parent"]
        command += [] if port is None else ["--port", str(port)]
        command += ["--framed"] if framed else []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        # The line comes when the page is served; a process that hangs before must not hold up a session.
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if ready else ""
        if not ready:
            self.close()
            raise BadInput(f"xdream watch has not started within {START_S:g} s")
        if not line:
            _, said = self._process.communicate(timeout=END_S)
            raise BadInput(said.strip().removeprefix("xdream: ") or "xdream watch did not start")
        self.url: str = json.loads(line)["url"]

    def close(self) -> None:
        """End the process."""
        process = self._process
        for stream in (process.stdin, process.stdout, process.stderr):
            _close(stream)  # it ends with its standard input, also when this process is killed
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _repr_html_(self) -> str:
        """For notebooks."""
        return (
            f'<iframe src="{html.escape(self.url)}" width="100%" height="760" style="border: 0" '
            'title="xdream watch"></iframe>'
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            with contextlib.suppress(Exception):
                self.close()


def view(folder: str | Path) -> View:
    """The live page of an experiment, session, tuning or study, running or finished, in a notebook.

    Raises BadInput for a folder that holds none of them.
    """
    return View(folder, framed=True)


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()
