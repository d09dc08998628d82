"""Stores of every schema since 3 can be read and resumed. Each was written by its own release."""

import functools
import json
import shutil
import sys
import tomllib
from pathlib import Path

import apsw
import numpy as np
import pytest

import xdream
from xdream.errors import StoreError
from xdream.experiment import plan as plans
from xdream.experiment.plan import Plan, plan_of
from xdream.laboratory import session
from xdream.laboratory.rigs import Answer, AnswerRow, Direct
from xdream.report import summarise, table
from xdream.scoring.recordings import Values
from xdream.store import FILE_NAME, Record, Store, migrations
from xdream.store.migrations import SCHEMA_VERSION

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import old_rig  # noqa: E402

from results import exact, numbers  # noqa: E402

SCHEMAS = sorted(path.name for path in HERE.glob("schema-*"))
KINDS = ("experiment", "scores", "session")


@pytest.fixture(params=[f"{schema}/{kind}" for schema in SCHEMAS for kind in KINDS])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an old record, interrupted in the middle."""
    copy = tmp_path / "old"
    shutil.copytree(HERE / request.param, copy)
    return copy


def resumed(folder: Path) -> Record:
    with Record(folder) as record:
        is_session = record.is_session
    if not is_session:
        return xdream.resume(folder)
    answer = functools.partial(old_rig.answers, answer=Answer, row=AnswerRow, values=Values)
    return session.resume(folder, bridge=Direct(answer))


def compare(record: Record, expected: Path) -> None:
    """With what the old release made of it, as its script wrote it."""
    dump = record.dump()
    assert exact(dump) == json.loads((expected / "expected.json").read_text())
    found = numbers(dump)
    with np.load(expected / "expected.npz") as then:
        assert found.keys() == set(then)
        for name, values in then.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def schema_of(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    version = connection.pragma("user_version")
    connection.close()
    return int(version)


def test_it_goes_on_to_what_its_own_release_made_of_it(old: Path) -> None:
    with resumed(old) as record:
        assert record.finished
        compare(record, old)
        assert len(record.versions()) == 2


def test_reading_it_leaves_the_file_as_it_is(old: Path) -> None:
    before = (old / FILE_NAME).read_bytes()
    with Record(old) as record:
        assert record.seconds > 0
        assert {run.generations for run in record.runs()} == {2}
        assert "old" in plan_of(record).name
        assert "unfinished" in table(summarise(record)) or not record.finished
    assert (old / FILE_NAME).read_bytes() == before


def test_what_goes_on_has_the_present_schema_and_a_copy_of_what_it_was(old: Path) -> None:
    before = schema_of(old / FILE_NAME)
    with Record(old) as record:
        kept = record.dump()
    resumed(old).close()
    assert schema_of(old / FILE_NAME) == SCHEMA_VERSION
    copy = old / f"{FILE_NAME}.schema-{before}"
    assert schema_of(copy) == before
    (old / "copy").mkdir()
    copy.rename(old / "copy" / FILE_NAME)
    with Record(old / "copy") as record:
        assert record.dump() == kept


def test_a_reader_stays_while_a_writer_migrates_it(old: Path) -> None:
    with Record(old) as reader:
        before, processes = reader.dump(), len(reader.versions())
        versions = {"python": "3"}
        with Store.open_existing(old, versions):
            assert schema_of(old / FILE_NAME) == SCHEMA_VERSION
            assert reader.dump() == before
            assert len(reader.versions()) == processes + 1
            assert reader.versions()[-1] == versions


def test_killed_while_it_is_migrated_it_is_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def half(connection: apsw.Connection) -> None:
        connection.execute("DROP TABLE void")
        raise Killed

    before = schema_of(old / FILE_NAME)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrate", half)
        with pytest.raises(Killed):
            resumed(old)
    assert schema_of(old / FILE_NAME) == before
    with resumed(old) as record:
        compare(record, old)


def test_one_without_room_for_the_copy_is_left_alone(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise apsw.FullError

    before = (old / FILE_NAME).read_bytes()
    monkeypatch.setattr(migrations, "keep_copy", full)
    with pytest.raises(StoreError, match="the disk is full"):
        resumed(old)
    assert (old / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("version", "remedy"), [(99, "upgrade xdream"), (2, "use the release that wrote it")]
)
def test_a_schema_that_is_not_known_is_refused_with_a_sentence(
    tmp_path: Path, version: int, remedy: str
) -> None:
    shutil.copytree(HERE / SCHEMAS[0] / "scores", tmp_path / "x")
    connection = apsw.Connection(str(tmp_path / "x" / FILE_NAME))
    connection.pragma("user_version", version)
    connection.close()
    for read in (Record, xdream.resume):
        with pytest.raises(StoreError, match=f"has schema {version}; this release knows 3 to .*: {remedy}"):
            read(tmp_path / "x")


def test_a_key_that_an_old_plan_lacks_has_the_value_of_its_time(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Record(old) as record:
        text, schema = record.facts["plan"], record.plan_schema
        whole = plan_of(record)
    assert schema < SCHEMA_VERSION
    values = tomllib.loads(text)
    lacking = _without(text, "record =", "silence_s =")
    assert lacking != text
    then = {"record": values["record"], "session.silence_s": 7.5}
    monkeypatch.setattr(plans, "VALUES_BEFORE", {schema + 1: then})
    found = Plan.stored(lacking, schema)
    assert found.record == whole.record
    assert found.session is None or found.session.silence_s == 7.5
    # A plan of the release that brought the keys has them, or that release's default.
    assert Plan.stored(text, schema + 1) == Plan.stored(text, schema)


def test_a_key_of_one_part_goes_to_the_parts_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    then = {"optimizer:nes.learning_rate": 0.5, "generator:fourier.cutoff_cycles": 3.0}
    monkeypatch.setattr(plans, "VALUES_BEFORE", {4: then})
    text = """
        targets = ["known:linear::0"]
        generator = {name = "pixels", size_px = 16}
        optimizer = {name = "genetic"}
        [[variants]]
        seed = 1
        [[variants]]
        optimizer = {name = "nes"}
        [[variants]]
        optimizer = {name = "nes", learning_rate = 2.0}
    """
    found = Plan.stored(text, 3)
    assert (found.generator.options, found.optimizer.options) == ({"size_px": 16}, {})
    first, second, third = (one.optimizer for one in found.variants)
    assert first is None
    assert second is not None
    assert third is not None
    assert (second.options, third.options) == ({"learning_rate": 0.5}, {"learning_rate": 2.0})


def _without(text: str, *keys: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(keys))


def test_there_is_a_record_of_every_kind_and_schema_but_the_present_one() -> None:
    assert [int(name.rpartition("-")[2]) for name in SCHEMAS] == list(range(3, SCHEMA_VERSION))
    for name in SCHEMAS:
        assert {path.parent.name for path in (HERE / name).glob(f"*/{FILE_NAME}")} == set(KINDS)
