"""Matching an image, in pixels and in a layer."""

import pytest
import torch
from torch import nn

from xdream.networks import Network, Preprocessing, layer_reader
from xdream.subjects import ImageMatch


def shown(n: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    return Network("small", module.eval().requires_grad_(False), Preprocessing((8, 8)), warnings=("careful",))


def test_the_target_itself_matches_best_in_pixels() -> None:
    images = shown(4)
    responses = ImageMatch("match", images[2:3]).respond(images)
    assert responses.shape == (4, 1)
    assert responses.dtype == torch.float64
    assert responses[2] == 0.0
    assert (responses[[0, 1, 3]] < 0.0).all()


def test_pixels_are_compared_by_the_mean_square_in_the_unit_range() -> None:
    images = shown(3)
    found = ImageMatch("match", images[:1]).respond(images)[:, 0]
    expected = -((images.double() - images[0].double()) / 255.0).square().flatten(1).mean(1)
    torch.testing.assert_close(found, expected)
    black, white = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.full((1, 3, 8, 8), 255).to(torch.uint8)
    assert ImageMatch("match", black).respond(white).item() == -1.0


def test_a_target_of_another_size_is_resized_to_the_images() -> None:
    large = shown(1, 24)
    half = nn.functional.interpolate(large.float(), (12, 12), mode="bilinear", antialias=True)
    assert ImageMatch("match", large).respond(half.round().to(torch.uint8)).item() == 0.0


def test_a_layer_is_compared_at_all_of_its_units_and_positions(network: Network) -> None:
    images = shown(3)
    reader, _ = layer_reader(network, ["0"])
    subject = ImageMatch("match", images[1:2], reader)
    convolution = network.module[0](images.float() / 255.0).double()  # type: ignore[index]
    expected = -(convolution - convolution[1]).square().mean((1, 2, 3))[:, None]
    found = subject.respond(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    assert found[1].item() == pytest.approx(0.0, abs=1e-12)
    assert (found[[0, 2]] < -1e-4).all()
    assert subject.units == ("0:0",)
    assert subject.warnings == ("careful",)
