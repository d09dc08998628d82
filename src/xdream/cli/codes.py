"""The commands of codes: `codes` (those of an experiment), `encode` (those for images)."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdream import networks, text
from xdream.cli import experiments, flags
from xdream.cli.command import Subcommand
from xdream.cli.flags import FieldFlag
from xdream.errors import BadInput
from xdream.images import files as image_files
from xdream.subjects.target import split_layer

if TYPE_CHECKING:
    from xdream.networks import Network


def _npz(name: str) -> Path:
    """Where codes go. Raises BadInput."""
    out = Path(name)
    if out.suffix.lower() != ".npz":
        raise BadInput(f"--out is '{out}'; give a name that ends in .npz")
    if not out.parent.is_dir():
        raise BadInput(f"folder '{out.parent}' does not exist; make it first")
    return out


def _save(out: Path, **arrays: Any) -> None:
    """Whole or not at all, under that very name: NumPy adds an ending of its own to `C.NPZ`."""
    import numpy as np

    file = io.BytesIO()
    np.savez(file, **arrays)
    image_files.write(out, file.getvalue(), "codes")


# ------------------------------------------------------------------ codes


def _codes_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the folder of the experiment")
    parser.add_argument("--run", type=int, default=0, metavar="N", help="which run (default 0)")
    parser.add_argument("--generation", type=int, metavar="N", help="only this one, from 1 (default: all)")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where the codes go")


def _codes(options: argparse.Namespace) -> int:
    """Codes of an experiment."""
    import numpy as np

    from xdream.experiment import replay
    from xdream.experiment.plan import generators_of
    from xdream.store import Record

    out = _npz(options.out)
    record = Record(options.folder)
    if options.generation is None:
        found, first = list(replay.generations(record, options.run)), 0
        if not found:
            raise BadInput(f"{options.folder} has no finished generation yet")
    else:
        first = options.generation - 1  # counted from 1, as in figures
        there = len(record.scores(options.run)) if options.run in {run.id for run in record.runs()} else 1
        if not 0 <= first < there:
            raise BadInput(f"--generation is {options.generation}; run {options.run} has 1 to {there}")
        found = [replay.codes_of(record, options.run, [first])[first]]
    codes, populations = np.concatenate(found), [len(one) for one in found]
    _save(
        out,
        codes=codes,
        score=np.concatenate(record.scores(options.run)[first : first + len(found)]),
        generation=np.repeat(np.arange(first + 1, first + 1 + len(found)), populations),
        slot=np.concatenate([np.arange(n) for n in populations]),
        generator=np.array(generators_of(record)[options.run].name),
    )
    print(f"{len(codes)} codes of {codes.shape[-1]} numbers: {out}")
    if options.json:
        print(json.dumps({"out": str(out), "codes": len(codes)}))
    return 0


# ------------------------------------------------------------------ encode


def _encode_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", help="a folder or zip file of images, or scikit-image")
    from xdream.experiment.plan import Plan

    flags.add(parser, Plan, {"generator": FieldFlag("NAME")})
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where the codes go")
    parser.add_argument(
        "--steps",
        type=int,
        help="of gradient descent (default 200), or generations of the search (default 500)",
    )
    parser.add_argument(
        "--method",
        choices=("ivt", "opt", "search"),
        help="ivt: the generator's own encoder; opt: gradient descent; search: an evolution towards the "
        "image, which needs neither (default: the first that the generator allows)",
    )
    parser.add_argument(
        "--restarts", type=int, default=1, help="begin so often for each image, and keep the best (default 1)"
    )
    parser.add_argument(
        "--features",
        metavar="NETWORK:LAYER",
        help="the codes whose images are near in this layer, instead of in pixels (by opt)",
    )
    flags.add_settings(parser)


def _encode(options: argparse.Namespace) -> int:
    """Codes for images."""
    import numpy as np
    import torch

    from xdream.experiment.inversion import invert
    from xdream.generators import GENERATORS, layer_features
    from xdream.generators.cards import SHIPPED
    from xdream.images import references

    out = _npz(options.out)
    settings: dict[str, Any] = {"generator": {}}
    experiments.lay_over_parts(settings, options.set)
    generator = GENERATORS.make(options.generator or SHIPPED, **settings["generator"])
    images = references.load(options.images)
    shown = images.images(range(len(images)), generator.image_size_px)
    features, warnings = None, generator.warnings
    if options.features is not None:
        network, layer = _layer(options.features)
        features = layer_features(network, layer, generator.image_size_px)
        warnings = tuple(dict.fromkeys((*warnings, *network.warnings)))
    codes, losses = invert(
        generator,
        shown.to(torch.float32) / 255.0,
        steps=options.steps,
        method=options.method,
        features=features,
        restarts=options.restarts,
    )
    _save(
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
        print(f"{text.printable(name)}: mean squared difference {said}")
    for warning in warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{len(codes)} codes of {codes.shape[1]} numbers: {out}")
    if options.json:
        found = {"out": str(out), "codes": len(codes), "losses": losses.tolist()}
        print(json.dumps(found | {"features": options.features}))
    return 0


def _layer(text: str) -> tuple[Network, str]:
    """The network and the layer of NETWORK:LAYER."""
    name, _, layer = split_layer(text)
    if not name:
        raise BadInput(
            f"--features '{text}' is not NETWORK:LAYER (for the network's output, leave LAYER empty)"
        )
    if name.partition(":")[0] in ("file", "onnx", "http", "https"):
        raise BadInput(
            f"--features '{text}': a network is needed that passes gradients back and has its own "
            "preprocessing; for a file of PyTorch's give a python:MODULE:FUNCTION that loads it"
        )
    return networks.load(name), layer


COMMANDS = {
    "codes": Subcommand(_codes_flags, _codes),
    "encode": Subcommand(_encode_flags, _encode),
}
