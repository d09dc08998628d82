"""The paper's comparison of generators: what a learned one adds to a search, from early to output layers.

    python benches/generators.py --references PLACE [--references PLACE …] [--units 4] [--presentations 1000]

`natural-v1`, `fourier` and `pixels`, all shown at 64 px, on early, middle, late and output layers of
EfficientNet-Lite0 (the encoder of natural-v1) and SqueezeNet 1.1 (which it never saw), `genetic` without
noise; at the output layers also `nes`, and both with Poisson noise of 20 spikes at the best reference. One
seed. All reported responses are noise-free; the relative activation is the best of the last generation over
the best natural image, shown at 64 px like the evolved ones. Experiments are kept in OUT/runs/generators, so
that the bench can be interrupted and continued and, with --only, run in several processes. The table is
written to OUT/generators.csv and, for reading, OUT/generators.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import xdream
from xdream import files, networks
from xdream.experiment.assemble import assemble
from xdream.images import references
from xdream.memory import keep_freed_blocks
from xdream.report import summarise
from xdream.store import FILE_NAME
from xdream.subjects import network_units

GENERATORS = ("natural-v1", "fourier", "pixels")
LAYERS = {
    "efficientnet-lite0": {
        "early": "_blocks.1",
        "middle": "_blocks.6",
        "late": "_blocks.13",
        "output": "_fc",
    },
    "squeezenet1.1": {"early": "fire2", "middle": "fire5", "late": "fire9", "output": "scores"},
}
#: Spread over the channels; none of them is one that hyperparameters were tuned on.
UNITS = {
    "_blocks.1": (2, 9, 16, 21, 5, 12, 18, 23, 0, 14),
    "_blocks.6": (5, 30, 52, 77, 12, 21, 41, 60, 68, 3),
    "_blocks.13": (11, 77, 140, 180, 33, 58, 99, 121, 160, 4),
    "fire2": (7, 31, 66, 101, 15, 44, 80, 93, 115, 124),
    "fire5": (12, 70, 131, 222, 33, 98, 160, 190, 205, 249),
    "fire9": (25, 133, 301, 444, 70, 190, 256, 350, 399, 490),
    "output": (130, 281, 817, 954, 22, 291, 417, 487, 779, 985),
}
SPIKES = 20.0
SIZE_PX = 64
BATCH = 50


@dataclass(frozen=True)
class Condition:
    """One experiment; unit: a single one, whose noise has its own scale, or None for all."""

    network: str
    depth: str
    generator: str
    optimizer: str
    noisy: bool
    unit: int | None

    @property
    def folder(self) -> str:
        words = (self.network, self.depth, self.generator, self.optimizer, "noisy" if self.noisy else "clean")
        return "-".join((*words, *(() if self.unit is None else (str(self.unit),))))


@dataclass(frozen=True)
class Row:
    """One run, as the table has it."""

    network: str
    depth: str
    unit: str
    generator: str
    optimizer: str
    noisy: bool
    first_generation_best: float
    last_generation_best: float
    best_reference: float
    relative_activation: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", action="append", default=[], help="folder or zip file; repeatable")
    parser.add_argument("--units", type=int, default=4, help="of each layer, 10 at most")
    parser.add_argument("--presentations", type=int, default=1000)
    parser.add_argument("--threads", type=int, help="of the CPU (default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=GENERATORS, action="append", help="run these and write no table")
    parser.add_argument("--network", choices=tuple(LAYERS), help="run one network and write no table")
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    keep_freed_blocks()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.runs = options.out / "runs" / "generators"
    options.runs.mkdir(parents=True, exist_ok=True)
    best = {network: _best_references(network, options) for network in LAYERS}
    rows = []
    for condition in _conditions(options):
        if options.network not in (None, condition.network):
            continue
        record = _record(condition, best[condition.network], options)
        print(f"{condition.folder}: {record.seconds:.0f} s", flush=True)
        for summary in summarise(record):
            natural = best[condition.network][summary.target.partition(":")[2]]
            last = summary.last_generation_best
            assert last is not None
            assert summary.first_generation_best is not None
            rows.append(
                Row(
                    *(condition.network, condition.depth, summary.target.partition(":")[2]),
                    *(condition.generator, condition.optimizer, condition.noisy),
                    *(summary.first_generation_best, last, natural, last / natural),
                )
            )
    if not options.only and not options.network:
        _write_csv(rows, options.out / "generators.csv")
        text = _markdown(rows, options)
        (options.out / "generators.md").write_text(text)
        print(text)


def _conditions(options: argparse.Namespace) -> Iterator[Condition]:
    for network, layers in LAYERS.items():
        for depth in layers:
            for generator in options.only or GENERATORS:
                yield Condition(network, depth, generator, "genetic", False, None)
                if depth == "output":
                    yield Condition(network, depth, generator, "nes", False, None)
                    for optimizer in ("genetic", "nes"):
                        for unit in _units(network, depth, options):
                            yield Condition(network, depth, generator, optimizer, True, unit)


def _units(network: str, depth: str, options: argparse.Namespace) -> tuple[int, ...]:
    return UNITS["output" if depth == "output" else LAYERS[network][depth]][: options.units]


def _best_references(network: str, options: argparse.Namespace) -> dict[str, float]:
    """Each unit's best response to the natural images; measured once."""
    places = [references.load(place) for place in options.references or [references.SCIKIT_IMAGE]]
    shown = hashlib.sha256("".join(h for found in places for h in found.hashes).encode()).hexdigest()[:12]
    path = options.runs / f"{network}-{options.units}-{shown}.npz"
    if not path.exists():
        loaded = networks.load(network)
        requests = [
            (layer, ",".join(map(str, _units(network, depth, options))))
            for depth, layer in LAYERS[network].items()
        ]
        subject = network_units(loaded, requests, torch.device(options.device))
        responses = []
        for found in places:
            for start in range(0, len(found), BATCH):
                rows = range(start, min(start + BATCH, len(found)))
                responses.append(subject.respond(found.images(rows, SIZE_PX)).numpy())
        buffer = io.BytesIO()
        np.savez(buffer, units=np.array(subject.units), responses=np.concatenate(responses))
        files.replace(path, buffer.getvalue())
    kept = np.load(path)
    return dict(zip(kept["units"].tolist(), kept["responses"].max(0).tolist(), strict=True))


