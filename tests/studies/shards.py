"""What the tests have workers do: shards that are experiments, and shards that misbehave."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

import xdream
from xdream.errors import BadInput, StoreBusy
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.plan import Plan
from xdream.store import FILE_NAME, Record, locked

#: No wait in a test is longer.
LONGEST_S = 120.0
GENERATIONS = 30
#: The generation in which a shard waits to be killed.
HALT = 7


def plan(number: int) -> Plan:
    return Plan.make(
        targets=["known:linear::0-1"],
        generator={"name": "pixels", "size_px": 8},
        optimizer={"name": "genetic", "population": 4, "elites": 1},
        presentations=4 * GENERATIONS,
        noise_scale=1.0,
        seed=number,
        threads=1,
    )


def folder_of(study: Path, number: int) -> Path:
    return study / f"{number:04d}"


def result_of(study: Path, number: int) -> Path:
    return folder_of(study, number) / "result.txt"


def wait_for(path: Path) -> None:
    """Until a file is there."""
    for _ in range(int(LONGEST_S / 0.01)):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not come")


class Halting(NoCallback):
    """Stops in the middle of an experiment, says so in a file, and waits to be killed."""

    def __init__(self, here: Path) -> None:
        self.here = here

    def stage(self, name: str, done: int, total: int) -> None:
        if name == "generations" and done == HALT:
            said(self.here, f"{os.getpid()} {os.environ.get('SLURM_JOB_ID', '')}")
            time.sleep(LONGEST_S)
            raise AssertionError("nobody killed this worker")


def said(path: Path, text: str) -> None:
    """A file, whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)


def evolve(study: Path, victims: tuple[int, ...], number: int) -> None:
    """A shard as a study's: begun or gone on with, its result written at its end."""
    result, store = result_of(study, number), folder_of(study, number) / FILE_NAME
    if result.exists():
        return
    if store.exists():
        record = xdream.resume(folder_of(study, number))
    else:
        halting = Halting(study / f"halted-{number}") if number in victims else None
        record = xdream.run(plan(number), folder_of(study, number), halting)
    with_best = max(float(scores.max()) for scores in record.scores(0))
    record.close()
    said(result, repr(with_best))


def attempts(study: Path, number: int) -> int:
    """How often a shard that misbehaves was begun."""
    return len(list(study.glob(f"attempt-{number}-*")))


def attempt(study: Path, number: int) -> None:
    (study / f"attempt-{number}-{time.monotonic_ns()}-{os.getpid()}").touch()


def misbehave(study: Path, number: int) -> None:
    """1 has bad input, 2 a mistake in the program, 3 a busy folder, 4 takes its worker with it."""
    if (study / f"result-{number}").exists():
        return  # its worker was lost before it could say so
    attempt(study, number)
    if number == 1:
        raise BadInput("the weights are gone; put them back")
    if number == 2:
        raise ZeroDivisionError("a mistake")
    if number == 3:
        try:
            locked(study).release()
        except StoreBusy:
            (study / "found-busy").touch()
            raise
    if number == 4:
        os.abort()
    said(study / f"result-{number}", f"{torch.get_num_threads()} {os.getcwd()}")


def halt(study: Path, number: int) -> None:
    """1 ends; all others wait to be killed, or let go."""
    attempt(study, number)
    if number > 1:
        said(study / f"halted-{number}", str(os.getpid()))
        wait_for(study / "go")


def read(study: Path, number: int) -> Record:
    return Record(folder_of(study, number))


class Beside(threading.Thread):
    """Does something beside the test, and fails with it."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._do = do
        self.failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._do()
        except BaseException as error:
            self.failed = error

    def end(self) -> None:
        self.join(LONGEST_S)
        assert not self.is_alive()
        assert self.failed is None, self.failed


if __name__ == "__main__":  # as a job: python shards.py STUDY NUMBER
    evolve(Path(sys.argv[1]), (), int(sys.argv[2]))
