"""The folder of a tuning.

OUT/tuning.toml            the plan and what is searched, written first
OUT/evaluations/0007/      an ordinary experiment each; 0000 is the start
OUT/evaluations.csv        the table of those that are finished
OUT/tuning.png             the figure
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from xdream import files, text
from xdream.description import Part
from xdream.errors import BadInput, StoreError
from xdream.experiment.plan import Plan
from xdream.store import FILE_NAME as EXPERIMENT_NAME
from xdream.store import LOCK_NAME, locked
from xdream.studies.file_names import TUNING
from xdream.studies.tuning.parameters import optimizer_options
from xdream.studies.tuning.search import Parameter, Setting

FILE_NAME = TUNING
TABLE_NAME = "evaluations.csv"
FIGURE_NAME = "tuning.png"
EVALUATIONS = "evaluations"


def place_of(folder: Path, number: int) -> Path:
    """The folder of one evaluation."""
    return folder / EVALUATIONS / f"{number:04d}"


class Task(BaseModel):
    """What a tuning was begun with: everything that its search follows from, and how far it may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluations: int | None = None
    notes: tuple[str, ...] = ()
    plan: Plan
    parameters: tuple[Parameter, ...]

    def plan_with(self, setting: Setting) -> Plan:
        """The plan of one evaluation."""
        options = optimizer_options(self.plan, self.parameters, setting)
        return self.plan.model_copy(update={"optimizer": Part(name=self.plan.optimizer.name, **options)})

    @classmethod
    def read(cls, folder: Path) -> Task:
        """Of an existing tuning. Raises StoreError."""
        path = folder / FILE_NAME
        try:
            return cls(**tomllib.loads(text.toml(path.read_bytes())))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}; give a tuning's folder") from None
        except (tomllib.TOMLDecodeError, BadInput, ValidationError):
            raise StoreError(f"{path} is damaged; restore it from a copy") from None

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        values = self.model_dump(mode="json", exclude_none=True)
        replace(folder / FILE_NAME, tomli_w.dumps(values))


@contextlib.contextmanager
def begun(folder: Path, task: Task, *, any_threads: bool) -> Iterator[Task]:
    """The folder as this process's own, with the task in it; the task as it is there.

    any_threads: the number of threads was not asked for, so that of the beginning stays. When nothing comes
    of it but bad input, what was made is removed.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"folder {folder} cannot be made: {error.strerror}") from None
    lock = locked(folder)
    try:
        if (folder / EXPERIMENT_NAME).exists():
            raise BadInput(f"{folder} already holds an experiment; choose another folder")
        if (folder / FILE_NAME).exists():
            task = _same(folder, task, any_threads=any_threads)
        task.write(folder)
        try:
            yield task
        except BadInput:
            if not (folder / EVALUATIONS).exists():
                for name in (FILE_NAME, LOCK_NAME):
                    (folder / name).unlink(missing_ok=True)
                for path in made:
                    with contextlib.suppress(OSError):  # other things are in it
                        path.rmdir()
            raise
    finally:
        lock.release()


def _same(folder: Path, task: Task, *, any_threads: bool) -> Task:
    """The task that goes on. Raises BadInput when the folder holds another one."""
    there = Task.read(folder)
    if any_threads:
        task = task.model_copy(update={"plan": task.plan.model_copy(update={"threads": there.plan.threads})})
    ours, theirs = task.plan.model_dump(), there.plan.model_dump()
    other = [key for key in ours if ours[key] != theirs[key]]
    other += [] if task.parameters == there.parameters else ["what is searched"]
    if other:
        raise BadInput(
            f"{folder} already holds the tuning of another plan (other: {', '.join(other)}); choose another "
            "folder"
        )
    return task


def replace(path: Path, content: str) -> None:
    """A file's new text, whole or not at all. Raises StoreError."""
    try:
        files.replace(path, content.encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
