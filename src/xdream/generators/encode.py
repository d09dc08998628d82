"""Codes for given images: what the generator says itself (`ivt`), or by gradient (`opt`)."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch

from xdream.errors import BadInput
from xdream.generators.base import Generator, Invertible
from xdream.networks.base import resize
from xdream.types import Codes, Images

#: The paper's names: by the generator's own inverse, or by optimisation.
Method: TypeAlias = Literal["ivt", "opt"]
#: Length of the first step in code space; the steps fall linearly to 0 (the paper's supplement).
FIRST_STEP = 8.0
#: Images encoded at a time, which bounds the memory that gradients take.
BATCH = 16


def encode(
    generator: Generator, images: Images, steps: int = 100, method: Method | None = None
) -> tuple[Codes, torch.Tensor]:
    """Codes whose images are near the given ones, and how near they are.

    images: (n, 3, h, w) in [0, 1]; they are resized whole to the generator's size. steps: of the
    gradient descent, 100 in the paper's analyses and 200 for its prepared initial codes. method: `ivt`, the
    code that an `Invertible` generator says itself (the default where there is one; no steps), or `opt`,
    gradient descent from the zero code. Returns (n, d) float32 codes and (n,) float32 losses, each the mean
    squared difference between the resized image and the clipped image of its code, on the generator's
    device. Raises BadInput.
    """
    if method is None:
        method = "ivt" if isinstance(generator, Invertible) else "opt"
    _check(generator, images, steps, method)
    size_px = (generator.image_size_px, generator.image_size_px)
    codes, losses = [], []
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH].to(generator.centre.device, torch.float32)
        wanted = resize(some, size_px)
        if method == "ivt":
            assert isinstance(generator, Invertible)
            found = generator.invert(wanted)
        else:
            found = _descend(generator, wanted, steps)
        with torch.no_grad():
            shown = generator(found).clamp(0.0, 1.0)
        codes.append(found)
        losses.append((shown - wanted).square().mean((1, 2, 3)))
    return torch.cat(codes), torch.cat(losses)


def _descend(generator: Generator, wanted: Images, steps: int) -> Codes:
    """From the zero code, against the gradient of the squared pixel difference.

    The gradient of each image is divided by its own L2 norm, so only the step lengths say how far a
    code goes. The difference is that of unclipped images: a clipped value would have no gradient back.
    """
    codes = torch.zeros(len(wanted), len(generator.centre), device=wanted.device)
    for step in range(steps):
        with torch.enable_grad():
            codes.requires_grad_(True)
            loss = (generator(codes) - wanted).square().mean((1, 2, 3)).sum()
            (gradient,) = torch.autograd.grad(loss, codes)
        direction = torch.nn.functional.normalize(gradient, dim=1, eps=1e-30)
        codes = codes.detach() - FIRST_STEP * (1.0 - step / steps) * direction
    return codes


def _check(generator: Generator, images: Images, steps: int, method: Method) -> None:
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
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise BadInput(f"images of shape {tuple(images.shape)}; give at least one, as (n, 3, h, w)")
    if not images.is_floating_point():
        raise BadInput(f"images of type {images.dtype}; give floats in [0, 1] (divide by 255)")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        raise BadInput(f"image values from {low:g} to {high:g}; give finite values in [0, 1]")
