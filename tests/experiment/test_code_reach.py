"""How far codes went, and whether the report says that images left the natural region."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import xdream
from xdream.experiment import code_reach, replay
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS
from xdream.registry import declares
from xdream.report import summarise
from xdream.store import Record


def plan(**more: Any) -> Plan:
    return Plan.make(
        **{
            "targets": ["known:linear::3"],
            "generator": {"name": "fourier", "size_px": 8},
            "optimizer": {"name": "genetic", "population": 4, "mutation_rate": 1.0, "mutation_size": 3.0},
            "presentations": 40,
            **more,
        }
    )


@pytest.mark.parametrize("policy", ["everything", "scores"])
def test_it_is_that_of_the_last_codes_in_units_of_the_spread(tmp_path: Path, policy: str) -> None:
    record = xdream.run(plan(record=policy), tmp_path / "x")
    codes = torch.from_numpy(replay.codes_of(record, 0, {9})[9])
    spread = GENERATORS.make("fourier", size_px=8).initial.std
    expected = float((codes / spread).square().mean(1).sqrt().mean())
    [(rms, limit)] = json.loads(record.facts[code_reach.FACT]).values()
    assert rms == pytest.approx(expected, rel=1e-5)
    assert limit is None
    [summary] = summarise(record)
    assert summary.code_rms == rms
    assert summary.as_json()["code_rms"] == rms


def test_a_search_that_left_the_natural_region_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @declares(region=("ball", 1.1))
    def odd() -> Any:
        return GENERATORS.make("fourier", size_px=8)

    monkeypatch.setitem(GENERATORS._factories, "odd", odd)
    free = xdream.run(plan(generator="odd"), tmp_path / "free")  # genetic leaves codes free
    [summary] = summarise(free)
    assert summary.code_rms is not None
    assert summary.code_rms > 1.5
    assert "1 run left the region where the generator draws natural images" in "; ".join(summary.notes)
    ball = xdream.run(plan(generator={"name": "odd", "codes": "ball", "radius": 1.1}), tmp_path / "ball")
    [summary] = summarise(ball)
    assert summary.code_rms == pytest.approx(1.1, abs=1e-4)
    assert "natural images" not in "; ".join(summary.notes)


class Killed(BaseException):
    pass


def test_killed_before_it_is_written_it_is_computed_by_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(code_reach, "compute", killed)
        with pytest.raises(Killed):
            xdream.run(plan(), tmp_path / "x")
    with Record(tmp_path / "x") as record:
        assert record.facts[code_reach.FACT] == ""
        assert summarise(record)[0].code_rms is None
    with xdream.resume(tmp_path / "x") as record:
        assert summarise(record)[0].code_rms is not None
