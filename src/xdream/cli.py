"""The command line: it parses, builds a plan, calls the loop, prints. Nothing else."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from xdream import doctor, loop, networks, report
from xdream.errors import BadInput, XDreamError
from xdream.generators import GENERATORS, encode
from xdream.networks import weights
from xdream.objectives import OBJECTIVES
from xdream.optimizers import OPTIMIZERS
from xdream.plan import INIT_FORMS, Plan
from xdream.progress import Bar
from xdream.store import Record
from xdream.subjects import KNOWN

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. The exit status: 0 done, 2 bad input, 3 the subject failed, 130 interrupted."""
    sys.path.insert(0, os.getcwd())  # modules of the user's own, as `python -m` finds them
    parser = _parser()
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: int = options.command(options)
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


# ------------------------------------------------------------------ commands


def _evolve(options: argparse.Namespace) -> int:
    plan = _plan(options)
    folder = Path(options.out) if options.out else loop.new_folder(plan.name)
    return _watched(lambda bar: loop.run(plan, folder, bar), folder, options)


def _resume(options: argparse.Namespace) -> int:
    folder = Path(options.folder)
    return _watched(lambda bar: loop.resume(folder, bar), folder, options)


def _watched(work: Callable[[Bar], Record], folder: Path, options: argparse.Namespace) -> int:
    """Run or resume with a progress bar, then show; an interruption says how to go on."""
    began = (folder / "experiment.sqlite").exists
    bar = Bar(hidden=options.quiet)
    try:
        with bar:
            record = work(bar)
    except KeyboardInterrupt:
        how = f"; go on with: xdream resume {shlex.quote(str(folder))}" if began() else ""
        print(f"xdream: interrupted{how}", file=sys.stderr)
        return INTERRUPTED
    except XDreamError as error:
        if error.exit_status == 3 and began():
            print(f"xdream: stopped; go on with: xdream resume {shlex.quote(str(folder))}", file=sys.stderr)
        raise
    return _print_record(record, options, figures=not options.no_figures)


def _show(options: argparse.Namespace) -> int:
    return _print_record(Record(options.folder), options, figures=True)


def _print_record(record: Record, options: argparse.Namespace, *, figures: bool) -> int:
    drawn = report.show(record) if figures else None
    summaries = report.summarise(record)
    print(report.table(summaries), file=sys.stderr if options.json else sys.stdout)
    if drawn is not None:
        for warning in drawn.warnings:
            print(f"note: {warning}", file=sys.stderr)
        print(f"figure: {drawn.main}", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        objects = [summary.as_json() for summary in summaries]
        whole = objects[0] if len(objects) == 1 else {"runs": objects, "seconds": record.seconds}
        print(json.dumps({"folder": str(record.folder)} | whole, allow_nan=False))
    return 0


def _encode(options: argparse.Namespace) -> int:
    import numpy as np
    import torch

    from xdream import references

    out = Path(options.out)
    if out.suffix != ".npz":
        raise BadInput(f"--out is '{out}'; give a name that ends in .npz")
    if not out.parent.is_dir():
        raise BadInput(f"folder '{out.parent}' does not exist; make it first")
    generator = GENERATORS.make(options.generator, **_settings(options.set, "generator"))
    images = references.load(options.images)
    shown = images.images(range(len(images)), generator.image_size_px)
    codes, losses = encode(generator, shown.to(torch.float32) / 255.0, options.steps)
    np.savez(
        out,
        codes=codes.cpu().numpy(),
        names=np.array(images.names),
        losses=losses.cpu().numpy(),
        generator=np.array(generator.name),
        notes=np.array(generator.warnings, dtype=str),
    )
    for name, loss in zip(images.names, losses.tolist(), strict=True):
        print(f"{name}: mean squared difference {loss:.5f}")
    for warning in generator.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{len(codes)} codes of {codes.shape[1]} numbers: {out}")
    if options.json:
        print(json.dumps({"out": str(out), "codes": len(codes), "losses": losses.tolist()}))
    return 0


def _weights(options: argparse.Namespace) -> int:
    if options.action == "get":
        for name in options.names or []:
            print(f"{name}: {weights.get(name)}")
        if not options.names:
            raise BadInput("weights get: name at least one; xdream weights list shows them")
        return 0
    rows = weights.listing()
    for row in rows:
        where = row.path or f"not found; source: {row.source}"
        print(f"{row.name:22} {where} (licence: {row.licence})")
    if options.json:
        found = [{"name": row.name, "path": row.path and str(row.path)} for row in rows]
        print(json.dumps({"weights": found}))
    return 0


def _list(options: argparse.Namespace) -> int:
    if options.layers:
        if options.kind != "targets":
            raise BadInput("--layers goes with: xdream list targets")
        infos = networks.layers(networks.load(options.layers))
        for info in infos:
            print(f"{info.name or '(output: leave LAYER empty)':40} {' x '.join(map(str, info.shape))}")
        listed: Any = [{"layer": info.name, "shape": info.shape} for info in infos]
    else:
        choices: dict[str, Callable[[], list[str]]] = {
            "generators": GENERATORS.names,
            "optimizers": OPTIMIZERS.names,
            "objectives": OBJECTIVES.names,
            "targets": lambda: [
                *networks.names(),
                *(f"known:{name}" for name in KNOWN.names()),
                "match:FILE",
                "match:FILE:NETWORK",
            ],
        }
        listed = choices[options.kind]()
        print("\n".join(listed))
    if options.json:
        print(json.dumps({"layers" if options.layers else options.kind: listed}))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    findings = doctor.examine()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.subject}: {finding.text}")
    if options.json:
        print(json.dumps({"findings": [vars(finding) for finding in findings]}))
    return 0 if all(finding.ok for finding in findings) else 2


