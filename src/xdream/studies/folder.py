"""The folder of a study.

OUT/study.toml            what was asked, with every number filled in; written first
OUT/references.csv        the natural images and their hashes
OUT/shards/003-NETWORK-LAYER/00/experiment.sqlite    the experiments of a shard, each a store of its own
OUT/shards/003-NETWORK-LAYER/result.csv              its rows, written last: with them the shard is done
OUT/table.csv, OUT/claims.csv, OUT/report.md, OUT/NAME.png     made from the shards' rows
OUT/../natural/           responses to natural images, shared by the studies beside it
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from xdream import files, networks, references
from xdream.assemble import absolute_generator, absolute_network
from xdream.errors import BadInput, StoreBusy, StoreError
from xdream.generators import GENERATORS
from xdream.store import LOCK_NAME, locked
from xdream.studies import drawing, natural, report, table
from xdream.studies.base import Study
from xdream.studies.places import candidates
from xdream.studies.plan import Shard, StudyPlan
from xdream.studies.statistics import import_scipy
from xdream.studies.table import Table
from xdream.studies.work import Work
from xdream.watcher import Nobody, Watcher

FILE_NAME, SHARDS, RESULT, TABLE = "study.toml", "shards", "result.csv", "table.csv"
#: How long the beginning of a study, the checking of its natural images, is waited for in another process.
BEGINNING_S = 3_600.0


def begin(study: Study, plan: StudyPlan, folder: Path) -> StudyPlan:
    """The study's folder with its plan; the plan with everything filled in.

    A folder with the same study goes on. Several processes may begin it at once: one does. Raises BadInput
    (before anything is written, where the plan is at fault), StoreError.
    """
    import_scipy()
    plan = _resolved(study, plan)
    study.conditions(plan)
    shards = plan.shards()
    for shard in shards:
        cost(study, plan, shard)  # units that are not there are known now
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK_NAME)
        lock.acquire(timeout=BEGINNING_S)
    except filelock.Timeout:
        raise StoreBusy(f"{folder} is being begun by another process; try again later") from None
    except OSError as error:
        raise StoreError(f"folder {folder} cannot be written: {error.strerror}") from None
    try:
        path = folder / FILE_NAME
        if path.exists():
            there = StudyPlan.read(path)
            other = [key for key in type(plan).model_fields if getattr(plan, key) != getattr(there, key)]
            if other:
                raise BadInput(
                    f"{folder} holds a study with another {', '.join(other)}; give --out for a new folder"
                )
            return there
        for shard in shards:
            shard_folder(folder, shard).mkdir(parents=True, exist_ok=True)
        natural.write_manifest(folder, plan.references)
        files.replace(path, plan.to_toml().encode())
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from None
    finally:
        lock.release()
    return plan


def _resolved(study: Study, plan: StudyPlan) -> StudyPlan:
    plan = plan.filled(study.sizes, study.layers, study.generators)
    generators = tuple(absolute_generator(one) for one in plan.generators)
    first = GENERATORS.make(generators[0].name, **generators[0].options)
    for one in generators[1:]:
        GENERATORS.factory(one.name)
    if plan.inverse is not None:
        network, colon, layer = plan.inverse.rpartition(":")
        if not colon:
            raise BadInput(f"inverse is '{plan.inverse}'; give NETWORK:LAYER")
        networks.layer_reader(plan.network(absolute_network(network)), [layer])
    return plan.model_copy(
        update={
            "generators": generators,
            "networks": tuple(absolute_network(name) for name in plan.networks),
            "references": references.absolute(plan.references),
            "inverse": plan.inverse and absolute_network(plan.inverse),
            "image_size_px": plan.image_size_px or first.image_size_px,
        }
    )


def shard_folder(folder: Path, shard: Shard) -> Path:
    """Where a shard is computed."""
    return folder / SHARDS / f"{shard.number:03}-{shard.name}"


def run_shard(study: Study, folder: Path, number: int, watcher: Watcher | None = None) -> Path:
    """Compute one shard, or go on with it; its result. One that is done is left as it is.

    Raises BadInput, SubjectError, StoreError; StoreBusy while another living process computes it.
    """
    plan = StudyPlan.read(folder / FILE_NAME)
    shard = shard_of(plan, number)
    own = shard_folder(folder, shard)
    result = own / RESULT
    if result.exists():
        return result
    own.mkdir(parents=True, exist_ok=True)
    lock = locked(own)
    try:
        if not result.exists():
            started = time.monotonic()
            work = Work(plan, shard, own, watcher or Nobody())
            rows = list(study.rows(work))
            rows.append(work.row(table.TIME, time.monotonic() - started))
            table.write(Table(rows), result)
    finally:
        lock.release()
    return result


def cost(study: Study, plan: StudyPlan, shard: Shard) -> tuple[int, int]:
    """How many evolutions a shard has, and their presentations together, where all units are excited."""
    assert plan.units is not None
    units = len(candidates(shard.place, plan.units))
    evolutions = presentations = 0
    for condition in study.conditions(plan):
        count = units * (condition.seeds or plan.seeds or 1)
        evolutions += count
        presentations += count * (condition.presentations or plan.presentations or 0)
    return evolutions, presentations


def shard_of(plan: StudyPlan, number: int) -> Shard:
    """One by its number. Raises BadInput."""
    shards = plan.shards()
    if not 1 <= number <= len(shards):
        raise BadInput(f"there is no shard {number}; the study has 1 to {len(shards)}")
    return shards[number - 1]


def unfinished(folder: Path, plan: StudyPlan) -> list[Shard]:
    """The shards without a result."""
    return [s for s in plan.shards() if not (shard_folder(folder, s) / RESULT).exists()]


def gathered(places: Sequence[Path], *, partial: bool = False) -> Table:
    """One table of studies' folders, shards' folders and tables. partial: also of unfinished studies.

    Raises BadInput, also where a shard is not done.
    """
    return table.merged([table.read(path) for place in places for path in _tables(place, partial)])


def _tables(place: Path, partial: bool) -> Iterator[Path]:
    if place.suffix in table.SUFFIXES and place.is_file():
        yield place
    elif (place / RESULT).exists():
        yield place / RESULT
    elif (place / FILE_NAME).exists():
        plan = StudyPlan.read(place / FILE_NAME)
        missing = unfinished(place, plan)
        if missing and not partial:
            named = ", ".join(f"{s.number} {s.name}" for s in missing[:5])
            raise BadInput(
                f"{len(missing)} of {len(plan.shards())} shards of {place} are not done "
                f"({named}{' …' if len(missing) > 5 else ''}); "
                f"go on with: xdream resume {place}, or take what there is with --partial"
            )
        done = [s for s in plan.shards() if s not in missing]
        if not done:
            raise BadInput(f"no shard of {place} is done yet; go on with: xdream resume {place}")
        yield from (shard_folder(place, s) / RESULT for s in done)
    else:
        raise BadInput(f"'{place}' is no table, no study's folder and no shard's folder that is done")


def write_outputs(studies: Sequence[Study], found: Table, folder: Path) -> dict[str, Path]:
    """Report, claims and figure of each study of a table, beside it; the figure's path by study."""
    written = {}
    many = len(studies) > 1
    for study in studies:
        of_study = found.where(study=study.name)
        findings = list(study.findings(of_study))
        report_name, claims_name = (
            f"{study.name}-{name}" if many else name for name in ("report.md", "claims.csv")
        )
        with _said(folder):
            files.replace(folder / report_name, report.markdown(study, of_study).encode())
            files.replace(folder / claims_name, report.claims_csv(findings).encode())
        written[study.name] = drawing.draw(study, of_study, folder / f"{study.name}.png")
    return written


@contextlib.contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from None
