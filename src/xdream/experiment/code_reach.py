"""How far codes went: the root mean square of a run's last codes as they are drawn, in units of the spread.

Beyond the region that a generator declares (`region`) its images are no longer natural; the report says so.
"""

from __future__ import annotations

import json

import torch

from xdream.experiment import replay
from xdream.experiment.runs import Parts
from xdream.generators import GENERATORS, spread_of
from xdream.generators.encoding import brought
from xdream.store import Record, Store, queries

#: The fact that holds it: empty until all runs have ended. Records of before do not have it.
FACT = "code_rms"


def is_due(record: Record | Store) -> bool:
    """Whether it is still to be computed when the runs have ended."""
    return queries.facts(record).get(FACT) == ""


def compute(parts: Parts, store: Store) -> None:
    """Write of each run the mean over the codes of its last generation, and what its generator declares."""
    found: dict[int, tuple[float, float | None]] = {}
    with Record(store.folder) as record:
        for r, planned in zip(parts.runs, record.runs(), strict=True):
            last = planned.generations - 1
            if last < 0:
                continue
            generator = parts.generators[r.generator]
            codes = torch.from_numpy(replay.codes_of(record, r.id, {last})[last]).to(parts.forward.device)
            spread = spread_of(generator.initial, generator.centre)
            z = (brought(generator, codes) - generator.centre) / spread
            declared = GENERATORS.declared(parts.declared[r.generator].name, "region")
            found[r.id] = (float(z.square().mean(1).sqrt().mean()), declared[1] if declared else None)
    store.write_fact(FACT, json.dumps(found))
