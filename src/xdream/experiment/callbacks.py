"""Callbacks: who is told how far an experiment, a session, a study, a tuning or a training is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Callback(Protocol):
    """Who is told how far the work is; a progress bar, for example."""

    def stage(self, name: str, done: int, total: int) -> None:
        """`done` of `total` steps of a stage are done.

        Of an experiment: "compiling", "references", "generations"; of the last two all but the last step is
        committed. After a search in lower precision "float32".
        """
        ...

    def note(self, text: str) -> None:
        """A short text to stand beside the present stage."""
        ...

    def best(self, score: float) -> None:
        """The best noise-free score of the generation that was told last, over all runs."""
        ...

    def trouble(self, text: str) -> None:
        """Something is wrong that is waited for: a silent rig, a full disk. Said once."""
        ...


class NoCallback:
    """A callback that does nothing."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def best(self, score: float) -> None:
        """Ignore."""

    def trouble(self, text: str) -> None:
        """Ignore."""


class LabelledCallback:
    """Tells a callback of one experiment among many, whose generations go under a name of its own.

    hidden: stages that it is not told of. with_best: whether it is told of scores.
    """

    def __init__(
        self, callback: Callback, label: str, *, hidden: Collection[str] = (), with_best: bool = True
    ) -> None:
        self._callback, self._label = callback, label
        self._hidden, self._with_best = hidden, with_best

    def stage(self, name: str, done: int, total: int) -> None:
        """Pass on."""
        if name not in self._hidden:
            self._callback.stage(self._label if name == "generations" else name, done, total)

    def note(self, text: str) -> None:
        """Pass on."""
        self._callback.note(text)

    def best(self, score: float) -> None:
        """Pass on."""
        if self._with_best:
            self._callback.best(score)

    def trouble(self, text: str) -> None:
        """Pass on."""
        self._callback.trouble(text)
