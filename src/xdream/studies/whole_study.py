"""A study from its plan to its table."""

from __future__ import annotations

from pathlib import Path

from xdream.experiment.callbacks import Callback
from xdream.studies import gathering
from xdream.studies import study_folder as folders
from xdream.studies.catalogue import named
from xdream.studies.plan import StudyPlan
from xdream.studies.table import Table


def run(plan: StudyPlan, folder: str | Path, callback: Callback | None = None) -> Table:
    """A whole study, shard after shard; one that was interrupted goes on. The table is also in the folder.

    Raises BadInput before anything is computed; SubjectError, StoreError, after which the same call goes on.
    """
    study, place = named(plan.study), Path(folder)
    folders.begin(study, plan, place)
    for shard in gathering.shards_of(place):
        folders.run_shard(study, place, shard.number, callback)
    return folders.finished(place)
