"""Which optimizer finds the best image? Optimizers beside each other on the same units, noise and budget.

    python benches/optimizers.py --references PHOTOGRAPHS --set test --presentations 2000

Units are fixed: those of `tuning` are for choosing constants, those of `test` for judging. Each experiment
(network, optimizer, noise, seed) has all units of its network as runs. Its rows go to the table
(benches/results/optimizers.csv); what the table has is not run again, so that a run can be continued.

The measure is the noise-free response of the one code that an optimizer recommends at the end: its mean
where it has one (`Recommending`), else the code with the best observed score of the last generation. Beside
it stand the best and the mean of the last generation, noise-free; the area under the curve of the means; the
root mean square of the recommended code as it is drawn, in units of the spread; the share of its pixels that
are saturated; and whether a unit stayed dead (never above its first generation).
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xdream
from xdream.experiment.opening import parts_of
from xdream.experiment.run_groups import groups_of, loaded_state
from xdream.generators import spread_of
from xdream.optimizers import Recommending

NETWORKS = {
    "efficientnet-lite0": ("_blocks.1", "_blocks.6", "_blocks.13", "_fc"),
    "squeezenet1.1": ("fire2", "fire5", "fire9", "scores"),
}
#: Unit numbers by set and depth (early, middle, late, output); none is in both sets.
UNITS = {
    "tuning": ((2, 9), (11, 40), (17, 77), (65, 444)),
    "test": ((5, 12, 3), (30, 21, 8), (101, 150, 33), (22, 281, 954)),
}
#: name -> (optimizer, options of the generator)
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "genetic": ({"name": "genetic"}, {"codes": "free"}),
    "rank-nes, ball 1.3": ({"name": "rank-nes"}, {"codes": "ball", "radius": 1.3}),
    "rank-nes, ball 1.0": ({"name": "rank-nes"}, {"codes": "ball", "radius": 1.0}),
    "rank-nes, free": ({"name": "rank-nes", "mean_limit": 1e6}, {"codes": "free"}),
    "sphere-cma": ({"name": "sphere-cma"}, {"codes": "free"}),
    "sep-cma, ball 1.3": ({"name": "sep-cma"}, {"codes": "ball", "radius": 1.3}),
    "cma, ball 1.3": ({"name": "cma"}, {"codes": "ball", "radius": 1.3}),
}
COLUMNS = (
    *("set", "network", "layer", "unit", "generator", "method", "spikes", "seed", "presentations"),
    *("recommended", "best_last", "mean_last", "first", "area", "best_reference", "rms", "saturated", "dead"),
    "seconds",
)
KEYS = COLUMNS[:9]
SIZE_PX = 224


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", required=True, help="photographs: a folder, a zip file, scikit-image")
    parser.add_argument("--set", choices=UNITS, default="test")
    parser.add_argument("--depths", nargs="+", type=int, default=[0, 1, 2, 3], help="0 early to 3 output")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--generator", default="natural-v1")
    parser.add_argument("--spikes", nargs="+", type=float, default=[0.0, 20.0], help="0: no noise")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--units", type=int, default=9, help="most units of a layer")
    parser.add_argument("--presentations", type=int, default=2000)
    parser.add_argument("--engine", help="as xdream evolve --engine")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "results" / "optimizers.csv")
    options = parser.parse_args()
    known = read(options.table)
    for seed in options.seeds:
        for spikes in options.spikes:
            for network in options.networks:
                for method in options.methods:
                    rows = list(missing(options, network, method, spikes, seed, known))
                    if rows:
                        write(options.table, run(options, network, method, spikes, seed, rows))
                        known = read(options.table)
                        report(known, options.set)
    report(known, options.set)


def missing(
    options: argparse.Namespace,
    network: str,
    method: str,
    spikes: float,
    seed: int,
    known: list[dict[str, str]],
) -> Iterator[tuple[str, int]]:
    """Layer and number of each unit that the table does not have."""
    have = {tuple(row[key] for key in KEYS) for row in known}
    for depth in options.depths:
        layer = NETWORKS[network][depth]
        for unit in UNITS[options.set][depth][: options.units]:
            key = (options.set, network, layer, unit, options.generator, method, spikes, seed)
            if tuple(map(str, (*key, options.presentations))) not in have:
                yield layer, unit


def run(
    options: argparse.Namespace,
    network: str,
    method: str,
    spikes: float,
    seed: int,
    units: list[tuple[str, int]],
) -> list[dict[str, Any]]:
    """One experiment with these units; a row for each."""
    optimizer, region = METHODS[method]
    if optimizer["name"] == "sphere-cma":  # its schedule knows the budget
        optimizer = {**optimizer, "generations": options.presentations // 41}
    plan = xdream.Plan.make(
        targets=[f"{network}:{layer}:{unit}" for layer, unit in units],
        generator={"name": options.generator, **region},
        optimizer=optimizer,
        presentations=options.presentations,
        image_size_px=SIZE_PX,
        references=options.references,
        seed=seed,
        **({"noise_spikes": spikes} if spikes else {}),
        **({"engine": options.engine} if options.engine else {}),
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, xdream.run(plan, Path(folder) / "x") as record:
        seconds = time.monotonic() - began
        parts = parts_of(record)
        codes = recommended(parts, record)
        spread = spread_of(parts.generator.initial, parts.generator.centre)
        brought = getattr(parts.generator, "brought", lambda c: c)(codes)
        shown = parts.forward.draw(codes)
        rows = []
        for (layer, unit), r in zip(units, parts.runs, strict=True):
            response = float(parts.forward.respond(r.subject, shown[r.id : r.id + 1])[0, r.unit])
            scores = record.scores(r.id)
            means = np.array([np.nanmean(one) for one in scores])
            z = (brought[r.id] - parts.generator.centre) / spread
            rows.append(
                {
                    "set": options.set,
                    "network": network,
                    "layer": layer,
                    "unit": unit,
                    "generator": options.generator,
                    "method": method,
                    "spikes": spikes,
                    "seed": seed,
                    "presentations": options.presentations,
                    "recommended": response,
                    "best_last": float(np.nanmax(scores[-1])),
                    "mean_last": means[-1],
                    "first": means[0],
                    "area": means.mean(),
                    "best_reference": float(np.nanmax(record.reference_responses(r.id))),
                    "rms": float(z.square().mean().sqrt()),
                    "saturated": float(((shown[r.id] == 0) | (shown[r.id] == 255)).float().mean()),
                    "dead": bool(max(np.nanmax(one) for one in scores) <= np.nanmax(scores[0])),
                    "seconds": seconds / len(units),
                }
            )
    return rows


def recommended(parts: Any, record: Any) -> torch.Tensor:
    """(runs, d): the code that each run's optimizer holds for the best at the end."""
    found: dict[int, torch.Tensor] = {}
    for group in groups_of(parts.runs):
        for r in group.runs:
            last = len(record.scores(r.id)) - 1
            if isinstance(group.optimizer, Recommending):
                states = record.states(r.id)
                state = loaded_state(group.optimizer, [states[max(states)]], parts.generator.centre.device)
                found[r.id] = group.optimizer.recommended(state)[0]
            else:
                slot = int(np.nanargmax(record.scores(r.id, noise_free=False)[last]))
                found[r.id] = torch.from_numpy(record.codes(r.id, last)[slot])
    return torch.stack([found[r.id] for r in parts.runs])


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the table, as text."""
    return list(csv.DictReader(path.open())) if path.exists() else []


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        if new:
            out.writeheader()
        out.writerows(rows)


def report(rows: list[dict[str, str]], which: str) -> None:
    """Each method against `genetic` on the same unit, noise and seed: geometric means with 95 % intervals."""
    some = [row for row in rows if row["set"] == which]
    same = ("network", "layer", "unit", "generator", "spikes", "seed", "presentations")
    base = {tuple(row[k] for k in same): row for row in some if row["method"] == "genetic"}
    heads = ("presentations", "spikes", "method", "units", "recommended", "best of last", "mean of last")
    print(f"| {' | '.join((*heads, 'rms', 'saturated'))} |")
    print("|---|---|---|---|---|---|---|---|---|")
    cells = dict.fromkeys((row["presentations"], float(row["spikes"]), row["method"]) for row in some)
    for presentations, spikes, method in sorted(cells):
        pairs = [
            (row, base[key])
            for row in some
            if (row["presentations"], float(row["spikes"]), row["method"]) == (presentations, spikes, method)
            and (key := tuple(row[k] for k in same)) in base
        ]
        if not pairs:
            continue
        ratios = [against(pairs, column) for column in ("recommended", "best_last", "mean_last")]
        rms = np.median([float(row["rms"]) for row, _ in pairs])
        saturated = np.median([float(row["saturated"]) for row, _ in pairs])
        print(
            f"| {presentations} | {spikes:g} | {method} | {len(pairs)} | {' | '.join(ratios)} | {rms:.2f} | "
            f"{saturated:.1%} |",
            flush=True,
        )


def against(pairs: list[tuple[dict[str, str], dict[str, str]]], column: str) -> str:
    """The geometric mean of ratios to `genetic`, from a thousandth of the best reference on; its interval."""
    logs = []
    for row, other in pairs:
        floor = 1e-3 * abs(float(other["best_reference"])) + 1e-12
        logs.append(math.log(max(float(row[column]), floor) / max(float(other[column]), floor)))
    values = np.array(logs)
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.exp(np.percentile(draws, [2.5, 97.5]))
    return f"{math.exp(values.mean()):.2f} [{low:.2f} to {high:.2f}]"


if __name__ == "__main__":
    main()
