"""What is in a store, for whoever reads: the loop on resume, the report, the user. Never writes."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import apsw
import numpy as np
import numpy.typing as npt

from xdream.errors import BadInput
from xdream.store import queries
from xdream.store.connection import FILE_NAME, connect, rows_of, said_plainly
from xdream.store.migrations import OLDEST_VERSION
from xdream.store.sqlite import code_of

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunRecord:
    """One run: what was planned, and how far it came. generations: that its optimizer was told."""

    id: int
    target: str
    seed: int
    optimizer: dict[str, Any]
    objective: dict[str, Any]
    generations: int
    spikes_per_activation: float | None
    ending: str | None

    @property
    def finished(self) -> bool:
        """Whether it came to its end: of its budget, of its progress (`plateau`), or by the user."""
        return self.ending is not None


@dataclass(frozen=True)
class ImageRecord:
    """One image that was told: where it comes from, its scores, the identity of its pixels.

    chunk, pixels: None in a record of scores.
    """

    id: int
    run: int
    generation: int
    slot: int
    chunk: int | None
    score: float
    noise_free_score: float
    pixels: str | None


@dataclass(frozen=True)
class EventRecord:
    """What happened in a session. generation from 0; None where it belongs to none."""

    utc: str
    generation: int | None
    block: int | None
    kind: str
    text: str


class Record:
    """Read-only view of an experiment's folder, which may still be growing; a context manager.

    Raises StoreError.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._connection = connect(self.folder / FILE_NAME, write=False)
        self.facts: dict[str, str] = dict(self._rows("SELECT key, value FROM experiment"))
        self._version: Any = None
        self._scores: dict[int, list[Array]] = {}  # as they were in that version

    def runs(self) -> list[RunRecord]:
        """All runs, in the order of the plan."""
        return [
            RunRecord(i, target, seed, json.loads(optimizer), json.loads(objective), generations, k, ending)
            for i, target, seed, optimizer, objective, generations, k, ending in self._rows(
                "SELECT id, target, seed, optimizer, objective,"
                " (SELECT count(*) FROM told WHERE told.run = run.id), spikes_per_activation, ending"
                " FROM run ORDER BY id"
            )
        ]

    @property
    def plan_schema(self) -> int:
        """The schema of the release that stored the plan: what the plan lacks has the value of that time."""
        return int(self.facts.get("plan_schema", OLDEST_VERSION))

    @property
    def started(self) -> bool:
        """Whether the optimizers have their first states."""
        return queries.started(self)

    @property
    def finished(self) -> bool:
        """Whether every run came to its end."""
        return all(run.finished for run in self.runs())

    @property
    def keeps_everything(self) -> bool:
        """Whether every code and response is here; if not, `xdream.experiment.replay` derives the codes."""
        return self.facts.get("record", "everything") == "everything"

    @property
    def is_session(self) -> bool:
        """Whether a rig answered, whose recordings are here."""
        return "session" in self.facts

    def void_generations(self) -> list[int]:
        """Those whose scores do not count, because a block was rejected after they were told."""
        return [number for (number,) in self._rows("SELECT generation FROM void ORDER BY 1")]

    def check_block(self, number: int) -> None:
        """Raise BadInput unless a session has planned a block of this number."""
        [(first, last)] = self._rows("SELECT min(id), max(id) FROM block")
        if last is None or not first <= number <= last:
            there = "it has none yet" if last is None else f"it has {first} to {last}"
            raise BadInput(f"{self.folder} has no block {number}; {there}")

    def events(self) -> list[EventRecord]:
        """What a session's experimenter should know, in the order in which it happened."""
        rows = self._rows("SELECT utc, generation, block, kind, text FROM event ORDER BY id")
        return [EventRecord(*row) for row in rows]

    @property
    def references(self) -> list[tuple[str, str]]:
        """(name, SHA-256 of the file) of each reference."""
        return list(self._rows("SELECT name, sha256 FROM reference ORDER BY id"))

    def versions(self) -> list[dict[str, str]]:
        """The versions with which each session worked, the first that of the beginning."""
        return [json.loads(text) for (text,) in self._rows("SELECT versions FROM process ORDER BY id")]

    @property
    def seconds(self) -> float:
        """Time spent, over all sessions, from each one's start to its last commit."""
        [(seconds,)] = self._rows("SELECT coalesce(sum(seconds), 0) FROM process")
        return float(seconds)

    def presentation_count(self, run: int) -> int:
        """Showings of generated images that were told, repeats included."""
        return self._presentations(run).get(run, 0)

    def presentations_of_runs(self) -> dict[int, int]:
        """The same of every run, in one query."""
        return dict.fromkeys((run for (run,) in self._rows("SELECT id FROM run")), 0) | self._presentations()

    def _presentations(self, run: int | None = None) -> dict[int, int]:
        """Of one run or of all; one that has none is left out."""
        which = "" if run is None else f" AND run.id = {int(run)}"
        if self.is_session:
            return dict(
                self._rows(
                    "SELECT run.id, count(DISTINCT p.id) FROM planned AS p JOIN recording AS r"
                    " ON r.planned = p.id JOIN block AS b ON b.id = p.block JOIN image AS i ON i.id = p.image"
                    " JOIN told AS t ON t.run = i.run AND t.generation = i.generation"
                    " JOIN run ON run.id = i.run"
                    " WHERE r.status = 'taken' AND b.ending NOT IN ('rejected', 'abandoned')"
                    f" AND i.generation NOT IN (SELECT generation FROM void){which} GROUP BY run.id"
                )
            )
        if not self.keeps_everything:
            repeats = int(self.facts["repeats"])
            told = (
                "SELECT run.id, count(*) FROM image JOIN told USING (run, generation)"
                f" JOIN run ON run.id = image.run WHERE true{which} GROUP BY run.id"
            )
            return {of: images * repeats for of, images in self._rows(told)}
        return dict(
            self._rows(
                "SELECT run.id, count(*) FROM presentation AS p JOIN told USING (run, generation)"
                f" JOIN run ON run.id = p.run WHERE image IS NOT NULL{which} GROUP BY run.id"
            )
        )

    def silent_runs(self) -> list[int]:
        """Runs with told generations but without a single response."""
        rows = self._rows(
            "SELECT DISTINCT run FROM told AS t WHERE NOT EXISTS"  # which ends with the first response
            " (SELECT 1 FROM image AS i WHERE i.run = t.run AND noise_free_score IS NOT NULL) ORDER BY run"
        )
        return [run for (run,) in rows]

    def silent_starts(self) -> dict[int, int]:
        """How many generations had equal scores at the start of a run, of the runs that have such."""
        first = "SELECT max(score) = min(score) FROM image WHERE run = run.id AND generation = 0"
        found = {}
        for (run,) in self._rows(f"SELECT id FROM run WHERE ({first}) ORDER BY id"):
            [(told, awake)] = self._rows(
                "SELECT (SELECT count(*) FROM told WHERE run = ?),"
                " (SELECT generation FROM image WHERE run = ? GROUP BY generation"
                " HAVING max(score) > min(score) ORDER BY generation LIMIT 1)",
                run,
                run,
            )
            found[run] = told if awake is None else awake
        return found

    def scores(self, run: int, *, noise_free: bool = True) -> list[Array]:
        """(population,) scores of each generation that was told; NaN = not seen, or void (`rejected`)."""
        version = self._rows("PRAGMA data_version")
        if version != self._version:  # another process has written since
            self._version, self._scores = version, {}
        if run not in self._scores:  # which takes time: scores lie behind their codes
            self._scores[run] = list(queries.scores(self, run, with_void=True).values())
        return [both[int(noise_free)].copy() for both in self._scores[run]]

    def reference_responses(self, run: int) -> Array:
        """(N,) noise-free responses to the references."""
        rows = self._rows("SELECT response FROM reference_response WHERE run = ? ORDER BY reference", run)
        return np.array([np.nan if r is None else r for (r,) in rows], dtype=np.float64)

    def best_image(self, run: int, generation: int | None = None) -> ImageRecord | None:
        """The image with the best noise-free score: of one generation that was told, or of all."""
        where = "" if generation is None else f" AND generation = {int(generation)}"
        rows = list(
            self._rows(
                "SELECT id, run, generation, slot, chunk, score, noise_free_score, pixels FROM image"
                f" JOIN told USING (run, generation) WHERE run = ?{where} AND noise_free_score IS NOT NULL"
                " AND generation NOT IN (SELECT generation FROM void)"
                " ORDER BY noise_free_score DESC, id LIMIT 1",
                run,
            )
        )
        if not rows:
            return None
        image, of_run, at, slot, chunk, score, clean, pixels = rows[0]
        observed = np.nan if score is None else score
        return ImageRecord(image, of_run, at, slot, chunk, observed, clean, pixels)

    def kept_image(self, pixels: str | None) -> bytes | None:
        """The PNG file of a shown image, by the SHA-256 of its pixels; None where it was not kept."""
        rows = self._rows("SELECT png FROM kept_image WHERE pixels = ?", pixels)
        return bytes(rows[0][0]) if rows else None

    def chunk_codes(self, image: ImageRecord) -> tuple[npt.NDArray[np.float32], int]:
        """The codes that were drawn together with an image, (n, d), in order; and its row among them.

        Images are not stored: they are drawn again from their codes, in the same company, and compared
        with the identity that was noted when they were shown.
        """
        rows = list(
            self._rows(
                "SELECT id, code FROM image WHERE generation = ? AND chunk = ? ORDER BY run, slot",
                image.generation,
                image.chunk,
            )
        )
        return np.stack([code_of(code) for _, code in rows]), [i for i, _ in rows].index(image.id)

    def codes(self, run: int, generation: int) -> dict[int, npt.NDArray[np.float32]]:
        """The codes of a generation that are here, by slot."""
        rows = self._rows(
            "SELECT slot, coalesce(i.code, k.code) FROM image AS i"
            " LEFT JOIN kept_code AS k USING (run, generation, slot)"
            " WHERE run = ? AND generation = ? AND coalesce(i.code, k.code) IS NOT NULL ORDER BY slot",
            run,
            generation,
        )
        return {slot: code_of(code) for slot, code in rows}

    def states(self, run: int) -> dict[int, bytes]:
        """The states of a run's optimizer that are here, by the generation that comes after each."""
        return dict(self._rows("SELECT generation, tensors FROM state WHERE run = ? ORDER BY 1", run))

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that follows from the plan, times and sessions left out: equal for equal experiments."""
        return {
            "run": list(
                self._rows(
                    "SELECT id, target, seed, optimizer, objective, spikes_per_activation, ending FROM run"
                )
            ),
            "reference": list(self._rows("SELECT * FROM reference_response ORDER BY run, reference")),
            "image": list(
                self._rows(
                    "SELECT run, generation, slot, chunk, code, pixels, score, noise_free_score FROM image"
                    " ORDER BY run, generation, slot"
                )
            ),
            "presentation": list(
                self._rows(
                    "SELECT p.run, p.generation, p.chunk, i.slot, reference, repeat, response, noise_free"
                    " FROM presentation AS p LEFT JOIN image AS i ON i.id = p.image"
                    " ORDER BY p.run, p.generation, p.chunk, i.slot, reference, repeat"
                )
            ),
            "kept_code": list(self._rows("SELECT * FROM kept_code ORDER BY run, generation, slot")),
            "state": list(self._rows("SELECT * FROM state ORDER BY run, generation")),
            "planned": list(self._rows("SELECT * FROM planned ORDER BY id")),
            "block": list(self._rows("SELECT id, generation, fence, ending FROM block ORDER BY id")),
            "taken": list(
                self._rows("SELECT planned, raw FROM recording WHERE status = 'taken' ORDER BY planned, id")
            ),
            "void": list(self._rows("SELECT generation, since FROM void ORDER BY 1")),
        }

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Record]:
        """This record as it is now, whatever is written meanwhile: for readers with many queries.

        The writer goes on. Where the store has no write-ahead log (a network share) a reader would hold the
        writer up, and so a copy is read, in the system's folder for temporary files. Raises StoreError.
        """
        path = self.folder / FILE_NAME
        if self.finished or self._connection.pragma("journal_mode") == "wal":
            self._rows("BEGIN")
            try:
                self._rows("SELECT 1 FROM experiment LIMIT 1")  # a transaction begins with its first look
                yield self
            finally:
                self._rows("ROLLBACK")
            return
        with tempfile.TemporaryDirectory(prefix="xdream-") as place:
            with (
                said_plainly(path),
                contextlib.closing(apsw.Connection(str(Path(place) / FILE_NAME))) as copy,
                copy.backup("main", self._connection, "main") as work,
            ):
                work.step()
            with type(self)(place) as of_copy:
                of_copy.folder = self.folder
                yield of_copy

    def query(self, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        rows: list[tuple[Any, ...]] = self._rows(sql, *bindings)
        return rows

    def close(self) -> None:
        """End the reading."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, sql: str, *bindings: Any) -> Any:
        return rows_of(self._connection, self.folder / FILE_NAME, sql, bindings)
