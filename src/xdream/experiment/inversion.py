"""Codes for given images, with whatever a generator allows: its own inverse, gradients, or a search.

The first two are those of `xdream.generators.encode`. A search needs images alone: each image is the wanted
optimum of a run of our own optimizer, whose score is minus the squared difference, without noise.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch

from xdream.errors import BadInput
from xdream.experiment import defaults
from xdream.generators import Features, Generator, Invertible, encode, spread_of
from xdream.generators.encoding import brought, check_images, differences, goal_of
from xdream.optimizers import OPTIMIZERS
from xdream.types import Codes, Images

InversionMethod: TypeAlias = Literal["ivt", "opt", "search"]
#: The optimizer that searches, and its generations where none are given.
OPTIMIZER, GENERATIONS = "rank-nes", 500
#: Steps of a gradient descent, as for the prepared initial codes of Xiao & Kreiman 2020.
DESCENT_STEPS = 200
#: Images that are searched for at a time, and those that are drawn at a time.
IMAGES, DRAWN = 16, 160


def method_for(generator: Generator, features: Features | None = None) -> InversionMethod:
    """The best that a generator allows: its own inverse, else gradients, else a search."""
    if isinstance(generator, Invertible) and features is None:
        return "ivt"
    return "opt" if generator.differentiable else "search"


def invert(
    generator: Generator,
    images: Images,
    *,
    steps: int | None = None,
    method: InversionMethod | None = None,
    features: Features | None = None,
    restarts: int = 1,
) -> tuple[Codes, torch.Tensor]:
    """Codes whose images are near the given ones, and how near they are, as `xdream.generators.encode`.

    method: None takes `method_for`. steps: of the descent (None: 200, as for the paper's prepared initial
    codes), or generations of the search (None: 500). restarts: how often each image is begun anew, of which
    the best is kept: the descent first from the zero code, as published, then from initial codes. A generator
    whose codes live in a region gives codes in that region. Raises BadInput.
    """
    method = method_for(generator, features) if method is None else method
    if method not in get_args(InversionMethod):
        raise BadInput(
            f"unknown method of encoding '{method}'; known: {', '.join(get_args(InversionMethod))}"
        )
    if method != "search":
        steps = DESCENT_STEPS if steps is None else steps
        return encode(generator, images, steps, method, features, restarts)
    if restarts < 1 or (steps is not None and steps < 1):
        raise BadInput(f"{restarts} restarts of {steps} generations are not possible; give at least 1")
    check_images(images)
    codes, losses = [], []
    for start in range(0, len(images), IMAGES):
        goal = goal_of(generator, images[start : start + IMAGES], features)
        found, loss = _searched(generator, goal, steps or GENERATIONS, features, seed=0)
        for again in range(1, restarts):
            other, at = _searched(generator, goal, steps or GENERATIONS, features, seed=again)
            better = at < loss
            found, loss = torch.where(better[:, None], other, found), torch.where(better, at, loss)
        codes.append(found)
        losses.append(loss)
    return torch.cat(codes), torch.cat(losses)


def _searched(
    generator: Generator, goal: torch.Tensor, generations: int, features: Features | None, seed: int
) -> tuple[Codes, torch.Tensor]:
    """(n, d) the best code that a run for each image has shown, and (n,) its loss."""
    device, n = generator.centre.device, len(goal)
    options = defaults.hyperparameters(generator.name, OPTIMIZER, noisy=False)
    optimizer = OPTIMIZERS.make(OPTIMIZER, **options)
    start = torch.stack((generator.centre, spread_of(generator.initial, generator.centre)))
    seeds = torch.arange(n, device=device) + seed * 1_000_003
    state = optimizer.start(seeds, start.expand(n, -1, -1))
    best = generator.centre.expand(n, -1)
    losses = torch.full((n,), torch.inf, device=device)
    rows = torch.arange(n, device=device)
    for _ in range(generations):
        codes = optimizer.ask(state)
        each = codes.shape[1]
        asked = codes.flatten(0, 1)
        of = rows.repeat_interleave(each)
        found = torch.cat(
            [
                differences(generator, asked[i : i + DRAWN], goal[of[i : i + DRAWN]], features)
                for i in range(0, len(asked), DRAWN)
            ]
        ).reshape(n, each)
        least, slot = found.min(1)
        better = least < losses
        best = torch.where(better[:, None], codes[rows, slot], best)
        losses = torch.where(better, least, losses)
        state = optimizer.tell(state, -found.to(torch.float64))
    return brought(generator, best), losses
