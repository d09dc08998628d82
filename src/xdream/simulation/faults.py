"""What goes wrong in a rehearsal: drawn, so that the same attempt at a block always goes wrong alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from pydantic import Field

from xdream import random
from xdream.description import Frozen
from xdream.recorded import Recorded, Spikes, Traces, Values
from xdream.rigs.base import Row
from xdream.simulation.base import Offered

#: Faults of one row each, drawn for every row; the first that is drawn happens.
OF_ROWS = ("dropped", "late", "unknown_id", "nan", "inf", "duplicated")
#: Faults of a whole answer.
OF_ANSWERS = (
    "reordered",
    "all_zero",
    "wrong_shape",
    "disconnect",
    "truncated",
    "zero_tail",
    "count_mismatch",
    "stale_session",
    "stale_block",
    "partial",
)


class Faults(Frozen):
    """How often each thing goes wrong, from 0 (never) to 1 (always).

    Of each row: dropped (it never comes), late (it comes after the block is closed), unknown_id, nan, inf
    (its numbers are), duplicated (it is sent twice). Of each answer: reordered, all_zero, wrong_shape (one
    row has a channel more), disconnect (the rig is away for disconnect_s before it answers), truncated,
    zero_tail (bytes are cut off, or zeros instead), count_mismatch (a row too few or too many),
    stale_session, stale_block (it is said to be of an earlier one), partial (it comes in two parts).
    attempts: from this attempt at a block on nothing goes wrong but what always does, so that every block
    ends.
    """

    dropped: float = Field(default=0.0, ge=0, le=1)
    late: float = Field(default=0.0, ge=0, le=1)
    unknown_id: float = Field(default=0.0, ge=0, le=1)
    nan: float = Field(default=0.0, ge=0, le=1)
    inf: float = Field(default=0.0, ge=0, le=1)
    duplicated: float = Field(default=0.0, ge=0, le=1)
    reordered: float = Field(default=0.0, ge=0, le=1)
    all_zero: float = Field(default=0.0, ge=0, le=1)
    wrong_shape: float = Field(default=0.0, ge=0, le=1)
    disconnect: float = Field(default=0.0, ge=0, le=1)
    truncated: float = Field(default=0.0, ge=0, le=1)
    zero_tail: float = Field(default=0.0, ge=0, le=1)
    count_mismatch: float = Field(default=0.0, ge=0, le=1)
    stale_session: float = Field(default=0.0, ge=0, le=1)
    stale_block: float = Field(default=0.0, ge=0, le=1)
    partial: float = Field(default=0.0, ge=0, le=1)
    disconnect_s: float = Field(default=1.0, ge=0, le=3600)
    attempts: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def plan(self, session: str, block: int, attempt: int) -> Mishap:
        """What happens to an answer. attempt: from 0, how often the block was answered before."""
        rates = {name: self._rate(name, attempt) for name in (*OF_ROWS, *OF_ANSWERS)}
        mishap = Mishap(self.seed, f"{session} {attempt}", block, rates, frozenset())
        drawn = mishap.draws("answer", len(OF_ANSWERS))
        happens = frozenset(n for n, x in zip(OF_ANSWERS, drawn, strict=True) if x < rates[n])
        return replace(mishap, happens=happens, disconnect_s=self.disconnect_s)

    def _rate(self, name: str, attempt: int) -> float:
        rate: float = getattr(self, name)
        return rate if attempt < self.attempts or rate == 1.0 else 0.0


@dataclass(frozen=True)
class Mishap:
    """What happens to one answer.

    seed, key, block: what its draws are a function of. rates: of each fault, now. happens: the faults of the
    whole answer. disconnect_s: for how long the rig is away, where "disconnect" happens.
    """

    seed: int
    key: str
    block: int
    rates: Mapping[str, float] = field(hash=False)
    happens: frozenset[str]
    disconnect_s: float = 0.0

    def draws(self, what: str, count: int) -> list[float]:
        """`count` numbers, uniform in [0, 1)."""
        seed, step = torch.tensor([self.seed]), torch.tensor([self.block])
        drawn: list[float] = random.uniform64(seed, step, f"faults {self.key} {what}", (count,))[0].tolist()
        return drawn

    @property
    def spoil(self) -> Callable[[bytes], bytes] | None:
        """What becomes of the answer's bytes, for `Driver.answer`."""
        if not self.happens & {"truncated", "zero_tail"}:
            return None
        share, tail = self.draws("bytes", 2)

        def spoiled(data: bytes) -> bytes:
            if "truncated" in self.happens:
                data = data[: int(share * len(data))]
            if "zero_tail" in self.happens:
                left = int(tail * len(data))
                data = data[:left] + bytes(len(data) - left)
            return data

        return spoiled

    def addressed(self, offered: Offered) -> Offered:
        """The block as the answer calls it."""
        if "stale_session" in self.happens and offered.session is not None:
            offered = replace(offered, session=_earlier(offered.session))
        if "stale_block" in self.happens:
            offered = replace(offered, number=offered.number - 1)
        return offered


