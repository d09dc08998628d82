"""Figures and the table: what they say, exact pixels and bytes, and nothing missing passed over."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from xdream.errors import BadInput, WeightsMissing
from xdream.experiment import assemble as assembling
from xdream.experiment import loop, record_policy
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS
from xdream.report import RunSummary, figure_style, show, summarise, table
from xdream.report.curves import log_spaced
from xdream.report.text_table import number
from xdream.store import FILE_NAME, Record
from xdream.types import quantise


class Stop(Exception):
    """The experiment is killed here."""


class StopAt(loop.NoCallback):
    """A callback that kills the experiment before a generation."""

    def __init__(self, generation: int) -> None:
        self.generation = generation

    def stage(self, name: str, done: int, total: int) -> None:
        if name == "generations" and done == self.generation:
            raise Stop


def plan(**values: Any) -> Plan:
    defaults = {
        "targets": ("known:linear::0",),
        "generator": {"name": "fourier", "size_px": 16, "cutoff_cycles": 8},
        "optimizer": {"name": "genetic", "population": 6},
        "presentations": 31,
        "batch": 5,
    }
    return Plan.make(**defaults | {"keep_images": "none"} | values)


def stopped(folder: Path, generation: int, **values: Any) -> Record:
    with pytest.raises(Stop):
        loop.run(plan(**values), folder, StopAt(generation))
    return Record(folder)


def changed(record: Record, sql: str) -> Record:
    apsw.Connection(str(record.folder / FILE_NAME)).execute(sql)
    return Record(record.folder)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"$photo_{seed}.png")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "out"
    loop.run(plan(references=str(photographs)), folder)
    return folder


@pytest.fixture
def record(finished: Path, tmp_path: Path) -> Record:
    return Record(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def several(tmp_path: Path) -> Record:
    return loop.run(plan(runs=3, presentations=12), tmp_path / "several")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Every figure by the name of its file."""
    kept: dict[str, Figure] = {}
    write = figure_style.write_figure

    def keep(figure: Figure, path: Path) -> Path:
        kept[path.name] = figure
        return write(figure, path)

    monkeypatch.setattr(figure_style, "write_figure", keep)
    return kept


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def pixels_of(path: Path | None) -> torch.Tensor:
    assert path is not None
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


# Pixels.


def test_the_best_image_has_exactly_the_pixels_that_were_shown(record: Record) -> None:
    [run] = show(record).runs
    best = record.best_image(0)
    assert best is not None
    sql = f"SELECT slot, code FROM image WHERE generation = {best.generation} AND chunk = {best.chunk}"
    rows = apsw.Connection(str(record.folder / FILE_NAME)).execute(f"{sql} ORDER BY slot").fetchall()
    codes = np.stack([np.frombuffer(code, "<f4") for _, code in rows])
    with torch.inference_mode():
        images = quantise(GENERATORS.make("fourier", size_px=16, cutoff_cycles=8)(torch.from_numpy(codes)))
    row = [slot for slot, _ in rows].index(best.slot)
    assert torch.equal(pixels_of(run.best), images[row])
    assert record_policy.identity(pixels_of(run.best)) == best.pixels


def test_the_best_image_of_the_last_generation_is_not_that_of_all(record: Record) -> None:
    changed(record, "UPDATE image SET noise_free_score = 99 WHERE generation = 1 AND slot = 2")
    [run] = show(record).runs
    for path, generation in ((run.best, 1), (run.best_last_generation, 4)):
        expected = record.best_image(0, generation)
        assert expected is not None
        assert record_policy.identity(pixels_of(path)) == expected.pixels


def test_images_of_runs_that_were_shown_together_are_exact_too(several: Record) -> None:
    shown = show(several)
    assert shown.warnings == ()
    for run in shown.runs:
        best = several.best_image(run.run)
        assert best is not None
        assert record_policy.identity(pixels_of(run.best)) == best.pixels


def test_an_image_that_comes_out_otherwise_says_so_in_its_name_its_caption_and_a_warning(
    record: Record, written: dict[str, Figure]
) -> None:
    first = show(record).runs[0].best
    assert first is not None
    assert first.name == "best.png"
    changed(record, "UPDATE image SET pixels = 'of another machine'")
    shown = show(record)
    assert shown.runs[0].best == record.folder / "figures" / "best_not_identical.png"
    assert shown.runs[0].best.exists()
    assert not first.exists()
    assert any("not bit-identical to what was shown" in warning for warning in shown.warnings)
    assert texts(written["montage.png"]).count("not bit-identical") == 5


