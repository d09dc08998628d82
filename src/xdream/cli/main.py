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

#: Of `xdream.laboratory.simulation.faults`, which brings torch with it.
FAULTS = (
    *("dropped", "duplicated", "nan", "inf", "unknown_id", "late", "all_zero", "wrong_shape"),
    *(
        "stale_session",
        "stale_block",
        "truncated",
        "zero_tail",
        "reordered",
        "partial",
        "again",
        "disconnect",
    ),
)
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
        from xdream.cli.commands import COMMANDS

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
    _plan_flags(evolve)

    serve = _command(commands, "serve", "run a session with a rig, as a plan file has it")
    serve.add_argument("plan", help="a plan file (TOML) with a table [rig]")
    serve.add_argument("--name", metavar="NAME", help="a word for the default folder's name")
    serve.add_argument("--out", metavar="FOLDER", help="default runs/DATE-TIME-NAME")
    _figure_flags(serve)

    rig = _command(commands, "simulate-rig", "answer a session through its bridge, as a rehearsal")
    rig.add_argument("plan", help="the plan file of the session")
    rig.add_argument(
        "--target",
        default="efficientnet-lite0:_fc:0-N",
        metavar="NETWORK:LAYER:UNITS",
        help="the neurons, a unit for each channel (default: the first ones of EfficientNet-Lite0's output)",
    )
    rig.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=RATE",
        help="what goes wrong, and how often (0 to 1): " + ", ".join(FAULTS),
    )
    rig.add_argument("--seed", type=int, default=0, metavar="N", help="of spikes and faults (default 0)")
    rig.add_argument(
        "--answers",
        choices=("mat", "mat5", "h5", "npz", "csv"),
        default="mat",
        help="files of the folder's original protocol (default mat, v7.3)",
    )
    _set_flag(rig, "KEY=VALUE", "how the neurons are, e.g. rate_hz=50, baseline_hz=10, adaptation=0.2")

    tune = _command(commands, "tune", "search for the hyperparameters with which a plan's targets do best")
    _plan_flags(tune)
    tune.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME",
        help="search only this hyperparameter; may be given several times (default: all that are numbers)",
    )
    tune.add_argument(
        "--steps",
        action="append",
        default=[],
        metavar="NAME=STEP,STEP",
        help="other steps for a hyperparameter, the widest first, e.g. mutation_size=2,1.4",
    )
    tune.add_argument("--evaluations", type=int, metavar="N", help="end after N settings (default: no limit)")

    _study_commands(commands)

    text = "go on with an experiment, session, tuning or study that was interrupted"
    resume = _command(commands, "resume", text)
    resume.add_argument("folder", help="the folder of the experiment, session, tuning or study")
    _figure_flags(resume)

    text = "summary and figures of an experiment, a tuning or a study, running or finished"
    show = _command(commands, "show", text)
    show.add_argument("folder", help="the folder of the experiment, tuning or study; or a table of studies")
    show.add_argument("--no-figures", action="store_true", help="only the summary")

    end = _command(commands, "end", "have runs of an experiment end before their budget")
    end.add_argument("folder", help="the folder of the experiment, which may be running")
    end.add_argument("runs", nargs="*", type=int, metavar="RUN", help="their numbers (default: all)")

    _session_commands(commands)

    derived = _command(
        commands, "codes", "the codes of an experiment, as recorded or derived from its scores"
    )
    derived.add_argument("folder", help="the folder of the experiment")
    derived.add_argument("--run", type=int, default=0, metavar="N", help="which run (default 0)")
    derived.add_argument("--generation", type=int, metavar="N", help="only this one, from 1 (default: all)")
    derived.add_argument("--out", required=True, metavar="FILE.npz", help="where the codes go")

    codes = _command(commands, "encode", "codes for images, to start from")
    codes.add_argument("images", help="a folder or zip file of images, or scikit-image")
    codes.add_argument("--generator", default="natural-v1", metavar="NAME", help="default natural-v1")
    codes.add_argument("--out", required=True, metavar="FILE.npz", help="where the codes go")
    codes.add_argument(
        "--steps", type=int, default=200, help="of gradient descent, where it is needed (default 200)"
    )
    codes.add_argument(
        "--method",
        choices=("ivt", "opt"),
        help="ivt: what the generator says itself (default where it does); opt: gradient descent",
    )
    codes.add_argument(
        "--features",
        metavar="NETWORK:LAYER",
        help="the codes whose images are near in this layer, instead of in pixels (by opt)",
    )
    _set_flag(codes)

    _train_command(commands)

    files = _command(commands, "weights", "weights files: which are found, fetch one")
    files.add_argument("action", choices=("list", "get"))
    files.add_argument("names", nargs="*", help="what to get")

    listing = _command(commands, "list", "what there is, by name")
    listing.add_argument(
        "kind", choices=("generators", "optimizers", "targets", "objectives", "bridges", "studies")
    )
    listing.add_argument("--layers", metavar="NETWORK", help="with targets: the network's layers and shapes")

    doctor = _command(
        commands, "doctor", "what is installed, which weights are found, does it work; is a session ready"
    )
    doctor.add_argument("plan", nargs="?", help="a plan file with a rig: check what its session needs")
    return parser


