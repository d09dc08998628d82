"""The lock of an experiment's one writer as others see it: whether it runs is read, and never tried.

To try the lock could make a session that starts in this moment believe that there is another. The system
lists who holds a lock by the number of the file's inode; these are used again for other files, and are the
same on other file systems. So a writer signs its lock, and a reader compares.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = "writer.lock"
_PROC = Path("/proc")


def sign(folder: Path) -> None:
    """Say in a lock that this process holds who it is. Nothing where the system does not tell."""
    with contextlib.suppress(OSError):
        said = {"pid": os.getpid(), "started": _started(os.getpid()), "boot": _boot()}
        _write(folder, json.dumps(said).encode())


def clear(folder: Path) -> None:
    """Before the lock is given back."""
    with contextlib.suppress(OSError):
        _write(folder, b"")


def is_running(folder: Path) -> bool | None:
    """Whether a process writes to an experiment; None: this system does not say."""
    if not (_PROC / "locks").exists():
        return None
    try:
        stat = os.stat(folder / LOCK_NAME)
        holders = [pid for pid, inode in _locks() if inode == stat.st_ino]
    except OSError:
        return False
    signature = _signature(folder)
    if signature is None:  # of an earlier release, or of a process that has just begun
        return any(_has_open(pid, stat) for pid in holders)
    # Not the number of the process: in a container it has another one.
    return signature[1] == _boot() and any(_started_of(pid) == signature[0] for pid in holders)


def _write(folder: Path, data: bytes) -> None:
    """In its place: a new file would not be the one that is locked."""
    with (folder / LOCK_NAME).open("r+b") as file:
        file.truncate()
        file.write(data)


def _signature(folder: Path) -> tuple[int, str] | None:
    """When the process that signed began, and in which run of the system; None: nobody did."""
    try:
        said = json.loads((folder / LOCK_NAME).read_bytes())
        return int(said["started"]), str(said["boot"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locks() -> Iterator[tuple[int, int]]:
    """(process, inode) of every lock that is held."""
    for line in (_PROC / "locks").read_text("ascii").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] != "->":  # an arrow: somebody waits for it
            with contextlib.suppress(ValueError):
                yield int(fields[4]), int(fields[5].rpartition(":")[2])


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def _started(pid: int) -> int:
    """Ticks from the start of the system to that of a process; its name may hold anything."""
    return int((_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])


def _started_of(pid: int) -> int | None:
    try:
        return _started(pid)
    except (OSError, ValueError, IndexError):
        return None


def _has_open(pid: int, file: os.stat_result) -> bool:
    """Whether a process has this file open; of another user's this is not known, and it is believed."""
    try:
        for one in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(one.stat(), file):
                    return True
    except PermissionError:
        return True
    except OSError:
        pass
    return False
