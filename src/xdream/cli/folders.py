"""The commands that take a folder of any kind: `resume`, `show`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from xdream.cli import running
from xdream.cli.command import Subcommand
from xdream.store import FILE_NAME, Record
from xdream.studies import file_names


def _resume_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the experiment, session, tuning or study")
    running.add_figure_flags(parser)


def _resume(options: argparse.Namespace) -> int:
    """Go on with what a folder holds."""
    folder = Path(options.folder)
    if file_names.is_study(folder):
        from xdream.cli import study_commands

        return study_commands.resume(folder, options)
    if (folder / file_names.TUNING).exists():
        from xdream.studies import tuning

        begun = folder / file_names.TUNING
        return running.watched(lambda bar: tuning.resume(folder, bar), running.print_tuning, begun, options)
    with contextlib.closing(Record(folder)) as record:
        is_session = record.is_session
    begun = folder / FILE_NAME
    if is_session:
        from xdream.laboratory import session

        with running.stopping() as stop:
            return running.watched(
                lambda bar: session.resume(folder, bar, stop=stop),
                running.print_run,
                begun,
                options,
                log=True,
            )
    from xdream.experiment import loop

    return running.watched(lambda bar: loop.resume(folder, bar), running.print_run, begun, options)


def _show_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the experiment, tuning or study; or a table of studies")
    parser.add_argument(
        "runs",
        nargs="*",
        type=int,
        metavar="RUN",
        help="of several runs, also the figures of these (default: only the figure of all runs together)",
    )
    parser.add_argument("--no-figures", action="store_true", help="only the summary")
    parser.add_argument(
        "--format", choices=("png", "pdf", "svg"), default="png", help="of the figures; images stay PNG"
    )
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        type=int,
        metavar="N",
        help="the same as RUN; may be given several times",
    )


def _show(options: argparse.Namespace) -> int:
    """Summary and figures of what a folder holds."""
    folder = Path(options.folder)
    if file_names.is_study(folder):
        from xdream.cli import study_commands

        return study_commands.show(folder, options)
    if (folder / file_names.TUNING).exists():
        from xdream.studies import tuning

        return running.print_tuning(tuning.read(options.folder), options)
    with contextlib.closing(Record(options.folder)) as record:
        return running.print_run(record, options, runs=[*options.runs, *options.run])


COMMANDS = {
    "resume": Subcommand(_resume_flags, _resume),
    "show": Subcommand(_show_flags, _show),
}
