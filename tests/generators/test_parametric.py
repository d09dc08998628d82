"""Gratings, Gabors, shapes and patterns: what their numbers mean, and that searches find them."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import xdream
from xdream.errors import BadInput
from xdream.generators import GENERATORS
from xdream.generators.parametric import Parameter, Scales
from xdream.generators.shapes import contour
from xdream.testing import check_generator

NAMES = ["gratings", "gabors", "shapes", "cppn"]


def codes_for(generator: Any, **values: float) -> torch.Tensor:
    """(1, d): the code whose parameters have these values; others are at the middle of their range."""
    code = torch.full((1, len(generator.centre)), 0.5)
    for number, one in enumerate(generator.parameters):
        if one.name in values:
            value = values[one.name]
            if one.logarithmic:
                code[0, number] = math.log(value / one.low) / math.log(one.high / one.low)
            else:
                code[0, number] = (value - one.low) / (one.high - one.low)
    return code


def wave(size: int, v: dict[str, float], gabor: bool) -> np.ndarray:
    """The contrast of a wave at each pixel, by the equation of the module, one pixel after the other."""
    found = np.zeros((size, size))
    theta, phase = math.radians(v["orientation"]), math.radians(v["phase"])
    for row in range(size):
        for column in range(size):
            x = (column + 0.5) / size - 0.5 - v["x"]
            y = 0.5 - (row + 0.5) / size - v["y"]
            u = -x * math.sin(theta) + y * math.cos(theta)
            r = math.hypot(x, y)
            if gabor:
                window = math.exp(-(r**2) / (2 * v["size"] ** 2))
            else:
                window = min(1.0, max(0.0, (v["size"] / 2 - r) * 32 + 0.5))
            found[row, column] = v["contrast"] * window * math.cos(2 * math.pi * v["frequency"] * u + phase)
    return found


def direction(hue: float, saturation: float) -> np.ndarray:
    circle = [math.cos(math.radians(hue - at)) for at in (0, 120, 240)]
    return np.array([1 - saturation + saturation * one for one in circle])


VALUES = {
    "orientation": 30.0, "frequency": 3.0, "phase": 50.0, "contrast": 0.8, "x": 0.1, "y": -0.15, "size": 0.3,
    "hue": 200.0, "saturation": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("name", ["gratings", "gabors"])
def test_pixels_of_a_wave_are_those_of_the_equation(name: str) -> None:
    generator = GENERATORS.make(name, size_px=24, **({"count": 1} if name == "gabors" else {}))
    found = generator(codes_for(generator, **VALUES))[0].numpy()
    planes = wave(24, VALUES, name == "gabors")
    wanted = 0.5 + 0.5 * planes * direction(200.0, 0.25)[:, None, None]
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert planes.std() > 0.05


def test_gabors_are_a_sum() -> None:
    generator = GENERATORS.make("gabors", size_px=16, count=2)
    second = {**VALUES, "orientation": 100.0, "x": -0.2, "hue": 30.0}
    both = {f"1. {k}": v for k, v in VALUES.items()} | {f"2. {k}": v for k, v in second.items()}
    found = generator(codes_for(generator, **both))[0].numpy()
    parts = [
        wave(16, v, gabor=True) * direction(v["hue"], v["saturation"])[:, None, None]
        for v in (VALUES, second)
    ]
    np.testing.assert_allclose(found, 0.5 + 0.5 * sum(parts), atol=2e-5)


def test_orientation_90_is_vertical_stripes_and_frequency_counts_cycles() -> None:
    generator = GENERATORS.make("gratings", size_px=64)
    image = generator(
        codes_for(generator, orientation=90, frequency=4, contrast=1, size=1.5, saturation=0, x=0, y=0)
    )[0, 0].numpy()
    np.testing.assert_allclose(image, np.tile(image[:1], (64, 1)), atol=1e-4)
    assert np.abs(np.fft.rfft(image[0] - 0.5)).argmax() == 4


def test_a_half_turn_is_the_opposite_phase() -> None:
    generator = GENERATORS.make("gratings", size_px=32)
    one = generator(codes_for(generator, **{**VALUES, "orientation": 30.0, "phase": 50.0}))
    other = generator(codes_for(generator, **{**VALUES, "orientation": 210.0, "phase": 310.0}))
    torch.testing.assert_close(one, other, atol=2e-4, rtol=0.0)


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_named_and_bounded(name: str) -> None:
    generator: Any = GENERATORS.make(name, size_px=16)
    check_generator(generator)
    check_generator(GENERATORS.make(name, size_px=16, codes="box"))
    assert len({one.name for one in generator.parameters}) == len(generator.centre)
    low, high = (generator.values(torch.full((1, len(generator.centre)), c))[0] for c in (0.0, 1.0))
    for number, one in enumerate(generator.parameters):
        # A circle begins anew at its end.
        assert float(low[number]) == pytest.approx(one.low)
        assert float(high[number]) == pytest.approx(one.low if one.circular else one.high, rel=1e-5)


@pytest.mark.parametrize("name", ["gratings", "gabors", "shapes"])
def test_circular_parameters_are_the_same_at_both_ends_and_go_on_beyond(name: str) -> None:
    generator: Any = GENERATORS.make(name, size_px=16)
    code = generator.initial.draw(torch.tensor([5]), 1)[0]
    circular = [number for number, one in enumerate(generator.parameters) if one.circular]
    assert len(circular) >= 3
    for number in circular:
        codes = code.repeat(5, 1)
        codes[:, number] = torch.tensor([0.0, 1.0, 0.9999, 2.25, 0.25])
        images = generator(codes)
        torch.testing.assert_close(images[0], images[1])
        torch.testing.assert_close(images[0], images[2], atol=0.02, rtol=0.0)
        torch.testing.assert_close(images[3], images[4], atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_codes_outside_the_bounds_count_as_the_nearest(name: str) -> None:
    generator: Any = GENERATORS.make(name, size_px=16)
    code = generator.initial.draw(torch.tensor([5]), 1)[0]
    straight = [number for number, one in enumerate(generator.parameters) if not one.circular]
    far, at = code.clone(), code.clone()
    far[:, straight], at[:, straight] = 7.0, 1.0
    torch.testing.assert_close(generator(far), generator(at))
    assert bool(torch.isfinite(generator(torch.full_like(code, -1e6))).all())


@pytest.mark.parametrize("name", NAMES)
def test_random_draws_are_images_of_some_contrast_that_differ(name: str) -> None:
    generator: Any = GENERATORS.make(name, size_px=32)
    images = generator(generator.initial.draw(torch.tensor([1]), 30)[0]).clamp(0, 1)
    assert float(images.std()) > 0.05
    pairs = (images[:15] - images[15:]).abs().flatten(1).mean(1)
    assert float(pairs.median()) > 0.01


def test_logarithmic_values_multiply_in_equal_steps() -> None:
    scales = Scales.of([Parameter("f", "", 1.0, 16.0, logarithmic=True)])
    found = scales.values(torch.tensor([[0.0], [0.25], [0.5], [1.0]]))[:, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 2.0, 4.0, 16.0]))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gabors", {"count": 0}, "count is 0; it must be a whole number from 1 to 64"),
        ("shapes", {"points": 3}, "points is 3; it must be a whole number from 4 to 24"),
        ("cppn", {"layers": 9}, "layers is 9; it must be a whole number from 1 to 8"),
        ("gratings", {"size_px": 4}, "size_px is 4"),
        ("gratings", {"codes": "box", "radius": 1.0}, "bounds of its own"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        GENERATORS.make(name, **options)


# ------------------------------------------------------------------ shapes


def shape_values(generator: Any, **values: float) -> torch.Tensor:
    found: torch.Tensor = generator.values(codes_for(generator, **values))
    return found


def test_contours_are_closed_and_smooth() -> None:
    generator: Any = GENERATORS.make("shapes", size_px=16)
    values = generator.values(generator.initial.draw(torch.tensor([0]), 20)[0])
    points = contour(values)
    steps = points.roll(-1, 1) - points
    lengths = steps.norm(dim=-1)
    # The step from the last point to the first is like those beside it, and so is the turn.
    beside = (lengths[:, 0] + lengths[:, -2]) / 2.0
    assert bool(((lengths[:, -1] - beside).abs() < 0.3 * beside + 1e-3).all())
    second = steps - steps.roll(1, 1)
    assert float(second.norm(dim=-1).max()) < 0.5 * float(lengths.max()) + 1e-3


def test_equal_radii_make_a_circle_of_the_right_area() -> None:
    generator: Any = GENERATORS.make("shapes", size_px=64, points=12)
    radii = {f"radius {i + 1}": 0.8 for i in range(12)} | {f"turn {i + 1}": 0.0 for i in range(12)}
    given = {**radii, "x": 0.0, "y": 0.0, "size": 0.4, "lightness": 1.0, "saturation": 0.0, "shading": 0.0}
    values = shape_values(generator, **given)
    r = contour(values)[0].norm(dim=-1)
    # A uniform cubic B-spline of a regular polygon of radius R keeps R (2 + cos(2π/k)) / 3 at its knots.
    wanted = 0.8 * 0.4 * (2.0 + math.cos(2.0 * math.pi / 12)) / 3.0
    np.testing.assert_allclose(r.numpy(), wanted, rtol=0.01)
    image = generator(codes_for(generator, **given))[0]
    area = float((image[0] - 0.5).sum()) / 0.5 / 64**2
    assert area == pytest.approx(math.pi * wanted**2, rel=0.02)


def test_the_light_comes_from_where_it_is_said() -> None:
    generator: Any = GENERATORS.make("shapes", size_px=32)
    plain = {f"radius {i + 1}": 0.9 for i in range(8)} | {"size": 0.5, "lightness": 1.0, "saturation": 0.0}
    lit = {"shading": 1.0, "x": 0.0, "y": 0.0}
    right = generator(codes_for(generator, **plain, **lit, **{"light from": 0.0}))[0, 0]
    up = generator(codes_for(generator, **plain, **lit, **{"light from": 90.0}))[0, 0]
    assert float(right[:, 16:].mean()) > float(right[:, :16].mean()) + 0.02
    assert float(up[:16].mean()) > float(up[16:].mean()) + 0.02


# ------------------------------------------------------------------ searches


def evolved(name: str, score: Any, generations: int, seed: int, **options: Any) -> tuple[Any, list[float]]:
    """The default optimizer; the best code and the best score of each generation."""
    evolution = xdream.Evolution(name, seed=seed, generator_options=options)
    best, bests = (-math.inf, None), []
    for _ in range(generations):
        batch = evolution.ask()
        scores = score(torch.from_numpy(batch.images).double())
        bests.append(float(scores.max()))
        if bests[-1] > best[0]:
            best = bests[-1], torch.from_numpy(batch.codes[int(scores.argmax())])
        evolution.tell(batch.ids, scores.numpy())
    return evolution.generator.values(best[1][None])[0], bests  # type: ignore[attr-defined, index]


def test_the_default_optimizer_finds_orientation_and_frequency_of_a_simple_cell() -> None:
    size = 32
    tuned = {
        **VALUES,
        "orientation": 60.0,
        "frequency": 4.0,
        "x": 0.0,
        "y": 0.0,
        "size": 0.15,
        "contrast": 1.0,
    }
    field = torch.from_numpy(wave(size, tuned, gabor=True))

    def energy(images: torch.Tensor) -> torch.Tensor:
        return ((images - 0.5).mean(1) * field).sum((1, 2)).clamp_min(0.0)

    values, bests = evolved("gratings", energy, 60, 0, size_px=size)
    orientation, frequency = float(values[0]) % 180.0, float(values[1])
    assert abs((orientation - 60.0 + 90.0) % 180.0 - 90.0) < 10.0
    assert abs(math.log2(frequency / 4.0)) < 0.3
    assert bests[-1] > 2.0 * bests[0]


def test_the_default_optimizer_improves_on_a_shape() -> None:
    generator: Any = GENERATORS.make("shapes", size_px=24)
    radii = {f"radius {i + 1}": 1.0 if i % 2 else 0.3 for i in range(8)}
    rest = {"x": 0.0, "y": 0.0, "size": 0.6, "lightness": 0.9, "saturation": 0.1, "rotation": 20.0}
    wanted = generator(codes_for(generator, **radii, **rest)).clamp(0, 1).double()

    def likeness(images: torch.Tensor) -> torch.Tensor:
        return -(images - wanted).square().mean((1, 2, 3))

    _, bests = evolved("shapes", likeness, 60, 0, size_px=24)
    assert max(bests) > 0.4 * bests[0]  # the difference falls below 0.4 of the first generation's
