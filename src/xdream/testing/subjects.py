"""What every subject must do."""

from __future__ import annotations

import torch

from xdream.subjects import Subject
from xdream.types import ShownImages


def check_subject(subject: Subject, size_px: int, *, tolerance: float = 1e-4) -> None:
    """Show a subject images of a size, and see whether it responds as one must. Raises AssertionError.

    It has a name, and for each response a unit with a name of its own. It takes 8-bit images
    (n, 3, size, size), any number from 1 on in any order, leaves them as they are, and gives (n, units)
    float64 on the CPU.
    The same image has the same response each time, up to `tolerance` (times the largest response) beside
    others; a subject with noise of its own is no such subject: noise is drawn by the experiment.
    """
    assert subject.name, "it has no name"
    assert len(set(subject.units)) == len(subject.units) > 0, f"its units are {subject.units}"
    assert all(isinstance(text, str) for text in subject.warnings), "its warnings are no sentences"
    images = _images(5, size_px)
    kept = images.clone()
    together = _checked(subject, images)
    assert torch.equal(images, kept), "it changed the images that it was shown"
    again = subject.respond(images)
    assert torch.equal(again.nan_to_num(), together.nan_to_num()), "the same images had other responses"
    most = tolerance * max(1e-12, float(together.nan_to_num().abs().max()))
    alone = torch.cat([_checked(subject, image[None]) for image in images])
    _near(alone, together, most, "an image had another response alone than beside others")
    order = torch.tensor([3, 0, 4, 2, 1])
    _near(_checked(subject, images[order]), together[order], most, "responses do not follow their images")
    strided = images.to(memory_format=torch.channels_last)
    _near(_checked(subject, strided), together, most, "responses depend on how the images lie in memory")


def _images(n: int, size_px: int) -> ShownImages:
    """Noise on a ramp, from black to white: each image another."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(-40, 41, (n, 3, size_px, size_px), generator=rng)
    ramp = torch.linspace(0, 255, n).long()[:, None, None, None]
    return (noise + ramp).clamp(0, 255).to(torch.uint8)


def _checked(subject: Subject, images: ShownImages) -> torch.Tensor:
    responses = subject.respond(images)
    wanted = (len(images), len(subject.units))
    assert tuple(responses.shape) == wanted, f"it gave {tuple(responses.shape)} instead of {wanted}"
    assert responses.dtype == torch.float64, f"it gave {responses.dtype} instead of float64"
    assert responses.device.type == "cpu", f"its responses are on {responses.device}, not on the CPU"
    assert not responses.requires_grad, "its responses carry gradients"
    assert not bool(responses.isinf().any()), "it gave infinite responses; a missing one is NaN"
    return responses


def _near(found: torch.Tensor, expected: torch.Tensor, most: float, said: str) -> None:
    assert torch.equal(found.isnan(), expected.isnan()), said
    largest = float((found - expected).nan_to_num().abs().max())
    assert largest <= most, f"{said}: by {largest:g}, where {most:g} is allowed"
