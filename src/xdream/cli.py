"""The command line: what may be typed, and how a command ends. What it does is in `commands.py`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

from xdream.errors import INTERRUPTED, XDreamError

INIT_HELP = (
    "initial codes: default, zeros, statistics:FILE, codes:FILE, images:FOLDER, references:best|middle|worst"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit status: 0 done, 2 bad input, 3 the subject failed, 130 interrupted."""
    sys.path.insert(0, os.getcwd())  # modules of the user's own, as `python -m` finds them
    parser = _parser()
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # Here, because torch comes with it: seconds in which a typing error should not be waited for, and
        # an interruption should end well too.
        from xdream.commands import COMMANDS

        status = COMMANDS[options.command](options)
    except XDreamError as error:
        print(f"xdream: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("xdream: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return status


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


# ------------------------------------------------------------------ the parser


class _OneLine(argparse.ArgumentParser):
    """Errors as one line, like all of the program's."""

    def error(self, message: str) -> NoReturn:
        """Print and end with status 2."""
        self.exit(2, f"xdream: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLine(prog="xdream", description="Evolve the image that a neuron likes best.")
    version = metadata.version("xdream")
    parser.add_argument("--version", action="version", version=f"xdream {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    evolve = _command(commands, "evolve", "run an experiment")
    evolve.add_argument("plan", nargs="?", help="a plan file (TOML); flags are laid over it")
    evolve.add_argument(
        "--target",
        action="append",
        metavar="NETWORK:LAYER:UNITS",
        help="what to drive, e.g. efficientnet-lite0:_fc:281; may be given several times",
    )
    evolve.add_argument("--generator", metavar="NAME", help="default fourier; see xdream list generators")
    evolve.add_argument("--optimizer", metavar="NAME", help="default genetic; see xdream list optimizers")
    evolve.add_argument("--objective", metavar="NAME", help="default mean; see xdream list objectives")
    evolve.add_argument("--presentations", type=int, metavar="N", help="budget of each run (default 10000)")
    evolve.add_argument("--population", type=int, metavar="N", help="images per generation")
    evolve.add_argument("--repeats", type=int, metavar="N", help="presentations of each image (default 1)")
    evolve.add_argument(
        "--noise-spikes",
        type=float,
        metavar="N",
        help="Poisson noise; the expected best reference gives N spikes",
    )
    evolve.add_argument(
        "--noise-scale", type=float, metavar="K", help="Poisson noise; K spikes per unit of activation"
    )
    evolve.add_argument(
        "--references", metavar="PLACE", help="natural images: a folder, a zip file, or scikit-image"
    )
    evolve.add_argument(
        "--references-per-generation",
        type=int,
        metavar="N",
        help="references interleaved in every generation (default 0)",
    )
    evolve.add_argument("--init", metavar="HOW", help=INIT_HELP)
    evolve.add_argument("--seed", type=int, metavar="N", help="seed of the first run (default 0)")
    evolve.add_argument("--runs", type=int, metavar="N", help="repeat each target, seeds seed … seed+N-1")
    evolve.add_argument(
        "--image-size", dest="image_size_px", type=int, metavar="PX", help="size at which images are shown"
    )
    evolve.add_argument("--weights", metavar="FILE", help="weights of the generator")
    evolve.add_argument(
        "--random-weights", action="store_true", help="a generator without weights: for timing only"
    )
    evolve.add_argument("--device", metavar="NAME", help="cpu (default), cuda, …")
    evolve.add_argument("--name", metavar="NAME", help="a word for the default folder's name")
    evolve.add_argument("--out", metavar="FOLDER", help="default runs/DATE-TIME-NAME")
    _set_flag(evolve)
    _figure_flags(evolve)

    resume = _command(commands, "resume", "go on with an experiment that was interrupted")
    resume.add_argument("folder", help="the experiment's folder")
    _figure_flags(resume)

    show = _command(commands, "show", "summary and figures of an experiment, running or finished")
    show.add_argument("folder", help="the experiment's folder")

    codes = _command(commands, "encode", "codes for images, to start from")
    codes.add_argument("images", help="a folder or zip file of images, or scikit-image")
    codes.add_argument("--generator", default="fourier", metavar="NAME", help="default fourier")
    codes.add_argument("--out", required=True, metavar="FILE.npz", help="where the codes go")
    codes.add_argument(
        "--steps", type=int, default=200, help="of gradient descent, where it is needed (default 200)"
    )
    _set_flag(codes)

    files = _command(commands, "weights", "weights files: which are found, fetch one")
    files.add_argument("action", choices=("list", "get"))
    files.add_argument("names", nargs="*", help="what to get")

    listing = _command(commands, "list", "what there is, by name")
    listing.add_argument("kind", choices=("generators", "optimizers", "targets", "objectives"))
    listing.add_argument("--layers", metavar="NETWORK", help="with targets: the network's layers and shapes")

    _command(commands, "doctor", "what is installed, which weights are found, does it work")
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    command.set_defaults(command=name)
    command.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    return command


def _set_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.KEY=VALUE",
        help="an option of a part, e.g. optimizer.mutation_rate=0.3 or generator.size_px=64",
    )


def _figure_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-figures", action="store_true", help="only the summary at the end")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


if __name__ == "__main__":
    sys.exit(main())
