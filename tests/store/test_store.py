"""The store: whole transactions, one writer, and a plain sentence for whatever is wrong with a file."""

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import psutil
import pytest

from xdream.errors import StoreBusy, StoreError
from xdream.store import (
    FILE_NAME,
    AskedRow,
    PresentationRow,
    Record,
    RunRow,
    ShownRow,
    Store,
    ToldRow,
    notes_on,
    sqlite,
)
from xdream.store import connection as connecting

NAN, INF = float("nan"), float("inf")
RUNS = [
    RunRow(0, "n:l:0", 5, '{"name": "genetic", "population": 2}', '{"name": "mean"}'),
    RunRow(1, "n:l:1", 2**63 - 1, '{"name": "genetic", "population": 2}', '{"name": "mean"}'),
]
REFERENCES = [("a.png", "0" * 64), ("b.png", "f" * 64)]


def create(folder: Path) -> Store:
    return Store.create(folder, {"plan": "p", "draws": "d"}, {"xdream": "0"}, RUNS, REFERENCES)


def code(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def fill(store: Store, generation: int = 0) -> None:
    """One generation of two images in each run, with what numbers there can be."""
    store.write_asked(
        generation,
        [AskedRow(run, slot, code(1e-45, -3.4e38, slot)) for run in (0, 1) for slot in (0, 1)],
    )
    store.write_answers(
        generation,
        [ShownRow(run, slot, 0, f"sha{run}{slot}") for run in (0, 1) for slot in (0, 1)],
        [
            *(PresentationRow(run, 0, slot, None, 0, 0.1 + slot, 0.2) for run in (0, 1) for slot in (0, 1)),
            PresentationRow(0, 0, None, 1, 0, NAN, INF),
        ],
    )
    store.write_told(
        generation,
        [
            ToldRow(0, [NAN, 1.5], [0.25, -INF], b"state0"),
            ToldRow(1, [1.0, 2.0], [3.0, 4.0], b"state1", "budget"),
        ],
    )


def begun(folder: Path) -> Store:
    store = create(folder)
    store.write_reference_responses([(0, 0, 1.0), (1, 0, NAN), (0, 1, 2.0), (1, 1, 0.1)])
    store.write_start({0: 0.5}, {0: b"first0", 1: b"first1"})
    return store


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    with begun(tmp_path / "new" / "x") as store:
        fill(store)
    record = Record(tmp_path / "new" / "x")
    assert record.facts == {"plan": "p", "draws": "d"}
    assert record.references == REFERENCES
    first, second = record.runs()
    assert (first.id, first.target, first.seed, first.generations) == (0, "n:l:0", 5, 1)
    assert first.optimizer == {"name": "genetic", "population": 2}
    assert (first.spikes_per_activation, second.spikes_per_activation) == (0.5, None)
    assert (first.finished, second.finished, record.finished) == (False, True, False)
    assert second.seed == 2**63 - 1
    assert record.presentation_count(0) == record.presentation_count(1) == 2  # the reference is not counted
    assert record.seconds > 0.0
    dump = record.dump()
    assert np.frombuffer(dump["image"][1][4], "<f4").tolist() == code(1e-45, -3.4e38, 1).tolist()
    assert [row[5] for row in dump["image"]] == ["sha00", "sha01", "sha10", "sha11"]
    assert dump["state"] == [(0, 1, b"state0"), (1, 1, b"state1")]


def test_what_is_missing_stays_missing_and_is_never_zero(tmp_path: Path) -> None:
    with begun(tmp_path) as store:
        fill(store)
        assert store.query("SELECT response, noise_free FROM presentation WHERE reference = 1") == [
            (None, INF)
        ]
        assert store.query("SELECT score FROM image WHERE run = 0 ORDER BY slot") == [(None,), (1.5,)]
    record = Record(tmp_path)
    np.testing.assert_array_equal(record.scores(0, noise_free=False), [[NAN, 1.5]])
    np.testing.assert_array_equal(record.scores(0), [[0.25, -INF]])
    np.testing.assert_array_equal(record.reference_responses(0), [1.0, NAN])
    best = record.best_image(0)
    assert best is not None
    assert np.isnan(best.score)
    assert (best.slot, best.noise_free_score, best.pixels) == (0, 0.25, "sha00")


def test_an_image_comes_back_with_the_codes_of_its_chunk(tmp_path: Path) -> None:
    with begun(tmp_path) as store:
        fill(store)
        fill(store, generation=1)
    record = Record(tmp_path)
    best = record.best_image(1, generation=1)
    assert best is not None
    codes, row = record.chunk_codes(best)
    assert codes.shape == (4, 3)
    assert codes.dtype == np.float32
    assert (best.generation, best.slot, row) == (1, 1, 3)
    assert record.best_image(1, generation=7) is None


def test_what_was_not_told_is_in_no_score_and_no_count(tmp_path: Path) -> None:
    with begun(tmp_path) as store:
        fill(store)
        store.write_asked(1, [AskedRow(0, 0, code(1))])
        store.write_answers(1, [ShownRow(0, 0, 0, "s")], [PresentationRow(0, 0, 0, None, 0, 9.0, 9.0)])
    record = Record(tmp_path)
    assert len(record.scores(0)) == 1
    assert record.presentation_count(0) == 2


def test_each_writing_process_is_a_session(tmp_path: Path) -> None:
    begun(tmp_path).close()
    with Store.open_existing(tmp_path, {"xdream": "1"}) as store:
        sessions = store.query("SELECT id, versions FROM process ORDER BY id")
        assert sessions == [(1, '{"xdream": "0"}'), (2, '{"xdream": "1"}')]


def test_the_file_is_written_ahead_with_every_commit_on_the_disk(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        assert store.query("PRAGMA journal_mode") == [("wal",)]
        assert store.query("PRAGMA synchronous") == [(2,)]
        assert store.query("PRAGMA foreign_keys") == [(1,)]


def test_a_folder_that_holds_an_experiment_takes_no_second_one(tmp_path: Path) -> None:
    begun(tmp_path).close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StoreError, match=r"already holds an experiment; resume it \(xdream resume") as caught:
        create(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    Store.open_existing(tmp_path, {}).close()  # and it is not left locked


def test_an_experiment_opens_at_once_however_long_it_is(tmp_path: Path) -> None:
    count = 3000  # squared and counted, that would take minutes
    with create(tmp_path) as store:
        store.write_asked(0, [AskedRow(0, slot, code(1)) for slot in range(count)])
        store.write_answers(0, [], [PresentationRow(0, 0, s, None, 0, 1.0, 1.0) for s in range(count)])
    steps = 0
    opened = threading.Event()

    def count_steps() -> bool:
        nonlocal steps
        steps += 1000
        return steps > 1_000_000

    def watch(connection: apsw.Connection) -> None:
        connection.set_progress_handler(count_steps, 1000)

    apsw.connection_hooks.append(watch)
    try:
        Record(tmp_path).close()
        opened.set()
    finally:
        apsw.connection_hooks.remove(watch)
    assert opened.is_set()


# One writer, any number of readers.


def test_a_second_writer_is_told_that_the_folder_is_in_use(tmp_path: Path) -> None:
    with begun(tmp_path):
        with pytest.raises(StoreBusy, match="in use by a running experiment"):
            Store.open_existing(tmp_path, {})
        with pytest.raises(StoreBusy, match="in use by a running experiment"):
            create(tmp_path)
    Store.open_existing(tmp_path, {}).close()


HOLDER = """
from xdream.errors import StoreBusy
from xdream.store import Store
try:
    store = Store.open_existing(folder, {})
except StoreBusy as error:
    pipe.send(f"busy: {error}")
else:
    pipe.send("open")
    pipe.recv()
"""


def test_a_second_process_is_kept_out_until_the_first_one_dies(tmp_path: Path, child: Any) -> None:
    begun(tmp_path).close()
    here, there = child.pipe()
    first = child.start(HOLDER, folder=tmp_path, pipe=there)
    assert here.recv() == "open"
    with pytest.raises(StoreBusy, match="in use by a running experiment"):
        Store.open_existing(tmp_path, {})
    first.kill()
    first.join()
    with Store.open_existing(tmp_path, {}) as store:  # a dead process leaves no lock behind
        fill(store)
        child.start(HOLDER, folder=tmp_path, pipe=there)
        assert "in use by a running experiment" in here.recv()


def test_a_reader_sees_whole_transactions_while_one_is_being_written(tmp_path: Path) -> None:
    with begun(tmp_path) as store:
        fill(store)
        reader = Record(tmp_path)
        before = reader.dump()
        with store.transaction() as connection:
            connection.execute("DELETE FROM presentation")
            connection.execute("UPDATE image SET score = 99.0")
            assert reader.dump() == before
            assert Record(tmp_path).dump() == before
            with pytest.raises(StoreBusy):  # another program that would write waits, then is refused
                impatient(tmp_path)
            connection.execute("UPDATE image SET score = 98.0")
        after = reader.dump()
        assert after["presentation"] == []
        assert {row[6] for row in after["image"]} == {98.0}


def impatient(folder: Path) -> None:
    with contextlib.closing(connecting.connect(folder / FILE_NAME, write=True)) as connection:
        connection.set_busy_timeout(1)
        with connecting.said_plainly(folder / FILE_NAME):
            connection.execute("DELETE FROM state")


def test_after_an_exception_a_transaction_has_left_nothing(tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    with begun(tmp_path) as store:
        before = Record(tmp_path).dump()
        with contextlib.suppress(Stop), store.transaction() as connection:
            connection.execute("DELETE FROM state")
            raise Stop
        assert Record(tmp_path).dump() == before
        fill(store)  # and the next one is taken


# Files that are not what they should be.


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    with begun(tmp_path / "finished") as store:
        for generation in range(2):
            fill(store, generation)
    return tmp_path / "finished"


def refused(folder: Path, match: str) -> None:
    """A reader and a writer say the same, in one line with the path, and change nothing."""
    path = folder / FILE_NAME
    before = path.read_bytes() if path.is_file() else None
    for attempt in (lambda: Record(folder), lambda: Store.open_existing(folder, {})):
        with pytest.raises(StoreError, match=match) as caught:
            attempt()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert type(caught.value) is StoreError
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("part", [1, 15, 16, 90, 100, 511, 512, 4095, 4096, 4097, 0.5, -4096, -1])
def test_a_truncated_file_is_refused(finished: Path, part: float) -> None:
    path = finished / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole)) if isinstance(part, float) else part])
    refused(finished, "damaged")


