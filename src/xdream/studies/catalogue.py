"""Every study by its name, and one from its plan to its table."""

from __future__ import annotations

from pathlib import Path

from xdream.errors import BadInput
from xdream.experiment.callbacks import Callback
from xdream.registry import Registry
from xdream.studies import study_folder as folders
from xdream.studies.base import Study
from xdream.studies.plan import StudyPlan
from xdream.studies.table import Table

#: Every study, those of other packages too (entry points of the group `xdream.studies`).
STUDIES: Registry[Study] = Registry("study", plural="studies")
#: The experiments of the paper in its order; other studies come after them.
PAPER = (
    *("overview", "targets", "initialisations", "generators", "optimizers", "hyperparameters"),
    *("random-exploration", "expressiveness"),
)


def names() -> list[str]:
    """All studies: those of the paper in its order, then others in alphabetical order."""
    known = STUDIES.names()
    return [*(name for name in PAPER if name in known), *(name for name in known if name not in PAPER)]


def named(name: str) -> Study:
    """A study by its name. Raises BadInput."""
    study = STUDIES.make(name)
    if study.name != name:
        raise BadInput(f"study '{name}' calls itself '{study.name}'; give its entry point that name")
    return study


def run(plan: StudyPlan, folder: str | Path, callback: Callback | None = None) -> Table:
    """A whole study, shard after shard; one that was interrupted goes on. The table is also in the folder.

    Raises BadInput before anything is computed; SubjectError, StoreError, after which the same call goes on.
    """
    study, place = named(plan.study), Path(folder)
    folders.begin(study, plan, place)
    for shard in folders.shards_of(place):
        folders.run_shard(study, place, shard.number, callback)
    return folders.finished(place)
