"""What a folder holds that can be watched: one experiment, or the many of a study or a tuning. Read-only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xdream.errors import BadInput, XDreamError
from xdream.store import FILE_NAME, Record, since
from xdream.store.lock_file import is_running
from xdream.studies import file_names, gathering

Json = dict[str, Any]
EVALUATIONS = "evaluations"
#: Of a small chart.
MOST_POINTS = 60


@dataclass(frozen=True)
class Place:
    """An experiment below the folder. at: its path from there, "" for the folder itself. part: of the study
    or tuning."""

    at: str
    part: str


class Places:
    """The experiments below a folder. kind: experiment, study or tuning. Raises BadInput for none of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[tuple[Any, ...], _Summary]] = {}
        if (folder / FILE_NAME).exists():
            self.kind = "experiment"
        elif (folder / file_names.STUDY).exists():
            self.kind = "study"
        elif (folder / file_names.TUNING).exists():
            self.kind = "tuning"
        else:
            raise BadInput(
                f"{folder} is no folder of an experiment, session, tuning or study; give the folder that "
                "xdream evolve, serve, tune or study wrote"
            )

    def place(self, at: str) -> Path:
        """The folder of one that is there. Raises BadInput."""
        if self.kind == "experiment" and at == "":
            return self.folder
        if at not in {one.at for one in self._places()}:
            raise BadInput("there is no such experiment here")
        return self.folder / at

    def overview(self) -> Json:
        """Every part and how far it is. One that has not changed is not read again."""
        rows = [self._row(place) for place in self._places()]
        whole: Json = {"kind": self.kind, "folder": str(self.folder), "name": self.folder.name, "rows": rows}
        if self.kind == "study":
            shards = gathering.shards_of(self.folder)
            done = len(shards) - len(gathering.unfinished(self.folder))
            begun = {row["part"] for row in rows}
            whole |= {"parts": len(shards), "done": done}
            whole["waiting"] = [
                name for one in shards if (name := gathering.shard_folder(self.folder, one).name) not in begun
            ]
        return whole

    def _places(self) -> Iterator[Place]:
        if self.kind == "experiment":
            yield Place("", "")
            return
        inside = self.folder / (EVALUATIONS if self.kind == "tuning" else gathering.SHARDS)
        for path in sorted(inside.rglob(FILE_NAME)):
            at = path.parent.relative_to(self.folder)
            yield Place(at.as_posix(), at.parts[1])

    def _row(self, place: Place) -> Json:
        folder = self.folder / place.at
        signature = tuple(_changed(folder / name) for name in (FILE_NAME, f"{FILE_NAME}-wal"))
        running = is_running(folder)
        known = self._known.get(place.at)
        if known is None or known[0] != signature:
            known = (signature, _summary(folder, _Summary() if known is None else known[1]))
            self._known[place.at] = known
        return {"at": place.at, "part": place.part, "running": running, **known[1].row}


def _changed(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True)
class _Summary:
    """One experiment as it was seen last. row: for the page. began: of its first process, which tells it from
    another one in the same folder. told: the last generation of each run. bests: score of each generation, of
    all runs."""

    row: Json = field(default_factory=dict)
    began: str = ""
    told: dict[int, int] = field(default_factory=dict)
    bests: dict[int, float] = field(default_factory=dict)


def _summary(folder: Path, before: _Summary) -> _Summary:
    """The same with what is new: generations that were seen before are not read again."""
    try:
        with Record(folder) as record:
            [(began,)] = record.query("SELECT min(started_utc) FROM process")
            endings = since.endings(record)
            if began != before.began or endings.keys() != before.told.keys():
                before = _Summary(began=began, told=dict.fromkeys(endings, -1))
            new = since.best_since(record, before.told)
            [(natural,)] = record.query("SELECT max(response) FROM reference_response")
            targets = [target for (target,) in record.query("SELECT DISTINCT target FROM run ORDER BY id")]
    except XDreamError as error:
        return _Summary({"error": str(error)})
    told, bests = dict(before.told), dict(before.bests)
    for (run, generation), best in new.items():
        told[run] = max(told[run], generation)
        if best is not None and math.isfinite(best):
            bests[generation] = max(best, bests.get(generation, best))
    curve = _thinned(sorted((generation + 1, best) for generation, best in bests.items()))
    row = {
        "runs": len(endings),
        "ended": sum(ending is not None for ending in endings.values()),
        "generations": max(told.values(), default=-1) + 1,
        "best": max(bests.values(), default=None),
        "curve": [[generation for generation, _ in curve], [best for _, best in curve]],
        "reference": natural,
        "targets": targets[:3],
        "more": max(len(targets) - 3, 0),
    }
    return _Summary(row, began, told, bests)


def _thinned(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most MOST_POINTS of its parts, each by its best, in order."""
    size = -(-len(curve) // MOST_POINTS) or 1
    return [max(curve[at : at + size], key=lambda one: one[1]) for at in range(0, len(curve), size)]
