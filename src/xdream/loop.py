"""The experiment, in the order of a lab notebook.

    show the references, once                      -> scale of the noise, initial codes
    for each generation:
        ask          codes                         -> written
        show         images, chunk by chunk        -> responses, written with each chunk
        tell         scores                        -> written with the optimizer's next state

Who writes is another thread (`Writer`), and the optimizer waits for it before it is told. What is written is
up to the plan (`notebook`). A generation is shown in chunks of recorded composition: a network's last digit
depends on what goes through it together, so after a kill an unfinished chunk is computed again as a whole.
"""

from __future__ import annotations

import itertools
import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

import torch

from xdream import random
from xdream.assemble import Parts, assemble
from xdream.beginning import first_state, noise_scales, show_references
from xdream.ending import FILE_NAME as END_NAME
from xdream.ending import Progress, asked_to_end
from xdream.errors import BadInput
from xdream.groups import Group, groups_of, loaded_state, saved_states
from xdream.lineup import Lineup, Noise, Stream, interleaved, lineup
from xdream.memory import out_of_memory
from xdream.notebook import Answers, Chunk, notebook
from xdream.optimizers import State
from xdream.plan import Plan
from xdream.store import Record, RunRow, Store, ToldRow, Writer, check_new, notes_on
from xdream.types import Codes, Scores, ShownImages
from xdream.watcher import Nobody, Watcher


def run(
    plan: Plan | str | Path,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    like: Record | None = None,
) -> Record:
    """Run an experiment from the start, in the folder `out` (default runs/DATE-TIME-NAME).

    plan: a plan, or the path of a plan file. like: an experiment with the same targets, seeds and
    references: its responses to the references are taken over instead of asked for once more.

    Raises BadInput before anything is written; StoreError; SubjectError, after which `resume` goes on.
    """
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    if plan.rig is not None:
        raise BadInput("this plan has a rig, which is served: xdream serve PLAN.toml")
    folder = Path(out) if out is not None else new_folder(plan.name)
    check_new(folder)  # now, and not after reading all photographs
    parts = assemble(plan)
    if like is not None:
        _check_draws(like)
        _check_same_runs(parts, like)
        _check_unchanged(parts, like)
    with new_store(parts, folder) as store:
        try:
            if like is not None:
                store.write_reference_responses(
                    (index, r.id, response)
                    for r in parts.runs
                    for index, response in enumerate(like.reference_responses(r.id).tolist())
                )
            _go_on(parts, store, watcher or Nobody())
        except BadInput:
            # Only the references' responses can show that a plan is impossible (no scale for the noise).
            if not started(store):
                (folder / END_NAME).unlink(missing_ok=True)
                store.discard()
            raise
    return Record(folder)


def resume(folder: str | Path, watcher: Watcher | None = None) -> Record:
    """Continue an experiment as if it had never stopped; a finished one is only read.

    Raises BadInput when the plan's parts have changed since: references, weights, images to match, draws.
    """
    record = Record(folder)
    if record.finished:
        return record
    if record.is_session:
        raise BadInput(f"{folder} is a session with a rig; go on with: xdream resume {folder}")
    parts = parts_of(record)
    record.close()  # the last connection to close tidies the file up, and that is to be the writer
    with Store.open_existing(Path(folder), versions()) as store:
        note(store, parts.notes)
        _go_on(parts, store, watcher or Nobody())
    return Record(folder)


def parts_of(record: Record) -> Parts:
    """The parts of an experiment that goes on.

    Raises BadInput when they have changed since: references, weights, images to match, draws.
    """
    _check_draws(record)
    plan = Plan.from_toml(record.facts["plan"])
    update: dict[str, object] = {"batch": int(record.facts["batch"])}
    if record.started:  # the files of the initial codes have done their work and may be gone
        update["init"] = "default"
        update["variants"] = tuple(one.model_copy(update={"init": "default"}) for one in plan.variants)
    parts = assemble(plan.model_copy(update=update))
    _check_unchanged(parts, record)
    return parts


def new_store(parts: Parts, folder: Path, notes: Sequence[str] = (), **facts: str) -> Store:
    """The store of a new experiment, and nothing of one that was there before. Raises StoreError.

    notes, facts: beside those that every experiment has.
    """
    store = Store.create(
        folder,
        facts={
            "plan": parts.plan.to_toml(),
            "draws": random.VERSION,
            "notes": json.dumps((*parts.notes, *notes_on(folder), *notes)),
            "identities": json.dumps(parts.identities),
            "record": parts.plan.record,
            "repeats": str(parts.plan.repeats),
            "batch": str(parts.plan.batch),
            **facts,
        },
        versions=versions(),
        runs=[
            RunRow(r.id, r.target, r.seed, r.optimizer_json(), r.objective_json(), r.generations)
            for r in parts.runs
        ],
        references=_identities(parts),
    )
    (folder / END_NAME).unlink(missing_ok=True)
    return store


