"""Where shards can run, and how one gets there. Dask is imported when it is asked for, not before.

local:N        N worker processes on this machine
dask:ADDRESS   a scheduler that runs already: tcp://HOST:PORT, or the path of its scheduler file
slurm:CONFIG   jobs of a queueing system, each with a worker in it; CONFIG is a TOML file with the arguments
pbs:CONFIG     of the class of dask-jobqueue, and `jobs`, how many at once
lsf:CONFIG
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import math
import os
import re
import shlex
import shutil
import signal
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdream import text
from xdream.errors import BadInput
from xdream.registry import nearest

#: A shard is begun so often before it is given up because its worker is lost each time.
LOST_TRIES = 5
#: A job is replaced when its worker has been away for so many seconds.
JOB_LOST_S = 60
#: Seconds until a scheduler has answered and has a worker, …
CONNECT_S = 30.0
#: … and that one which had some may be without.
PATIENCE_S = 600.0

#: Ctrl-C goes to all processes of a terminal, but only the one that started the others is to end them.
_DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"

_CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
_FORMS = "local:N, dask:ADDRESS, slurm:CONFIG, pbs:CONFIG or lsf:CONFIG"

#: Arguments that are ours, no data, or of old releases.
_NOT_TAKEN = frozenset(
    "self scheduler n_workers job_cls loop asynchronous scheduler_cls dashboard_address host "
    "extra job_extra env_extra header_skip job_kwargs base_class_kwargs".split()
)
_NUMBERS = frozenset(("jobs", "cores", "processes", "job_cpu", "ncpus"))
_TEXTS = frozenset(
    "memory walltime queue account project interface local_directory log_directory python shebang job_mem "
    "resource_spec job_name protocol name".split()
)
_LISTS = frozenset(("worker_extra_args", "job_script_prologue", "job_directives_skip"))


@dataclass(frozen=True)
class WorkerPool:
    """Workers that shards can be handed to.

    client: of Dask. threads: for a shard when nothing else is said; None: as many as a worker takes.
    patience_s: how long it may be without workers; a queue may last for days.
    """

    where: str
    client: Any
    threads: int | None
    patience_s: float


@contextlib.contextmanager
def opened(where: str, needs: Mapping[str, float]) -> Iterator[WorkerPool]:
    """The workers, and an end to those that were started. Raises BadInput."""
    check(where)
    kind, _, rest = where.partition(":")
    with contextlib.ExitStack() as stack:
        if kind == "local":
            pool = _local(stack, where, rest, needs)
        elif kind == "dask":
            pool = _existing(stack, where, rest, needs)
        else:
            pool = _jobs(stack, where, kind, rest, needs)
        yield pool


def check(where: str) -> None:
    """Raise BadInput for what cannot be opened, as far as its form and its file say; nothing is started."""
    kind, _, rest = where.partition(":")
    if kind not in ("local", "dask", *_CLASSES) or not rest:
        raise BadInput(f"'{where}' is no place for shards; give {_FORMS}")
    if kind == "local" and (not rest.isdecimal() or int(rest) < 1):
        raise BadInput(f"'{where}': '{rest}' is no number of processes; give one from 1 on, local:2")
    if kind in _CLASSES:
        _config(Path(rest))


def offering(client: Any, needs: Mapping[str, float]) -> list[Mapping[str, Any]]:
    """The workers that offer what a shard needs."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return [
        worker
        for worker in workers
        if all(worker["resources"].get(name, 0) >= value for name, value in needs.items())
    ]


def written(needs: Mapping[str, float], before: str = "") -> str:
    """Resources as Dask's workers are told them, GPU=1,MEMORY=8000000000; "" for none."""
    return before + ",".join(f"{name}={_number(value)}" for name, value in needs.items()) if needs else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _dask() -> tuple[Any, Any]:
    """Dask and its part for many processes."""
    try:
        import dask
        import distributed
    except ImportError:
        raise BadInput("shards elsewhere than here need Dask: pip install xdream[cluster]") from None
    return dask, distributed


# ------------------------------------------------------------------ on this machine


