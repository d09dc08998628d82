"""A record's presentations and images, batch by batch, for tables and exports: memory does not grow with it.

Generations, runs' images and ids are as users see them: generations count from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from xdream.experiment.plan import Plan, plan_of
from xdream.experiment.rig_clock import Onset, Restart, RigClock
from xdream.scoring import responses
from xdream.scoring.recordings import Recorded, Spikes, Traces, from_bytes
from xdream.store import Record, code_of
from xdream.subjects import Channels
from xdream.subjects.target import split

#: Presentations or images of a batch, or a few more: blocks and generations are not cut.
BATCH = 20_000
#: Bytes of the recordings in a batch, or a few more: traces of many channels are large.
BATCH_BYTES = 32_000_000
#: Images carry their codes, which may be long.
IMAGE_BATCH = 1_000
#: The statuses of answers that a block was closed with.
USED = ("taken", "missing")
#: Statuses of recordings, the first of them says most of a presentation.
STATUSES = ("taken", "missing", "late", "duplicate", "superseded", "stale", "quarantined")


@dataclass(frozen=True)
class PresentationRecord:
    """One presentation. image: its id. run: None for a reference of a session, to which all runs look.

    block, place: of a session, else None. onset_s: from the start of the experiment, by the rig's clock where
    it said onsets (rig_onset_s, as it said it), else estimated from arrivals. end_s: when the image went.
    responses: (channels,) before artefacts, baselines of blocks and z-scores; of an experiment the run's one.
    noise_free: of an experiment. score: of the image, as told. counts: whether the optimizer was told it and
    the generation was not void. recorded: what the rig sent, where it counts or came at all.
    """

    id: int
    run: int | None
    generation: int
    block: int | None
    place: int | None
    image: str
    reference: bool
    repeat: int
    responses: npt.NDArray[np.float64]
    noise_free: float
    score: float
    status: str
    onset_s: float
    end_s: float
    onset_estimated: bool
    rig_onset_s: float
    arrived_utc: str | None
    counts: bool
    recorded: Recorded | None


@dataclass(frozen=True)
class ShownImage:
    """One image. id: as in presentations. name: of a reference's file. code: None where it is not recorded.

    pixels: SHA-256 of the shown 8-bit pixels, (3, h, w); None where it is not recorded (records of scores).
    """

    id: str
    run: int | None
    generation: int | None
    slot: int | None
    reference: bool
    name: str | None
    score: float
    noise_free_score: float
    counts: bool
    pixels: str | None
    code: npt.NDArray[np.float32] | None


def image_id(session: str | None, generation: int, run: int, slot: int) -> str:
    """The id of an image of a run; generation from 0. Of a session, as the rig saw it."""
    name = f"g{generation:04d}-r{run:02d}-s{slot:03d}"
    return name if session is None else f"{session}-{name}"


def reference_id(session: str | None, reference: int) -> str:
    """The id of a reference."""
    return f"n{reference:05d}" if session is None else f"{session}-n{reference:05d}"


def session_id(record: Record) -> str | None:
    """What the ids of a session's images begin with."""
    return record.facts.get("session")


def channel_names(record: Record) -> list[str]:
    """The channels of the responses: a session's own; of an experiment one, the unit of the run."""
    plan = plan_of(record)
    return list(plan.session.channels) if record.is_session and plan.session is not None else ["unit"]


def unit_of(target: str) -> str:
    """The unit of a run's target."""
    return split(target)[2]


def start_utc(record: Record) -> datetime:
    """When the experiment began: from there seconds are counted."""
    [(text,)] = record.query("SELECT started_utc FROM process ORDER BY id LIMIT 1")
    return datetime.fromisoformat(text)


def presentation_count(record: Record) -> int:
    """How many presentations `presentations` gives."""
    table = "planned" if record.is_session else "presentation"
    [(count,)] = record.query(f"SELECT count(*) FROM {table}")
    return int(count)