def test_an_empty_file_is_refused(finished: Path) -> None:
    (finished / FILE_NAME).write_bytes(b"")
    refused(finished, "is empty")


@pytest.mark.parametrize("content", [b"hello\n", b"\x89PNG" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused(finished: Path, content: bytes) -> None:
    (finished / FILE_NAME).write_bytes(content)
    refused(finished, "damaged or not a database")


def test_a_page_of_rubbish_is_found_when_it_is_read(finished: Path) -> None:
    path = finished / FILE_NAME
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Record(finished).dump()


def test_a_database_of_another_program_is_refused(finished: Path) -> None:
    path = finished / FILE_NAME
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE run (id INTEGER)")
        other.commit()
    refused(finished, "a database of another program")


def changed(folder: Path, sql: str) -> None:
    with contextlib.closing(apsw.Connection(str(folder / FILE_NAME))) as connection:
        connection.execute(sql)


@pytest.mark.parametrize("table", ["presentation", "state"])
def test_a_store_that_lacks_a_table_is_refused(finished: Path, table: str) -> None:
    changed(finished, f"PRAGMA foreign_keys = 0; DROP TABLE {table}")
    refused(finished, "not a complete store")


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.write_text("x"), lambda p: (p / FILE_NAME).mkdir(parents=True)]
)
def test_a_folder_without_an_experiment_is_refused(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"nowhere is no folder of an experiment or session \(it has no exp"):
        Record(tmp_path / "nowhere")


