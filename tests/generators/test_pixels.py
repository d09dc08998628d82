import pytest
import torch

from xdream.errors import BadInput
from xdream.generators.base import GENERATORS, Invertible
from xdream.generators.pixels import pixels


def test_the_image_is_the_code_plane_by_plane_and_row_by_row() -> None:
    generator = pixels(size_px=8)
    codes = torch.arange(2 * 192, dtype=torch.float32).reshape(2, 192) / 400
    images = generator(codes)
    assert images.shape == (2, 3, 8, 8)
    for channel, y, x in [(0, 0, 0), (0, 0, 7), (1, 2, 3), (2, 7, 7)]:
        assert images[1, channel, y, x] == codes[1, 64 * channel + 8 * y + x]


def test_values_outside_the_range_stay_in_the_code() -> None:
    generator = pixels(size_px=8)
    codes = torch.linspace(-1.0, 2.0, 192)[None]
    assert torch.equal(generator.invert(generator(codes)), codes)


def test_inverting_is_exact() -> None:
    generator = pixels(size_px=9)
    images = torch.rand(3, 3, 9, 9)
    assert torch.equal(generator(generator.invert(images)), images)
    assert isinstance(generator, Invertible)


def test_initial_codes_lie_around_mid_grey_and_mostly_in_range() -> None:
    generator = pixels(size_px=16)
    codes = generator.initial.draw(torch.tensor([1, 2]), 20)
    assert codes.shape == (2, 20, 768)
    assert codes.mean() == pytest.approx(0.5, abs=0.01)
    assert codes.std() == pytest.approx(0.25, abs=0.01)
    assert ((codes >= 0) & (codes <= 1)).float().mean() == pytest.approx(0.9545, abs=0.005)
    assert torch.equal(generator.centre, torch.full((768,), 0.5))


def test_the_registry_makes_it_with_a_size() -> None:
    generator = GENERATORS.make("pixels", size_px=12)
    assert (generator.name, generator.image_size_px) == ("pixels", 12)
    assert generator.code_shape == (3, 12, 12)
    assert generator.differentiable
    assert GENERATORS.make("pixels").image_size_px == 64


def test_it_moves_to_a_device_as_a_copy() -> None:
    generator = pixels(size_px=8)
    moved = generator.to(torch.device("meta"))
    tensors = [moved.centre, moved.initial.mean, moved.initial.std]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert generator.centre.device.type == "cpu"
    assert moved.code_shape == generator.code_shape


@pytest.mark.parametrize("size_px", [7, 0, -64, 4096, 64.0, "64", True])
def test_an_impossible_size_is_refused_with_the_possible_ones(size_px: object) -> None:
    with pytest.raises(BadInput, match=rf"size_px is {size_px!r}; it must be a whole number from 8 to 2048"):
        GENERATORS.make("pixels", size_px=size_px)
