"""Codes -> images: one module per family. Importing this registers every generator."""

from xdream.generators import deepsim, fourier, pixels
from xdream.generators.base import GENERATORS, Generator, InitialCodes
from xdream.generators.encode import encode
from xdream.generators.statistics import read_statistics

__all__ = [
    "GENERATORS",
    "Generator",
    "InitialCodes",
    "deepsim",
    "encode",
    "fourier",
    "pixels",
    "read_statistics",
]
