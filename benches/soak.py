"""Does a long experiment keep its memory? 10,000 generations with a neuron that costs nothing.

    python benches/soak.py [--generations 10000] [--runs 5] [--record everything] [--network] [--out FOLDER]

Writes OUT/soak.csv and OUT/soak.png: resident memory, and the size of the record, over generations. With
--network it is `natural-v1` and EfficientNet-Lite0, compiled, and the files are soak-network.csv and .png.
Ends with status 1 when memory at the end is more than 5 % above that after the first tenth.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import psutil

import xdream
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.plan import Plan

SAMPLES = 200
MOST_GROWTH = 1.05


class _Memory(NoCallback):
    """Notes (generation, bytes of memory, bytes of the folder) now and then."""

    def __init__(self, folder: Path, generations: int) -> None:
        self.rows: list[tuple[int, int, int]] = []
        self._folder, self._every = folder, max(1, generations // SAMPLES)

    def stage(self, name: str, done: int, total: int) -> None:
        """Notes them."""
        if name == "generations" and done % self._every == 0:
            size = sum(path.stat().st_size for path in self._folder.glob("experiment.sqlite*"))
            self.rows.append((done, psutil.Process().memory_info().rss, size))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generations", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--record", default="everything")
    parser.add_argument("--network", action="store_true", help="a real pair, compiled")
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    pair: dict[str, Any] = {"targets": ["known:linear::0"], "generator": {"name": "pixels", "size_px": 16}}
    name = "soak"
    if options.network:
        pair = {"targets": ["efficientnet-lite0:_fc:0"], "generator": "natural-v1", "compiled": True}
        name = "soak-network"
    plan = Plan.make(
        **pair,
        optimizer={"name": "genetic", "population": 20},
        presentations=20 * options.generations,
        runs=options.runs,
        record=options.record,
        threads=None if options.network else 1,
    )
    with tempfile.TemporaryDirectory() as place:
        callback = _Memory(Path(place) / "x", options.generations)
        xdream.run(plan, Path(place) / "x", callback).close()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("generation", "memory_bytes", "record_bytes"))
        writer.writerows(callback.rows)
    _draw(callback.rows, options.out / f"{name}.png", options.record)
    early = max(memory for _, memory, _ in callback.rows[: len(callback.rows) // 10])
    late = max(memory for _, memory, _ in callback.rows[-len(callback.rows) // 10 :])
    print(f"{options.generations} generations: {early / 1e6:.0f} MB at first, {late / 1e6:.0f} MB at the end")
    return 0 if late <= MOST_GROWTH * early else 1


def _draw(rows: list[tuple[int, int, int]], path: Path, kept: str) -> None:
    generations, memory, size = zip(*rows, strict=True)
    figure, axes = plt.subplots(figsize=(6.0, 3.2), layout="constrained")
    axes.plot(generations, [value / 1e6 for value in memory], label="memory of the process")
    axes.plot(generations, [value / 1e6 for value in size], label=f"record of {kept} on the disk")
    axes.set(xlabel="generation", ylabel="MB", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
