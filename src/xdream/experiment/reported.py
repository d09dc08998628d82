"""What is reported of a search in lower precision, computed again in float32 when it has ended.

The images of each run's first and last generation, and its best image, are drawn from their codes and shown
in float32; the references were from the start.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from xdream.experiment import replay
from xdream.experiment.callbacks import Callback
from xdream.experiment.forward import BatchSize, Forward
from xdream.experiment.plan import Plan
from xdream.experiment.runs import Parts, Run
from xdream.store import Record, Store, queries
from xdream.types import Codes, ShownImages

#: The fact that holds the numbers: empty until they are computed. Records of before do not have it.
FACT = "float32"


@dataclass(frozen=True)
class Reported:
    """Noise-free scores of a run in float32.

    first, last: of those generations, by slot. best: of the image that the search found best.
    """

    first: tuple[float, ...]
    last: tuple[float, ...]
    best: float


def facts(plan: Plan) -> dict[str, str]:
    """What a new record says beside the rest."""
    return {FACT: ""} if plan.precision != "float32" and plan.rig is None else {}


def is_due(record: Record | Store) -> bool:
    """Whether the numbers are still to be computed when the runs have ended."""
    return queries.facts(record).get(FACT) == ""


def compute(parts: Parts, store: Store, callback: Callback) -> None:
    """Compute the numbers of all runs, which have ended, and write them."""
    with Record(store.folder) as record:
        together: dict[tuple[int, int], list[tuple[Run, list[int], Codes]]] = defaultdict(list)
        for r, one in zip(parts.runs, record.runs(), strict=True):
            if one.generations:
                together[r.subject, r.generator].append((r, *_codes(record, r, one.generations)))
    found: dict[int, Reported] = {}
    done, total = 0, sum(len(codes) for some in together.values() for _, _, codes in some)
    callback.stage(FACT, 0, total)
    for (subject, generator), some in together.items():
        codes = torch.cat([codes for _, _, codes in some]).to(parts.forward.device)
        responses = []
        for _, part in in_float32(parts, store, subject, codes, generator):
            responses.append(part)
            done += len(part)
            callback.stage(FACT, done, total)
        each = torch.split(torch.cat(responses), [len(codes) for _, _, codes in some])
        for (r, sizes, _), own in zip(some, each, strict=True):
            first, last, [best] = torch.split(r.score(own[:, r.unit, None, None]), sizes)
            found[r.id] = Reported(tuple(first.tolist()), tuple(last.tolist()), float(best))
    store.write_fact(FACT, json.dumps({run: asdict(one) for run, one in found.items()}))


def _codes(record: Record, r: Run, generations: int) -> tuple[list[int], Codes]:
    """The codes of the first and the last generation and of the best image, and how many of each."""
    scores = record.scores(r.id)
    last = generations - 1
    bests = [np.nanmax(one) if np.isfinite(one).any() else -np.inf for one in scores]
    of_best = int(np.argmax(bests))
    slot = int(np.nanargmax(scores[of_best])) if np.isfinite(bests[of_best]) else 0
    known = replay.codes_of(record, r.id, {0, last})
    kept = known[of_best] if of_best in known else record.codes(r.id, of_best)
    some = [known[0], known[last], np.asarray(kept[slot])[None]]
    return [len(one) for one in some], torch.from_numpy(np.concatenate(some))


def in_float32(
    parts: Parts, store: Store, subject: int, codes: Codes, generator: int
) -> Iterator[tuple[ShownImages, torch.Tensor]]:
    """The images that a generator draws of codes, and a subject's responses, (n, units), in float32, batch by
    batch."""
    forward = parts.forward.in_float32()
    size = int(queries.fact(store, "batch"))
    batch = BatchSize(forward, size, lambda size: store.write_fact("batch", str(size)))
    start = 0
    while start < len(codes):
        some = codes[start : start + batch.size]
        found = batch.attempt(functools.partial(_shown, forward, subject, some, generator))
        if found is None:
            continue
        yield found
        start += len(some)


def _shown(forward: Forward, subject: int, codes: Codes, generator: int) -> tuple[ShownImages, torch.Tensor]:
    images = forward.draw(codes, generator)
    return images, forward.respond(subject, images)
