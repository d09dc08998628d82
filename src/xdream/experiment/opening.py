"""What opens an experiment: a new store with its facts, or the parts of one that goes on, checked."""

from __future__ import annotations

import contextlib
import itertools
import json
import platform
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from xdream import random
from xdream.errors import BadInput, StoreError
from xdream.experiment import code_reach, engine_choice
from xdream.experiment.assemble import assemble
from xdream.experiment.callbacks import Callback
from xdream.experiment.plan import Plan, plan_of, written_generators
from xdream.experiment.runs import Parts
from xdream.experiment.stopping import FILE_NAME as END_NAME
from xdream.generators import parameters
from xdream.store import Record, RunRow, Store, notes_on, queries
from xdream.store.migrations import SCHEMA_VERSION


def parts_of(record: Record) -> Parts:
    """The parts of an experiment that goes on.

    Raises BadInput when they have changed since: references, weights, images to match, draws.
    """
    check_draws(record)
    plan = plan_of(record)
    update: dict[str, object] = {"batch": int(record.facts["batch"])}
    if record.started:  # the files of the initial codes have done their work and may be gone
        update["init"] = "default"
        update["variants"] = tuple(one.model_copy(update={"init": "default"}) for one in plan.variants)
    parts = assemble(plan.model_copy(update=update))
    check_unchanged(parts, record)
    return parts


def new_store(parts: Parts, folder: Path, notes: Sequence[str] = (), **facts: str) -> Store:
    """The store of a new experiment, and nothing of one that was there before. Raises StoreError.

    notes, facts: beside those that every experiment has.
    """
    store = Store.create(
        folder,
        facts={
            "plan": parts.plan.to_toml(),
            "plan_schema": str(SCHEMA_VERSION),
            "draws": random.VERSION,
            "notes": json.dumps((*parts.notes, *notes_on(folder), *notes)),
            "identities": json.dumps(parts.identities),
            "record": parts.plan.record,
            "repeats": str(parts.plan.repeats),
            "batch": str(parts.plan.batch),
            **_parameters(parts),
            code_reach.FACT: "",
            **written_generators(parts.declared, [r.generator for r in parts.runs]),
            **facts,
        },
        versions=versions(parts.plan),
        runs=[RunRow(r.id, r.target, r.seed, r.optimizer_json(), r.objective_json()) for r in parts.runs],
        references=_identities(parts),
    )
    (folder / END_NAME).unlink(missing_ok=True)
    return store


def _parameters(parts: Parts) -> dict[str, str]:
    """What the numbers of a code are, where a generator says so."""
    named = [getattr(one, "parameters", ()) for one in parts.generators]
    # A module of PyTorch has an attribute of this name, too.
    named = [one if isinstance(one, tuple) else () for one in named]
    return parameters.written(named, [r.generator for r in parts.runs])


def begin_engine(parts: Parts, store: Store, callback: Callback) -> None:
    """Let the plan's engine compute what it can, as when the experiment was begun; the record says which."""
    name, batch = parts.plan.engine, parts.plan.batch
    if name == engine_choice.TORCH:
        return
    assert batch is not None
    known = queries.facts(store).get("engines")
    before = None if known is None else engine_choice.read(known)
    callback.stage("compiling", 0, 1)
    placed = engine_choice.place(parts.forward, name, batch, before)
    callback.stage("compiling", 1, 1)
    note(store, engine_choice.notes_of(name, placed))
    if any(one.engine == name for one in placed.values()):
        store.write_fact("engines", engine_choice.written(placed))
        return
    # A resume does not try again. Of the plan as it is recorded: on a resume ours differs from it.
    plan = Plan.stored(queries.fact(store, "plan"), int(queries.fact(store, "plan_schema")))
    update = {"engine": engine_choice.TORCH, "compiled": False}
    store.write_fact("plan", plan.model_copy(update=update).to_toml())


def versions(plan: Plan | None = None) -> dict[str, str]:
    """What the numbers depend on: this package, its libraries, the plan's engine, the machine."""
    packages = ["xdream", "torch", "numpy", "pillow", "apsw", "safetensors", "efficientnet_lite_pytorch"]
    packages += engine_choice.versioned(plan) if plan is not None else ()
    return {name: metadata.version(name) for name in packages} | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


@contextlib.contextmanager
def folder_for(out: str | Path | None, name: str) -> Iterator[Path]:
    """Where an experiment goes: `out`, or a folder of its own, runs/DATE-TIME-NAME, with a number if need be.

    That one is made at once, so that of several that begin in one second each has its own; it is removed
    again when nothing has come into it. Raises StoreError.
    """
    if out is not None:
        yield Path(out)
        return
    first = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    made_runs = not first.parent.exists()
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()
            break
        except FileExistsError as error:
            if not folder.parent.is_dir():
                raise StoreError(f"folder {folder.parent} cannot be made: {error.strerror}") from None
        except FileNotFoundError:  # another that came to nothing took it away just now
            continue
        except OSError as error:
            raise StoreError(f"folder {folder} cannot be made: {error.strerror}") from None
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # something is in it
            folder.rmdir()
            if made_runs:
                folder.parent.rmdir()


def check_draws(record: Record) -> None:
    """Raise BadInput when a record was made with other draws than this release's."""
    if record.facts["draws"] != random.VERSION:
        raise BadInput(
            f"{record.folder} was begun with the draws {record.facts['draws']}; this release has "
            f"{random.VERSION}: resume it with the release that began it"
        )


def check_same_runs(parts: Parts, like: Record) -> None:
    """Raise BadInput when the targets or the seeds differ."""
    if [(r.target, r.seed) for r in parts.runs] != [(r.target, r.seed) for r in like.runs()]:
        raise BadInput(f"{like.folder} has other runs; the same targets and seeds are needed")


def check_unchanged(parts: Parts, record: Record) -> None:
    """Raise BadInput when what the record was begun with is not what there is now."""
    if _identities(parts) != record.references:
        raise BadInput(
            f"references '{parts.plan.references}' have changed since {record.folder} was begun; "
            "put them back"
        )
    for part, begun_with in json.loads(record.facts["identities"]).items():
        if parts.identities.get(part) != begun_with:
            raise BadInput(
                f"the {part} has changed since {record.folder} was begun; put the same weights or file back"
            )


def _identities(parts: Parts) -> list[tuple[str, str]]:
    found = parts.references
    return [] if found is None else list(zip(found.names, found.hashes, strict=True))


def note(store: Store, texts: Sequence[str]) -> None:
    """Add what the user should know to what the record says already."""
    known = json.loads(queries.fact(store, "notes"))
    store.write_fact("notes", json.dumps(list(dict.fromkeys([*known, *texts]))))
