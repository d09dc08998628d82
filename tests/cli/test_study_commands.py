"""`xdream study`, `merge`, `resume` and `show`, as they are typed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from study_tables import NETWORK, photographs
from xdream import studies
from xdream.cli import study_commands
from xdream.cli.main import main
from xdream.studies import cluster, study_folder, table

GENERATOR = """
[[generators]]
name = "pixels"
size_px = 8
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan file of a study that takes seconds; the current folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "study.toml"
    path.write_text(
        f'study = "targets"\nnetworks = ["{NETWORK}"]\nlayers = ["early=conv1", "output=conv3"]\n'
        f'units = 1\npresentations = 40\nreferences = "{photographs(tmp_path / "photographs")}"\n{GENERATOR}'
    )
    return path


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_study_from_its_plan_to_its_claims(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(plan), "--quiet", "--json", "--out", "s"]) == 0
    [found] = said(capsys)["studies"]
    assert (found["study"], len(found["groups"])) == ("targets", 2)
    assert {one["verdict"] for one in found["claims"]} == {"not testable"}  # twelve natural images
    for name in ("table.csv", "claims.csv", "report.md", "targets.png", "study.toml"):
        assert Path("s", name).exists()


def test_parts_of_an_array_make_the_same_study(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(plan), "--quiet", "--out", "whole"]) == 0
    for part in ("2/2", "1/2"):
        assert main(["study", str(plan), "--quiet", "--out", "parts", "--shard", part, "--json"]) == 0
        assert said(capsys)["shards"] == [int(part[0])]
        assert not Path("parts", "table.csv").exists()
    assert main(["merge", "parts", "--out", "merged.parquet", "--json"]) == 0
    assert said(capsys)["studies"] == ["targets"]

    def values(place: str) -> list[Any]:
        rows = table.read(Path(place)).rows
        return [(row.key, str(row.value)) for row in rows if row.measure != table.TIME]

    assert values("merged.parquet") == values("whole/table.csv")


def test_more_parts_than_shards_leave_some_with_nothing(
    plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(plan), "--quiet", "--out", "s", "--shard", "3/3", "--json"]) == 0
    assert said(capsys)["shards"] == []


def test_the_figure_is_drawn_again_from_the_table_alone(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(plan), "--quiet", "--out", "s"]) == 0
    Path("alone").mkdir()
    Path("s/table.csv").rename("alone/t.csv")
    assert main(["show", "alone/t.csv", "--json"]) == 0
    [found] = said(capsys)["studies"]
    assert Path(found["figure"]).read_bytes() == Path("s/targets.png").read_bytes()


def test_a_list_says_what_it_costs_and_runs_nothing(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(plan), "--list", "--json", "--out", "s", "--units", "3"]) == 0
    shards = said(capsys)["shards"]
    assert [(one["evolutions"], one["presentations"], one["done"]) for one in shards] == [(3, 120, False)] * 2
    assert not list(Path("s").rglob("experiment.sqlite"))


def test_show_says_that_a_study_is_not_finished_and_resume_finishes_it(
    plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(plan), "--quiet", "--out", "s", "--shard", "1/2"]) == 0
    assert main(["show", "s"]) == 0
    assert "1 shards are not done" in capsys.readouterr().err
    assert main(["merge", "s", "--out", "t.csv"]) == 2
    assert "--partial" in capsys.readouterr().err
    assert main(["resume", "s", "--quiet", "--json"]) == 0
    assert len(said(capsys)["studies"][0]["groups"]) == 2


