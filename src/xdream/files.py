"""Files that are written completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(path: str | Path) -> str:
    """A path to the same place from any folder."""
    return os.path.abspath(os.path.expanduser(path))


def replace(path: Path, data: bytes) -> None:
    """A file's new contents, on the disk when this returns; the old ones stay when it fails."""
    temporary = path.with_name(f"{path.name}.partial")
    try:
        temporary.write_bytes(data)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # what is left would take the room that is missing
        temporary.unlink(missing_ok=True)
        raise
