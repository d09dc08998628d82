"""What of a session is written down: every method is one transaction, or only reads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from xdream.store.base import ShownRow, ToldRow
from xdream.store.record import Record
from xdream.store.sqlite import Store, keep_images, utc_now

#: Blocks whose recordings do not count.
VOID_ENDINGS = ("rejected", "abandoned")
#: Codes of presentations: a digital word of 16 bits, without 0.
CODES = 65_535
#: Among so many rows a copy of one that is about no presentation is looked for.
LATEST = 10_000


@dataclass(frozen=True)
class Planned:
    """A presentation that is planned. place: in its block. at: (run, slot) of an image of a run, or None."""

    id: int
    block: int
    place: int
    at: tuple[int, int] | None
    reference: int | None
    repeat: int
    name: str
    pixels: str

    @property
    def code(self) -> int:
        """For rigs that can only mark an onset with a digital word."""
        return (self.id - 1) % CODES + 1


@dataclass(frozen=True)
class BlockRow:
    """A block as it stands. ending: None while it is open."""

    number: int
    generation: int
    fence: int
    holder: str | None
    ending: str | None


@dataclass(frozen=True)
class RecordingRow:
    """One row of an answer and what became of it."""

    block: int | None
    planned: int | None
    status: str
    reason: str | None
    name: str | None
    repeat: int | None
    raw: bytes | None
    source: str
    onset_s: float | None = None


@dataclass(frozen=True)
class Closing:
    """A block that ends, and why."""

    number: int
    ending: str
    reason: str | None = None


@dataclass(frozen=True)
class Event:
    """What the experimenter should know."""

    kind: str
    text: str
    generation: int | None = None
    block: int | None = None


def _clean(text: str | None) -> str | None:
    """What a rig or a user wrote, as text that can be written: half a character becomes its number."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


