"""Codes -> images: one module per family. Importing this registers every generator."""

from xdream.generators import deepsim, fourier, learned, original, pixels
from xdream.generators.base import GENERATORS, Generator, InitialCodes, WithStatistics
from xdream.generators.draw import draw, drawn, finite
from xdream.generators.encode import Features, encode, layer_features
from xdream.generators.statistics import read_statistics

GENERATORS.others = lambda name: original.by_name(name) or learned.by_name(name)

__all__ = [
    "GENERATORS",
    "Features",
    "Generator",
    "InitialCodes",
    "WithStatistics",
    "deepsim",
    "draw",
    "drawn",
    "encode",
    "finite",
    "fourier",
    "layer_features",
    "learned",
    "original",
    "pixels",
    "read_statistics",
]
