"""Does a search drive units of a real network? 3 optimizers x {noise-free, noisy} x 3 layers x 3 units.

    python benches/foundation.py --references FOLDER_OR_ZIP [--noise-references FOLDER_OR_ZIP]
        [--presentations 1000] [--out benches/results]

EfficientNet-Lite0, generator `fourier` with its defaults, one seed. Noise: Poisson, 20 spikes at the best of
the noise references (default: the references). All reported responses are noise-free, and compared with the
best reference, which is measured in the first experiment. The runs of one optimizer and noise condition
are one experiment, kept in OUT/runs so that the bench can be interrupted and continued (and, with --only, run
in several processes); the table is written to OUT/foundation.csv and, for reading, OUT/foundation.md.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path

import xdream
from xdream.report import RunSummary, summarise
from xdream.store import FILE_NAME

LAYERS = {"early": "_blocks.1", "late": "_blocks.13", "output": "_fc"}
UNITS = {"early": "2,9,16", "late": "11,77,140", "output": "130,281,817"}
OPTIMIZERS = ("genetic", "fdgd", "nes")
SPIKES = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", default="scikit-image")
    parser.add_argument("--presentations", type=int, default=1000)
    parser.add_argument("--noise-references", help="fewer of the same, which set the scale of the noise")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all)")
    parser.add_argument("--only", choices=OPTIMIZERS, help="run one optimizer and write no table")
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    rows = []
    for noisy in (False, True):
        for optimizer in [options.only] if options.only else OPTIMIZERS:
            name = f"{optimizer}-{'noisy' if noisy else 'clean'}"
            record = _record(name, optimizer, noisy, options)
            rows += [(noisy, summary) for summary in summarise(record)]
            print(f"{name}: {record.seconds:.0f} s", flush=True)
    if options.only:
        return
    _write_csv(rows, options.out / "foundation.csv")
    text = _markdown(rows, options)
    (options.out / "foundation.md").write_text(text)
    print(text)


def _record(name: str, optimizer: str, noisy: bool, options: argparse.Namespace) -> xdream.Record:
    folder = options.out / "runs" / name
    if (folder / FILE_NAME).exists():
        return xdream.resume(folder)
    references = options.references if (optimizer, noisy) == (OPTIMIZERS[0], False) else None
    if noisy:
        references = options.noise_references or options.references
    plan = xdream.Plan.make(
        name=name,
        targets=[f"efficientnet-lite0:{LAYERS[depth]}:{UNITS[depth]}" for depth in LAYERS],
        generator="fourier",
        optimizer=optimizer,
        presentations=options.presentations,
        references=references,
        threads=options.threads,
        noise_spikes=SPIKES if noisy else None,
    )
    return xdream.run(plan, folder)


def _write_csv(rows: list[tuple[bool, RunSummary]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["noisy", *rows[0][1].as_json()])
        writer.writeheader()
        writer.writerows({"noisy": noisy, **summary.as_json()} for noisy, summary in rows)


def _markdown(rows: list[tuple[bool, RunSummary]], options: argparse.Namespace) -> str:
    """Per unit the noise-free best of the first and the last generation, and the relative activation."""
    units = list(dict.fromkeys(summary.target for _, summary in rows))
    conditions = [(noisy, optimizer) for noisy in (False, True) for optimizer in OPTIMIZERS]
    found = {(noisy, s.optimizer, s.target): s for noisy, s in rows}
    heads = [f"{optimizer}{', noisy' if noisy else ''}" for noisy, optimizer in conditions]
    lines = [
        f"Noise-free best of the last generation / best of {rows[0][1].references} references "
        f"(best of the first generation -> of the last); {options.presentations} presentations, `fourier`; "
        f"noise: {SPIKES:g} spikes at the best of {rows[-1][1].references} references.",
        "",
        f"| target | best reference | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
    ]
    best_reference = {unit: found[(*conditions[0], unit)].best_reference or float("nan") for unit in units}
    relative = {
        key: (summary.last_generation_best or 0.0) / best_reference[key[2]] for key, summary in found.items()
    }
    for unit in units:
        cells = [_cell(relative[(*c, unit)], found[(*c, unit)]) for c in conditions]
        name = unit.removeprefix("efficientnet-lite0:")
        lines.append(f"| {name} | {best_reference[unit]:.3g} | {' | '.join(cells)} |")
    for depth, layer in LAYERS.items():
        medians = [
            statistics.median(relative[(*c, unit)] for unit in units if f":{layer}:" in unit)
            for c in conditions
        ]
        lines.append(f"| **median, {depth}** | | {' | '.join(f'**{m:.2f}**' for m in medians)} |")
    return "\n".join(lines) + "\n"


def _cell(relative: float, summary: RunSummary) -> str:
    return f"{relative:.2f} ({summary.first_generation_best:.3g} -> {summary.last_generation_best:.3g})"


if __name__ == "__main__":
    main()