# Places that cannot be written.


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder outside of what root alone may enter, and a process whom permissions bind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        if root:
            os.chown(folder, 65534, 65534)
            os.setresuid(65534, 65534, 0)
        try:
            yield folder
        finally:
            if root:
                os.setresuid(0, 0, 0)
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755)


def test_a_read_only_folder_is_read_and_takes_no_writer(unprivileged: Path) -> None:
    folder = unprivileged / "x"
    with begun(folder) as store:
        fill(store)
    expected = Record(folder).dump()
    for leftover in folder.glob("*-*"):
        leftover.unlink()  # of the reader
    (folder / FILE_NAME).chmod(0o444)
    (folder / sqlite.LOCK_NAME).unlink(missing_ok=True)
    folder.chmod(0o555)
    assert Record(folder).dump() == expected
    with pytest.raises(StoreError, match="read-only") as caught:
        Store.open_existing(folder, {})
    assert "\n" not in str(caught.value)


def test_a_read_only_file_takes_no_writer_and_is_not_left_locked(unprivileged: Path) -> None:
    begun(unprivileged).close()
    (unprivileged / FILE_NAME).chmod(0o444)
    with pytest.raises(StoreError, match="read-only") as caught:
        Store.open_existing(unprivileged, {})
    assert str(unprivileged / FILE_NAME) in str(caught.value)
    for path in unprivileged.iterdir():
        path.chmod(0o644)
    Store.open_existing(unprivileged, {}).close()


