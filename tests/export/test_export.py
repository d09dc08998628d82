"""Exports: the numbers of the store in the formats of other programs, whole or not at all."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xdream
from xdream.cli.main import main
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.export.export import export
from xdream.export.nwb import LEAD_S
from xdream.laboratory import session
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values

ANIMAL = {"id": "m1", "species": "Macaca mulatta", "sex": "M", "age": "P7Y"}
NWB = {"experimenter": ["Doe, Jane"], "institution": "Institute", "description": "A session"}
ELECTRODES = {"labels": ["U1", "U2", "U3"], "areas": ["IT"], "device": "array", "manufacturer": "Maker"}


def spikes(one: Any, rng: np.random.Generator) -> Recorded:
    counts = rng.poisson(5, 3)
    times = np.concatenate([rng.uniform(-20, 200, n) for n in counts])
    return Spikes(times, np.repeat(np.arange(3), counts), 3, -20.0, 200.0)


def values(one: Any, rng: np.random.Generator) -> Recorded:
    return Values(rng.normal(size=3))


def traces(one: Any, rng: np.random.Generator) -> Recorded:
    return Traces(rng.normal(size=(3, 25)), -20.0, 10.0)


def serve(folder: Path, photographs: Path, record: Callable[..., Recorded], **more: Any) -> Path:
    """A session of 3 channels; some answers are missing; onsets a quarter of a second apart, with jitter."""
    rng, clock = np.random.default_rng(0), [500.0]

    def answer(block: Block) -> list[Answer]:
        rows = []
        for one in block.presentations:
            clock[0] += 0.25 + 0.02 * rng.random()
            found = None if one.place == 3 else record(one, rng)
            rows.append(AnswerRow(one.image, one.repeat, found, clock[0] if record is not values else None))
        last = Answer((), block=block.number, fence=block.fence, last=True)
        return [Answer(tuple(rows), block=block.number), last]

    table = {"channels": ["a", "b", "c"], "block_size": 9, "animal": ANIMAL, "nwb": NWB}
    plan = Plan.make(
        targets=["rig::0-2"],
        generator={"name": "pixels", "size_px": 8},
        optimizer={"name": "genetic", "population": 4},
        presentations=24,
        repeats=3,
        threads=1,
        rig="direct",
        references=str(photographs),
        references_per_generation=2,
        session=table | {"electrodes": ELECTRODES} | more,
    )
    session.serve(plan, folder, bridge=Direct(answer)).close()
    return folder


def network(folder: Path, **more: Any) -> Path:
    small = {
        "targets": ["known:linear::0-2"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 12,
        "repeats": 3,
        "noise_scale": 1.0,
        "threads": 1,
    }
    xdream.run(Plan.make(**small | more), folder).close()
    return folder


@pytest.fixture
def recorded(tmp_path: Path, photographs: Path) -> Path:
    return serve(tmp_path / "x", photographs, spikes)


# ------------------------------------------------------------------ tables


def test_csv_has_the_tables_of_the_record_with_the_kept_images(recorded: Path, tmp_path: Path) -> None:
    assert export(recorded, "csv", tmp_path / "out", spikes=True) == []
    with xdream.Record(recorded) as record, (tmp_path / "out" / "presentations.csv").open() as file:
        frame, rows = record.presentations(spikes=True), list(csv.DictReader(file))
        assert [float(row["response"] or "nan") for row in rows] == pytest.approx(
            frame["response"].tolist(), nan_ok=True, rel=0, abs=0
        )
        assert [row["image"] for row in rows] == frame["image"].tolist()
        times = [[float(x) for x in row["spike_times_ms"].split()] for row in rows]
        assert times == [[] if one is None else one.tolist() for one in frame["spike_times_ms"]]
        with (tmp_path / "out" / "images.csv").open() as table:
            images = list(csv.DictReader(table))
        assert len(images) == len(record.images())
        for row in images:
            if row["file"]:
                assert (tmp_path / "out" / row["file"]).read_bytes() == record.kept_image(row["sha256"])
        of_run = next(row for row in images if row["reference"] == "False")
        np.testing.assert_array_equal(np.float32(of_run["code"].split()), record.codes(0, 0)[0])
        about = json.loads((tmp_path / "out" / "about.json").read_text())
        assert about["plan"] == record.facts["plan"]
        assert any("no response" in event["text"] for event in about["events"])


def test_parquet_is_the_same(recorded: Path, tmp_path: Path) -> None:
    import pandas as pd

    export(recorded, "parquet", tmp_path / "out")
    read = pd.read_parquet(tmp_path / "out" / "presentations.parquet")
    with xdream.Record(recorded) as record:
        frame = record.presentations()
    assert list(read) == list(frame)
    for name in ("response", "score", "onset_s", "presentation", "counts"):
        np.testing.assert_array_equal(read[name], frame[name])
    assert read["image"].tolist() == frame["image"].tolist()


def test_a_record_of_scores_gives_its_images(tmp_path: Path) -> None:
    folder = network(tmp_path / "x", record="scores")
    [note] = export(folder, "csv", tmp_path / "out")
    assert "only the images" in note
    assert not (tmp_path / "out" / "presentations.csv").exists()
    assert len((tmp_path / "out" / "images.csv").read_text().splitlines()) == 1 + 3 * 4


# ------------------------------------------------------------------ images


def test_images_are_written_as_shown_also_those_that_were_not_kept(tmp_path: Path, photographs: Path) -> None:
    """Of an experiment only the best were kept; the others are drawn again."""
    folder = network(tmp_path / "x", keep_images="none")
    assert export(folder, "images", tmp_path / "out") == []
    with xdream.Record(folder) as record:
        for one in record.images().itertuples():
            pixels = np.asarray(Image.open(tmp_path / "out" / f"{one.image}.png")).transpose(2, 0, 1)
            import hashlib

            assert hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest() == one.sha256
    other = serve(tmp_path / "s", photographs, values)
    export(other, "images", tmp_path / "out-s")
    assert (tmp_path / "out-s" / "reference-00000-0.png").exists()


# ------------------------------------------------------------------ MATLAB


@pytest.mark.skipif(shutil.which("octave-cli") is None, reason="Octave is not installed")
def test_octave_reads_structs_and_numbers(recorded: Path, tmp_path: Path) -> None:
    export(recorded, "mat", tmp_path / "out.mat", spikes=True)
    program = """
        s = load('out.mat'); p = s.xdream.presentations; x = s.xdream.images;
        ok = p.status == 1;
        printf('%.17g\\n', size(p.response), sum(p.response(ok, :)), sum(isnan(p.response(:))), ...
            sum(cellfun(@numel, p.spike_times_ms(:))), sum(double(x.code(~x.reference, :)(:))));
        printf('%s\\n', x.id{p.image(2)}, p.statuses{p.status(4)}, s.xdream.channels{3}, class(p.response));
    """
    done = subprocess.run(
        ["octave-cli", "--no-gui", "--eval", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.split()
    with xdream.Record(recorded) as record:
        frame = record.presentations(spikes=True)
        wide = frame["response"].to_numpy().reshape(-1, 3)
        numbers = [*wide.shape, *wide[~np.isnan(wide[:, 0])].sum(0), np.isnan(wide).sum()]
        numbers.append(sum(0 if one is None else len(one) for one in frame["spike_times_ms"]))
        numbers.append(
            sum(float(c.astype(np.float64).sum()) for c in record.images(codes=True)["code"].dropna())
        )
        assert [float(x) for x in lines[:-4]] == pytest.approx([float(x) for x in numbers], rel=1e-6)
        assert lines[-4:] == [frame["image"][3], "missing", "c", "double"]


def test_what_matlab_cannot_hold_is_refused_before_it_is_made(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xdream.export import matlab

    monkeypatch.setattr(matlab, "MOST_BYTES", 1000)
    with pytest.raises(BadInput, match=r"holds 2 GB.*export it to parquet"):
        export(recorded, "mat", tmp_path / "out.mat")


# ------------------------------------------------------------------ NWB


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [20_000, 10])
def test_an_nwb_file_reads_back_with_the_numbers_of_the_store(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    import pynwb

    from xdream.experiment import presentation_rows

    monkeypatch.setattr(presentation_rows, "BATCH", batch)
    export(recorded, "nwb", tmp_path / "out.nwb")
    with xdream.Record(recorded) as record, pynwb.NWBHDF5IO(str(tmp_path / "out.nwb"), "r") as io:
        file, frame = io.read(), record.presentations(spikes=True)
        trials, wide = file.trials.to_dataframe(), frame["response"].to_numpy().reshape(-1, 3)
        one_each = frame.iloc[::3].reset_index(drop=True)
        np.testing.assert_array_equal(np.stack(trials["response"]), wide)
        np.testing.assert_array_equal(trials["start_time"], one_each["onset_s"] + LEAD_S)
        assert file.session_start_time == presentation_rows.start_utc(record) - timedelta(seconds=LEAD_S)
        for mine, theirs in (("score", "score"), ("status", "status")):
            np.testing.assert_array_equal(trials[theirs], one_each[mine])
        assert trials["image_id"].tolist() == one_each["image"].tolist()
        assert trials.index.tolist() == list(range(len(trials)))
        # Of every presentation and channel, the spikes around its onset are those that were recorded.
        for row in range(len(one_each)):
            for channel in range(3):
                stored = frame["spike_times_ms"][3 * row + channel]
                if stored is None:
                    continue
                onset = one_each["onset_s"][row] + LEAD_S
                every = file.units["spike_times"][channel]
                inside = every[(every > onset - 0.0201) & (every < onset + 0.2001)]
                np.testing.assert_allclose(inside, onset + stored / 1000.0, atol=2e-6)
        assert file.units["channel"][:].tolist() == ["U1", "U2", "U3"]
        images = file.processing["misc"]["images"].to_dataframe()
        codes = record.images(codes=True)
        np.testing.assert_array_equal(images["code"].iloc[-1], codes["code"].iloc[-1])
        assert images["image_id"].tolist() == codes["image"].tolist()
        # What was shown when is the image of that trial.
        shown = file.stimulus["presented_images"]
        order = [one.name for one in file.stimulus_template["shown_images"].order_of_images]
        pixels = dict(zip(codes["image"], codes["sha256"], strict=True))
        assert len(shown.data) == len(trials)
        for place, image in zip(shown.data[:], trials["image_id"], strict=True):
            assert pixels[order[place]] == pixels[image]
        assert file.subject.species == "Macaca mulatta"
        known = file.processing["misc"]["record"].to_dataframe().set_index("key")["value"]
        assert known["plan.generator.name"] == "pixels"
        assert file.source_script == record.facts["plan"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["spikes", "values", "network"])
def test_the_inspector_finds_nothing_that_could_be_avoided(
    kind: str, tmp_path: Path, photographs: Path
) -> None:
    from nwbinspector import Importance, inspect_nwbfile, load_config

    maker = {"spikes": spikes, "values": values}
    folder = tmp_path / "x"
    network(folder) if kind == "network" else serve(folder, photographs, maker[kind])
    export(folder, "nwb", tmp_path / "out.nwb")
    config = load_config("dandi")
    found = list(inspect_nwbfile(nwbfile_path=str(tmp_path / "out.nwb"), config=config))
    assert not [one for one in found if one.importance in (Importance.ERROR, Importance.PYNWB_VALIDATION)]
    checks = {one.check_function_name for one in found}
    # An experiment on a network has no subject, and nobody who must have been there.
    exempt = {"check_subject_exists", "check_experimenter_exists", "check_institution"}
    assert checks <= (exempt if kind == "network" else set()), found


@pytest.mark.filterwarnings("ignore")
def test_traces_are_there_row_by_row(tmp_path: Path, photographs: Path) -> None:
    import pynwb

    folder = serve(tmp_path / "x", photographs, traces)
    export(folder, "nwb", tmp_path / "out.nwb")
    with xdream.Record(folder) as record, pynwb.NWBHDF5IO(str(tmp_path / "out.nwb"), "r") as io:
        from xdream.experiment import presentation_rows

        found = io.read().acquisition["traces"]
        [batch] = presentation_rows.presentations(record)
        stored = [one for one in batch if isinstance(one.recorded, Traces)]
        assert len(stored) > 20
        for row, one in enumerate(stored):
            np.testing.assert_array_equal(found.data[row].T, one.recorded.samples)  # type: ignore[union-attr]
            assert found.timestamps[row] == one.onset_s + LEAD_S - 0.02


def test_what_dandi_requires_is_asked_for_by_name_and_can_be_given(tmp_path: Path, photographs: Path) -> None:
    folder = serve(tmp_path / "x", photographs, values, animal={"id": "m1"})
    with pytest.raises(
        BadInput, match=r"session.animal.species .*; session.animal.sex .*; session.animal.age"
    ):
        export(folder, "nwb", tmp_path / "out.nwb")
    assert not list(tmp_path.glob("*.nwb"))
    given = [f"session.animal.{key}={value}" for key, value in ANIMAL.items() if key != "id"]
    arguments = [text for one in given for text in ("--set", one)]
    place = str(tmp_path / "out.nwb")
    assert main(["export", str(folder), "--to", "nwb", "--out", place, "--quiet", *arguments]) == 0
    with pytest.raises(BadInput, match="exists already"):
        export(folder, "nwb", place, changes={"session": {"animal": ANIMAL}})


# ------------------------------------------------------------------ bad input


def test_bad_input_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = network(tmp_path / "x")
    for arguments, said in (
        (["--to", "xls", "--out", "y"], "invalid choice: 'xls'"),
        (["--to", "csv"], "--out"),
        (["--to", "csv", "--out", str(tmp_path / "y"), "--set", "seed=2"], "is not session.TABLE.KEY=VALUE"),
        (
            ["--to", "csv", "--out", str(tmp_path / "y"), "--set", "session.animal.id=m"],
            f"no session here: {folder} is an experiment on a network",
        ),
        (["--to", "csv", "--out", str(folder)], "exists already"),
    ):
        with pytest.raises(SystemExit) if "xls" in arguments or len(arguments) == 2 else _nothing():
            assert main(["export", str(folder), "--quiet", *arguments]) == 2
        assert said in capsys.readouterr().err
    assert main(["export", str(tmp_path / "no"), "--to", "csv", "--out", str(tmp_path / "y")]) == 2

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("xdream.export.tables._images", broken)
    with pytest.raises(RuntimeError):
        export(folder, "csv", tmp_path / "y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_an_answer_that_came_late_is_listed_without_numbers(tmp_path: Path) -> None:
    """It was not checked: here it has the wrong number of channels. The onsets around it stay."""
    before: list[Any] = []

    def answer(block: Block) -> list[Answer]:
        first, *others = block.presentations
        rows = tuple(AnswerRow(one.image, one.repeat, Values(np.arange(3.0) + one.place)) for one in others)
        late = [
            Answer((AnswerRow(one.image, one.repeat, Values(np.ones(7))),), block=number)
            for number, one in before
        ]
        before[:] = [(block.number, first)]
        return [*late, Answer(rows, block=block.number), Answer((), block=block.number, last=True)]

    plan = Plan.make(
        targets=["rig::0-2"],
        generator={"name": "pixels", "size_px": 8},
        optimizer={"name": "genetic", "population": 4},
        presentations=12,
        threads=1,
        rig="direct",
        session={"channels": 3, "animal": ANIMAL, "nwb": NWB},
    )
    session.serve(plan, tmp_path / "x", bridge=Direct(answer)).close()
    with xdream.Record(tmp_path / "x") as record:
        frame = record.presentations()
    late = frame[frame["status"] == "late"]
    assert len(late) == 6  # three channels of the first presentation of two blocks
    assert late["response"].isna().all()
    assert not late["counts"].any()
    assert frame["onset_s"].is_monotonic_increasing
    for form in ("csv", "nwb", "mat"):
        assert export(tmp_path / "x", form, tmp_path / f"out.{form}") == []


def test_what_lies_beside_an_export_stays(recorded: Path, tmp_path: Path) -> None:
    mine = tmp_path / "partial-out" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    export(recorded, "csv", tmp_path / "out")
    assert mine.read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "partial-out", "photographs", "x"]


# ------------------------------------------------------------------ clocks that are set back


def restarted(folder: Path, recorded: Callable[..., Recorded]) -> Path:
    """A session whose rig's clock stands at 500 s and is set to 0 with its third block."""
    rng, clock = np.random.default_rng(0), [500.0]

    def answer(block: Block) -> list[Answer]:
        clock[0] = 0.0 if block.number == 3 else clock[0]
        rows = []
        for one in block.presentations:
            clock[0] += 0.25
            rows.append(AnswerRow(one.image, one.repeat, recorded(one, rng), clock[0]))
        return [Answer(tuple(rows), block=block.number)]

    plan = Plan.make(
        targets=["rig::0-2"],
        generator={"name": "pixels", "size_px": 8},
        optimizer={"name": "genetic", "population": 4},
        presentations=24,
        repeats=2,
        threads=1,
        rig="direct",
        session={"channels": 3, "block_size": 8, "animal": ANIMAL, "nwb": NWB},
    )
    session.serve(plan, folder, bridge=Direct(answer)).close()
    return folder