def versions() -> dict[str, str]:
    """What the numbers depend on: this package, its libraries, the machine."""
    packages = ("xdream", "torch", "numpy", "pillow", "apsw", "safetensors", "efficientnet_lite_pytorch")
    return {name: metadata.version(name) for name in packages} | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def new_folder(name: str) -> Path:
    """Where an experiment goes when nothing else is said: runs/DATE-TIME-NAME, with a number if need be."""
    first = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], numbered) if not folder.exists())


def _check_draws(record: Record) -> None:
    if record.facts["draws"] != random.VERSION:
        raise BadInput(
            f"{record.folder} was begun with the draws {record.facts['draws']}; this release has "
            f"{random.VERSION}: resume it with the release that began it"
        )


def _check_same_runs(parts: Parts, like: Record) -> None:
    if [(r.target, r.seed) for r in parts.runs] != [(r.target, r.seed) for r in like.runs()]:
        raise BadInput(f"{like.folder} has other runs; the same targets and seeds are needed")


def _check_unchanged(parts: Parts, record: Record) -> None:
    """Raise BadInput when what the record was begun with is not what there is now."""
    if _identities(parts) != record.references:
        raise BadInput(
            f"references '{parts.plan.references}' have changed since {record.folder} was begun; "
            "put them back"
        )
    for part, begun_with in json.loads(record.facts["identities"]).items():
        if parts.identities.get(part) != begun_with:
            raise BadInput(
                f"the {part} has changed since {record.folder} was begun; put the same weights or file back"
            )


def _identities(parts: Parts) -> list[tuple[str, str]]:
    found = parts.references
    return [] if found is None else list(zip(found.names, found.hashes, strict=True))


def _go_on(parts: Parts, store: Store, watcher: Watcher) -> None:
    """From wherever the store is to the end."""
    if parts.plan.compiled:
        _compile(parts, store, watcher)
    with Writer() as writer:
        _Experiment(parts, store, writer, watcher).go()


def _compile(parts: Parts, store: Store, watcher: Watcher) -> None:
    """Compile the networks. Where that cannot be done, the record says so; a resume does not try again."""
    assert parts.plan.batch is not None
    watcher.stage("compiling", 0, 1)
    failed = parts.forward.compile(parts.plan.batch)
    watcher.stage("compiling", 1, 1)
    if failed is not None:
        note(store, [failed])
        # Of the plan as it is recorded: on a resume ours differs from it.
        [(recorded,)] = store.query("SELECT value FROM experiment WHERE key = 'plan'")
        plan = Plan.from_toml(recorded).model_copy(update={"compiled": False})
        store.write_fact("plan", plan.to_toml())


def note(store: Store, texts: Sequence[str]) -> None:
    """Add what the user should know to what the record says already."""
    [(known,)] = store.query("SELECT value FROM experiment WHERE key = 'notes'")
    store.write_fact("notes", json.dumps(list(dict.fromkeys([*json.loads(known), *texts]))))


