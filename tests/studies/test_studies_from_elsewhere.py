"""A study of another package is as good as those that come with XDream, from its name to its figure."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from foreign_study import Populations

from study_tables import tiny_plan
from xdream import studies
from xdream.cli.main import main
from xdream.errors import BadInput, UnknownName
from xdream.studies.catalogue import PAPER
from xdream.studies.study_folder import RESULT


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that brings a study."""
    about = tmp_path / "site" / "populations-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: populations\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[xdream.studies]\npopulations = foreign_study:Populations\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    monkeypatch.setattr(studies.STUDIES, "_entries", None)  # as in a new process
    monkeypatch.setattr(studies.STUDIES, "_factories", {})


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_studies_of_the_paper_are_found_in_its_order() -> None:
    assert studies.names()[:3] == ["overview", "targets", "initialisations"]
    assert studies.names()[-1] == "expressiveness"
    for name in studies.names():
        assert studies.named(name).name == name
    with pytest.raises(UnknownName, match=r"unknown study 'targts'; near: targets.*xdream list studies"):
        studies.named("targts")


@pytest.mark.usefixtures("installed")
def test_a_study_of_another_package_is_run_resumed_merged_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.toml").write_text(tiny_plan("populations", tmp_path, layers=["output=conv3"]).to_toml())
    assert main(["study", "plan.toml", "--quiet", "--json", "--out", "s", "--presentations", "40"]) == 0
    [found] = said(capsys)["studies"]
    assert [group["condition"] for group in found["groups"]] == ["population 5", "population 10"]
    assert [claim["verdict"] for claim in found["claims"]] == ["not testable"]
    report = Path("s", "report.md").read_text()
    assert "Is a small or a large population better" in report
    assert "Published" not in report  # nothing is
    [result] = Path("s").rglob(RESULT)
    result.unlink()
    assert main(["resume", "s", "--quiet", "--json"]) == 0
    [again] = said(capsys)["studies"]
    assert again["groups"] == found["groups"]
    assert main(["merge", "s", "--out", "all.csv"]) == 0
    assert main(["show", "all.csv"]) == 0
    assert Path("all-populations.png").stat().st_size > 10_000


@pytest.mark.usefixtures("installed")
def test_it_is_listed_after_those_of_the_paper_and_its_name_is_that_of_its_entry_point(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["list", "studies", "--json"]) == 0
    assert said(capsys)["studies"] == [*PAPER, "populations"]
    monkeypatch.setattr(Populations, "name", "breeding")
    with pytest.raises(BadInput, match="study 'populations' calls itself 'breeding'"):
        studies.named("populations")
