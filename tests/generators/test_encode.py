"""Encoding: closed forms, and the gradient rule against a NumPy account of it on a linear map."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from xdream.errors import BadInput
from xdream.generators import encode
from xdream.generators.base import Generator, InitialCodes
from xdream.generators.fourier import fourier
from xdream.generators.pixels import pixels

SIZE = 4
DIM = 5


@dataclass
class Linear:
    """A generator that is one matrix, with no closed form to offer."""

    matrix: torch.Tensor
    name: str = "linear"
    code_shape: tuple[int, ...] = (DIM,)
    image_size_px: int = SIZE
    differentiable: bool = True
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.centre = torch.full((DIM,), 3.0)  # not where encoding starts
        self.initial = InitialCodes(self.centre, torch.ones(DIM))

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        return 0.5 + (codes @ self.matrix).reshape(len(codes), 3, SIZE, SIZE)

    def to(self, device: torch.device) -> "Linear":
        return Linear(self.matrix.to(device))


@pytest.fixture
def linear() -> Linear:
    generator = torch.Generator().manual_seed(0)
    return Linear(0.02 * torch.randn(DIM, 3 * SIZE * SIZE, generator=generator))


def photographs(n: int, h: int = SIZE, w: int = SIZE, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(seed))


def descended(matrix: np.ndarray, wanted: np.ndarray, steps: int) -> np.ndarray:
    """One image at a time: from zero, steps of length 8, …, 8/steps against the unit gradient."""
    codes = []
    for image in wanted.reshape(len(wanted), -1):
        code = np.zeros(len(matrix))
        for step in range(steps):
            gradient = matrix @ (0.5 + code @ matrix - image)
            code = code - (8 - 8 * step / steps) * gradient / np.linalg.norm(gradient)
        codes.append(code)
    return np.array(codes)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_descent_follows_the_published_rule(linear: Linear, steps: int) -> None:
    images = photographs(3)
    codes, losses = encode(linear, images, steps=steps)
    expected = descended(linear.matrix.double().numpy(), images.double().numpy(), steps)
    np.testing.assert_allclose(codes.numpy(), expected, atol=1e-3)
    shown = np.clip(0.5 + expected @ linear.matrix.double().numpy(), 0, 1)
    np.testing.assert_allclose(
        losses.numpy(), ((shown - images.reshape(3, -1).numpy()) ** 2).mean(1), rtol=1e-3
    )


def test_the_loss_is_that_of_the_image_as_it_is_shown() -> None:
    white = torch.ones(1, 3, SIZE, SIZE)
    beyond = Linear(torch.ones(DIM, 3 * SIZE * SIZE))
    codes, losses = encode(beyond, white, steps=1)
    assert beyond(codes).min() > 10
    assert losses.tolist() == [0.0]


def test_a_code_that_makes_the_image_is_nearly_found(linear: Linear) -> None:
    true = torch.tensor([[5.0, -3.0, 2.0, 0.0, 6.0]])
    images = linear(true)
    assert 0 <= images.min() <= images.max() <= 1
    codes, losses = encode(linear, images, steps=200)
    torch.testing.assert_close(codes, true, atol=0.2, rtol=0)
    assert losses[0] < 1e-5


def test_an_image_is_encoded_alike_alone_and_among_others(linear: Linear) -> None:
    images = photographs(35)  # more than two batches
    codes, losses = encode(linear, images, steps=5)
    assert codes.shape == (35, DIM)
    assert losses.shape == (35,)
    alone, _ = encode(linear, images[20:21], steps=5)
    torch.testing.assert_close(alone[0], codes[20], atol=1e-4, rtol=0)


def test_a_perfect_image_stays_where_its_gradient_is_zero(linear: Linear) -> None:
    codes, losses = encode(linear, torch.full((1, 3, SIZE, SIZE), 0.5), steps=3)
    assert not codes.any()
    assert not losses.any()


def test_it_works_where_gradients_are_switched_off_and_leaves_none_behind(linear: Linear) -> None:
    images = photographs(2)
    with torch.no_grad():
        codes, losses = encode(linear, images, steps=3)
    assert torch.equal(codes, encode(linear, images, steps=3)[0])
    assert not codes.requires_grad
    assert not losses.requires_grad


def test_pixels_are_encoded_exactly() -> None:
    images = photographs(20, 16, 16)
    codes, losses = encode(pixels(size_px=16), images)
    assert torch.equal(codes, images.flatten(1))
    assert not losses.any()


def test_images_are_resized_whole_to_the_generator() -> None:
    images = photographs(2, 30, 50)
    codes, _ = encode(pixels(size_px=16), images)
    expected = nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(codes, expected.flatten(1))


def test_fourier_is_encoded_in_closed_form_and_says_what_is_lost() -> None:
    generator = fourier(32, 10)
    codes = torch.randn(3, len(generator.centre), generator=torch.Generator().manual_seed(2))
    found, losses = encode(generator, generator(codes))
    torch.testing.assert_close(found, codes, atol=1e-4, rtol=0)
    assert losses.max() < 1e-10
    rough = photographs(3, 32, 32)
    found, losses = encode(generator, rough)
    expected = (generator(found) - rough).square().mean((1, 2, 3))
    torch.testing.assert_close(losses, expected)
    assert losses.min() > 0.01


def test_a_generator_without_gradients_or_closed_form_is_refused(linear: Linear) -> None:
    linear.differentiable = False
    with pytest.raises(BadInput, match="'linear' has neither gradients nor a closed form"):
        encode(linear, photographs(1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x[0], r"shape \(3, 4, 4\)"),
        (lambda x: x[:, :1], r"shape \(2, 1, 4, 4\)"),
        (lambda x: x[:0], r"shape \(0, 3, 4, 4\)"),
        (lambda x: x * 255, r"values from .* to 25\d"),
        (lambda x: x - 1, r"values from -"),
        (lambda x: x * float("nan"), r"values from nan"),
        (lambda x: (x * 255).to(torch.uint8), r"torch.uint8; .*divide by 255"),
    ],
)
def test_what_is_no_image_is_refused(
    linear: Linear, damage: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        encode(linear, damage(photographs(2)))


def test_no_steps_are_refused(linear: Linear) -> None:
    with pytest.raises(BadInput, match="0 steps"):
        encode(linear, photographs(1), steps=0)


def test_the_stand_in_is_a_generator(linear: Linear) -> None:
    generator: Generator = linear
    assert generator.image_size_px == SIZE
