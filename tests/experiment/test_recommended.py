"""The code that an optimizer recommends: found in any record, and shown once when an experiment has ended."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xdream
from xdream.errors import BadInput
from xdream.experiment import recommended, replay
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.opening import parts_of
from xdream.experiment.plan import Plan
from xdream.images.files import pixels_of


def plan(**more: Any) -> Plan:
    return Plan.make(
        **{
            "targets": ["known:energy::1", "known:linear::3"],
            "generator": {"name": "pixels", "size_px": 8},
            "optimizer": {"name": "rank-nes", "population": 6},
            "presentations": 60,
            "noise_scale": 5.0,
            **more,
        }
    )


@pytest.mark.parametrize("policy", ["everything", "scores"])
def test_the_recommended_code_is_scored_without_noise_at_the_end(tmp_path: Path, policy: str) -> None:
    record = xdream.run(plan(record=policy), tmp_path / "x")
    found = json.loads(record.facts["recommended"])
    parts = parts_of(record)
    for r in parts.runs:
        code = replay.recommended(record, r.id)
        assert code is not None
        response = parts.forward.respond(r.subject, parts.forward.draw(torch.from_numpy(code)[None]))
        assert found[str(r.id)]["score"] == pytest.approx(float(response[0, r.unit]))
        kept = record.kept_image(found[str(r.id)]["pixels"])
        assert (kept is None) == (policy == "scores")
        if kept is not None:
            shown = parts.forward.draw(torch.from_numpy(code)[None])[0]
            np.testing.assert_array_equal(pixels_of(kept), shown.permute(1, 2, 0).numpy())
    assert found["1"]["score"] > np.mean(record.scores(1)[0])


def test_it_is_the_mean_of_all_that_was_told(tmp_path: Path) -> None:
    """Told again to an optimizer of its own, from the first state."""
    record = xdream.run(plan(), tmp_path / "x")
    parts = parts_of(record)
    run = parts.runs[0]
    optimizer: Any = xdream.optimizers.OPTIMIZERS.make("rank-nes", **run.hyperparameters)
    centre = parts.generator.centre
    spread = xdream.generators.spread_of(parts.generator.initial, centre)
    state = optimizer.start(torch.tensor([run.seed]), torch.stack((centre, spread))[None])
    for told in record.scores(0, noise_free=False):
        state = optimizer.tell(state, torch.from_numpy(np.array(told))[None])
    np.testing.assert_array_equal(replay.recommended(record, 0), optimizer.recommended(state)[0].numpy())


def test_what_is_due_is_computed_by_the_next_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(xdream.run(plan(), tmp_path / "whole").facts["recommended"])

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recommended, "compute", killed)
        with pytest.raises(KeyboardInterrupt):
            xdream.run(plan(), tmp_path / "x")
    record = xdream.Record(tmp_path / "x")
    assert record.finished
    assert recommended.is_due(record)
    record = xdream.resume(tmp_path / "x", NoCallback())
    assert json.loads(record.facts["recommended"]) == whole
    assert not recommended.is_due(record)


def test_an_optimizer_that_recommends_nothing_has_none(tmp_path: Path) -> None:
    record = xdream.run(plan(optimizer={"name": "genetic", "population": 6}), tmp_path / "x")
    assert "recommended" not in record.facts
    assert replay.recommended(record, 0) is None


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    record = xdream.run(plan(), tmp_path / "x")
    with pytest.raises(BadInput, match="has no run 7; it has 0 to 1"):
        replay.recommended(record, 7)


def test_a_silent_start_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xdream.experiment.forward import Forward
    from xdream.report.summary import notes_of

    respond = Forward.respond
    calls = {"n": 0}

    def silent_at_first(self: Forward, subject: int, images: torch.Tensor) -> torch.Tensor:
        calls["n"] += subject == 0
        found = respond(self, subject, images)
        return found * 0.0 + 1.0 if subject == 0 and calls["n"] <= 3 else found

    monkeypatch.setattr(Forward, "respond", silent_at_first)
    record = xdream.run(plan(noise_scale=None, batch=12), tmp_path / "x")
    assert record.silent_starts() == {0: 3}
    [note] = [one for one in notes_of(record) if "silent" in one]
    assert note == (
        "silent start: all scores of the first generations of 1 run were equal (up to 3 generations)"
    )
    other = xdream.run(plan(noise_scale=None), tmp_path / "y")
    assert other.silent_starts() == {}


def test_its_image_and_its_score_are_shown(tmp_path: Path) -> None:
    from xdream import report

    record = xdream.run(plan(), tmp_path / "x")
    first = report.summarise(record)[0]
    assert first.recommended == pytest.approx(json.loads(record.facts["recommended"])["0"]["score"])
    report.show(record)
    written = tmp_path / "x" / "figures" / "run000-recommended.png"
    assert written.read_bytes() == record.kept_image(json.loads(record.facts["recommended"])["0"]["pixels"])
    record = xdream.run(plan(keep_images="none", targets=["known:linear::3"]), tmp_path / "none")
    report.show(record)
    assert not (tmp_path / "none" / "figures" / "recommended.png").exists()