class _Experiment:
    """One process's part of an experiment: from wherever the store is, to the end."""

    def __init__(self, parts: Parts, store: Store, writer: Writer, watcher: Watcher) -> None:
        self.parts, self.store, self.writer, self.watcher = parts, store, writer, watcher
        if started(store):
            groups, states, spikes, self.generation = resumed(parts, store)
        else:
            groups, states, spikes = begun(parts, store, watcher)
            self.generation = 0
        self.states = dict(zip(groups, states, strict=True))
        self.spikes = spikes
        self.batch = int(dict(store.query("SELECT key, value FROM experiment"))["batch"])
        self.notebook = notebook(parts, store, writer)
        self.progress = Progress.of(parts.runs, store)

    def go(self) -> None:
        """Generation after generation; runs go in step, and one that has ended is no longer among them."""
        longest = max(r.generations for r in self.parts.runs)
        who = lineup(list(self.states), self.spikes)
        while self.states:
            self.watcher.stage("generations", self.generation, longest)
            ended = self._generation(who)
            self.generation += 1
            if ended:
                left = (g.without(state, ended) for g, state in self.states.items())
                self.states = dict(one for one in left if one is not None)
                who = lineup(list(self.states), self.spikes)
        self.watcher.stage("generations", longest, longest)

    def _generation(self, who: Lineup) -> set[int]:
        """Ask, show, tell; returns the runs that ended with it."""
        codes = torch.cat([g.optimizer.ask(state).flatten(0, 1) for g, state in self.states.items()])
        self.notebook.asked(self.generation, who, codes)
        answers = self._show(who, codes)
        return self._tell(who, codes, answers)

    def _show(self, who: Lineup, codes: Codes) -> Answers:
        """Every image that has no answer yet: drawn, shown, answered, chunk by chunk."""
        repeats = self.parts.plan.repeats
        between = interleaved(self.parts, self.generation)
        noise = Noise(who, self.generation, len(between), repeats)
        answers = Answers.none(who, repeats)
        done, number = self.notebook.answered_before(self.generation, who, answers)
        for stream in who.streams:
            start, total = done[stream.subject], len(stream.at) + len(between)
            while start < total:
                stop = min(start + self.batch, total)
                at = stream.at[start:stop]
                first = max(start - len(stream.at), 0)
                references = between[first : max(stop - len(stream.at), 0)]
                found = self._respond(stream, codes[at.to(codes.device)], references)
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
                    noise.on_references(r, self.spikes.get(r.id), first, one)
                    for r, one in zip(answering, others, strict=True)
                ]
                chunk = Chunk(number, stream, start, images, clean, observed, references, others, noisy)
                self.notebook.answered(self.generation, chunk)
                start, number = stop, number + 1
        return answers

    def _respond(
        self, stream: Stream, codes: Codes, references: Sequence[int]
    ) -> tuple[ShownImages, torch.Tensor] | None:
        """The images of some codes, and the noise-free responses to them and to some references.

        None when the memory did not suffice: half as many are tried next, from now on.
        """
        try:
            images = self.parts.forward.draw(codes)
            both = images
            if references and self.parts.references is not None:
                others = self.parts.references.images(references, self.parts.image_size_px)
                both = torch.cat((images, others.to(images.device)))
            return images, self.parts.forward.respond(stream.subject, both)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        self.batch = self.parts.forward.halved(self.batch)
        self.writer.put(self.store.write_fact, "batch", str(self.batch))
        return None

    def _tell(self, who: Lineup, codes: Codes, answers: Answers) -> set[int]:
        """Scores to the optimizers; returns the runs that end with this generation."""
        scores, rows = {}, []
        asked = asked_to_end(self.store.folder)
        for g, of_group in zip(who.groups, who.slices, strict=True):
            scores[g] = _scores(g, answers.observed[of_group])
            clean = _scores(g, answers.clean[of_group, None])
            for r, observed, noise_free in zip(g.runs, scores[g], clean.tolist(), strict=True):
                ending = self.progress.ending(r, self.generation, observed, asked)
                rows.append(ToldRow(r.id, observed.tolist(), noise_free, ending=ending))
        self.states = dict(
            zip(
                who.groups,
                self.notebook.told(
                    self.generation, who, codes, rows, lambda: [self._told(g, scores[g]) for g in who.groups]
                ),
                strict=True,
            )
        )
        bests = [score for row in rows for score in row.noise_free_scores if not math.isnan(score)]
        self.watcher.best(max(bests, default=-math.inf))
        return {row.run for row in rows if row.ending is not None}

    def _told(self, g: Group, scores: Scores) -> State:
        state: State = g.optimizer.tell(self.states[g], scores.to(self.states[g].seeds.device))
        return state


def started(store: Store) -> bool:
    """Whether the optimizers have their first states."""
    return bool(store.query("SELECT 1 FROM state LIMIT 1"))


def begun(
    parts: Parts, store: Store, watcher: Watcher
) -> tuple[list[Group], list[State], Mapping[int, float | None]]:
    """The first states, from the references' responses where they follow from them; committed."""
    groups = groups_of(parts.runs)
    responses = show_references(parts, store, watcher)
    states = [first_state(parts, g, responses) for g in groups]
    spikes = noise_scales(parts, responses)
    store.write_start(
        spikes, {r.id: one for g, s in zip(groups, states, strict=True) for r, one in saved_states(g, s)}
    )
    return groups, states, spikes


def resumed(parts: Parts, store: Store) -> tuple[list[Group], list[State], Mapping[int, float | None], int]:
    """The states of the runs that have not ended: the latest that is written, and what was told since."""
    ended = {run for (run,) in store.query("SELECT id FROM run WHERE ending IS NOT NULL")}
    groups = groups_of([r for r in parts.runs if r.id not in ended])
    [(told,)] = store.query("SELECT coalesce(max(generation), -1) + 1 FROM told")
    latest = {
        run: (generation, state)
        for run, generation, state in store.query("SELECT run, generation, tensors FROM state ORDER BY 2")
    }
    states = []
    for g in groups:
        [since] = {latest[r.id][0] for r in g.runs}
        state = loaded_state(g.optimizer, [latest[r.id][1] for r in g.runs], parts.generator.centre.device)
        for generation in range(since, told):
            state = g.optimizer.tell(state, told_scores(store, g, generation).to(state.seeds.device))
        states.append(state)
    return groups, states, dict(store.query("SELECT id, spikes_per_activation FROM run")), told


def told_scores(store: Store, g: Group, generation: int) -> Scores:
    """(runs, population) as a generation was told."""
    rows = [
        [
            torch.nan if score is None else score
            for (score,) in store.query(
                "SELECT score FROM image WHERE run = ? AND generation = ? ORDER BY slot", r.id, generation
            )
        ]
        for r in g.runs
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _scores(g: Group, responses: torch.Tensor) -> Scores:
    """(runs, population) from (runs · population, repeats): runs with the same objective at once."""
    runs, n = len(g.runs), g.optimizer.population
    by_run = responses.reshape(runs, n, -1)
    scores = torch.empty(runs, n, dtype=torch.float64)
    for score in dict.fromkeys(r.score for r in g.runs):
        rows = [row for row, r in enumerate(g.runs) if r.score is score]
        scores[rows] = score(by_run[rows].flatten(0, 1)[:, :, None]).reshape(len(rows), n)
    return scores
