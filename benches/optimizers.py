"""Which optimizer finds the best image? Optimizers beside each other on the same neurons, noise and budget.

    python benches/optimizers.py --references PHOTOGRAPHS --set test --presentations 2000

Units are fixed: those of `tuning` are for choosing constants, those of `test` for judging. All neurons of a
network are searched side by side. Rows go to the table (benches/results/optimizers.csv); what the table has
is not run again, so that a run can be continued. `--generator code-256` (or code-4096) are neurons without
images, tuned in a space of so many numbers.

The measure is the noise-free response, in float32, of the one code that an optimizer recommends at the end:
its mean where it has one (`Recommending`), else the code with the best observed score of the last
generation. Beside it stand the best and the mean of the last generation, noise-free, in the precision of the
search (bfloat16); the area under the curve of the means; the root mean square of the recommended code as it
is drawn, in units of the spread; the share of its pixels below 2 % or above 98 %; whether a unit stayed dead
(no mean of a generation above a thousandth of the best reference); milliseconds of the optimizer per
generation and run; the means of generations at every 100 presentations.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from search_peers import PEERS
from searching import NOISES, Neurons, Ours, Search, Theirs, Tuned, Units, searched

NETWORKS = {
    "efficientnet-lite0": ("_blocks.1", "_blocks.6", "_blocks.13", "_fc"),
    "squeezenet1.1": ("fire2", "fire5", "fire9", "scores"),
}
DEPTHS = ("early", "middle", "late", "output")
#: Unit numbers by set and depth; none is in both sets.
UNITS = {
    "tuning": ((2, 9, 7, 14), (11, 40, 15, 50), (17, 77, 40, 140), (65, 444, 340, 779)),
    "test": ((5, 12, 3), (30, 21, 8), (101, 150, 33), (22, 281, 954)),
}
#: Neurons of a space without images, by set.
TUNED = {
    "tuning": [("gaussian", 0), ("gaussian", 1), ("energy", 2), ("energy", 3)],
    "test": [("gaussian", 10 + i) for i in range(6)] + [("energy", 20 + i) for i in range(6)],
}
FREE: dict[str, Any] = {"codes": "free"}
BALL: dict[str, Any] = {"codes": "ball", "radius": 1.3}
#: name -> (how it is made, region of the codes)
METHODS: dict[str, tuple[Search, dict[str, Any]]] = {
    "genetic": (Ours("genetic"), FREE),
    "genetic, ranks": (Ours("genetic", {"selection": "rank"}), FREE),
    "genetic, ball 1.3": (Ours("genetic"), BALL),
    "fdgd": (Ours("fdgd"), FREE),
    "nes": (Ours("nes"), FREE),
    "nes, ranks": (Ours("nes", {"scores": "ranks", "safe_start": True}), BALL),
    "rank-nes": (Ours("rank-nes"), BALL),
    "rank-nes, 12": (Ours("rank-nes", {"population": 12}), BALL),
    "rank-nes, 30": (Ours("rank-nes", {"population": 30}), BALL),
    "rank-nes, ball 1.0": (Ours("rank-nes"), BALL | {"radius": 1.0}),
    "rank-nes, mean 1.0": (Ours("rank-nes", {"mean_limit": 1.0}), BALL),
    "rank-nes, free": (Ours("rank-nes", {"mean_limit": 1e6}), FREE),
    "sphere-cma": (Ours("sphere-cma", scheduled=True), FREE),
    "sep-cma, ball 1.3": (Ours("sep-cma"), BALL),
    "cma, ball 1.3": (Ours("cma"), BALL),
    **{f"{name}, ball 1.3": (Theirs(make), BALL) for name, make in PEERS.items()},
}
COLUMNS = (
    *("set", "network", "layer", "unit", "generator", "method", "noise", "seed", "presentations"),
    *("recommended", "best_last", "mean_last", "first", "area", "best_reference", "rms", "saturated", "dead"),
    *("ms", "curve"),
)
KEYS = COLUMNS[:9]
#: What is compared: rows that differ in the method alone.
SAME = tuple(key for key in KEYS if key != "method")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", default="", help="photographs: a folder, a zip file, scikit-image")
    parser.add_argument("--set", choices=UNITS, default="test")
    parser.add_argument("--depths", nargs="+", default=list(DEPTHS), choices=DEPTHS)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--methods", nargs="+", default=["genetic", "rank-nes"], choices=METHODS)
    parser.add_argument("--generator", default="natural-v1")
    parser.add_argument("--noises", nargs="+", default=["none", "20 spikes"], choices=NOISES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--units", type=int, default=9, help="most units of a layer")
    parser.add_argument("--presentations", type=int, default=2000)
    parser.add_argument("--engine", help="as xdream evolve --engine")
    parser.add_argument("--base", default="genetic", help="the method that others are compared with")
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "results" / "optimizers.csv")
    parser.add_argument("--images", type=Path, help="where the images of the recommended codes go")
    parser.add_argument("--only-report", action="store_true", help="no runs: the tables of what there is")
    options = parser.parse_args()
    if not options.only_report:
        spaces = ["-"] if options.generator.startswith("code-") else options.networks
        for network in spaces:
            fill(options, network)
    report(read(options.table), options)


def fill(options: argparse.Namespace, network: str) -> None:
    """Add to the table what it does not have of a network."""
    if options.generator.startswith("code-"):
        units = TUNED[options.set]
    else:
        chosen = [DEPTHS.index(one) for one in options.depths]
        units = [
            (NETWORKS[network][depth], unit)
            for depth in chosen
            for unit in UNITS[options.set][depth][: options.units]
        ]
    neurons: Neurons | None = None
    for seed in options.seeds:
        for noise in options.noises:
            for method in options.methods:
                key = (options.set, network, options.generator, method, noise, seed, options.presentations)
                if all(any(matches(row, key, one) for row in read(options.table)) for one in units):
                    continue
                if neurons is None and options.generator.startswith("code-"):
                    neurons = Tuned(int(options.generator.removeprefix("code-")), units)
                elif neurons is None:
                    given = (options.generator, options.references, options.engine)
                    neurons = Units(network, units, *given)
                search, region = METHODS[method]
                known = dict(zip(("set", "network", "generator", "method", "noise"), key, strict=False))
                more = {"seed": seed, "presentations": options.presentations}
                found, images = searched(neurons, search, region, NOISES[noise], seed, options.presentations)
                if options.images and images is not None:
                    keep(options.images, {**known, **more}, found, images)
                write(options.table, [{**known, **more, **row} for row in found])
                print(network, noise, method, seed, "done", flush=True)


def keep(folder: Path, experiment: dict[str, Any], rows: list[dict[str, Any]], images: np.ndarray) -> None:
    """The images of the recommended codes, one file each, for benches/search_sheet.py."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, image in zip(rows, images, strict=True):
        parts = [experiment[key] for key in ("network", "generator", "method", "noise", "seed")]
        name = "_".join(str(one) for one in (parts[0], row["layer"], row["unit"], *parts[1:]))
        small = Image.fromarray(image).resize((112, 112), Image.Resampling.BOX)
        small.save(folder / f"{name.replace('%', 'percent')}.png")


