"""Each study from its plan to its report, with a network and a generator that take no time."""

from pathlib import Path

import pytest

from study_tables import NETWORK, photographs, run
from xdream.store import Record
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
    """`pixels` encodes exactly: of each unit's best 20 of 60 images the best is 1, of the others none is."""
    many = photographs(tmp_path / "many", 60, size_px=8)
    changes = {"layers": ["early=conv1"], "image_size_px": 8, "references": str(many), "seeds": 1}
    found = run(STUDIES["initialisations"], tmp_path, **changes)
    first = {
        choice: found.by_unit("initial relative activation", condition=f"{choice} ivt")
        for choice in ("best", "middle", "worst")
    }
    assert len(first["best"]) == 2
    for unit, value in first["best"].items():
        assert value == pytest.approx(1.0, abs=0.01)
        assert first["worst"][unit] < first["middle"][unit] < 0.99


def test_noise_is_scaled_by_the_expected_best_natural_image(tmp_path: Path) -> None:
    """Spikes per unit of activation are the spikes over the expected best; so is what is said of noise."""
    found = run(STUDIES["optimizers"], tmp_path, layers=["early=conv1"], seeds=1, presentations=120)
    best = found.by_unit("best natural")
    expected = {unit: of * best[unit] for unit, of in found.by_unit("expected best natural").items()}
    names = {f"{NETWORK}:{layer}:{unit}": (network, layer, unit) for network, layer, unit in expected}
    seen = set()
    for path in (tmp_path / "study" / "shards").rglob("experiment.sqlite"):
        record = Record(path.parent)
        for one in record.runs():
            if one.spikes_per_activation is not None:
                spikes = one.spikes_per_activation * expected[names[one.target]]
                assert spikes == pytest.approx(20.0, rel=1e-4) or spikes == pytest.approx(5.0, rel=1e-4)
                seen.add(round(spikes))
        record.close()
    assert seen == {5, 20}
    last = found.by_unit("last", condition="genetic, 20 spikes")
    for row in found.where(measure="SNR", condition="genetic, 20 spikes").rows:
        unit = (row.network, row.layer, row.unit)
        # The mean spikes of the last generation are below those of its best image.
        assert 0.0 < row.value <= 20.0 * last[unit] / expected[unit] * 1.0001
