"""Does a search in lower precision find less? The same evolutions in float32 and in another precision.

    python benches/precision.py [--presentations 240] [--seeds 3] [--engine openvino] [--kind bfloat16]

24 units (12 of the last layer, 12 in the middle) of 2 networks, 2 optimizers, some seeds, with `natural-v1`.
Units are the first ones whose best response to the references is at least the median of their layer's.
Both are judged alike: the codes of the last generation are drawn and shown in float32, without noise, and
the best response is divided by the best response to the references in float32 (relative activation). The
table has the ratio of the means over the runs, with a 95 % interval: bootstrap over units, the seeds of a
unit together.
Rows are written when their experiment is done, and those that are there are not computed again.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

import xdream
from xdream.experiment import engine_choice, replay
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan

NETWORKS = {"efficientnet-lite0": "_blocks.8", "efficientnet-lite1": "_blocks.10"}
OUTPUT, EACH = "_fc", 12
OPTIMIZERS = {"genetic": {"population": 10}, "fdgd": {"population": 20}}
COLUMNS = ("network", "optimizer", "seed", "unit", "precision", "reference", "last", "seconds")
SAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presentations", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--kind", default="bfloat16")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    parser.add_argument("--table", action="store_true", help="only the table, from the rows that are there")
    options = parser.parse_args()
    path = options.out / f"precision-{options.kind}.csv"
    done = {(*row[:3], row[4]) for row in read(path)}
    order = itertools.product(NETWORKS, range(options.seeds), OPTIMIZERS, ("float32", options.kind))
    for network, seed, optimizer, kind in () if options.table else order:
        if (network, optimizer, str(seed), kind) not in done:
            new = rows(options, network, optimizer, seed, kind)
            with path.open("a", newline="") as file:
                csv.writer(file).writerows([*([COLUMNS] if not done else []), *new])
            done.add((network, optimizer, str(seed), kind))
    text = "\n".join(table(path, options.kind))
    (options.out / f"precision-{options.kind}.md").write_text(text + "\n")
    print(text)


@functools.cache
def units_of(network: str) -> tuple[str, ...]:
    layers = OUTPUT, NETWORKS[network]
    plan = Plan.make(targets=[f"{network}:{layer}:all" for layer in layers], engine="torch", batch=20)
    parts = assemble(plan.model_copy(update={"references": "scikit-image"}))
    assert parts.references is not None
    shown = parts.references.images(range(len(parts.references)), parts.image_size_px)
    found = []
    for layer, responses in zip(layers, parts.forward.respond_all(shown), strict=True):
        best = responses.max(0).values
        some = (best >= best.median()).nonzero()[:EACH, 0].tolist()
        found.append(f"{network}:{layer}:{','.join(map(str, some))}")
    return tuple(found)


def rows(
    options: argparse.Namespace, network: str, optimizer: str, seed: int, kind: str
) -> list[tuple[object, ...]]:
    plan = Plan.make(
        targets=units_of(network),
        optimizer={"name": optimizer} | OPTIMIZERS[optimizer],
        references="scikit-image",
        presentations=options.presentations,
        record="scores",
        seed=seed,
        precision=kind,
        engine=options.engine,
        threads=options.threads,
        batch=40,
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        record = xdream.run(plan, Path(folder) / "x")
        seconds = time.perf_counter() - start
        parts = assemble(plan.model_copy(update={"precision": "float32"}))
        engine_choice.place(parts.forward, options.engine, 40)
        references = parts.references
        assert references is not None
        shown = references.images(range(len(references)), parts.image_size_px)
        natural = [one.max(0).values for one in parts.forward.respond_all(shown)]
        found: list[tuple[object, ...]] = []
        for run, one in zip(parts.runs, record.runs(), strict=True):
            last = one.generations - 1
            codes = torch.from_numpy(replay.codes_of(record, run.id, [last])[last])
            best = float(parts.forward.respond(run.subject, parts.forward.draw(codes))[:, run.unit].max())
            best_reference = float(natural[run.subject][run.unit])
            found.append((network, optimizer, seed, run.target, kind, best_reference, best, round(seconds)))
        record.close()
    return found


def read(path: Path) -> list[list[str]]:
    """The rows that are there, without the names of the columns."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def table(path: Path, kind: str) -> list[str]:
    with path.open(newline="") as file:
        data = list(csv.DictReader(file))
    pairs: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    for row in data:
        key = row["network"], row["optimizer"], row["seed"], row["unit"]
        pairs[key][row["precision"]] = float(row["last"]) / float(row["reference"])
    whole = {key: one for key, one in pairs.items() if len(one) == 2}
    lines = [
        f"| networks | optimizers | units x seeds | mean relative activation, float32 | {kind} | "
        "ratio of means | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    groups = {("both", "both"): whole}
    for network, optimizer in dict.fromkeys(key[:2] for key in whole):
        some = {k: v for k, v in whole.items() if k[:2] == (network, optimizer)}
        groups[network, optimizer] = some
    for (network, optimizer), some in groups.items():
        a, b, low, high = interval(some, kind)
        lines.append(
            f"| {network} | {optimizer} | {len(some)} | {a:.3f} | {b:.3f} | {b / a:.3f} | "
            f"{low:.3f} to {high:.3f} |"
        )
    return lines


def interval(
    some: dict[tuple[str, str, str, str], dict[str, float]], kind: str
) -> tuple[float, float, float, float]:
    by_unit: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (_, _, _, unit), one in some.items():
        by_unit[unit].append((one["float32"], one[kind]))
    sums = np.array([np.sum(values, axis=0) for values in by_unit.values()])
    counts = np.array([len(values) for values in by_unit.values()])
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(sums), (SAMPLES, len(sums)))
    drawn = sums[draws].sum(1)
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975])
    a, b = sums.sum(0) / counts.sum()
    return float(a), float(b), float(low), float(high)


if __name__ == "__main__":
    main()
