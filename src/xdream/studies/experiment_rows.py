"""A single experiment as rows of a table, so that it can be merged with others."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from xdream.report import plan_of, summarise
from xdream.store import Record
from xdream.studies.network_layers import short
from xdream.studies.table import TableRow
from xdream.subjects.target import split

#: What stands for the study of an experiment that belongs to none.
NO_STUDY = "experiment"


def rows_of(folder: Path) -> Iterator[TableRow]:
    """What `xdream show` says of each run; condition: the experiment's name. Raises StoreError."""
    with contextlib.closing(Record(folder)) as record:
        plan = plan_of(record)
        name = plan.name
        asked = [*plan.targets, *(one for variant in plan.variants for one in variant.targets or ())]
        known = {target.network for target in asked}
        for one in summarise(record):
            network, layer, unit = split(one.target, known)
            for measure, value in (
                ("relative activation", one.relative_activation),
                ("last", one.last_generation_best),
                ("first", one.first_generation_best),
                ("best ever", one.best_ever),
                ("best natural", one.best_reference),
                ("presentations", float(one.presentations)),
            ):
                yield TableRow(
                    *(NO_STUDY, short(network), "", layer, unit, short(one.generator), one.optimizer, name),
                    seed=one.seed,
                    measure=measure,
                    value=math.nan if value is None else value,
                )
