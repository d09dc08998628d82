"""The command line: which commands there are, and how one ends. What they do is in modules by topic.

A command's module is imported when the command is chosen: `xdream --help` imports none of them, and one that
computes nothing does without PyTorch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from xdream.cli import surroundings
from xdream.cli.command import Subcommand
from xdream.errors import INTERRUPTED, XDreamError

#: Every command: the module beside this one that has it (in its COMMANDS), and one line of help.
COMMANDS = {
    "evolve": ("experiments", "run an experiment"),
    "serve": ("sessions", "run a session with a rig, as described in a plan file"),
    "simulate-rig": ("sessions", "rehearse a session: answer through its bridge with simulated neurons"),
    "tune": ("experiments", "search for the hyperparameters that work best for the targets of a plan"),
    "study": ("study_commands", "run a published experiment on networks of your choice"),
    "merge": ("study_commands", "merge shards, studies and tables into one table"),
    "resume": ("folders", "continue an experiment, session, tuning or study that was interrupted"),
    "show": ("folders", "summary and figures of an experiment, a tuning or a study, running or finished"),
    "watch": ("watching", "show an experiment, session, tuning or study in the browser, as it goes on"),
    "end": ("experiments", "end runs of an experiment before their budget is used up"),
    "reject-block": ("sessions", "a block of a session was corrupted: show it again, discard its answers"),
    "take-back": ("sessions", "take back the rejection of a block that is still held"),
    "accept-block": ("sessions", "use the answers that were put aside in the open block of a session"),
    "acknowledge": ("sessions", "remove an alarm that was seen from the list of a session"),
    "rescore": ("sessions", "compute the scores of a session again from its recordings"),
    "pause": ("sessions", "pause a session: show no further block for now"),
    "go-on": ("sessions", "continue a paused session"),
    "export": ("exporting", "write a record as CSV, Parquet, MATLAB, NWB or images"),
    "codes": ("codes", "write the codes of an experiment, as recorded or derived from its scores"),
    "encode": ("codes", "find codes whose images resemble given images, to start from them"),
    "train-generator": ("training", "train a generator of your own from images and a network"),
    "weights": ("tools", "list the known weights files, or download one"),
    "list": ("tools", "list the parts that there are, by name"),
    "doctor": ("tools", "check the installation and the weights, or what a session needs"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit status: 0 done, 2 bad input, 3 the subject failed, 130 interrupted."""
    surroundings.settle()
    sys.path.insert(0, os.getcwd())  # modules of the user's own, as `python -m` finds them
    try:  # from here on: the imports of a command's flags take their time, too
        signal.signal(signal.SIGTERM, _interrupt)
        options = _parser().parse_args(arguments)
        return _command(options.command).run(options)
    except XDreamError as error:
        print(f"xdream: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("xdream: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _command(name: str) -> Subcommand:
    module = importlib.import_module(f"xdream.cli.{COMMANDS[name][0]}")
    command: Subcommand = module.COMMANDS[name]
    return command


# ------------------------------------------------------------------ the parser


class _OneLine(argparse.ArgumentParser):
    """Errors as one line, like all of the program's."""

    def error(self, message: str) -> NoReturn:
        """Print and end with status 2."""
        self.exit(2, f"xdream: {message} (see {self.prog} --help)\n")


class _CommandParser(_OneLine):
    """The parser of one command, which gets its flags when the command is chosen."""

    name: str | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the flags first."""
        if self.name is not None:
            name, self.name = self.name, None
            _command(name).flags(self)
        return super().parse_known_args(args, namespace)


class _Version(argparse.Action):
    """Print the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print and end."""
        from importlib import metadata

        print(f"xdream {metadata.version('xdream')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _OneLine(prog="xdream", description="Evolve the image that a neuron likes best.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_CommandParser)
    for name, (_, text) in COMMANDS.items():
        description = f"{text[0].upper()}{text[1:]}."
        command = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
        command.name = name
        command.set_defaults(command=name)
        command.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
