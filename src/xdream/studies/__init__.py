"""The published experiments as studies: one file each, a table, a figure, a verdict on every claim."""

from xdream.studies.base import Study
from xdream.studies.catalogue import STUDIES, named, run
from xdream.studies.folder import (
    begin,
    cost,
    gathered,
    resolved,
    run_shard,
    shards_of,
    unfinished,
    write_outputs,
)
from xdream.studies.plan import Shard, StudyPlan
from xdream.studies.table import Table

__all__ = [
    "STUDIES",
    "Shard",
    "Study",
    "StudyPlan",
    "Table",
    "begin",
    "cost",
    "gathered",
    "named",
    "resolved",
    "run",
    "run_shard",
    "shards_of",
    "unfinished",
    "write_outputs",
]
