"""What goes wrong on the way from a rig: each fault with a rate, drawn from (seed, block, attempt)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from xdream.description import Description
from xdream.laboratory.rigs import AnswerRow
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values

#: Attempts from which on a block is answered without whole-answer faults, so that each ends.
MOST_ATTEMPTS = 20


class Faults(Description):
    """Rates from 0 to 1.

    Of a presentation: dropped (no row), duplicated (a second row that differs), nan, inf, unknown_id (a row
    of an image that was never shown, besides), late (its row comes after the block is closed). Of an answer,
    which is then sent once more as it should be: all_zero (not of spikes: none is silence), wrong_shape (a
    channel too many), stale_session,
    stale_block, truncated, zero_tail (its bytes). Of a block: reordered, partial (in several answers), again
    (the same answer twice), disconnect (away for a while first).
    """

    kind: ClassVar[str] = "fault"

    dropped: float = Field(default=0.0, ge=0, le=1)
    duplicated: float = Field(default=0.0, ge=0, le=1)
    nan: float = Field(default=0.0, ge=0, le=1)
    inf: float = Field(default=0.0, ge=0, le=1)
    unknown_id: float = Field(default=0.0, ge=0, le=1)
    all_zero: float = Field(default=0.0, ge=0, le=1)
    wrong_shape: float = Field(default=0.0, ge=0, le=1)
    stale_session: float = Field(default=0.0, ge=0, le=1)
    stale_block: float = Field(default=0.0, ge=0, le=1)
    truncated: float = Field(default=0.0, ge=0, le=1)
    zero_tail: float = Field(default=0.0, ge=0, le=1)
    reordered: float = Field(default=0.0, ge=0, le=1)
    partial: float = Field(default=0.0, ge=0, le=1)
    late: float = Field(default=0.0, ge=0, le=1)
    again: float = Field(default=0.0, ge=0, le=1)
    disconnect: float = Field(default=0.0, ge=0, le=1)
    disconnect_s: float = Field(default=0.2, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def happens(self, fault: str, *of: object) -> bool:
        """Whether a fault happens to something."""
        rate: float = getattr(self, fault)
        return rate > 0.0 and self.draw(fault, *of) < rate

    def draw(self, *of: object) -> float:
        """In [0, 1), a function of the seed and the arguments."""
        digest = hashlib.sha256(repr((self.seed, *of)).encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


@dataclass(frozen=True)
class Spoilt:
    """An answer that is wrong as a whole."""

    rows: tuple[AnswerRow, ...]
    session: str | None = None
    block: int | None = None
    spoil: Callable[[bytes], bytes] | None = None


def spoilt(
    faults: Faults, session: str | None, block: int, attempt: int, rows: Sequence[AnswerRow]
) -> Spoilt | None:
    """The whole-answer fault of an attempt, if there is one."""
    if attempt >= MOST_ATTEMPTS:
        return None
    at = (block, attempt)
    spikes = any(isinstance(row.recorded, Spikes) for row in rows)
    if faults.happens("all_zero", *at) and not spikes:
        return Spoilt(tuple(replace(row, recorded=_zero(row.recorded)) for row in rows))
    if faults.happens("wrong_shape", *at):
        return Spoilt(tuple(replace(row, recorded=_wider(row.recorded)) for row in rows))
    if faults.happens("stale_session", *at):
        return Spoilt(tuple(rows), session="0ther5e5510n")
    if faults.happens("stale_block", *at) and block > 1:
        return Spoilt(tuple(rows), block=block - 1)
    part = faults.draw("where", *at)
    if faults.happens("truncated", *at):
        return Spoilt(tuple(rows), spoil=lambda data: data[: int(part * len(data))])
    if faults.happens("zero_tail", *at):
        return Spoilt(
            tuple(rows), spoil=lambda data: data[: (n := int(part * len(data)))] + bytes(len(data) - n)
        )
    return None


def faulty(faults: Faults, block: int, rows: Sequence[AnswerRow]) -> list[AnswerRow]:
    """The rows of a block with what happens to single ones, in the order in which they are sent."""
    found: list[AnswerRow] = []
    for row in rows:
        at = (block, row.image, row.repeat)
        if faults.happens("dropped", *at):
            continue
        if faults.happens("nan", *at):
            row = replace(row, recorded=None)
        elif faults.happens("inf", *at):
            row = replace(row, recorded=_infinite(row.recorded))
        found.append(row)
        if faults.happens("duplicated", *at):
            found.append(replace(row, recorded=_shifted(row.recorded)))
        if faults.happens("unknown_id", *at):
            found.append(replace(row, image="n0-such-1mage"))
    if faults.happens("reordered", block):
        found.sort(key=lambda row: faults.draw("order", block, row.image, row.repeat))
    return found


def parts(faults: Faults, block: int, rows: Sequence[AnswerRow]) -> list[list[AnswerRow]]:
    """The rows as one answer, or as several."""
    if not faults.happens("partial", block):
        return [list(rows)]
    size = max(1, int(faults.draw("size", block) * len(rows)))
    return [list(rows[i : i + size]) for i in range(0, len(rows), size)]


def _zero(recorded: Recorded | None) -> Recorded | None:
    if isinstance(recorded, Values):
        return replace(recorded, values=np.zeros_like(recorded.values))
    assert not isinstance(recorded, Spikes)
    return recorded if recorded is None else replace(recorded, samples=np.zeros_like(recorded.samples))


def _wider(recorded: Recorded | None) -> Recorded | None:
    if isinstance(recorded, Values):
        baseline = None if recorded.baseline is None else np.append(recorded.baseline, 1.0)
        return Values(np.append(recorded.values, 1.0), baseline)
    if isinstance(recorded, Spikes):
        return replace(recorded, count=recorded.count + 1)
    return recorded if recorded is None else replace(recorded, samples=np.vstack([recorded.samples] * 2))


def _infinite(recorded: Recorded | None) -> Recorded | None:
    if isinstance(recorded, Values):
        values = recorded.values.copy()
        values[0] = np.inf
        return Values(values, recorded.baseline)
    if isinstance(recorded, Traces):
        samples = recorded.samples.copy()
        samples[0, 0] = np.inf
        return replace(recorded, samples=samples)
    return recorded


def _shifted(recorded: Recorded | None) -> Recorded | None:
    if isinstance(recorded, Values):
        return Values(recorded.values + 1.0, recorded.baseline)
    if isinstance(recorded, Spikes):
        return replace(recorded, times_ms=recorded.times_ms + 0.5)
    return recorded if recorded is None else replace(recorded, samples=recorded.samples + 1.0)
