"""What the page is given: everything once, then only what is new; counted against the record."""

import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from watched_session import PATIENCE_S, bad_answer, led_session

from xdream.dashboard.channels import channel_view
from xdream.dashboard.feed import Feed
from xdream.dashboard.places import Places, _thinned
from xdream.errors import BadInput
from xdream.experiment import loop
from xdream.experiment.plan import Plan, plan_of
from xdream.store import FILE_NAME, Record, Store
from xdream.store.ledger import Event, Ledger
from xdream.store.lock_file import is_running

OLD = Path(__file__).parents[1] / "old_records"


def experiment(folder: Path, photographs: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "targets": ["known:linear::0-1"],
        "generator": {"name": "pixels", "size_px": 8},
        "optimizer": {"name": "genetic", "population": 4},
        "presentations": 20,
        "references": str(photographs),
        "references_per_generation": 2,
        "threads": 1,
    }
    loop.run(Plan.make(**values | changes), folder).close()
    return folder


def test_rows_are_the_scores_of_the_record(tmp_path: Path, photographs: Path) -> None:
    folder = experiment(tmp_path / "e", photographs)
    feed = Feed(folder)
    feed.update()
    rows = feed.snapshot()["rows"]
    with Record(folder) as record:
        for run in (0, 1):
            own = [row for row in rows if row[0] == run]
            scores = record.scores(run)
            assert [row[1] for row in own] == list(range(len(scores)))
            for row, told in zip(own, scores, strict=True):
                assert row[4] == np.max(told)
                assert row[5] == pytest.approx(np.mean(told))
                assert row[6] == pytest.approx(np.std(told), abs=1e-6 * abs(np.mean(told)) + 1e-9)
                assert (row[7], row[8]) == (4, 4)
                best = record.best_image(run, row[1])
                assert best is not None
                assert row[9] == best.pixels
        responses = record.reference_responses(0)
    mean, deviation, best_response, count = feed.snapshot()["live"]["references"]["0"]
    assert (mean, count) == (pytest.approx(responses.mean()), 7)
    assert best_response == responses.max()
    assert deviation == pytest.approx(responses.std(), rel=1e-6)
    assert all(row[4] == 2 for row in feed.snapshot()["drift"]), "two references in each generation"
    assert feed.snapshot()["live"]["over"] is True
    json.dumps(feed.snapshot(), allow_nan=False)
    feed.close()


def test_what_is_new_comes_once_and_costs_nothing_when_there_is_none(tmp_path: Path) -> None:
    with led_session(tmp_path / "s") as led:
        feed = Feed(tmp_path / "s")
        told: list[int] = []

        def look() -> int:
            told.extend(row[1] for row in (feed.update() or {}).get("rows", ()))
            return len(told)

        for generations in (1, 2, 3):
            led.allow(1)
            until(lambda: look() == 2 * generations)  # noqa: B023
        until(lambda: feed.update() is None)
        statements: list[str] = []
        feed.record._connection.set_exec_trace(lambda _, sql, __: statements.append(sql) or True)  # type: ignore[func-returns-value]
        assert feed.update() is None
        assert statements == ["PRAGMA data_version"]
        feed.record._connection.set_exec_trace(None)
        assert told == [0, 0, 1, 1, 2, 2]
        again = Feed(tmp_path / "s")
        again.update()
        assert [row[:2] for row in again.snapshot()["rows"]] == [row[:2] for row in feed.snapshot()["rows"]]
        again.close()
        feed.close()


def until(condition: Any) -> None:
    """Ask until it is so; that it never is fails the test."""
    import time

    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_alarm_comes_and_goes_and_whether_it_runs_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with led_session(folder) as led:
        feed = Feed(folder)

        def now() -> Any:
            feed.update()
            return feed.snapshot()["live"]

        until(lambda: now()["block"] is not None)
        led.send(bad_answer(1))
        until(lambda: now()["troubles"])
        [trouble] = now()["troubles"]
        assert trouble["what"] == "block001.mat was refused"
        assert "7 channels; the session has 3" in trouble["why"]
        led.allow(1)
        until(lambda: not now()["troubles"])
        assert now()["counts"]["quarantined"] == 1
        if Path("/proc/locks").exists():
            assert now()["running"] is True
    if Path("/proc/locks").exists():
        assert is_running(folder) is False
        assert now()["running"] is False
    feed.close()


