"""What the responses to natural images say of others. Without PyTorch: summaries are made of it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from xdream.arrays import numbers
from xdream.errors import BadInput


def expected_best(responses: npt.ArrayLike, n: int) -> float:
    """The expected maximum of n responses drawn without replacement, in closed form.

    With N responses in ascending order r_1 … r_N, r_k is the maximum of C(k−1, n−1) of the C(N, n)
    draws. NaN responses are left out; when none is left the answer is NaN. From n = N on it is the
    maximum. responses: any shape. Raises BadInput for n < 1.
    """
    if n < 1:
        raise BadInput(f"the best of {n} responses is not defined; give at least 1")
    flat = numbers(responses, "responses").ravel()
    r = np.sort(flat[~np.isnan(flat)])[::-1]
    if len(r) == 0:
        return math.nan
    if n >= len(r):
        return float(r[0])
    # From the best downwards, k = N … n: the weight is n / N at first, then times (k − n) / (k − 1).
    k = np.arange(len(r), n, -1, dtype=np.float64)
    weights = np.cumprod(np.concatenate(([n / len(r)], (k - n) / (k - 1.0))))
    weights = weights[weights > 0.0]  # the far tail underflows
    return float(np.sum(weights * r[: len(weights)]))


def relative_activation(best: float, best_reference: float | None) -> float | None:
    """The best response to an evolved image over the best to a natural one (the paper's measure).

    None when there is no reference, when a response is missing (NaN), or when the best reference is not
    positive: a ratio to that says nothing.
    """
    if best_reference is None or math.isnan(best) or not best_reference > 0.0:
        return None
    return best / best_reference
