"""Codes -> images: one module per family. Importing this registers every generator."""

from xdream.generators import deepsim, fourier, learned, pixels
from xdream.generators.base import GENERATORS, Generator, InitialCodes
from xdream.generators.draw import draw, drawn, finite
from xdream.generators.encode import encode
from xdream.generators.statistics import read_statistics

__all__ = [
    "GENERATORS",
    "Generator",
    "InitialCodes",
    "deepsim",
    "draw",
    "drawn",
    "encode",
    "finite",
    "fourier",
    "learned",
    "pixels",
    "read_statistics",
]
