"""Codes of given images, for every generator."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.experiment.inversion import invert, method_for
from xdream.generators import GENERATORS, GaussianCodes, encode, encoding

SIZE = 4


class Squashed:
    """Codes of three numbers, one for each colour, through a sigmoid; no gradient, no inverse."""

    name, code_shape, image_size_px, differentiable = "squashed", (3,), SIZE, False
    warnings, fingerprint = (), ""
    centre = torch.zeros(3)
    initial = GaussianCodes(torch.zeros(3), torch.ones(3))

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.sigmoid(codes)[:, :, None, None].expand(-1, -1, SIZE, SIZE)

    def to(self, device: torch.device) -> "Squashed":
        return self


def noise(n: int, size: int) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_search_finds_the_code_that_makes_an_image() -> None:
    """The optimum is known: the logit of the mean of each colour."""
    images = 0.1 + 0.8 * noise(20, SIZE)  # more than are searched for at a time
    codes, losses = invert(Squashed(), images)
    means = images.mean((2, 3))
    torch.testing.assert_close(codes, torch.logit(means), atol=0.05, rtol=0)
    least = (images - means[:, :, None, None]).square().mean((1, 2, 3))
    torch.testing.assert_close(losses, least, atol=1e-5, rtol=0)


def test_an_image_is_searched_for_alike_alone_and_first_among_others() -> None:
    images = noise(3, SIZE)
    together, _ = invert(Squashed(), images, steps=20)
    alone, _ = invert(Squashed(), images[:1], steps=20)
    torch.testing.assert_close(alone[0], together[0], atol=1e-5, rtol=0)


def test_the_best_method_that_a_generator_allows_is_taken() -> None:
    assert method_for(GENERATORS.make("pixels", size_px=8)) == "ivt"
    assert method_for(GENERATORS.make("natural-v1")) == "ivt"
    assert method_for(GENERATORS.make("natural-v1"), lambda images: images.flatten(1)) == "opt"
    assert method_for(Squashed()) == "search"


def test_more_restarts_of_a_search_are_never_worse() -> None:
    generator = GENERATORS.make("fourier", size_px=16)
    images = noise(3, 16)
    one, many = (invert(generator, images, steps=10, method="search", restarts=n)[1] for n in (1, 3))
    assert (many <= one).all()
    assert (many < one).any()


def test_of_several_descents_the_best_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = GENERATORS.make("fourier", size_px=16)
    first = generator.initial.draw(torch.zeros(1, dtype=torch.int64), 4)[0]
    first[0] = 0.0
    images = generator(first).clamp(0.0, 1.0)[[2, 0, 3]]
    monkeypatch.setattr(encoding, "_descend", lambda generator, goal, steps, features, first: first)
    codes, losses = invert(generator, images, method="opt", restarts=4)
    assert torch.equal(codes, first[[2, 0, 3]])
    assert losses.max() < 1e-12


@pytest.mark.parametrize("method", ["ivt", "opt", "search"])
def test_codes_are_those_of_the_region_where_they_live(method: str) -> None:
    generator = GENERATORS.make("fourier", size_px=16, codes="ball", radius=0.5)
    images = torch.ones(1, 3, 16, 16)
    codes, losses = invert(generator, images, steps=10, method=method)
    z = (codes - generator.centre) / generator.initial.std
    assert float(z.square().mean().sqrt()) <= 0.5 + 1e-5
    shown = GENERATORS.make("fourier", size_px=16)(codes).clamp(0, 1)
    torch.testing.assert_close(losses, (shown - images).square().mean((1, 2, 3)), atol=1e-5, rtol=1e-4)


def test_the_descent_is_that_of_encode() -> None:
    generator = GENERATORS.make("fourier", size_px=16)
    images = noise(2, 16)
    assert torch.equal(invert(generator, images, method="opt")[0], encode(generator, images, 200, "opt")[0])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"method": "magic"}, "unknown method of encoding 'magic'; known: ivt, opt, search"),
        ({"restarts": 0}, "0 restarts"),
        ({"method": "search", "steps": 0}, "of 0 generations"),
        ({"method": "opt", "steps": 0}, "0 steps"),
        ({"method": "opt", "restarts": 0}, "0 restarts"),
    ],
)
def test_what_cannot_be_is_refused(how: dict[str, object], message: str) -> None:
    generator = GENERATORS.make("fourier", size_px=16)
    with pytest.raises(BadInput, match=message):
        invert(generator, noise(1, 16), **how)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="shape"):
        invert(Squashed(), noise(1, 16)[0])


def test_the_command_searches(tmp_path: Path, photographs: Path) -> None:
    out = tmp_path / "codes.npz"
    flags = ["--set", "generator.size_px=16", "--method", "search", "--steps", "5", "--restarts", "2"]
    assert main(["encode", str(photographs), "--generator", "fourier", *flags, "--out", str(out)]) == 0
    with np.load(out) as codes:
        assert np.isfinite(codes["codes"]).all()
