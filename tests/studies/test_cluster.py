"""Shards on real workers: none is lost, none is computed twice, and what fails is said."""

import fcntl
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import shards
import torch
from shards import Beside, evolve, halt, misbehave

import xdream
from xdream.errors import BadInput, ClusterLost
from xdream.experiment.callbacks import NoCallback
from xdream.store import LOCK_NAME, locked
from xdream.studies import cluster, worker_pools
from xdream.studies.cluster import Failure, run_on

NAMES = {number: f"shard {number}" for number in range(1, 6)}


def named(*numbers: int) -> dict[int, str]:
    return {number: NAMES[number] for number in numbers}


class Told(NoCallback):
    """A callback that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None:
        assert name == "shards"
        self.stages.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


class Interrupting(NoCallback):
    """Ctrl-C when a shard has ended and the next one has begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, done: int, total: int) -> None:
        shards.wait_for(self.folder / "halted-2")
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No worker lives on."""
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    yield
    left = [one for one in set(mine.children(recursive=True)) - before if "resource_tracker" not in line(one)]
    assert not left, left


def line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "resource_tracker"  # gone meanwhile


def test_a_worker_killed_in_the_middle_of_a_shard_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    study, whole = tmp_path / "study", tmp_path / "whole"
    study.mkdir()
    seen: dict[str, int] = {}

    def kill() -> None:
        halted = study / "halted-2"
        shards.wait_for(halted)
        record = shards.read(study, 2)
        seen["generations"] = len(record.scores(0))
        seen["finished"] = record.finished
        record.close()
        seen["pid"] = int(halted.read_text().split()[0])
        os.kill(seen["pid"], signal.SIGKILL)

    killer = Beside(kill)
    told = Told()
    work = functools.partial(evolve, study, (2,))
    failures = run_on("local:2", work, named(1, 2, 3, 4), callback=told)

    assert failures == []
    killer.end()
    assert told.stages == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told.notes == []
    assert not seen["finished"]
    assert shards.HALT - 1 <= seen["generations"] <= shards.HALT  # the last one may have been on its way
    assert not psutil.pid_exists(seen["pid"])
    for number in named(1, 2, 3, 4):
        assert shards.result_of(study, number).exists()
        with_kill = shards.read(study, number)
        undisturbed = xdream.run(shards.plan(number), whole / str(number))
        assert with_kill.finished
        assert with_kill.dump() == undisturbed.dump()
        assert len(with_kill.versions()) == (2 if number == 2 else 1)  # sessions
        rows = with_kill.query("SELECT run, generation, image, repeat FROM presentation")
        assert len(rows) == len(set(rows)) == 2 * 4 * shards.GENERATIONS
        with_kill.close()
        undisturbed.close()


def test_shards_that_fail_are_said_in_order_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pools, "LOST_TRIES", 2)
    told = Told()
    work = functools.partial(misbehave, tmp_path)
    failures = run_on(
        "local:1",
        work,
        named(2, 4, 1, 5),
        resources={"GPU": 1},  # with them, Dask lets all wait at their worker, and each loss counts for all
        threads=3,
        callback=told,
    )
    assert [failure.number for failure in failures] == [2, 4, 1]
    mistake, lost, bad = failures
    assert mistake == Failure(2, "shard 2", "ZeroDivisionError: a mistake")
    assert bad == Failure(1, "shard 1", "the weights are gone; put them back")
    assert lost.name == "shard 4"
    assert lost.reason.startswith("its worker was lost 2 times, last that at tcp://127")
    assert told.stages[-1] == (4, 4)
    assert told.notes[-1] == "3 failed"
    assert shards.attempts(tmp_path, 4) == 2
    assert shards.attempts(tmp_path, 5) == 1
    assert (tmp_path / "result-5").read_text() == f"3 {os.getcwd()}"


def test_a_busy_shard_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BUSY_WAIT_S", 0.1)
    monkeypatch.setattr(cluster, "BUSY_TRIES", 1000)
    lock = (tmp_path / LOCK_NAME).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def free() -> None:
        shards.wait_for(tmp_path / "found-busy")
        lock.close()

    friend = Beside(free)
    failures = run_on("local:1", functools.partial(misbehave, tmp_path), named(3, 5))
    friend.end()
    assert failures == []
    assert shards.attempts(tmp_path, 3) >= 2
    assert (tmp_path / "result-3").exists()


def test_a_shard_that_stays_busy_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BUSY_WAIT_S", 0.05)
    monkeypatch.setattr(cluster, "BUSY_TRIES", 3)
    lock = locked(tmp_path)
    [failure] = run_on("local:1", functools.partial(misbehave, tmp_path), named(3, 5))
    lock.release()
    assert failure.number == 3
    assert "is in use by a running experiment" in failure.reason
    assert shards.attempts(tmp_path, 3) == 3
    assert (tmp_path / "result-5").exists()


def test_after_an_interruption_nothing_else_is_begun(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_on(
            "local:1", functools.partial(halt, tmp_path), named(1, 2, 3, 4), callback=Interrupting(tmp_path)
        )
    assert [shards.attempts(tmp_path, number) for number in (1, 2, 3, 4)] == [1, 1, 0, 0]
    assert not psutil.pid_exists(int((tmp_path / "halted-2").read_text()))


def test_each_worker_of_this_machine_has_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    before = torch.get_num_threads()
    work = functools.partial(misbehave, tmp_path)
    assert run_on("local:2", work, named(5), resources={"GPU": 1, "MEMORY": 8e9}) == []
    assert (tmp_path / "result-5").read_text().startswith("2 ")
    assert torch.get_num_threads() == before


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    assert run_on("local:2", functools.partial(misbehave, tmp_path), {}) == []


@pytest.fixture
def running(tmp_path: Path) -> Iterator["Running"]:
    found = Running(tmp_path)
    yield found
    found.end()


class Running:
    """A scheduler in a process of its own, and its workers, as somebody else started them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._started = folder, list[subprocess.Popen[bytes]]()
        self.file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        shards.wait_for(self.file)

    def worker(self, *options: str) -> None:
        """One more."""
        self._start("worker", "--no-dashboard", "--no-nanny", *options)

    def _start(self, part: str, *options: str) -> None:
        places = os.pathsep.join(str(Path(one).parents[1]) for one in (xdream.__file__,))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((places, str(Path(__file__).parent)))}
        log = (self._folder / f"{part}-{len(self._started)}.log").open("wb")
        with log:
            self._started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", part, "--scheduler-file", self.file, *options],
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            )

    def stop_scheduler(self) -> None:
        """As if its machine were switched off."""
        self._started[0].kill()

    def end(self) -> None:
        """Leave nothing running."""
        for process in reversed(self._started):
            process.kill()
            process.wait()


