"""The cards of learned generators' files, read from their headers: what there is, without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors

from xdream.errors import BadInput, WeightsInvalid
from xdream.networks import weights
from xdream.networks.up_architecture import UpArchitecture
from xdream.registry import Registry

#: What the header's key `format` says, and the newest version of it that is read.
FORMAT, VERSION = "xdream generator", 1
SUFFIX = ".safetensors"
#: The key of the card in the file's header.
CARD = "xdream"
#: The generator that comes with the package.
SHIPPED = "natural-v1"


def read(path: Path) -> dict[str, Any]:
    """What a generator file says of itself. Raises WeightsMissing, WeightsInvalid, BadInput."""
    weights.check_file(path)
    try:
        with safetensors.safe_open(path, "numpy") as file:
            card = json.loads((file.metadata() or {}).get(CARD, "{}"))
    except Exception as error:
        raise WeightsInvalid(
            f"cannot read generator file {path}: truncated or not safetensors ({weights.one_line(error)})"
        ) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise WeightsInvalid(f"{path} is no generator file; xdream train-generator makes them")
    if card.get("version") != VERSION:
        raise BadInput(
            f"generator file {path} has the format {card.get('version')}; this XDream reads {VERSION}"
        )
    return card


def architecture(card: Mapping[str, Any]) -> UpArchitecture:
    """The shape of the generator's network. Raises KeyError, TypeError, BadInput for a damaged card."""
    shape = card["architecture"]
    return UpArchitecture(shape["dim"], tuple(shape["channels"]), tuple(shape["refined"]))


def shipped_file() -> Path:
    """The file of the generator that comes with the package."""
    return Path(__file__).parent / f"{SHIPPED}{SUFFIX}"


def installed() -> dict[str, Path]:
    """Generator files in the folders where weights are looked for, by the names that they go by.

    A name that is registered is that of the registered generator.
    """
    registered = Registry[Any]("generator").names()
    found: dict[str, Path] = {}
    for folder in weights.folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path.stem not in found and path.stem not in registered and _line(path):
                found[path.stem] = path
    return found


def lines() -> dict[str, str]:
    """One line on each learned generator that is there, by its name."""
    found = {name: _line(path) for name, path in {SHIPPED: shipped_file(), **installed()}.items()}
    return {name: line for name, line in found.items() if line}


def _line(path: Path) -> str:
    """One line on a generator file; "" for one that cannot be used."""
    try:
        card = read(path)
        shape, encoder = architecture(card), card["encoder"]
        inverts = f"inverts {encoder['network']}:{encoder['layer']} ({path})"
        return f"{shape.dim} numbers, {shape.image_size_px} px, {inverts}"
    except (BadInput, KeyError, TypeError):
        return ""
