"""The published experiments as studies: one file each, a table, a figure, a verdict on every claim."""

from xdream.studies.base import Study
from xdream.studies.folder import begin, gathered, run_shard, unfinished, write_outputs
from xdream.studies.hyperparameters import Hyperparameters
from xdream.studies.plan import Shard, StudyPlan
from xdream.studies.random_exploration import RandomExploration
from xdream.studies.targets import Targets

#: Every study by its name, in the order of the paper.
STUDIES: dict[str, Study] = {
    study.name: study for study in (Targets(), RandomExploration(), Hyperparameters())
}

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
