"""The experiment, in the order of a lab notebook.

    show the references, once                      -> scale of the noise, initial codes
    for each generation:
        ask          codes                         -> committed
        show         images, chunk by chunk        -> responses, committed with each chunk
        tell         scores                        -> committed with the optimizer's next state

A generation is shown in chunks of recorded composition: a network's last digit depends on what goes through
it together, so after a kill an unfinished chunk is computed again as a whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

import torch

from xdream import random
from xdream.assemble import Parts, Run, assemble
from xdream.beginning import first_state, noise_scales, show_references
from xdream.errors import BadInput
from xdream.groups import Group, groups_of, loaded_state, saved_states
from xdream.optimizers import State
from xdream.plan import Plan
from xdream.store import (
    AskedRow,
    PresentationRow,
    Record,
    RunRow,
    ShownRow,
    Store,
    ToldRow,
    code_of,
    notes_on,
)
from xdream.subjects import poisson_responses
from xdream.types import ShownImages
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
    parts = assemble(plan)
    if like is not None:
        _check_draws(like)
        _check_same_runs(parts, like)
        _check_unchanged(parts, like)
    folder = Path(out) if out is not None else new_folder(plan.name)
    notes = (*parts.notes, *notes_on(folder))
    store = Store.create(
        folder,
        facts={
            "plan": parts.plan.to_toml(),
            "draws": random.VERSION,
            "notes": json.dumps(notes),
            "identities": json.dumps(parts.identities),
        },
        versions=versions(),
        runs=[RunRow(r.id, r.target, r.seed, r.optimizer_json(), r.generations) for r in parts.runs],
        references=_identities(parts),
    )
    with store:
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
            if not _started(store):
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
    _check_draws(record)
    plan = Plan.from_toml(record.facts["plan"])
    if record.started:  # the files of the initial codes have done their work and may be gone
        plan = plan.model_copy(update={"init": "default"})
    parts = assemble(plan)
    _check_unchanged(parts, record)
    record.close()  # the last connection to close tidies the file up, and that is to be the writer
    with Store.open_existing(Path(folder), versions()) as store:
        _go_on(parts, store, watcher or Nobody())
    return Record(folder)


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


@dataclass(frozen=True)
class _Shown:
    """One image of the stream: of a run (index: the slot), or an interleaved reference (run None).

    turn: of a reference, its place among those of the generation.
    """

    run: int | None
    index: int
    turn: int = 0


def _go_on(parts: Parts, store: Store, watcher: Watcher) -> None:
    """From wherever the store is to the end."""
    groups = groups_of(parts.runs)
    if not _started(store):
        responses = show_references(parts, store, watcher)
        states = {g: first_state(parts, g, responses) for g in groups}
        spikes = noise_scales(parts, responses)
        first = {r.id: one for g, s in states.items() for r, one in saved_states(g, s)}
        store.write_start(spikes, first)
    else:
        states = {g: loaded_state(g, store, parts.generator.centre.device) for g in groups}
        spikes = dict(store.query("SELECT id, spikes_per_activation FROM run"))
    # Runs go in step; one that ended early stays behind with its last state.
    [(begun,)] = store.query("SELECT max(generation) FROM state")
    longest = max(r.generations for r in parts.runs)
    for generation in range(begun, longest):
        watcher.stage("generations", generation, longest)
        groups = [g for g in groups if g.runs[0].generations > generation]
        codes = _ask(parts, groups, states, store, generation)
        _show(parts, groups, codes, spikes, store, generation)
        best = _tell(parts, groups, states, store, generation)
        watcher.best(best)
    watcher.stage("generations", longest, longest)


def _started(store: Store) -> bool:
    return bool(store.query("SELECT 1 FROM state LIMIT 1"))


# ------------------------------------------------------------------ one generation


def _ask(
    parts: Parts, groups: Sequence[Group], states: Mapping[Group, State], store: Store, generation: int
) -> dict[tuple[int, int], torch.Tensor]:
    """The codes of a generation by (run, slot), committed. After a kill: those that were committed."""
    device = parts.generator.centre.device
    asked = store.query("SELECT run, slot, code FROM image WHERE generation = ?", generation)
    if asked:
        return {(r, slot): torch.from_numpy(code_of(code)).to(device) for r, slot, code in asked}
    codes = {
        (r.id, slot): code
        for g in groups
        for r, population in zip(g.runs, g.optimizer.ask(states[g]), strict=True)
        for slot, code in enumerate(population)
    }
    chunk_of = {
        (shown.run, shown.index): number
        for number, (_, chunk) in enumerate(_chunks(parts, groups, generation))
        for shown in chunk
        if shown.run is not None
    }
    store.write_asked(
        generation, [AskedRow(*key, chunk_of[key], code.cpu().numpy()) for key, code in codes.items()]
    )
    return codes


def _chunks(parts: Parts, groups: Sequence[Group], generation: int) -> Iterator[tuple[int, list[_Shown]]]:
    """(subject, images) of each chunk: per subject the images of its runs in order, then references."""
    runs = sorted((r for g in groups for r in g.runs), key=lambda r: r.id)
    for number in range(len(parts.subjects)):
        stream = [_Shown(r.id, slot) for r in runs if r.subject == number for slot in range(r.population)]
        if stream:
            between = _interleaved(parts, generation)
            stream += [_Shown(None, index, turn) for turn, index in enumerate(between)]
        for start in range(0, len(stream), parts.plan.batch):
            yield number, stream[start : start + parts.plan.batch]


def _interleaved(parts: Parts, generation: int) -> list[int]:
    """The references of one generation: a shuffled round through all of them, drawn from the plan's seed."""
    count = parts.plan.references_per_generation
    if not count or parts.references is None:
        return []
    total = len(parts.references)
    seed = torch.tensor([parts.plan.seed])
    places = range(generation * count, (generation + 1) * count)
    return [
        int(random.permutation(seed, torch.tensor([place // total]), "references", total)[0, place % total])
        for place in places
    ]


def _show(
    parts: Parts,
    groups: Sequence[Group],
    codes: Mapping[tuple[int, int], torch.Tensor],
    spikes: Mapping[int, float | None],
    store: Store,
    generation: int,
) -> None:
    """Every chunk that has no answer yet: drawn, shown, answered, committed."""
    answered = store.query("SELECT DISTINCT chunk FROM presentation WHERE generation = ?", generation)
    runs = [r for g in groups for r in g.runs]
    for number, (subject, chunk) in enumerate(_chunks(parts, groups, generation)):
        if (number,) in answered:
            continue
        own = [(s.run, s.index) for s in chunk if s.run is not None]
        images = parts.draw([codes[place] for place in own])
        shown = [ShownRow(*place, identity(image)) for place, image in zip(own, images, strict=True)]
        references = [s.index for s in chunk if s.run is None]
        if references and parts.references is not None:
            between = parts.references.images(references, parts.image_size_px)
            images = torch.cat((images, between.to(images.device)))
        clean = parts.subjects[subject].respond(images)
        presentations: list[PresentationRow] = []
        for r in runs:
            if r.subject == subject:
                at = [row for row, s in enumerate(chunk) if s.run in (r.id, None)]
                places = [chunk[row] for row in at]
                responses = _responses(parts, r, places, clean[at, r.unit], spikes.get(r.id), generation)
                presentations += _rows(r, number, places, clean[at, r.unit], responses)
        store.write_answers(generation, shown, presentations)


def _responses(
    parts: Parts,
    r: Run,
    places: Sequence[_Shown],
    clean: torch.Tensor,
    spikes_per_activation: float | None,
    generation: int,
) -> torch.Tensor:
    """(images, repeats): what one run's unit answers, with noise if the plan has any."""
    if spikes_per_activation is None:
        return clean[:, None].expand(-1, parts.plan.repeats)
    # Where in the run's own stream each image comes: the population, then the references.
    numbers = [r.population + s.turn if s.run is None else s.index for s in places]
    return poisson_responses(
        clean, numbers, spikes_per_activation, parts.plan.repeats, r.seed, generation, r.target
    )


def _rows(
    r: Run, chunk: int, places: Sequence[_Shown], clean: torch.Tensor, responses: torch.Tensor
) -> Iterator[PresentationRow]:
    for place, noise_free, repeats in zip(places, clean.tolist(), responses.tolist(), strict=True):
        slot, reference = (place.index, None) if place.run is not None else (None, place.index)
        for repeat, response in enumerate(repeats):
            yield PresentationRow(r.id, chunk, slot, reference, repeat, response, noise_free)


def identity(image: ShownImages) -> str:
    """SHA-256 of the pixels of one shown image, (3, h, w) uint8, row by row."""
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()


def _tell(
    parts: Parts, groups: Sequence[Group], states: dict[Group, State], store: Store, generation: int
) -> float:
    """Scores from the committed responses, to the optimizers; committed with their next states."""
    observed, clean = _responses_of(parts, groups, store, generation)
    told = []
    best = -torch.inf
    for g in groups:
        scores = torch.stack([parts.objective(observed[r.id]) for r in g.runs])
        states[g] = g.optimizer.tell(states[g], scores.to(states[g].seeds.device))
        for (r, state), row in zip(saved_states(g, states[g]), scores.tolist(), strict=True):
            noise_free = parts.objective(clean[r.id])
            best = max(best, float(noise_free.nan_to_num(nan=-torch.inf).max()))
            told.append(ToldRow(r.id, row, noise_free.tolist(), state, generation + 1 == r.generations))
    store.write_told(generation, told)
    return best


def _responses_of(
    parts: Parts, groups: Sequence[Group], store: Store, generation: int
) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
    """Each run's (population, repeats, 1) responses of a generation as committed, with noise and without."""
    shape = (parts.plan.repeats, 1)
    observed = {r.id: torch.full((r.population, *shape), torch.nan).double() for g in groups for r in g.runs}
    clean = {run: responses.clone() for run, responses in observed.items()}
    answers = store.query(
        "SELECT p.run, i.slot, p.repeat, p.response, p.noise_free FROM presentation AS p"
        " JOIN image AS i ON i.id = p.image WHERE p.generation = ?",
        generation,
    )
    for run, slot, repeat, response, noise_free in answers:
        if response is not None:
            observed[run][slot, repeat, 0] = response
        if noise_free is not None:
            clean[run][slot, repeat, 0] = noise_free
    return observed, clean
