"""Whole sessions over a folder, with a simulated rig that works in a thread and misbehaves."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xdream.description import Part
from xdream.experiment.plan import Plan
from xdream.images.files import decoded
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.laboratory.session import resume, serve
from xdream.laboratory.simulation.base import Offered
from xdream.laboratory.simulation.folder import FolderDriver, as_file
from xdream.scoring.recordings import Values
from xdream.store import Record

#: Only a session that hangs takes so long.
BOUND_S = 240.0


def plan_for(folder: Path, protocol: str, **session: Any) -> Plan:
    return Plan.make(
        targets=["rig::0-1"],
        generator={"name": "pixels", "size_px": 8},
        optimizer={"name": "genetic", "population": 4},
        presentations=48,
        repeats=2,
        rig={"name": "folder", "folder": str(folder), "protocol": protocol, "poll_s": 0.01, "stable_s": 0.05},
        session={"channels": 3, "block_size": 6, **session},
        threads=1,
    )


def value_rows(offered: Offered) -> list[AnswerRow]:
    """Values that follow from pixels and repeat, to the last bit."""
    rows = []
    for image, repeat, pixels in offered.presentations:
        light = pixels.to(torch.float64).mean((1, 2)).numpy()
        rows.append(AnswerRow(image, repeat, Values(light / 7.0 + repeat)))
    return rows


class Rig:
    """Answers every block; `faults` has what it does to the n-th."""

    def __init__(self, driver: FolderDriver, faults: dict[int, Callable[[bytes], bytes] | str]) -> None:
        self.driver, self.faults = driver, faults
        self.error: BaseException | None = None
        self.done: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Rig":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._answer_everything()
        except BaseException as error:
            self.error = error

    def _answer_everything(self) -> None:
        before: Offered | None = None
        n = 0
        while not self._stop.is_set() and not self.driver.over:
            offered = self.driver.next_block(0.2)
            if offered is None:
                continue
            n += 1
            rows, fault = rows_for(offered), self.faults.get(n)
            if callable(fault):
                self.driver.answer(offered, rows, spoil=fault)
                self.driver.wait(0.3)  # that it is seen; if it is not, the session goes on all the same
                self.done["spoiled"] += 1
            elif fault == "wrong ids":
                self.driver.answer(offered, [AnswerRow("who", 0, Values(np.ones(3)))], last=False)
                self.done["wrong ids"] += 1
            elif fault == "nan":
                rows[1] = AnswerRow(rows[1].image, rows[1].repeat, Values(np.full(3, np.nan)))
                self.done["nan"] += 1
            elif fault == "late" and before is not None:
                self.driver.answer(
                    before, [AnswerRow(r.image, r.repeat, Values(np.ones(3))) for r in rows_for(before)]
                )
                self.done["late"] += 1
            self.driver.answer(offered, rows)
            self.done["answered"] += 1
            before = offered


def rows_for(offered: Offered) -> list[AnswerRow]:
    """A response that follows from the pixels alone, so that every way of asking has the same scores."""
    return [AnswerRow(r.image, r.repeat, Values(r.recorded.values - r.repeat)) for r in value_rows(offered)]


def session(
    folder: Path, out: Path, protocol: str, faults: dict[int, Any], answer_format: str = "mat"
) -> tuple[list[Any], Counter[str], Counter[str]]:
    """Scores by run, what the rig did, what became of its rows; stopped once and gone on with."""
    folder.mkdir(exist_ok=True)
    plan = plan_for(folder, protocol)
    ended = threading.Event()
    timer = threading.Timer(BOUND_S, ended.set)
    timer.start()
    with Rig(FolderDriver(folder, protocol, answer_format, channels=3, poll_s=0.01), faults) as rig:
        with pytest.raises(KeyboardInterrupt):
            serve(plan, out, identity="5e5510", stop=lambda: ended.is_set() or rig.done["answered"] >= 4)
        record = resume(out, stop=ended.is_set)
    timer.cancel()
    assert rig.error is None
    with contextlib.closing(record):
        assert record.finished
        scores = [[one.tolist() for one in record.scores(run)] for run in (0, 1)]
        found = Counter(dict(record._rows("SELECT status, count(*) FROM recording GROUP BY status")))
    return scores, rig.done, found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The scores of the same session within one process."""
    out = tmp_path_factory.mktemp("direct") / "out"

    def respond(block: Block) -> list[Answer]:
        shown = tuple((p.image, p.repeat, block.images[p.image]) for p in block.presentations)
        return [Answer(tuple(rows_for(Offered(None, block.number, None, shown))))]

    record = serve(plan_for(out, "manifest"), out, bridge=Direct(respond), identity="5e5510")
    with contextlib.closing(record):
        return [[one.tolist() for one in record.scores(run)] for run in (0, 1)]


