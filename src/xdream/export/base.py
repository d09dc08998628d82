"""What all exports have in common: what is asked for, a place that is whole or not there, progress."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdream.errors import BadInput
from xdream.experiment import presentation_rows
from xdream.experiment.plan import Plan, generators_of
from xdream.experiment.presentation_rows import PresentationRecord, ShownImage
from xdream.experiment.rig_clock import Restart
from xdream.store import Record
from xdream.text import cut

#: Name of a stage, how much of it is done, how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """An export. plan: of the record, with what was added for the export. out: a file or a folder, new.

    spikes: whether spike times are written into tables. notes: collects what the user should know.
    """

    record: Record
    plan: Plan
    out: Path
    spikes: bool
    progress: Progress
    notes: list[str]


@contextlib.contextmanager
def new_place(out: Path) -> Iterator[Path]:
    """A path beside `out` that becomes it at the end; nothing stays when the work fails. Raises BadInput."""
    if out.exists():
        raise BadInput(f"{out} exists already; choose another place")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{cut(out.name, 100)}-", dir=out.parent) as beside:
            partial = Path(beside) / out.name
            yield partial
            os.replace(partial, out)
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror or error}") from None


def about(record: Record) -> dict[str, Any]:
    """What explains a record: plan, runs, versions, notes, events."""
    return {
        "plan": record.facts["plan"],
        "facts": {key: value for key, value in record.facts.items() if key != "plan"},
        "runs": [
            {"run": r.id, "target": r.target, "seed": r.seed, "optimizer": r.optimizer, "ending": r.ending}
            | {"objective": r.objective, "spikes_per_activation": r.spikes_per_activation}
            | {"generator": {"name": generator.name} | generator.options}
            for r, generator in zip(record.runs(), generators_of(record), strict=True)
        ],
        "versions": record.versions(),
        "void_generations": [number + 1 for number in record.void_generations()],
        "events": [
            {"utc": e.utc, "kind": e.kind, "text": e.text, "block": e.block}
            | {"generation": None if e.generation is None else e.generation + 1}
            for e in record.events()
        ],
    }


def write_about(record: Record, folder: Path) -> None:
    """about.json and plan.toml in an export's folder."""
    (folder / "about.json").write_text(json.dumps(about(record), indent=1), encoding="utf-8")
    (folder / "plan.toml").write_text(record.facts["plan"], encoding="utf-8")


def images_with_progress(request: Request) -> Iterator[Sequence[ShownImage]]:
    """Batches of images, and how far they are."""
    total, done = presentation_rows.image_count(request.record), 0
    request.progress("images", 0, total)
    for batch in presentation_rows.images(request.record):
        yield batch
        done += len(batch)
        request.progress("images", done, total)


def presentations_with_progress(
    request: Request, stage: str = "presentations"
) -> Iterator[Sequence[PresentationRecord]]:
    """Batches of presentations, and how far they are. Raises BadInput for a record of scores."""
    if not request.record.keeps_everything:
        raise BadInput(f"{request.record.folder} is a record of scores, which has no presentations to export")
    total, done = presentation_rows.presentation_count(request.record), 0
    request.progress(stage, 0, total)
    restarts: list[Restart] = []
    for batch in presentation_rows.presentations(request.record, restarts):
        yield batch
        done += len(batch)
        request.progress(stage, done, total)
    note(request, [one.text for one in restarts])


def note(request: Request, texts: Sequence[str]) -> None:
    """Say each once."""
    request.notes.extend(text for text in texts if text not in request.notes)
