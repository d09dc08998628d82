"""What is new in a record since it was looked at last: a query costs what is new, not the whole history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdream.store.ledger import VOID_ENDINGS
from xdream.store.queries import Readable

#: Presentations of one kind whose recordings are looked at together.
MOST_RECORDINGS = 300
_RECORDED = (
    "SELECT p.id, i.run, i.slot, p.reference, r.raw FROM block AS b JOIN planned AS p ON p.block = b.id"
    " JOIN recording AS r ON r.planned = p.id AND r.status = 'taken' LEFT JOIN image AS i ON i.id = p.image"
    " WHERE b.generation = ?1 AND coalesce(b.ending, '') NOT IN ('rejected', 'abandoned')"
)


@dataclass(frozen=True)
class ToldGeneration:
    """One generation of one run. Scores: noise-free ones, which of a session are those of the recordings.

    images: asked; scored: those with a score. best_pixels: SHA-256 of the best image's pixels; None where it
    is not known. told_utc: ISO 8601.
    """

    run: int
    generation: int
    told_utc: str
    images: int
    scored: int
    best: float | None
    mean: float | None
    mean_square: float | None
    best_slot: int | None
    best_pixels: str | None


@dataclass(frozen=True)
class BlockTimes:
    """A block that has ended. Times: UTC, ISO 8601."""

    id: int
    generation: int
    planned_utc: str
    closed_utc: str
    ending: str


def told_since(store: Readable, last: Mapping[int, int]) -> list[ToldGeneration]:
    """The generations of each run after the last one that is known (-1: none), in order."""
    rows = store.query(
        # Columns beside one max() are those of the row that has it (SQLite's "bare columns").
        "SELECT t.run, t.generation, t.told_utc, count(*), count(i.noise_free_score),"
        " max(i.noise_free_score), avg(i.noise_free_score), avg(i.noise_free_score * i.noise_free_score),"
        " i.slot, i.pixels FROM json_each(?) AS k"
        " JOIN told AS t ON t.run = k.value ->> 0 AND t.generation > k.value ->> 1"
        " JOIN image AS i ON i.run = t.run AND i.generation = t.generation"
        " GROUP BY t.run, t.generation ORDER BY t.generation, t.run",
        json.dumps([list(one) for one in last.items()]),
    )
    nothing = (None, None)  # none has a score, so none is the best
    return [ToldGeneration(*row[:8], *(row[8:] if row[5] is not None else nothing)) for row in rows]


def best_since(store: Readable, last: Mapping[int, int]) -> dict[tuple[int, int], float | None]:
    """Best noise-free score by (run, generation), of the generations after the last ones that are known of
    each run (-1: none)."""
    rows = store.query(
        "SELECT t.run, t.generation, max(i.noise_free_score) FROM json_each(?) AS k"
        " JOIN told AS t ON t.run = k.value ->> 0 AND t.generation > k.value ->> 1"
        " JOIN image AS i ON i.run = t.run AND i.generation = t.generation GROUP BY t.run, t.generation",
        json.dumps([list(one) for one in last.items()]),
    )
    return {(run, generation): best for run, generation, best in rows}


def events_since(store: Readable, last: int) -> list[tuple[int, str, int | None, int | None, str, str]]:
    """(id, utc, generation, block, kind, text) of the events after one, in order."""
    return store.query(
        "SELECT id, utc, generation, block, kind, text FROM event WHERE id > ? ORDER BY id", last
    )


def recordings_since(store: Readable, last: int) -> tuple[int, dict[str, int]]:
    """(the id of the last row, rows by status) of the recordings after one."""
    rows = store.query("SELECT max(id), status, count(*) FROM recording WHERE id > ? GROUP BY status", last)
    return max([last, *(row[0] for row in rows)]), {status: count for _, status, count in rows}


def blocks_since(store: Readable, last: int) -> list[BlockTimes]:
    """The blocks after one that have ended, in order, up to the first that is open."""
    rows = store.query(
        "SELECT id, generation, planned_utc, closed_utc, ending FROM block WHERE id > ? ORDER BY id", last
    )
    found = []
    for row in rows:
        if row[4] is None:
            break
        found.append(BlockTimes(*row))
    return found


def answers_ended(store: Readable, generation: int) -> str | None:
    """When the last run's last presentation of a generation was answered, UTC; None: not known."""
    rows = store.query(
        "SELECT answered_utc FROM presentation WHERE generation = ? ORDER BY run DESC, id DESC LIMIT 1",
        generation,
    )
    return str(rows[0][0]) if rows else None


