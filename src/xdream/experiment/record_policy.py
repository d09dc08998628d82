"""What of an experiment is written, and when: responses are committed before an optimizer uses them.

`Everything`: codes before they are shown, each chunk's responses when they are there, then scores and states.
`ScoresOnly`: a generation's scores at once; a state now and then, from which the later ones follow.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from xdream.experiment.batch_layout import BatchLayout, Stream
from xdream.experiment.kept_images import KeptImages, Which
from xdream.experiment.run_groups import STATE_EVERY, RunGroup, saved_states, state_is_due
from xdream.experiment.runs import Parts
from xdream.optimizers import State
from xdream.store import AskedRow, PresentationRow, ShownRow, Store, ToldRow, Writer, queries
from xdream.types import Codes, ShownImages

#: Gives the new states, in the order of the groups, and why runs end with the generation, by their ids.
Tell = Callable[[], tuple[list[State], Mapping[int, str]]]


@dataclass(frozen=True)
class Answers:
    """The responses of a generation. clean: (images,) without noise. observed: (images, repeats)."""

    clean: torch.Tensor
    observed: torch.Tensor

    @classmethod
    def none(cls, layout: BatchLayout, repeats: int) -> Answers:
        """Before anything is shown: all missing."""
        missing = torch.full((layout.size, repeats), torch.nan, dtype=torch.float64)
        return cls(missing[:, 0].clone(), missing)


@dataclass(frozen=True)
class Chunk:
    """What was shown together and answered: images of a stream from `first` on, then references.

    images: as shown, without the references. clean: (n,), observed: (n, repeats) of the images. references:
    which, and for each run of the stream the same two of them.
    """

    number: int
    stream: Stream
    first: int
    images: ShownImages
    clean: torch.Tensor
    observed: torch.Tensor
    references: Sequence[int]
    clean_of_references: Sequence[torch.Tensor]
    observed_of_references: Sequence[torch.Tensor]


class RecordPolicy(Protocol):
    """Writes an experiment down."""

    def answered_before(
        self, generation: int, layout: BatchLayout, answers: Answers
    ) -> tuple[dict[tuple[int, int], int], int]:
        """Fill in what was answered before a kill: how much of each stream (`Stream.key`), and the next
        chunk."""
        ...

    def asked(self, generation: int, layout: BatchLayout, codes: Mapping[int, Codes]) -> None:
        """The codes of a generation, by run."""
        ...

    def answered(self, generation: int, chunk: Chunk) -> None:
        """The responses to a chunk."""
        ...

    def told(
        self,
        generation: int,
        layout: BatchLayout,
        codes: Mapping[int, Codes],
        rows: Sequence[ToldRow],
        tell: Tell,
    ) -> list[State]:
        """The scores, in the order of the runs, each as many as were asked for; gives the new states.

        rows: with the endings, but for runs whose population varies: theirs come with the states.
        """
        ...


class Everything:
    """Every code, presentation, response and score; the state of each generation where it is due."""

    def __init__(self, store: Store, writer: Writer, keep_images: Which = "none") -> None:
        self._store, self._writer = store, writer
        self._last = queries.last_asked(store)
        self._kept = KeptImages(keep_images)

    def answered_before(
        self, generation: int, layout: BatchLayout, answers: Answers
    ) -> tuple[dict[tuple[int, int], int], int]:
        """From the store, for the generation that was under way."""
        done = {stream.key: 0 for stream in layout.streams}
        if generation > self._last:
            return done, 0
        at = {place: int(i) for s in layout.streams for place, i in zip(s.places, s.at, strict=True)}
        stream_of = {r.id: (r.subject, r.generator) for r in layout.runs}
        leaders = {
            stream.runs[0].id for stream in layout.streams
        }  # every run of a stream sees its references
        for run, slot, repeat, response, noise_free in queries.answers(self._store, generation):
            if repeat == 0 and (slot is not None or run in leaders):
                done[stream_of[run]] += 1
            if slot is not None:
                row = at[run, slot]
                answers.observed[row, repeat] = response
                answers.clean[row] = noise_free
        for r in layout.runs:
            rows = [row for (run, _), row in at.items() if run == r.id]
            self._kept.note(generation, r, answers.clean[rows])
        return done, queries.last_chunk(self._store, generation) + 1

    def asked(self, generation: int, layout: BatchLayout, codes: Mapping[int, Codes]) -> None:
        """Written before anything is shown."""
        if generation > self._last:
            self._writer.put(
                self._write_asked, generation, layout, {key: one.cpu() for key, one in codes.items()}
            )

    def _write_asked(self, generation: int, layout: BatchLayout, codes: Mapping[int, Codes]) -> None:
        own = {run: of_run.numpy() for run, of_run in codes.items()}
        places = (place for stream in layout.streams for place in stream.places)
        self._store.write_asked(generation, (AskedRow(run, slot, own[run][slot]) for run, slot in places))

    def answered(self, generation: int, chunk: Chunk) -> None:
        """Written with what was shown."""
        self._writer.put(self._write_answered, generation, chunk)

    def _write_answered(self, generation: int, chunk: Chunk) -> None:
        places = chunk.stream.places[chunk.first : chunk.first + len(chunk.images)]
        shown = [
            ShownRow(*place, chunk.number, identity(image))
            for place, image in zip(places, chunk.images.cpu(), strict=True)
        ]
        kept = self._kept.of_chunk(
            generation, chunk.stream.runs, places, chunk.clean, chunk.images, [s.pixels for s in shown]
        )
        rows = [
            PresentationRow(run, chunk.number, slot, None, repeat, response, noise_free)
            for (run, slot), noise_free, responses in zip(
                places, chunk.clean.tolist(), chunk.observed.tolist(), strict=True
            )
            for repeat, response in enumerate(responses)
        ]
        # Empty where no references were shown.
        for r, clean, observed in zip(
            chunk.stream.runs, chunk.clean_of_references, chunk.observed_of_references, strict=False
        ):
            rows += [
                PresentationRow(r.id, chunk.number, None, reference, repeat, response, noise_free)
                for reference, noise_free, responses in zip(
                    chunk.references, clean.tolist(), observed.tolist(), strict=True
                )
                for repeat, response in enumerate(responses)
            ]
        self._store.write_answers(generation, shown, rows, kept)

    def told(
        self,
        generation: int,
        layout: BatchLayout,
        codes: Mapping[int, Codes],
        rows: Sequence[ToldRow],
        tell: Tell,
    ) -> list[State]:
        """Told when the responses are written; scores and states are written together."""
        self._writer.wait()
        states, endings = tell()
        rows = [dataclasses.replace(row, ending=endings.get(row.run)) for row in rows]
        self._writer.put(self._write_told, generation, layout.groups, states, rows)
        return states

    def _write_told(
        self, generation: int, groups: Sequence[RunGroup], states: Sequence[State], rows: Sequence[ToldRow]
    ) -> None:
        written = {
            r.id: state
            for g, s in zip(groups, states, strict=True)
            if state_is_due(g, s, generation + 1)
            for r, state in saved_states(g, s)
        }
        rows = [dataclasses.replace(row, state=written.get(row.run)) for row in rows]
        self._store.write_told(generation, rows)


class ScoresOnly:
    """Every score; codes of a run's best image and of its last generation; its first state and a late one."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store, self._writer = store, writer
        # Of a run that has not ended no code is kept but that of its best image.
        self._best = queries.kept_best(store)

    def answered_before(
        self, generation: int, layout: BatchLayout, answers: Answers
    ) -> tuple[dict[tuple[int, int], int], int]:
        """Nothing: a generation that was not told is shown again as a whole."""
        return {stream.key: 0 for stream in layout.streams}, 0

    def asked(self, generation: int, layout: BatchLayout, codes: Mapping[int, Codes]) -> None:
        """Not written."""

    def answered(self, generation: int, chunk: Chunk) -> None:
        """Not written."""

    def told(
        self,
        generation: int,
        layout: BatchLayout,
        codes: Mapping[int, Codes],
        rows: Sequence[ToldRow],
        tell: Tell,
    ) -> list[State]:
        """Told when the scores are written; where populations vary, before: a run's ending follows from its
        next population, and the codes of its last generation are kept with the scores."""
        early = tell() if layout.varies else None
        if early is not None:
            rows = [dataclasses.replace(row, ending=early[1].get(row.run)) for row in rows]
        kept = [self._kept(generation, row, codes[row.run][: len(row.scores)]) for row in rows]
        self._writer.put(self._store.write_told, generation, kept)
        self._writer.wait()
        states, _ = early or tell()
        if (generation + 1) % STATE_EVERY == 0:
            self._writer.put(self._write_states, generation + 1, layout.groups, states)
        return states

    def _kept(self, generation: int, row: ToldRow, codes: Codes) -> ToldRow:
        """The row with the codes that are to be kept, and the one that no longer is."""
        dropped, keep = None, set(range(len(codes))) if row.ending is not None else set()
        scores = np.array(row.noise_free_scores)
        if not np.isnan(scores).all():
            slot = int(np.nanargmax(scores))
            before = self._best.get(row.run)
            if before is None or scores[slot] > before[2]:
                dropped = None if before is None else before[:2]
                self._best[row.run] = (generation, slot, float(scores[slot]))
                keep.add(slot)
        numbers: dict[int, npt.NDArray[np.float32]] = {slot: codes[slot].cpu().numpy() for slot in keep}
        return dataclasses.replace(row, codes=numbers, dropped=dropped)

    def _write_states(self, generation: int, groups: Sequence[RunGroup], states: Sequence[State]) -> None:
        saved = (one for g, s in zip(groups, states, strict=True) for one in saved_states(g, s))
        self._store.write_states(generation, {r.id: state for r, state in saved})


def record_policy(parts: Parts, store: Store, writer: Writer) -> RecordPolicy:
    """The one that the plan asks for."""
    if parts.plan.record == "everything":
        return Everything(store, writer, parts.plan.images_kept)
    return ScoresOnly(store, writer)


def identity(image: ShownImages) -> str:
    """SHA-256 of the pixels of one shown image, (3, h, w) uint8, row by row."""
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()