def _study_commands(commands: Any) -> None:
    study = _command(commands, "study", "run a published experiment on networks of your own")
    study.add_argument("study", help="its name (xdream list studies), or a plan file (TOML) with its keys")
    study.add_argument(
        "--scale", choices=("tiny", "small", "paper"), help="how much: tiny (default) takes minutes"
    )
    study.add_argument("--networks", nargs="+", metavar="NETWORK", help="as in targets")
    study.add_argument(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="early, middle, late, output; a layer's name; or DEPTH=LAYER (default: those of the study)",
    )
    study.add_argument(
        "--units", type=_units, metavar="N|LIST", help="how many per layer, or which: 3,7,20-29 (one: 3,)"
    )
    study.add_argument("--seeds", type=int, metavar="N", help="repetitions of each evolution")
    study.add_argument("--presentations", type=int, metavar="N", help="of each evolution")
    study.add_argument(
        "--generators", nargs="+", metavar="NAME", help="default natural-v1, or what the study compares"
    )
    study.add_argument(
        "--references", metavar="PLACE", help="natural images: folder, zip file, scikit-image (default)"
    )
    study.add_argument(
        "--inverse",
        metavar="NETWORK:LAYER",
        help="the layer that the generator was trained to invert, if it says no codes itself",
    )
    study.add_argument("--image-size", dest="image_size_px", type=int, metavar="PX", help="of all images")
    study.add_argument("--seed", type=int, metavar="N", help="the first seed (default 0)")
    study.add_argument("--device", metavar="NAME", help="cpu (default), cuda, …")
    study.add_argument("--threads", type=int, metavar="N", help="of the CPU for one shard")
    study.add_argument("--batch", type=int, metavar="N", help="most images at a time (default: what fits)")
    study.add_argument(
        "--out", metavar="FOLDER", help="default studies/NAME-SCALE; one that is there goes on"
    )
    how = study.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="say the shards and what they cost, run nothing")
    how.add_argument("--shard", metavar="i/N", help="only part i of N, from 1, e.g. of an array of jobs")
    how.add_argument(
        "--cluster", metavar="WHERE", help="local:N, dask:ADDRESS, slurm:CONFIG, pbs:CONFIG, lsf:CONFIG"
    )
    study.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="what a shard needs of a worker, e.g. GPU=1 or MEMORY=8e9; may be given several times",
    )
    study.add_argument("--quiet", action="store_true", help="no progress bar")
    merge = _command(commands, "merge", "gather shards, studies and tables into one table")
    merge.add_argument(
        "places", nargs="+", metavar="PLACE", help="folders of studies, shards or experiments; tables"
    )
    merge.add_argument("--out", required=True, metavar="TABLE", help="a name that ends in .csv or .parquet")
    merge.add_argument("--partial", action="store_true", help="also of studies that are not finished")


def _units(text: str) -> int | str:
    """A number is how many; anything else, a list of units: `3,` is the unit 3."""
    return int(text) if text.isdecimal() else text.rstrip(",")


def _session_commands(commands: Any) -> None:
    reject = _command(
        commands, "reject-block", "a session's block was corrupted: show it again, tell nothing of it"
    )
    reject.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    accept = _command(commands, "accept-block", "take what was put aside of a session's open block")
    for command in (reject, accept):
        command.add_argument("folder", help="the folder of the session, running or not")
        command.add_argument("block", type=int, help="the block's number")
    rescore = _command(commands, "rescore", "a session's scores made anew from its recordings")
    rescore.add_argument("folder", help="the folder of the session, running or not")
    rescore.add_argument("--out", metavar="FILE.csv", help="a table with every generation and its scores")
    _set_flag(rescore, text="a setting, e.g. responses.windows_ms=[[50,150]] or objective.name=mean")
    pause = _command(commands, "pause", "have a session show nothing more for now")
    pause.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    go_on = _command(commands, "go-on", "have a paused session go on")
    for command in (pause, go_on):
        command.add_argument("folder", help="the folder of the session")


