"""The tables of a record: the store's numbers, one row for each presentation and channel."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xdream
from xdream.errors import BadInput
from xdream.experiment import presentation_rows
from xdream.experiment.plan import Plan
from xdream.laboratory import session
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.scoring.recordings import Spikes, Values


def plan(**changes: Any) -> Plan:
    small = {
        "targets": ["known:linear::3-4"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 16,
        "repeats": 2,
        "noise_scale": 0.5,
        "seed": 11,
        "threads": 1,
    }
    return Plan.make(**small | changes)


def session_plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "targets": ["rig::0-1"],
        "noise_scale": None,
        "rig": "direct",
        "session": {"channels": ["a", "b"], "block_size": 6},
    }
    return plan(**values | changes)


def spikes(block: Block) -> list[Answer]:
    """Each image has one spike in channel 0 and two in channel 1, in the window; the third is missing."""
    rows = [
        AnswerRow(
            one.image,
            one.repeat,
            None
            if one.place == 2
            else Spikes(np.array([80.0, 90.0, 100.5]), np.array([0, 1, 1]), 2, -50, 250),
            1000.0 + one.place + 100 * block.number,
        )
        for one in block.presentations
    ]
    return [Answer(tuple(rows), block=block.number), Answer((), block=block.number, fence=1, last=True)]


def test_an_experiment_has_a_row_for_each_presentation(tmp_path: Path, photographs: Path) -> None:
    small = plan(references=str(photographs), references_per_generation=2)
    with xdream.run(small, tmp_path / "x") as record:
        table = record.presentations()
        assert len(table) == 2 * (16 + 2 * 2 * 2)
        images = table[~table["reference"]]
        stored = record.query(
            "SELECT p.response, p.noise_free, i.score, i.generation + 1 FROM presentation AS p"
            " JOIN image AS i ON i.id = p.image ORDER BY p.id"
        )
        columns = ["response", "noise_free", "score", "generation"]
        np.testing.assert_array_equal(images[columns].to_numpy(), np.array(stored))
        # The score of an image is the mean of the responses to it.
        means = images.groupby("image")["response"].mean()
        np.testing.assert_allclose(images.groupby("image")["score"].first(), means)
        assert set(table["channel"]) == {"3", "4"}
        assert table["counts"].all()
        assert table["onset_estimated"].all()
        assert table[table["reference"]]["image"].str.startswith("n0").all()
        shown = record.images(codes=True)
        assert len(shown) == 7 + 16
        assert set(images["image"]) == set(shown["image"][~shown["reference"]])
        np.testing.assert_array_equal(shown["code"].iloc[7], record.codes(0, 0)[0])
        assert shown["code"].iloc[0] is None
        arrays = record.presentation_arrays()
        for name in ("response", "generation", "image", "counts"):
            np.testing.assert_array_equal(arrays[name], table[name].to_numpy())


def test_a_session_has_a_row_for_each_channel_with_onsets_and_what_became_of_it(tmp_path: Path) -> None:
    with session.serve(session_plan(), tmp_path / "x", bridge=Direct(spikes)) as record:
        table = record.presentations(spikes=True)
        assert len(table) == 2 * 32
        taken = table[table["status"] == "taken"]
        missing = table[table["status"] == "missing"]
        assert len(missing) == 2 * 6
        assert set(missing["place"]) == {2}
        assert missing["response"].isna().all()
        assert not missing["counts"].any()
        rates = taken.groupby("channel")["response"].unique()
        assert (rates["a"].tolist(), rates["b"].tolist()) == ([10.0], [20.0])  # one, two spikes in 100 ms
        assert taken["spike_times_ms"].iloc[1].tolist() == [90.0, 100.5]
        assert not table["onset_estimated"].any()
        np.testing.assert_array_equal(table["rig_onset_s"], 1000.0 + table["place"] + 100 * table["block"])
        np.testing.assert_allclose(np.diff(table["onset_s"]), np.diff(table["rig_onset_s"]))


def test_without_onsets_times_are_estimated_from_arrivals_and_never_go_back(tmp_path: Path) -> None:
    def values(block: Block) -> list[Answer]:
        rows = [AnswerRow(one.image, one.repeat, Values(np.ones(2))) for one in block.presentations]
        return [Answer(tuple(rows), block=block.number), Answer((), block=block.number, fence=1, last=True)]

    with session.serve(session_plan(), tmp_path / "x", bridge=Direct(values)) as record:
        table = record.presentations()
        assert table["onset_estimated"].all()
        assert (np.diff(table["onset_s"]) >= 0).all()
        assert (table["onset_s"] >= 0).all()


def test_what_was_rejected_does_not_count(tmp_path: Path) -> None:
    with session.serve(session_plan(), tmp_path / "x", bridge=Direct(spikes)) as record:
        assert record.presentations().query("block == 2")["counts"].any()
    import apsw

    with apsw.Connection(str(tmp_path / "x" / "experiment.sqlite")) as connection:
        connection.execute("UPDATE block SET ending = 'rejected' WHERE id = 2")
        connection.execute("INSERT INTO void VALUES (1, 1, 'test')")
    with xdream.Record(tmp_path / "x") as record:
        table = record.presentations()
        assert not table.query("block == 2 or generation == 2")["counts"].any()
        assert table.query("block == 1 and place == 0")["counts"].all()


def test_batches_are_cut_between_generations_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with xdream.run(plan(), tmp_path / "x") as record:
        whole = record.presentations()
        monkeypatch.setattr(presentation_rows, "BATCH", 5)
        assert len(list(presentation_rows.presentations(record))) == 2
        assert record.presentations().equals(whole)


def test_what_cannot_be_given_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with xdream.run(plan(record="scores"), tmp_path / "x") as record:
        with pytest.raises(BadInput, match="a record of scores, which has no presentations"):
            record.presentations()
        assert record.images()["score"].notna().all()
        assert record.best(1) == record.best_image(1)
        with pytest.raises(BadInput, match="has no run 2; it has 0 to 1"):
            record.best(2)
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(BadInput, match=r"pip install 'xdream\[tables\]'"):
            record.images()
