"""Which of the shown images a record keeps as PNG files: the plan's keep_images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch

from xdream.experiment.runs import Run
from xdream.images.files import png
from xdream.types import ShownImages

Which = Literal["best", "all", "none"]


class KeptImages:
    """The images to be kept of what is shown, chunk by chunk, by the SHA-256 of their pixels.

    Of "best", those that are the best of their run's generation when they are answered. Where a generation
    takes several chunks, one that a later chunk surpasses stays: nothing is taken out of a record.
    """

    def __init__(self, which: Which) -> None:
        self._which = which
        self._generation = -1
        self._best: dict[int, float] = {}  # of each run in the generation, so far

    def note(self, generation: int, run: Run, clean: torch.Tensor) -> list[int]:
        """The noise-free responses, (n,), to some images of a run; which of them are to be kept."""
        if generation != self._generation:
            self._generation, self._best = generation, {}
        if self._which != "best":
            return list(range(len(clean))) if self._which == "all" else []
        scores = run.score(clean[:, None, None])
        finite = torch.where(torch.isnan(scores), -torch.inf, scores)
        best = int(finite.argmax()) if len(finite) else 0
        if not len(finite) or float(finite[best]) <= self._best.get(run.id, -torch.inf):
            return []
        self._best[run.id] = float(finite[best])
        return [best]

    def of_chunk(
        self,
        generation: int,
        runs: Iterable[Run],
        places: Iterable[tuple[int, int]],
        clean: torch.Tensor,
        images: ShownImages,
        names: list[str],
    ) -> dict[str, bytes]:
        """PNG files of a chunk. places: (run, slot) of each image. names: the SHA-256 of each."""
        if self._which == "none":
            return {}
        rows: dict[int, list[int]] = {}
        for row, (run, _) in enumerate(places):
            rows.setdefault(run, []).append(row)
        by_id = {run.id: run for run in runs}
        chosen = [of[i] for run, of in rows.items() for i in self.note(generation, by_id[run], clean[of])]
        return {names[row]: png(images[row]) for row in chosen}


def of_session(which: Which, images: Mapping[str, ShownImages]) -> dict[str, bytes]:
    """PNG files of what a block of a session shows, by the SHA-256 of the pixels; only of "all"."""
    return {name: png(image) for name, image in images.items()} if which == "all" else {}
