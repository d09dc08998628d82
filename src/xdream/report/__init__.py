"""What a record looks like: numbers, tables, figures."""

from xdream.report.summary import RunSummary, plan_of, reference_scores, summarise

__all__ = ["RunSummary", "plan_of", "reference_scores", "summarise"]
