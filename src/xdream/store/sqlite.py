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

from xdream.errors import StoreBusy, StoreError
from xdream.store import lock_file, migrations
from xdream.store.base import AskedRow, PresentationRow, RunRow, ShownRow, ToldRow
from xdream.store.connection import (
    APPLICATION_ID,
    FILE_NAME,
    connect,
    connected,
    notes_on,
    said_plainly,
)
from xdream.store.lock_file import LOCK_NAME
from xdream.store.migrations import SCHEMA_VERSION

if TYPE_CHECKING:
    import filelock

#: What it is called while it is being made.
NEW_NAME = "experiment.sqlite.new"


def utc_now() -> str:
    """The time as ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


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
        lock_file.sign(folder)
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
        lock_file.clear(self.folder)
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
        self,
        generation: int,
        shown: Iterable[ShownRow],
        rows: Iterable[PresentationRow],
        kept: Mapping[str, bytes] | None = None,
    ) -> None:
        """One chunk: what was shown and what was answered, in one transaction.

        kept: PNG files of images to be kept, by the SHA-256 of their pixels.
        """
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
            keep_images(connection, kept or {})

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

    def write_fact(self, key: str, value: str, kept: Mapping[str, bytes] | None = None) -> None:
        """A fact that was found, or changed, on the way. kept: images that it names, as in `write_block`."""
        with self.transaction() as connection:
            keep_images(connection, kept or {})
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


def keep_images(connection: apsw.Connection, kept: Mapping[str, bytes]) -> None:
    """Write PNG files, by the SHA-256 of their pixels, within a transaction; one that is there stays."""
    connection.executemany("INSERT OR IGNORE INTO kept_image VALUES (?, ?)", kept.items())


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
    connection = connected(new, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
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
