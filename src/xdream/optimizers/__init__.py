"""Scores into better codes: pure functions of an explicit state, one algorithm per file."""

from xdream.optimizers.ask_tell import OPTIMIZERS, AskTell, checked_codes, checked_seed, grouped, make
from xdream.optimizers.base import Optimizer, State, joined, rows
from xdream.optimizers.fdgd import FDGD
from xdream.optimizers.genetic import Genetic
from xdream.optimizers.nes import NES

__all__ = [
    "FDGD",
    "NES",
    "OPTIMIZERS",
    "AskTell",
    "Genetic",
    "Optimizer",
    "State",
    "checked_codes",
    "checked_seed",
    "grouped",
    "joined",
    "make",
    "rows",
]