@pytest.mark.filterwarnings("ignore")
def test_a_clock_that_was_set_back_gives_no_onset_below_zero_and_is_said(tmp_path: Path) -> None:
    import pynwb

    folder = restarted(tmp_path / "x", spikes)
    said = "the rig's clock went back in block 3, from "
    with xdream.Record(folder) as record:
        frame = record.presentations()
        one_each = frame.drop_duplicates("presentation")
        assert (frame["onset_s"] >= 0).all()
        assert one_each["onset_s"].is_monotonic_increasing
        assert not frame["onset_estimated"].any()
        within = one_each.groupby("block")["onset_s"].apply(lambda every: np.diff(every).round(9).tolist())
        assert all(set(one) == {0.25} for one in within)
        [event] = [one for one in record.events() if one.kind == "clock"]
        assert event.text.startswith(said)
        assert event.block == 3
    for form in ("csv", "mat", "nwb"):
        [note] = export(folder, form, tmp_path / f"out.{form}")
        assert note.startswith(said)
    about = json.loads((tmp_path / "out.csv" / "about.json").read_text())
    assert any(one["text"].startswith(said) for one in about["events"])
    with pynwb.NWBHDF5IO(str(tmp_path / "out.nwb"), "r") as io:
        file = io.read()
        assert min(file.trials["start_time"][:]) >= LEAD_S
        assert min(min(file.units["spike_times"][channel]) for channel in range(3)) >= 0


