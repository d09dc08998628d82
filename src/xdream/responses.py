"""Stand-in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xdream.description import Frozen
from xdream.recorded import Array, Recorded, Values


class ResponsesPlan(Frozen):
    """Stand-in."""


@dataclass(frozen=True)
class Trial:
    """Stand-in."""

    generation: int
    block: int
    image: str
    repeat: int
    reference: bool
    recorded: Recorded


def read(recorded: Recorded, settings: ResponsesPlan) -> tuple[Array, Array]:
    """Stand-in."""
    assert isinstance(recorded, Values)
    return recorded.values, recorded.values * np.nan


def needed(trials: Sequence[Trial], settings: ResponsesPlan) -> tuple[Trial, ...]:
    """Stand-in."""
    return ()


def responses(trials: Sequence[Trial], settings: ResponsesPlan) -> Array:
    """Stand-in."""
    return np.empty((0, 3)) if not trials else np.stack([read(t.recorded, settings)[0] for t in trials])
