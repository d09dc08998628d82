"""What targets there are, by name: for a list, which needs no PyTorch."""

from __future__ import annotations

from typing import Any

from xdream.networks import listing
from xdream.registry import Registry

#: Neurons whose best image is known; `known.py` makes them.
KNOWN_NEURONS = ("energy", "gaussian", "linear")


def targets() -> list[str]:
    """What stands before the layer in a target; words in capitals stand for names and files."""
    known = (f"known:{name}" for name in KNOWN_NEURONS)
    others = Registry[Any]("subject").from_elsewhere()
    return [*listing.names(), *known, "match:FILE", "match:FILE:NETWORK", *sorted(others)]
