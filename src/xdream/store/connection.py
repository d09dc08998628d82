"""A connection to a store: checked, for a reader of whatever schema, with SQLite's errors as one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from xdream.errors import StoreBusy, StoreError, StoreFull
from xdream.store import migrations
from xdream.store.migrations import OLDEST_VERSION, SCHEMA_VERSION
from xdream.text import storable

FILE_NAME = "experiment.sqlite"
APPLICATION_ID = 0x58447265  # "XDre"

#: File systems on which SQLite's WAL is not safe, because its shared memory does not cross machines.
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs afs 9p lustre gpfs beegfs ceph glusterfs fuse.sshfs webdav".split()
)


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as the system names it; "" when it cannot be told."""
    import psutil  # not where a store is only read

    at = str(path.resolve())
    best, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        inside = at == mount.mountpoint or at.startswith(mount.mountpoint.rstrip(os.sep) + os.sep)
        if inside and len(mount.mountpoint) >= len(best):
            best, kind = mount.mountpoint, mount.fstype
    return kind


def notes_on(folder: Path) -> tuple[str, ...]:
    """What the user should know of the place of an experiment: whether it is a network share."""
    kind = file_system(folder)
    if kind.lower() not in NETWORK_FILE_SYSTEMS:
        return ()
    return (f"{folder} is on a network share ({kind}): a rollback journal is used instead of WAL",)


@contextlib.contextmanager
def said_plainly(path: Path) -> Iterator[None]:
    """SQLite's errors as one line with the file and the remedy."""
    try:
        yield
    except apsw.FullError:
        raise StoreFull(
            f"the disk is full: nothing more can be written to {path}; make room, then resume"
        ) from None
    except apsw.ReadOnlyError:
        raise StoreError(f"{path} is read-only; make it, and what lies beside it, writable") from None
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreError(f"{path} is damaged or not a database ({error}); restore it from a copy") from None
    except apsw.CantOpenError:
        raise StoreError(f"{path} cannot be opened; check that it exists and its permissions") from None
    except (apsw.BusyError, apsw.LockedError):
        raise StoreBusy(f"{path} is being written by another program; wait for it to end") from None
    except apsw.IOError as error:
        raise StoreError(f"{path}: the disk failed or is full ({error}); check it, then resume") from None
    except (apsw.NoMemError, apsw.TooBigError, apsw.ProtocolError, apsw.InternalError) as error:
        raise StoreError(f"{path}: the database failed ({error}); resume") from None
    except apsw.SQLError as error:
        raise StoreError(f"{path} is not a complete store of XDream ({error})") from None


def connect(path: Path, *, write: bool) -> apsw.Connection:
    """A connection to an existing store, checked: this program's, of a schema that it knows.

    An older store looks to a reader like one of the present schema; a writer has to migrate it. Raises
    StoreError for a file that is missing, damaged, of another program or of a newer schema.
    """
    if not path.is_file():
        raise StoreError(
            f"{path.parent} is no folder of an experiment or session (it has no {path.name}); "
            "give the folder that xdream evolve or serve wrote"
        )
    if path.stat().st_size == 0:
        raise StoreError(f"{path} is empty: damaged, or never started; start the experiment again")
    beside = [Path(f"{path}-wal"), Path(f"{path}-journal")]
    # A writer that is killed can leave a part of a page, but then a file beside it can mend it.
    if path.stat().st_size % 512 and not any(file.exists() and file.stat().st_size for file in beside):
        raise StoreError(f"{path} is damaged or not a database (its end is missing); restore it from a copy")
    with said_plainly(path):
        connection = _opened(path, write)
        try:
            _check(path, connection)
            if not write:
                migrations.view_as_present(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def rows_of(connection: apsw.Connection, path: Path, sql: str, bindings: tuple[Any, ...]) -> Any:
    """What a reader's query gives. Raises StoreError."""
    with said_plainly(path):
        try:
            return connection.execute(sql, bindings).fetchall()
        except apsw.SQLError:  # a writer may have brought the tables to another schema since they were seen
            migrations.view_as_present(connection)
            return connection.execute(sql, bindings).fetchall()


def _check(path: Path, connection: apsw.Connection) -> None:
    connection.set_busy_timeout(10_000)
    application = connection.pragma("application_id")
    version = migrations.version_of(connection)
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program; give the folder of an experiment")
    if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
        remedy = "upgrade xdream" if version > SCHEMA_VERSION else "use the release that wrote it"
        known = f"{OLDEST_VERSION} to {SCHEMA_VERSION}"
        raise StoreError(f"{path} has schema {version}; this release knows {known}: {remedy}")
    for table in ("run", "image", "presentation", "state"):
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()


def _opened(path: Path, write: bool) -> apsw.Connection:
    if write:
        return connected(path, apsw.SQLITE_OPEN_READWRITE)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    uri = path.resolve().as_uri()
    # A reader of a WAL file needs a writable folder, except when nobody can be writing.
    if not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        uri += "?immutable=1"
    return apsw.Connection(uri, flags=flags)


def connected(path: Path, flags: int) -> apsw.Connection:
    """A connection to a path of any bytes: SQLite is given UTF-8, but as a URI a path may have others."""
    name = str(path)
    if name != storable(name):
        name, flags = path.absolute().as_uri(), flags | apsw.SQLITE_OPEN_URI
    return apsw.Connection(name, flags=flags)
