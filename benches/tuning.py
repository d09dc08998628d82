"""Where the default hyperparameters of the shipped generator come from: `xdream tune`, six times.

    python benches/tuning.py --references PLACE [--evaluations 24] [--presentations 400] [--only nes --noisy]

The greedy search of each optimizer, without noise and with Poisson noise of 20 spikes at the best reference,
on UNITS, which no other bench reports. Started from the published settings for fc6. Each search is a folder
in OUT/runs/tuning, so that the bench can be interrupted and continued and, with --only, run in several
processes. The best settings are written to OUT/tuning.md, each search's evaluations and figure to
OUT/tuning-….csv and OUT/tuning-….png.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import xdream
from xdream.experiment.defaults import hyperparameters
from xdream.memory import keep_freed_blocks
from xdream.studies import tuning

UNITS = (
    "efficientnet-lite0:_blocks.13:50",
    "efficientnet-lite0:_fc:340",
    "squeezenet1.1:fire8:60",
    "squeezenet1.1:scores:1",
)
OPTIMIZERS = ("genetic", "fdgd", "nes")
SPIKES = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", default="scikit-image", help="folder or zip file")
    parser.add_argument("--generator", default="natural-v1")
    parser.add_argument("--presentations", type=int, default=400)
    parser.add_argument("--evaluations", type=int, default=24, help="of each search, at most")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all)")
    parser.add_argument("--only", choices=OPTIMIZERS, help="one optimizer, and no table")
    parser.add_argument("--noisy", action=argparse.BooleanOptionalAction, help="one case, and no table")
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    keep_freed_blocks()
    lines = [
        f"Best settings for `{options.generator}`: {options.presentations} presentations, one seed, "
        f"{options.evaluations} evaluations each; value: mean over {len(UNITS)} units of the best noise-free "
        "score of the last generation over the best of the references.",
        "",
        f"Units (reported nowhere else): {', '.join(UNITS)}.",
        "",
        "| optimizer | noise | start | best | setting |",
        "|---|---|---|---|---|",
    ]
    for optimizer in [options.only] if options.only else OPTIMIZERS:
        for noisy in (False, True) if options.noisy is None else (options.noisy,):
            found = _tuned(optimizer, noisy, options)
            setting = ", ".join(
                f"{parameter.name} {value:g}"
                for parameter, value in zip(found.parameters, found.best.setting, strict=True)
            )
            noise = f"{SPIKES:g} spikes" if noisy else "none"
            values = f"{found.evaluations[0].value:.3f} | {found.best.value:.3f}"
            lines.append(f"| {optimizer} | {noise} | {values} | {setting} |")
            print(lines[-1], flush=True)
            name = f"tuning-{_case(optimizer, noisy)}"
            shutil.copy(tuning.table_of(found), options.out / f"{name}.csv")
            shutil.copy(tuning.draw(found), options.out / f"{name}.png")
    if not options.only and options.noisy is None:
        (options.out / "tuning.md").write_text("\n".join(lines) + "\n")


def _case(optimizer: str, noisy: bool) -> str:
    return f"{optimizer}-{'noisy' if noisy else 'clean'}"


def _tuned(optimizer: str, noisy: bool, options: argparse.Namespace) -> tuning.Tuning:
    start = hyperparameters("deepsim-fc6", optimizer, noisy=noisy)
    plan = xdream.Plan.make(
        name=_case(optimizer, noisy),
        targets=UNITS,
        generator=options.generator,
        optimizer={"name": optimizer, **start},
        presentations=options.presentations,
        references=options.references,
        noise_spikes=SPIKES if noisy else None,
        threads=options.threads,
        batch=80,
    )
    folder = options.out / "runs" / "tuning" / _case(optimizer, noisy)
    return tuning.tune(plan, folder, evaluations=options.evaluations)


if __name__ == "__main__":
    main()
