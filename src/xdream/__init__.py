"""XDream: evolve the image that a neuron likes best, without gradients."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xdream import optimizers
    from xdream.evolution import Evolution
    from xdream.loop import resume, run
    from xdream.plan import Plan
    from xdream.store import Record

__all__ = ["Evolution", "Plan", "Record", "optimizers", "resume", "run"]

#: Public names and where they live: imported when first used, since torch comes with most of them.
_PLACES = {
    "Evolution": "xdream.evolution",
    "Plan": "xdream.plan",
    "Record": "xdream.store",
    "resume": "xdream.loop",
    "run": "xdream.loop",
}


def __getattr__(name: str) -> Any:
    if name == "optimizers":
        return importlib.import_module("xdream.optimizers")
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'xdream' has no attribute '{name}'")