def test_drawing_uses_the_recorded_number_of_threads_and_leaves_it_as_it_was(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    assemble = assembling.assemble
    monkeypatch.setattr(
        assembling, "assemble", lambda plan: used.append(torch.get_num_threads()) or assemble(plan)
    )
    before = torch.get_num_threads()
    sql = "UPDATE experiment SET value = replace(value, 'threads = {}', 'threads = {}')"
    show(changed(record, sql.format(before, before + 1)))
    assert used == [before + 1]
    assert torch.get_num_threads() == before


# What figures say.


def test_a_single_run_gives_plain_names(record: Record) -> None:
    shown = show(record)
    assert shown.main == record.folder / "figures" / "figure.png"
    assert shown.overview is None
    assert shown.warnings == ()
    assert sorted(path.name for path in (record.folder / "figures").iterdir()) == [
        "best.png",
        "best_last_generation.png",
        "figure.png",
        "montage.png",
        "response.png",
    ]


def test_the_figure_names_its_run_and_the_units_and_the_number_of_references(
    record: Record, written: dict[str, Figure], tmp_path: Path
) -> None:
    show(record, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "figure.png").exists()
    said = texts(written["figure.png"])
    for text in ("known:linear::0", "fourier, genetic, seed 0", "response (activation)", "presentations"):
        assert text in said
    assert "best of 3 references" in said
    assert "expected best" not in said  # of 30 presentations: all three
    assert "$photo_" in said


def test_generations_are_counted_from_one_with_their_responses_below(
    record: Record, written: dict[str, Figure]
) -> None:
    show(record)
    said = texts(written["montage.png"])
    for generation in (0, 4):
        best = record.best_image(0, generation)
        assert best is not None
        assert f"generation {generation + 1}\n{number(best.noise_free_score, 3)}" in said
    assert said.count("(best)") == 1


def test_fewer_presentations_than_references_get_a_line_of_their_own(
    photographs: Path, tmp_path: Path, written: dict[str, Figure]
) -> None:
    values = {"presentations": 2, "optimizer": {"name": "genetic", "population": 2}}
    show(loop.run(plan(references=str(photographs), **values), tmp_path / "out"))
    assert "expected best of\n2 of these" in texts(written["response.png"])


def test_every_figure_carries_the_notes_of_the_record(record: Record, written: dict[str, Figure]) -> None:
    notes = json.dumps(["random weights: for timing only"])
    changed(record, f"UPDATE experiment SET value = '{notes}' WHERE key = 'notes'")
    show(Record(record.folder))
    assert len(written) == 3
    for figure in written.values():
        assert "random weights: for timing only" in texts(figure)


def test_the_observed_mean_is_drawn_where_there_is_noise(
    record: Record, tmp_path: Path, written: dict[str, Figure]
) -> None:
    show(record)
    assert "as observed" not in texts(written["response.png"])
    show(loop.run(plan(noise_scale=5.0, presentations=12), tmp_path / "noisy"))
    assert "as observed" in texts(written["response.png"])


def test_labels_beside_the_curves_never_lie_on_each_other(record: Record, written: dict[str, Figure]) -> None:
    changed(record, "UPDATE image SET noise_free_score = 1")
    changed(record, "UPDATE reference_response SET response = 1")
    show(record)
    figure = written["response.png"]
    figure.draw_without_rendering()
    wanted = ("best of the", "mean of the", "best of 3")
    boxes = sorted(
        (text.get_window_extent() for text in figure.findobj(Text) if text.get_text().startswith(wanted)),
        key=lambda box: box.y0,
    )
    assert len(boxes) == 3
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


def test_the_same_record_gives_the_same_bytes_whatever_the_users_settings(
    record: Record, tmp_path: Path
) -> None:
    show(record, tmp_path / "a")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "pink"}):
        show(record, tmp_path / "b")
        assert matplotlib.rcParams["font.size"] == 20
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 15, 500])
def test_log_spaced_generations_hold_the_first_and_the_last(count: int) -> None:
    generations = log_spaced(count)
    assert generations[0] == 0
    assert generations[-1] == count - 1
    assert generations == sorted(set(generations))
    assert len(generations) == min(count, 5)


