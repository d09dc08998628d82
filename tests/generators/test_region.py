"""Codes that are brought into a ball or onto a sphere before they are drawn."""

from pathlib import Path
from typing import Any

import pytest
import torch

import xdream
from xdream.errors import BadInput
from xdream.experiment import replay
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan, plan_of
from xdream.generators import GENERATORS
from xdream.registry import declares
from xdream.testing import check_generator


def z_of(generator: Any, codes: torch.Tensor) -> torch.Tensor:
    return (codes - generator.centre) / generator.initial.std


def rms(z: torch.Tensor) -> torch.Tensor:
    return z.square().mean(-1).sqrt()


@pytest.mark.parametrize(("codes", "inside"), [("ball", [0.5, 1.2, 1.2]), ("sphere", [1.2, 1.2, 1.2])])
def test_codes_are_scaled_to_the_region_in_units_of_the_spread(codes: str, inside: list[float]) -> None:
    generator: Any = GENERATORS.make("pixels", size_px=8, codes=codes, radius=1.2)
    z = torch.randn(3, 192, generator=torch.Generator().manual_seed(0))
    z = z / rms(z)[:, None] * torch.tensor([0.5, 1.2, 40.0])[:, None]
    asked = generator.centre + generator.initial.std * z
    found = z_of(generator, generator.brought(asked))
    torch.testing.assert_close(rms(found), torch.tensor(inside))
    torch.testing.assert_close(found / rms(found)[:, None], z / rms(z)[:, None])  # the direction stays
    torch.testing.assert_close(generator(asked), generator.generator(generator.brought(asked)))


def test_codes_far_outside_are_brought_back_and_the_centre_stays() -> None:
    generator: Any = GENERATORS.make("pixels", size_px=8, codes="ball", radius=1.0)
    far = torch.full((1, 192), 1e12)
    torch.testing.assert_close(rms(z_of(generator, generator.brought(far))), torch.ones(1))
    assert torch.equal(generator.brought(generator.centre[None]), generator.centre[None])


@pytest.mark.parametrize("codes", ["ball", "sphere"])
def test_it_is_a_generator_like_any_other(codes: str) -> None:
    check_generator(GENERATORS.make("fourier", size_px=16, codes=codes))
    made = GENERATORS.make("natural-v1", codes=codes)
    assert made.fingerprint == GENERATORS.make("natural-v1", codes="free").fingerprint


def test_the_region_is_in_the_record_which_keeps_the_codes_that_were_asked(tmp_path: Path) -> None:
    given = {"name": "pixels", "size_px": 8, "codes": "ball", "radius": 0.05}
    plan = Plan.make(targets="known:linear::0", generator=given, presentations=40)
    record = xdream.run(plan, tmp_path / "x")
    assert plan_of(record).generator.options == {"size_px": 8, "codes": "ball", "radius": 0.05}
    generator: Any = GENERATORS.make("pixels", size_px=8)
    first = torch.stack([torch.tensor(one) for one in record.codes(0, 0).values()])
    assert bool((rms(z_of(generator, first)) > 0.5).all())
    assert replay.codes_of(record, 0, [0])[0].shape == (20, 192)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codes": "cube"}, "codes is 'cube'; it must be 'free' or 'ball' or 'sphere' or 'box'"),
        ({"codes": "ball", "radius": 0}, "radius is 0; it must be a number above 0"),
        ({"radius": 1.0}, "radius is for codes in a ball, on a sphere or in a box"),
    ],
)
def test_a_region_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        GENERATORS.make("pixels", size_px=8, **options)


def test_a_generator_whose_codes_have_no_spread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drawn:
        def draw(self, seeds: Any, n: int) -> torch.Tensor:
            return torch.zeros(len(seeds), n, 192)

    @declares(region=("sphere", 0.7))
    def odd() -> Any:
        made = GENERATORS.make("pixels", size_px=8)
        made.initial = Drawn()  # type: ignore[misc, assignment]
        return made

    monkeypatch.setitem(GENERATORS._factories, "odd", odd)
    with pytest.raises(BadInput, match=r"declares no spread of its initial codes .* no sphere"):
        GENERATORS.make("odd", codes="sphere")
    assert GENERATORS.make("odd").image_size_px == 8


def test_a_search_keeps_codes_where_the_generator_declares_but_for_published_optimizers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @declares(region=("sphere", 0.7))
    def odd(size_px: int = 8) -> Any:
        return GENERATORS.make("pixels", size_px=size_px)

    monkeypatch.setitem(GENERATORS._factories, "odd", odd)
    assert "in a search: codes 'sphere', radius 0.7" in GENERATORS.described("odd")
    assert "in a search" not in GENERATORS.described("pixels")

    def region(optimizer: str, **options: Any) -> tuple[Any, Any]:
        plan = Plan.make(
            targets=["known:linear::3"],
            generator={"name": "odd", **options},
            optimizer={"name": optimizer, "population": 4},
            presentations=4,
        )
        with xdream.run(plan, tmp_path / f"{optimizer}{options}".replace("'", "")) as record:
            found = plan_of(record).generator.options
        evolution: Any = xdream.Evolution("odd", optimizer, generator_options=options)
        made = evolution.generator
        assert getattr(made, "region", "free") == found["codes"]
        return found["codes"], found.get("radius")

    assert region("rank-nes") == ("sphere", 0.7)
    assert region("rank-nes", radius=1.5) == ("sphere", 1.5)
    assert region("rank-nes", codes="ball") == ("ball", 1.3)
    assert region("rank-nes", codes="free") == ("free", None)
    assert region("genetic") == region("fdgd") == region("nes") == ("free", None)
    assert region("genetic", codes="ball") == ("ball", 1.3)


def test_variants_that_would_draw_elsewhere_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    @declares(region=("ball", 0.7))
    def odd(size_px: int = 8) -> Any:
        return GENERATORS.make("pixels", size_px=size_px)

    monkeypatch.setitem(GENERATORS._factories, "odd", odd)

    def notes(**more: Any) -> list[str]:
        plan = Plan.make(
            targets=["known:linear::3"],
            presentations=20,
            variants=[{"optimizer": "rank-nes"}, {"optimizer": "genetic"}],
            **{"generator": "odd", **more},
        )
        return [one for one in assemble(plan).notes if "variants" in one]

    assert notes() == [
        "variants without a generator of their own draw with generator.codes 'ball', as rank-nes does"
    ]
    assert notes(optimizer="nes") == [
        "variants without a generator of their own draw with generator.codes 'free', as nes does"
    ]
    assert notes(generator={"name": "odd", "codes": "free"}) == []
    assert notes(generator={"name": "pixels", "size_px": 8}) == []