@dataclass(frozen=True)
class Sent:
    """parts: the answer, in one part or two; only the last is said to be so. late: rows that come when the
    block is closed. injected: how often each fault happened."""

    parts: tuple[tuple[Row, ...], ...]
    late: tuple[Row, ...]
    injected: Mapping[str, int]


def apply(rows: Sequence[Row], mishap: Mishap) -> Sent:
    """What is sent instead of these rows. The same rows and the same mishap: the same again.

    What happens to a row depends on its image and repeat, not on the rows beside it.
    """
    injected: Counter[str] = Counter(sorted(mishap.happens))
    kept: list[Row] = []
    again: list[Row] = []
    late: list[Row] = []
    for row, fault in zip(rows, _of_rows(rows, mishap), strict=True):
        injected[fault] += 1
        if fault == "late":
            late.append(row)
        elif fault != "dropped":
            kept.append(_changed(row, fault))
            if fault == "duplicated":
                again.append(row)
    kept = _of_answer(kept + again, mishap)
    del injected[""]
    return Sent(_parts(kept, mishap), tuple(late), dict(injected))


def _of_rows(rows: Sequence[Row], mishap: Mishap) -> list[str]:
    """The fault of each row; "" for none."""
    if not rows:
        return []
    purposes = [f"faults {mishap.key} row {row.image} {row.repeat}" for row in rows]
    seeds, steps = (torch.full((len(rows),), value) for value in (mishap.seed, mishap.block))
    drawn = random.uniform64(seeds, steps, purposes, (len(OF_ROWS),)).tolist()
    return [next((n for n, x in zip(OF_ROWS, xs, strict=True) if x < mishap.rates[n]), "") for xs in drawn]


def _changed(row: Row, fault: str) -> Row:
    if fault == "unknown_id":
        return replace(row, image=_unknown(row.image))
    if fault in ("nan", "inf") and row.recorded is not None:
        return replace(row, recorded=_filled(row.recorded, float(fault)))
    return row


def _of_answer(rows: list[Row], mishap: Mishap) -> list[Row]:
    if not rows:
        return rows
    which, many = mishap.draws("rows", 2)
    place = int(which * len(rows))
    if "all_zero" in mishap.happens:
        rows = [row if row.recorded is None else replace(row, recorded=_zero(row.recorded)) for row in rows]
    odd = rows[place].recorded
    if "wrong_shape" in mishap.happens and odd is not None:
        rows = [*rows[:place], replace(rows[place], recorded=_wider(odd)), *rows[place + 1 :]]
    if "stale_session" in mishap.happens:
        rows = [replace(row, image=_earlier(row.image)) for row in rows]
    if "count_mismatch" in mishap.happens:
        rows = rows[:-1] if many < 0.5 else [*rows, rows[0]]
    if "reordered" in mishap.happens:
        order = np.argsort(mishap.draws("order", len(rows)), kind="stable").tolist()
        rows = [rows[i] for i in order]
    return rows


def _parts(rows: Sequence[Row], mishap: Mishap) -> tuple[tuple[Row, ...], ...]:
    if "partial" not in mishap.happens or len(rows) < 2:
        return (tuple(rows),)
    at = 1 + int(mishap.draws("part", 1)[0] * (len(rows) - 1))
    return (tuple(rows[:at]), tuple(rows[at:]))


def _unknown(image: str) -> str:
    return f"{image}-unknown"


def _earlier(name: str) -> str:
    """A session, or an image of it, that is not the present one's."""
    return f"earlier-{name}"


def _filled(recorded: Recorded, number: float) -> Recorded:
    """Every number is this one; of spikes there is one more, at that time."""
    if isinstance(recorded, Values):
        return replace(recorded, values=np.full_like(recorded.values, number))
    if isinstance(recorded, Traces):
        return replace(recorded, samples=np.full_like(recorded.samples, number))
    return replace(
        recorded, times_ms=np.append(recorded.times_ms, number), channels=np.append(recorded.channels, 0)
    )


def _zero(recorded: Recorded) -> Recorded:
    if isinstance(recorded, Values):
        baseline = None if recorded.baseline is None else np.zeros_like(recorded.baseline)
        return Values(np.zeros_like(recorded.values), baseline)
    if isinstance(recorded, Traces):
        return replace(recorded, samples=np.zeros_like(recorded.samples))
    return replace(recorded, times_ms=recorded.times_ms[:0], channels=recorded.channels[:0])


def _wider(recorded: Recorded) -> Recorded:
    """A channel more."""
    if isinstance(recorded, Values):
        baseline = None if recorded.baseline is None else np.append(recorded.baseline, 0.0)
        return Values(np.append(recorded.values, 1.0), baseline)
    if isinstance(recorded, Traces):
        return replace(recorded, samples=np.concatenate([recorded.samples, recorded.samples[:1]]))
    assert isinstance(recorded, Spikes)
    return replace(recorded, count=recorded.count + 1)
