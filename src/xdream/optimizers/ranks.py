"""Weights by rank: what a score is worth among the others of its generation, whatever its size.

A generation's n weights stand for its best, second best, … score. Equal scores share the mean of their
weights. A score that was not seen has weight 0, and the ranks are those among the k scores that were seen.
"""

from __future__ import annotations

import torch

from xdream.optimizers.base import usable
from xdream.types import Scores


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


def number_seen(scores: Scores) -> torch.Tensor:
    """(runs,) how many scores can be used."""
    return (~torch.isnan(usable(scores))).sum(-1)
