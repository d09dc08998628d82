"""What the command line takes from the user's shell, so that none of it ends a command."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from xdream import text


def settle() -> None:
    """Consoles get what they can show, and figures are drawn whatever matplotlib is set to.

    XDream's figures go to files, by settings of its own: neither the backend of a notebook, which its shell
    commands inherit, nor a settings file is needed for them.
    """
    text.forgiving(sys.stdout, sys.stderr)
    os.environ["MPLBACKEND"] = "agg"
    if not _can_be_read(next(_settings_files(), None)):
        # It reads its file when it is imported, and one in the present folder first of all.
        with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
            Path("matplotlibrc").touch()
            import matplotlib  # noqa: F401


def _settings_files() -> Iterator[Path]:
    """Where matplotlib looks for its settings, those that are there; it takes the first."""
    home = Path(os.path.expanduser("~"))
    folders = [
        Path(),
        *(Path(os.environ[key]) for key in ("MATPLOTLIBRC", "MPLCONFIGDIR") if os.environ.get(key)),
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib",
        home / ".matplotlib",
    ]
    for place in folders:
        for path in (place, place / "matplotlibrc"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield path


def _can_be_read(path: Path | None) -> bool:
    try:
        return path is None or path.read_text("utf-8") is not None
    except (OSError, UnicodeDecodeError):
        return False
