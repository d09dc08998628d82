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
from xdream.rigs.folder import Folder

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
    "Presentation",
    "Row",
    "Verdict",
]