def test_what_is_under_way_is_counted_and_blocks_that_were_never_shown_are_not_offered(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s"
    with led_session(folder, session={"block_size": 2}) as led:
        feed = Feed(folder)

        def now() -> Any:
            feed.update()
            return feed.snapshot()["live"]

        until(lambda: now()["under_way"] == (0, 0, 8))
        assert [block[0] for block in now()["blocks"]] == [1], "2 to 4 are planned, and were not shown"
        led.allow(2)
        until(lambda: now()["under_way"] == (0, 4, 8))
        assert [block[0] for block in now()["blocks"]] == [3, 2, 1]
        led.allow(2)
        until(lambda: now()["under_way"] == (1, 0, 8))
    feed.close()


def test_what_is_said_about_a_session_follows_its_resumption(tmp_path: Path) -> None:
    with led_session(tmp_path / "s"):
        feed = Feed(tmp_path / "s")
        feed.update()
        assert len(feed.snapshot()["about"]["versions"]) == 1
    with Store.open_existing(tmp_path / "s", {"xdream": "9.9"}) as store:
        store.write_fact("notes", json.dumps(["a note of the second process"]))
    new = feed.update()
    assert new is not None
    assert new["about"]["versions"][1] == {"xdream": "9.9"}
    assert new["about"]["notes"] == ["a note of the second process"]
    assert feed.snapshot()["about"] == new["about"]
    feed.close()


def test_blocks_that_rigs_take_are_counted_and_hide_no_event(tmp_path: Path) -> None:
    with led_session(tmp_path / "s") as led:
        del led
    with Store.open_existing(tmp_path / "s", {}) as store:
        ledger = Ledger(store)
        ledger.note(Event("flag", "channel 0 is silent"))
        for number in range(400):
            ledger.note(Event("lease", f"block {number} goes to rig"))
    feed = Feed(tmp_path / "s")
    feed.update()
    snapshot = feed.snapshot()
    assert [event[4] for event in snapshot["events"]] == ["flag"]
    assert snapshot["live"]["leases"] == 400
    feed.close()


def test_spikes_are_binned_as_they_are_in_the_record(tmp_path: Path) -> None:
    with led_session(tmp_path / "s") as led:
        led.allow(2)
        with Record(tmp_path / "s") as record:
            until(lambda: record.runs()[0].generations == 2)
            view = channel_view(record, plan_of(record), 0)
            assert [group["name"] for group in view["groups"]] == [
                "first generation (generation 1)",
                "latest generation (generation 2)",
            ]
            group = view["groups"][0]
            assert view["kind"] == "spikes"
            assert group["shown"] == 8
            assert len(group["times_ms"]) == len(group["rows"])
            assert group["times_ms"] == sorted(group["times_ms"])
            # A rate in bins of 10 ms, over 8 presentations.
            assert math.fsum(group["mean"]) * 0.01 * 8 == pytest.approx(len(group["times_ms"]), rel=1e-3)
            with pytest.raises(BadInput, match="there is no channel 3"):
                channel_view(record, plan_of(record), 3)


@pytest.mark.parametrize("place", sorted(OLD.glob("schema-*/*/experiment.sqlite")), ids=str)
def test_old_records_are_watched(place: Path) -> None:
    feed = Feed(place.parent)
    feed.update()
    snapshot = feed.snapshot()
    assert snapshot["rows"]
    json.dumps(snapshot, allow_nan=False)
    feed.close()


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no folder of an experiment, session, tuning or study"):
        Places(tmp_path)


def test_a_tuning_is_its_evaluations(tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "tuning.toml").write_text("")
    for number in (0, 1):
        experiment(tmp_path / "evaluations" / f"{number:04d}", photographs)
    places = Places(tmp_path)
    overview = places.overview()
    assert overview["kind"] == "tuning"
    assert [row["at"] for row in overview["rows"]] == ["evaluations/0000", "evaluations/0001"]
    assert [(row["runs"], row["ended"], row["generations"]) for row in overview["rows"]] == [(2, 2, 5)] * 2
    with Record(tmp_path / "evaluations/0000") as record:
        every = [scores.max() for scores in np.array([record.scores(run) for run in (0, 1)]).swapaxes(0, 1)]
    assert overview["rows"][0]["curve"] == [[1, 2, 3, 4, 5], pytest.approx(every)]
    assert overview["rows"][0]["best"] == pytest.approx(max(every))
    assert places.place("evaluations/0001") == tmp_path / "evaluations/0001"
    for wrong in ("", "..", "../..", "evaluations", "/etc", "evaluations/0001/.."):
        with pytest.raises(BadInput, match="no such experiment"):
            places.place(wrong)


def test_a_long_curve_is_thinned_by_its_best() -> None:
    thin = _thinned([(n, float(n == 7777)) for n in range(10_000)])
    assert len(thin) <= 60
    assert max(thin, key=lambda one: one[1]) == (7777, 1.0)
    assert [generation for generation, _ in thin] == sorted(generation for generation, _ in thin)
    assert _thinned([]) == []


def test_the_page_starts_without_pytorch() -> None:
    code = (
        "import sys, xdream.dashboard.server, xdream.cli.watching;"
        "print(sorted({'torch', 'scipy', 'matplotlib', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_of_an_experiment_that_goes_on_only_what_is_new_is_read(tmp_path: Path, photographs: Path) -> None:
    """A score of an earlier generation, changed behind its back, is not seen: nobody looks there again."""
    folder = experiment(tmp_path / "e", photographs)
    places = Places(tmp_path / "e")
    [before] = places.overview()["rows"]
    assert before["generations"] == 5
    with contextlib.closing(apsw.Connection(str(folder / FILE_NAME))) as writer:
        writer.execute("UPDATE image SET noise_free_score = 1e6 WHERE generation = 0")
        writer.execute("INSERT INTO image (run, generation, slot, noise_free_score) VALUES (0, 5, 0, 1e3)")
        [now] = places.overview()["rows"]
        assert (now["generations"], now["best"]) == (5, before["best"]), "it was not told yet"
        writer.execute("INSERT INTO told VALUES (0, 5, '2030-01-01T00:00:00+00:00')")
        [now] = places.overview()["rows"]
        assert (now["generations"], now["best"]) == (6, 1e3)
        # Another experiment in the same folder is read anew.
        writer.execute("UPDATE process SET started_utc = '2030-01-01T00:00:00+00:00'")
        [now] = places.overview()["rows"]
        assert now["best"] == 1e6
