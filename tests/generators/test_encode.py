"""Encoding: closed forms, and the gradient rule against a NumPy account of it on a linear map."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import tiny_encoder
from xdream.errors import BadInput
from xdream.generators import encode, layer_features
from xdream.generators.base import GaussianCodes, Generator
from xdream.generators.fourier import fourier
from xdream.generators.pixels import pixels
from xdream.networks import load

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
        self.initial = GaussianCodes(self.centre, torch.ones(DIM))

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


# Through features.


@pytest.fixture
def strong() -> Linear:
    """Of which a step makes images beyond black and white."""
    return Linear(0.3 * torch.randn(DIM, 3 * SIZE * SIZE, generator=torch.Generator().manual_seed(3)))


MIXING = torch.randn(3 * SIZE * SIZE, 7, generator=torch.Generator().manual_seed(4))


def mixed(images: torch.Tensor) -> torch.Tensor:
    """Seven linear features."""
    return images.flatten(1) @ MIXING


def descended_by_features(matrix: np.ndarray, wanted: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """One image at a time: what the features say of the clipped image, as if it had not been clipped; and the
    share of pixels that were."""
    mixing = MIXING.double().numpy()
    codes, clipped = [], []
    for image in wanted.reshape(len(wanted), -1):
        code = np.zeros(len(matrix))
        for step in range(steps):
            made = 0.5 + code @ matrix
            clipped.append(np.mean((made < 0) | (made > 1)))
            gradient = matrix @ mixing @ ((np.clip(made, 0, 1) - image) @ mixing)
            code = code - (8 - 8 * step / steps) * gradient / np.linalg.norm(gradient)
        codes.append(code)
    return np.array(codes), float(np.mean(clipped))


def test_the_descent_through_features_sees_clipped_images_and_passes_by_the_clipping(strong: Linear) -> None:
    images = photographs(3)
    codes, losses = encode(strong, images, steps=5, features=mixed)
    matrix = strong.matrix.double().numpy()
    expected, clipped = descended_by_features(matrix, images.double().numpy(), 5)
    assert clipped > 0.3
    np.testing.assert_allclose(codes.numpy(), expected, atol=1e-3)
    shown = np.clip(0.5 + expected @ matrix, 0, 1)
    difference = (shown - images.reshape(3, -1).numpy()) @ MIXING.double().numpy()
    np.testing.assert_allclose(losses.numpy(), (difference**2).mean(1), rtol=1e-3)


@pytest.mark.parametrize("layer", ["conv1", "conv3", "scores"])
def test_an_image_is_found_back_as_far_as_a_network_sees_it(layer: str) -> None:
    """From black, where the descent begins; the pictures are black and white, where clipping matters."""
    size = 16
    features = layer_features(load(tiny_encoder.NAME), layer, size)
    images = photographs(4, size, size).round()
    generator = pixels(size_px=size)
    codes, losses = encode(generator, images, steps=60, features=features)
    goal = features(images)
    shown = features(generator(codes).clamp(0, 1))
    axes = tuple(range(1, goal.ndim))
    torch.testing.assert_close(losses, (shown - goal).square().mean(axes), rtol=1e-4, atol=1e-9)
    start = (features(torch.zeros(4, 3, size, size)) - goal).square().mean(axes)
    by_pixels, _ = encode(generator, images, steps=60, method="opt")
    assert (losses < 0.1 * start).all()
    assert not torch.allclose(codes, by_pixels, atol=0.1)


def test_the_features_of_a_layer_are_what_the_network_answers_to_shown_images() -> None:
    network = load(tiny_encoder.NAME)
    images = photographs(2, 32, 32)
    found = layer_features(network, "conv1", 32)(images)
    expected = network.module.get_submodule("conv1")((images - 0.5) / 0.25)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_features_are_of_images_at_the_size_of_the_generator_some_at_a_time(strong: Linear) -> None:
    seen: list[torch.Tensor] = []

    def features(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.detach())
        return mixed(images)

    images = photographs(20, 9, 7)
    codes, losses = encode(strong, images, steps=3, features=features)
    assert (codes.shape, losses.shape) == ((20, DIM), (20,))
    assert {one.shape for one in seen} == {(16, 3, SIZE, SIZE), (4, 3, SIZE, SIZE)}
    assert all(0 <= one.min() <= one.max() <= 1 for one in seen)
    assert not codes.requires_grad
    assert not losses.requires_grad
    with torch.no_grad():
        assert torch.equal(encode(strong, images, steps=3, features=mixed)[0], codes)


def closed_form_only(size_px: int) -> Generator:
    generator = pixels(size_px=size_px)
    generator.differentiable = False
    return generator


def test_features_need_gradients_all_the_way(linear: Linear) -> None:
    images = photographs(1)
    with pytest.raises(BadInput, match=r"ivt is what generator 'pixels' says itself.*use the method opt"):
        encode(pixels(size_px=8), images, method="ivt", features=mixed)
    with pytest.raises(BadInput, match=r"generator 'pixels' has no gradients.*leave them out"):
        encode(closed_form_only(8), images, features=mixed)
    with pytest.raises(BadInput, match="features let no gradients through"):
        encode(linear, images, features=lambda images: mixed(images.detach()))
    with pytest.raises(BadInput, match="gradient through the features is NaN or infinite"):
        encode(linear, images, features=lambda images: (mixed(images) * 0.0).sqrt())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda images: mixed(images)[:1], r"shape \(1, 7\), torch.float32, for 2 images"),
        (lambda images: mixed(images)[:, 0], r"shape \(2,\)"),
        (lambda images: mixed(images)[:, :0], r"shape \(2, 0\)"),
        (lambda images: mixed(images).to(torch.int64), "torch.int64"),
        (lambda images: mixed(images) / 0.0, "features of an image are NaN or infinite"),
    ],
)
def test_what_are_no_features_is_refused(
    linear: Linear, features: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        encode(linear, photographs(2), features=features)


def test_a_network_without_gradients_is_refused_by_its_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "without_gradients.py").write_text(
        "import torch\n"
        "def detached(images):\n    return images.detach().mean((2, 3))\n"
        "def through_numpy(images):\n    return torch.from_numpy(images.numpy().mean((2, 3)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for function, said in (("detached", ", so"), ("through_numpy", " .*numpy.*, so")):
        network = load(f"python:without_gradients:{function}")
        with pytest.raises(BadInput, match=f"'python:without_gradients:{function}' has no gradients{said}"):
            layer_features(network, "", 8)
    with pytest.raises(BadInput, match=r"layer 'conv9' does not exist in python:tiny_encoder:network"):
        layer_features(load(tiny_encoder.NAME), "conv9", 8)


def test_the_stand_in_is_a_generator(linear: Linear) -> None:
    generator: Generator = linear
    assert generator.image_size_px == SIZE