def test_log_spaced_generations_double() -> None:
    assert log_spaced(16) == [0, 1, 3, 7, 15]


# Several runs.


def test_several_runs_give_numbered_names_and_one_figure_of_all(
    several: Record, written: dict[str, Figure]
) -> None:
    shown = show(several, most_runs=2)
    assert shown.main == shown.overview == several.folder / "figures" / "runs.png"
    assert [run.figure.name for run in shown.runs] == ["run000-figure.png", "run001-figure.png"]
    assert shown.warnings == ("figures of single runs are drawn for the first 2 of 3",)
    assert "median of 3 runs" in texts(written["runs.png"])
    assert "3 runs of known:linear::0" in texts(written["runs.png"])
    medians = [np.median([scores[g].max() for scores in map(several.scores, range(3))]) for g in range(2)]
    curves = [line.get_ydata() for line in written["runs.png"].axes[0].lines]
    assert any(np.allclose(np.asarray(curve), medians) for curve in curves)


def test_runs_of_several_targets_are_compared_with_their_own_best_reference(
    photographs: Path, tmp_path: Path, written: dict[str, Figure]
) -> None:
    targets = ("known:gaussian::0,1",)
    show(loop.run(plan(targets=targets, references=str(photographs), presentations=12), tmp_path / "out"))
    said = texts(written["runs.png"])
    assert "best response / best reference" in said
    assert "known:gaussian::1" in said


# What is missing.


def test_an_unfinished_record_is_drawn_as_far_as_it_goes(tmp_path: Path, written: dict[str, Figure]) -> None:
    shown = show(stopped(tmp_path / "out", 3))
    assert shown.runs[0].best is not None
    assert "unfinished, 3 generations so far" in texts(written["figure.png"])


def test_a_record_without_a_generation_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    record = stopped(tmp_path / "out", 0)
    with pytest.raises(BadInput, match="no complete generation"):
        show(record)
    assert not (record.folder / "figures").exists()


def test_a_single_generation_without_references_is_drawn(tmp_path: Path) -> None:
    shown = show(loop.run(plan(presentations=6), tmp_path / "out"))
    assert shown.warnings == ()
    assert shown.runs[0].montage is not None


def test_generations_that_were_not_seen_are_gaps(record: Record, written: dict[str, Figure]) -> None:
    changed(record, "UPDATE image SET score = NULL, noise_free_score = NULL WHERE generation = 1")
    changed(
        record, "UPDATE image SET score = NULL, noise_free_score = NULL WHERE generation = 4 AND slot < 5"
    )
    show(record)
    best = np.asarray(written["response.png"].axes[0].lines[1].get_ydata())
    assert np.isnan(best).tolist() == [False, True, False, False, False]
    assert "generation 2\n" not in texts(written["montage.png"])


def test_a_record_in_which_nothing_was_seen_says_so(record: Record, written: dict[str, Figure]) -> None:
    changed(record, "UPDATE image SET score = NULL, noise_free_score = NULL")
    [run] = show(record).runs
    assert (run.montage, run.best, run.best_last_generation) == (None, None, None)
    assert "no response was seen" in texts(written["figure.png"])


def test_curves_are_drawn_when_the_generators_weights_are_gone(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Plan) -> None:
        raise WeightsMissing("fc6.pt was not found")

    monkeypatch.setattr(assembling, "assemble", gone)
    shown = show(record)
    assert shown.main.exists()
    assert shown.runs[0].response.exists()
    assert shown.runs[0].best is None
    assert shown.warnings == ("the images are left out: fc6.pt was not found",)


def test_images_are_drawn_when_the_target_is_gone(record: Record) -> None:
    changed(record, "UPDATE experiment SET value = replace(value, 'known:linear', 'module:gone')")
    shown = show(Record(record.folder))
    assert shown.warnings == ()
    assert shown.runs[0].best is not None


@pytest.mark.parametrize("how", ["moved", "changed"])
def test_the_best_reference_is_left_out_when_it_is_not_the_one_that_was_shown(
    how: str, record: Record, photographs: Path, tmp_path: Path, written: dict[str, Figure]
) -> None:
    copy = tmp_path / "photographs"
    if how == "changed":
        shutil.copytree(photographs, copy)
        for path in copy.iterdir():
            Image.new("RGB", (9, 9)).save(path)
    changed(record, f"UPDATE experiment SET value = replace(value, '{photographs}', '{copy}')")
    shown = show(Record(record.folder))
    assert len(shown.warnings) == 1
    assert "the best reference is left out" in shown.warnings[0]
    assert "(reference)" not in texts(written["montage.png"])
    assert "best of 3 references" in texts(written["figure.png"])


