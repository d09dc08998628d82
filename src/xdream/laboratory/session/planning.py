"""A generation's images and blocks, new or as they are in the store; written before they are shown."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch

from xdream.errors import BadInput
from xdream.experiment.batch_layout import batch_layout, interleaved, populations_of
from xdream.experiment.forward import BatchSize
from xdream.experiment.kept_images import of_session
from xdream.experiment.presentation_rows import image_id, reference_id
from xdream.experiment.record_policy import identity
from xdream.experiment.run_groups import RunGroup
from xdream.experiment.runs import Parts, Run
from xdream.laboratory.session.composition import compose, showings
from xdream.laboratory.session.generation import Generation
from xdream.optimizers import State
from xdream.store import AskedRow, ShownRow, queries
from xdream.store.ledger import Event, Ledger
from xdream.types import Codes, ShownImages

#: An image of a generation: (run, slot).
ImageKey = tuple[int, int]


class Planner:
    """Plans generations. session: its id."""

    def __init__(self, parts: Parts, ledger: Ledger, session: str) -> None:
        self._parts, self._ledger, self._session = parts, ledger, session
        size, write = int(queries.fact(ledger.store, "batch")), ledger.store.write_fact
        self._batch = BatchSize(parts.forward, size, lambda size: write("batch", str(size)))

    def generation(self, number: int, states: Mapping[RunGroup, State]) -> Generation:
        """One generation, planned and written; the same again when it is there already."""
        layout = batch_layout(list(states), {}, populations_of(states))
        codes = layout.codes([g.optimizer.ask(state) for g, state in states.items()])
        runs = {r.id: r for r in layout.runs}
        places = sorted(
            (place for stream in layout.streams for place in stream.places),
            key=lambda place: (runs[place[0]].generator, place),
        )
        store = self._ledger.store
        rows = queries.shown_images(store, number)
        if not rows:
            values = {run: of_run.cpu().numpy() for run, of_run in codes.items()}
            store.write_asked(number, (AskedRow(run, slot, values[run][slot]) for run, slot in places))
        known = {(run, slot): (chunk, sha) for run, slot, chunk, sha in rows if chunk is not None}
        shown, images = self._draw(runs, codes, places, known)
        names = {place: image_id(self._session, number, *place) for place in places}
        references = self._references(number)
        planned = self._ledger.planned(number)
        if not planned:
            plan = self._parts.plan
            assert plan.session is not None
            rounds = showings(
                [((s.run, s.slot), names[s.run, s.slot], s.pixels) for s in shown],
                [(i, reference_id(self._session, i), identity(image)) for i, image in references],
                plan.repeats,
            )
            planned = compose(
                rounds,
                plan.session.block_size,
                plan.seed,
                number,
                self._ledger.next_ids(plan.session.blocks_from),
                even=plan.session.even_blocks,
            )
            pixels = {s.pixels: images[s.run, s.slot] for s in shown}
            pixels |= {identity(image): image for _, image in references}
            kept = of_session(plan.images_kept, pixels)
            self._ledger.plan(number, planned, shown, kept=kept)
        elif any(known[s.run, s.slot][1] != s.pixels for s in shown):
            text = "images are drawn with another last digit than before the restart"
            self._ledger.note(Event("pixels", text, number))
        return Generation(
            number,
            tuple(planned),
            tuple(self._ledger.blocks(number)),
            self._ledger.answered(number),
            {names[place]: image for place, image in images.items()}
            | {reference_id(self._session, i): image for i, image in references},
        )

    def _draw(
        self,
        runs: Mapping[int, Run],
        codes: Mapping[int, Codes],
        places: Sequence[ImageKey],
        known: Mapping[ImageKey, tuple[int, str]],
    ) -> tuple[list[ShownRow], dict[ImageKey, ShownImages]]:
        """Every image, in chunks, each of one generator; as they were composed before, where they were drawn
        already."""
        forward = self._parts.forward
        shown: list[ShownRow] = []
        images: dict[ImageKey, ShownImages] = {}
        chunk = 0
        while len(images) < len(places):
            rest = places[len(images) :]
            generator = runs[rest[0][0]].generator
            if known:  # in the company in which they were drawn before, whatever the memory
                together = [place for place in rest if known[place][0] == chunk]
            else:
                together = [
                    place for place in rest[: self._batch.size] if runs[place[0]].generator == generator
                ]
            of_chunk = torch.stack([codes[run][slot] for run, slot in together])
            work = functools.partial(forward.draw, of_chunk, generator)
            drawn = work() if known else self._batch.attempt(work)
            if drawn is None:
                continue
            for place, image in zip(together, drawn.cpu(), strict=True):
                images[place] = image
                shown.append(ShownRow(*place, chunk, identity(image)))
            chunk += 1
        return shown, images

    def _references(self, number: int) -> list[tuple[int, ShownImages]]:
        """The interleaved references that can be read: one that is damaged late does not end a session."""
        found = []
        references = self._parts.references
        unreadable: dict[int, str] = {}
        for i in interleaved(self._parts, number):
            assert references is not None
            try:
                found.append((i, references.images([i], self._parts.image_size_px)[0]))
            except BadInput as error:
                unreadable[i] = f"{references.names[i]} is left out of generation {number + 1}: {error}"
        if unreadable:
            self._ledger.note(*(Event("reference", text, number) for text in unreadable.values()))
        return found
