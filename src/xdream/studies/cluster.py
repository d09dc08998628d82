"""All shards of a study on the workers of Dask, which hands them out and sees to it that none is lost.

A worker runs one shard at a time. When it is lost the shard begins anew on another one, and goes on from its
own folder: so a shard must be safe to run again at any time.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xdream.errors import BadInput, ClusterLost, StoreBusy, XDreamError
from xdream.experiment.callbacks import Callback, NoCallback
from xdream.studies import worker_pools
from xdream.studies.worker_pools import WorkerPool, offering, opened, written

#: A shard whose folder another process works in (a worker that was given up but lives) is tried so often, …
BUSY_TRIES = 20
#: … after so long each time.
BUSY_WAIT_S = 30.0
#: A shard that waits with others on workers that are lost is handed out so often before it is given up.
HANDED_OUT = 20
#: How often it is looked whether there are workers at all.
LOOK_S = 5.0


@dataclass(frozen=True)
class Failure:
    """A shard without a result, and why."""

    number: int
    name: str
    reason: str


def run_on(
    where: str,
    work: Callable[[int], None],
    shards: Mapping[int, str],
    *,
    resources: Mapping[str, float] | None = None,
    threads: int | None = None,
    callback: Callback | None = None,
) -> list[Failure]:
    """Run `work(number)` for each shard, and return those that failed, in the order of `shards`.

    where: local:N, dask:ADDRESS, slurm:CONFIG, pbs:CONFIG or lsf:CONFIG (see `worker_pools`). shards: number
    -> name.
    work: does or goes on with a shard in a folder that all workers see, a finished one in no time. It must
    be picklable, and runs in the folder that is the current one here. resources: of one shard, as workers
    offer them. threads: of PyTorch for one shard; None: a worker's share of its machine or job. callback: is
    told of the stage "shards".

    Raises BadInput before anything is run, also when no worker offers the resources; ClusterLost. After an
    interruption, or any other exception, no further shard is begun.
    """
    if not shards:
        return []
    needs = dict(resources or {})
    with opened(where, needs) as pool:
        task = _Task(work, threads if threads is not None else pool.threads, os.getcwd())
        return _Running(pool, task, shards, needs, callback or NoCallback()).go()


# ------------------------------------------------------------------ in a worker


@dataclass(frozen=True)
class _Task:
    """What a worker is handed beside the shard's number."""

    work: Callable[[int], None]
    threads: int | None
    folder: str


def _shard(task: _Task, number: int, topic: str) -> None:
    """One shard, in a worker. Nothing is returned, because that would be lost with the worker."""
    import torch
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    sync(worker.loop, worker.scheduler.log_event, topic=topic, msg=number)  # answered: it is known there
    if not os.path.isdir(task.folder):
        raise BadInput(
            f"{task.folder} is not there on {socket.gethostname()}; all workers must see the same folders"
        )
    os.chdir(task.folder)  # relative paths in a plan mean the same everywhere, …
    if task.folder not in sys.path:
        sys.path.insert(0, task.folder)  # … and so do modules of the user's own
    if task.threads is not None:
        torch.set_num_threads(task.threads)
    task.work(number)


# ------------------------------------------------------------------ here


class _Running:
    """Shards on their way: each handed out once, and again where that helps."""

    def __init__(
        self,
        pool: WorkerPool,
        task: _Task,
        shards: Mapping[int, str],
        needs: Mapping[str, float],
        callback: Callback,
    ) -> None:
        self._pool, self._client = pool, pool.client
        self._task, self._shards, self._needs, self._callback = task, shards, needs, callback
        self._topic = f"xdream-{uuid.uuid4().hex}"
        self._futures: dict[int, Any] = {}
        #: In their order; without, Dask takes any.
        self._priorities = {number: -place for place, number in enumerate(shards)}
        #: Shards that have ended on a worker; whoever puts them here is a thread of the client.
        self._ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._again: dict[int, float] = {}
        self._begun, self._handed, self._busy = Counter[int](), Counter[int](), Counter[int]()
        self._failures: dict[int, Failure] = {}
        self._done = 0
        self._seen = time.monotonic()

    def go(self) -> list[Failure]:
        """All shards to their ends. Raises ClusterLost."""
        self._client.subscribe_topic(self._topic, lambda event: self._begun.update([event[1]]))
        try:
            for number in self._shards:
                self._hand_out(number)
            while self._futures or self._again:
                self._next()
        except BaseException:
            self._client.cancel(list(self._futures.values()))
            raise
        self._client.unsubscribe_topic(self._topic)
        return [self._failures[number] for number in self._shards if number in self._failures]

    def _hand_out(self, number: int) -> None:
        self._handed[number] += 1
        future = self._client.submit(
            _shard,
            self._task,
            number,
            self._topic,
            key=f"{self._topic}-{number}-{self._handed[number]}",
            resources=dict(self._needs) or None,
            priority=self._priorities[number],
            pure=False,
        )
        self._futures[number] = future
        future.add_done_callback(lambda ended: self._ended.put((number, ended)))

    def _next(self) -> None:
        """Wait for a shard that ends, or for the hour of one that is to be tried again."""
        now = time.monotonic()
        for number in [n for n, hour in self._again.items() if hour <= now]:
            del self._again[number]
            self._hand_out(number)
        wait_s = min([LOOK_S, *(hour - now for hour in self._again.values())])
        try:
            number, future = self._ended.get(timeout=max(wait_s, 0.0))
        except queue.Empty:
            self._look()
            return
        if self._futures.get(number) is future:
            del self._futures[number]
            self._end(number, future)

    def _end(self, number: int, future: Any) -> None:
        """What became of a shard: done, failed, or to be handed out again."""
        if future.status == "error":
            reason = self._reason(number, future.exception())
            if reason is None:
                return
            self._failures[number] = Failure(number, self._shards[number], reason)
        elif future.status != "finished":
            raise ClusterLost(
                f"the connection to the scheduler of {self._pool.where} was lost; give the same command "
                "again: what is finished is not run again"
            )
        self._done += 1
        self._callback.stage("shards", self._done, len(self._shards))
        if self._failures:
            self._callback.note(f"{len(self._failures)} failed")

    def _reason(self, number: int, error: BaseException) -> str | None:
        """Why a shard failed; None when it is handed out again instead."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            begun = self._begun[number]
            if begun < worker_pools.LOST_TRIES and self._handed[number] < HANDED_OUT:
                self._hand_out(number)  # it only waited on workers that were lost with others
                return None
            at = f"last that at {error.last_worker.address}"
            return f"its worker was lost {begun} times, {at}; look at its memory and at its job's time"
        if isinstance(error, StoreBusy):
            self._busy[number] += 1
            if self._busy[number] < BUSY_TRIES:
                self._again[number] = time.monotonic() + BUSY_WAIT_S
                return None
        return str(error) if isinstance(error, XDreamError) else f"{type(error).__name__}: {error}"

    def _look(self) -> None:
        """Raise ClusterLost when nobody has been there for too long who could run a shard."""
        now = time.monotonic()
        if offering(self._client, self._needs):
            self._seen = now
        elif now - self._seen > self._pool.patience_s:
            raise ClusterLost(
                f"{self._pool.where} has had no worker{written(self._needs, ' with ')} for "
                f"{self._pool.patience_s:.0f} s; start some, and give the same command again"
            )
