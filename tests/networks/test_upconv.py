"""Up-convolution networks: shapes, one small network by hand, folding, weights from a seed."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xdream.errors import BadInput
from xdream.networks.up_architecture import UpArchitecture
from xdream.networks.upconv import UpConv

SMALL = UpArchitecture(dim=3, channels=(4, 2), refined=(0, 1))
DEEP = UpArchitecture(dim=5, channels=(6, 4, 3), refined=(1, 0, 2))


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(architecture: UpArchitecture) -> UpConv:
    """With every parameter and running statistic somewhere else."""
    module = UpConv(architecture, normalised=True)
    module.draw_weights(0)
    with torch.no_grad():
        for number, (name, tensor) in enumerate(module.state_dict().items()):
            if tensor.is_floating_point():
                change = 0.3 * normals(*tensor.shape, seed=number)
                tensor.add_(change.abs() if name.endswith("running_var") else change)
    return module.eval()


@pytest.mark.parametrize(
    ("channels", "refined", "size"), [((8,), (0,), 4), ((8, 4), (1, 0), 8), ((8, 6, 4), (0, 2, 1), 16)]
)
def test_each_further_feature_map_doubles_the_image(
    channels: tuple[int, ...], refined: tuple[int, ...], size: int
) -> None:
    architecture = UpArchitecture(7, channels, refined)
    assert architecture.image_size_px == size
    for normalised in (True, False):
        module = UpConv(architecture, normalised=normalised)
        assert module(normals(2, 7)).shape == (2, 3, size, size)
        convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert len(convolutions) == len(channels) + sum(refined) + 1


def test_images_stay_between_black_and_white() -> None:
    module = UpConv(SMALL, normalised=False)
    module.draw_weights(0)
    images = module(30.0 * normals(20, 3))
    assert images.min() >= 0.0
    assert images.max() <= 1.0
    assert images.min() < 0.1
    assert images.max() > 0.9


def test_a_small_network_is_what_numpy_makes_of_its_weights() -> None:
    """Each value of a transposed convolution spreads its kernel around it; the rest are sums over windows."""
    module = UpConv(SMALL, normalised=False)
    module.draw_weights(3)
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.add_(0.1 * normals(*parameter.shape, seed=number))
    first, second, third = module.layers[0], module.layers[2], module.layers[4]
    codes = normals(2, 3)

    def of(layer: Any) -> tuple[np.ndarray, np.ndarray]:
        return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.2 * x)

    def spread(x: np.ndarray, layer: Any, stride: int, padding: int) -> np.ndarray:
        weight, bias = of(layer)
        size = (x.shape[1] - 1) * stride + 4
        out = np.zeros((weight.shape[1], size, size))
        for channel, row, column in np.ndindex(*x.shape):
            patch = x[channel, row, column] * weight[channel]
            out[:, stride * row : stride * row + 4, stride * column : stride * column + 4] += patch
        return out[:, padding : size - padding, padding : size - padding] + bias[:, None, None]

    def windows(x: np.ndarray, layer: Any) -> np.ndarray:
        weight, bias = of(layer)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        out = np.empty((len(weight), *x.shape[1:]))
        for channel, row, column in np.ndindex(*out.shape):
            window = padded[:, row : row + 3, column : column + 3]
            out[channel, row, column] = (window * weight[channel]).sum() + bias[channel]
        return out

    expected = []
    for code in codes.double().numpy():
        x = leaky(spread(code[:, None, None], first, 1, 0))
        x = leaky(spread(x, second, 2, 1))
        x = leaky(windows(x, third))
        expected.append(1 / (1 + np.exp(-windows(x, module.to_rgb))))
    np.testing.assert_allclose(module(codes).detach().numpy(), np.array(expected), atol=1e-6)


def test_folding_changes_nothing_in_evaluation_mode() -> None:
    module = trained(DEEP)
    folded = module.folded()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    codes = 2.0 * normals(5, 5)
    torch.testing.assert_close(folded(codes), module(codes), atol=2e-5, rtol=0)
    assert module(codes).std() > 0.01


def test_folding_leaves_the_trained_network_as_it_was() -> None:
    module = trained(DEEP)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module.folded()
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    modules = [UpConv(DEEP, normalised=True) for _ in range(3)]
    for module, seed in zip(modules, (1, 1, 2), strict=True):
        module.draw_weights(seed)
    one, same, other = (module.state_dict() for module in modules)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["layers.0.weight"], other["layers.0.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fresh_weights_keep_the_size_of_activations() -> None:
    """He et al. 2015 for slope 0.2: variance 2 / (1.04 · sources), the sources of one value of the output.

    From a code to the first map it is the code's numbers; where the size doubles 2 x 2 places of each
    channel; of an ordinary convolution 3 x 3.
    """
    module = UpConv(UpArchitecture(400, (300, 200), (1, 0)), normalised=False)
    module.draw_weights(0)
    first, refined, doubling = module.layers[0], module.layers[2], module.layers[4]
    sources = [(first, 400), (refined, 9 * 300), (doubling, 4 * 300), (module.to_rgb, 9 * 200)]
    for layer, count in sources:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (1.04 * count)), rel=0.03)
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("channels", "refined"),
    [((), ()), ((4, 4), (0,)), ((4, 0), (0, 0)), ((4, -1), (0, 0)), ((4, 4), (0, -1)), ((4.0, 4), (0, 0))],
)
def test_an_impossible_architecture_is_refused_with_its_numbers(channels: Any, refined: Any) -> None:
    with pytest.raises(BadInput, match="no such up-convolution network") as error:
        UpArchitecture(3, channels, refined)
    assert str(channels) in str(error.value)


@pytest.mark.parametrize("dim", [0, -1, 2.5])
def test_a_code_has_at_least_one_number(dim: Any) -> None:
    with pytest.raises(BadInput, match="no such up-convolution network"):
        UpArchitecture(dim, (4,), (0,))
