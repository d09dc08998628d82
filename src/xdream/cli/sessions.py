"""The commands of sessions with a rig: `serve`, `simulate-rig`, and orders to a session."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from xdream.cli import flags, running
from xdream.cli.command import Subcommand
from xdream.cli.flags import FieldFlag
from xdream.errors import BadInput
from xdream.store import FILE_NAME, Record
from xdream.text import counted

#: Keys of the faults of `simulate-rig` that are no rates.
NO_RATES = ("disconnect_s", "seed")


# ------------------------------------------------------------------ serve


def _serve_flags(parser: argparse.ArgumentParser) -> None:
    from xdream.experiment.plan import Plan

    parser.add_argument("plan", help="a plan file (TOML) with a table [rig]")
    flags.add(parser, Plan, {"name": FieldFlag("NAME")})
    parser.add_argument("--out", metavar="FOLDER", help="default runs/DATE-TIME-NAME")
    running.add_figure_flags(parser)


def _serve(options: argparse.Namespace) -> int:
    """Run a session with a rig."""
    from xdream.experiment import opening
    from xdream.experiment.plan import Plan
    from xdream.laboratory import session

    plan = Plan.read(options.plan)
    if options.name is not None:
        plan = Plan.make(**plan.model_dump(exclude_unset=True) | {"name": options.name}).noted(plan.notes)
    with opening.folder_for(options.out, plan.name) as folder, running.stopping() as stop:
        print(f"session in {folder}; its state: xdream show {shlex.quote(str(folder))}", file=sys.stderr)
        return running.watched(
            lambda bar: session.serve(plan, folder, bar, stop=stop),
            running.print_run,
            folder / FILE_NAME,
            options,
        )


# ------------------------------------------------------------------ simulate-rig


def _simulate_rig_flags(parser: argparse.ArgumentParser) -> None:
    from xdream.laboratory.simulation.faults import Faults

    rates = ", ".join(name for name in Faults.model_fields if name not in NO_RATES)
    parser.add_argument("plan", help="the plan file of the session")
    parser.add_argument(
        "--target",
        default="efficientnet-lite0:_fc:0-N",
        metavar="NETWORK:LAYER:UNITS",
        help="the neurons, a unit for each channel (default: the first ones of EfficientNet-Lite0's output)",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=RATE",
        help=f"a fault, and how often it happens (0 to 1): {rates}",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of spikes and faults (default 0)")
    parser.add_argument(
        "--answers",
        choices=("mat", "mat5", "h5", "npz", "csv"),
        default="mat",
        help="format of the answers in the folder's original protocol (default mat, v7.3)",
    )
    flags.add_settings(
        parser,
        "KEY=VALUE",
        "a property of the neurons, e.g. rate_hz=50, baseline_hz=10, adaptation=0.2",
    )


def _simulate_rig(options: argparse.Namespace) -> int:
    """Answer a session."""
    from xdream.experiment.plan import Plan
    from xdream.laboratory import simulation

    plan = Plan.read(options.plan)
    rates: dict[str, Any] = {"seed": options.seed}
    neurons: dict[str, Any] = {"seed": options.seed}
    flags.lay_over(rates, options.fault, flag="--fault", form="NAME=RATE")
    flags.lay_over(neurons, options.set)
    with running.stopping() as stop:
        blocks = simulation.rehearse(
            plan, options.target, neurons, rates, options.answers, stop=stop, tell=_tell_block
        )
    print(f"{counted(blocks, 'block')} answered", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"blocks": blocks}))
    return 0


def _tell_block(number: int, presentations: int) -> None:
    print(f"block {number}: {counted(presentations, 'presentation')}", file=sys.stderr)


# ------------------------------------------------------------------ orders


def _block_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the session, running or not")
    parser.add_argument("block", type=int, help="the block's number")


def _reason_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")


def _session_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the session")


def _reject_flags(parser: argparse.ArgumentParser) -> None:
    _reason_flag(parser)
    _block_flags(parser)


def _reject_block(options: argparse.Namespace) -> int:
    """A block was corrupted."""
    return _order(options, "reject", f"{options.block} {options.reason}".rstrip())


def _accept_block(options: argparse.Namespace) -> int:
    """What was put aside is true."""
    return _order(options, "accept", str(options.block))


def _pause_flags(parser: argparse.ArgumentParser) -> None:
    _reason_flag(parser)
    _session_flag(parser)


def _pause(options: argparse.Namespace) -> int:
    """Show nothing more for now."""
    return _order(options, "pause", options.reason)


def _go_on(options: argparse.Namespace) -> int:
    """After a pause."""
    return _order(options, "go-on", "")


def _order(options: argparse.Namespace, word: str, value: str) -> int:
    from xdream.laboratory.session import orders

    with contextlib.closing(Record(options.folder)) as record:
        if not record.is_session:
            raise BadInput(f"{options.folder} is not a session with a rig")
        if record.finished:
            raise BadInput(f"the session in {options.folder} is over; no order can change it any more")
        if word in ("reject", "accept"):
            record.check_block(options.block)
    orders.give(options.folder, word, value)
    print("a running session carries it out within a second; one that is not running, when it is resumed")
    if options.json:
        print(json.dumps({"order": word, "value": value}))
    return 0


# ------------------------------------------------------------------ rescore


def _rescore_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the session, running or not")
    parser.add_argument("--out", metavar="FILE.csv", help="a table with every generation and its scores")
    flags.add_settings(parser, text="a setting, e.g. responses.windows_ms=[[50,150]] or objective.name=mean")


def _rescore(options: argparse.Namespace) -> int:
    """A session's scores made anew."""
    from xdream.laboratory.session import rescoring

    changes: dict[str, Any] = {}
    form = "responses.KEY=VALUE or objective.KEY=VALUE"
    flags.lay_over(changes, options.set, form=form, depth=(1, 8))
    found = rescoring.rescore(options.folder, changes)
    out = sys.stderr if options.json else sys.stdout
    print(rescoring.said(found), file=out)
    if options.out:
        rescoring.write_table(found, Path(options.out))
        print(f"table: {options.out}", file=out)
    if options.json:
        rows = [{"run": one.run, "generation": one.generation + 1} | one.change.as_json() for one in found]
        print(json.dumps({"generations": rows}, allow_nan=False))
    return 0


COMMANDS = {
    "serve": Subcommand(_serve_flags, _serve),
    "simulate-rig": Subcommand(_simulate_rig_flags, _simulate_rig),
    "reject-block": Subcommand(_reject_flags, _reject_block),
    "accept-block": Subcommand(_block_flags, _accept_block),
    "pause": Subcommand(_pause_flags, _pause),
    "go-on": Subcommand(_session_flag, _go_on),
    "rescore": Subcommand(_rescore_flags, _rescore),
}
