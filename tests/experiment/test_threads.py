"""Runs of several generators in one experiment: each as it is alone, in the same blocks and pages."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xdream
from xdream.cli.main import main
from xdream.errors import BadInput, UnknownName
from xdream.experiment import replay
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan, generators_of
from xdream.export.base import about
from xdream.images.files import pixels_of
from xdream.report import summarise
from xdream.report.figures import show
from xdream.store import Record, Store

SIZE = 8
PIXELS = {"name": "pixels", "size_px": SIZE}
FOURIER = {"name": "fourier", "size_px": 2 * SIZE}
THREADS = [{"generator": PIXELS}, {"generator": FOURIER}]


def plan(**changes: Any) -> Plan:
    small = {
        "targets": ["known:linear::3", "known:energy::1"],
        "optimizer": {"name": "genetic", "population": 4},
        "variants": THREADS,
        "image_size_px": SIZE,
        "presentations": 20,
        "seed": 11,
        "threads": 1,
        "batch": 3,
    }
    return Plan.make(**small | changes)


def rows_of(record: Record, run: int) -> list[tuple[Any, ...]]:
    """Everything of one run's images but their chunks: codes, pixels, scores."""
    return [(*row[1:3], *row[4:]) for row in record.dump()["image"] if row[0] == run]


@pytest.mark.parametrize("optimizer", ["genetic", "fdgd", "rank-nes"])
def test_each_thread_is_what_it_is_alone(tmp_path: Path, optimizer: str) -> None:
    both = {"optimizer": {"name": optimizer, "population": 4}}
    together = xdream.run(plan(**both), tmp_path / "both")
    for place, one in enumerate(THREADS):
        alone = xdream.run(plan(**both, variants=[one]), tmp_path / f"alone{place}")
        for run in range(2):
            assert rows_of(together, 2 * place + run) == rows_of(alone, run)
    assert [one.name for one in generators_of(together)] == ["pixels", "pixels", "fourier", "fourier"]
    assert [one.generator for one in summarise(together)] == ["pixels", "pixels", "fourier", "fourier"]


def test_no_chunk_holds_images_of_two_generators(tmp_path: Path) -> None:
    record = xdream.run(plan(), tmp_path / "x")
    rows = record.query("SELECT generation, chunk, count(DISTINCT run / 2) FROM image GROUP BY 1, 2")
    assert {generators for _, _, generators in rows} == {1}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kept", ["everything", "scores"])
def test_killed_after_each_transaction_it_goes_on_as_if_it_had_not_been(
    tmp_path: Path, kept: str, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = {"references": str(photographs)}
    if kept == "everything":
        between["references_per_generation"] = 2  # type: ignore[assignment]
    made = plan(record=kept, **between)
    expected = xdream.run(made, tmp_path / "whole").dump()
    left = [0]
    transaction = Store.transaction

    def mortal(store: Store) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return transaction(store)

    for number in range(1, 40, 3):
        folder = tmp_path / f"killed{number}"
        with monkeypatch.context() as patch:
            patch.setattr(Store, "transaction", mortal)
            left[0] = number
            with contextlib.suppress(Killed):
                xdream.run(made, folder)
        if folder.exists():
            assert xdream.resume(folder).dump() == expected


def test_the_images_of_every_thread_are_drawn_again_bit_for_bit(tmp_path: Path) -> None:
    record = xdream.run(plan(keep_images="none"), tmp_path / "x")
    figures = show(record, tmp_path / "figures")
    assert not figures.warnings
    assert [one.best is not None and one.best.name for one in figures.runs] == [
        f"run00{run}-best.png" for run in range(4)
    ]


def test_scores_alone_are_enough_for_the_codes_of_every_thread(tmp_path: Path) -> None:
    whole, small = (xdream.run(plan(record=kept), tmp_path / kept) for kept in ("everything", "scores"))
    for run in range(4):
        for a, b in zip(replay.generations(whole, run), replay.generations(small, run), strict=True):
            np.testing.assert_array_equal(a, b)


def test_images_are_shown_at_the_size_of_the_largest(tmp_path: Path) -> None:
    record = xdream.run(plan(image_size_px=None, keep_images="all"), tmp_path / "x")
    assert Plan.from_toml(record.facts["plan"]).image_size_px == 2 * SIZE
    kept = record.query("SELECT png FROM kept_image")
    assert {pixels_of(one).shape for (one,) in kept} == {(2 * SIZE, 2 * SIZE, 3)}
    assert show(record, tmp_path / "figures").warnings == ()


def test_a_generator_is_made_once_whatever_the_number_of_its_variants() -> None:
    parts = assemble(plan(variants=[*THREADS, {"generator": PIXELS, "seed": 3}, {"seed": 4, "runs": 2}]))
    assert len(parts.generators) == 3  # the plan's own, natural-v1, draws for the last
    assert [r.generator for r in parts.runs] == [0, 0, 1, 1, 0, 0, 2, 2, 2, 2]


def test_each_thread_has_the_defaults_of_its_generator() -> None:
    parts = assemble(plan(optimizer="rank-nes", variants=[{}, {"generator": PIXELS}]))
    natural, pixels = parts.plan.variants
    assert natural.optimizer is not None
    assert pixels.optimizer is not None
    assert natural.optimizer.options["population"] == 10
    assert pixels.optimizer.options["population"] == 20
    assert parts.declared[0].options["codes"] == "ball"


def test_a_thread_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="nonsense"):
        xdream.run(plan(variants=[{"generator": "nonsense"}]), tmp_path / "x")
    codes = tmp_path / "codes.npz"
    np.savez(codes, codes=np.zeros((2, len(assemble(plan(variants=[])).generator.centre))))
    with pytest.raises(BadInput, match="needed"):
        xdream.run(plan(init=f"codes:{codes}"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_command_says_with_which_generator_codes_were_made(tmp_path: Path) -> None:
    xdream.run(plan(), tmp_path / "x").close()
    for run, name in ((0, "pixels"), (2, "fourier")):
        out = tmp_path / f"{run}.npz"
        assert main(["codes", str(tmp_path / "x"), "--run", str(run), "--out", str(out)]) == 0
        with np.load(out) as codes:
            assert str(codes["generator"]) == name


def test_a_table_has_codes_of_unlike_lengths(tmp_path: Path) -> None:
    record = xdream.run(plan(), tmp_path / "x")
    lengths = {len(code) // 4 for (code,) in record.query("SELECT code FROM image")}
    assert len(lengths) == 2
    for kind in ("csv", "mat"):
        assert main(["export", str(tmp_path / "x"), "--to", kind, "--out", str(tmp_path / kind)]) == 0
    assert [one["generator"]["name"] for one in about(record)["runs"]] == [
        "pixels",
        "pixels",
        "fourier",
        "fourier",
    ]


def test_an_experiment_with_one_generator_has_no_fact_of_several(tmp_path: Path) -> None:
    record = xdream.run(
        plan(variants=[{"generator": PIXELS}, {"generator": PIXELS, "seed": 2}]), tmp_path / "x"
    )
    assert "generators" not in record.facts
    assert [one.name for one in generators_of(record)] == ["pixels"] * 4
    assert json.loads(record.facts["identities"]) == {}
    assert torch.get_num_threads() == 1