def test_shards_run_on_a_cluster_that_is_there(tmp_path: Path, running: "Running") -> None:
    running.worker("--nthreads", "1", "--resources", "GPU=1,MEMORY=8000000000")
    work = functools.partial(misbehave, tmp_path)
    needs = {"GPU": 1.0, "MEMORY": 4e9}
    assert run_on(f"dask:{running.file}", work, named(5), resources=needs, threads=2) == []
    assert (tmp_path / "result-5").read_text() == f"2 {os.getcwd()}"
    with pytest.raises(
        BadInput, match=r"no worker of dask:.* offers GPU=2; start some that do: .* --resources GPU=2"
    ):
        run_on(f"dask:{running.file}", work, named(5), resources={"GPU": 2})
    assert shards.attempts(tmp_path, 5) == 1


def test_workers_with_many_threads_are_refused(tmp_path: Path, running: "Running") -> None:
    running.worker("--nthreads", "2")
    with pytest.raises(BadInput, match=r"has 2 threads and would .*; start it with --nthreads 1"):
        run_on(f"dask:{running.file}", functools.partial(misbehave, tmp_path), named(5))


def test_a_cluster_without_workers_is_not_waited_for(
    tmp_path: Path, running: "Running", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pools, "CONNECT_S", 3.0)
    with pytest.raises(BadInput, match="has no workers; start some: dask worker"):
        run_on(f"dask:{running.file}", functools.partial(misbehave, tmp_path), named(5))


def test_an_interruption_leaves_the_workers_of_others_as_they_were(
    tmp_path: Path, running: "Running"
) -> None:
    running.worker("--nthreads", "1", "--resources", "GPU=1")

    where, needs = f"dask:{running.file}", {"GPU": 1.0}
    work = functools.partial(halt, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_on(where, work, named(1, 2, 3, 4), resources=needs, callback=Interrupting(tmp_path))
    assert psutil.pid_exists(int((tmp_path / "halted-2").read_text()))  # what has begun goes on to its end
    (tmp_path / "go").touch()
    assert run_on(where, work, named(5), resources=needs) == []
    assert [shards.attempts(tmp_path, number) for number in (1, 2, 3, 4, 5)] == [1, 1, 0, 0, 1]


def test_a_scheduler_that_goes_is_said(tmp_path: Path, running: "Running") -> None:
    running.worker("--nthreads", "1")

    def stop() -> None:
        shards.wait_for(tmp_path / "halted-2")
        running.stop_scheduler()

    friend = Beside(stop)
    with pytest.raises(ClusterLost, match=r"the scheduler of dask:.* was lost; give the same command again"):
        run_on(f"dask:{running.file}", functools.partial(halt, tmp_path), named(2, 3))
    friend.end()


def test_workers_that_all_go_are_said(
    tmp_path: Path, running: "Running", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pools, "PATIENCE_S", 1.0)
    monkeypatch.setattr(cluster, "LOOK_S", 0.2)
    running.worker("--nthreads", "1")

    def kill() -> None:
        shards.wait_for(tmp_path / "halted-2")
        os.kill(int((tmp_path / "halted-2").read_text()), signal.SIGKILL)

    friend = Beside(kill)
    with pytest.raises(ClusterLost, match="has had no worker for 1 s; start some"):
        run_on(f"dask:{running.file}", functools.partial(halt, tmp_path), named(2, 3))
    friend.end()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "'' is no place for shards; give local:N, dask:ADDRESS, slurm:CONFIG, "),
        ("local", "'local' is no place"),
        ("local:", "'local:' is no place"),
        ("local:0", "'0' is no number of processes; give one from 1 on"),
        ("local:two", "'two' is no number of processes"),
        ("local:-1", "'-1' is no number of processes"),
        ("sge:jobs.toml", "is no place for shards"),
        ("dask:nowhere.json", "nowhere.json cannot be read: No such file"),
        ("dask:damaged.json", "damaged.json is no scheduler's file"),
        ("dask:tcp://127.0.0.1:1", "does not answer: .*; start it: dask scheduler"),
        ("dask:carrier://pigeon", "does not answer: "),
        ("slurm:nowhere.toml", "nowhere.toml cannot be read: No such file"),
    ],
)
def test_a_bad_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker_pools, "CONNECT_S", 0.5)
    (tmp_path / "damaged.json").write_text("{}")
    with pytest.raises(BadInput, match=said):
        run_on(where, functools.partial(misbehave, tmp_path), named(5))
    assert shards.attempts(tmp_path, 5) == 0


