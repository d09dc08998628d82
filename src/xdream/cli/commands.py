"""What each command of the command line does: it builds a plan, calls the loop, prints."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shlex
import signal
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from xdream import networks, report, studies, training
from xdream.cli import doctor, study_commands
from xdream.cli.progress import Bar
from xdream.errors import INTERRUPTED, BadInput, Interrupted, XDreamError
from xdream.experiment import loop, opening, replay, stopping
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS, encode, layer_features, learned
from xdream.images import references
from xdream.laboratory import session, simulation
from xdream.laboratory.rigs import BRIDGES
from xdream.laboratory.session import rescoring
from xdream.networks import weights
from xdream.optimizers import OPTIMIZERS
from xdream.scoring.objectives import OBJECTIVES
from xdream.store import FILE_NAME, Record
from xdream.studies import tuning
from xdream.subjects import KNOWN
from xdream.training import Recipe

T = TypeVar("T")
#: What happened in a session last is shown with its summary.
MOST_EVENTS = 12
#: Not worth a line there.
USUAL_EVENTS = ("lease", "again")


def _evolve(options: argparse.Namespace) -> int:
    """Run an experiment."""
    plan = _plan(options)
    folder = Path(options.out) if options.out else opening.new_folder(plan.name)
    return _watched(lambda bar: loop.run(plan, folder, bar), _print_run, folder / FILE_NAME, options)


def _tune(options: argparse.Namespace) -> int:
    """Search for hyperparameters."""
    plan = _plan(options)
    folder = Path(options.out) if options.out else opening.new_folder(f"{plan.name}-tuning")
    only, steps, most = options.parameter, _steps(options.steps), options.evaluations
    return _watched(
        lambda bar: tuning.tune(plan, folder, only, steps, most, bar),
        _print_tuning,
        folder / tuning.FILE_NAME,
        options,
    )


def _resume(options: argparse.Namespace) -> int:
    """Go on with an experiment or a tuning."""
    folder = Path(options.folder)
    if study_commands.is_study(folder):
        return study_commands.resume(folder, options)
    if (folder / tuning.FILE_NAME).exists():
        begun = folder / tuning.FILE_NAME
        return _watched(lambda bar: tuning.resume(folder, bar), _print_tuning, begun, options)
    with contextlib.closing(Record(folder)) as record:
        is_session = record.is_session
    if is_session:
        with _stopping() as stop:
            return _watched(
                lambda bar: session.resume(folder, bar, stop=stop), _print_run, folder / FILE_NAME, options
            )
    return _watched(lambda bar: loop.resume(folder, bar), _print_run, folder / FILE_NAME, options)


def _serve(options: argparse.Namespace) -> int:
    """Run a session with a rig."""
    plan = Plan.read(options.plan)
    if options.name is not None:
        plan = Plan.make(**plan.model_dump(exclude_unset=True) | {"name": options.name})
    folder = Path(options.out) if options.out else opening.new_folder(plan.name)
    print(f"session in {folder}; how it stands: xdream show {shlex.quote(str(folder))}", file=sys.stderr)
    with _stopping() as stop:
        return _watched(
            lambda bar: session.serve(plan, folder, bar, stop=stop), _print_run, folder / FILE_NAME, options
        )


def _simulate_rig(options: argparse.Namespace) -> int:
    """Answer a session."""
    plan = Plan.read(options.plan)
    rates: dict[str, Any] = {"seed": options.seed}
    neurons: dict[str, Any] = {"seed": options.seed}
    for pair in options.fault:
        _lay_over(rates, pair)
    for pair in options.set:
        _lay_over(neurons, pair)
    with _stopping() as stop:
        blocks = simulation.rehearse(
            plan, options.target, neurons, rates, options.answers, stop=stop, tell=_tell_block
        )
    print(f"{blocks} blocks answered", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"blocks": blocks}))
    return 0


def _tell_block(number: int, presentations: int) -> None:
    print(f"block {number}: {presentations} presentations", file=sys.stderr)


@contextlib.contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came: the commit under way is finished. A second one ends at once.

    A signal that is ignored (nohup, the background of a shell) stays ignored.
    """
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    taken = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in taken}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reject_block(options: argparse.Namespace) -> int:
    """A block was corrupted."""
    return _order(options, "reject", f"{options.block} {options.reason}".rstrip())


def _accept_block(options: argparse.Namespace) -> int:
    """What was put aside is true."""
    return _order(options, "accept", str(options.block))


