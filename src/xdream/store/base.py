"""What a store guarantees, and the rows that go in and out.

1. Ink before learning: responses are committed before scores, scores and the optimizer's next state in one
   transaction. After a kill at any point the file holds whole transactions only.
2. One writer: a second process that opens a living experiment for writing gets StoreBusy. Readers may come
   and go at any time.
3. Nothing is changed afterwards: rows are added; only an image's pixels and scores and a run's end are
   filled in, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class RunRow:
    """One run, as it is written when the experiment begins."""

    id: int
    target: str
    seed: int
    optimizer: str
    generations: int


@dataclass(frozen=True)
class AskedRow:
    """One code that was asked, before it is shown."""

    run: int
    slot: int
    chunk: int
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
    """The identity of the pixels that were shown for one slot."""

    run: int
    slot: int
    pixels: str


@dataclass(frozen=True)
class ToldRow:
    """What one run's optimizer was told: (n,) scores, the same without noise, and its state after."""

    run: int
    scores: Sequence[float]
    noise_free_scores: Sequence[float]
    state: bytes
    finished: bool