GOOD = 'jobs = 1\ncores = 1\nmemory = "1 GB"\n'


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = ", "jobs.toml is no TOML file"),
        ("cores = 1\n", "jobs.toml: 'jobs' is missing"),
        (GOOD + "walltme = '1:00'", "jobs.toml: unknown key 'walltme'; near: walltime"),
        (GOOD + "n_workers = 3", "jobs.toml: unknown key 'n_workers'"),
        ("jobs = 0", "jobs.toml: jobs is 0; give a whole number from 1 on"),
        ("jobs = true", "jobs.toml: jobs is True; give a whole number"),
        ("jobs = 1\ncores = 'all'", "jobs.toml: cores is 'all'; give a whole number"),
        ("jobs = 1\nmemory = 8", "jobs.toml: memory is 8; give a text"),
        (GOOD + "worker_extra_args = '--x'", "jobs.toml: worker_extra_args is '--x'; give a list of texts"),
        (GOOD + "scheduler_options = 1", "jobs.toml: scheduler_options is 1; give a table"),
        ("jobs = 1\nmemory = '1 GB'", r"jobs.toml cannot be used: You must specify how much cores"),
        ("jobs = 1\ncores = 1\nmemory = 'much'", r"jobs.toml cannot be used: Could not interpret 'much'"),
    ],
)
def test_a_bad_config_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _commands(tmp_path, monkeypatch, "true")
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(BadInput, match=said):
        run_on(f"{kind}:jobs.toml", functools.partial(misbehave, tmp_path), named(5))


def _commands(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Commands of queueing systems that only do this."""
    commands = folder / "commands"
    commands.mkdir()
    for name in ("sbatch", "scancel", "qsub", "qdel", "bsub", "bkill"):
        (commands / name).write_text(f"#!/bin/sh\n{does}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)


def test_a_queue_that_is_not_here_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs.toml").write_text(GOOD)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="'sbatch' is not on this machine; begin where jobs can be submitted"):
        run_on(f"slurm:{tmp_path}/jobs.toml", functools.partial(misbehave, tmp_path), named(5))


def test_a_job_that_the_queue_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _commands(tmp_path, monkeypatch, "echo 'sbatch: error: Invalid account' >&2; exit 1")
    (tmp_path / "jobs.toml").write_text(GOOD + 'scheduler_options = { host = "127.0.0.1" }\n')
    with pytest.raises(BadInput, match=r"jobs.toml: sbatch refused a job: sbatch: error: Invalid account"):
        run_on(f"slurm:{tmp_path}/jobs.toml", functools.partial(misbehave, tmp_path), named(5))


def test_without_dask_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match=r"pip install xdream\[cluster\]"):
        run_on("local:1", functools.partial(misbehave, tmp_path), named(5))


def test_dask_is_not_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, xdream.studies.cluster; sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_means_what_it_meant_before_jobs_were_looked_at(tmp_path: Path) -> None:
    """In a process of its own, in which the package was not imported before."""
    (tmp_path / "jobs.toml").write_text('jobs = 1\ncores = 1\nmemory = "1 GB"\n')
    code = (
        "import signal, sys; from xdream.errors import BadInput; from xdream.studies import worker_pools\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "try:\n    worker_pools.opened('lsf:jobs.toml', {}).__enter__()\n"
        "except BadInput as error:\n    assert 'bsub' in str(error), error\n"
        "assert 'dask_jobqueue' in sys.modules\n"
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
