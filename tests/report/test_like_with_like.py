"""Names, spreads and axes of figures: what is compared is alike, and says how much it varies."""

import weakref
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
import torch

import xdream
from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.experiment import opening, replay
from xdream.experiment.plan import Plan, plan_of
from xdream.experiment.record_policy import identity
from xdream.images.files import pixels_of
from xdream.laboratory import session
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.report import show, summarise
from xdream.report.curves import curves_of, with_spreads
from xdream.report.spreads import bootstrap, drift_of_references, electrodes, repeat_error
from xdream.report.unit_names import unit_name
from xdream.scoring.recordings import Values
from xdream.store import FILE_NAME, Record


def plan(**changes: Any) -> Plan:
    small = {
        "targets": ["known:linear::3-4"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 24,
        "seed": 1,
        "threads": 1,
    }
    return Plan.make(**small | changes)


@pytest.fixture
def recorded(tmp_path: Path, photographs: Path) -> Path:
    """A session of three channels: red, green, blue."""

    def answer(block: Block) -> list[Answer]:
        rows = [
            AnswerRow(
                one.image, one.repeat, Values(block.images[one.image].double().mean((1, 2)).numpy() / 25.5)
            )
            for one in block.presentations
        ]
        return [Answer(tuple(rows), block=block.number), Answer((), block=block.number, fence=1, last=True)]

    values = plan(
        targets=["rig::0-1"],
        rig="direct",
        repeats=2,
        references=str(photographs),
        references_per_generation=3,
        session={"channels": 3, "first_channel": 1, "electrodes": {"areas": ["V4", "IT", "IT"]}},
    )
    session.serve(values, tmp_path / "x", bridge=Direct(answer)).close()
    return tmp_path / "x"


def test_names_are_imagenets_the_users_or_the_electrodes(tmp_path: Path) -> None:
    assert unit_name(plan(), "efficientnet-lite0:_fc:281") == "tabby"
    assert unit_name(plan(), "efficientnet-lite0:_blocks.3:281") is None
    assert unit_name(plan(), "mine::1") is None
    (tmp_path / "names.txt").write_text("zero\none @ 1\n")
    mine = plan(network={"python:a.b:c": {"names": str(tmp_path / "names.txt")}})
    assert Plan.from_toml(mine.to_toml()) == mine
    assert unit_name(mine, "python:a.b:c:fc:1@2,3") == "one @ 1"
    with pytest.raises(BadInput, match=r"has 2 names; python:a.b:c:fc:2 needs one more"):
        unit_name(mine, "python:a.b:c:fc:2")
    with pytest.raises(BadInput, match=r"network names 'no.txt' cannot be read"):
        unit_name(plan(network={"n": {"names": "no.txt"}}), "n:fc:0")


def test_electrodes_have_the_labels_of_the_plan_and_their_own_levels(recorded: Path) -> None:
    with Record(recorded) as record:
        from xdream.experiment.plan import plan_of

        assert [s.name for s in summarise(record)] == ["1, V4", "2, IT"]
        every = electrodes(record, plan_of(record))
        assert [one.label for one in every] == ["1, V4", "2, IT", "3, IT"]
        frame = xdream.Record(recorded).presentations()
        chosen = frame[(frame["channel"] == "2") & ~frame["reference"] & (frame["generation"] == 2)]
        level = every[1].evolved[1]
        assert (level.generation, level.count) == (1, len(chosen))
        of_images = chosen.groupby("image")["response"].mean()
        assert level.mean == pytest.approx(of_images.mean())
        assert level.error == pytest.approx(of_images.sem())
        shown = show(record)
        assert {path.name for path in shown.beside} == {
            "run000-references.png",
            "run001-references.png",
            "electrodes.png",
        }


def test_the_recommended_image_of_a_session_is_that_of_its_optimizers_code(
    tmp_path: Path, photographs: Path
) -> None:
    def answer(block: Block) -> list[Answer]:
        rows = [
            AnswerRow(
                one.image, one.repeat, Values(block.images[one.image].double().mean((1, 2)).numpy() / 25.5)
            )
            for one in block.presentations
        ]
        return [Answer(tuple(rows), block=block.number)]

    values = plan(
        targets=["rig::0-1"],
        rig="direct",
        presentations=40,
        optimizer={"name": "rank-nes", "population": 8},
        session={"channels": 3},
    )
    session.serve(values, tmp_path / "x", bridge=Direct(answer)).close()
    with Record(tmp_path / "x") as record:
        assert show(record, runs=[1]).warnings == ()
        parts = opening.parts_of(record)
        code = replay.recommended(record, 1)
        assert code is not None
        drawn = parts.forward.draw(torch.from_numpy(code)[None])[0]
        written = record.folder / "figures" / "run001-recommended.png"
        assert np.array_equal(pixels_of(written.read_bytes()), drawn.permute(1, 2, 0).numpy())
        shown = {one for (one,) in record.query("SELECT pixels FROM planned")}
        assert identity(drawn) not in shown, "it is none of those that were shown"
        assert not (record.folder / "figures" / "run000-recommended.png").exists()


@pytest.mark.parametrize(
    ("repeats", "references", "said"),
    [
        (3, 3, "mean ± standard error over images, repeats averaged first"),
        (1, 3, "± standard error over images, each shown once"),
        (3, 1, "references: one image: no error bars"),
    ],
)
def test_the_error_of_references_is_over_images_and_the_caption_says_so(
    tmp_path: Path, photographs: Path, repeats: int, references: int, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Repeats of one image are no further images: three of each make the error no smaller."""
    rng = np.random.default_rng(0)

    def answer(block: Block) -> list[Answer]:
        rows = [AnswerRow(one.image, one.repeat, Values(rng.normal(10, 1, 3))) for one in block.presentations]
        return [Answer(tuple(rows), block=block.number)]

    values = plan(
        targets=["rig::0"],
        rig="direct",
        presentations=24 * repeats,
        repeats=repeats,
        references=str(photographs),
        references_per_generation=references,
        session={"channels": 3},
    )
    session.serve(values, tmp_path / "x", bridge=Direct(answer)).close()
    from xdream.experiment.plan import plan_of
    from xdream.report import natural

    written = {}
    monkeypatch.setattr(
        natural, "write_figure", lambda figure, path: written.update({path.name: figure}) or path
    )
    with xdream.Record(tmp_path / "x") as record:
        frame = record.presentations()
        chosen = frame[(frame["channel"] == "0") & frame["reference"]]
        [first, *_] = electrodes(record, plan_of(record))
        for level in first.references:
            of_images = (
                chosen[chosen["generation"] == level.generation + 1].groupby("image")["response"].mean()
            )
            assert (level.images, level.count) == (len(of_images), references * repeats)
            assert level.error == pytest.approx(of_images.sem(), nan_ok=True)
        natural.figures(record, plan_of(record), [], electrodes(record, plan_of(record)), tmp_path, str, [])
    figure = written["electrodes"]
    texts = [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]
    assert any(said in text for text in texts), texts
    bands = [len(path.vertices) for one in figure.axes[0].collections for path in one.get_paths()]
    assert len(bands) == (2 if references > 1 else 1), "no band of a single image"


def test_of_a_session_one_generation_is_in_memory(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xdream.experiment import presentation_rows
    from xdream.experiment.plan import plan_of

    monkeypatch.setattr(presentation_rows, "BATCH", 1)
    alive: list[Any] = []
    most = 0
    before = presentation_rows.presentations

    def presentations(record: Any) -> Any:
        nonlocal most
        for batch in before(record):
            alive.extend(weakref.ref(one.responses) for one in batch)
            yield batch
            most = max(most, sum(one() is not None for one in alive))

    monkeypatch.setattr(presentation_rows, "presentations", presentations)
    with Record(recorded) as record:
        electrodes(record, plan_of(record))
        [(each,)] = record.query("SELECT max(n) FROM (SELECT count(*) AS n FROM planned GROUP BY block)")
    assert len(alive) >= 3 * each
    assert most <= 2 * each


def test_generations_that_do_not_count_leave_no_gap_and_the_first_that_counts_is_the_first(
    recorded: Path,
) -> None:
    with apsw.Connection(str(recorded / FILE_NAME)) as connection:
        connection.execute("INSERT INTO void VALUES (0, 0, 'x'), (1, 0, 'x')")
    with Record(recorded) as record:
        first, *_ = summarise(record)
        assert first.first_generation_best == np.nanmax(record.scores(0)[2])
        curves = curves_of(record, first)
        assert not curves.even
        assert curves.x[curves.valid].tolist() == [8.0]  # the third generation is the first 8 that count
        levels = electrodes(record, plan_of(record))
        shown = with_spreads(record, curves, plan_of(record), levels).images
        assert [image.generation for image in shown] == [2]
        show(record)


def test_the_interval_is_of_the_mean_over_images_and_the_error_over_repeats(tmp_path: Path) -> None:
    low, high = bootstrap([np.arange(100.0), np.array([np.nan, 1.0])])
    assert low[0] < 49.5 < high[0]
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * np.arange(100.0).std() / 10, rel=0.2)
    assert np.isnan(low[1])
    with xdream.run(plan(repeats=3, noise_scale=100.0), tmp_path / "x") as record:
        spread = "max(response) - min(response)"
        [(image,)] = record.query(f"SELECT image FROM presentation GROUP BY 1 ORDER BY {spread} DESC LIMIT 1")
        values = [r for (r,) in record.query("SELECT response FROM presentation WHERE image = ?", image)]
        assert repeat_error(record, image) == pytest.approx(np.std(values, ddof=1) / 3**0.5)
    with xdream.run(plan(repeats=3), tmp_path / "quiet") as record:
        assert np.isnan(repeat_error(record, 1))


def test_interleaved_references_show_their_drift_without_noise_like_the_curves(
    tmp_path: Path, photographs: Path
) -> None:
    small = plan(references=str(photographs), references_per_generation=3, noise_scale=1.0)
    with xdream.run(small, tmp_path / "x") as record:
        levels = drift_of_references(record, 1)
        [(mean,)] = record.query(
            "SELECT avg(noise_free) FROM presentation WHERE run = 1 AND generation = 2"
            " AND reference IS NOT NULL"
        )
        assert [one.generation for one in levels] == list(range(6))
        assert {one.count for one in levels} == {3}
        assert {one.images for one in levels} <= {1, 2, 3}, "one may be shown twice"
        assert levels[2].mean == pytest.approx(mean)


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_show_draws_vectors_for_the_runs_that_are_named_and_equal_bytes(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    xdream.run(plan(runs=2), folder).close()
    assert main(["show", str(folder), "1", "3", "--format", kind]) == 0
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {f"runs.{kind}", f"run001-figure.{kind}", f"run003-response.{kind}", "run003-best.png"} <= names
    assert f"run000-figure.{kind}" not in names
    before = (folder / "figures" / f"run001-figure.{kind}").read_bytes()
    assert main(["show", str(folder), "1", "--format", kind]) == 0
    assert (folder / "figures" / f"run001-figure.{kind}").read_bytes() == before


def test_show_refuses_runs_and_formats_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xdream.run(plan(), tmp_path / "x").close()
    assert main(["show", str(tmp_path / "x"), "7"]) == 2
    assert "has no run 7 to show" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["show", str(tmp_path / "x"), "--format", "bmp"])


def test_runs_of_unlike_populations_are_drawn_over_presentations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xdream.report import figure_style

    written = {}
    monkeypatch.setattr(
        figure_style, "write_figure", lambda figure, path: written.update({path.name: figure}) or path
    )
    unlike = plan(
        targets=["known:linear::3"],
        variants=[{}, {"optimizer": {"name": "genetic", "population": 8}}],
    )
    with xdream.run(unlike, tmp_path / "x") as record:
        show(record)
    axes = written["runs.png"].axes[0]
    assert axes.get_xlabel() == "presentations"
    ends = sorted(line.get_xdata()[-1] for line in axes.lines if len(line.get_xdata()) > 2)
    assert ends[-1] == 24.0
