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
from xdream.rigs.direct import Direct
from xdream.rigs.http import Http
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
    "Http",
    "Presentation",
    "Row",
    "Verdict",
    "Zmq",
]
