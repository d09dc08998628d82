"""Greedy search for hyperparameters, one at a time, over a fixed set of units."""

from xdream.tuning.evaluations import read, resume, tune
from xdream.tuning.folder import FILE_NAME
from xdream.tuning.output import as_json, draw, said, table_of
from xdream.tuning.parameters import searched
from xdream.tuning.results import Evaluation, Scale, Tuning
from xdream.tuning.search import Parameter, Position, Setting, proceed

__all__ = [
    "FILE_NAME",
    "Evaluation",
    "Parameter",
    "Position",
    "Scale",
    "Setting",
    "Tuning",
    "as_json",
    "draw",
    "proceed",
    "read",
    "resume",
    "said",
    "searched",
    "table_of",
    "tune",
]