def test_flags_are_stronger_than_the_plan(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["study", str(plan), "--list", "--out", "s", "--layers", "late=conv2", "--units", "3,5"]
    assert main([*command, "--presentations", "80", "--seeds", "2", "--json"]) == 0
    [shard] = said(capsys)["shards"]
    assert (shard["depth"], shard["evolutions"], shard["presentations"]) == ("late", 4, 320)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nonsense"], "unknown study 'nonsense'; near: "),
        (["targets", "--scale", "paper"], "no default networks"),
        (["targets", "--shard", "0/4"], "give i/N with i from 1 to N"),
        (["targets", "--shard", "5/4"], "give i/N"),
        (["targets", "--networks", "efficientnet-lite9"], "efficientnet-lite9"),
        (["targets", "--networks", "efficientnet-lite0", "--layers", "nowhere"], "'nowhere' is no depth"),
        (["targets", "--references", "nowhere"], "nowhere"),
        (["targets", "--cluster", "moon:3"], "moon"),
        (["targets", "--cluster", "local:none"], "local:none"),
        (["targets", "--cluster", "slurm:nowhere.toml"], "nowhere.toml"),
        (["targets", "--device", "nonsense"], "nonsense"),
        (["targets", "--cluster", "local:2", "--resource", "GPU=few"], "NAME=AMOUNT"),
        (["nowhere.toml"], "nowhere.toml"),
        (["targets", "--inverse", "nothing"], "nothing"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    plan: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    small = ["--units", "1", "--presentations", "20"]
    assert main(["study", *flags, *small, "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert not Path("studies").exists()  # what is refused leaves nothing that blocks the right command


def test_a_merge_needs_something_to_merge(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "nowhere", "--out", "t.csv"]) == 2
    assert "'nowhere' is no table" in capsys.readouterr().err
    assert main(["merge", "nowhere", "--out", "t.xlsx"]) == 2
    Path("other.csv").write_text("a,b\n1,2\n")
    assert main(["show", "other.csv"]) == 2
    assert "no table of studies" in capsys.readouterr().err


def test_every_study_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "studies", "--json"]) == 0
    assert said(capsys)["studies"] == studies.names()


def test_an_interruption_says_how_to_go_on(
    plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("xdream.studies.run_shard", interrupted)
    assert main(["study", str(plan), "--quiet", "--out", "a folder"]) == 130
    assert "xdream resume 'a folder'" in capsys.readouterr().err
    assert Path("a folder", study_folder.FILE_NAME).exists()


def test_what_fails_on_a_cluster_is_a_table_and_status_3(
    plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def run_on(where: str, work: Any, shards: dict[int, str], **others: Any) -> list[cluster.Failure]:
        asked.update(where=where, shards=shards, resources=others["resources"])
        work(1)
        others["callback"].stage("shards", 2, 2)
        return [cluster.Failure(2, shards[2], "its worker was lost three times")]

    monkeypatch.setattr(cluster, "run_on", run_on)
    command = ["study", str(plan), "--quiet", "--out", "s", "--cluster", "dask:there", "--resource", "GPU=1"]
    assert main([*command, "--json"]) == 3
    printed = capsys.readouterr()
    assert "1 of 2 shards failed" in printed.err
    assert "tiny_encoder_network-conv3" in printed.err
    assert "lost three times" in printed.err
    assert [one["number"] for one in json.loads(printed.out.splitlines()[-1])["failed"]] == [2]
    assert asked["where"] == "dask:there"
    assert asked["resources"] == {"GPU": 1.0}
    assert main(["merge", "s", "--partial", "--out", "t.csv"]) == 0  # the other shard is kept


def test_a_gpu_is_asked_for_where_the_device_is_one() -> None:
    assert study_commands._resources([], "cuda:0") == {"GPU": 1.0}
    assert study_commands._resources(["MEMORY=8e9"], "cpu") == {"MEMORY": 8e9}
    assert study_commands._resources(["GPU=2"], "cuda") == {"GPU": 2.0}


def test_a_merge_promises_what_show_gives(
    plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is known here: not of studies of packages that are not installed, nor of experiments."""
    rows = [
        table.TableRow(name, measure="last", value=1.0) for name in ("targets", "elsewhere", "experiment")
    ]
    for names, promised in (
        (("targets",), "report and figures: xdream show m.csv"),
        (("targets", "elsewhere", "experiment"), "report and figures of targets: xdream show m.csv"),
        (("elsewhere",), None),
        (("experiment",), None),
    ):
        table.write(table.Table(row for row in rows if row.study in names), Path("t.csv"))
        assert main(["merge", "t.csv", "--out", "m.csv"]) == 0
        said = capsys.readouterr().out
        assert (promised or "there is no report of it") in said
        assert ("xdream show m.csv" in said) == (main(["show", "m.csv", "--no-figures"]) == 0)


def test_single_experiments_are_merged_too(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evolve", "--target", f"{NETWORK}:conv3:1,2", "--generator", "pixels", "--set"]
    command += ["generator.size_px=8", "--presentations", "40", "--quiet", "--no-figures", "--json"]
    for name, seed in (("a", "0"), ("b", "1")):
        assert main([*command, "--out", name, "--seed", seed]) == 0
        runs = said(capsys)["runs"]
    assert main(["merge", "a", "b", "--out", "t.csv"]) == 0
    assert "there is no report of it" in capsys.readouterr().out
    found = table.read(Path("t.csv")).where(measure="last")
    assert [(row.unit, row.seed) for row in found.rows] == [
        ("1@2,2", 0),
        ("2@2,2", 0),
        ("1@2,2", 1),
        ("2@2,2", 1),
    ]
    assert [row.value for row in found.rows[2:]] == [run["last_generation_best"] for run in runs]
    assert main(["show", "t.csv"]) == 2
    assert "xdream show FOLDER" in capsys.readouterr().err


def test_a_second_run_of_all_shards_is_refused_as_in_use(
    plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would take a shard between two of the first, which would end there."""
    assert main(["study", str(plan), "--quiet", "--out", "s", "--shard", "1/2"]) == 0
    capsys.readouterr()
    with studies.alone(Path("s")):
        for command in (["study", str(plan), "--out", "s"], ["resume", "s"]):
            assert main([*command, "--quiet"]) == 2
            assert "s is in use" in capsys.readouterr().err
        assert not Path("s", "table.csv").exists()
        assert (
            main(["study", str(plan), "--quiet", "--out", "s", "--shard", "2/2"]) == 0
        )  # an array's part may
    assert main(["study", str(plan), "--quiet", "--out", "s"]) == 0
