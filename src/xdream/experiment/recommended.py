"""The response to the code that each run's optimizer recommends, computed when all runs have ended.

An optimizer that moves a mean recommends it (`Recommending`), and has never shown it. It is shown once, to
networks, without noise and in float32, and its image is kept; a rig's neurons are not asked again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass

import numpy as np
import torch

from xdream.experiment import replay, reported
from xdream.experiment.record_policy import identity
from xdream.experiment.runs import Parts, Run
from xdream.images.files import png
from xdream.optimizers import OPTIMIZERS, Recommending
from xdream.store import Record, Store, queries
from xdream.types import CodeArray

#: The fact that holds the answers: empty until they are there. Records of before do not have it.
FACT = "recommended"


@dataclass(frozen=True)
class Recommended:
    """What became of a recommended code. pixels: SHA-256 of its image, kept unless keep_images is "none"."""

    score: float
    pixels: str


def facts(parts: Parts) -> dict[str, str]:
    """What a new record says beside the rest."""
    optimizers = {r.optimizer: r.hyperparameters for r in parts.runs}
    made = (OPTIMIZERS.make(name, **options) for name, options in optimizers.items())
    due = parts.plan.rig is None and any(isinstance(one, Recommending) for one in made)
    return {FACT: ""} if due else {}


def is_due(record: Record | Store) -> bool:
    """Whether the scores are still to be computed when the runs have ended."""
    return queries.facts(record).get(FACT) == ""


def compute(parts: Parts, store: Store) -> None:
    """Score the recommended code of each run that has one, and write the scores."""
    device = parts.forward.device
    together: dict[tuple[int, int], list[tuple[Run, CodeArray]]] = defaultdict(list)
    with Record(store.folder) as record:
        for r, planned in zip(parts.runs, record.runs(), strict=True):
            code = replay.recommended_by(record, planned, device)
            if code is not None:
                together[r.subject, r.generator].append((r, code))
    found: dict[int, Recommended] = {}
    kept: dict[str, bytes] = {}
    for (subject, generator), some in together.items():
        codes = torch.from_numpy(np.stack([code for _, code in some])).to(device)
        runs = iter([r for r, _ in some])
        for images, responses in reported.in_float32(parts, store, subject, codes, generator):
            for image, response, r in zip(images, responses, runs, strict=False):
                found[r.id] = Recommended(float(r.score(response[r.unit, None, None, None])), identity(image))
                if parts.plan.images_kept != "none":
                    kept[found[r.id].pixels] = png(image)
    store.write_fact(FACT, json.dumps({run: asdict(one) for run, one in found.items()}), kept)
