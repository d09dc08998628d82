"""A bridge within one process: a function answers each block. For tests, and for rigs that Python drives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xdream.laboratory.rigs.base import Answer, Arrival, Block


class Direct:
    """Each block that is offered is given to `respond`, once, and again when it was offered anew.

    respond: what arrives for a block, in order; all of it in one `collect` each.
    """

    def __init__(self, respond: Callable[[Block], Sequence[Answer]]) -> None:
        self._respond = respond
        self._waiting: list[Arrival] = []

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Nothing to take."""

    def offer(self, block: Block) -> None:
        """Ask for the answers at once."""
        self._waiting += self._respond(block)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """One answer at a time."""
        return [self._waiting.pop(0)] if self._waiting else []

    def withdraw(self, number: int) -> None:
        """Nothing to take back."""

    def status(self, status: Mapping[str, Any]) -> None:
        """Nobody asks."""

    def close(self) -> None:
        """Nothing to give back."""
