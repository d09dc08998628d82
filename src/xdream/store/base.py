"""What a store guarantees, and the rows that go in and out.

1. Ink before learning: responses are committed before scores, scores and the optimizer's next state in one
   transaction (a large state only every so many generations). After a kill at any point the file holds whole
   transactions only.
2. One writer: a second process that opens a living experiment for writing gets StoreBusy. Readers may come
   and go at any time.
3. A record lives long: a store of schema 3 or later can be read and resumed by every later release. Reading
   changes nothing in it; resuming keeps a copy and migrates in one transaction.
4. Nothing is changed afterwards: rows are added; only an image's chunk, pixels and scores and a run's end are
   filled in, once. A record of scores alone moves on: of the codes that it keeps and of the states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class RunRow:
    """One run, as it is written when the experiment begins."""

    id: int
    target: str
    seed: int
    optimizer: str
    objective: str


@dataclass(frozen=True)
class AskedRow:
    """One code that was asked, before it is shown."""

    run: int
    slot: int
    code: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PresentationRow:
    """One answered showing: of an image (its slot) or, with `reference`, of an interleaved reference."""

    run: int
    chunk: int
    slot: int | None
    reference: int | None
    repeat: int
    response: float
    noise_free: float


@dataclass(frozen=True)
class ShownRow:
    """The identity of the pixels that were shown for one slot, and what it was drawn together with."""

    run: int
    slot: int
    chunk: int
    pixels: str


@dataclass(frozen=True)
class ToldRow:
    """What one run's optimizer is told: (n,) scores, and the same without noise.

    state: of the optimizer afterwards, where it is known. ending: why the run ends with it, if it does.
    codes: by slot, those to keep in a record of scores. dropped: (generation, slot) of one not to keep.
    """

    run: int
    scores: Sequence[float]
    noise_free_scores: Sequence[float]
    state: bytes | None = None
    ending: str | None = None
    codes: Mapping[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    dropped: tuple[int, int] | None = None
