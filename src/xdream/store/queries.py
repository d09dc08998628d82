"""Queries that the reader and the writer share: one function for each."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Readable(Protocol):
    """A `Record`, or the `Store` that is being written."""

    def query(self, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        ...


def fact(store: Readable, key: str) -> str:
    """One fact of the experiment: its plan, its batch size, …"""
    [(value,)] = store.query("SELECT value FROM experiment WHERE key = ?", key)
    return str(value)


def facts(store: Readable) -> dict[str, str]:
    """Every fact, by its key."""
    return dict(store.query("SELECT key, value FROM experiment"))


def started(store: Readable) -> bool:
    """Whether the optimizers have their first states."""
    return bool(store.query("SELECT 1 FROM state LIMIT 1"))


def ended_runs(store: Readable) -> set[int]:
    """The runs that have ended."""
    return {run for (run,) in store.query("SELECT id FROM run WHERE ending IS NOT NULL")}


def generations_told(store: Readable) -> int:
    """How many generations the optimizers were told, void ones included."""
    [(told,)] = store.query("SELECT coalesce(max(generation), -1) + 1 FROM told")
    return int(told)


def latest_states(store: Readable) -> dict[int, tuple[int, bytes]]:
    """The latest state of each run, and the generation that comes after it."""
    rows = store.query("SELECT run, generation, tensors FROM state ORDER BY generation")
    return {run: (generation, state) for run, generation, state in rows}


def first_states(store: Readable) -> dict[int, bytes]:
    """The state of each run before its first generation."""
    return dict(store.query("SELECT run, tensors FROM state WHERE generation = 0"))


def noise_scales(store: Readable) -> dict[int, float | None]:
    """Spikes per unit of activation of each run; None without noise."""
    return dict(store.query("SELECT id, spikes_per_activation FROM run"))


def told_scores(store: Readable, run: int, generation: int) -> list[float]:
    """(population,) scores as a generation was told, by slot; NaN = not seen."""
    rows = store.query(
        "SELECT score FROM image WHERE run = ? AND generation = ? ORDER BY slot", run, generation
    )
    return [np.nan if score is None else score for (score,) in rows]


def scores(store: Readable, run: int, *, with_void: bool) -> dict[int, npt.NDArray[np.float64]]:
    """(2, population) scores of each generation that a run was told, with noise and without; NaN = not seen.

    with_void: void generations, too, as NaN; otherwise they are left out.
    """
    void = "generation IN (SELECT generation FROM void)"
    found: dict[int, list[tuple[float | None, float | None]]] = {}
    for generation, *both in store.query(
        f"SELECT generation, iif({void}, NULL, score), iif({void}, NULL, noise_free_score)"
        " FROM image JOIN told USING (run, generation)"
        f" WHERE run = ? AND (? OR NOT {void}) ORDER BY generation, slot",
        run,
        with_void,
    ):
        found.setdefault(generation, []).append((both[0], both[1]))
    return {generation: np.array(values, dtype=np.float64).T for generation, values in found.items()}


def reference_responses(store: Readable) -> dict[int, dict[int, float]]:
    """Noise-free responses to references that are there: run -> reference -> response; NaN = missing."""
    found: dict[int, dict[int, float]] = {}
    for run, reference, response in store.query("SELECT run, reference, response FROM reference_response"):
        found.setdefault(run, {})[reference] = np.nan if response is None else response
    return found


def last_asked(store: Readable) -> int:
    """The last generation whose codes are written; -1: none."""
    [(generation,)] = store.query("SELECT coalesce(max(generation), -1) FROM image")
    return int(generation)


def answers(store: Readable, generation: int) -> list[tuple[int, int | None, int, float, float]]:
    """(run, slot, repeat, response, noise-free response) of each presentation of a generation.

    slot: None for an interleaved reference. NaN = missing.
    """
    rows = store.query(
        "SELECT p.run, i.slot, p.repeat, p.response, p.noise_free FROM presentation AS p"
        " LEFT JOIN image AS i ON i.id = p.image WHERE p.generation = ?",
        generation,
    )
    return [
        (run, slot, repeat, np.nan if response is None else response, np.nan if clean is None else clean)
        for run, slot, repeat, response, clean in rows
    ]


def last_chunk(store: Readable, generation: int) -> int:
    """The last chunk of a generation that was answered; -1: none."""
    [(chunk,)] = store.query(
        "SELECT coalesce(max(chunk), -1) FROM presentation WHERE generation = ?", generation
    )
    return int(chunk)


def shown_images(store: Readable, generation: int) -> list[tuple[int, int, int, str]]:
    """(run, slot, chunk, pixels) of each image of a generation that a session shows."""
    found: list[tuple[int, int, int, str]] = store.query(
        "SELECT run, slot, chunk, pixels FROM image WHERE generation = ?", generation
    )
    return found


def kept_best(store: Readable) -> dict[int, tuple[int, int, float]]:
    """(generation, slot, noise-free score) of the image whose code a record of scores keeps, by run.

    Of runs that have not ended: of these no other code is kept.
    """
    rows = store.query(
        "SELECT run, generation, slot, noise_free_score FROM kept_code JOIN image"
        " USING (run, generation, slot) JOIN run ON run.id = run WHERE ending IS NULL"
    )
    return {run: (generation, slot, score) for run, generation, slot, score in rows}


def has_blocks(store: Readable) -> bool:
    """Whether a session has planned a block."""
    return bool(store.query("SELECT 1 FROM block LIMIT 1"))


def answered_presentations(store: Readable) -> list[tuple[int, int, int]]:
    """(block, generation, how many presentations have a recording that counts), by block; void ones are left
    out."""
    found: list[tuple[int, int, int]] = store.query(
        "SELECT b.id, b.generation, count(DISTINCT r.planned) FROM block AS b JOIN recording AS r"
        " ON r.block = b.id AND r.status = 'taken' WHERE coalesce(b.ending, '') NOT IN"
        " ('rejected', 'abandoned') AND b.generation NOT IN (SELECT generation FROM void)"
        " GROUP BY b.id ORDER BY b.id"
    )
    return found


def generation_times(store: Readable) -> list[tuple[int, str, str]]:
    """(generation, when its first block was planned, when it was told), UTC, of a session."""
    found: list[tuple[int, str, str]] = store.query(
        "SELECT b.generation, min(b.planned_utc), max(t.told_utc) FROM block AS b JOIN told AS t"
        " USING (generation) GROUP BY b.generation ORDER BY 1"
    )
    return found
