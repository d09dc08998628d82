"""The images that a record keeps: those that were asked for, with the pixels that were shown."""

import hashlib
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
import torch

import xdream
from xdream.errors import BadInput
from xdream.experiment.kept_images import KeptImages
from xdream.experiment.plan import Plan, plan_of
from xdream.experiment.runs import Run
from xdream.images.files import decoded
from xdream.store import FILE_NAME, Record


def plan(**changes: Any) -> Plan:
    small = {
        "targets": ["known:linear::3-4"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 12,
        "seed": 11,
        "threads": 1,
    }
    return Plan.make(**small | changes)


def kept(record: Record) -> dict[str, bytes]:
    return dict(record.query("SELECT pixels, png FROM kept_image"))


def test_an_experiment_keeps_the_best_of_each_generation(tmp_path: Path) -> None:
    with xdream.run(plan(), tmp_path / "x") as record:
        best = {record.best_image(run, g).pixels for run in (0, 1) for g in range(3)}  # type: ignore[union-attr]
        assert set(kept(record)) == best
        for pixels, png in kept(record).items():
            assert hashlib.sha256(decoded(png).numpy().tobytes()).hexdigest() == pixels
            assert record.kept_image(pixels) == png
        assert record.kept_image("0" * 64) is None
        assert record.kept_image(None) is None


def test_all_are_kept_where_all_are_wanted_and_none_where_none_are(tmp_path: Path) -> None:
    with xdream.run(plan(keep_images="all"), tmp_path / "all") as record:
        assert set(kept(record)) == {pixels for (pixels,) in record.query("SELECT pixels FROM image")}
    with xdream.run(plan(keep_images="none"), tmp_path / "none") as record:
        assert kept(record) == {}
    with xdream.run(plan(record="scores"), tmp_path / "scores") as record:
        assert kept(record) == {}
    with pytest.raises(BadInput, match="keep_images 'best' needs record everything"):
        plan(record="scores", keep_images="best")


def test_in_several_chunks_the_best_is_kept_also_after_a_kill(tmp_path: Path) -> None:
    small = plan(batch=3)
    with xdream.run(small, tmp_path / "whole") as record:
        whole = kept(record)
        assert {record.best_image(0, g).pixels for g in range(3)} <= set(whole)  # type: ignore[union-attr]
        assert len(whole) < 24
    with xdream.run(small, tmp_path / "killed") as record:
        dump = record.dump()
    # As after a kill between the first chunk of the last generation and its second.
    with apsw.Connection(str(tmp_path / "killed" / FILE_NAME)) as connection:
        second = "generation = 2 AND chunk > 0"
        connection.execute(
            f"DELETE FROM kept_image WHERE pixels IN (SELECT pixels FROM image WHERE {second})"
        )
        connection.execute(f"DELETE FROM presentation WHERE {second}")
        connection.execute(f"UPDATE image SET chunk = NULL, pixels = NULL WHERE {second}")
        connection.execute("UPDATE image SET score = NULL, noise_free_score = NULL WHERE generation = 2")
        connection.execute("DELETE FROM told WHERE generation = 2")
        connection.execute("UPDATE run SET ending = NULL, finished_utc = NULL")
        connection.execute("DELETE FROM state WHERE generation > 0")
        states = xdream.run(small.model_copy(update={"presentations": 8}), tmp_path / "eight").dump()["state"]
        connection.executemany("INSERT INTO state VALUES (?, ?, ?)", [row for row in states if row[1] == 2])
    with xdream.resume(tmp_path / "killed") as record:
        assert record.dump() == dump
        assert kept(record) == whole


def test_the_objective_says_which_is_best_and_a_missing_response_never_is() -> None:
    run = Run.__new__(Run)
    object.__setattr__(run, "id", 0)
    object.__setattr__(run, "score", lambda responses: -responses.mean((1, 2)))
    keeper = KeptImages("best")
    assert keeper.note(0, run, torch.tensor([torch.nan, 3.0, 1.0])) == [2]
    assert keeper.note(0, run, torch.tensor([2.0, 1.0])) == []
    assert keeper.note(0, run, torch.tensor([0.5])) == [0]
    assert keeper.note(1, run, torch.tensor([9.0])) == [0]
    assert keeper.note(2, run, torch.tensor([torch.nan])) == []
    assert keeper.note(3, run, torch.empty(0)) == []


def test_figures_use_what_was_kept_where_nothing_can_be_drawn_any_more(tmp_path: Path) -> None:
    generator = tmp_path / "gone.safetensors"
    from xdream.report.redraw import redraw

    with xdream.run(plan(), tmp_path / "x") as record:
        image = record.best_image(0)
        assert image is not None
        broken = plan_of(record).model_copy(update={"generator": {"name": str(generator)}})
        found, said = redraw(record, broken, [image])
        assert found[image.id].exact
        assert said == []
        pixels = np.ascontiguousarray(found[image.id].pixels.transpose(2, 0, 1))
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == image.pixels
