"""The folder of a study.

OUT/study.toml            what was asked, with every number filled in; written first
OUT/shards.json           the layers that its shards are
OUT/references.csv        the natural images and their hashes
OUT/shards/003-NETWORK-LAYER/00/experiment.sqlite    the experiments of a shard, each a store of its own
OUT/shards/003-NETWORK-LAYER/result.csv              its rows, written last: with them the shard is done
OUT/table.csv, OUT/claims.csv, OUT/report.md, OUT/NAME.png     made from the shards' rows
OUT/../natural/           responses to natural images, shared by the studies beside it
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import filelock

from xdream import files, networks
from xdream.errors import BadInput, StoreError
from xdream.experiment.callbacks import Callback, NoCallback
from xdream.images import references
from xdream.store import LOCK_NAME, locked
from xdream.studies import drawing, natural_responses, report, table
from xdream.studies.base import Study
from xdream.studies.gathering import (
    FILE_NAME,
    RESULT,
    SHARDS_FILE,
    TABLE,
    gathered,
    shard_folder,
    shards_of,
)
from xdream.studies.network_layers import candidates
from xdream.studies.plan import Shard, StudyPlan
from xdream.studies.shard_work import Work, check_budget
from xdream.studies.statistics import import_scipy
from xdream.studies.table import Table
from xdream.subjects import parse_units

#: Held by who runs all shards; each shard, and the beginning, have locks of their own.
RUN_LOCK = "run.lock"


def resolved(study: Study, plan: StudyPlan) -> tuple[StudyPlan, tuple[Shard, ...]]:
    """What a study would be: its plan with everything filled in, and its shards; nothing is written.

    Raises BadInput for whatever can be known before anything is computed.
    """
    import_scipy()
    plan = plan.filled(study.sizes, study.layers, study.generators).resolved()
    networks.device(plan.device)
    if not references.place_of(plan.references).exists():
        raise BadInput(f"references '{plan.references}' do not exist; give a folder or zip file of images")
    check_budget(study.conditions(plan), plan.presentations)
    shards = plan.shards()
    for shard in shards:
        cost(study, plan, shard)  # units that are not there are known now
    return plan, shards


def begin(study: Study, plan: StudyPlan, folder: Path) -> StudyPlan:
    """The study's folder with its plan; the plan with everything filled in.

    A folder with the same study goes on. Several processes may begin it at once: one does, and the others
    wait for it. Raises BadInput, where the plan is at fault before anything is written; StoreError.
    """
    plan, shards = resolved(study, plan)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / LOCK_NAME):
            path = folder / FILE_NAME
            if path.exists():
                there = StudyPlan.read(path)
                other = [key for key in type(plan).model_fields if getattr(plan, key) != getattr(there, key)]
                if other:
                    raise BadInput(
                        f"{folder} holds a study with another {', '.join(other)}; give --out for a new folder"
                    )
                return there
            natural_responses.write_manifest(folder, plan.references)
            files.replace(folder / SHARDS_FILE, json.dumps([asdict(one) for one in shards]).encode())
            files.replace(path, plan.to_toml().encode())
    return plan


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """A study's folder for a run of all of its shards; a second one at the same time gets StoreBusy.

    Otherwise each would take shards from the other, and end at the first that the other has.
    """
    lock = locked(folder, RUN_LOCK)
    try:
        yield
    finally:
        lock.release()


def run_shard(study: Study, folder: Path, number: int, callback: Callback | None = None) -> Path:
    """Compute one shard, or go on with it; its result. One that is done is left as it is.

    Raises BadInput, SubjectError, StoreError; StoreBusy while another living process computes it.
    """
    plan = StudyPlan.read(folder / FILE_NAME)
    shard = shard_of(folder, number)
    own = shard_folder(folder, shard)
    result = own / RESULT
    with _writing(own):
        own.mkdir(parents=True, exist_ok=True)
    lock = locked(own)
    try:
        if not result.exists():
            started = time.monotonic()
            work = Work(plan, shard, own, callback or NoCallback())
            with _writing(own):
                rows = list(study.rows(work))
            rows.append(work.row(table.TIME, time.monotonic() - started))
            table.write(Table(rows), result)
    finally:
        lock.release()
    return result


def cost(study: Study, plan: StudyPlan, shard: Shard) -> tuple[int, int]:
    """How many evolutions a shard has at most, and their presentations together."""
    assert plan.units is not None
    if study.sample == "units":
        count = len(candidates(shard.place, plan.units))
    else:
        count = plan.units if isinstance(plan.units, int) else len(parse_units(plan.units, None))
    evolutions = presentations = 0
    for condition in study.conditions(plan):
        seeds = count * (condition.seeds or plan.seeds or 1)
        evolutions += seeds
        presentations += seeds * (plan.presentations or 0)
    return evolutions, presentations


def shard_of(folder: Path, number: int) -> Shard:
    """One by its number. Raises BadInput."""
    shards = shards_of(folder)
    if not 1 <= number <= len(shards):
        raise BadInput(f"there is no shard {number}; the study has 1 to {len(shards)}")
    return shards[number - 1]


def finished(folder: Path) -> Table:
    """The table of a study whose shards are all done, which is also written. Raises BadInput, StoreError."""
    found = gathered([folder])
    table.write(found, folder / TABLE)
    return found


def write_outputs(
    studies: Sequence[Study],
    found: Table,
    folder: Path,
    *,
    prefix: str = "",
    note: str = "",
    figures: bool = True,
) -> dict[str, Path]:
    """Report, claims and figure of each study of a table, in a folder; the figure's path by study.

    prefix: of the files' names. note: what the reports must say, e.g. that shards are missing.
    """
    written = {}
    for study in studies:
        of_study = found.where(study=study.name)
        before = f"{prefix}{study.name}-" if prefix or len(studies) > 1 else ""
        with _writing(folder):
            text = report.markdown(study, of_study, note)
            files.replace(folder / f"{before}report.md", text.encode())
            claims = report.claims_csv(list(study.findings(of_study)))
            files.replace(folder / f"{before}claims.csv", claims.encode())
        if figures:
            written[study.name] = drawing.draw(study, of_study, folder / f"{prefix}{study.name}.png")
    return written


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from None
