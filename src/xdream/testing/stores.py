"""What a store guarantees (`xdream.store.base`), as a check for whoever writes another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xdream.errors import StoreBusy, StoreError
from xdream.store import AskedRow, PresentationRow, Record, RunRow, ShownRow, Store, ToldRow, queries

NAN = float("nan")
RUNS = [
    RunRow(0, "network:layer:0", 5, '{"name": "genetic", "population": 2}', '{"name": "mean"}'),
    RunRow(1, "network:layer:1", 2**63 - 1, '{"name": "genetic", "population": 2}', '{"name": "mean"}'),
]
REFERENCES = [("a.png", "0" * 64), ("b.png", "f" * 64)]
#: Numbers that a database may spoil: the smallest and the largest float32, one without a short decimal form.
CODE = np.array([1e-45, -3.4e38, 0.1], dtype=np.float32)


class _Interrupted(BaseException):
    """Ends a transaction in the middle."""


def check_store(folder: Path, store: type[Store] = Store, record: type[Record] = Record) -> None:
    """Write an experiment into an empty folder and read it. Raises AssertionError with a sentence.

    store, record: the writer and the reader, with the methods of `xdream.store.Store` and `Record`. What is
    checked are the guarantees of `xdream.store.base`: whole transactions, one writer and any number of
    readers, nothing missing turned into a number, nothing changed afterwards.
    """
    with _begun(folder, store) as writer, record(folder) as reader:
        assert queries.started(writer), "it has first states, and says that it has not started"
        _check_one_writer(folder, store)
        _write_generation(writer, 0)
        _check_readable(reader)
        _check_whole_transactions(writer, reader)
        _check_written_once(writer, reader)
        before = reader.dump()
    with record(folder) as reader:
        assert reader.dump() == before, "closing it changed what it holds"
    with store.open_existing(folder, {"xdream": "2"}) as writer:
        _write_generation(writer, 1, ending="budget")
    with record(folder) as reader:
        assert reader.finished, "its runs have ended, and it is not finished"
        assert [one["xdream"] for one in reader.versions()] == ["1", "2"], "a writing process is not noted"
        assert [run.generations for run in reader.runs()] == [2, 2], "generations are not counted as told"


def _begun(folder: Path, store: type[Store]) -> Store:
    writer = store.create(folder, {"plan": "p", "draws": "d"}, {"xdream": "1"}, RUNS, REFERENCES)
    try:
        writer.write_reference_responses([(0, 0, 1.0), (1, 0, NAN), (0, 1, 2.0), (1, 1, 0.1)])
        writer.write_start({0: 0.5}, {0: b"first 0", 1: b"first 1"})
    except BaseException:
        writer.close()
        raise
    return writer


def _write_generation(writer: Store, generation: int, ending: str | None = None) -> None:
    places = [(run, slot) for run in (0, 1) for slot in (0, 1)]
    writer.write_asked(generation, [AskedRow(*place, CODE) for place in places])
    writer.write_answers(
        generation,
        [ShownRow(*place, 0, f"sha {place}") for place in places],
        [PresentationRow(run, 0, slot, None, 0, 0.1 + slot, NAN) for run, slot in places],
    )
    told = [ToldRow(run, [NAN, 1.5], [0.25, NAN], f"state {run}".encode(), ending) for run in (0, 1)]
    writer.write_told(generation, told)


def _check_one_writer(folder: Path, store: type[Store]) -> None:
    try:
        store.open_existing(folder, {}).close()
    except StoreBusy:
        pass
    else:
        raise AssertionError("a second writer was let in while one was writing")
    try:
        store.create(folder, {}, {}, RUNS, REFERENCES).close()
    except StoreError:
        return
    raise AssertionError("a second experiment was begun in the same folder")


def _check_readable(reader: Record) -> None:
    """Everything that was written, as it was written, for a reader that was open before."""
    assert reader.references == REFERENCES, f"references came back as {reader.references}"
    first, second = reader.runs()
    assert second.seed == 2**63 - 1, f"the seed {2**63 - 1} came back as {second.seed}"
    assert (first.spikes_per_activation, second.spikes_per_activation) == (0.5, None), "noise scales differ"
    assert not first.finished, "a run without an ending is finished"
    codes = reader.codes(0, 0)
    assert all(np.array_equal(one, CODE) for one in codes.values()), "codes changed in their bits"
    _same(reader.scores(0, noise_free=False)[0], [NAN, 1.5], "scores; a missing one is NaN, never 0")
    _same(reader.scores(0)[0], [0.25, NAN], "noise-free scores")
    _same(reader.reference_responses(0), [1.0, NAN], "responses to references")
    assert reader.states(1) == {1: b"state 1"}, "the latest state is not the one that was written"
    assert reader.presentation_count(0) == 2, f"2 presentations are counted as {reader.presentation_count(0)}"


def _check_whole_transactions(writer: Store, reader: Record) -> None:
    before = reader.dump()

    def rows() -> Any:
        yield ToldRow(0, [3.0, 4.0], [3.0, 4.0], b"half")
        assert reader.dump() == before, "a reader sees half a transaction"
        raise _Interrupted

    try:
        writer.write_told(7, rows())
    except _Interrupted:
        assert reader.dump() == before, "an interrupted transaction left something behind"
        return
    raise AssertionError("an exception within a transaction was swallowed")


def _check_written_once(writer: Store, reader: Record) -> None:
    before = reader.dump()
    try:
        writer.write_told(0, [ToldRow(0, [9.0, 9.0], [9.0, 9.0], b"again")])
    except Exception:  # of whichever kind: it is a fault of the program
        assert reader.dump() == before, "a generation that was told was changed afterwards"
        return
    raise AssertionError("a generation was told twice")


def _same(found: Any, expected: list[float], what: str) -> None:
    assert np.array_equal(found, expected, equal_nan=True), f"{what}: {expected} came back as {found}"
