"""Every study by its name, and one from its plan to its table."""

from __future__ import annotations

from pathlib import Path

from xdream.errors import BadInput
from xdream.experiment.callbacks import Watcher
from xdream.registry import nearest
from xdream.studies import gathering
from xdream.studies import study_folder as folders
from xdream.studies.base import Study
from xdream.studies.expressiveness import Expressiveness
from xdream.studies.generators import Generators
from xdream.studies.hyperparameters import Hyperparameters
from xdream.studies.initialisations import Initialisations
from xdream.studies.optimizers import Optimizers
from xdream.studies.overview import Overview
from xdream.studies.plan import StudyPlan
from xdream.studies.random_exploration import RandomExploration
from xdream.studies.table import Table
from xdream.studies.targets import Targets

#: In the order of the paper.
STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Overview(),
        Targets(),
        Initialisations(),
        Generators(),
        Optimizers(),
        Hyperparameters(),
        RandomExploration(),
        Expressiveness(),
    )
}


def named(name: str) -> Study:
    """A study by its name. Raises BadInput."""
    if name not in STUDIES:
        raise BadInput(
            f"unknown study '{name}'; near: {nearest(name, list(STUDIES))} (all: xdream list studies)"
        )
    return STUDIES[name]


def run(plan: StudyPlan, folder: str | Path, watcher: Watcher | None = None) -> Table:
    """A whole study, shard after shard; one that was interrupted goes on. The table is also in the folder.

    Raises BadInput before anything is computed; SubjectError, StoreError, after which the same call goes on.
    """
    study, place = named(plan.study), Path(folder)
    folders.begin(study, plan, place)
    for shard in gathering.shards_of(place):
        folders.run_shard(study, place, shard.number, watcher)
    return folders.finished(place)
