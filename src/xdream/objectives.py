"""Responses into scores: pure, one formula each.

    (images, repeats, units) -> (images,)

A missing repeat (NaN) is left out of the mean; an image without any has no score (NaN).
"""

from __future__ import annotations

from collections.abc import Callable

from xdream.registry import Registry
from xdream.types import Responses, Scores

Objective = Callable[[Responses], Scores]

#: Every objective by name; a factory takes its options and gives the formula.
OBJECTIVES: Registry[Objective] = Registry("objective")


def mean(responses: Responses) -> Scores:
    """The mean over repeats, then over units: the response to drive up."""
    return responses.nanmean(1).nanmean(1)


def minus_mean(responses: Responses) -> Scores:
    """Minus the mean: finds the image that suppresses most."""
    return -mean(responses)


OBJECTIVES.register("mean", lambda: mean)
OBJECTIVES.register("minus-mean", lambda: minus_mean)
