"""The encoder's side of a generator: a layer averaged over a grid, projected to whitened codes."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny_encoder
from xdream import networks
from xdream.errors import BadInput
from xdream.generators.projection import EncoderSpec, Projection, grid_reader


def images(n: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def activations(x: torch.Tensor, layers: int) -> np.ndarray:
    """The first layers of the tiny network, each applied to what it was preprocessed to."""
    for layer in list(tiny_encoder.network().module)[:layers]:
        x = layer(x)
    return x.double().numpy()


def averaged(maps: np.ndarray, grid: int) -> np.ndarray:
    """Cell i of a side of s positions goes from floor(i s / grid) to ceil((i + 1) s / grid)."""
    n, channels, height, width = maps.shape
    out = np.empty((n, channels, grid, grid))
    for row in range(grid):
        for column in range(grid):
            rows = slice(row * height // grid, -(-(row + 1) * height // grid))
            columns = slice(column * width // grid, -(-(column + 1) * width // grid))
            out[:, :, row, column] = maps[:, :, rows, columns].mean((2, 3))
    return out.reshape(n, -1)


@pytest.mark.parametrize("grid", [1, 2, 3, 8])
def test_features_are_means_over_the_cells_of_a_grid_channel_by_channel(grid: int) -> None:
    reader = grid_reader(tiny_encoder.network(), "conv2", 32, grid)
    shown = images(3)
    expected = averaged(activations((shown - 0.5) / 0.25, 3), grid)
    assert reader.features == 12 * grid**2
    np.testing.assert_allclose(reader(shown).numpy(), expected, atol=1e-5)


def test_images_are_resized_whole_to_the_encoders_size() -> None:
    reader = grid_reader(tiny_encoder.network(), "conv2", 16, 2)
    shown = images(2, 64)
    resized = torch.nn.functional.interpolate(shown, (16, 16), mode="bilinear", antialias=True)
    expected = averaged(activations((resized - 0.5) / 0.25, 3), 2)
    np.testing.assert_allclose(reader(shown).numpy(), expected, atol=1e-5)


def test_gradients_flow_back_to_the_image() -> None:
    reader = grid_reader(tiny_encoder.network(), "conv3", 32, 2)
    shown = images(1).requires_grad_(True)
    reader(shown)[0, 5].backward()
    assert shown.grad is not None
    step = 1e-2 * torch.nn.functional.normalize(shown.grad.flatten(), dim=0).reshape(shown.shape)
    with torch.no_grad():
        difference = (reader(shown + step) - reader(shown - step))[0, 5]
    assert float(difference) == pytest.approx(2 * float((step * shown.grad).sum()), rel=0.1)
    assert difference > 0


def test_a_code_is_a_linear_function_of_the_features() -> None:
    mean, matrix = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, -1.0]])
    codes = Projection(mean, matrix)(torch.tensor([[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]]))
    assert codes.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    moved = Projection(mean, matrix).to(torch.device("meta"))
    assert {moved.mean.device.type, moved.matrix.device.type} == {"meta"}


@pytest.mark.parametrize(
    ("layer", "grid", "message"),
    [
        ("scores", 1, r"'scores' of tiny has the shape \(5,\), no positions"),
        ("", 1, r"'' of tiny has the shape \(5,\), no positions"),
        ("grey", 1, "'grey' of tiny has one channel"),
        ("conv3", 5, "4 x 4 positions at 32 px, fewer than a grid of 5 x 5; give a grid of at most 4"),
        ("conv4", 1, "'conv4' does not exist in tiny; near: conv"),
    ],
)
def test_a_layer_that_cannot_be_inverted_is_refused(layer: str, grid: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        grid_reader(tiny_encoder.network(), layer, 32, grid)


def test_a_network_of_outputs_alone_is_refused() -> None:
    network = networks.load("python:tiny_encoder:outputs_only")
    with pytest.raises(BadInput, match="outputs only"):
        grid_reader(network, "conv2", 32, 1)
    with pytest.raises(BadInput, match="no positions"):
        grid_reader(network, "", 32, 1)


def spec(**changes: Any) -> EncoderSpec:
    fingerprint = networks.fingerprint(tiny_encoder.network().module)
    values = {"network": tiny_encoder.NAME, "layer": "conv2", "size_px": 32, "grid": 2}
    return EncoderSpec(**{**values, "fingerprint": fingerprint, **changes})


def test_a_specification_opens_the_same_encoder() -> None:
    reader = grid_reader(networks.load(tiny_encoder.NAME), "conv2", 32, 2)
    assert torch.equal(spec().open()(images(2)), reader(images(2)))


def test_other_weights_are_not_taken_for_the_encoders() -> None:
    with pytest.raises(BadInput, match=r"'python:tiny_encoder:other_weights' has other weights"):
        spec(network="python:tiny_encoder:other_weights").open()


def test_the_identity_is_that_of_weights_layer_and_sizes() -> None:
    one = tiny_encoder.network()
    known = {
        grid_reader(network, layer, size, grid).identity
        for network, layer, size, grid in [
            (one, "conv2", 32, 2),
            (tiny_encoder.other_weights(), "conv2", 32, 2),
            (one, "conv1", 32, 2),
            (one, "conv2", 64, 2),
            (one, "conv2", 32, 3),
        ]
    }
    assert len(known) == 5
    assert grid_reader(tiny_encoder.network(), "conv2", 32, 2).identity in known
