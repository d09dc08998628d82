"""Who is told how far an experiment is."""

from __future__ import annotations

from collections.abc import Collection
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


class Labelled:
    """Tells a watcher of one experiment among many, whose generations go under a name of its own.

    hidden: stages that it is not told of. with_best: whether it is told of scores.
    """

    def __init__(
        self, watcher: Watcher, label: str, *, hidden: Collection[str] = (), with_best: bool = True
    ) -> None:
        self._watcher, self._label = watcher, label
        self._hidden, self._with_best = hidden, with_best

    def stage(self, name: str, done: int, total: int) -> None:
        """Pass on."""
        if name not in self._hidden:
            self._watcher.stage(self._label if name == "generations" else name, done, total)

    def trouble(self, text: str) -> None:
        """Pass on."""
        self._watcher.trouble(text)

    def best(self, score: float) -> None:
        """Pass on."""
        if self._with_best:
            self._watcher.best(score)