def _train_command(commands: Any) -> None:
    train = _command(commands, "train-generator", "train a generator of your own, from images and a network")
    train.add_argument("recipe", nargs="?", help="a recipe file (TOML); flags are laid over it")
    train.add_argument(
        "--images",
        action="append",
        metavar="PLACE",
        help="a folder or zip file of images to train with; may be given several times",
    )
    train.add_argument(
        "--validation", action="append", metavar="PLACE", help="the same, of images that are only measured"
    )
    train.add_argument("--network", metavar="NAME", help="the encoder (default efficientnet-lite0)")
    train.add_argument("--layer", metavar="LAYER", help="its layer that the generator inverts")
    train.add_argument("--dimensions", type=int, metavar="N", help="numbers of a code (default 256)")
    train.add_argument("--image-size", dest="image_size_px", type=int, metavar="PX", help="16 to 256")
    train.add_argument("--batch", type=int, metavar="N", help="images in one step (default 16)")
    train.add_argument("--steps", type=int, metavar="N", help="of training (default 12000)")
    train.add_argument("--seed", type=int, metavar="N", help="of weights, order and draws (default 0)")
    train.add_argument("--device", metavar="NAME", help="cpu (default), cuda, …")
    train.add_argument("--precision", choices=("float32", "bfloat16"), help="bfloat16: quick on a GPU")
    train.add_argument("--name", metavar="NAME", help="of the generator")
    train.add_argument(
        "--out", metavar="FOLDER", help="a new folder for everything (default generators/NAME)"
    )
    train.add_argument("--resume", metavar="FOLDER", help="go on with a training that was interrupted")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    _set_flag(train, "KEY=VALUE", "any other key of a recipe, e.g. grid=2 or losses.adversarial=0.2")


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    command.set_defaults(command=name)
    command.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    return command


def _plan_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("plan", nargs="?", help="a plan file (TOML); flags are laid over it")
    command.add_argument(
        "--target",
        action="append",
        metavar="NETWORK:LAYER:UNITS",
        help="what to drive, e.g. efficientnet-lite0:_fc:281; may be given several times",
    )
    command.add_argument("--generator", metavar="NAME", help="default natural-v1; see xdream list generators")
    command.add_argument("--optimizer", metavar="NAME", help="default genetic; see xdream list optimizers")
    command.add_argument("--objective", metavar="NAME", help="default mean; see xdream list objectives")
    command.add_argument("--presentations", type=int, metavar="N", help="budget of each run (default 10000)")
    command.add_argument("--population", type=int, metavar="N", help="images per generation")
    command.add_argument("--repeats", type=int, metavar="N", help="presentations of each image (default 1)")
    command.add_argument(
        "--noise-spikes",
        type=float,
        metavar="N",
        help="Poisson noise; the expected best reference gives N spikes",
    )
    command.add_argument(
        "--noise-scale", type=float, metavar="K", help="Poisson noise; K spikes per unit of activation"
    )
    command.add_argument(
        "--references", metavar="PLACE", help="natural images: a folder, a zip file, or scikit-image"
    )
    command.add_argument(
        "--references-per-generation",
        type=int,
        metavar="N",
        help="references interleaved in every generation (default 0)",
    )
    command.add_argument("--init", metavar="HOW", help=INIT_HELP)
    command.add_argument("--seed", type=int, metavar="N", help="seed of the first run (default 0)")
    command.add_argument("--runs", type=int, metavar="N", help="repeat each target, seeds seed … seed+N-1")
    command.add_argument(
        "--image-size", dest="image_size_px", type=int, metavar="PX", help="size at which images are shown"
    )
    command.add_argument("--weights", metavar="FILE", help="weights of the generator")
    command.add_argument(
        "--random-weights", action="store_true", help="a generator without weights: for timing only"
    )
    command.add_argument(
        "--plateau", type=int, metavar="N", help="a run ends after N generations without a better mean score"
    )
    command.add_argument(
        "--record", choices=("everything", "scores"), help="scores: a small record, for large studies"
    )
    command.add_argument("--device", metavar="NAME", help="cpu (default), cuda, …")
    command.add_argument(
        "--compiled",
        action=argparse.BooleanOptionalAction,
        help="networks through the compiler of PyTorch (default: when there are images enough)",
    )
    command.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), help="default float32")
    command.add_argument("--name", metavar="NAME", help="a word for the default folder's name")
    command.add_argument("--out", metavar="FOLDER", help="default runs/DATE-TIME-NAME")
    _set_flag(command)
    _figure_flags(command)


def _set_flag(
    command: argparse.ArgumentParser,
    metavar: str = "PART.KEY=VALUE",
    text: str = "an option of a part, e.g. optimizer.mutation_rate=0.3 or generator.size_px=64",
) -> None:
    command.add_argument("--set", action="append", default=[], metavar=metavar, help=text)


def _figure_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-figures", action="store_true", help="only the summary at the end")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


if __name__ == "__main__":
    sys.exit(main())
