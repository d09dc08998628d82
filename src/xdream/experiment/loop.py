"""The experiment, in the order of a lab notebook.

    show the references, once                      -> scale of the noise, initial codes
    for each generation:
        ask          codes                         -> written
        show         images, chunk by chunk        -> responses, written with each chunk
        tell         scores                        -> written with the optimizer's next state

Another thread writes (`Writer`), and the optimizer waits for it before it is told. The plan decides what is
written (`record_policy`). A generation is shown in chunks of recorded composition: the last digit of a
network's response depends on what goes through it together, so after a kill an unfinished chunk is computed
again as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from xdream import store as stores
from xdream.errors import BadInput
from xdream.experiment import code_reach, recommended, reported
from xdream.experiment.assemble import assemble
from xdream.experiment.batch_layout import BatchLayout, Stream, batch_layout, interleaved, populations_of
from xdream.experiment.callbacks import Callback, NoCallback
from xdream.experiment.forward import BatchSize
from xdream.experiment.opening import (
    begin_engine,
    check_draws,
    check_same_runs,
    check_unchanged,
    folder_for,
    new_store,
    note,
    parts_of,
    versions,
)
from xdream.experiment.plan import Plan
from xdream.experiment.record import Record
from xdream.experiment.record_policy import Answers, Chunk, record_policy
from xdream.experiment.run_groups import RunGroup
from xdream.experiment.runs import Parts
from xdream.experiment.states import resume_states, start_states
from xdream.experiment.stopping import FILE_NAME as END_NAME
from xdream.experiment.stopping import StoppingCriteria, asked_to_end
from xdream.optimizers import State
from xdream.store import Store, ToldRow, Writer, check_new, queries
from xdream.subjects import GenerationNoise
from xdream.types import Codes, Scores, ShownImages


def run(
    plan: Plan | str | Path,
    out: str | Path | None = None,
    callback: Callback | None = None,
    like: stores.Record | None = None,
) -> Record:
    """Run an experiment from the start, in the folder `out` (default runs/DATE-TIME-NAME).

    plan: a plan, or the path of a plan file. like: an experiment with the same targets, seeds and
    references: its responses to the references are taken over instead of asked for once more.

    Raises BadInput before anything is written; StoreError; SubjectError, after which `resume` goes on.
    """
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    if plan.rig is not None:
        raise BadInput("this plan is for a session with a rig: xdream serve PLAN.toml")
    with folder_for(out, plan.name) as folder:
        return _run(plan, folder, callback or NoCallback(), like)


def _run(plan: Plan, folder: Path, callback: Callback, like: stores.Record | None) -> Record:
    check_new(folder)  # now, and not after reading all photographs
    parts = assemble(plan)
    if like is not None:
        check_draws(like)
        check_same_runs(parts, like)
        check_unchanged(parts, like)
    with new_store(parts, folder, **reported.facts(parts.plan), **recommended.facts(parts)) as store:
        try:
            if like is not None:
                store.write_reference_responses(
                    (index, r.id, response)
                    for r in parts.runs
                    for index, response in enumerate(like.reference_responses(r.id).tolist())
                )
            _go_on(parts, store, callback)
        except BadInput:
            # Only the references' responses can show that a plan is impossible (no scale for the noise).
            if not queries.started(store):
                (folder / END_NAME).unlink(missing_ok=True)
                store.discard()
            raise
    return Record(folder)


def resume(folder: str | Path, callback: Callback | None = None) -> Record:
    """Continue an experiment as if it had never stopped; a finished one is only read.

    Raises BadInput when the plan's parts have changed since: references, weights, images to match, draws.
    """
    record = Record(folder)
    if record.finished and not any(one.is_due(record) for one in (reported, recommended, code_reach)):
        return record
    if record.is_session:
        raise BadInput(f"{folder} is a session with a rig; continue with: xdream resume {folder}")
    parts = parts_of(record)
    record.close()  # the last connection to close tidies the file up, and that is to be the writer
    with Store.open_existing(Path(folder), versions(parts.plan)) as store:
        note(store, parts.notes)
        _go_on(parts, store, callback or NoCallback())
    return Record(folder)


def _go_on(parts: Parts, store: Store, callback: Callback) -> None:
    """From wherever the store is to the end."""
    begin_engine(parts, store, callback)
    with Writer() as writer:
        _Experiment(parts, store, writer, callback).go()
    if reported.is_due(store):
        reported.compute(parts, store, callback)
    if recommended.is_due(store):
        recommended.compute(parts, store)
    if code_reach.is_due(store):
        code_reach.compute(parts, store)


class _Experiment:
    """One process's part of an experiment: from wherever the store is, to the end."""

    def __init__(self, parts: Parts, store: Store, writer: Writer, callback: Callback) -> None:
        self.parts, self.store, self.writer, self.callback = parts, store, writer, callback
        if queries.started(store):
            groups, states, spikes, self.generation = resume_states(parts, store)
        else:
            groups, states, spikes = start_states(parts, store, callback)
            self.generation = 0
        self.states = dict(zip(groups, states, strict=True))
        self.spikes = spikes
        size = int(queries.fact(store, "batch"))
        self.batch = BatchSize(
            parts.forward, size, lambda size: writer.put(store.write_fact, "batch", str(size))
        )
        self.record = record_policy(parts, store, writer)
        self.stopping = StoppingCriteria.of(parts.runs, store, parts.plan.repeats)

    def go(self) -> None:
        """Generation after generation; runs go in step, and one that has ended is no longer among them."""
        longest = max(r.generations for r in self.parts.runs)
        layout = None
        while self.states:
            longest = max(longest, self.generation + 1)  # small populations make more generations
            self.callback.stage("generations", self.generation, longest)
            sizes = populations_of(self.states)
            if layout is None or layout.populations != sizes:
                layout = batch_layout(list(self.states), self.spikes, sizes)
            ended = self._generation(layout)
            self.generation += 1
            if ended:
                left = (g.without(state, ended) for g, state in self.states.items())
                self.states = dict(one for one in left if one is not None)
        self.callback.stage("generations", longest, longest)

    def _generation(self, layout: BatchLayout) -> set[int]:
        """Ask, show, tell; returns the runs that ended with it."""
        codes = layout.codes([g.optimizer.ask(state) for g, state in self.states.items()])
        self.record.asked(self.generation, layout, codes)
        answers = self._show(layout, codes)
        return self._tell(layout, codes, answers)

    def _show(self, layout: BatchLayout, codes: Mapping[int, Codes]) -> Answers:
        """Every image that has no answer yet: drawn, shown, answered, chunk by chunk."""
        repeats = self.parts.plan.repeats
        between = interleaved(self.parts, self.generation)
        runs = (g.runs for g in layout.groups)
        noise = GenerationNoise(runs, layout.spikes, self.generation, len(between), repeats)
        answers = Answers.none(layout, repeats)
        done, number = self.record.answered_before(self.generation, layout, answers)
        for stream in layout.streams:
            start, total = done[stream.key], len(stream.at) + len(between)
            of_stream = layout.codes_of(stream, codes)
            while start < total:
                stop = min(start + self.batch.size, total)
                at = stream.at[start:stop]
                first = max(start - len(stream.at), 0)
                references = between[first : max(stop - len(stream.at), 0)]
                found = self._respond(stream, of_stream[start:stop], references)
                if found is None:
                    continue  # with a smaller batch
                images, responses = found
                clean = responses[: len(at)].gather(1, stream.units[start:stop, None])[:, 0]
                observed = noise.on_images(at, clean)
                answers.clean[at], answers.observed[at] = clean, observed
                # Every run of the subject answers to references.
                answering = stream.runs if references else ()
                others = [responses[len(at) :, r.unit] for r in answering]
                noisy = [
                    noise.on_references(r.id, self.spikes.get(r.id), first, one)
                    for r, one in zip(answering, others, strict=True)
                ]
                chunk = Chunk(number, stream, start, images, clean, observed, references, others, noisy)
                self.record.answered(self.generation, chunk)
                start, number = stop, number + 1
        return answers

    def _respond(
        self, stream: Stream, codes: Codes, references: Sequence[int]
    ) -> tuple[ShownImages, torch.Tensor] | None:
        """The images of some codes, and the noise-free responses to them and to some references.

        None when the memory did not suffice.
        """

        def work() -> tuple[ShownImages, torch.Tensor]:
            images = self.parts.forward.draw(codes, stream.generator)
            both = images
            if references and self.parts.references is not None:
                others = self.parts.references.images(references, self.parts.image_size_px)
                both = torch.cat((images, others.to(images.device)))
            return images, self.parts.forward.respond(stream.subject, both)

        return self.batch.attempt(work)

    def _tell(self, layout: BatchLayout, codes: Mapping[int, Codes], answers: Answers) -> set[int]:
        """Scores to the optimizers; returns the runs that end with this generation."""
        scores = {
            g: _scores(g, answers.observed[at]) for g, at in zip(layout.groups, layout.slices, strict=True)
        }
        # Where no population varies, the next one is known now.
        endings = {} if layout.varies else self._endings(layout, scores, layout.populations)
        rows = []
        for g, at in zip(layout.groups, layout.slices, strict=True):
            clean = _scores(g, answers.clean[at, None])
            for r, observed, noise_free in zip(g.runs, scores[g], clean, strict=True):
                n = layout.populations[r.id]
                both = observed[:n].tolist(), noise_free[:n].tolist()
                rows.append(ToldRow(r.id, *both, ending=endings.get(r.id)))

        def tell() -> tuple[list[State], dict[int, str]]:
            states = [self._told(g, scores[g]) for g in layout.groups]
            if layout.varies:
                following = populations_of(dict(zip(layout.groups, states, strict=True)))
                endings.update(self._endings(layout, scores, following))
            return states, endings

        states = self.record.told(self.generation, layout, codes, rows, tell)
        self.states = dict(zip(layout.groups, states, strict=True))
        bests = [score for row in rows for score in row.noise_free_scores if not math.isnan(score)]
        self.callback.best(max(bests, default=-math.inf))
        return set(endings)

    def _told(self, g: RunGroup, scores: Scores) -> State:
        state: State = g.optimizer.tell(self.states[g], scores.to(self.states[g].seeds.device))
        return state

    def _endings(
        self, layout: BatchLayout, scores: Mapping[RunGroup, Scores], following: Mapping[int, int]
    ) -> dict[int, str]:
        """Why runs end with this generation. following: the population of each run in the next one."""
        asked = asked_to_end(self.store.folder)
        found = {}
        for g in layout.groups:
            for r, told in zip(g.runs, scores[g], strict=True):
                n = layout.populations[r.id]
                ending = self.stopping.ending(r, self.generation, told[:n], asked, following[r.id])
                if ending is not None:
                    found[r.id] = ending
        return found


def _scores(g: RunGroup, responses: torch.Tensor) -> Scores:
    """(runs, population) from (runs · population, repeats): runs with the same objective at once."""
    runs, n = len(g.runs), g.optimizer.population
    by_run = responses.reshape(runs, n, -1)
    scores = torch.empty(runs, n, dtype=torch.float64)
    for score in dict.fromkeys(r.score for r in g.runs):
        rows = [row for row, r in enumerate(g.runs) if r.score is score]
        scores[rows] = score(by_run[rows].flatten(0, 1)[:, :, None]).reshape(len(rows), n)
    return scores
