"""What every objective must do."""

from __future__ import annotations

import torch

from xdream.scoring.objectives import Objective
from xdream.types import Responses

IMAGES, REPEATS = 5, 3
NAN = float("nan")


def check_objective(objective: Objective, *, channels: int = 1) -> None:
    """Give an objective responses of so many channels. Raises AssertionError with a sentence.

    It gives (images,) float64, one score for each image, which does not depend on the images beside it; the
    same each time; the responses stay as they are. An image without any response has no score (NaN), one with
    a missing repeat has a score, and no score is infinite.
    """
    responses = torch.linspace(-1.0, 2.0, IMAGES * REPEATS * channels, dtype=torch.float64) ** 3
    responses = responses.reshape(IMAGES, REPEATS, channels)
    kept = responses.clone()
    scores = _scored(objective, responses)
    assert torch.equal(responses, kept), "it changed the responses that it was given"
    assert bool(scores.isfinite().all()), "an image with every response has no score"
    assert torch.equal(_scored(objective, responses), scores), "the same responses had other scores"
    alone = torch.cat([_scored(objective, one[None]) for one in responses])
    assert torch.allclose(alone, scores, rtol=1e-9), "an image has another score alone than beside others"
    responses[1] = NAN
    responses[2, 0] = NAN
    scores = _scored(objective, responses)
    assert bool(scores[1].isnan()), f"an image without responses has the score {float(scores[1]):g}, not NaN"
    assert bool(scores[2].isfinite()), "an image with a missing repeat has no score"
    others = [0, 3, 4]
    assert torch.equal(scores[others], _scored(objective, kept)[others]), (
        "a missing response changed the scores of other images"
    )


def _scored(objective: Objective, responses: Responses) -> torch.Tensor:
    try:
        scores = objective(responses)
    except IndexError:
        raise AssertionError(
            f"it asks for a channel that is not among {responses.shape[2]}; give check_objective `channels`"
        ) from None
    wanted = (len(responses),)
    assert tuple(scores.shape) == wanted, f"it gave {tuple(scores.shape)} instead of {wanted}"
    assert scores.dtype == torch.float64, f"it gave {scores.dtype} instead of float64"
    assert not bool(scores.isinf().any()), "it gave an infinite score; what has none is NaN"
    return scores
