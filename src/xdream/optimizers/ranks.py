"""Weights by rank: what a score is worth among the others of its generation, whatever its size.

A generation's n weights stand for its best, second best, … score. Equal scores share the mean of their
weights. A score that was not seen has weight 0, and the ranks are those among the k scores that were seen.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from xdream.errors import BadInput
from xdream.optimizers.base import usable
from xdream.types import Scores

#: What an optimizer of the published kind takes for a score.
ScoreRule: TypeAlias = Literal["raw", "standardised", "ranks"]
SCORE_RULES = ("raw", "standardised", "ranks")


def log_weights(seen: torch.Tensor, n: int) -> torch.Tensor:
    """(runs, n): max(0, ln(k/2 + 1) − ln i) for i = 1 … k, with the sum 1, then zeros (Hansen 2016, eq. 49).

    seen: (runs,) k, how many scores there are.
    """
    place = torch.arange(1, n + 1, dtype=torch.float64, device=seen.device)
    raw = (torch.log(seen.to(torch.float64) / 2.0 + 1.0)[:, None] - torch.log(place)).clamp_min(0.0)
    raw = torch.where(place <= seen[:, None], raw, 0.0)
    return raw / raw.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def by_rank(scores: Scores, weights: torch.Tensor) -> torch.Tensor:
    """(runs, n) the weight of each score. weights: (runs, n), the best's first; 0 where none was seen."""
    scores = usable(scores)
    seen = ~torch.isnan(scores)
    ordered, order = torch.where(seen, scores, -torch.inf).sort(stable=True, dim=-1, descending=True)
    new = torch.ones_like(seen)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    tie = new.cumsum(-1) - 1
    total = torch.zeros_like(weights).scatter_add_(1, tie, weights)
    count = torch.zeros_like(weights).scatter_add_(1, tie, torch.ones_like(weights))
    shared = (total / count.clamp_min(1.0)).gather(1, tie)
    found = torch.empty_like(shared).scatter_(1, order, shared)
    return torch.where(seen, found, 0.0)


def centred_log_weights(seen: torch.Tensor, n: int) -> torch.Tensor:
    """(runs, n): `log_weights` less 1/k for each of the k scores that were seen, so that the sum is 0."""
    weights = log_weights(seen, n)
    place = torch.arange(1, n + 1, device=weights.device)
    mean = 1.0 / seen.to(torch.float64).clamp_min(1.0)[:, None]
    return torch.where(place <= seen[:, None], weights - mean, 0.0)


def check_score_rule(rule: str) -> None:
    """Raise BadInput for a rule that does not exist."""
    if rule not in SCORE_RULES:
        raise BadInput(f"scores is {rule!r}; choose raw, standardised or ranks")


def followed(scores: Scores, rule: ScoreRule) -> Scores:
    """(runs, n) float64: what is followed instead of the scores, whose size the steps then do not depend on.

    "standardised": less the mean and divided by the standard deviation of the k scores of the generation
    that were seen; 0 where all are alike. "ranks": k times the centred weights of the ranks (Wierstra et
    al. 2014, section 3.1). A score that was not seen stays NaN.
    """
    if rule == "raw":
        return scores
    scores = usable(scores)
    seen = ~torch.isnan(scores)
    count = seen.sum(-1)
    if rule == "ranks":
        shaped = count[:, None] * by_rank(scores, centred_log_weights(count, scores.shape[-1]))
    else:
        k = count.clamp_min(1)[:, None]
        off = torch.where(seen, scores - torch.where(seen, scores, 0.0).sum(-1, keepdim=True) / k, 0.0)
        deviation = (off.square().sum(-1, keepdim=True) / k).sqrt()
        alike = deviation <= torch.finfo(torch.float64).eps * torch.where(seen, scores.abs(), 0.0).amax(
            -1, keepdim=True
        )
        shaped = torch.where(alike, 0.0, off / deviation.clamp_min(torch.finfo(torch.float64).tiny))
    return torch.where(seen, shaped, torch.nan)


def number_seen(scores: Scores) -> torch.Tensor:
    """(runs,) how many scores can be used."""
    return (~torch.isnan(usable(scores))).sum(-1)
