"""Given images recovered: fine detail, verdicts, figure, and a small study of two networks."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_networks
import torch
from PIL import Image

from xdream import networks
from xdream.errors import BadInput
from xdream.generators import GENERATORS, draw, encode, layer_features
from xdream.images import references
from xdream.store import Record
from xdream.studies import StudyPlan, begin, drawing, gathered, run_shard
from xdream.studies.expressiveness import CONDITIONS, Expressiveness
from xdream.studies.image_recovery import DETAIL, FEATURE, IMAGE, ORIGINAL, PIXEL, chosen, detail_kept
from xdream.studies.table import Table, TableRow, image_text, pixels_of

STUDY = Expressiveness()


# ------------------------------------------------------------------ fine detail


def grating(frequency: tuple[float, float], amplitude: float, ground: float = 0.5) -> np.ndarray:
    """(64, 64, 3) in [0, 1]; cycles per pixel, of which pixels can show 0.5."""
    y, x = np.mgrid[:64, :64]
    wave = np.cos(2 * np.pi * (frequency[0] * y + frequency[1] * x))
    return np.repeat((ground + amplitude * wave)[..., None], 3, 2)


def shown(image: np.ndarray) -> np.ndarray:
    return np.round(255 * image).astype(np.uint8)


def test_fine_detail_is_a_power() -> None:
    strong, weak = (shown(grating((0.0, 0.3), amplitude)) for amplitude in (0.4, 0.2))
    assert detail_kept(weak, strong) == pytest.approx(0.25, rel=0.01)
    assert detail_kept(strong, weak) == pytest.approx(4.0, rel=0.01)
    assert detail_kept(strong, strong) == 1.0


@pytest.mark.parametrize(
    ("frequency", "fine"),
    [
        ((0.0, 0.09), False),
        ((0.0, 0.16), True),
        ((0.16, 0.0), True),
        ((0.11, 0.11), True),
        ((0.4, 0.4), True),
    ],
)
def test_detail_is_fine_beyond_an_eighth_of_a_cycle_per_pixel(
    frequency: tuple[float, float], fine: bool
) -> None:
    kept = detail_kept(shown(grating(frequency, 0.3)), shown(grating((0.0, 0.3), 0.3)))
    assert kept == pytest.approx(1.0 if fine else 0.0, abs=0.02)


def test_brightness_slopes_and_coarse_forms_are_no_fine_detail() -> None:
    detailed = grating((0.0, 0.3), 0.1)
    slope = np.linspace(-0.2, 0.2, 64)[:, None, None]
    coarse = grating((0.03, 0.0), 0.15, ground=0.0)
    assert detail_kept(shown(detailed + slope + coarse), shown(detailed)) == pytest.approx(1.0, abs=0.02)
    assert detail_kept(shown(0.5 + slope + coarse), shown(detailed)) < 0.01


def test_detail_of_one_colour_counts_as_a_third() -> None:
    grey = grating((0.0, 0.3), 0.3)
    red = grey.copy()
    red[..., 1:] = 0.5
    assert detail_kept(shown(red), shown(grey)) == pytest.approx(1 / 3, rel=0.01)


def test_an_image_without_detail_has_none_to_keep() -> None:
    flat = np.full((16, 16, 3), 90, dtype=np.uint8)
    assert math.isnan(detail_kept(shown(grating((0.0, 0.3), 0.3))[:16, :16], flat))


# ------------------------------------------------------------------ verdicts

GOOD = {"pixel, gradient": 0.2, "pixel, genetic": 0.6, "feature, gradient": 0.3, "feature, genetic": 0.8}


def rows(
    errors: dict[str, float] = GOOD,
    details: dict[str, float] | None = None,
    network: str = "net",
    images: int = 6,
    presentations: int = 10_000,
    steps: int = 100,
) -> Iterator[TableRow]:
    """Errors and details with some spread."""
    of = TableRow("expressiveness", network, "middle", "conv", generator="gen")
    for image in range(images):
        one = dataclasses.replace(of, unit=str(image))
        yield dataclasses.replace(one, measure=ORIGINAL, image=image_text(patch(image)))
        for condition, error in errors.items():
            genetic = condition.endswith("genetic")
            mine = dataclasses.replace(one, condition=condition, seed=0 if genetic else -1)
            spread = 0.9 + 0.04 * image  # median 1; 95 % interval 0.92 to 1.08
            measure, other = (PIXEL, FEATURE) if condition.startswith("pixel") else (FEATURE, PIXEL)
            yield dataclasses.replace(mine, measure=measure, value=error * spread)
            yield dataclasses.replace(mine, measure=other, value=1.5)
            yield dataclasses.replace(
                mine, measure=DETAIL, value=(details or {}).get(condition, 0.3) * spread
            )
            number = 20 + 10 * CONDITIONS.index(condition) + image
            yield dataclasses.replace(mine, measure=IMAGE, image=image_text(patch(number)))
            measure, much = ("presentations", presentations) if genetic else ("steps", steps)
            yield dataclasses.replace(mine, measure=measure, value=float(much))


def patch(number: int) -> np.ndarray:
    return np.full((16, 16, 3), (number, 200, 7), dtype=np.uint8)


def verdicts(found: Iterator[TableRow]) -> list[str]:
    """Pixels by gradient, by genetic, their detail; features by gradient, by genetic, their detail."""
    return [one.verdict for one in STUDY.findings(Table(found))]


YES, NO, OPEN = "reproduced", "not reproduced", "not testable"


def test_all_claims_hold_where_errors_are_small_and_detail_is_lost() -> None:
    assert verdicts(rows()) == [YES] * 6


@pytest.mark.parametrize(
    ("condition", "error", "place"),
    [
        ("pixel, gradient", 0.6, 0),  # better than the start, but not half of it
        ("pixel, genetic", 1.3, 1),
        ("feature, gradient", 0.6, 3),
        ("feature, genetic", 1.3, 4),
    ],
)
def test_each_error_has_its_own_claim(condition: str, error: float, place: int) -> None:
    found = list(rows(GOOD | {condition: error}))
    assert verdicts(iter(found)) == [NO if number == place else YES for number in range(6)]
    finding = list(STUDY.findings(Table(found)))[place]
    assert finding.ours == f"{error:.2f} [{0.92 * error:.2f}, {1.08 * error:.2f}] of the start's"
    assert finding.why == ""


@pytest.mark.parametrize(("condition", "place"), [("pixel, gradient", 2), ("feature, gradient", 5)])
def test_fine_detail_is_judged_by_the_gradient(condition: str, place: int) -> None:
    details = {"pixel, genetic": 2.0, "feature, genetic": 2.0}
    assert verdicts(rows(details=details)) == [YES] * 6
    found = list(rows(details=details | {condition: 1.4}))
    assert verdicts(iter(found)) == [NO if number == place else YES for number in range(6)]
    assert "genetic 2.00 [" in list(STUDY.findings(Table(found)))[place].ours


def test_too_few_images_say_nothing() -> None:
    found = list(STUDY.findings(Table(rows(images=3))))
    assert {(one.verdict, one.why) for one in found} == {
        (OPEN, "too few images: the interval holds the bound")
    }


def test_an_interval_that_holds_the_bound_says_nothing() -> None:
    assert verdicts(rows(GOOD | {"pixel, genetic": 1.01}))[1] == OPEN


def test_with_few_presentations_a_success_counts_and_a_failure_does_not() -> None:
    short = {"presentations": 5_000}
    assert verdicts(rows(**short)) == [YES] * 6
    found = list(STUDY.findings(Table(rows(GOOD | {"feature, genetic": 1.3}, **short))))
    assert (found[4].verdict, found[4].why) == (OPEN, "too short: 5,000 presentations, the paper had 10,000")
    # Generations of 45 images do not fit evenly.
    assert verdicts(rows(GOOD | {"feature, genetic": 1.3}, presentations=9_990))[4] == NO


def test_after_few_steps_nothing_is_said_of_fine_detail() -> None:
    assert verdicts(rows(steps=20)) == [YES, YES, OPEN, YES, YES, OPEN]
    assert verdicts(rows(GOOD | {"pixel, gradient": 0.6}, steps=20))[0] == OPEN


def test_pixels_are_judged_with_the_first_network_alone() -> None:
    second = {key: value for key, value in GOOD.items() if key.startswith("feature")}
    found = list(STUDY.findings(Table([*rows(), *rows(second, network="other")])))
    assert [one.network for one in found] == ["net"] * 6 + ["other"] * 3


def test_groups_are_the_errors_that_were_minimised() -> None:
    groups = {group.condition: group for group in STUDY.groups(Table(rows()))}
    assert list(groups) == list(CONDITIONS)
    for condition, group in groups.items():
        assert group.values["net", "conv", "0"] == pytest.approx(0.9 * GOOD[condition])


# ------------------------------------------------------------------ images and figure


def test_images_are_spread_over_the_list_or_named() -> None:
    assert chosen(4, 13) == [0, 3, 6, 9]
    assert chosen(1, 13) == [0]
    assert chosen(20, 3) == [0, 1, 2]
    assert chosen("3,7-9", 13) == [3, 7, 8, 9]
    with pytest.raises(BadInput, match="units are images here, of which there are 13"):
        chosen("13", 13)


@pytest.mark.parametrize("images", [1, 3, 6])
def test_the_figure_has_every_image(tmp_path: Path, images: int) -> None:
    table = Table(rows(images=images))
    path = drawing.draw(STUDY, table, tmp_path / "figure.png")
    before = path.read_bytes()
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("RGB"))
    colours = {tuple(p) for p in np.unique(pixels.reshape(-1, 3), axis=0)}
    numbers = [*range(images), *(20 + 10 * c + i for c in range(4) for i in range(images))]
    assert {(number, 200, 7) for number in numbers} <= colours
    assert drawing.draw(STUDY, table, path).read_bytes() == before


def test_of_many_images_some_are_drawn_and_what_is_missing_is_left_blank(tmp_path: Path) -> None:
    some = [row for row in rows(images=20) if row.condition != "pixel, genetic" or row.unit != "0"]
    assert drawing.draw(STUDY, Table(some), tmp_path / "figure.png").exists()
    assert drawing.draw(STUDY, Table([]), tmp_path / "nothing.png").exists()


# ------------------------------------------------------------------ a small study

GENERATOR = {"name": "pixels", "size_px": tiny_networks.SIZE_PX}


def plan(**more: object) -> StudyPlan:
    values = {"study": "expressiveness", "layers": ["0"], "generators": [GENERATOR], "threads": 1}
    return StudyPlan.make(**values | more)


def test_a_study_of_two_networks_recovers_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny_networks.network(tmp_path, monkeypatch)
    natural = tiny_networks.photographs(tmp_path / "photographs")
    folder = tmp_path / "study"
    made = plan(
        networks=[f"{module}:small", f"{module}:other"],
        references=natural,
        units=2,
        seeds=2,
        presentations=80,
    )
    begin(STUDY, made, folder)
    results = [run_shard(STUDY, folder, number) for number in (1, 2)]
    table = gathered([folder])
    first, second = (table.where(network=name) for name in table.among("network"))
    assert first.where(measure=IMAGE).among("condition") == list(CONDITIONS)
    assert second.where(measure=IMAGE).among("condition") == list(CONDITIONS[2:])

    originals = references.load(natural).images([0, 2], tiny_networks.SIZE_PX)
    generator = GENERATORS.make("pixels", size_px=tiny_networks.SIZE_PX)
    start = draw(generator, generator.centre[None], tiny_networks.SIZE_PX)

    def error(a: torch.Tensor, b: torch.Tensor, layer: torch.nn.Module | None) -> float:
        a, b = a.float() / 255, b.float() / 255
        return float(((a - b) if layer is None else (layer(a) - layer(b))).square().mean())

    for some, function in ((first, "small"), (second, "other")):
        layer = networks.load(f"{module}:{function}").module[0]
        for number, original in enumerate(originals):
            of_image = some.where(unit=str(2 * number))
            [row] = of_image.where(measure=ORIGINAL).rows
            assert (pixels_of(row.image) == original.permute(1, 2, 0).numpy()).all()
            for row in of_image.where(measure=IMAGE).rows:
                image = torch.from_numpy(pixels_of(row.image).copy()).permute(2, 0, 1)
                mine = of_image.where(condition=row.condition, seed=row.seed)
                [pixel], [feature], [detail] = (mine.values(m) for m in (PIXEL, FEATURE, DETAIL))
                for found, read in ((pixel, None), (feature, layer)):
                    with torch.no_grad():
                        expected = error(image[None], original[None], read) / error(
                            start, original[None], read
                        )
                    assert found == pytest.approx(expected, rel=1e-4)
                assert detail == detail_kept(pixels_of(row.image), original.permute(1, 2, 0).numpy())

    # What the search found is the best of its last generation, what the gradient found its own code's image.
    record = Record(next(folder.glob("shards/001*/pixel")))
    assert [run.seed for run in record.runs()] == [0, 1, 0, 1]
    found = first.where(condition="pixel, genetic", measure="pixel error").rows
    assert [row.value for row in found] == pytest.approx([-record.scores(run)[-1].max() for run in range(4)])
    record.close()
    small = layer_features(networks.load(f"{module}:small"), "0", tiny_networks.SIZE_PX)
    for condition, features in (("pixel, gradient", None), ("feature, gradient", small)):
        codes, _ = encode(generator, originals.float() / 255, 20, "opt", features)
        images = draw(generator, codes, tiny_networks.SIZE_PX).permute(0, 2, 3, 1).numpy().astype(int)
        drawn = [pixels_of(r.image) for r in first.where(condition=condition, measure=IMAGE).rows]
        assert np.abs(np.stack(drawn) - images).max() <= 1
    # A shard that begins again reads its experiments and says the same.
    before = results[1].read_text()
    results[1].unlink()
    after = run_shard(STUDY, folder, 2).read_text()
    timeless = [[line for line in text.splitlines() if ",seconds," not in line] for text in (before, after)]
    assert timeless[0] == timeless[1]
    assert {one.verdict for one in STUDY.findings(table)} == {OPEN}
    assert drawing.draw(STUDY, table, folder / "expressiveness.png").exists()


def test_a_generator_without_gradients_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tiny_networks.network(tmp_path, monkeypatch)
    without = SimpleNamespace(differentiable=False, image_size_px=8)
    monkeypatch.setattr(StudyPlan, "generator", lambda plan, part: without)
    with pytest.raises(BadInput, match="'pixels' has no gradients"):
        begin(STUDY, plan(networks=[f"{module}:small"]), tmp_path / "study")
    assert not (tmp_path / "study").exists()
