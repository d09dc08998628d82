"""The course of an evolution: its measure, its verdicts, its images."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_networks
import torch
from PIL import Image

from xdream.experiment.replay import codes_of
from xdream.generators import GENERATORS, draw
from xdream.images import references
from xdream.store import Record
from xdream.studies import StudyPlan, begin, drawing, gathered, run_shard
from xdream.studies.overview import BEST, IMAGE, MEAN, NATURAL_IMAGE, Overview, doublings, share_until
from xdream.studies.table import Table, TableRow, image_text, pixels_of

STUDY = Overview()


def saturating(count: int, scale: float) -> np.ndarray:
    """1 − exp(−t / scale), from nothing."""
    return 1.0 - np.exp(-np.arange(count) / scale)


def rows(
    curve: np.ndarray,
    network: str = "net",
    unit: str = "3",
    each: int = 20,
    seed: int = 0,
    natural: float = 0.5,
) -> Iterator[TableRow]:
    of = TableRow("overview", network, "output", "fc", unit)
    evolved = dataclasses.replace(of, generator="gen", optimizer="genetic", condition="gen", seed=seed)
    for generation, value in enumerate(curve, 1):
        yield dataclasses.replace(evolved, measure=BEST, x=generation, value=float(value))
        yield dataclasses.replace(evolved, measure=MEAN, x=generation, value=float(value) - 0.1)
    for generation in doublings(len(curve)):
        yield dataclasses.replace(
            evolved, measure=IMAGE, x=generation, image=image_text(grey(generation % 256))
        )
    yield dataclasses.replace(evolved, measure="presentations", value=float(each * len(curve)))
    yield dataclasses.replace(evolved, measure="last", value=float(curve[-1]))
    yield dataclasses.replace(of, measure="best natural", value=natural)
    yield dataclasses.replace(of, measure="natural images", value=1000.0)
    yield dataclasses.replace(of, measure=NATURAL_IMAGE, image=image_text(grey(7)))


def grey(value: int) -> np.ndarray:
    return np.full((16, 16, 3), value, dtype=np.uint8)


def finding(*tables: Iterator[TableRow]) -> tuple[str, str, str]:
    [one] = STUDY.findings(Table(row for rows in tables for row in rows))
    return one.verdict, one.why, one.ours


@pytest.mark.parametrize("part", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("scale", [40.0, 100.0, 300.0])
def test_the_share_until_a_part_of_the_rise_is_that_of_the_formula(scale: float, part: float) -> None:
    curve = saturating(1000, scale)
    # The mean of exp(-t / scale) over the 25 generations before and after is that value times a constant.
    constant = np.exp(-np.arange(-25, 26) / scale).mean()
    rise = 1.0 - np.exp(-np.arange(974, 1000) / scale).mean()
    reached = scale * math.log(constant / (1.0 - part * rise))
    assert share_until(curve, part) == (math.ceil(reached) + 1) / 1000


def test_the_measure_knows_nothing_of_the_scale_of_responses_and_little_of_noise() -> None:
    curve = saturating(1000, 100.0)
    noise = 0.05 * np.random.default_rng(0).normal(size=1000)
    assert share_until(-3.0 + 40.0 * curve, 0.95) == share_until(curve, 0.95)
    assert share_until(curve + noise, 0.95) == pytest.approx(share_until(curve, 0.95), abs=0.06)


def test_a_step_is_smoothed_over_a_twentieth_of_the_generations() -> None:
    step = np.concatenate([np.zeros(400), np.ones(600)])
    assert share_until(step, 0.95) == pytest.approx(0.4 + 0.025, abs=0.002)
    assert share_until(step, 0.06) == pytest.approx(0.4 - 0.025 + 0.003, abs=0.002)


def test_a_response_that_does_not_rise_never_has_a_part_of_its_rise() -> None:
    assert share_until(np.ones(100), 0.5) == math.inf
    assert share_until(np.linspace(1.0, 0.0, 100), 0.5) == math.inf
    flat = rows(np.ones(500))
    assert all(group.values == {} for group in STUDY.groups(Table(flat)))


def test_units_whose_response_does_not_rise_count_against_the_claim() -> None:
    good, flat = saturating(500, 95.0), np.ones(500)
    assert finding(rows(good, unit="1"), rows(flat, unit="2"), rows(flat, unit="3"))[0] == "not reproduced"
    assert finding(rows(good, unit="1"), rows(good, unit="2"), rows(flat, unit="3"))[0] == "reproduced"


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (saturating(500, 95.0), "reproduced"),  # 95 % at 0.57 of the presentations
        (saturating(500, 20.0), "not reproduced"),  # 0.12: it saturates too soon
        (np.linspace(0.0, 1.0, 500), "not reproduced"),  # it does not saturate
        (np.concatenate([np.zeros(150), saturating(350, 60.0)]), "not reproduced"),  # it rises late
        (np.linspace(1.0, 0.0, 500), "not reproduced"),
    ],
)
def test_the_verdict_follows_from_the_shape_of_the_curve(curve: np.ndarray, verdict: str) -> None:
    assert finding(rows(curve))[:2] == (verdict, "")


def test_a_short_evolution_says_nothing() -> None:
    verdict, why, _ = finding(rows(saturating(400, 95.0)))
    assert verdict == "not testable"
    assert "too short: 8,000 presentations" in why


def test_generations_that_do_not_fit_evenly_into_the_presentations_are_no_short_evolution() -> None:
    assert finding(rows(saturating(222, 42.0), each=45))[0] == "reproduced"  # 9,990 presentations


def test_of_a_longer_evolution_as_much_is_compared_as_the_published_one_had() -> None:
    curve = saturating(2000, 95.0)
    assert share_until(curve, 0.95) < 0.35  # of all its presentations
    assert finding(rows(curve))[0] == "reproduced"


def test_the_verdict_is_on_the_median_unit_of_each_network() -> None:
    good, early = saturating(500, 95.0), saturating(500, 20.0)
    units = [rows(good, unit="1"), rows(good, unit="2"), rows(early, unit="3")]
    assert finding(*units)[0] == "reproduced"
    assert finding(*units, rows(early, unit="4"), rows(early, unit="5"))[0] == "not reproduced"
    found = STUDY.findings(Table([*rows(good), *rows(early, network="other")]))
    assert [(one.network, one.verdict) for one in found] == [
        ("net", "reproduced"),
        ("other", "not reproduced"),
    ]


def test_our_figures_are_in_the_finding() -> None:
    _, _, ours = finding(rows(40.0 * saturating(500, 95.0), natural=20.5))
    assert ours == (
        "half of the rise at 0.13, 95 % of it at 0.55 of the presentations; last generation 39.8, best of "
        "1,000 natural images 20.5"
    )


def test_groups_are_units_with_the_mean_of_their_seeds() -> None:
    a, b = saturating(500, 95.0), saturating(500, 60.0)
    half, nearly = STUDY.groups(Table([*rows(a), *rows(b, seed=1)]))
    assert (half.condition, nearly.condition) == ("50 % of the rise, gen", "95 % of the rise, gen")
    mean = (share_until(a, 0.95) + share_until(b, 0.95)) / 2
    assert nearly.values == {("net", "fc", "3"): pytest.approx(mean)}
    assert (half.published, nearly.published) == (46 / 500, 314 / 500)


def test_images_are_of_generations_that_double() -> None:
    assert doublings(1) == [1]
    assert doublings(16) == [1, 2, 4, 8, 16]
    assert doublings(500) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 500]


def test_the_figure_has_the_images_and_the_curves(tmp_path: Path) -> None:
    table = Table([*rows(saturating(500, 95.0)), *rows(saturating(20, 5.0), network="short")])
    path = drawing.draw(STUDY, table, tmp_path / "figure.png")
    before = path.read_bytes()
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("RGB"))
    shown = {tuple(p) for p in np.unique(pixels.reshape(-1, 3), axis=0)}
    assert {(generation % 256,) * 3 for generation in doublings(500)} <= shown
    assert drawing.draw(STUDY, Table([]), tmp_path / "nothing.png").exists()
    assert drawing.draw(STUDY, table, path).read_bytes() == before


def test_a_shard_has_every_generation_and_the_images_of_its_best_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = f"{tiny_networks.network(tmp_path, monkeypatch)}:small"
    natural = tiny_networks.photographs(tmp_path / "photographs")
    folder = tmp_path / "study"
    plan = begin(
        STUDY,
        StudyPlan.make(
            study="overview", networks=[network], layers=["output"], references=natural, presentations=120,
            generators=[{"name": "pixels", "size_px": tiny_networks.SIZE_PX}], threads=1,
        ),
        folder,
    )  # fmt: skip
    run_shard(STUDY, folder, 1)
    table = gathered([folder])
    [unit] = table.where(measure=NATURAL_IMAGE).among("unit")
    record = Record(next(folder.glob("shards/*/00")))
    scores = record.scores(0)
    assert [row.value for row in table.where(measure=BEST).rows] == [one.max() for one in scores]
    assert [row.value for row in table.where(measure=MEAN).rows] == [one.mean() for one in scores]

    images = {row.x: pixels_of(row.image) for row in table.where(measure=IMAGE).rows}
    assert list(images) == doublings(len(scores))
    generator = GENERATORS.make(plan.generators[0].name, **plan.generators[0].options)
    last = len(scores) - 1
    code = codes_of(record, 0, [last])[last][int(scores[last].argmax())]
    record.close()
    drawn = draw(generator, torch.from_numpy(code)[None], tiny_networks.SIZE_PX)[0].permute(1, 2, 0).numpy()
    assert (images[last + 1] == drawn).all()

    from xdream import networks
    from xdream.subjects import network_units

    shown = references.load(natural).images(range(5), tiny_networks.SIZE_PX)
    subject = network_units(networks.load(network), [("5", unit)], None, tiny_networks.SIZE_PX)
    responses = subject.respond(shown)[:, 0]
    [row] = table.where(measure=NATURAL_IMAGE).rows
    assert (pixels_of(row.image) == shown[responses.argmax()].permute(1, 2, 0).numpy()).all()
    [best] = table.values("best natural")
    assert best == pytest.approx(float(responses.max()))
    assert [one.verdict for one in STUDY.findings(table)] == ["not testable"]
    assert drawing.draw(STUDY, table, folder / "overview.png").exists()
