"""What the numbers of the best image are, where a generator names them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import xdream
from xdream.cli.main import main
from xdream.experiment import replay
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS
from xdream.generators.parameters import Parameter, values_of
from xdream.report import parameters


def plan(**more: object) -> Plan:
    return Plan.make(
        **{
            "targets": ["known:linear::0", "known:linear::1"],
            "generator": {"name": "gratings", "size_px": 16},
            "presentations": 40,
            **more,
        }
    )


@pytest.mark.parametrize("policy", ["everything", "scores"])
def test_the_table_is_of_the_best_image_of_each_run(tmp_path: Path, policy: str) -> None:
    record = xdream.run(plan(record=policy), tmp_path / "x")
    found = parameters.best_parameters(record)
    generator = GENERATORS.make("gratings", size_px=16)
    assert [one.name for one in found[0].named][:4] == ["orientation", "frequency", "phase", "contrast"]
    for one in found:
        image = record.best_image(one.run)
        assert image is not None
        code = replay.codes_of(record, one.run, [image.generation])
        values = generator.values(  # type: ignore[attr-defined]
            torch.from_numpy(code[image.generation][image.slot])[None]
        )[0].tolist()
        assert list(one.values.values())[3:7] == pytest.approx(values[3:7], rel=1e-5)
        assert 0.0 <= one.values["orientation"] < 180.0
        assert one.values["orientation"] == pytest.approx(values[0] % 180.0, rel=1e-4, abs=1e-3)


def test_it_is_printed_written_and_in_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xdream.run(plan(), tmp_path / "x").close()
    assert main(["show", str(tmp_path / "x")]) == 0
    out = capsys.readouterr().out
    assert "parameter    " in out
    assert "frequency" in out
    assert "cycles per image" in out
    rows = list(csv.DictReader((tmp_path / "x/figures/parameters.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == ["0"] * 9 + ["1"] * 9
    assert main(["show", str(tmp_path / "x"), "--json", "--no-figures"]) == 0
    runs = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]
    assert runs[1]["parameters"][1]["name"] == "frequency"
    assert runs[1]["parameters"][1]["value"] == pytest.approx(float(rows[10]["value"]), rel=1e-5)


def test_generators_without_named_numbers_have_no_table(tmp_path: Path) -> None:
    record = xdream.run(plan(generator={"name": "pixels", "size_px": 8}), tmp_path / "x")
    assert parameters.best_parameters(record) == []
    assert parameters.table([]) == ""
    assert parameters.write([], tmp_path) is None


def test_threads_with_several_generators_have_a_table_each(tmp_path: Path) -> None:
    variants = [{"generator": {"name": n, "size_px": 16}} for n in ("pixels", "gratings", "cppn")]
    record = xdream.run(plan(targets="known:linear::0", variants=variants), tmp_path / "x")
    found = parameters.best_parameters(record)
    assert [(one.run, len(one.named)) for one in found] == [(1, 9), (2, 131)]
    lines = parameters.table(found).splitlines()
    assert [line.split()[0] for line in lines].count("parameter") == 2
    assert "… and 91 more, in parameters.csv" in lines


def test_a_value_at_a_bound_is_marked() -> None:
    named = (Parameter("size", "px", 1.0, 4.0, logarithmic=True), Parameter("angle", "deg", 0.0, 360.0, True))
    values = values_of(named, np.array([1.5, 1.25], dtype=np.float32))
    assert values == {"size": 4.0, "angle": 90.0}
    one = parameters.BestParameters(0, "t", named, values, frozenset({"size"}))
    assert "4.000!" in parameters.table([one])
    assert [p.at_bound(c) for p, c in zip(named, (1.5, 1.25), strict=True)] == [True, False]


def test_half_circles_are_folded() -> None:
    named = (
        Parameter("orientation", "deg", 0.0, 360.0, True, folded="phase"),
        Parameter("phase", "deg", 0.0, 360.0, True),
    )
    found = values_of(named, np.array([210.0 / 360.0, 50.0 / 360.0], dtype=np.float32))
    assert found["orientation"] == pytest.approx(30.0, abs=1e-3)
    assert found["phase"] == pytest.approx(310.0, abs=1e-3)


def test_the_list_of_generators_says_what_the_numbers_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "generators", "gratings"]) == 0
    assert "code: frequency: 1 to 16 cycles per image, logarithmic" in capsys.readouterr().out
    assert main(["list", "generators", "cppn"]) == 0
    assert "more" in capsys.readouterr().out
