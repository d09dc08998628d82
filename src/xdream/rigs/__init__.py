"""Bridges to laboratories: blocks of images go out, answers come in."""

from xdream.rigs.base import (
    BRIDGES,
    Answer,
    Arrival,
    Block,
    Bridge,
    Claim,
    Command,
    Presentation,
    Row,
    Verdict,
)
from xdream.rigs.intan import Intan
from xdream.rigs.open_ephys import OpenEphys
from xdream.rigs.pair import Pair

__all__ = [
    "BRIDGES",
    "Answer",
    "Arrival",
    "Block",
    "Bridge",
    "Claim",
    "Command",
    "Intan",
    "OpenEphys",
    "Pair",
    "Presentation",
    "Row",
    "Verdict",
]
