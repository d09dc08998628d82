"""Sessions small enough to be run many times, and a rig whose answers follow from what it is shown."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct, Presentation
from xdream.laboratory.session import resume, serve
from xdream.scoring.recordings import Values
from xdream.store import FILE_NAME, Record

CHANNELS = 3


def uniform(*of: object) -> float:
    """In [0, 1), a function of its arguments."""
    digest = hashlib.sha256(repr(of).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Rig:
    """Three channels that like brightness in one colour each, with noise of their own for each presentation.

    dropped, nan: how many presentations of a block have no response, or one that is not a number; the first
    always has one, since a session pauses when a whole block has none. parts: into
    how many answers a block's responses are divided. blocks: the numbers of the blocks that were shown, and
    shown: each presentation.
    """

    def __init__(self, dropped: float = 0.0, nan: float = 0.0, parts: int = 2) -> None:
        self.dropped, self.nan, self.parts = dropped, nan, parts
        self.shown: list[tuple[int, str, int]] = []

    def response(self, image: str, repeat: int, pixels: torch.Tensor) -> np.ndarray:
        light = pixels.to(torch.float64).mean((1, 2)).numpy() / 255.0
        return light * 20.0 + np.array([uniform("noise", image, repeat, c) for c in range(CHANNELS)])

    def row(self, block: Block, one: Presentation) -> AnswerRow | None:
        self.shown.append((block.number, one.image, one.repeat))
        if one.place and uniform("dropped", block.number, one.image, one.repeat) < self.dropped:
            return None
        values = self.response(one.image, one.repeat, block.images[one.image])
        if one.place and uniform("nan", block.number, one.image, one.repeat) < self.nan:
            values = np.full(CHANNELS, np.nan)
        return AnswerRow(one.image, one.repeat, Values(values))

    def rows(self, block: Block) -> list[AnswerRow]:
        return [row for one in block.presentations if (row := self.row(block, one)) is not None]

    def __call__(self, block: Block) -> Sequence[Answer]:
        rows = self.rows(block)
        size = -(-len(rows) // self.parts) or 1
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        answers = [Answer(tuple(part), block=block.number, source="test") for part in parts]
        return [*answers, Answer((), block=block.number, fence=block.fence, last=True)]


def session_plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "targets": ["rig::0-1"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 12,
        "rig": "direct",
        "session": {"channels": CHANNELS, "undo_s": 0},
        "threads": 1,
    }
    session = {**values["session"], **changes.pop("session", {})}
    return Plan.make(**values | changes | {"session": session})


def served(plan: Plan, folder: Path, respond: Callable[[Block], Sequence[Answer]], **more: Any) -> Record:
    """A session from its start or from where it stopped, to its end."""
    bridge = Direct(respond)
    if (folder / FILE_NAME).exists():
        return resume(folder, bridge=bridge, **more)
    return serve(plan, folder, bridge=bridge, identity="5e5510", **more)
