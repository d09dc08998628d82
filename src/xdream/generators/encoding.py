"""Codes for given images: what the generator says itself (`ivt`), or by gradient (`opt`).

By gradient, images may also be compared as a network sees them: in features instead of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch

from xdream.errors import BadInput
from xdream.generators.base import Generator, Invertible
from xdream.images.resizing import resize
from xdream.networks import Network, layer_reader, one_line
from xdream.types import Codes, Images

#: The paper's names: by the generator's own inverse, or by optimisation.
Method: TypeAlias = Literal["ivt", "opt"]
#: (n, 3, h, w) float32 in [0, 1], of the generator's size -> (n, …) floats. Gradients flow through.
Features: TypeAlias = Callable[[Images], torch.Tensor]
#: Length of the first step in code space; the steps fall linearly to 0 (the paper's supplement).
FIRST_STEP = 8.0
#: Images encoded at a time, which bounds the memory that gradients take.
BATCH = 16


def encode(
    generator: Generator,
    images: Images,
    steps: int = 100,
    method: Method | None = None,
    features: Features | None = None,
    restarts: int = 1,
) -> tuple[Codes, torch.Tensor]:
    """Codes whose images are near the given ones, and how near they are.

    images: (n, 3, h, w) in [0, 1]; they are resized whole to the generator's size. steps: of the
    gradient descent, 100 in the paper's analyses and 200 for its prepared initial codes. method: `ivt`, the
    code that an `Invertible` generator says itself (the default where there is one; no steps), or `opt`,
    gradient descent from the zero code. features: in which images are to be near, instead of pixels, by `opt`
    only. restarts: descents for each image, of which the best is kept: the first from the zero code, as
    published, others from initial codes. Returns (n, d) float32 codes, within the region where the
    generator's codes live, and (n,) losses, each the mean squared difference (of pixels, or of features)
    between the resized image and the clipped image of its code, on the generator's device. Raises BadInput.
    """
    if method is None:
        method = "ivt" if isinstance(generator, Invertible) and features is None else "opt"
    if features is not None:
        _check_gradient(generator, method)
    _check(generator, steps, method, restarts)
    check_images(images)
    codes, losses = [], []
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH]
        goal = goal_of(generator, some, features)
        if method == "ivt":
            assert isinstance(generator, Invertible)
            found = generator.invert(goal)
            loss = differences(generator, found, goal)
        else:
            found, loss = _best_descent(generator, goal, steps, features, restarts)
        codes.append(found)
        losses.append(loss)
    return brought(generator, torch.cat(codes)), torch.cat(losses)


def goal_of(generator: Generator, images: Images, features: Features | None = None) -> torch.Tensor:
    """What images of codes are compared with: the images at the generator's size, or their features.

    Raises BadInput for features that are none.
    """
    size_px = (generator.image_size_px, generator.image_size_px)
    wanted = resize(images.to(generator.centre.device, torch.float32), size_px)
    with torch.no_grad():
        return wanted if features is None else _checked(features(wanted), len(wanted))


def differences(
    generator: Generator, codes: Codes, goal: torch.Tensor, features: Features | None = None
) -> torch.Tensor:
    """(n,): the mean squared difference between the clipped image of each code and its goal."""
    with torch.no_grad():
        shown = generator(codes).clamp(0.0, 1.0)
        return _difference(shown if features is None else features(shown), goal)


def brought(generator: Generator, codes: Codes) -> Codes:
    """(n, d) inside the region where a generator's codes live when they are drawn."""
    into: Callable[[Codes], Codes] | None = getattr(generator, "brought", None)
    return codes if into is None else into(codes)


def layer_features(
    network: Network, layer: str, size_px: int, device: torch.device | None = None
) -> Features:
    """Features that are a layer of a network, for images of size_px. Raises BadInput."""
    reader, _ = layer_reader(network, [layer], device, size_px)

    def features(images: Images) -> torch.Tensor:
        return reader.outputs(images * 255.0)[layer]

    grey = torch.full((1, 3, size_px, size_px), 0.5, device=device, requires_grad=True)
    try:
        flows, why = features(grey).requires_grad, ""
    except Exception as error:  # whatever stands between PyTorch and another kind of model
        flows, why = False, f" ({one_line(error)})"
    if not flows:
        raise BadInput(
            f"network '{network.name}' has no gradients{why}, so images cannot be encoded by its "
            "features; a network in PyTorch has them"
        )
    return features