# ------------------------------------------------------------------ a record that grows


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("form", ["csv", "mat", "nwb"])
def test_an_export_of_what_grows_is_of_one_moment(
    form: str, journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation is written between the images and the presentations, as a running session does."""
    import apsw

    from xdream.experiment import presentation_rows

    folder = network(tmp_path / "x")
    writer = apsw.Connection(str(folder / "experiment.sqlite"))
    writer.pragma("journal_mode", journal)
    writer.execute("UPDATE run SET ending = NULL")
    before, grown = presentation_rows.images, list[int]()

    def images(record: Any) -> Any:
        yield from before(record)
        with writer:
            writer.execute(
                "INSERT INTO image (run, generation, slot) SELECT 0, 1 + max(generation), 0 FROM image"
            )
            writer.execute(
                "INSERT INTO presentation (run, generation, chunk, image, repeat, answered_utc,"
                " answered_monotonic_s) SELECT run, generation, 0, id, 0, '2030-01-01T00:00:00+00:00', 0"
                " FROM image ORDER BY id DESC LIMIT 1"
            )
        grown.append(1)

    monkeypatch.setattr(presentation_rows, "images", images)
    export(folder, form, tmp_path / f"out.{form}")
    writer.close()
    assert grown
    if form == "csv":
        rows = (tmp_path / "out.csv" / "presentations.csv").read_text().splitlines()
        assert len(rows) == 1 + 3 * 12


# ------------------------------------------------------------------ references of an experiment


@pytest.fixture
def with_references(tmp_path: Path, photographs: Path) -> Path:
    """An experiment with references whose names no file of an export can have."""
    names = ["a b?", "試" * 80, f"{'試' * 79}験", "x" * 240]
    for path, name in zip(sorted(photographs.iterdir())[:4], names, strict=True):
        path.rename(path.with_name(f"{name}{path.suffix}"))
    return network(tmp_path / "x", references=str(photographs), references_per_generation=2)


def test_references_of_an_experiment_are_among_the_images(with_references: Path, tmp_path: Path) -> None:
    assert export(with_references, "images", tmp_path / "out") == []
    with xdream.Record(with_references) as record:
        names = sorted(path.name for path in (tmp_path / "out").glob("reference-*.png"))
        assert len(names) == len(record.references)
        assert max(len(name.encode()) for name in names) <= 255
        place = [name for name, _ in record.references].index(
            next(n for n, _ in record.references if "?" in n)
        )
        assert f"reference-{place:05d}-a_b_.png" in names
        from xdream.images import references as photographs

        loaded = photographs.load(record.facts["plan"].split('references = "')[1].split('"')[0])
        for at, name in enumerate(names):
            pixels = np.asarray(Image.open(tmp_path / "out" / name)).transpose(2, 0, 1)
            np.testing.assert_array_equal(pixels, loaded.images([at], 8)[0].numpy())


def test_a_reference_that_has_gone_is_left_out_alone(
    with_references: Path, photographs: Path, tmp_path: Path
) -> None:
    gone = sorted(photographs.iterdir())[0]
    gone.unlink()
    [note] = export(with_references, "images", tmp_path / "out")
    assert note.startswith("1 reference left out: ")
    with xdream.Record(with_references) as record:
        assert len(list((tmp_path / "out").glob("reference-*"))) == len(record.references) - 1


@pytest.mark.filterwarnings("ignore")
def test_the_best_reference_follows_from_every_export(with_references: Path, tmp_path: Path) -> None:
    import pandas as pd
    import pynwb
    from scipy.io import loadmat

    from xdream.report.summary import summarise

    for form in ("csv", "parquet", "mat", "nwb"):
        export(with_references, form, tmp_path / f"out.{form}")
    with xdream.Record(with_references) as record:
        best = [(one.best_reference_name, one.best_reference) for one in summarise(record)]
        count = len(record.references)
    found = loadmat(tmp_path / "out.mat", simplify_cells=True)["xdream"]
    with pynwb.NWBHDF5IO(str(tmp_path / "out.nwb"), "r") as io:
        of_nwb = io.read().processing["misc"]["references"].to_dataframe()
    of_nwb = of_nwb.rename(columns={"reference_name": "name"})
    for frame in (
        pd.read_csv(tmp_path / "out.csv" / "references.csv"),
        pd.read_parquet(tmp_path / "out.parquet" / "references.parquet"),
        pd.DataFrame({name: found["references"][name] for name in ("run", "name", "response", "score")}),
        of_nwb,
    ):
        assert len(frame) == 3 * count
        for run, (name, score) in enumerate(best):
            of_run = frame[frame["run"] == run]
            row = of_run.loc[of_run["score"].idxmax()]
            assert (row["name"], row["score"]) == (name, pytest.approx(score))
            assert row["response"] == pytest.approx(score)
    first = found["images"]["id"][int(found["references"]["image"][0]) - 1]
    assert first == "n00000"


@pytest.mark.parametrize("name", ["試" * 80 + ".csv", "a" * 200])
def test_a_place_may_have_a_long_name(recorded: Path, tmp_path: Path, name: str) -> None:
    export(recorded, "csv", tmp_path / name)
    assert (tmp_path / name / "about.json").exists()
