"""The store in one SQLite file, `experiment.sqlite` in the experiment's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
import numpy.typing as npt

from xdream.errors import StoreBusy, StoreError, StoreFull
from xdream.store import migrations
from xdream.store.base import AskedRow, PresentationRow, RunRow, ShownRow, ToldRow
from xdream.store.migrations import OLDEST_VERSION, SCHEMA_VERSION
from xdream.text import storable

if TYPE_CHECKING:
    import filelock

FILE_NAME = "experiment.sqlite"
#: What it is called while it is being made.
NEW_NAME = "experiment.sqlite.new"
LOCK_NAME = "writer.lock"
APPLICATION_ID = 0x58447265  # "XDre"

#: File systems on which SQLite's WAL is not safe, because its shared memory does not cross machines.
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs afs 9p lustre gpfs beegfs ceph glusterfs fuse.sshfs webdav".split()
)


def utc_now() -> str:
    """The time as ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


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


@contextlib.contextmanager
def _whole(connection: apsw.Connection) -> Iterator[None]:
    """One transaction: all of it, or after any exception nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def connect(path: Path, *, write: bool) -> apsw.Connection:
    """A connection to an existing store, checked: this program's, of a schema that it knows.

    An older store looks to a reader like one of the present schema; a writer has to migrate it. Raises
    StoreError for a file that is missing, damaged, of another program or of a newer schema.
    """
    if not path.is_file():
        raise StoreError(f"{path} does not exist; give the folder of an experiment")
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
        return _connected(path, apsw.SQLITE_OPEN_READWRITE)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    uri = path.resolve().as_uri()
    # A reader of a WAL file needs a writable folder, except when nobody can be writing.
    if not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        uri += "?immutable=1"
    return apsw.Connection(uri, flags=flags)


def _connected(path: Path, flags: int) -> apsw.Connection:
    name = str(path)
    if name != storable(name):  # SQLite is given UTF-8; as a URI a path may have any bytes
        name, flags = path.absolute().as_uri(), flags | apsw.SQLITE_OPEN_URI
    return apsw.Connection(name, flags=flags)


class Store:
    """The one writer of an experiment. Made by `create` or `open_existing`; a context manager."""

    def __init__(self, folder: Path, lock: filelock.BaseFileLock, connection: apsw.Connection) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        self._lock = lock
        self._connection = connection
        self._process = 0
        self._made: list[Path] = []
        self._began = time.monotonic()

    @classmethod
    def create(
        cls,
        folder: Path,
        facts: Mapping[str, str],
        versions: Mapping[str, str],
        runs: Sequence[RunRow],
        references: Sequence[tuple[str, str]],
    ) -> Store:
        """A new store in `folder`, which is made if need be; whole or not at all.

        facts: what goes into the table `experiment`. references: (name, sha256). Raises StoreError when the
        folder already holds an experiment or cannot be written, StoreBusy when one lives in it.
        """
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _remove_files(folder, made)
            raise StoreError(f"folder {folder} cannot be made: {error.strerror}") from None
        lock = locked(folder)
        path = folder / FILE_NAME
        try:
            check_new(folder)
        except StoreError:
            lock.release()
            raise
        try:
            with said_plainly(path):
                _write_first(folder, facts, runs, references)
            store = cls._begun(folder, lock, versions)
        except BaseException:
            lock.release()
            _remove_files(folder, made)
            raise
        store._made = made
        return store

    @classmethod
    def open_existing(cls, folder: Path, versions: Mapping[str, str]) -> Store:
        """The store of an experiment that goes on. Raises StoreError, StoreBusy."""
        connect(folder / FILE_NAME, write=False).close()
        lock = locked(folder)
        try:
            return cls._begun(folder, lock, versions)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _begun(cls, folder: Path, lock: filelock.BaseFileLock, versions: Mapping[str, str]) -> Store:
        """The store in a folder that this process has locked, of the present schema."""
        store = cls(folder, lock, connect(folder / FILE_NAME, write=True))
        try:
            with said_plainly(store.path):
                if migrations.version_of(store._connection) < SCHEMA_VERSION:
                    migrations.keep_copy(store._connection, store.path)
                    with _whole(store._connection):
                        migrations.migrate(store._connection)
                store._set_journal()
                with _whole(store._connection):
                    store._note_process(versions)
        except BaseException:
            store._connection.close()
            raise
        return store

    def close(self) -> None:
        """End the writing. One file stays (unless somebody is reading), and the lock, which is empty."""
        with contextlib.suppress(apsw.Error):
            self._connection.pragma("journal_mode", "delete")
        self._connection.close()
        self._lock.release()

    def discard(self) -> None:
        """End the writing and remove the experiment, with the folders that were made for it."""
        self.close()
        _remove_files(self.folder, self._made)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write_reference_responses(self, rows: Iterable[tuple[int, int, float]]) -> None:
        """(reference, run, response) without noise."""
        with self.transaction() as connection:
            connection.executemany("INSERT INTO reference_response VALUES (?, ?, ?)", rows)

    def write_start(self, spikes: Mapping[int, float], states: Mapping[int, bytes]) -> None:
        """The runs' noise scales and first states: from here on the generations run."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE run SET spikes_per_activation = ? WHERE id = ?",
                [(k, run) for run, k in spikes.items()],
            )
            connection.executemany(
                "INSERT INTO state VALUES (?, 0, ?)", [(run, state) for run, state in states.items()]
            )

    def write_asked(self, generation: int, rows: Iterable[AskedRow]) -> None:
        """The codes of a generation, before anything of it is shown."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO image (run, generation, slot, code) VALUES (?, ?, ?, ?)",
                [(r.run, generation, r.slot, blob_of(r.code)) for r in rows],
            )

    def write_answers(
        self, generation: int, shown: Iterable[ShownRow], rows: Iterable[PresentationRow]
    ) -> None:
        """One chunk: what was shown and what was answered, in one transaction."""
        utc, monotonic = utc_now(), time.monotonic()
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE image SET chunk = ?, pixels = ? WHERE run = ? AND generation = ? AND slot = ?",
                [(s.chunk, s.pixels, s.run, generation, s.slot) for s in shown],
            )
            connection.executemany(
                "INSERT INTO presentation (run, generation, chunk, image, reference, repeat, response,"
                " noise_free, answered_utc, answered_monotonic_s) VALUES (?1, ?2, ?3, (SELECT id FROM image"
                " WHERE run = ?1 AND generation = ?2 AND slot = ?4), ?5, ?6, ?7, ?8, ?9, ?10)",
                [(r.run, generation, *dataclasses.astuple(r)[1:], utc, monotonic) for r in rows],
            )

    def write_told(self, generation: int, rows: Iterable[ToldRow]) -> None:
        """The scores of a generation, and with them what else of it is to be kept, in one transaction."""
        with self.transaction() as connection:
            self.tell(connection, generation, rows)

    def tell(
        self, connection: apsw.Connection, generation: int, rows: Iterable[ToldRow], since: int = 0
    ) -> None:
        """The same within a transaction. since: of the states from this one on only the new one stays."""
        utc = utc_now()
        for row in rows:
            # In a record of scores the images are not there yet.
            connection.executemany(
                "INSERT INTO image (run, generation, slot, score, noise_free_score)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, generation, slot)"
                " DO UPDATE SET score = excluded.score, noise_free_score = excluded.noise_free_score",
                [
                    (row.run, generation, slot, score, clean)
                    for slot, (score, clean) in enumerate(zip(row.scores, row.noise_free_scores, strict=True))
                ],
            )
            connection.execute("INSERT INTO told VALUES (?, ?, ?)", (row.run, generation, utc))
            if row.state is not None:
                _write_state(connection, row.run, generation + 1, row.state, since)
            if row.dropped is not None:
                connection.execute(
                    "DELETE FROM kept_code WHERE run = ? AND generation = ? AND slot = ?",
                    (row.run, *row.dropped),
                )
            connection.executemany(
                "INSERT INTO kept_code VALUES (?, ?, ?, ?)",
                [(row.run, generation, slot, blob_of(code)) for slot, code in row.codes.items()],
            )
            if row.ending is not None:
                connection.execute(
                    "UPDATE run SET finished_utc = ?, ending = ? WHERE id = ?", (utc, row.ending, row.run)
                )

    def write_states(self, generation: int, states: Mapping[int, bytes]) -> None:
        """The runs' states before a generation, beside the first ones, instead of others."""
        with self.transaction() as connection:
            for run, state in states.items():
                _write_state(connection, run, generation, state, since=1)

    def write_fact(self, key: str, value: str) -> None:
        """A fact that was found, or changed, on the way."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO experiment VALUES (?, ?)", (key, value))

    def query(self, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, for what the loop must know to go on."""
        with said_plainly(self.path):
            return list(self._connection.execute(sql, bindings))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """All of what is written within, or nothing. Raises StoreError; StoreFull when there is no room."""
        with said_plainly(self.path), _whole(self._connection):
            yield self._connection
            self._connection.execute(
                "UPDATE process SET seconds = ? WHERE id = ?",
                (time.monotonic() - self._began, self._process),
            )

    def _note_process(self, versions: Mapping[str, str]) -> None:
        self._connection.execute(
            "INSERT INTO process (started_utc, versions) VALUES (?, ?)",
            (utc_now(), json.dumps(dict(versions))),
        )
        self._process = self._connection.last_insert_rowid()

    def _set_journal(self) -> None:
        """WAL, every commit on the disk; on a network share, where WAL is not safe, a rollback journal."""
        self._connection.set_busy_timeout(10_000)
        self._connection.pragma("journal_mode", "delete" if notes_on(self.folder) else "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.pragma("foreign_keys", True)


def check_new(folder: Path) -> None:
    """Raise StoreError when a folder already holds an experiment."""
    if (folder / FILE_NAME).exists():
        raise StoreError(
            f"{folder} already holds an experiment; resume it (xdream resume {folder}) or choose another"
        )


def locked(folder: Path, name: str = LOCK_NAME) -> filelock.BaseFileLock:
    """The lock of a folder's one writer, taken. Raises StoreBusy, StoreError."""
    import filelock  # not where a store is only read

    lock = filelock.FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StoreBusy(
            f"{folder} is in use by a running experiment; wait for it, or choose another folder"
        ) from None
    except PermissionError:
        raise StoreError(f"folder {folder} is read-only; make it writable, or copy it") from None
    except OSError as error:
        raise StoreError(f"folder {folder} cannot be written: {error.strerror}") from None
    return lock


def _write_first(
    folder: Path, facts: Mapping[str, str], runs: Sequence[RunRow], references: Sequence[tuple[str, str]]
) -> None:
    """The file as it is before the first session: under another name until it is whole."""
    new = folder / NEW_NAME
    for leftover in (new, folder / f"{NEW_NAME}-journal"):  # of a process that was killed here
        leftover.unlink(missing_ok=True)
    connection = _connected(new, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        with _whole(connection):
            connection.execute(resources.files("xdream.store").joinpath("schema.sql").read_text())
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", SCHEMA_VERSION)
            connection.executemany("INSERT INTO experiment VALUES (?, ?)", facts.items())
            connection.executemany(
                "INSERT INTO run (id, target, seed, optimizer, objective) VALUES (?, ?, ?, ?, ?)",
                [(r.id, r.target, r.seed, r.optimizer, r.objective) for r in runs],
            )
            connection.executemany(
                "INSERT INTO reference (id, name, sha256) VALUES (?, ?, ?)",
                [(i, name, digest) for i, (name, digest) in enumerate(references)],
            )
    finally:
        connection.close()
    os.replace(new, folder / FILE_NAME)


def _write_state(connection: apsw.Connection, run: int, generation: int, state: bytes, since: int) -> None:
    """A state instead of those of the generations from `since` on."""
    connection.execute("DELETE FROM state WHERE run = ? AND generation >= ?", (run, since))
    connection.execute("INSERT INTO state VALUES (?, ?, ?)", (run, generation, state))


def _remove_files(folder: Path, made: Sequence[Path]) -> None:
    """Remove an experiment's files, and those folders, innermost first, that were made for them."""
    names = [
        f"{name}{ending}" for name in (FILE_NAME, NEW_NAME) for ending in ("", "-wal", "-shm", "-journal")
    ]
    for name in (*names, LOCK_NAME):
        with contextlib.suppress(OSError):  # not there, or the folder is none
            (folder / name).unlink()
    for path in made:
        with contextlib.suppress(OSError):  # other things are in it
            path.rmdir()


def blob_of(code: npt.NDArray[np.float32]) -> bytes:
    """A code as it is stored: float32, little endian."""
    return code.astype("<f4").tobytes()


def code_of(blob: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A stored code as float32."""
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)
