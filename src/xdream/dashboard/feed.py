"""What the page shows of one experiment: collected once, then only what is new. Without PyTorch.

Everything comes from a read-only connection to the store; see `xdream.store.since`. Times in seconds, from
the start of the first process; generations from 0 (the page counts from 1).
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from xdream.dashboard.channels import reference_responses
from xdream.experiment.plan import Plan, generators_of, plan_of
from xdream.store import queries, since
from xdream.store.ledger import Ledger
from xdream.store.lock_file import is_running
from xdream.store.record import Record
from xdream.store.since import ToldGeneration

Json = dict[str, Any]
#: So many of the latest events, and of the blocks that can be rejected, are on the page.
MOST_EVENTS, MOST_BLOCKS = 300, 30
#: The event of every block that a rig takes: counted, and not in the list, in which it would hide the others.
LEASE = "lease"


class Feed:
    """One experiment or session, running or finished. Raises StoreError, BadInput."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = Record(folder)
        self.plan: Plan = plan_of(self.record)
        self._version = -1
        self._runs = self.record.runs()
        self._told = {run.id: -1 for run in self._runs}
        [(began,)] = self.record.query("SELECT min(started_utc) FROM process")
        self._began = datetime.fromisoformat(began)
        self._last = {run.id: 0.0 for run in self._runs}  # when a generation was told last
        self._event = self._recording = 0
        self._block = -1  # the first may be block 0
        self._drifted = -1
        self._blocks: list[since.BlockTimes] = []
        self._all: dict[str, list[Any]] = {"rows": [], "events": [], "times": [], "drift": []}
        self._counts: dict[str, int] = {}
        self._leases = 0
        self._constant = self._what_stays()
        self._told_about: Json = {}
        self._live: Json = {}
        self._told_at: dict[int, float] = {}

    def close(self) -> None:
        """End the reading."""
        self.record.close()

    def update(self) -> Json | None:
        """What is new since the last time; None: nothing."""
        version, running = since.version(self.record), is_running(self.folder)
        if version == self._version and running == self._live.get("running"):
            return None
        self._version = version
        new: Json = {}
        told = since.told_since(self.record, self._told)
        if told:
            new["rows"] = [self._row(one) for one in told]
            new["times"] = self._times(told)
        if self.record.is_session:
            self._update_session(new)
        new["drift"] = self._drift(told)
        about = self._about()
        if about != self._told_about:  # a process that goes on has versions and notes of its own
            self._told_about = new["about"] = about
        live = self._now(running)
        if live != self._live:
            self._live = new["live"] = live
        for key, kept in self._all.items():
            kept.extend(new.get(key, ()))
        del self._all["events"][:-MOST_EVENTS]
        return {key: value for key, value in new.items() if value not in ([], {})} or None

    def snapshot(self) -> Json:
        """Everything so far."""
        return {"about": self._told_about, **self._all, "live": self._live}

    # ------------------------------------------------------------------ what does not change

    def _about(self) -> Json:
        notes = json.loads(queries.fact(self.record, "notes"))
        return self._constant | {"notes": notes, "versions": self.record.versions()}

    def _what_stays(self) -> Json:
        plan, record = self.plan, self.record
        session = plan.session
        return {
            "kind": "session" if record.is_session else "experiment",
            "name": plan.name,
            "folder": str(self.folder),
            "plan": record.facts["plan"],
            "began": self._began.isoformat(),
            "runs": [
                {
                    "id": run.id,
                    "target": run.target,
                    "generator": generator.name,
                    "optimizer": run.optimizer["name"],
                    "objective": run.objective["name"],
                    "seed": run.seed,
                }
                for run, generator in zip(self._runs, generators_of(record), strict=True)
            ],
            "repeats": plan.repeats,
            "presentations": max(one.presentations for one in plan.each()),
            "noisy": plan.noise_spikes is not None or plan.noise_scale is not None,
            "zscore": plan.responses.zscore_blocks is not None,
            "references": len(record.references),
            "channels": [] if session is None else list(session.channels),
            "show_ms": 0 if session is None else session.show_ms,
            "undo_s": 0 if session is None else session.undo_s,
            "images": plan.images_kept != "none",
        }

    # ------------------------------------------------------------------ what is new

    def _seconds(self, utc: str) -> float:
        return round((datetime.fromisoformat(utc) - self._began).total_seconds(), 3)

    def _row(self, one: ToldGeneration) -> list[Any]:
        """[run, generation, at, took, best, mean, deviation, scored, images, pixels of the best]"""
        at = self._seconds(one.told_utc)
        took, self._last[one.run] = at - self._last[one.run], at
        self._told[one.run] = one.generation
        deviation = None
        if one.mean is not None and one.mean_square is not None:
            deviation = math.sqrt(max(one.mean_square - one.mean**2, 0.0))
        best, mean = _finite(one.best), _finite(one.mean)
        return [
            *(one.run, one.generation, at, round(took, 3), best, mean, _finite(deviation)),
            *(one.scored, one.images, one.best_pixels),
        ]

    def _times(self, told: list[ToldGeneration]) -> list[list[Any]]:
        """[generation, waiting for the rig, computing images and responses, optimizer] of those told now."""
        found = []
        for generation in dict.fromkeys(one.generation for one in told):
            at = self._seconds(max(one.told_utc for one in told if one.generation == generation))
            before = self._told_at.get(generation - 1, 0.0)
            self._told_at[generation] = at
            if self.record.is_session:
                found.append([generation, *self._session_times(generation, before, at)])
            else:
                answered = since.answers_ended(self.record, generation)
                computed = at if answered is None else self._seconds(answered)
                found.append([generation, 0.0, max(computed - before, 0.0), max(at - computed, 0.0)])
        return found

    def _session_times(self, generation: int, before: float, at: float) -> list[float]:
        new = since.blocks_since(self.record, self._block)
        self._block = new[-1].id if new else self._block
        self._blocks += new
        own = [one for one in self._blocks if one.generation == generation]
        self._blocks = [one for one in self._blocks if one.generation > generation]
        if not own:
            return [0.0, 0.0, max(at - before, 0.0)]
        began, ended = self._seconds(own[0].planned_utc), self._seconds(own[-1].closed_utc)
        return [max(ended - began, 0.0), max(began - before, 0.0), max(at - ended, 0.0)]

    def _update_session(self, new: Json) -> None:
        events = since.events_since(self.record, self._event)
        if events:
            self._event = events[-1][0]
            listed = [list(event) for event in events if event[4] != LEASE]
            self._leases += len(events) - len(listed)
            new["events"] = listed[-MOST_EVENTS:]
        self._recording, counts = since.recordings_since(self.record, self._recording)
        for status, count in counts.items():
            self._counts[status] = self._counts.get(status, 0) + count

    def _drift(self, told: list[ToldGeneration]) -> list[list[Any]]:
        """[run, generation, mean, deviation, presentations] of the responses to references shown in each."""
        found: list[list[Any]] = []
        if not self.plan.references_per_generation:
            return found
        for generation in dict.fromkeys(one.generation for one in told):
            of_runs = reference_responses(self.record, self.plan, self._runs, generation)
            for run, values in of_runs.items():
                if values and any(one.run == run and one.generation == generation for one in told):
                    mean = sum(values) / len(values)
                    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
                    found.append([run, generation, _finite(mean), _finite(deviation), len(values)])
        return found

    def _now(self, running: bool | None) -> Json:
        """What is replaced as a whole: it is small."""
        record = self.record
        endings = since.endings(record)
        live: Json = {
            "running": running,
            "endings": {str(run): ending for run, ending in endings.items()},
            "over": all(ending is not None for ending in endings.values()),
            "void": since.voids(record),
            "references": {
                str(run): [
                    _finite(mean),
                    _finite(math.sqrt(max(square - mean**2, 0.0))),
                    _finite(best),
                    count,
                ]
                for run, (mean, square, best, count) in since.reference_statistics(record).items()
            },
        }
        if not record.is_session:
            return live
        facts = queries.facts(record)
        held = json.loads(facts.get("held") or "null")
        blocks = since.rejectable_blocks(record, MOST_BLOCKS)
        if held is not None:
            # In which it can be taken back, from `since`: a session that goes on begins them anew.
            held["left_s"] = self.plan.session.undo_s if self.plan.session else 0
        return live | {
            "counts": dict(self._counts),
            "paused": Ledger(record).pause(),
            "held": held,
            "troubles": json.loads(facts.get("troubles") or "{}").get("open", []),
            "block": since.open_block(record),
            "under_way": since.under_way(record),
            "leases": self._leases,
            "blocks": [list(block) for block in blocks],
        }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
