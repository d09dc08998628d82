"""The generator against waves written out with NumPy."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from xdream.errors import BadInput
from xdream.generators.base import GENERATORS, Invertible
from xdream.generators.fourier import COLOUR, LOGIT_STD, Fourier, fourier
from xdream.types import quantise

ALL_8 = math.ceil(math.sqrt(2) * 4)

Array = npt.NDArray[np.float64]


def lattice(size_px: int, cutoff: float) -> list[tuple[int, int]]:
    """Every frequency of the full plane inside the cutoff, each once."""
    signed = [k - size_px if 2 * k > size_px else k for k in range(size_px)]
    return [(y, x) for y in signed for x in signed if math.hypot(y, x) <= cutoff]


def random_codes(generator: Fourier, n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, len(generator.centre), generator=torch.Generator().manual_seed(seed))


def planes_of(images: torch.Tensor) -> Array:
    """The decorrelated planes behind images, in double precision."""
    x = images.double().numpy()
    logits = np.log(x / (1 - x))
    return np.einsum("ij,njyx->niyx", np.linalg.inv(np.array(COLOUR)), logits)


@pytest.mark.parametrize(
    ("size_px", "cutoff"),
    [(8, 0.5), (8, 1), (8, 2.5), (8, 4), (8, ALL_8), (9, 4), (9, 6), (15, 3), (32, 15.9), (32, 16)],
)
def test_a_code_has_as_many_numbers_as_the_plane_has_frequencies(size_px: int, cutoff: float) -> None:
    # A pair of opposite frequencies has two numbers, a lone one has one: one for each frequency.
    generator = fourier(size_px, cutoff)
    assert generator.code_shape == (3, len(lattice(size_px, cutoff)))
    assert len(generator.centre) == 3 * len(lattice(size_px, cutoff))


def test_a_cutoff_at_the_corner_leaves_nothing_out() -> None:
    assert len(fourier(8, ALL_8).centre) == 3 * 8 * 8
    assert len(fourier(9, 6).centre) == 3 * 9 * 9


def test_the_default_code_has_fewer_than_3000_numbers() -> None:
    generator = GENERATORS.make("fourier")
    assert generator.image_size_px == 128
    assert math.prod(generator.code_shape) == 2391 == len(generator.centre)


@pytest.mark.parametrize(("size_px", "cutoff"), [(8, ALL_8), (9, 6), (12, 3.7)])
def test_each_number_is_one_wave_with_an_amplitude_that_falls_as_one_over_f(
    size_px: int, cutoff: float
) -> None:
    generator = fourier(size_px, cutoff)
    d = generator.code_shape[1]
    frequencies = lattice(size_px, cutoff)
    fall = {k: 1 / max(1.0, math.hypot(*k)) for k in frequencies}
    unit = LOGIT_STD / math.sqrt(sum(a**2 for a in fall.values()))
    y, x = np.mgrid[:size_px, :size_px] / size_px

    first_plane = torch.eye(3 * d)[:d]
    planes = planes_of(generator(first_plane))
    assert np.abs(planes[:, 1:]).max() < 1e-4
    found, radii = set(), []
    for plane in planes[:, 0]:
        power = np.abs(np.fft.fft2(plane)) ** 2
        k = max(frequencies, key=lambda k: power[k])
        angle = 2 * np.pi * (k[0] * y + k[1] * x)
        cosine, sine = np.cos(angle), np.sin(angle)
        wave = "cosine" if abs((plane * cosine).sum()) > abs((plane * sine).sum()) else "sine"
        shape = cosine if wave == "cosine" else sine
        shape = shape / np.sqrt((shape**2).mean())
        sign = 1 if wave == "cosine" else np.sign((plane * shape).sum())
        np.testing.assert_allclose(plane, sign * unit * fall[k] * shape, atol=2e-5)
        opposite = (-k[0] % size_px, -k[1] % size_px)
        found.add((frozenset({(k[0] % size_px, k[1] % size_px), opposite}), wave))
        radii.append(math.hypot(*k))
    assert len(found) == d
    assert radii == sorted(radii)


def test_each_colour_plane_has_its_own_part_of_the_code() -> None:
    generator = fourier(8, 2)
    d = generator.code_shape[1]
    for channel in range(3):
        codes = torch.zeros(1, 3 * d)
        codes[0, channel * d] = 1.0  # the mean
        images = generator(codes).double().numpy()[0]
        logits = np.log(images / (1 - images))
        direction = np.array(COLOUR)[:, channel]
        unit = LOGIT_STD / math.sqrt(sum(1 / max(1.0, math.hypot(*k)) ** 2 for k in lattice(8, 2)))
        np.testing.assert_allclose(
            logits, np.broadcast_to(unit * direction[:, None, None], (3, 8, 8)), atol=1e-5
        )


@pytest.mark.parametrize(("small", "large"), [(16, 32), (17, 34), (20, 30)])
def test_the_same_code_at_another_size_is_the_same_image_drawn_larger(small: int, large: int) -> None:
    a, b = fourier(small, 6.5), fourier(large, 6.5)
    codes = random_codes(a, 3)
    step = math.gcd(small, large)
    at_small, at_large = slice(None, None, small // step), slice(None, None, large // step)
    torch.testing.assert_close(
        a(codes)[..., at_small, at_small], b(codes)[..., at_large, at_large], atol=2e-6, rtol=0
    )


@pytest.mark.parametrize(("size_px", "cutoff"), [(16, 1), (16, 12), (33, 5), (64, 16)])
def test_planes_vary_as_documented_whatever_the_size_and_the_cutoff(size_px: int, cutoff: float) -> None:
    generator = fourier(size_px, cutoff)
    planes = planes_of(generator(random_codes(generator, 600)))
    np.testing.assert_allclose(np.sqrt((planes**2).mean((0, 2, 3))), LOGIT_STD, rtol=0.05)


def test_random_images_have_the_one_over_f_spectrum_of_photographs() -> None:
    size_px, cutoff = 64, 24
    generator = fourier(size_px, cutoff)
    planes = planes_of(generator(random_codes(generator, 40)))
    power = (np.abs(np.fft.fft2(planes)) ** 2).mean((0, 1))
    radius, mean_power = [], []
    for low in range(2, cutoff - 1):
        ring = [k for k in lattice(size_px, cutoff) if low <= math.hypot(*k) < low + 1]
        radius.append(np.mean([math.hypot(*k) for k in ring]))
        mean_power.append(np.mean([power[k] for k in ring]))
    slope = np.polyfit(np.log(radius), np.log(mean_power), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.05)


def test_random_images_have_the_colour_statistics_of_photographs() -> None:
    generator = fourier(32, 8)
    images = generator(random_codes(generator, 400))
    logits = torch.logit(images.double()).movedim(1, 0).flatten(1).numpy()
    expected = np.array(COLOUR) @ np.array(COLOUR).T * LOGIT_STD**2
    np.testing.assert_allclose(np.cov(logits), expected, atol=0.05)
    # In photographs red and blue are correlated by 0.75, green with both by 0.9.
    correlation = np.corrcoef(logits)
    assert correlation[0, 2] == pytest.approx(0.75, abs=0.03)
    assert correlation[1, [0, 2]] == pytest.approx([0.89, 0.9], abs=0.03)
    assert images.std() == pytest.approx(0.2, abs=0.02)
    assert ((images < 0.05) | (images > 0.95)).float().mean() < 0.01


def test_the_colour_matrix_has_a_largest_standard_deviation_of_one_and_opposing_colours() -> None:
    colour = np.array(COLOUR)
    assert np.sqrt((colour**2).sum(1)).max() == pytest.approx(1.0, abs=1e-3)
    axes = colour / np.linalg.norm(colour, axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-3)
    assert (colour[:, 0] > 0).all()


def test_the_zero_code_is_mid_grey_and_the_centre() -> None:
    generator = fourier(16, 5)
    assert torch.equal(generator(generator.centre[None]), torch.full((1, 3, 16, 16), 0.5))
    assert not generator.centre.any()
    assert generator.initial.floor is None
    assert (generator.initial.std == 1).all()
    assert not generator.initial.mean.any()


@pytest.mark.parametrize(("size_px", "cutoff"), [(8, ALL_8), (9, 6), (64, 16), (128, 16), (33, 16)])
def test_inverting_an_image_gives_back_its_code(size_px: int, cutoff: float) -> None:
    generator = fourier(size_px, cutoff)
    codes = random_codes(generator, 4)
    torch.testing.assert_close(generator.invert(generator(codes)), codes, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("size_px", "cutoff"), [(8, ALL_8), (9, 6), (64, 46)])
def test_at_full_cutoff_every_8_bit_image_comes_back_exactly(size_px: int, cutoff: float) -> None:
    generator = fourier(size_px, cutoff)
    shown = torch.randint(0, 256, (5, 3, size_px, size_px), dtype=torch.uint8)
    shown[0] = torch.tensor([0, 255], dtype=torch.uint8)[torch.randint(0, 2, shown[0].shape)]
    again = generator(generator.invert(shown / 255.0))
    assert torch.equal(quantise(again), shown)


def test_below_it_inverting_is_the_least_squares_projection() -> None:
    generator = fourier(8, 2)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.9 + 0.05
    x = images.double().numpy()
    logits = np.log(x / (1 - x)).reshape(2, -1)
    one_each = generator(torch.eye(len(generator.centre))).double().numpy()
    waves = np.log(one_each / (1 - one_each)).reshape(len(generator.centre), -1)
    expected = np.linalg.lstsq(waves.T, logits.T, rcond=None)[0].T
    np.testing.assert_allclose(generator.invert(images).numpy(), expected, atol=2e-3)


def test_gradients_flow_from_images_to_codes() -> None:
    generator = fourier(8, 3)
    assert generator.differentiable
    assert isinstance(generator, Invertible)
    codes = random_codes(generator, 1).requires_grad_(True)
    weights = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((generator(codes) * weights).sum(), codes)
    for i in (0, 1, 2, 30, 80):
        step = torch.zeros_like(codes)
        step[0, i] = 1e-2
        with torch.no_grad():
            rise = ((generator(codes + step) - generator(codes - step)).double() * weights).sum()
        assert gradient[0, i].item() == pytest.approx(rise.item() / 2e-2, abs=3e-3)


def test_an_image_is_the_same_to_the_bit_alone_and_among_others() -> None:
    generator = fourier(64)
    codes = random_codes(generator, 9)
    images = generator(codes)
    for rows in (slice(0, 1), slice(4, 5), slice(2, 9)):
        assert torch.equal(generator(codes[rows]), images[rows])


def test_it_moves_to_a_device_as_a_copy() -> None:
    generator = fourier(8, 3)
    moved = generator.to(torch.device("meta"))
    images = moved(torch.zeros(2, len(generator.centre), device="meta"))
    assert images.shape == (2, 3, 8, 8)
    assert images.device.type == moved.centre.device.type == moved.initial.mean.device.type == "meta"
    assert generator.centre.device.type == "cpu"


@pytest.mark.parametrize("cutoff", [0, -1, math.nan, "16", True])
def test_a_cutoff_that_is_no_positive_number_is_refused(cutoff: object) -> None:
    with pytest.raises(BadInput, match=rf"cutoff_cycles is {cutoff!r}; it must be a number above 0"):
        GENERATORS.make("fourier", cutoff_cycles=cutoff)


@pytest.mark.parametrize("cutoff", [91.5, math.inf])
def test_an_impossible_cutoff_is_refused_with_the_possible_ones(cutoff: object) -> None:
    with pytest.raises(BadInput, match=rf"cutoff of {cutoff} .* at 128 px; .* at most 91"):
        GENERATORS.make("fourier", cutoff_cycles=cutoff)


def test_without_a_cutoff_a_small_image_has_all_of_its_frequencies() -> None:
    assert fourier(16).code_shape == fourier(16, 12.0).code_shape == (3, 256)
    assert fourier(64).code_shape == fourier(64, 16.0).code_shape
    with pytest.raises(BadInput, match=r"cutoff of 16.0 .* at 16 px; .* at most 12"):
        fourier(16, 16.0)


@pytest.mark.parametrize("size_px", [7, 0, 64.5])
def test_an_impossible_size_is_refused(size_px: object) -> None:
    with pytest.raises(BadInput, match="from 8 to 2048"):
        GENERATORS.make("fourier", size_px=size_px)
