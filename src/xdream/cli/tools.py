"""The commands `weights`, `list` and `doctor`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from xdream import networks
from xdream.cli import flags
from xdream.cli.command import Subcommand
from xdream.errors import BadInput
from xdream.registry import Registry

#: Kinds of part that `list` knows, and the names of their registries.
PARTS = {
    "generators": "generator",
    "optimizers": "optimizer",
    "objectives": "objective",
    "subjects": "subject",
    "engines": "engine",
    "bridges": "bridge",
    "drivers": "driver",
}


# ------------------------------------------------------------------ weights


def _weights_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "get"))
    parser.add_argument("names", nargs="*", help="the weights to download")


def _weights(options: argparse.Namespace) -> int:
    """List weights files, or fetch them."""
    from xdream.networks import weights

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


# ------------------------------------------------------------------ list


def _list_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=(*PARTS, "targets", "studies", "defaults"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="one part: its options with types and ranges")
    parser.add_argument("--layers", metavar="NETWORK", help="with targets: the network's layers and shapes")


def _list(options: argparse.Namespace) -> int:
    """Names of parts, each with one line; layers of a network."""
    if options.layers:
        return _layers(options)
    if options.name is not None:
        return _one_part(options)
    if options.kind == "defaults":
        return _defaults(options)
    lines = _lines(options.kind)
    for name, line in lines.items():
        print(f"{name:22} {line}".rstrip())
    if options.json:
        forms = [name for name in lines if "*" in name]
        names = [name for name in lines if "*" not in name]
        print(json.dumps({options.kind: names} | ({"forms": forms} if forms else {})))
    return 0


def _one_part(options: argparse.Namespace) -> int:
    """What a part is, and the options that its factory takes."""
    if options.kind not in PARTS:
        raise BadInput(f"list {options.kind} takes no name; a name goes with {', '.join(PARTS)}")
    registry = Registry[Any](PARTS[options.kind])
    if options.kind == "generators":  # also those whose files are installed
        from xdream.generators import GENERATORS as registry
    print(registry.described(options.name))
    if options.json:
        found = {name: str(option) for name, option in registry.options(options.name).items()}
        print(json.dumps({"name": options.name, "options": found}))
    return 0


def _lines(kind: str) -> dict[str, str]:
    """One line on everything of a kind, by its name; nothing is imported that computes."""
    if kind == "studies":
        from xdream.studies.catalogue import STUDIES, names

        return {name: STUDIES.summary(name) for name in names()}
    if kind == "targets":
        from xdream.subjects.listing import targets

        return dict.fromkeys(targets(), "")
    registry = Registry[Any](PARTS[kind])
    lines = {name: registry.summary(name) for name in (*registry.names(), *registry.forms())}
    if kind == "generators":
        from xdream.generators import cards

        lines |= cards.lines()
    return lines


def _defaults(options: argparse.Namespace) -> int:
    """The default hyperparameters of each optimizer with each generator."""
    from dataclasses import asdict

    from xdream.experiment import defaults

    rows = defaults.table()
    for row in rows:
        values = ", ".join(f"{name} {value}" for name, value in row.values.items())
        print(f"{row.generator:22} {row.optimizer:10} {row.noise:16} noise: {values}")
    if options.json:
        print(json.dumps({"defaults": [asdict(row) for row in rows]}))
    return 0


def _layers(options: argparse.Namespace) -> int:
    if options.kind != "targets":
        raise BadInput("--layers goes with: xdream list targets")
    from xdream.networks import onnx_file

    # For a list, only the size of its images matters, which an ONNX file often says.
    onnx = options.layers.startswith("onnx:")
    network = networks.load(options.layers, onnx_file.bare(options.layers) if onnx else None)
    size_px: Any = getattr(network.module, "size_px", None)
    infos = networks.layers(network.at(size_px) if onnx else network)
    for info in infos:
        print(f"{info.name or '(output: leave LAYER empty)':40} {' x '.join(map(str, info.shape))}")
    if options.json:
        print(json.dumps({"layers": [{"layer": info.name, "shape": info.shape} for info in infos]}))
    return 0


# ------------------------------------------------------------------ doctor


def _doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", nargs="?", help="a plan file with a rig: check what its session needs")
    parser.add_argument("--generator", metavar="NAME", help="check a generator, of your own for example")
    flags.add_settings(parser, text="an option of the generator, e.g. generator.code_size=512")


def _doctor(options: argparse.Namespace) -> int:
    """Examine the installation."""
    from xdream.cli import doctor
    from xdream.experiment.plan import Plan

    if options.generator is not None:
        if options.plan is not None:
            raise BadInput("a plan and --generator are both given; give one")
        settings: dict[str, Any] = {"generator": {}}
        flags.lay_over(settings, options.set, form="generator.KEY=VALUE", parts=("generator",), depth=(1, 1))
        findings = doctor.generator(options.generator, settings["generator"])
    elif options.set:
        raise BadInput("--set goes with --generator")
    else:
        findings = doctor.examine() if options.plan is None else doctor.preflight(Plan.read(options.plan))
    for finding in findings:
        print(f"{finding.state:7} {finding.subject}: {finding.text}")
    if options.json:
        print(json.dumps({"findings": [finding.as_json() for finding in findings]}))
    return 0 if all(finding.ok for finding in findings) else 2


COMMANDS = {
    "weights": Subcommand(_weights_flags, _weights),
    "list": Subcommand(_list_flags, _list),
    "doctor": Subcommand(_doctor_flags, _doctor),
}