# ------------------------------------------------------------------ a plan from flags

#: Flags of `evolve` that are keys of the plan under the same name.
_SAME = (
    *("presentations", "repeats", "noise_spikes", "noise_scale", "references", "init", "seed", "runs"),
    *("image_size_px", "name", "device", "references_per_generation"),
)


def _plan(options: argparse.Namespace) -> Plan:
    """A plan file, or the defaults, with the flags laid over it."""
    values: dict[str, Any] = {}
    if options.plan:
        values = Plan.read(options.plan).model_dump(exclude_unset=True)
    for key in _SAME:
        if getattr(options, key) is not None:
            values[key] = getattr(options, key)
    if options.target:
        values["targets"] = options.target
    if "targets" not in values:
        raise BadInput("no target: give --target NETWORK:LAYER:UNITS, or a plan file")
    for part in ("generator", "optimizer", "objective"):
        given = values.get(part, Plan.model_fields[part].default.model_dump())
        named = getattr(options, part)
        if named is not None:
            given = {"name": named}
        values[part] = {**given, **_settings(options.set, part)}
    if options.population is not None:
        values["optimizer"]["population"] = options.population
    if options.weights is not None:
        values["generator"]["weights"] = options.weights
    if options.random_weights:
        values["generator"]["random_weights"] = True
    return Plan.make(**values)


def _settings(pairs: Sequence[str], part: str) -> dict[str, Any]:
    """The options of one part among `--set PART.KEY=VALUE`; VALUE is read as TOML, else as text."""
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        at, dot, name = key.partition(".")
        if not equals or not dot or at not in ("generator", "optimizer", "objective") or not name:
            raise BadInput(
                f"--set '{pair}' is not PART.KEY=VALUE with PART generator, optimizer or objective"
            )
        if at == part:
            try:
                settings[name] = tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                settings[name] = text
    return settings


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

    evolve = _command(commands, "evolve", _evolve, "run an experiment")
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
    evolve.add_argument("--init", metavar="HOW", help=f"initial codes: {', '.join(INIT_FORMS)}")
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

    resume = _command(commands, "resume", _resume, "go on with an experiment that was interrupted")
    resume.add_argument("folder", help="the experiment's folder")
    _figure_flags(resume)

    show = _command(commands, "show", _show, "summary and figures of an experiment, running or finished")
    show.add_argument("folder", help="the experiment's folder")

    codes = _command(commands, "encode", _encode, "codes for images, to start from")
    codes.add_argument("images", help="a folder or zip file of images, or scikit-image")
    codes.add_argument("--generator", default="fourier", metavar="NAME", help="default fourier")
    codes.add_argument("--out", required=True, metavar="FILE.npz", help="where the codes go")
    codes.add_argument(
        "--steps", type=int, default=200, help="of gradient descent, where it is needed (default 200)"
    )
    _set_flag(codes)

    files = _command(commands, "weights", _weights, "weights files: which are found, fetch one")
    files.add_argument("action", choices=("list", "get"))
    files.add_argument("names", nargs="*", help="what to get")

    listing = _command(commands, "list", _list, "what there is, by name")
    listing.add_argument("kind", choices=("generators", "optimizers", "targets", "objectives"))
    listing.add_argument("--layers", metavar="NETWORK", help="with targets: the network's layers and shapes")

    _command(commands, "doctor", _doctor, "what is installed, which weights are found, does it work")
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    command.set_defaults(command=function)
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
