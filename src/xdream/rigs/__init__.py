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
    check,
)
from xdream.rigs.direct import Direct
from xdream.rigs.folder import Folder
from xdream.rigs.http import Http
from xdream.rigs.intan import Intan
from xdream.rigs.lsl import Lsl
from xdream.rigs.open_ephys import OpenEphys
from xdream.rigs.pair import Pair
from xdream.rigs.zmq import Zmq

__all__ = [
    "BRIDGES",
    "Answer",
    "Arrival",
    "Block",
    "Bridge",
    "Claim",
    "Command",
    "Direct",
    "Folder",
    "Http",
    "Intan",
    "Lsl",
    "OpenEphys",
    "Pair",
    "Presentation",
    "Row",
    "Verdict",
    "Zmq",
    "check",
]
