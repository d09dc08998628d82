"""The commands of experiments: `evolve`, `tune`, `end`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xdream.cli import flags, running
from xdream.cli.command import Subcommand
from xdream.cli.flags import FieldFlag
from xdream.errors import BadInput

if TYPE_CHECKING:
    from xdream.experiment.plan import Plan

#: The parts of a plan, which `--set PART.KEY=VALUE` knows.
PARTS = ("generator", "optimizer", "objective")
PART_FLAGS = {part: FieldFlag("NAME") for part in PARTS}
TARGET_FLAGS = {"targets": FieldFlag("NETWORK:LAYER:UNITS", name="target", each=True)}
#: The flags whose values are keys of the plan as they are.
KEY_FLAGS = {
    "presentations": FieldFlag("N"),
    "repeats": FieldFlag("N"),
    "noise_spikes": FieldFlag("N"),
    "noise_scale": FieldFlag("K"),
    "references": FieldFlag("PLACE"),
    "references_per_generation": FieldFlag("N"),
    "init": FieldFlag("HOW"),
    "seed": FieldFlag("N"),
    "runs": FieldFlag("N"),
    "image_size_px": FieldFlag("PX", name="image-size"),
    "plateau": FieldFlag("N"),
    "record": FieldFlag(),
    "keep_images": FieldFlag(),
    "device": FieldFlag("NAME"),
    "engine": FieldFlag("NAME"),
    "compiled": FieldFlag(),
    "precision": FieldFlag(),
    "name": FieldFlag("NAME"),
}
PLAN_FLAGS = TARGET_FLAGS | PART_FLAGS | KEY_FLAGS
#: Keys for plan files only.
PLAN_FILE_ONLY = (
    *("variants", "batch", "threads", "preprocessing"),
    *("rig", "display", "session", "responses"),
)


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    from xdream.experiment.plan import Plan

    parser.add_argument("plan", nargs="?", help="a plan file (TOML); flags replace its keys")
    flags.add(parser, Plan, PLAN_FLAGS)
    parser.add_argument("--population", type=int, metavar="N", help="images per generation")
    parser.add_argument("--weights", metavar="FILE", help="weights of the generator")
    parser.add_argument(
        "--random-weights", action="store_true", help="random weights for the generator: for timing only"
    )
    parser.add_argument("--out", metavar="FOLDER", help="default runs/DATE-TIME-NAME")
    flags.add_settings(parser)
    running.add_figure_flags(parser)


def plan_of(options: argparse.Namespace) -> Plan:
    """A plan file, or the defaults, with the flags laid over it. Raises BadInput."""
    from xdream.experiment.plan import Plan

    values: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if options.plan:
        file = Plan.read(options.plan)
        values, notes = file.model_dump(exclude_unset=True), file.notes
    values |= flags.given(options, [*TARGET_FLAGS, *KEY_FLAGS])
    if "targets" not in values:
        raise BadInput("no target: give --target NETWORK:LAYER:UNITS, or a plan file")
    for part in PARTS:
        named = getattr(options, part)
        if named is not None:
            values[part] = {"name": named}
        elif part not in values:
            values[part] = Plan.model_fields[part].default.model_dump()
    lay_over_parts(values, options.set)
    if options.population is not None:
        values["optimizer"]["population"] = options.population
    if options.weights is not None:
        values["generator"]["weights"] = options.weights
    if options.random_weights:
        values["generator"]["random_weights"] = True
    return Plan.make(**values).noted(() if options.optimizer else notes)


def lay_over_parts(values: dict[str, Any], settings: Sequence[str]) -> None:
    """`--set PART.KEY=VALUE` over the tables of the parts. Raises BadInput."""
    form = f"PART.KEY=VALUE with PART {', '.join(PARTS[:-1])} or {PARTS[-1]}"
    flags.lay_over(values, settings, form=form, parts=PARTS, depth=(1, 1))


# ------------------------------------------------------------------ evolve


def _evolve(options: argparse.Namespace) -> int:
    """Run an experiment."""
    from xdream.experiment import loop, opening
    from xdream.store import FILE_NAME

    plan = plan_of(options)
    with opening.folder_for(options.out, plan.name) as folder:
        begun = folder / FILE_NAME
        return running.watched(lambda bar: loop.run(plan, folder, bar), running.print_run, begun, options)


# ------------------------------------------------------------------ tune


def _tune_flags(parser: argparse.ArgumentParser) -> None:
    _plan_flags(parser)
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME",
        help="search only this hyperparameter; may be given several times (default: all that are numbers)",
    )
    parser.add_argument(
        "--steps",
        action="append",
        default=[],
        metavar="NAME=STEP,STEP",
        help="other steps for a hyperparameter, the widest first, e.g. mutation_size=2,1.4",
    )
    parser.add_argument(
        "--evaluations", type=int, metavar="N", help="stop after N settings (default: no limit)"
    )


def _tune(options: argparse.Namespace) -> int:
    """Search for hyperparameters."""
    from xdream.experiment import opening
    from xdream.studies import tuning

    plan = plan_of(options)
    only, steps, most = options.parameter, _steps(options.steps), options.evaluations
    with opening.folder_for(options.out, f"{plan.name}-tuning") as folder:
        return running.watched(
            lambda bar: tuning.tune(plan, folder, only, steps, most, bar),
            running.print_tuning,
            folder / tuning.FILE_NAME,
            options,
        )


def _steps(texts: Sequence[str]) -> dict[str, list[float]]:
    """`--steps NAME=2,1.4,1.2` as numbers."""
    steps = {}
    for text in texts:
        name, equals, values = text.partition("=")
        try:
            steps[name] = [float(value) for value in values.split(",")]
        except ValueError:
            equals = ""
        if not equals or not name:
            raise BadInput(f"--steps '{text}' is not NAME=STEP,STEP,… with numbers, the widest first")
    return steps


# ------------------------------------------------------------------ end


def _end_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the experiment, which may be running")
    parser.add_argument("runs", nargs="*", type=int, metavar="RUN", help="their numbers (default: all)")


def _end(options: argparse.Namespace) -> int:
    """Ask runs to end."""
    from xdream.experiment import stopping

    runs = stopping.ask_to_end(options.folder, options.runs)
    what = ", ".join(str(run) for run in runs) or "none: these runs have already ended"
    print(f"runs that end with the present generation, or with the next one shown: {what}")
    if options.json:
        print(json.dumps({"runs": runs}))
    return 0


COMMANDS = {
    "evolve": Subcommand(_plan_flags, _evolve),
    "tune": Subcommand(_tune_flags, _tune),
    "end": Subcommand(_end_flags, _end),
}