def test_a_folder_that_cannot_be_written_is_bad_input(record: Record, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"figure cannot be written to .*figure.png \(.*\); make room"):
        show(record, tmp_path / "file" / "figures")


# The table.


@pytest.fixture
def summary(record: Record) -> RunSummary:
    values = {
        "presentations": 12_345,
        "first_generation_best": 1.0,
        "last_generation_best": 123.456,
        "observed_last_generation_best": 123.456,
        "best_ever": 0.012345,
        "best_reference": 61.728,
        "best_reference_name": "chelsea.png",
        "references": 13,
        "relative_activation": 2.0,
        "seconds": 98.76,
    }
    return replace(summarise(record)[0], **values)


def test_the_table_has_a_row_for_each_run_with_four_digits(summary: RunSummary) -> None:
    lines = table([summary, replace(summary, seed=17)]).splitlines()
    assert lines[1].split() == (
        "target run seed presentations generation generation ever reference activation best ever".split()
    )
    figures_of = "12,345 1.000 123.5 0.01235 61.73 (chelsea.png) 2.000 1.319".split()
    assert lines[2].split() == ["known:linear::0", "0", "0", *figures_of]
    assert lines[3].split() == ["known:linear::0", "0", "17", *figures_of]
    assert len(lines[2]) == len(lines[3])


def test_the_table_says_how_runs_differ_and_which_ended_early(summary: RunSummary) -> None:
    assert "run" not in table([summary]).splitlines()[1].split()
    unlike = [summary, replace(summary, run=1, optimizer="nes", objective="minus-mean", ending="plateau")]
    lines = table(unlike).splitlines()
    assert lines[1].split()[:5] == "target run optimizer objective seed".split()
    assert lines[3].split()[:4] == "known:linear::0 1 nes minus-mean".split()
    assert (lines[2].split()[-1], lines[3].split()[-1]) == ("budget", "plateau")


def test_the_table_says_how_few_the_references_are(summary: RunSummary) -> None:
    sentence = (
        "only 13 reference photographs: relative activation compares with the best of these, "
        "not of natural images at large"
    )
    assert sentence in table([summary]).splitlines()
    assert "only 1 reference photograph:" in table([replace(summary, references=1)])
    for enough in (0, 1_000):
        assert "only" not in table([replace(summary, references=enough)])


def test_what_is_missing_is_a_dash_in_the_table(summary: RunSummary) -> None:
    none = replace(
        summary, best_reference=None, best_reference_name=None, relative_activation=None, references=0
    )
    assert "reference" not in table([none])
    assert table([replace(none, best_ever=None)]).splitlines()[2].split()[-1] == "\N{EN DASH}"


def test_the_table_shows_what_was_observed_where_it_differs(summary: RunSummary) -> None:
    assert "observed" not in table([summary])
    assert "1.258" in table([replace(summary, observed_last_generation_best=1.258)]).splitlines()[2].split()


def test_the_table_shows_the_expected_best_of_as_many_references(summary: RunSummary) -> None:
    assert "as many" not in table([summary])
    more = table([replace(summary, references=100_000, expected_best_reference=55.5)])
    assert "55.50" in more.splitlines()[2].split()


def test_the_table_ends_with_the_notes_of_the_record(summary: RunSummary) -> None:
    assert table([summary]).splitlines()[-1] == f"note: {summary.notes[0]}"


def test_a_long_table_shows_the_first_ten_the_last_and_the_medians(summary: RunSummary) -> None:
    runs = [replace(summary, run=seed, seed=seed, best_ever=float(seed)) for seed in range(41)]
    lines = table(runs).splitlines()
    assert [line.split()[1] for line in lines[2:12]] == [str(seed) for seed in range(10)]
    assert lines[12] == "…"
    assert lines[13].split()[1] == "40"
    assert lines[14].startswith("median of 41 runs")
    assert "20.00" in lines[14]
    assert len(table(runs[:30]).splitlines()) == 30 + 2 + 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (0.0, "0.000"),
        (-0.5, "-0.5000"),
        (1234.4, "1234"),
        (123456.0, "123456"),
        (1.5e7, "1.500e+07"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text
