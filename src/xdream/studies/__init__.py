"""The published experiments as studies: one file each, a table, a figure, a verdict on every claim."""

from xdream.studies.base import Study
from xdream.studies.expressiveness import Expressiveness
from xdream.studies.folder import begin, gathered, run_shard, unfinished, write_outputs
from xdream.studies.overview import Overview
from xdream.studies.plan import Shard, StudyPlan
from xdream.studies.targets import Targets

#: Every study by its name, in the order of the paper.
STUDIES: dict[str, Study] = {study.name: study for study in (Overview(), Targets(), Expressiveness())}

__all__ = [
    "STUDIES",
    "Shard",
    "Study",
    "StudyPlan",
    "begin",
    "gathered",
    "run_shard",
    "unfinished",
    "write_outputs",
]
