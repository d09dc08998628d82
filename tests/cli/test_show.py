"""`xdream show` of many runs asks the store little and draws little."""

import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest
from matplotlib.figure import Figure

from xdream.cli.main import main
from xdream.report import show, summarise
from xdream.store import FILE_NAME, Record

OLD = Path(__file__).parents[1] / "old_records" / "schema-3"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each figure that is drawn."""
    found: list[str] = []
    savefig = Figure.savefig

    def noted(self: Figure, *arguments: Any, **options: Any) -> None:
        found.append("figure")
        savefig(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", noted)
    return found


@pytest.fixture
def six_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment with six runs of a network of the tests."""
    monkeypatch.syspath_prepend(str(OLD.parent))
    shutil.copytree(OLD / "experiment", tmp_path / "six")
    return tmp_path / "six"


def test_of_several_runs_one_figure_is_drawn(
    six_runs: Path, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(six_runs)]) == 0
    assert drawn == ["figure"]
    assert [path.name for path in (six_runs / "figures").iterdir()] == ["runs.png"]
    said = capsys.readouterr().out
    assert f"figure: {six_runs / 'figures' / 'runs.png'}" in said
    assert f"xdream show {six_runs} RUN" in said


def test_figures_of_single_runs_are_drawn_when_they_are_asked_for(six_runs: Path, drawn: list[str]) -> None:
    assert main(["show", str(six_runs), "--run", "4", "--run", "1", "--run", "4"]) == 0
    names = {path.name.partition("-")[0] for path in (six_runs / "figures").iterdir()}
    assert names == {"runs.png", "run001", "run004"}
    assert len(drawn) == 1 + 2 * 3


def test_a_run_that_is_not_there_is_said(six_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(six_runs), "--run", "6"]) == 2
    assert "has no run 6 to show; it has 0, 1, 2, 3, 4, 5" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["experiment", "scores", "session"])
def test_the_presentations_of_all_runs_are_counted_in_one_query(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Record(OLD / kind) as record:
        one_by_one = {run.id: record.presentation_count(run.id) for run in record.runs()}
        assert record.presentations_of_runs() == one_by_one
        assert len(one_by_one) > 1
        asked: list[str] = []
        rows = record._rows
        monkeypatch.setattr(record, "_rows", lambda sql, *values: (asked.append(sql), rows(sql, *values))[1])
        assert [one.presentations for one in summarise(record)] == list(one_by_one.values())
    assert len([sql for sql in asked if "GROUP BY" in sql]) == 1
    assert not [sql for sql in asked if "presentation" in sql and "GROUP BY" not in sql]


def test_a_run_without_presentations_has_none(tmp_path: Path) -> None:
    shutil.copytree(OLD / "session", tmp_path / "s")
    with Record(tmp_path / "s") as record:
        assert record.presentation_count(99) == 0


def test_the_scores_of_each_run_are_read_once_until_somebody_writes(
    six_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Record(six_runs) as record:
        asked: list[str] = []
        rows = record._rows
        monkeypatch.setattr(record, "_rows", lambda sql, *values: (asked.append(sql), rows(sql, *values))[1])

        def reads() -> int:
            return sum("FROM image JOIN told" in sql and "ORDER BY generation, slot" in sql for sql in asked)

        summaries = summarise(record)
        show(record, runs=[], summaries=summaries)
        assert reads() == 6, "one reading for each run"
        before = record.scores(0)
        before[0][:] = 7.0
        assert record.scores(0)[0][0] != 7.0, "what a caller does to its copy is its own affair"
        with apsw.Connection(str(six_runs / FILE_NAME)) as connection:
            connection.execute("UPDATE image SET noise_free_score = 5 WHERE run = 0 AND generation = 0")
        assert set(record.scores(0)[0]) == {5.0}