def matches(row: dict[str, str], key: tuple[Any, ...], unit: tuple[str, int]) -> bool:
    """Whether a row is that of one unit of an experiment."""
    keys = ("set", "network", "generator", "method", "noise", "seed", "presentations", "layer", "unit")
    return all(row[name] == str(value) for name, value in zip(keys, (*key, *unit), strict=True))


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


# ------------------------------------------------------------------ tables


def report(rows: list[dict[str, str]], options: argparse.Namespace) -> None:
    """Each method against the base on the same unit, noise and seed."""
    some = [row for row in rows if row["set"] == options.set]
    base = {tuple(row[k] for k in SAME): row for row in some if row["method"] == options.base}
    heads = ("generator", "presentations", "noise", "method", "units", "recommended", "best of last")
    heads = (*heads, "area", "rms", "saturated", "dead", "level after", "ms")
    print(f"Against {options.base}: geometric means of ratios, 95 % intervals (bootstrap over units).\n")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    columns = ("generator", "presentations", "noise", "method")
    for cell in dict.fromkeys(tuple(row[c] for c in columns) for row in some):
        pairs = list(paired(some, base, dict(zip(columns, cell, strict=True))))
        if pairs:
            print(f"| {' | '.join((*cell, *summary(pairs)))} |", flush=True)
    heads = ("generator", "presentations", "noise", "method", *DEPTHS)
    print(f"\nThe recommended code by depth.\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for cell in dict.fromkeys(tuple(row[c] for c in columns) for row in some):
        pairs = list(paired(some, base, dict(zip(columns, cell, strict=True))))
        each = [[one for one in pairs if depth_of(one[0]) == depth] for depth in DEPTHS]
        if pairs:
            print(f"| {' | '.join((*cell, *(ratio(one, 'recommended') if one else '' for one in each)))} |")


def paired(
    rows: list[dict[str, str]], base: dict[tuple[str, ...], dict[str, str]], cell: dict[str, str]
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Rows of a cell, each with the base's."""
    for row in rows:
        key = tuple(row[k] for k in SAME)
        if key in base and all(row[c] == value for c, value in cell.items()):
            yield row, base[key]


def depth_of(row: dict[str, str]) -> str:
    """Early to output."""
    layers = NETWORKS.get(row["network"], ())
    return DEPTHS[layers.index(row["layer"])] if row["layer"] in layers else "output"


def summary(pairs: list[tuple[dict[str, str], dict[str, str]]]) -> list[str]:
    """What stands in the columns after those of the cell."""
    own = [row for row, _ in pairs]
    units = len({(row["network"], row["layer"], row["unit"]) for row in own})
    levels = [level_after(row, other) for row, other in pairs]
    reached = [one for one in levels if one is not None]
    later = f" ({len(levels) - len(reached)} not)" if len(reached) < len(levels) else ""
    return [
        f"{units} x {len(own) / units:g}",
        ratio(pairs, "recommended"),
        ratio(pairs, "best_last"),
        ratio(pairs, "area"),
        f"{np.median([float(row['rms']) for row in own]):.2f}",
        f"{np.mean([float(row['saturated']) for row in own]):.1%}",
        str(sum(row["dead"] == "True" for row in own)),
        (f"{np.median(reached):.0f}" if reached else "") + later,
        f"{np.median([float(row['ms']) for row in own]):.2f}",
    ]


def level_after(row: dict[str, str], other: dict[str, str]) -> int | None:
    """Presentations until the mean of a generation has reached the base's at its end; None: never."""
    curve = [float(one) for one in row["curve"].split(";") if one]
    level = float(other["curve"].split(";")[-1] or "inf")
    return next((100 * (i + 1) for i, one in enumerate(curve) if one >= level), None)


def ratio(pairs: list[tuple[dict[str, str], dict[str, str]]], column: str) -> str:
    """The geometric mean of ratios to the base, from a thousandth of the best reference on; its interval."""
    units: dict[tuple[str, ...], list[float]] = {}
    for row, other in pairs:
        floor = 1e-3 * abs(float(other["best_reference"])) + 1e-12
        log = math.log(max(float(row[column]), floor) / max(float(other[column]), floor))
        units.setdefault((row["network"], row["layer"], row["unit"]), []).append(log)
    values = np.array([np.mean(one) for one in units.values()])  # the seeds of a unit together
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.exp(np.percentile(draws, [2.5, 97.5]))
    return f"{math.exp(values.mean()):.2f} [{low:.2f} to {high:.2f}]"


if __name__ == "__main__":
    main()
