"""Who is told how far an experiment is."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Who is told how far an experiment is; a progress bar, or nobody."""

    def stage(self, name: str, done: int, total: int) -> None:
        """`done` of `total` steps of "compiling", "references" or "generations" are done; of the last two
        all but the last step is committed."""
        ...

    def trouble(self, text: str) -> None:
        """Something is wrong that is waited for: a silent rig, a full disk. Said once."""
        ...

    def best(self, score: float) -> None:
        """The best noise-free score of the generation that was told last, over all runs."""
        ...


class Nobody:
    """A watcher that does nothing."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Ignore."""

    def trouble(self, text: str) -> None:
        """Ignore."""

    def best(self, score: float) -> None:
        """Ignore."""