def _local(stack: contextlib.ExitStack, where: str, rest: str, needs: Mapping[str, float]) -> WorkerPool:
    count = int(rest)
    dask, distributed = _dask()
    stack.enter_context(
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": LOST_TRIES - 1,
                "distributed.worker.daemon": False,  # a shard may start processes of its own
                # Else a worker whose new process takes longer than that to come is given up for ever.
                "distributed.deploy.lost-worker-timeout": "1000 days",
            }
        )
    )
    cluster = distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        resources=dict(needs),
        memory_limit=None,  # Dask would end a worker that takes its share of the memory
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
        preload=[_DEAF],
    )
    client = _client(stack, distributed, stack.enter_context(cluster))
    return WorkerPool(where, client, max(1, (os.cpu_count() or 1) // count), PATIENCE_S)


# ------------------------------------------------------------------ on a cluster that is there


def _existing(stack: contextlib.ExitStack, where: str, rest: str, needs: Mapping[str, float]) -> WorkerPool:
    _, distributed = _dask()
    try:
        client = _client(stack, distributed, rest if "://" in rest else _address_in(where, Path(rest)))
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError:
        raise BadInput(f"{where} has no workers; start some: dask worker {rest} --nthreads 1") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{where} does not answer: {error}; start it: dask scheduler") from None
    fit = offering(client, needs)
    if not fit:
        raise BadInput(
            f"no worker of {where} offers {written(needs)}; start some that do: dask worker {rest} "
            f"--nthreads 1 --resources {written(needs)}"
        )
    for worker in fit:
        if worker["nthreads"] != 1:
            raise BadInput(
                f"worker {worker['name']} of {where} has {worker['nthreads']} threads and would run as many "
                "shards in one process; start it with --nthreads 1 (and --nworkers N for more at once)"
            )
    return WorkerPool(where, client, None, PATIENCE_S)


def _address_in(where: str, path: Path) -> str:
    """The address that a scheduler has written into its file."""
    try:
        return str(json.loads(path.read_text("utf-8"))["address"])
    except OSError as error:
        raise BadInput(
            f"{where}: {path} cannot be read: {error.strerror}; give tcp://HOST:PORT or a scheduler's file"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{where}: {path} is no scheduler's file (dask scheduler --scheduler-file)") from None


# ------------------------------------------------------------------ in jobs


def _jobs(
    stack: contextlib.ExitStack, where: str, kind: str, rest: str, needs: Mapping[str, float]
) -> WorkerPool:
    path = Path(rest)
    values = _config(path)
    dask, distributed = _dask()
    make = getattr(_dask_jobqueue(where), _CLASSES[kind])
    _check_keys(path, values, sorted({"jobs"} | (_names(make) | _names(make.job_cls)) - _NOT_TAKEN))
    command = shlex.split(make.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise BadInput(f"{where}: '{command}' is not on this machine; begin where jobs can be submitted")
    jobs = values.pop("jobs")
    values.setdefault("processes", 1)
    values["scheduler_options"] = {"dashboard_address": "127.0.0.1:0"} | values.get("scheduler_options", {})
    ours = ["--nthreads", "1", "--memory-limit", "0"]  # memory is the queueing system's business
    ours += ["--resources", written(needs)] if needs else []
    values["worker_extra_args"] = [*values.get("worker_extra_args", []), *ours]
    stack.enter_context(
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": LOST_TRIES - 1,
                "distributed.deploy.lost-worker-timeout": f"{JOB_LOST_S} s",
            }
        )
    )
    try:
        # A job first: a cluster that is half made is never closed.
        make.job_cls("tcp://HOST:0", **{key: values[key] for key in values if key in _names(make.job_cls)})
        cluster = stack.enter_context(make(**values))
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise BadInput(f"{path} cannot be used: {_one_line(error)}") from None
    _submit(cluster, jobs, path, command)
    cores = values.get("cores") or dask.config.get(f"jobqueue.{kind}.cores")
    client = _client(stack, distributed, cluster)
    return WorkerPool(where, client, max(1, int(cores) // values["processes"]), math.inf)


def _dask_jobqueue(where: str) -> Any:
    """The package. Importing it makes Ctrl-C end the program without a word, which is undone."""
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError:
        raise BadInput(f"{where} needs dask-jobqueue: pip install xdream[cluster]") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
    return dask_jobqueue


def _submit(cluster: Any, jobs: int, path: Path, command: str) -> None:
    """The first jobs, so that a refusal is heard; then as many for as long as shards run."""

    from distributed.core import Status

    async def submitted() -> None:
        for _ in range(jobs):
            cluster.worker_spec.update(cluster.new_worker_spec())
        try:
            await cluster
        except BaseException:
            for job in cluster.workers.values():  # Dask asserts it of all that it did not start
                job.status = Status.failed
            raise

    try:
        cluster.sync(submitted)
    except (RuntimeError, ValueError) as error:
        said = re.search(r"stderr:\s*(.*)", str(error))
        what = said[1] if said and said[1] else _one_line(error)
        raise BadInput(f"{path}: {command} refused a job: {what}") from None
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)


def _config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text.toml(path.read_bytes()))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; give a TOML file with `jobs`") from None
    except (tomllib.TOMLDecodeError, BadInput) as error:
        raise BadInput(f"{path} is no TOML file: {error}") from None


def _names(part: Any) -> set[str]:
    """The names of the arguments of a class of dask-jobqueue, those handed on included."""
    bases = [base for base in inspect.getmro(part) if base.__module__.startswith("dask_jobqueue")]
    return {name for base in bases for name in inspect.signature(base).parameters}


def _check_keys(path: Path, values: Mapping[str, Any], taken: list[str]) -> None:
    """Raise BadInput for the first key that is unknown or has a value of a wrong kind."""
    for key, value in values.items():
        if key not in taken:
            raise BadInput(f"{path}: unknown key '{key}'; near: {nearest(key, taken)}")
        for names, fits, form in _KINDS:
            if key in names and not fits(value):
                raise BadInput(f"{path}: {key} is {value!r}; give {form}")
    if "jobs" not in values:
        raise BadInput(f"{path}: 'jobs' is missing; give the number of jobs to run at once")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_KINDS: tuple[tuple[frozenset[str], Callable[[object], bool], str], ...] = (
    (_NUMBERS, _is_number, "a whole number from 1 on"),
    (_TEXTS, lambda value: isinstance(value, str), "a text"),
    (_LISTS, _are_texts, "a list of texts"),
    (frozenset(("scheduler_options",)), lambda value: isinstance(value, dict), "a table"),
)


def _client(stack: contextlib.ExitStack, distributed: Any, to: Any) -> Any:
    return stack.enter_context(distributed.Client(to, timeout=CONNECT_S, set_as_default=False))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
