"""The response to the code that each run's optimizer recommends, computed when all runs have ended.

An optimizer that moves a mean recommends it (`Recommending`), and has never shown it. It is shown once, to
networks, without noise and in float32, and its image is kept; a rig's neurons are not asked again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch

from xdream.experiment import replay
from xdream.experiment.record_policy import identity
from xdream.experiment.runs import Parts
from xdream.images.files import png
from xdream.optimizers import OPTIMIZERS, Recommending
from xdream.store import Record, Store, queries

#: The fact that holds the answers: empty until they are there. Records of before do not have it.
FACT = "recommended"


@dataclass(frozen=True)
class Recommended:
    """What became of a recommended code. pixels: SHA-256 of its image, kept unless keep_images is "none"."""

    score: float
    pixels: str


def facts(parts: Parts) -> dict[str, str]:
    """What a new record says beside the rest."""
    made = (OPTIMIZERS.make(r.optimizer, **r.hyperparameters) for r in parts.runs)
    due = parts.plan.rig is None and any(isinstance(one, Recommending) for one in made)
    return {FACT: ""} if due else {}


def is_due(record: Record | Store) -> bool:
    """Whether the scores are still to be computed when the runs have ended."""
    return queries.facts(record).get(FACT) == ""


def compute(parts: Parts, store: Store) -> None:
    """Score the recommended code of each run that has one, and write the scores."""
    with Record(store.folder) as record:
        codes = {r.id: replay.recommended(record, r.id) for r in parts.runs}
    forward = parts.forward.in_float32()
    found: dict[int, dict[str, object]] = {}
    kept: dict[str, bytes] = {}
    for r in parts.runs:
        code = codes[r.id]
        if code is not None:
            shown = forward.draw(torch.from_numpy(np.asarray(code))[None].to(parts.generator.centre.device))
            response = forward.respond(r.subject, shown)[:, r.unit]
            answer = Recommended(float(r.score(response[:, None, None])[0]), identity(shown[0]))
            found[r.id] = asdict(answer)
            if parts.plan.images_kept != "none":
                kept[answer.pixels] = png(shown[0])
    store.write_fact(FACT, json.dumps(found), kept)
