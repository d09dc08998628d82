"""Threads beside each other: what they reached, and how sure that is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import xdream
from xdream.cli.main import main
from xdream.experiment.plan import Plan
from xdream.report import show, summarise, thread_lines, thread_pairs, threads_of
from xdream.report.threads import Thread
from xdream.store import Record

THREADS = [
    {"generator": {"name": "pixels", "size_px": 8}},
    {"generator": {"name": "fourier", "size_px": 16}},
]


def an_experiment(folder: Path, **changes: object) -> Record:
    values = {
        "targets": ["known:linear::3", "known:energy::1"],
        "optimizer": {"name": "genetic", "population": 6},
        "variants": THREADS,
        "image_size_px": 8,
        "presentations": 300,
        "threads": 1,
    }
    return xdream.run(Plan.make(**values | changes), folder)


def a_thread(mean: np.ndarray, name: str = "a", each: float = 10.0) -> Thread:
    shown = each * np.arange(1.0, len(mean) + 1)
    nothing = np.full(len(mean), np.nan)
    return Thread("t", name, "o", (0,), shown, mean, nothing, nothing, mean[0], mean[-1], mean.max(), 0.5)


def test_threads_are_the_runs_of_several_generators_on_one_target(tmp_path: Path) -> None:
    with an_experiment(tmp_path / "x", runs=2) as record:
        found = threads_of(record, summarise(record))
        assert [(one.target, one.generator, one.runs) for one in found] == [
            ("known:linear::3", "pixels", (0, 1)),
            ("known:linear::3", "fourier", (4, 5)),
            ("known:energy::1", "pixels", (2, 3)),
            ("known:energy::1", "fourier", (6, 7)),
        ]
        one, scores = found[0], [record.scores(run) for run in (0, 1)]
        assert one.presentations.tolist() == [6.0 * g for g in range(1, 51)]
        assert one.mean[7] == pytest.approx(np.mean([scores[0][7], scores[1][7]]))
        assert one.first == pytest.approx(np.mean([of[g] for of in scores for g in (0, 1)]))
        assert one.last == pytest.approx(np.mean([of[g] for of in scores for g in (-2, -1)]))
        assert one.best == max(score for of in scores for g in of for score in g)
        assert one.last > one.first
        assert one.p < 0.001


def test_one_generator_makes_no_threads(tmp_path: Path) -> None:
    variants = [{}, {"optimizer": {"name": "nes", "population": 6}}]
    generator = {"name": "pixels", "size_px": 8}
    with an_experiment(tmp_path / "x", variants=variants, generator=generator) as record:
        assert threads_of(record, summarise(record)) == []


def test_a_steady_difference_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(3)
    base = np.linspace(0.0, 5.0, 100)
    [pair] = thread_pairs([a_thread(base + 1.0 + 0.1 * rng.normal(size=100)), a_thread(base, "b")])
    assert pair.difference == pytest.approx(1.0, abs=0.05)
    assert pair.low < pair.difference < pair.high
    assert pair.p < 0.01
    p = [
        next(thread_pairs([a_thread(base + rng.normal(size=100)), a_thread(base, "b")])).p for _ in range(40)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.2


def test_generations_of_unlike_size_are_compared_at_equal_presentations() -> None:
    """Both scores are the number of presentations; by generation the larger population would be ahead."""
    many, few = np.arange(1.0, 101.0), np.arange(1.0, 51.0)
    [pair] = thread_pairs([a_thread(many * 10.0, each=10.0), a_thread(few * 20.0, "b", each=20.0)])
    assert pair.difference == pytest.approx(0.0, abs=0.2)  # before its first generation ended b has none


def test_too_few_generations_give_no_p() -> None:
    short = np.arange(3.0)
    [pair] = thread_pairs([a_thread(short), a_thread(short + 1.0, "b")])
    assert pair.difference == -1.0
    assert np.isnan(pair.p)
    lines = list(thread_lines([a_thread(short), replace(a_thread(short + 1.0, "b"), p=np.nan)]))
    assert "too few generations" in lines[2]
    assert "too few generations" in lines[3]


def test_missing_scores_are_left_out(tmp_path: Path) -> None:
    some = np.where(np.arange(100) % 7 == 3, np.nan, 1.0)
    [pair] = thread_pairs([a_thread(some), a_thread(np.zeros(100), "b")])
    assert pair.difference == 1.0
    [pair] = thread_pairs([a_thread(some), a_thread(np.full(100, np.nan), "b")])
    assert np.isnan(pair.difference)


def test_summary_and_figures_show_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    an_experiment(tmp_path / "x").close()
    assert main(["show", str(tmp_path / "x")]) == 0
    out = capsys.readouterr().out
    assert "threads of known:linear::3" in out
    assert "pixels, genetic less fourier, genetic, at equal presentations" in out
    with Record(tmp_path / "x") as record:
        figures = show(record, tmp_path / "figures")
    assert tmp_path / "figures" / "threads.png" in figures.beside