def references_answered(store: Readable, run: int, generation: int) -> list[float]:
    """The responses of one generation of an experiment to interleaved references, noise included."""
    return [
        value
        for (value,) in store.query(
            "SELECT response FROM presentation WHERE generation = ? AND run = ? AND reference IS NOT NULL"
            " AND response IS NOT NULL",
            *(generation, run),
        )
    ]


def open_block(store: Readable) -> dict[str, Any] | None:
    """The block that is shown: number, generation (from 0), holder, planned and answered presentations, and
    its images: (pixels, name, whether it is a reference), each once."""
    rows = store.query("SELECT id, generation, holder FROM block WHERE ending IS NULL ORDER BY id LIMIT 1")
    if not rows:
        return None
    number, generation, holder = rows[0]
    [(planned,)] = store.query("SELECT count(*) FROM planned WHERE block = ?", number)
    [(answered,)] = store.query(
        "SELECT count(DISTINCT p.id) FROM planned AS p JOIN recording AS r ON r.planned = p.id"
        " WHERE p.block = ? AND r.status IN ('taken', 'missing')",
        number,
    )
    [(aside,)] = store.query(
        "SELECT count(DISTINCT planned) FROM recording WHERE block = ? AND status = 'quarantined'"
        " AND planned IS NOT NULL",
        number,
    )
    images = store.query(
        "SELECT pixels, name, max(reference IS NOT NULL) FROM planned WHERE block = ?"
        " GROUP BY pixels ORDER BY min(place)",
        number,
    )
    return {
        "block": number,
        "generation": generation,
        "holder": holder,
        "planned": planned,
        "answered": answered,
        "aside": aside,
        "images": [list(row) for row in images],
    }


def under_way(store: Readable) -> tuple[int, int, int] | None:
    """(generation, presentations with an answer, presentations) of the generation that is shown; None: no
    block is open."""
    rows: list[tuple[int, int, int]] = store.query(
        "SELECT b.generation, count(DISTINCT r.planned), count(DISTINCT p.id) FROM block AS b"
        " JOIN planned AS p ON p.block = b.id LEFT JOIN recording AS r ON r.planned = p.id"
        " AND r.status IN ('taken', 'missing') WHERE coalesce(b.ending, '') NOT IN ('rejected', 'abandoned')"
        " AND b.generation = (SELECT generation FROM block WHERE ending IS NULL ORDER BY id LIMIT 1)"
        " GROUP BY b.generation"
    )
    return rows[0] if rows else None


def rejectable_blocks(store: Readable, count: int) -> list[tuple[int, int, str | None]]:
    """(number, generation, ending) of the latest blocks that can be rejected, the latest first.

    Those after the open one are planned and were never shown.
    """
    return store.query(
        "SELECT id, generation, ending FROM block WHERE coalesce(ending, '') NOT IN (?, ?)"
        " AND id <= coalesce((SELECT min(id) FROM block WHERE ending IS NULL), id)"
        " AND generation NOT IN (SELECT generation FROM void) ORDER BY id DESC LIMIT ?",
        *VOID_ENDINGS,
        count,
    )


def recorded(store: Readable, generation: int, *, references: bool) -> list[bytes]:
    """The recordings that count of a generation, of its images or of its references; at most
    MOST_RECORDINGS."""
    which = "IS NOT NULL" if references else "IS NULL"
    rows = store.query(
        f"{_RECORDED} AND p.reference {which} ORDER BY p.id LIMIT {MOST_RECORDINGS}", generation
    )
    return [row[4] for row in rows]


def voids(store: Readable) -> list[int]:
    """The generations that do not count."""
    return [number for (number,) in store.query("SELECT generation FROM void ORDER BY 1")]


def endings(store: Readable) -> dict[int, str | None]:
    """Why each run ended; None: it goes on."""
    return dict(store.query("SELECT id, ending FROM run ORDER BY id"))


def reference_statistics(store: Readable) -> dict[int, tuple[float, float, float, int]]:
    """(mean, mean of squares, best, how many) of the responses to references, by run."""
    rows = store.query(
        "SELECT run, avg(response), avg(response * response), max(response), count(response)"
        " FROM reference_response WHERE response IS NOT NULL GROUP BY run"
    )
    return {run: (mean, square, best, count) for run, mean, square, best, count in rows}


def last_told_utc(store: Readable) -> str | None:
    """When a generation was told last, UTC."""
    [(utc,)] = store.query("SELECT max(told_utc) FROM told")
    return None if utc is None else str(utc)


def version(store: Readable) -> int:
    """A number that changes with every commit of another process."""
    [(number,)] = store.query("PRAGMA data_version")
    return int(number)