def image_count(record: Record) -> int:
    """How many images `images` gives."""
    [(count,)] = record.query("SELECT (SELECT count(*) FROM image) + (SELECT count(*) FROM reference)")
    return int(count)


def presentations(
    record: Record, restarts: list[Restart] | None = None
) -> Iterator[list[PresentationRecord]]:
    """Every presentation, in the order in which they were planned or answered.

    restarts: gets those of the rig's clock, as they are come upon.
    """
    clock = RigClock([] if restarts is None else restarts)
    parts = _session_blocks(record, clock) if record.is_session else _generations(record)
    yield from _batched(parts, BATCH, _recorded_bytes)


def images(record: Record) -> Iterator[list[ShownImage]]:
    """The references, then the images, generation by generation."""
    session = session_id(record)
    shas = {}
    if record.is_session:
        shown = "SELECT reference, pixels FROM planned WHERE reference IS NOT NULL GROUP BY 1"
        shas = dict(record.query(shown))
    references = [
        ShownImage(
            reference_id(session, i), None, None, None, True, name, np.nan, np.nan, False, shas.get(i), None
        )
        for i, (name, _) in enumerate(record.references)
    ]
    [(last,)] = record.query("SELECT coalesce(max(generation), -1) FROM image")
    of_runs = (_images_of(record, session, generation) for generation in range(last + 1))
    yield from _batched(chain([references], of_runs), IMAGE_BATCH)


def _batched(
    parts: Iterable[list[Any]], size: int, weight: Callable[[Any], int] = lambda one: 0
) -> Iterator[list[Any]]:
    batch: list[Any] = []
    held = 0
    for part in parts:
        batch += part
        held += sum(map(weight, part))
        if len(batch) >= size or held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _recorded_bytes(one: PresentationRecord) -> int:
    recorded = one.recorded
    if isinstance(recorded, Traces):
        return recorded.samples.nbytes
    return 2 * recorded.times_ms.nbytes if isinstance(recorded, Spikes) else 0


def _images_of(record: Record, session: str | None, generation: int) -> list[ShownImage]:
    rows = record.query(
        "SELECT i.run, i.slot, i.score, i.noise_free_score, i.pixels, coalesce(i.code, k.code),"
        " t.run IS NOT NULL AND i.generation NOT IN (SELECT generation FROM void)"
        " FROM image AS i LEFT JOIN told AS t USING (run, generation)"
        " LEFT JOIN kept_code AS k ON k.run = i.run AND k.generation = i.generation AND k.slot = i.slot"
        " WHERE i.generation = ? ORDER BY i.run, i.slot",
        generation,
    )
    return [
        ShownImage(
            image_id(session, generation, run, slot), run, generation + 1, slot, False, None,
            _number(score), _number(clean), bool(counts), pixels, None if code is None else code_of(code),
        )
        for run, slot, score, clean, pixels, code, counts in rows
    ]  # fmt: skip


def _number(value: float | None) -> float:
    return np.nan if value is None else value


# ------------------------------------------------------------------ an experiment


def _generations(record: Record) -> Iterator[list[PresentationRecord]]:
    begin, before_s = start_utc(record), 0.0
    [(last,)] = record.query("SELECT coalesce(max(generation), -1) FROM presentation")
    for generation in range(last + 1):
        rows = record.query(
            "SELECT p.id, p.run, i.slot, p.reference, p.repeat, p.response, p.noise_free, i.score,"
            " p.answered_utc, t.run IS NOT NULL FROM presentation AS p LEFT JOIN image AS i ON i.id = p.image"
            " LEFT JOIN told AS t ON t.run = p.run AND t.generation = p.generation"
            " WHERE p.generation = ? ORDER BY p.id",
            generation,
        )
        found: list[PresentationRecord] = []
        spans, before_s = _spans([row[8] for row in rows], begin, before_s)
        for (i, run, slot, reference, repeat, response, clean, score, utc, told), span in zip(
            rows, spans, strict=True
        ):
            is_reference = reference is not None
            found.append(
                PresentationRecord(
                    i, run, generation + 1, None, None,
                    reference_id(None, reference) if is_reference else image_id(None, generation, run, slot),
                    is_reference, repeat, np.array([_number(response)]), _number(clean), _number(score),
                    "missing" if response is None else "taken",
                    *span, True, np.nan, utc, bool(told), None,
                )
            )  # fmt: skip
        yield found


