"""A study's folder: begun, killed, gone on with, gathered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study_tables import photographs, run, tiny_plan
from xdream import studies
from xdream.errors import BadInput, StoreBusy, StoreError
from xdream.experiment.callbacks import NoCallback
from xdream.images import references
from xdream.store import FILE_NAME as EXPERIMENT
from xdream.store import Record, locked
from xdream.studies import (
    StudyPlan,
    begin,
    cost,
    gathered,
    run_shard,
    table,
    unfinished,
    write_outputs,
)
from xdream.studies.gathering import FILE_NAME, RESULT, SHARDS, shard_folder
from xdream.studies.natural_responses import Natural
from xdream.studies.shard_work import Work
from xdream.studies.table import TIME, Table, TableRow

TARGETS = studies.named("targets")


class Killed(BaseException):
    pass


class Killer(NoCallback):
    """Ends the process's work at a stage of the second generation."""

    def stage(self, name: str, done: int, total: int) -> None:
        if "natural" not in name and done == 2:
            raise Killed


def numbers(found: Table) -> list[tuple[Any, ...]]:
    return [(row.key, str(row.value), row.image) for row in found.rows if row.measure != TIME]


def test_a_killed_study_gives_the_numbers_of_one_that_was_not(tmp_path: Path) -> None:
    whole = run(TARGETS, tmp_path / "whole")
    folder = tmp_path / "whole" / "killed"
    plan = begin(TARGETS, tiny_plan("targets", tmp_path / "whole"), folder)
    with pytest.raises(Killed):
        run_shard(TARGETS, folder, 1, Killer())
    first = shard_folder(folder, plan.shards()[0])
    assert not (first / RESULT).exists()
    record = Record(first / "00")
    half = sum(record.presentation_count(run.id) for run in record.runs())
    record.close()
    assert 0 < half < 4 * 60
    for shard in plan.shards():
        run_shard(TARGETS, folder, shard.number)
    assert numbers(gathered([folder])) == numbers(whole)
    record = Record(first / "00")
    assert sum(record.presentation_count(run.id) for run in record.runs()) == 4 * 60
    assert len(record.versions()) == 2


def test_a_shard_that_is_done_is_left_alone(tmp_path: Path) -> None:
    run(TARGETS, tmp_path)
    folder = tmp_path / "study"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run_shard(TARGETS, folder, 1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_shard_in_other_hands_is_busy(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = begin(TARGETS, tiny_plan("targets", tmp_path), folder)
    lock = locked(shard_folder(folder, plan.shards()[0]))
    with pytest.raises(StoreBusy):
        run_shard(TARGETS, folder, 1)
    lock.release()
    with pytest.raises(BadInput, match="no shard 3"):
        run_shard(TARGETS, folder, 3)


def test_the_same_study_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = begin(TARGETS, tiny_plan("targets", tmp_path), folder)
    assert begin(TARGETS, tiny_plan("targets", tmp_path), folder) == plan
    with pytest.raises(BadInput, match="another seeds, presentations"):
        begin(TARGETS, tiny_plan("targets", tmp_path, seeds=1, presentations=20), folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"networks": ["efficientnet-lite9"]}, "efficientnet-lite9"),
        ({"layers": ["conv9"]}, "conv9"),
        ({"generators": ["natural-v9"]}, "natural-v9"),
        ({"references": "nowhere.zip"}, "nowhere.zip"),
        ({"scale": "paper", "networks": []}, "no default networks"),
        ({"units": "99"}, "99"),
        ({"presentations": 5}, "one generation of"),
        ({"generators": ["pixels", "deepsim-norm1"]}, "deepsim-norm1"),
        ({"generators": ["pixels", {"name": "pixels", "size_px": 4}]}, "both called pixels"),
    ],
)
def test_what_cannot_be_done_is_known_before_anything_is_computed(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "study"
    with pytest.raises(BadInput, match=words):
        begin(TARGETS, tiny_plan("targets", tmp_path, **changes), folder)
    assert not (folder / FILE_NAME).exists()


def test_units_that_no_natural_image_excites_are_left_out(tmp_path: Path) -> None:
    found = references.load(str(photographs(tmp_path / "photographs", 2)))
    plan = tiny_plan("targets", tmp_path)
    work = Work(plan, plan.shards()[0], tmp_path, NoCallback())
    answers = np.array([[-1.0, 2.0, 0.5], [0.0, 1.0, 1.0]], np.float32)
    work.__dict__["natural"] = Natural(found, ("7", "3", "5"), answers)
    assert work.units == ("3", "5")
    del work.__dict__["units"]
    work.__dict__["natural"] = Natural(found, ("7",), answers[:, :1])
    with pytest.raises(BadInput, match="responds to any of the natural images"):
        _ = work.units


def test_gathering_refuses_what_is_unfinished_unless_a_part_is_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = begin(TARGETS, tiny_plan("targets", tmp_path), folder)
    with pytest.raises(BadInput, match="2 of 2 shards"):
        gathered([folder])
    with pytest.raises(BadInput, match="no shard of"):
        gathered([folder], partial=True)
    run_shard(TARGETS, folder, 2)
    with pytest.raises(BadInput, match=r"1 of 2 shards .* \(1 tiny_encoder_network-conv1\)"):
        gathered([folder])
    part = gathered([folder], partial=True)
    assert part.among("layer") == ["conv3"]
    assert [shard.number for shard in unfinished(folder)] == [1]
    assert numbers(gathered([shard_folder(folder, plan.shards()[1])])) == numbers(part)
    with pytest.raises(BadInput, match="no table, no study's folder"):
        gathered([tmp_path])


def test_report_and_figure_follow_from_the_table_alone(tmp_path: Path) -> None:
    found = run(TARGETS, tmp_path)
    (tmp_path / "alone").mkdir()
    table.write(found, tmp_path / "alone" / "t.csv")
    again = table.read(tmp_path / "alone" / "t.csv")
    first = write_outputs([TARGETS], found, tmp_path / "study")["targets"]
    second = write_outputs([TARGETS], again, tmp_path / "alone")["targets"]
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "alone" / "report.md").read_text() == (tmp_path / "study" / "report.md").read_text()


def test_a_shard_has_its_own_stores_and_a_study_its_cost(tmp_path: Path) -> None:
    run(TARGETS, tmp_path)
    stores = sorted((tmp_path / "study" / SHARDS).rglob(EXPERIMENT))
    assert [path.parent.parent.name for path in stores] == [
        "001-tiny_encoder_network-conv1", "002-tiny_encoder_network-conv3",
    ]  # fmt: skip
    plan = StudyPlan.read(tmp_path / "study" / FILE_NAME)
    assert cost(TARGETS, plan, plan.shards()[0]) == (4, 4 * 60)


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    begin(TARGETS, tiny_plan("targets", tmp_path), folder)
    (folder / FILE_NAME).write_text("study = ")
    with pytest.raises((BadInput, StoreError), match=FILE_NAME):
        run_shard(TARGETS, folder, 1)


def test_two_tables_of_unlike_studies_are_not_mixed() -> None:
    rows = [TableRow("targets", "net", measure="last", unit="1", value=value) for value in (1.0, 2.0)]
    with pytest.raises(BadInput, match="unlike studies"):
        table.merged([Table([row]) for row in rows])