def _rescore(options: argparse.Namespace) -> int:
    """A session's scores made anew."""
    changes: dict[str, Any] = {}
    for pair in options.set:
        if "." not in pair.partition("=")[0]:
            raise BadInput(f"--set '{pair}' is not responses.KEY=VALUE or objective.KEY=VALUE")
        _lay_over(changes, pair, deepest=8)
    found = rescoring.rescore(options.folder, changes)
    print(rescoring.said(found), file=sys.stderr if options.json else sys.stdout)
    if options.out:
        rescoring.write_table(found, Path(options.out))
        print(f"table: {options.out}", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        rows = [{"run": one.run, "generation": one.generation + 1} | one.change.as_json() for one in found]
        print(json.dumps({"generations": rows}, allow_nan=False))
    return 0


def _pause(options: argparse.Namespace) -> int:
    """Show nothing more for now."""
    return _order(options, "pause", options.reason)


def _go_on(options: argparse.Namespace) -> int:
    """After a pause."""
    return _order(options, "go-on", "")


def _order(options: argparse.Namespace, word: str, value: str) -> int:
    with contextlib.closing(Record(options.folder)) as record:
        if not record.is_session:
            raise BadInput(f"{options.folder} is no session with a rig")
        if record.finished:
            raise BadInput(
                f"the session in {options.folder} is over; nothing of it is shown or told any more"
            )
        if word in ("reject", "accept"):
            record.check_block(options.block)
    session.give(options.folder, word, value)
    print("the session takes it up within a second; one that is not running, when it is resumed")
    if options.json:
        print(json.dumps({"order": word, "value": value}))
    return 0


def _watched(
    work: Callable[[Bar], T],
    show: Callable[[T, argparse.Namespace], int],
    begun: Path,
    options: argparse.Namespace,
    again: str = "xdream resume",
) -> int:
    """Run or resume with a progress bar, then show; an interruption says how to go on.

    begun: the file without which there is nothing to go on with. again: the command that goes on with it.
    """
    bar = Bar(hidden=options.quiet)
    go_on = f"; go on with: {again} {shlex.quote(str(begun.parent))}"
    try:
        with bar:
            found = work(bar)
    except (KeyboardInterrupt, Interrupted):
        print(f"xdream: interrupted{go_on if begun.exists() else ''}", file=sys.stderr)
        return INTERRUPTED
    except XDreamError as error:
        if error.exit_status == 3 and begun.exists():
            print(f"xdream: stopped{go_on}", file=sys.stderr)
        raise
    return show(found, options)


def _print_run(record: Record, options: argparse.Namespace) -> int:
    return _print_record(record, options, figures=not options.no_figures)


def _print_tuning(found: tuning.Tuning, options: argparse.Namespace) -> int:
    out = sys.stderr if options.json else sys.stdout
    print(tuning.said(found), file=out)
    print(f"table: {tuning.table_of(found)}", file=out)
    if not getattr(options, "no_figures", False):  # `show` has no such flag
        print(f"figure: {tuning.draw(found)}", file=out)
    if options.json:
        print(json.dumps(tuning.as_json(found), allow_nan=False))
    return 0


def _show(options: argparse.Namespace) -> int:
    """Summary and figures of an experiment or a tuning."""
    if study_commands.is_study(Path(options.folder)):
        return study_commands.show(Path(options.folder), options)
    if (Path(options.folder) / tuning.FILE_NAME).exists():
        return _print_tuning(tuning.read(options.folder), options)
    return _print_record(Record(options.folder), options, figures=not options.no_figures)


def _print_record(record: Record, options: argparse.Namespace, *, figures: bool) -> int:
    drawn = report.show(record) if figures else None
    summaries = report.summarise(record)
    out = sys.stderr if options.json else sys.stdout
    print(report.table(summaries), file=out)
    events = [event for event in record.events() if event.kind not in USUAL_EVENTS]
    for event in events[-MOST_EVENTS:]:
        where = "" if event.generation is None else f" generation {event.generation + 1}:"
        print(f"{event.utc[:19]}{where} {event.kind}: {event.text}", file=out)
    if drawn is not None:
        for warning in drawn.warnings:
            print(f"note: {warning}", file=sys.stderr)
        print(f"figure: {drawn.main}", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        objects = [summary.as_json() for summary in summaries]
        whole = objects[0] if len(objects) == 1 else {"runs": objects, "seconds": record.seconds}
        print(json.dumps({"folder": str(record.folder)} | whole, allow_nan=False))
    return 0


def _end(options: argparse.Namespace) -> int:
    """Ask runs to end."""
    runs = stopping.ask_to_end(options.folder, options.runs)
    what = ", ".join(str(run) for run in runs) or "none: they have ended already"
    print(f"runs that end with the generation that is under way, or with the next one shown: {what}")
    if options.json:
        print(json.dumps({"runs": runs}))
    return 0


def _codes(options: argparse.Namespace) -> int:
    """Codes of an experiment."""
    out = _npz(options.out)
    record = Record(options.folder)
    if options.generation is None:
        found = list(replay.generations(record, options.run))
        if not found:
            raise BadInput(f"{options.folder} has no finished generation yet")
        codes, first = np.stack(found), 0
    else:
        first = options.generation - 1  # counted from 1, as in figures
        there = len(record.scores(options.run)) if options.run in {run.id for run in record.runs()} else 1
        if not 0 <= first < there:
            raise BadInput(f"--generation is {options.generation}; run {options.run} has 1 to {there}")
        codes = replay.codes_of(record, options.run, [first])[first][None]
    np.savez(
        out,
        codes=codes.reshape(-1, codes.shape[-1]),
        score=np.concatenate(record.scores(options.run)[first : first + len(codes)]),
        generation=np.repeat(np.arange(first + 1, first + 1 + len(codes)), codes.shape[1]),
        slot=np.tile(np.arange(codes.shape[1]), len(codes)),
        generator=np.array(report.plan_of(record).generator.name),
    )
    print(f"{codes.shape[0] * codes.shape[1]} codes of {codes.shape[-1]} numbers: {out}")
    if options.json:
        print(json.dumps({"out": str(out), "codes": codes.shape[0] * codes.shape[1]}))
    return 0


def _npz(name: str) -> Path:
    """Where codes go. Raises BadInput."""
    out = Path(name)
    if out.suffix != ".npz":
        raise BadInput(f"--out is '{out}'; give a name that ends in .npz")
    if not out.parent.is_dir():
        raise BadInput(f"folder '{out.parent}' does not exist; make it first")
    return out


def _encode(options: argparse.Namespace) -> int:
    """Codes for images."""
    out = _npz(options.out)
    generator = GENERATORS.make(options.generator, **_settings(options.set, "generator"))
    images = references.load(options.images)
    shown = images.images(range(len(images)), generator.image_size_px)
    features, warnings = None, generator.warnings
    if options.features is not None:
        network, layer = _layer(options.features)
        features = layer_features(network, layer, generator.image_size_px)
        warnings = tuple(dict.fromkeys((*warnings, *network.warnings)))
    codes, losses = encode(
        generator, shown.to(torch.float32) / 255.0, options.steps, options.method, features
    )
    np.savez(
        out,
        codes=codes.cpu().numpy(),
        names=np.array(images.names),
        losses=losses.cpu().numpy(),
        generator=np.array(generator.name),
        features=np.array(options.features or ""),
        notes=np.array(warnings, dtype=str),
    )
    for name, loss in zip(images.names, losses.tolist(), strict=True):
        # Activations come in any unit, pixels do not.
        said = f"{loss:.5f}" if features is None else f"of {options.features} {loss:.5g}"
        print(f"{name}: mean squared difference {said}")
    for warning in warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{len(codes)} codes of {codes.shape[1]} numbers: {out}")
    if options.json:
        found = {"out": str(out), "codes": len(codes), "losses": losses.tolist()}
        print(json.dumps(found | {"features": options.features}))
    return 0


def _layer(text: str) -> tuple[networks.Network, str]:
    """The network and the layer of NETWORK:LAYER."""
    name, _, layer = text.rpartition(":")
    if not name:
        raise BadInput(
            f"--features '{text}' is not NETWORK:LAYER (for the network's output, leave LAYER empty)"
        )
    if name.partition(":")[0] in ("file", "onnx", "http", "https"):
        raise BadInput(
            f"--features '{text}': a network is needed that gradients come back through and that says itself "
            "how images become its input; for a file of PyTorch's a python:MODULE:FUNCTION that loads it"
        )
    return networks.load(name), layer


#: Flags of `train-generator` that are keys of the recipe under the same name.
_RECIPE_KEYS = (
    *("images", "validation", "network", "layer", "dimensions", "image_size_px", "batch", "steps", "seed"),
    *("device", "precision", "name"),
)


def _train_generator(options: argparse.Namespace) -> int:
    """Train a generator, or go on with it."""
    if options.resume:
        given = [key for key in _RECIPE_KEYS if getattr(options, key) is not None]
        if options.recipe or options.out or options.set or given:
            raise BadInput("--resume takes the recipe as it was begun; leave the other flags out")
        folder = Path(options.resume)
        work = functools.partial(training.resume, folder)
    else:
        values = Recipe.read(options.recipe).model_dump(exclude_unset=True) if options.recipe else {}
        values |= {key: getattr(options, key) for key in _RECIPE_KEYS if getattr(options, key) is not None}
        for pair in options.set:
            _lay_over(values, pair)
        recipe = Recipe.make(**values)
        folder = Path(options.out or f"generators/{recipe.name}")
        work = functools.partial(training.train, recipe, folder)
    begun = folder / training.RECIPE
    again = "xdream train-generator --resume"
    with _stopping() as stop:
        return _watched(lambda bar: work(bar, stop=stop), _print_generator, begun, options, again)


def _print_generator(file: Path, options: argparse.Namespace) -> int:
    card = learned.read_card(file)
    told = ", ".join(f"{name} {value:.4g}" for name, value in card["metrics"].items())
    print(f"generator: {file} ({told or 'no validation images, so its errors are not known'})")
    print(f"use it: xdream evolve --generator {shlex.quote(str(file))} …")
    if options.json:
        print(json.dumps({"generator": str(file)} | card))
    return 0


def _lay_over(values: dict[str, Any], pair: str, deepest: int = 1) -> None:
    """KEY=VALUE or PART.KEY=VALUE into nested values; VALUE is read as TOML, else as text.

    deepest: how many parts a key may have before its last.
    """
    key, equals, text = pair.partition("=")
    *parts, last = key.split(".")
    if not equals or not last or len(parts) > deepest:
        raise BadInput(f"--set '{pair}' is not KEY=VALUE")
    for part in parts:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise BadInput(f"--set '{pair}': {part} has no keys of its own")
    values[last] = _toml_value(text)


def _weights(options: argparse.Namespace) -> int:
    """List weights files, or fetch them."""
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
    """Names of parts; layers of a network."""
    if options.layers:
        if options.kind != "targets":
            raise BadInput("--layers goes with: xdream list targets")
        # For a list, only the size of its images matters, which an ONNX file often says.
        onnx = options.layers.startswith("onnx:")
        network = networks.load(options.layers, networks.Preprocessing(None) if onnx else None)
        size_px: Any = getattr(network.module, "size_px", None)
        infos = networks.layers(network.at(size_px) if onnx else network)
        for info in infos:
            print(f"{info.name or '(output: leave LAYER empty)':40} {' x '.join(map(str, info.shape))}")
        listed: Any = [{"layer": info.name, "shape": info.shape} for info in infos]
    else:
        choices: dict[str, Callable[[], list[str]]] = {
            "generators": lambda: [*GENERATORS.names(), *learned.installed()],
            "optimizers": OPTIMIZERS.names,
            "objectives": OBJECTIVES.names,
            "bridges": BRIDGES.names,
            "studies": studies.names,
            "targets": lambda: [
                *networks.names(),
                *(f"known:{name}" for name in KNOWN.names()),
                "match:FILE",
                "match:FILE:NETWORK",
            ],
        }
        listed = choices[options.kind]()
        about = learned.descriptions() if options.kind == "generators" else {}
        if options.kind == "studies":
            about = {name: studies.named(name).question for name in listed}
        for name in listed:
            print(f"{name:22} {about[name]}" if name in about else name)
    if options.json:
        print(json.dumps({"layers" if options.layers else options.kind: listed}))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    """Examine the installation."""
    findings = doctor.examine() if options.plan is None else doctor.preflight(Plan.read(options.plan))
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.subject}: {finding.text}")
    if options.json:
        print(json.dumps({"findings": [vars(finding) for finding in findings]}))
    return 0 if all(finding.ok for finding in findings) else 2


# ------------------------------------------------------------------ a plan from flags

#: Flags of `evolve` and `tune` that are keys of the plan under the same name.
_SAME = (
    *("presentations", "repeats", "noise_spikes", "noise_scale", "references", "init", "seed", "runs"),
    *("image_size_px", "name", "device", "references_per_generation", "plateau", "record"),
    *("compiled", "precision"),
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
            settings[name] = _toml_value(text)
    return settings


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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


#: Every command by name.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "evolve": _evolve,
    "serve": _serve,
    "simulate-rig": _simulate_rig,
    "tune": _tune,
    "study": study_commands.study,
    "merge": study_commands.merge,
    "resume": _resume,
    "show": _show,
    "end": _end,
    "reject-block": _reject_block,
    "accept-block": _accept_block,
    "rescore": _rescore,
    "pause": _pause,
    "go-on": _go_on,
    "codes": _codes,
    "encode": _encode,
    "train-generator": _train_generator,
    "weights": _weights,
    "list": _list,
    "doctor": _doctor,
}