def _spans(times: Sequence[str], begin: datetime, before_s: float) -> tuple[list[tuple[float, float]], float]:
    """Seconds in which each was computed, and when the last was: what was answered together, one after the
    other since the answer before."""
    found: list[tuple[float, float]] = []
    for utc, group in groupby(times):
        count = len(list(group))
        now_s = max((datetime.fromisoformat(utc) - begin).total_seconds(), before_s)
        each_s = (now_s - before_s) / count
        found += [(before_s + k * each_s, before_s + (k + 1) * each_s) for k in range(count)]
        before_s = now_s
    return found, before_s


# ------------------------------------------------------------------ a session


def _session_blocks(record: Record, clock: RigClock) -> Iterator[list[PresentationRecord]]:
    reader = _SessionReader(record, clock)
    for block, generation, planned, ending in record.query(
        "SELECT id, generation, planned_utc, ending FROM block ORDER BY id"
    ):
        yield reader.block(block, generation, planned, ending)


#: Of a presentation the recording that says most: its id, status, raw, onset, arrival.
_Answer = tuple[int, str, bytes | None, float | None, str]


class _SessionReader:
    """Reads a session block by block, in order: the clock of the rig is followed from the first onset on."""

    def __init__(self, record: Record, clock: RigClock) -> None:
        plan = plan_of(record)
        assert plan.session is not None
        self._record, self._plan, self._session = record, plan, plan.session
        self._settings = _settings(plan, len(plan.session.channels))
        self._begin = start_utc(record)
        self._void = set(record.void_generations())
        self._told = set(record.query("SELECT run, generation FROM told"))
        self._generations = {generation for _, generation in self._told}
        self._clock = clock
        self._planned_s = self._over_s = 0.0  # when the block was planned, and its last answer arrived

    def block(
        self, block: int, generation: int, planned_utc: str, ending: str | None
    ) -> list[PresentationRecord]:
        """Its presentations, in the order of their places."""
        rows = self._record.query(
            "SELECT p.id, p.place, i.run, p.reference, p.repeat, p.name, i.score FROM planned AS p"
            " LEFT JOIN image AS i ON i.id = p.image WHERE p.block = ? ORDER BY p.place",
            block,
        )
        answers = self._answers(block)
        starts = self._estimated([answers.get(row[0]) for row in rows], planned_utc)
        placed = self._placed(block, [answers.get(row[0]) for row in rows], starts)
        valid = ending not in ("rejected", "abandoned") and generation not in self._void
        show_s = self._session.show_ms / 1000.0
        found = []
        for (i, place, run, reference, repeat, name, score), estimated, start in zip(
            rows, starts, placed, strict=True
        ):
            _, status, raw, onset, arrived = answers.get(i, (0, "unanswered", None, None, None))
            by_estimate = start is None
            start = estimated if start is None else start
            # What came late or was put aside was not checked: it has a status, and no numbers.
            recorded = from_bytes(raw) if raw is not None and status in USED else None
            told = generation in self._generations if run is None else (run, generation) in self._told
            found.append(
                PresentationRecord(
                    i, run, generation + 1, block, place, name, reference is not None, repeat,
                    self._responses(recorded, run), np.nan, _number(score), status, start, start + show_s,
                    by_estimate, _number(onset), arrived, status == "taken" and valid and told, recorded,
                )
            )  # fmt: skip
        return found

    def _placed(
        self, block: int, answers: Sequence[_Answer | None], estimated: Sequence[float]
    ) -> list[float | None]:
        """Seconds at which each was shown by the rig's clock; None where it did not say so."""
        used = sorted(
            (one[0], at, one[3])
            for at, one in enumerate(answers)
            if one is not None and one[3] is not None and one[1] in USED
        )
        trial_s = (self._session.show_ms + self._session.gap_ms) / 1000.0
        length_s = max(self._over_s - self._planned_s, len(answers) * trial_s)
        onsets = [Onset(onset, estimated[at]) for _, at, onset in used]
        found: list[float | None] = [None] * len(answers)
        for (_, at, onset), offset in zip(used, self._clock.offsets(block, onsets, length_s), strict=True):
            found[at] = onset + offset
        for at, one in enumerate(answers):
            if one is not None and one[3] is not None and one[1] not in USED:
                # What came late may be of a clock that was set back since.
                by_clock = self._clock.placed(one[3])
                if by_clock is not None and by_clock >= max(self._planned_s - length_s, 0.0):
                    found[at] = by_clock
        return found

    def _answers(self, block: int) -> dict[int, _Answer]:
        """Of each planned presentation the recording that says most."""
        found: dict[int, _Answer] = {}
        for planned, *answer in self._record.query(
            "SELECT r.planned, r.id, r.status, r.raw, r.onset_s, r.arrived_utc FROM planned AS p"
            " JOIN recording AS r ON r.planned = p.id WHERE p.block = ? ORDER BY r.id",
            block,
        ):
            before = found.get(planned)
            if before is None or _rank(answer[1]) < _rank(before[1]):
                found[planned] = tuple(answer)
        return found

    def _estimated(self, answers: Sequence[_Answer | None], planned_utc: str) -> list[float]:
        """Seconds at which each was shown, from when its answer arrived: those of one arrival were shown one
        after the other before it, as the plan has it, or as fast as the block's time allows."""
        each_s = (self._session.show_ms + self._session.gap_ms) / 1000.0
        # The blocks of a generation are planned together, and shown one after the other.
        planned_s = max(self._seconds(planned_utc), self._over_s)
        answers = [one if one is not None and one[1] in USED else None for one in answers]
        arrivals = [planned_s if one is None else self._seconds(one[4]) for one in answers]
        last_s = max([planned_s, *arrivals])
        self._planned_s, self._over_s = planned_s, last_s
        step = min(each_s, max(last_s - planned_s, 0.0) / max(len(answers), 1))
        starts, after = [0.0] * len(answers), last_s
        for i in range(len(answers) - 1, -1, -1):
            arrival = arrivals[i] if answers[i] is not None else after
            after = max(min(arrival, after) - step, planned_s)
            starts[i] = after
        return starts

    def _seconds(self, utc: str) -> float:
        return (datetime.fromisoformat(utc) - self._begin).total_seconds()

    def _responses(self, recorded: Recorded | None, run: int | None) -> npt.NDArray[np.float64]:
        settings = self._settings[0 if run is None else run]
        if recorded is None:
            return np.full(len(self._session.channels), np.nan)
        values, baseline = responses.read(recorded, settings)
        return values - baseline if settings.baseline == "trial" else values


def _rank(status: str) -> int:
    return STATUSES.index(status) if status in STATUSES else len(STATUSES)


def _settings(plan: Plan, channels: int) -> list[responses.ResponsesPlan]:
    """How each run reads recordings, in the order of the runs: variant by variant, unit by unit."""
    return [
        variant.responses
        for variant in plan.each()
        for target in variant.targets
        for _ in range(len(Channels(target.layer, target.units, channels).units) * variant.runs)
    ]


def spike_times(one: PresentationRecord, channel: int) -> npt.NDArray[np.float64] | None:
    """Milliseconds from the onset, of one channel; None where no spike times were recorded."""
    if not isinstance(one.recorded, Spikes):
        return None
    return np.sort(one.recorded.times_ms[one.recorded.channels == channel])
