"""What every generator must do: the check for authors of generators, and of a user's own before a run."""

from __future__ import annotations

import torch

from xdream.generators.base import Generator, Invertible
from xdream.types import Codes, Images

#: Codes that are drawn and made into images.
SAMPLES = 3


def check_generator(generator: Generator, *, tolerance: float = 1e-4) -> None:
    """Draw codes from a generator and make them into images. Raises AssertionError with a sentence.

    It has a name, a shape of codes, a size, a centre of float32, warnings, and a fingerprint that stays. Its
    initial codes are (runs, n, d) float32, finite, the same for the same seed alone or beside others, and
    others for other seeds. Images are (n, 3, size, size) float32, finite, the same each time, and up to
    `tolerance` (of the range from black to white) the same alone, beside others and after `to`; the codes
    stay as they are. What says that it is differentiable gives a gradient; what inverts gives codes.
    """
    _check_attributes(generator)
    codes = _check_initial(generator)
    kept = codes.clone()
    images = _images(generator, codes)
    _must(torch.equal(codes, kept), "it changed the codes that it was given")
    _must(torch.equal(_images(generator, codes), images), "the same codes made other images")
    alone = torch.cat([_images(generator, one[None]) for one in codes])
    _near(alone, images, tolerance, "a code made another image alone than beside others")
    moved = generator.to(generator.centre.device)
    _near(_images(moved, codes), images, tolerance, "it makes other images after `to` its own device")
    _must(moved.fingerprint == generator.fingerprint, "its fingerprint is another after `to`")
    _images(generator, generator.centre[None])
    if generator.differentiable:
        _check_gradient(generator, codes[:1])
    if isinstance(generator, Invertible):
        _check_codes(generator.invert(images.clamp(0.0, 1.0)), (len(images), codes.shape[1]), "`invert`")


def _check_attributes(generator: Generator) -> None:
    _must(isinstance(generator.name, str), f"its name is {generator.name!r}; it must be a text")
    _must(generator.name != "", "it has no name")
    d = int(torch.Size(generator.code_shape).numel())
    _must(d > 0, f"its code_shape is {generator.code_shape}, without a number")
    _must(
        tuple(generator.centre.shape) == (d,),
        f"its centre has the shape {tuple(generator.centre.shape)}; its code_shape {generator.code_shape} "
        f"asks for ({d},)",
    )
    _must(generator.centre.dtype == torch.float32, f"its centre is {generator.centre.dtype}, not float32")
    _must(bool(generator.centre.isfinite().all()), "its centre is not finite")
    _must(all(isinstance(one, str) for one in generator.warnings), "its warnings are no sentences")
    found = getattr(generator, "fingerprint", None)
    _must(
        isinstance(found, str),
        f"its fingerprint is {found!r}; it must be the SHA-256 of its weights (networks.fingerprint), or ''",
    )
    _must(found == generator.fingerprint, "its fingerprint is another each time")


def _check_initial(generator: Generator) -> Codes:
    """(SAMPLES, d) initial codes."""
    device, d = generator.centre.device, len(generator.centre)
    seeds = torch.tensor([7, 2**62 + 1], device=device)
    both = generator.initial.draw(seeds, SAMPLES)
    _check_codes(both, (2, SAMPLES, d), "`initial.draw`")
    _must(torch.equal(generator.initial.draw(seeds, SAMPLES), both), "the same seeds drew other codes")
    alone = generator.initial.draw(seeds[1:], SAMPLES)
    _must(torch.equal(alone[0], both[1]), "a run draws other initial codes alone than beside others")
    _must(not torch.equal(both[0], both[1]), "two seeds drew the same initial codes")
    _must(not torch.equal(both[0, 0], both[0, 1]), "two initial codes of a run are the same")
    return both[0]


def _check_codes(codes: Codes, shape: tuple[int, ...], said: str) -> None:
    _must(tuple(codes.shape) == shape, f"{said} gave {tuple(codes.shape)} instead of {shape}")
    _must(codes.dtype == torch.float32, f"{said} gave {codes.dtype} instead of float32")
    _must(bool(codes.isfinite().all()), f"{said} gave codes that are not finite")


def _images(generator: Generator, codes: Codes) -> Images:
    with torch.inference_mode():
        images = generator(codes)
    wanted = (len(codes), 3, generator.image_size_px, generator.image_size_px)
    _must(tuple(images.shape) == wanted, f"it made {tuple(images.shape)} instead of {wanted}")
    _must(images.dtype == torch.float32, f"it made {images.dtype} instead of float32")
    _must(bool(images.isfinite().all()), "it made an image with NaN or inf in it")
    return images


def _near(found: Images, expected: Images, tolerance: float, said: str) -> None:
    largest = float((found.clamp(0, 1) - expected.clamp(0, 1)).abs().max())
    _must(largest <= tolerance, f"{said}: by {largest:g}, where {tolerance:g} is allowed")


def _check_gradient(generator: Generator, codes: Codes) -> None:
    leaf = codes.clone().requires_grad_()
    images = generator(leaf)
    _must(images.requires_grad, "it says that it is differentiable, but no gradient flows to the codes")
    (gradient,) = torch.autograd.grad(images.sum(), leaf)
    _must(bool(gradient.isfinite().all()), "its gradient is not finite")


def _must(holds: bool, said: str) -> None:
    """Also where Python runs without assertions (`-O`)."""
    if not holds:
        raise AssertionError(said)
