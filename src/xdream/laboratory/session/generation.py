"""The generation under way: what is planned, what was answered, what is left. Never changed in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdream.scoring.recordings import from_bytes
from xdream.scoring.responses import Trial
from xdream.store.ledger import VOID_ENDINGS, BlockRow, Planned
from xdream.types import ShownImages


@dataclass(frozen=True)
class Generation:
    """One generation. planned: every presentation, in order, whatever became of its block. answered: the
    recordings that count, by planned presentation; None: the rig said that there is none. pixels: of each
    image that can be shown, by its id."""

    number: int
    planned: tuple[Planned, ...]
    blocks: tuple[BlockRow, ...]
    answered: Mapping[int, bytes | None]
    pixels: Mapping[str, ShownImages]

    @property
    def open(self) -> BlockRow | None:
        """The block that is shown: the first that has not ended."""
        return next((row for row in self.blocks if row.ending is None), None)

    @property
    def void(self) -> set[int]:
        """The blocks whose recordings do not count."""
        return {row.number for row in self.blocks if row.ending in VOID_ENDINGS}

    def of(self, block: int) -> tuple[Planned, ...]:
        """The presentations of a block that can be shown: a reference may have become unreadable."""
        return tuple(one for one in self.planned if one.block == block and one.name in self.pixels)

    def left(self, block: int) -> tuple[Planned, ...]:
        """Those of them without a response."""
        return tuple(one for one in self.of(block) if self.answered.get(one.id) is None)

    def complete(self, block: int) -> bool:
        """Whether each was answered, if only by saying that there is no response."""
        return all(one.id in self.answered for one in self.of(block))

    def begun(self, block: int) -> bool:
        """Whether any was answered."""
        return any(one.id in self.answered for one in self.of(block))

    def missing(self, reshow: int) -> tuple[Planned, ...]:
        """What has no response and was not shown again `reshow` times yet; rejected blocks do not count."""
        void = self.void
        showings: dict[tuple[str, int], list[Planned]] = {}
        for one in self.planned:
            if one.block not in void and one.name in self.pixels:
                showings.setdefault((one.name, one.repeat), []).append(one)
        return tuple(
            every[0]
            for every in showings.values()
            if len(every) <= reshow and all(self.answered.get(one.id) is None for one in every)
        )

    def trials(self) -> list[Trial]:
        """What was recorded and counts, in the order in which it was planned."""
        void = self.void
        return [
            Trial(self.number, one.block, one.name, one.repeat, one.reference is not None, from_bytes(raw))
            for one in self.planned
            if one.block not in void and (raw := self.answered.get(one.id)) is not None
        ]
