"""What an answer is worth: pure. Nothing a rig sends is thrown away, and nothing implausible is used."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from xdream.errors import BadInput
from xdream.laboratory.rigs import Answer, AnswerRow
from xdream.scoring import responses
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values, channels_of, to_bytes
from xdream.scoring.responses import ResponsesPlan
from xdream.store.ledger import Planned, RecordingRow

#: No response is larger; sums of such numbers are still numbers.
MOST = 1e100


@dataclass(frozen=True)
class OpenBlock:
    """The block that is under way. answered: the recordings taken so far, by planned presentation; None: the
    rig said that there is none."""

    number: int
    fence: int
    planned: tuple[Planned, ...]
    answered: Mapping[int, bytes | None]


@dataclass(frozen=True)
class Rules:
    """What a recording must be. channels: how many. empty_rows: see `SessionPlan`. settings: how responses
    are read, all that are in use. blocks_from: the number of the first block."""

    session: str
    channels: int
    empty_rows: int
    settings: tuple[ResponsesPlan, ...]
    blocks_from: int = 1


@dataclass(frozen=True)
class Judgement:
    """What becomes of an answer.

    block: the open block, where the answer is about it. rows: to be written. taken: by planned presentation,
    as in `OpenBlock.answered`. counts, refused, conflict: for the receipt. alarm: what the experimenter must
    know, or None.
    """

    block: int | None
    rows: tuple[RecordingRow, ...]
    taken: Mapping[int, bytes | None]
    counts: Mapping[str, int]
    refused: str | None = None
    conflict: bool = False
    alarm: str | None = None


def judge(
    answer: Answer,
    rules: Rules,
    block: OpenBlock | None,
    planned_as: Callable[[int, str, int | None], int | None],
    became: Callable[[int, str, int | None, bytes | None], str | None],
    last_block: int,
    zeros_are_empty: Callable[[int], bool],
) -> Judgement:
    """What becomes of each row. planned_as: what a closed block's row means. became: the
    status of a row that is written already, to the bit. last_block: planned so far.
    zeros_are_empty: whether values that are all zero, in a block, are an empty file rather than silence."""
    if answer.fault is not None:
        number = block.number if block is not None else None
        row = RecordingRow(number, None, "quarantined", answer.fault, None, None, answer.raw, answer.source)
        return Judgement(None, (row,), {}, {"quarantined": 1}, answer.fault, alarm=answer.fault)
    onset = _wrong_onset(answer.rows)
    if onset is not None:
        number = answer.block if answer.block is not None else (block.number if block else None)
        answer = replace(answer, rows=tuple(replace(row, onset_s=None) for row in answer.rows))
        return _none_taken(answer, "quarantined", onset, number, planned_as)
    if answer.session is not None and answer.session != rules.session:
        reason = f"the answer is of session {answer.session}; this is {rules.session}"
        return _none_taken(answer, "stale", reason, None, None)
    number = answer.block if answer.block is not None else (block.number if block else None)
    if number is None:
        return _none_taken(answer, "late", "no block is open", None, None)
    if not rules.blocks_from <= number <= last_block:
        return _none_taken(answer, "stale", f"block {number} was never planned", None, None)
    if block is None or number != block.number:
        return _after_the_end(answer, number, planned_as, became)
    if answer.fence is not None and answer.fence != block.fence:
        reason = (
            f"block {number} was given to another rig (fence {block.fence}, the answer has {answer.fence}); "
            "ask for the block again"
        )
        return _none_taken(answer, "superseded", reason, number, planned_as, conflict=True)
    whole = _implausible(answer.rows, rules, lambda: zeros_are_empty(block.number))
    if whole is not None:
        return _none_taken(answer, "quarantined", whole, number, planned_as)
    return _row_by_row(answer, rules, block)


def _wrong_onset(rows: Sequence[AnswerRow]) -> str | None:
    """Why the onsets of an answer are none. Messages are refused for it before; bridges in Python are not."""
    for row in rows:
        given: Any = row.onset_s  # of a bridge in Python, which may give anything
        if given is not None and not (isinstance(given, Real) and math.isfinite(given)):
            return f"image {row.image}: onset_s is {given!r:.80}, no number of seconds"
    return None


def _onset_of(row: AnswerRow) -> float | None:
    return None if row.onset_s is None else float(row.onset_s)  # NumPy's numbers, too


def _none_taken(
    answer: Answer,
    status: str,
    reason: str,
    number: int | None,
    planned_as: Callable[[int, str, int | None], int | None] | None,
    *,
    conflict: bool = False,
) -> Judgement:
    rows = tuple(
        RecordingRow(
            number,
            None if planned_as is None or number is None else planned_as(number, row.image, row.repeat),
            status,
            reason,
            row.image,
            row.repeat,
            None if row.recorded is None else to_bytes(row.recorded),
            answer.source,
            _onset_of(row),
        )
        for row in answer.rows
    )
    counts = {status: len(rows)} if rows else {}
    return Judgement(None, rows, {}, counts, reason, conflict, reason if rows else None)


def _after_the_end(
    answer: Answer,
    number: int,
    planned_as: Callable[[int, str, int | None], int | None],
    became: Callable[[int, str, int | None, bytes | None], str | None],
) -> Judgement:
    """Of an answer to a block that is closed: what is written already is not written once more, and a rig
    that says only what was taken has lost a receipt and is not refused."""
    counts: Counter[str] = Counter()
    new: list[AnswerRow] = []
    for row in answer.rows:
        missing = row.recorded is None or _is_nan(row.recorded)
        was = became(
            number, row.image, row.repeat, None if missing or row.recorded is None else to_bytes(row.recorded)
        )
        counts["repeated" if was in ("taken", "missing") else "late"] += 1
        if was is None:
            new.append(row)
    late = _none_taken(
        replace(answer, rows=tuple(new)), "late", f"block {number} is closed", number, planned_as
    )
    refused = late.refused if counts["late"] and not counts["repeated"] else None
    return replace(late, counts=dict(counts), refused=refused)


def _implausible(rows: Sequence[AnswerRow], rules: Rules, zeros_are_empty: Callable[[], bool]) -> str | None:
    """Why no row of an answer can be trusted."""
    recorded = [row.recorded for row in rows if row.recorded is not None]
    for row in rows:
        if row.recorded is not None and channels_of(row.recorded) != rules.channels:
            return (
                f"image {row.image} has {channels_of(row.recorded)} channels; the session has "
                f"{rules.channels}"
            )
    zeros = rules.empty_rows and len(recorded) >= rules.empty_rows and all(_is_zero(one) for one in recorded)
    # An amplifier's trace is never exactly zero; a counter's number often is.
    if zeros and (any(isinstance(one, Traces) for one in recorded) or zeros_are_empty()):
        return (
            f"all {len(recorded)} responses are zero, like an empty file; if it is true, "
            "xdream accept-block takes them"
        )
    return None


def _row_by_row(answer: Answer, rules: Rules, block: OpenBlock) -> Judgement:
    places: dict[str, list[Planned]] = {}
    for planned in block.planned:
        places.setdefault(planned.name, []).append(planned)
    meant: list[tuple[AnswerRow, Planned | None, bytes | None]] = []
    said: dict[int, set[bytes | None]] = {}
    for row in answer.rows:
        one = _meant(row, places.get(row.image, []), block, said)
        raw = None if row.recorded is None else to_bytes(row.recorded)
        if one is not None:
            said.setdefault(one.id, set()).add(raw)
        meant.append((row, one, raw))
    rows: list[RecordingRow] = []
    taken: dict[int, bytes | None] = {}
    counts: Counter[str] = Counter()
    for row, one, raw in meant:
        status, reason = _worth(row, one, raw, rules, block, taken, said)
        counts[status] += 1
        if status == "repeated":
            continue
        if one is not None and status in ("taken", "missing"):
            taken[one.id] = raw if status == "taken" else None
        rows.append(
            RecordingRow(
                block.number,
                None if one is None else one.id,
                status,
                reason,
                row.image,
                row.repeat,
                None if status == "missing" else raw,
                answer.source,
                _onset_of(row),
            )
        )
    bad = [r.reason for r in rows if r.status in ("unknown", "quarantined", "duplicate") and r.reason]
    alarm = f"{bad[0]}{f' (and {len(bad) - 1} more)' if len(bad) > 1 else ''}" if bad else None
    refused = alarm if bad and not taken and not counts["repeated"] else None
    return Judgement(block.number, tuple(rows), taken, dict(counts), refused, alarm=alarm)


def _meant(
    row: AnswerRow, places: Sequence[Planned], block: OpenBlock, said: Mapping[int, object]
) -> Planned | None:
    """The presentation that a row is about. Without a repeat: the first that nobody answered."""
    if row.repeat is not None:
        return next((one for one in places if one.repeat == row.repeat), None)
    free = (one for one in places if one.id not in said and block.answered.get(one.id) is None)
    return next(free, places[-1] if places else None)


def _worth(
    row: AnswerRow,
    one: Planned | None,
    raw: bytes | None,
    rules: Rules,
    block: OpenBlock,
    taken: Mapping[int, bytes | None],
    said: Mapping[int, set[bytes | None]],
) -> tuple[str, str | None]:
    """(status, reason) of one row."""
    if one is None:
        what = row.image if row.repeat is None else f"{row.image}, repeat {row.repeat},"
        return "unknown", f"{what[:200]} is not of block {block.number}"
    if len(said[one.id]) > 1:
        return "quarantined", f"{row.image} is answered twice, and not alike, in one answer"
    before = taken.get(one.id, block.answered.get(one.id))
    if before is not None:
        if raw == before:
            return "repeated", None
        return "duplicate", f"{row.image} was answered before; the first answer stands"
    if row.recorded is None or _is_nan(row.recorded):
        known = one.id in taken or one.id in block.answered
        return ("repeated", None) if known else ("missing", None)
    problem = unusable(row.recorded, rules)
    return ("taken", None) if problem is None else ("quarantined", f"{row.image}: {problem}")


def unusable(recorded: Recorded, rules: Rules) -> str | None:
    """Why a recording cannot be used, or None."""
    if channels_of(recorded) != rules.channels:
        return f"{channels_of(recorded)} channels; the session has {rules.channels}"
    if _has_infinity(recorded):
        return "the response is infinite"
    if any(bool((np.abs(one) > MOST).any()) for one in _numbers(recorded)):
        return f"a number is beyond {MOST:g}"
    try:
        for settings in rules.settings:
            responses.read(recorded, settings)
    except BadInput as error:
        return str(error)
    return None


def _numbers(recorded: Recorded) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    if isinstance(recorded, Values):
        return [recorded.values, *([] if recorded.baseline is None else [recorded.baseline])]
    return [recorded.times_ms if isinstance(recorded, Spikes) else recorded.samples]


def _is_zero(recorded: Recorded) -> bool:
    """Of what says when it was recorded and has no spike: no, that is silence."""
    if isinstance(recorded, Spikes):
        return False
    return all(bool((one == 0.0).all()) for one in _numbers(recorded)[:1])


def _is_nan(recorded: Recorded) -> bool:
    return isinstance(recorded, Values | Traces) and bool(np.isnan(_numbers(recorded)[0]).all())


def _has_infinity(recorded: Recorded) -> bool:
    """Of spike times NaN counts too: a spike is somewhere."""
    if isinstance(recorded, Spikes):
        return not bool(np.isfinite(recorded.times_ms).all())
    return any(bool(np.isinf(one).any()) for one in _numbers(recorded))
