"""The commands of sessions with a rig: `serve`, `simulate-rig`, and orders to a session."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
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
    parser.add_argument(
        "--watch", action="store_true", help="also show the session in the browser, as xdream watch does"
    )
    running.add_figure_flags(parser)


def _serve(options: argparse.Namespace) -> int:
    """Run a session with a rig."""
    from xdream.experiment import opening
    from xdream.experiment.plan import Plan
    from xdream.laboratory import session

    plan = Plan.read(options.plan)
    if options.name is not None:
        plan = Plan.make(**plan.model_dump(exclude_unset=True) | {"name": options.name}).noted(plan.notes)
    with (
        opening.folder_for(options.out, plan.name) as folder,
        running.stopping() as stop,
        contextlib.ExitStack() as page,
    ):

        def say_folder(folder: Path) -> None:  # once nothing is wrong with the plan any more
            print(f"session in {folder}; its state: xdream show {shlex.quote(str(folder))}", file=sys.stderr)
            if options.watch:
                _open_page(folder, page)

        return running.watched(
            lambda bar: session.serve(plan, folder, bar, stop=stop, begun=say_folder),
            running.print_run,
            folder / FILE_NAME,
            options,
            log=True,
        )


def _open_page(folder: Path, page: contextlib.ExitStack) -> None:
    """The live page beside a session, which goes on without one that cannot be had."""
    from xdream.dashboard import View

    try:
        view = page.enter_context(View(folder))
    except BadInput as error:
        print(f"note: the session is not shown in the browser: {error}", file=sys.stderr)
    else:
        print(f"watch: {view.url}", file=sys.stderr)


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
    _check_faults(options.fault)
    rates: dict[str, Any] = {"seed": options.seed}
    neurons: dict[str, Any] = {"seed": options.seed}
    flags.lay_over(rates, options.fault, flag="--fault", form="NAME=RATE")
    flags.lay_over(neurons, options.set)
    with running.stopping() as stop:
        blocks = simulation.rehearse(
            plan, options.target, neurons, rates, options.answers, stop=stop, tell=_tell_block, say=_say
        )
    print(f"{counted(blocks, 'block')} answered", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"blocks": blocks}))
    return 0


def _check_faults(settings: Sequence[str]) -> None:
    """Raises BadInput for a name that is no fault."""
    from xdream.laboratory.simulation.faults import Faults

    rates = [name for name in Faults.model_fields if name not in NO_RATES]
    for setting in settings:
        name = setting.partition("=")[0]
        if name not in (*rates, "disconnect_s"):
            raise BadInput(f"--fault '{setting}': there is no such fault; there are {', '.join(rates)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


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


def _yes_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask, where the terminal would be asked")


def _reject_flags(parser: argparse.ArgumentParser) -> None:
    _reason_flag(parser)
    _yes_flag(parser)
    _block_flags(parser)


def _accept_flags(parser: argparse.ArgumentParser) -> None:
    _yes_flag(parser)
    _block_flags(parser)


def _acknowledge_flags(parser: argparse.ArgumentParser) -> None:
    _session_flag(parser)
    parser.add_argument(
        "alarm", nargs="?", type=int, metavar="ID", help="the alarm's number, see status.json (default: all)"
    )


def _reject_block(options: argparse.Namespace) -> int:
    """A block was corrupted."""
    from xdream.experiment.plan import plan_of
    from xdream.laboratory.session import rejection_cost

    with contextlib.closing(_session_of(options)) as record:
        plan = plan_of(record).session
        assert plan is not None
        cost = rejection_cost(record, options.block, (plan.show_ms + plan.gap_ms) / 1000)
    _ask(f"{cost.text}.", options)
    more = ""
    if plan.undo_s:
        more = f"; it is held for {plan.undo_s:g} s: xdream take-back {shlex.quote(options.folder)}"
    return _order(options, "reject", f"{options.block} {options.reason}".rstrip(), more)


def _accept_block(options: argparse.Namespace) -> int:
    """What was put aside is true."""
    from xdream.store.ledger import Ledger

    with contextlib.closing(_session_of(options)) as record:
        record.check_block(options.block)
        row = Ledger(record).block(options.block)
        if row is not None and row.ending is not None:
            raise BadInput(
                f"block {options.block} is closed ({row.ending}); only answers to the open block are accepted"
            )
        aside = len({planned for planned, *_ in Ledger(record).put_aside(options.block)})
    if not aside:
        raise BadInput(f"nothing of block {options.block} was put aside that could be accepted")
    _ask(
        f"{counted(aside, 'response')} of block {options.block} that were put aside are used as they are.",
        options,
    )
    return _order(options, "accept", str(options.block))


def _take_back(options: argparse.Namespace) -> int:
    """The rejection that is held is none."""
    _session_of(options).close()
    return _order(options, "take-back", "")


def _acknowledge(options: argparse.Namespace) -> int:
    """Somebody has seen it."""
    _session_of(options).close()
    return _order(options, "acknowledge", "" if options.alarm is None else str(options.alarm))


def _pause_flags(parser: argparse.ArgumentParser) -> None:
    _reason_flag(parser)
    _session_flag(parser)


def _pause(options: argparse.Namespace) -> int:
    """Show nothing more for now."""
    _session_of(options).close()
    return _order(options, "pause", options.reason)


def _go_on(options: argparse.Namespace) -> int:
    """After a pause."""
    _session_of(options).close()
    return _order(options, "go-on", "")


def _session_of(options: argparse.Namespace) -> Record:
    """The session's record. Raises BadInput where there is none that an order could change."""
    record = Record(options.folder)
    try:
        if not record.is_session:
            raise BadInput(f"{options.folder} is not a session with a rig")
        if record.finished:
            raise BadInput(f"the session in {options.folder} is over; no order can change it any more")
    except BaseException:
        record.close()
        raise
    return record


def _ask(what: str, options: argparse.Namespace) -> None:
    """Say what an order costs, and ask. Raises BadInput when the answer is no, and where nobody is asked."""
    print(what, file=sys.stderr)
    if options.yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadInput("nothing was changed: there is no terminal to ask on; say --yes to have it done")
    print("Do it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadInput("nothing was changed")


def _order(options: argparse.Namespace, word: str, value: str, more: str = "") -> int:
    """Give an order and say whether the session has obeyed. more: what else there is to say when it has."""
    from xdream.laboratory.session import orders

    done = orders.obeyed(orders.give(options.folder, word, value))
    out = sys.stderr if options.json else sys.stdout
    if done:
        print(f"the session has obeyed{more}", file=out)
    else:
        print(
            "the session has not answered yet: it obeys when it has computed what it is about or, where "
            f"it is not running, is resumed{more}",
            file=out,
        )
    if options.json:
        print(json.dumps({"order": word, "value": value, "obeyed": done}))
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
    "take-back": Subcommand(_session_flag, _take_back),
    "accept-block": Subcommand(_accept_flags, _accept_block),
    "acknowledge": Subcommand(_acknowledge_flags, _acknowledge),
    "pause": Subcommand(_pause_flags, _pause),
    "go-on": Subcommand(_session_flag, _go_on),
    "rescore": Subcommand(_rescore_flags, _rescore),
}