#: By the number of the block as the rig counts.
FAULTS: dict[int, Any] = {
    2: lambda data: data[: len(data) // 2],
    3: "nan",
    5: lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    6: "wrong ids",
    7: "late",
    8: lambda data: bytes(len(data)),
}


@pytest.mark.parametrize(
    ("protocol", "answer_format"),
    [("manifest", "mat"), ("original", "mat"), ("original", "csv")],
)
def test_a_session_with_faults_and_a_stop_has_the_scores_of_one_without(
    protocol: str, answer_format: str, expected: list[Any], tmp_path: Path
) -> None:
    scores, done, found = session(tmp_path / "rig", tmp_path / "out", protocol, FAULTS, answer_format)
    assert scores == expected
    assert done["answered"] >= 18
    assert (done["spoiled"], done["nan"], done["late"], done["wrong ids"]) == (3, 1, 1, 1)
    assert found["taken"] == 95
    assert found["missing"] == 1
    assert found["late"] >= 1
    assert not found["stale"]


@pytest.mark.parametrize(
    ("protocol", "said", "first"),
    [("original", {}, 0), ("original", {"first_block": 1}, 1), ("manifest", {}, 1)],
)
def test_the_original_counts_blocks_from_0_and_a_plan_may_say_otherwise(
    protocol: str, said: dict[str, int], first: int, tmp_path: Path
) -> None:
    from xdream.experiment.plan import plan_of

    (tmp_path / "rig").mkdir()
    shown: list[Any] = []

    def stop() -> bool:
        shown.extend((tmp_path / "rig").glob(f"block{first:03d}_000_*.png"))
        return bool(shown)

    with pytest.raises(KeyboardInterrupt):
        serve(plan_for(tmp_path / "rig", protocol, **said), tmp_path / "out", stop=stop)
    with Record(tmp_path / "out") as record:
        plan = plan_of(record)
        assert plan.session is not None
        assert plan.session.first_block == first
        record.check_block(first)
        # A session of before there was a choice goes on as it was counted.
        old = record.facts["plan"].replace(f"first_block = {first}\n", "")
    assert "first_block" not in old
    stored = Plan.stored(old, record.plan_schema)
    assert stored.session is not None
    assert stored.session.first_block == 1


def test_a_rig_that_was_written_for_the_original_answers_every_block(
    expected: list[Any], tmp_path: Path
) -> None:
    """It knows two folders and how many images a block has; it counts from 0, and writes one file a block."""
    images, answers = tmp_path / "images", tmp_path / "answers"
    images.mkdir()
    answers.mkdir()
    plan = plan_for(images, "original", block_size=8)
    assert plan.rig is not None
    plan = plan.model_copy(update={"rig": Part(name="folder", **plan.rig.options, answers=str(answers))})
    done = threading.Event()
    counted: list[int] = []

    def rig() -> None:
        while not done.wait(0.01):
            names = sorted(path.name for path in images.glob(f"block{len(counted):03d}_*.png"))
            if len(names) == 8:
                light = [
                    decoded((images / name).read_bytes()).to(torch.float64).mean((1, 2)) for name in names
                ]
                table = np.stack([one.numpy() / 7.0 for one in light])
                data = as_file("mat", names, table, names)
                (answers / f"block{len(counted):03d}.mat").write_bytes(data)
                counted.append(len(names))

    thread = threading.Thread(target=rig, daemon=True)
    thread.start()
    record = serve(plan, tmp_path / "out", identity="5e5510", stop=done.is_set)
    done.set()
    thread.join(BOUND_S)
    with contextlib.closing(record):
        assert [[one.tolist() for one in record.scores(run)] for run in (0, 1)] == expected
        assert {status for (status,) in record._rows("SELECT DISTINCT status FROM recording")} == {"taken"}
        assert [number for (number,) in record._rows("SELECT id FROM block")] == list(range(len(counted)))


def test_an_old_answer_in_the_folder_is_put_aside_and_the_session_goes_on(
    expected: list[Any], tmp_path: Path
) -> None:
    folder = tmp_path / "rig"
    folder.mkdir()
    (folder / "block000.csv").write_bytes(b"stimulusID,a,b,c\nblock000_000_old.png,1,2,3\n")
    scores, _, found = session(folder, tmp_path / "out", "original", {}, "csv")
    assert scores == expected
    assert found["quarantined"] == 1
    assert (folder / "stale" / "block000.csv").exists()