def _best_descent(
    generator: Generator, goal: torch.Tensor, steps: int, features: Features | None, restarts: int
) -> tuple[Codes, torch.Tensor]:
    """(n, d) codes and (n,) losses: of several descents for each image the best."""
    n, device = len(goal), generator.centre.device
    first = torch.zeros(n, len(generator.centre), device=device)
    found = _descend(generator, goal, steps, features, first)
    loss = differences(generator, found, goal, features)
    seeds = torch.zeros(1, dtype=torch.int64, device=device)
    drawn = generator.initial.draw(seeds, restarts)[0]
    for again in range(1, restarts):
        other = _descend(generator, goal, steps, features, drawn[again].expand(n, -1))
        at = differences(generator, other, goal, features)
        found = torch.where((at < loss)[:, None], other, found)
        loss = torch.minimum(at, loss)
    return found, loss


def _descend(
    generator: Generator, goal: torch.Tensor, steps: int, features: Features | None, first: Codes
) -> Codes:
    """From the first codes, against the gradient of the squared difference.

    The gradient of each image is divided by its own L2 norm, so only the step lengths say how far a
    code goes. The difference of pixels is that of unclipped images: a clipped value would have no gradient
    back. A network is given clipped ones, for beyond their range it says nothing of what will be shown, and
    the gradient passes by the clipping, to bring back what is too bright or too dark.
    """
    codes = first
    for step in range(steps):
        with torch.enable_grad():
            codes = codes.detach().requires_grad_(True)
            made = generator(codes)
            if features is not None:
                made = features(made.detach().clamp(0.0, 1.0) + (made - made.detach()))
            if not made.requires_grad:
                raise BadInput("the features let no gradients through; compute them from images in PyTorch")
            (gradient,) = torch.autograd.grad(_difference(made, goal).sum(), codes)
        direction = torch.nn.functional.normalize(gradient, dim=1, eps=1e-30)
        codes = codes.detach() - FIRST_STEP * (1.0 - step / steps) * direction
    if not bool(codes.isfinite().all()):
        what = "features" if features is not None else f"generator '{generator.name}'"
        raise BadInput(f"the gradient through the {what} is NaN or infinite somewhere; choose others")
    return codes


def _difference(found: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    """(n,): the mean squared difference of each row."""
    return (found - goal).square().mean(tuple(range(1, goal.ndim)))


def _checked(found: torch.Tensor, images: int) -> torch.Tensor:
    """Features as they must be: some finite floats for each image. Raises BadInput."""
    shape = tuple(found.shape)
    if found.ndim < 2 or len(found) != images or not found.numel() or not found.is_floating_point():
        raise BadInput(f"features of shape {shape}, {found.dtype}, for {images} images; give floats (n, …)")
    if not bool(found.isfinite().all()):
        raise BadInput("features of an image are NaN or infinite; choose others, or leave the image out")
    return found


def _check_gradient(generator: Generator, method: Method) -> None:
    if method == "ivt":
        raise BadInput(
            f"the method ivt is what generator '{generator.name}' says itself, which knows of no other "
            "features; use the method opt, or leave the features out"
        )
    if not generator.differentiable:
        raise BadInput(
            f"generator '{generator.name}' has no gradients, so images cannot be encoded by features; leave "
            "them out, or choose a differentiable one"
        )


def _check(generator: Generator, steps: int, method: Method, restarts: int) -> None:
    if method not in get_args(Method):
        raise BadInput(f"unknown method of encoding '{method}'; known: {', '.join(get_args(Method))}")
    if method == "ivt" and not isinstance(generator, Invertible):
        raise BadInput(
            f"generator '{generator.name}' says no code for an image by itself; use the method opt"
        )
    if method == "opt" and not generator.differentiable and isinstance(generator, Invertible):
        raise BadInput(f"generator '{generator.name}' has no gradients; use the method ivt")
    if not (generator.differentiable or isinstance(generator, Invertible)):
        raise BadInput(
            f"generator '{generator.name}' has neither gradients nor a closed form, so images cannot "
            "be encoded; choose a differentiable one, or give codes"
        )
    if steps < 1:
        raise BadInput(f"encoding with {steps} steps is not possible; give at least 1")
    if restarts < 1:
        raise BadInput(f"encoding with {restarts} restarts is not possible; give at least 1")


def check_images(images: Images) -> None:
    """Raise BadInput for what cannot be encoded."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise BadInput(f"images of shape {tuple(images.shape)}; give at least one, as (n, 3, h, w)")
    if not images.is_floating_point():
        raise BadInput(f"images of type {images.dtype}; give floats in [0, 1] (divide by 255)")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        raise BadInput(f"image values from {low:g} to {high:g}; give finite values in [0, 1]")
