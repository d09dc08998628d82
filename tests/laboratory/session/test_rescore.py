"""Scores follow from the recordings: the same settings give the same, others say what would be different."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from session_rig import CHANNELS, Rig, served, session_plan

from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.laboratory.rigs import Answer, AnswerRow, Block
from xdream.laboratory.session import rescore
from xdream.scoring.recordings import Spikes
from xdream.store import Record


def recorded(folder: Path, **changes: Any) -> Path:
    served(session_plan(presentations=24, **changes), folder, Rig(dropped=0.2)).close()
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"repeats": 2},
        {"responses": {"zscore_blocks": 2}, "references_per_generation": 3},
        {"targets": ["rig::0", "rig:both:all"], "seed": 3},
        {"variants": [{"targets": ["rig::1"]}, {"targets": ["rig::0"], "runs": 2, "optimizer": "genetic"}]},
    ],
)
def test_without_changes_scores_made_anew_are_those_that_were_told(
    tmp_path: Path, photographs: Path, changes: dict[str, Any]
) -> None:
    plan = session_plan(presentations=40, references=str(photographs), **changes)
    record = served(plan, tmp_path / "s", Rig(dropped=0.2))
    for one in rescore(tmp_path / "s"):
        told = record.scores(one.run)[one.generation]
        np.testing.assert_array_equal(one.scores, told)
        assert not one.change.best_changed
        assert one.change.quarter_left == one.change.newly_missing == one.change.newly_scored == 0
    record.close()


def test_another_objective_gives_other_scores(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "s", targets=["rig:x:all"])
    found = rescore(folder, {"objective": {"name": "difference", "excitatory": [0], "suppressive": ["2"]}})
    assert any(one.change.best_changed for one in found)
    assert any(one.change.rank_correlation < 1 for one in found)


def test_other_windows_count_other_spikes(tmp_path: Path) -> None:
    """Each image has three spikes in the window told, and none in the other."""

    def respond(block: Block) -> Sequence[Answer]:
        spikes = Spikes(np.array([80.0, 90.0, 160.0]), np.array([0, 0, 1]), CHANNELS, -100.0, 400.0)
        return [Answer(tuple(AnswerRow(p.image, p.repeat, spikes) for p in block.presentations))]

    plan = session_plan(targets=["rig::0"], session={"empty_rows": 0})
    record = served(plan, tmp_path / "s", respond)
    assert set(record.scores(0)[0]) == {20.0}  # Hz, in 100 ms
    for window, rate in (([70, 85], 1000 / 15), ([200, 300], 0.0)):
        found = rescore(tmp_path / "s", {"responses": {"windows_ms": [window]}})
        assert found[0].scores == pytest.approx([rate] * 4)
    with pytest.raises(BadInput, match="not within what was recorded"):
        rescore(tmp_path / "s", {"responses": {"windows_ms": [[300, 500]]}})
    record.close()


def test_what_scores_do_not_follow_from_is_refused(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "s")
    with pytest.raises(BadInput, match="responses or objective"):
        rescore(folder, {"optimizer": {"population": 3}})
    with pytest.raises(BadInput, match="unknown objective"):
        rescore(folder, {"objective": {"name": "men"}})


def test_the_command_prints_and_writes_what_would_have_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = recorded(tmp_path / "s", targets=["rig:x:all"]), tmp_path / "t.csv"
    arguments = ["rescore", str(folder), "--set", "objective.name=minus-mean", "--out", str(table), "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "another best image in" in err
    assert "not run again" in err
    generations = json.loads(out)["generations"]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(generations) == 6
    with Record(folder) as record:
        assert {row["image"] for row in rows} == {one for (one,) in record.query("SELECT name FROM planned")}
        told = [score for scores in record.scores(0) for score in scores]
    assert [float(row["score_told"] or "nan") for row in rows] == pytest.approx(told, nan_ok=True)
    assert [-float(row["score"] or "nan") for row in rows] == pytest.approx(told, nan_ok=True)
    assert float(rows[0]["rank_correlation"]) == generations[0]["rank_correlation"] == pytest.approx(-1.0)
    assert main(["rescore", str(folder), "--set", "windows_ms=3"]) == 2
    nested = ["--set", "responses.baseline=none", "--set", "responses.baseline.x=1"]
    assert main(["rescore", str(folder), *nested]) == 2
    assert "no keys of its own" in capsys.readouterr().err
