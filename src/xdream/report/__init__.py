"""Figures and tables made from a record."""

from xdream.report.figures import Figures, RunFigures, show
from xdream.report.summary import RunSummary, plan_of, reference_scores, summarise
from xdream.report.table import table

__all__ = [
    "Figures",
    "RunFigures",
    "RunSummary",
    "plan_of",
    "reference_scores",
    "show",
    "summarise",
    "table",
]