def _record(condition: Condition, best: dict[str, float], options: argparse.Namespace) -> xdream.Record:
    layer = LAYERS[condition.network][condition.depth]
    units = (
        _units(condition.network, condition.depth, options) if condition.unit is None else [condition.unit]
    )
    plan = xdream.Plan.make(
        name=condition.folder,
        targets=f"{condition.network}:{layer}:{','.join(map(str, units))}",
        generator=condition.generator,
        optimizer=condition.optimizer,
        presentations=options.presentations,
        image_size_px=SIZE_PX,
        noise_scale=SPIKES / best[f"{layer}:{units[0]}"] if condition.noisy else None,
        batch=len(units) * 20,
        threads=options.threads,
        device=options.device,
    )
    # Other numbers, natural images or weights are other experiments.
    parts = assemble(plan)
    what = parts.plan.to_toml() + "".join(parts.identities.values())
    folder = options.runs / f"{condition.folder}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    return xdream.resume(folder) if (folder / FILE_NAME).exists() else xdream.run(plan, folder)


def _write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _markdown(rows: list[Row], options: argparse.Namespace) -> str:
    """Medians of relative activation for each place and condition, and how many units go beyond 1."""
    count = sum(len(references.load(place)) for place in options.references or [references.SCIKIT_IMAGE])
    lines = [
        f"Relative activation: noise-free best of the last generation / best of {count} natural images, all "
        f"shown at {SIZE_PX} px. Median of {options.units} units (how many are above 1); "
        f"{options.presentations} presentations, one seed. "
        f"Noise: Poisson, {SPIKES:g} spikes at the best natural image.",
        "",
        f"| network | layer | optimizer | {' | '.join(GENERATORS)} | natural-v1 beats both |",
        "|---|---|---|" + "---|" * (len(GENERATORS) + 1),
    ]
    found: dict[tuple[str, str, str, bool], dict[str, dict[str, float]]] = {}
    for row in rows:
        place = found.setdefault((row.network, row.depth, row.optimizer, row.noisy), {})
        place.setdefault(row.generator, {})[row.unit] = row.relative_activation
    for (network, depth, optimizer, noisy), by_generator in found.items():
        cells = [
            f"{statistics.median(values.values()):.2f} ({sum(v > 1 for v in values.values())})"
            for values in (by_generator[name] for name in GENERATORS)
        ]
        learned, *controls = (by_generator[name] for name in GENERATORS)
        won = sum(all(value > other[unit] for other in controls) for unit, value in learned.items())
        how = f"{optimizer}, {SPIKES:g} spikes" if noisy else optimizer
        lines.append(
            f"| {network} | {depth} `{LAYERS[network][depth]}` | {how} | {' | '.join(cells)} | "
            f"{won} of {len(learned)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