class Ledger:
    """The session's pages of a store. Of a record it can only read."""

    def __init__(self, store: Store | Record) -> None:
        self._read = store

    @property
    def store(self) -> Store:
        """Where it writes."""
        assert isinstance(self._read, Store)
        return self._read

    # ------------------------------------------------------------------ what is planned

    def next_ids(self, blocks_from: int = 1) -> tuple[int, int]:
        """The number of the next block and the id of the next presentation. blocks_from: of the first."""
        [(block,)] = self._read.query("SELECT coalesce(max(id) + 1, ?) FROM block", blocks_from)
        [(planned,)] = self._read.query("SELECT coalesce(max(id), 0) + 1 FROM planned")
        return block, planned

    def plan(
        self,
        generation: int,
        planned: Sequence[Planned],
        shown: Iterable[ShownRow] = (),
        events: Iterable[Event] = (),
        closing: Closing | None = None,
        kept: Mapping[str, bytes] | None = None,
    ) -> None:
        """New blocks of a generation, with the pixels of its images where they are new.

        kept: PNG files of images to be kept, by the SHA-256 of their pixels.
        """
        utc = utc_now()
        with self.store.transaction() as connection:
            if closing is not None:
                self._close(connection, closing)
            connection.executemany(
                "UPDATE image SET chunk = ?, pixels = ? WHERE run = ? AND generation = ? AND slot = ?",
                [(s.chunk, s.pixels, s.run, generation, s.slot) for s in shown],
            )
            connection.executemany(
                "INSERT INTO block (id, generation, planned_utc) VALUES (?, ?, ?)",
                [(number, generation, utc) for number in dict.fromkeys(p.block for p in planned)],
            )
            connection.executemany(
                "INSERT INTO planned (id, block, place, image, reference, repeat, name, pixels) VALUES"
                " (?, ?, ?, (SELECT id FROM image WHERE run = ? AND generation = ? AND slot = ?),"
                " ?, ?, ?, ?)",
                [
                    (
                        *(p.id, p.block, p.place),
                        *((None, None, None) if p.at is None else (p.at[0], generation, p.at[1])),
                        *(p.reference, p.repeat, p.name, p.pixels),
                    )
                    for p in planned
                ],
            )
            keep_images(connection, kept or {})
            self._note(connection, events)

    def blocks(self, generation: int) -> list[BlockRow]:
        """The blocks of a generation, in order."""
        rows = self._read.query(
            "SELECT id, generation, fence, holder, ending FROM block WHERE generation = ? ORDER BY id",
            generation,
        )
        return [BlockRow(*row) for row in rows]

    def block(self, number: int) -> BlockRow | None:
        """One block, if it is there."""
        rows = self._read.query(
            "SELECT id, generation, fence, holder, ending FROM block WHERE id = ?", number
        )
        return BlockRow(*rows[0]) if rows else None

    def planned(self, generation: int) -> list[Planned]:
        """Every planned presentation of a generation, in order, whatever became of its block."""
        rows = self._read.query(
            "SELECT p.id, p.block, p.place, i.run, i.slot, p.reference, p.repeat, p.name, p.pixels"
            " FROM planned AS p JOIN block AS b ON b.id = p.block LEFT JOIN image AS i ON i.id = p.image"
            " WHERE b.generation = ? ORDER BY p.block, p.place",
            generation,
        )
        return [
            Planned(i, block, place, None if run is None else (run, slot), reference, repeat, name, pixels)
            for i, block, place, run, slot, reference, repeat, name, pixels in rows
        ]

    def planned_as(self, block: int, name: str, repeat: int | None) -> int | None:
        """The planned presentation of a closed block that an answer means, if there is one."""
        rows = self._read.query(
            "SELECT id FROM planned WHERE block = ? AND name = ? AND (?3 IS NULL OR repeat = ?3) LIMIT 1",
            block,
            _clean(name),
            repeat,
        )
        return int(rows[0][0]) if rows else None

    # ------------------------------------------------------------------ what arrives

    def record(
        self,
        rows: Iterable[RecordingRow],
        closing: Closing | None = None,
        events: Iterable[Event] = (),
    ) -> None:
        """An answer's rows, with the end of the block where they end it."""
        utc, monotonic = utc_now(), time.monotonic()
        with self.store.transaction() as connection:
            connection.executemany(
                "INSERT INTO recording (block, planned, status, reason, name, repeat, raw, source,"
                " arrived_utc, arrived_monotonic_s, onset_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(r.block, r.planned, r.status, _clean(r.reason), _clean(r.name)),
                        *(r.repeat, r.raw, _clean(r.source), utc, monotonic, r.onset_s),
                    )
                    for r in rows
                ],
            )
            if closing is not None:
                self._close(connection, closing)
            self._note(connection, events)

    def answered(self, generation: int) -> dict[int, bytes | None]:
        """Of each planned presentation that was answered, the recording that counts: the first taken; None
        where the rig said that there is none."""
        rows = self._read.query(
            "SELECT r.planned, r.raw FROM recording AS r JOIN planned AS p ON p.id = r.planned"
            " JOIN block AS b ON b.id = p.block WHERE b.generation = ? AND r.status IN ('taken', 'missing')"
            " ORDER BY r.status = 'missing', r.id",
            generation,
        )
        found: dict[int, bytes | None] = {}
        for planned, raw in rows:
            found.setdefault(planned, raw)
        return found

    def latest_onset(self, block: int) -> float | None:
        """What the rig's clock said in the answer to a block that counts and came last; None: nothing."""
        rows = self._read.query(
            "SELECT r.onset_s FROM planned AS p JOIN recording AS r ON r.planned = p.id WHERE p.block = ?"
            " AND r.status IN ('taken', 'missing') AND r.onset_s IS NOT NULL ORDER BY r.id DESC LIMIT 1",
            block,
        )
        return float(rows[0][0]) if rows else None

    def taken_since(self, recording: int, before_block: int) -> list[tuple[int, bytes]]:
        """(id, raw) of the recordings after one that were taken in blocks before a block, in order."""
        return self._read.query(
            "SELECT id, raw FROM recording WHERE id > ? AND status = 'taken' AND block < ? ORDER BY id",
            recording,
            before_block,
        )

    def became(self, block: int, name: str, repeat: int | None, raw: bytes | None) -> str | None:
        """What became of a row that was written for a block, to the bit; None: none was. raw: None: the rig
        said that there is no response. repeat: None: any."""
        said = (block, _clean(name), repeat, raw)
        rows = self._read.query(
            "SELECT r.status FROM planned AS p JOIN recording AS r ON r.planned = p.id"
            " WHERE p.block = ?1 AND p.name = ?2 AND (?3 IS NULL OR p.repeat = ?3) AND r.raw IS ?4"
            " ORDER BY r.status NOT IN ('taken', 'missing'), r.id LIMIT 1",
            *said,
        ) or self._read.query(  # of no presentation: there is no index, and a copy comes soon
            "SELECT status FROM recording WHERE id > (SELECT max(id) FROM recording) - ?5 AND planned IS NULL"
            " AND block = ?1 AND name = ?2 AND repeat IS ?3 AND raw IS ?4 LIMIT 1",
            *said,
            LATEST,
        )
        return str(rows[0][0]) if rows else None

    def put_aside(self, block: int) -> list[tuple[int, bytes, float | None]]:
        """(planned, raw, onset_s) of the rows of a block that were quarantined and can be read, the latest
        first."""
        return self._read.query(
            "SELECT planned, raw, onset_s FROM recording WHERE block = ? AND status = 'quarantined'"
            " AND planned IS NOT NULL AND raw IS NOT NULL ORDER BY id DESC",
            block,
        )

    # ------------------------------------------------------------------ what is decided

    def lease(self, number: int, fence: int, holder: str, events: Iterable[Event] = ()) -> None:
        """A block goes to a rig."""
        with self.store.transaction() as connection:
            connection.execute(
                "UPDATE block SET fence = ?, holder = ? WHERE id = ?", (fence, _clean(holder), number)
            )
            self._note(connection, events)

    def tell(
        self,
        generation: int,
        rows: Sequence[ToldRow],
        references: Mapping[tuple[int, int], float],
        events: Iterable[Event] = (),
        kept: Mapping[str, bytes] | None = None,
    ) -> None:
        """The scores of a generation, the next states, and (reference, run) -> mean response so far.

        kept: PNG files of images to be kept, by the SHA-256 of their pixels.
        """
        with self.store.transaction() as connection:
            keep_images(connection, kept or {})
            self.store.tell(connection, generation, rows, since=1)
            connection.executemany(
                "INSERT OR REPLACE INTO reference_response VALUES (?, ?, ?)",
                [(reference, run, mean) for (reference, run), mean in references.items()],
            )
            self._note(connection, events)

    def rewind(
        self,
        closings: Iterable[Closing],
        since: int,
        until: int,
        reason: str,
        rows: Sequence[ToldRow],
        events: Iterable[Event],
    ) -> None:
        """Generations `since` to `until` (under way) do not count; the next is shown as before `since`."""
        with self.store.transaction() as connection:
            for closing in closings:
                self._close(connection, closing)
            connection.executemany(
                "INSERT OR IGNORE INTO void VALUES (?, ?, ?)",
                [(generation, since, _clean(reason)) for generation in range(since, until + 1)],
            )
            connection.executemany(
                "DELETE FROM reference_response WHERE run = ?", [(row.run,) for row in rows]
            )
            self.store.tell(connection, until, rows, since=1)
            self._note(connection, events)

    def rewinds(self) -> dict[int, int]:
        """Generation that was abandoned -> generation that was shown again after it."""
        return dict(self._read.query("SELECT max(generation), since FROM void GROUP BY since"))

    def is_void(self, generation: int) -> bool:
        """Whether the scores of a generation do not count."""
        return bool(self._read.query("SELECT 1 FROM void WHERE generation = ?", generation))

    def voids(self) -> int:
        """How many generations do not count."""
        [(count,)] = self._read.query("SELECT count(*) FROM void")
        return int(count)

    def pause(self) -> str | None:
        """Why the session is paused, as it was written last; None: it is not."""
        rows = self._read.query(
            "SELECT kind, text FROM event WHERE kind IN ('pause', 'go-on') ORDER BY id DESC LIMIT 1"
        )
        return str(rows[0][1]) if rows and rows[0][0] == "pause" else None

    def note(self, *events: Event) -> None:
        """Events alone."""
        with self.store.transaction() as connection:
            self._note(connection, events)

    def last_event(self) -> int:
        """The number of the latest event; 0: none."""
        [(number,)] = self._read.query("SELECT coalesce(max(id), 0) FROM event")
        return int(number)

    def events_since(self, number: int) -> list[tuple[int, Event]]:
        """(number, event) of those after one, in order."""
        rows = self._read.query(
            "SELECT id, kind, text, generation, block FROM event WHERE id > ? ORDER BY id", number
        )
        return [(row[0], Event(*row[1:])) for row in rows]

    def begin(self, channels: Sequence[str]) -> None:
        """The channels, once."""
        with self.store.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO channel VALUES (?, ?)", list(enumerate(channels)))

    # ------------------------------------------------------------------ within a transaction

    def _close(self, connection: apsw.Connection, closing: Closing) -> None:
        connection.execute(
            "UPDATE block SET closed_utc = ?, ending = ?, reason = ? WHERE id = ?",
            (utc_now(), closing.ending, _clean(closing.reason), closing.number),
        )

    def _note(self, connection: apsw.Connection, events: Iterable[Event]) -> None:
        utc, monotonic = utc_now(), time.monotonic()
        rows: list[tuple[Any, ...]] = [
            (utc, monotonic, e.generation, e.block, e.kind, _clean(e.text)) for e in events
        ]
        connection.executemany(
            "INSERT INTO event (utc, monotonic_s, generation, block, kind, text) VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
