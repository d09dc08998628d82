"""Older schemas: read as they are, or brought to the present one before they are written.

A store of schema 3 or later can be read and resumed for ever. A reader changes nothing in the file: it sees
the older tables through temporary views of the present form. A writer keeps a copy of the file, then brings
it to the present schema in one transaction.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

#: The schema that this release writes, and the oldest that it reads.
SCHEMA_VERSION, OLDEST_VERSION = 5, 3


@dataclass(frozen=True)
class Migration:
    """From one schema to the next. read: statements for the views of a reader. write: for the tables."""

    read: str
    write: str


#: By the schema that they start from.
MIGRATIONS = {
    # 4: `session` was the table of the processes that wrote; a run's generations are counted in `told`.
    3: Migration(
        read="CREATE TEMP VIEW process AS SELECT * FROM main.session;",
        write="ALTER TABLE session RENAME TO process; ALTER TABLE run DROP COLUMN generations;"
        "INSERT INTO experiment VALUES ('plan_schema', '3');",
    ),
    # 5: images that were shown are kept, and the onsets that a rig says.
    4: Migration(
        read="CREATE TEMP VIEW kept_image AS SELECT NULL AS pixels, NULL AS png WHERE false;"
        "CREATE TEMP VIEW recording AS SELECT *, NULL AS onset_s FROM main.recording;",
        write="CREATE TABLE kept_image (pixels TEXT PRIMARY KEY, png BLOB NOT NULL) STRICT;"
        "ALTER TABLE recording ADD COLUMN onset_s REAL;",
    ),
}


def version_of(connection: apsw.Connection) -> int:
    """The schema of a store."""
    return int(connection.pragma("user_version"))


def view_as_present(connection: apsw.Connection) -> None:
    """Let a reader see an older store as one of the present schema; again, after it was migrated."""
    for kind, name in connection.execute("SELECT type, name FROM sqlite_temp_schema").fetchall():
        connection.execute(f"DROP {kind} temp.{name}")
    for migration in _from(version_of(connection)):
        connection.execute(migration.read)


def keep_copy(connection: apsw.Connection, path: Path) -> Path:
    """A copy of an older store beside it, whole or not at all: `experiment.sqlite.schema-3`."""
    copy = path.with_name(f"{path.name}.schema-{version_of(connection)}")
    partial = copy.with_name(f"{copy.name}.partial")
    partial.unlink(missing_ok=True)  # of a process that was killed here
    try:
        target = apsw.Connection(str(partial))
        try:
            with target.backup("main", connection, "main") as backup:
                backup.step()
            target.pragma("journal_mode", "delete")
        finally:
            target.close()
        os.replace(partial, copy)
    except BaseException:  # what is left would take the room that is missing
        partial.unlink(missing_ok=True)
        raise
    return copy


def migrate(connection: apsw.Connection) -> None:
    """Bring the tables to the present schema, within the caller's transaction."""
    for migration in _from(version_of(connection)):
        connection.execute(migration.write)
    connection.pragma("user_version", SCHEMA_VERSION)


def _from(version: int) -> Iterator[Migration]:
    return (MIGRATIONS[number] for number in range(version, SCHEMA_VERSION))
