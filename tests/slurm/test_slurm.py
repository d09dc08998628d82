"""Shards as jobs of a real Slurm: `make slurm`, which starts one on this machine."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xdream
from xdream.errors import BadInput
from xdream.studies import worker_pools
from xdream.studies.cluster import run_on

STUDIES = Path(__file__).parents[1] / "studies"
sys.path.insert(0, str(STUDIES))

import shards  # noqa: E402

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        os.environ.get("XDREAM_SLURM") != "1" or shutil.which("sbatch") is None,
        reason="no Slurm was asked for: make slurm",
    ),
]

NAMES = {1: "first", 2: "second", 3: "third"}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; what its jobs need to find these tests."""
    places = [str(STUDIES), str(Path(xdream.__file__).parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    folder = tmp_path / "study"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def config(folder: Path, jobs: int, more: str = "") -> str:
    path = folder.parent / "jobs.toml"
    path.write_text(
        f'jobs = {jobs}\ncores = 1\nmemory = "1 GB"\nwalltime = "00:10:00"\nlog_directory = "logs"\n'
        f'scheduler_options = {{ host = "127.0.0.1" }}\n{more}'
    )
    return f"slurm:{path}"


def check(study: Path, sessions: dict[int, int]) -> None:
    """Every shard has its result, and its experiment is the one that nothing disturbed."""
    for number in NAMES:
        assert shards.result_of(study, number).exists()
        record = shards.read(study, number)
        whole = xdream.run(shards.plan(number), study.parent / f"whole-{number}")
        assert record.dump() == whole.dump()
        assert len(record.versions()) == sessions[number]
        record.close()
        whole.close()


def queued() -> list[str]:
    return subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_shards_run_as_jobs(study: Path) -> None:
    where = config(study, 2, 'job_extra_directives = ["--comment=shards"]\n')
    assert run_on(where, functools.partial(shards.evolve, study, ()), NAMES, resources={"GPU": 1}) == []
    check(study, {1: 1, 2: 1, 3: 1})
    assert not [line for line in queued() if " CG " not in line]


def test_a_job_that_is_cancelled_is_replaced(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pools, "JOB_LOST_S", 5)

    def cancel() -> None:
        shards.wait_for(study / "halted-2")
        job = (study / "halted-2").read_text().split()[1]
        subprocess.run(["scancel", "--full", job], check=True)

    friend = shards.Beside(cancel)
    failures = run_on(config(study, 1), functools.partial(shards.evolve, study, (2,)), NAMES)
    assert failures == []
    friend.end()
    check(study, {1: 1, 2: 2, 3: 1})


def test_a_refusal_is_said(study: Path) -> None:
    where = config(study, 1, 'queue = "nowhere"\n')
    with pytest.raises(BadInput, match=r"jobs.toml: sbatch refused a job: sbatch: error: .*nowhere"):
        run_on(where, functools.partial(shards.evolve, study, ()), NAMES)


def test_shards_run_as_an_array_without_dask(study: Path) -> None:
    script = study.parent / "array.sh"
    script.write_text(
        "#!/bin/sh\n#SBATCH --array=1-3\n#SBATCH --cpus-per-task=1\n#SBATCH --output=array-%a.log\n"
        f'exec {sys.executable} {STUDIES / "shards.py"} {study} "$SLURM_ARRAY_TASK_ID"\n'
    )
    subprocess.run(["sbatch", "--wait", script], check=True)
    check(study, {1: 1, 2: 1, 3: 1})
    before = {number: shards.result_of(study, number).stat().st_mtime_ns for number in NAMES}
    subprocess.run(["sbatch", "--wait", script], check=True)  # again: all are finished
    assert before == {number: shards.result_of(study, number).stat().st_mtime_ns for number in NAMES}
    check_sessions = [len(shards.read(study, number).versions()) for number in NAMES]
    assert check_sessions == [1, 1, 1]
