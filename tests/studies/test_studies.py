"""Each study from its plan to its report, with a network and a generator that take no time."""

from pathlib import Path

import numpy as np
import pytest
from study_tables import run

from xdream.studies import STUDIES, report, write_outputs
from xdream.studies.initialisations import BETWEEN


@pytest.mark.parametrize("name", ["targets", "generators", "optimizers", "initialisations"])
def test_a_study_runs_to_its_figure(tmp_path: Path, name: str) -> None:
    changes = {
        "generators": {"generators": [{"name": "pixels", "size_px": 8}, {"name": "fourier", "size_px": 8}]},
        "optimizers": {"seeds": 1, "presentations": 120},
    }.get(name, {})
    study = STUDIES[name]
    found = run(study, tmp_path, **changes)
    assert found.among("study") == [name]
    written = write_outputs([study], found, tmp_path)
    assert written[name].stat().st_size > 10_000
    text = (tmp_path / "report.md").read_text()
    for one in study.findings(found):
        assert one.claim in text
    assert report.as_json(study, found)["groups"]
    assert "published" in report.plain(study, found)


def test_the_ends_of_a_line_are_the_ends_of_the_evolutions(tmp_path: Path) -> None:
    """Drawn and shown again, the end codes give the last generation's best."""
    found = run(STUDIES["initialisations"], tmp_path, layers=["early=conv1"])
    ends = {
        (row.unit, row.seed): row.value
        for row in found.where(measure="relative activation", condition="random").rows
    }
    lines = found.where(measure=BETWEEN)
    assert lines.rows
    for row in lines.where(x=0.0).rows:
        assert row.value == pytest.approx(ends[row.unit, row.seed], rel=1e-4)
    for row in lines.where(x=1.0).rows:
        other = int(row.condition.split(" to ")[1])
        assert row.value == pytest.approx(ends[row.unit, other], rel=1e-4)


def test_prepared_beginnings_are_the_images_that_they_are_called_after(tmp_path: Path) -> None:
    """`pixels` can encode exactly: the first generation from the best images holds the best one."""
    found = run(STUDIES["initialisations"], tmp_path, layers=["early=conv1"], image_size_px=8)
    best = found.by_unit("initial relative activation", condition="best ivt")
    worst = found.by_unit("initial relative activation", condition="worst ivt")
    assert best
    for unit, value in best.items():
        assert value == pytest.approx(1.0, abs=0.05)
        assert value >= worst[unit]


def test_noise_is_scaled_by_the_expected_best_natural_image(tmp_path: Path) -> None:
    found = run(STUDIES["optimizers"], tmp_path, layers=["early=conv1"], seeds=1, presentations=120)
    snr = found.where(measure="SNR", condition="genetic, 20 spikes")
    last = found.by_unit("relative activation", condition="genetic, 20 spikes")
    for row in snr.rows:
        # The mean spikes of the last generation are below those of its best image.
        assert 0.0 < row.value <= 20.0 * last[row.network, row.layer, row.unit] + 1e-6
    alike = np.array([row.value for row in found.where(measure="self-correlation").rows])
    assert ((alike[~np.isnan(alike)] >= 0.0) & (alike[~np.isnan(alike)] <= 1.0)).all()
    assert not np.isnan(alike).all()