def test_a_folder_that_cannot_be_made_is_named_and_not_begun(unprivileged: Path) -> None:
    unprivileged.chmod(0o555)
    with pytest.raises(StoreError, match="cannot be made: Permission denied"):
        create(unprivileged / "x")
    with pytest.raises(StoreError, match="read-only"):
        create(unprivileged)
    assert list(unprivileged.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError, match="x cannot be made: File exists"):
        create(tmp_path / "x")


def limit_size(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    """From now on every connection's file may grow by so many pages: a disk that is nearly full."""

    def limit(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", connection.pragma("page_count") + pages)

    monkeypatch.setattr(apsw, "connection_hooks", [limit])


def test_a_full_disk_loses_nothing_that_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path).close()
    limit_size(monkeypatch, 3)
    with Store.open_existing(tmp_path, {}) as store:
        fill(store)
        before = Record(tmp_path).dump()
        for _ in range(2):  # and so it stays until there is room
            with pytest.raises(StoreError, match=r"the disk is full.*make room, then resume") as caught:
                store.write_asked(1, [AskedRow(0, slot, np.zeros(5000, np.float32)) for slot in range(2)])
            assert str(tmp_path) in str(caught.value)
            assert Record(tmp_path).dump() == before
    monkeypatch.undo()
    with Store.open_existing(tmp_path, {}) as store:
        fill(store, generation=1)
    assert len(Record(tmp_path).scores(0)) == 2


@pytest.mark.parametrize("pages", [1, 3, 10])
def test_an_experiment_that_could_not_be_begun_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    limit_size(monkeypatch, pages)
    with pytest.raises(StoreError, match="the disk is full"):
        create(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    create(tmp_path / "x").close()


def test_what_else_was_in_the_folder_stays_when_the_beginning_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    limit_size(monkeypatch, 3)
    with pytest.raises(StoreError, match="the disk is full"):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


CREATOR = """
import contextlib, os
from xdream.store import RunRow, Store, sqlite

left = after

def tick():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)

class MortalOs:
    def __getattr__(self, name):
        return getattr(os, name)

    def replace(self, *paths):
        tick()
        os.replace(*paths)
        tick()

@contextlib.contextmanager
def mortal(connection, whole=sqlite._whole):
    tick()
    with whole(connection):
        yield
        tick()
    tick()

sqlite.os, sqlite._whole = MortalOs(), mortal
Store.create(folder, {"plan": "p"}, {}, [RunRow(0, "t", 0, "{}", "{}")], [])
"""


def test_killed_at_any_point_of_its_beginning_an_experiment_is_whole_or_not_there(
    tmp_path: Path, child: Any
) -> None:
    outcomes = []
    for after in range(9):  # transaction and renaming, then the first session: eight points
        folder = tmp_path / str(after)
        process = child.start(CREATOR, folder=folder, after=after)
        process.join()
        assert process.exitcode == (-9 if after < 8 else 0)
        if (folder / FILE_NAME).exists():
            assert Record(folder).facts == {"plan": "p"}
            Store.open_existing(folder, {}).close()
            outcomes.append("whole")
        else:
            create(folder).close()  # begun anew in the same folder
            assert len(Record(folder).runs()) == 2
            outcomes.append("not there")
    assert outcomes == 4 * ["not there"] + 5 * ["whole"]


def test_on_a_network_share_a_rollback_journal_is_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert notes_on(tmp_path) == ()
    monkeypatch.setattr(connecting, "file_system", lambda path: "NFS4")
    (note,) = notes_on(tmp_path)
    assert "is on a network share (NFS4): a rollback journal is used instead of WAL" in note
    with begun(tmp_path / "x") as store:
        assert store.query("PRAGMA journal_mode") == [("delete",)]
        fill(store)
        assert not list((tmp_path / "x").glob("*-wal"))
    with Store.open_existing(tmp_path / "x", {}) as store:
        assert store.query("PRAGMA journal_mode") == [("delete",)]
    assert len(Record(tmp_path / "x").scores(0)) == 1


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mount:
        def __init__(self, mountpoint: str, fstype: str) -> None:
            self.mountpoint, self.fstype = mountpoint, fstype

    mounts = [Mount("/", "ext4"), Mount("/mnt/lab", "nfs4"), Mount("/mnt/lab/local", "xfs")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert connecting.file_system(Path("/mnt/lab/x")) == "nfs4"
    assert connecting.file_system(Path("/mnt/laboratory/x")) == "ext4"
    assert connecting.file_system(Path("/mnt/lab/local/x")) == "xfs"
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [])
    assert connecting.file_system(Path("/mnt/lab/x")) == ""


def test_a_discarded_experiment_is_gone(tmp_path: Path) -> None:
    store = begun(tmp_path / "x")
    store.discard()
    assert not (tmp_path / "x").exists()
