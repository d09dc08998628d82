"""Whatever ends an experiment, resuming it gives the experiment that was not ended."""

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
import torch

import xdream
from xdream.errors import BadInput, StoreBusy, StoreError, SubjectError
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.plan import Plan
from xdream.optimizers.fdgd import FDGD
from xdream.optimizers.genetic import Genetic
from xdream.store import FILE_NAME, Record, Store, connection
from xdream.subjects import KnownPixels, NetworkUnits


class Killed(BaseException):
    """Not an error that anything handles."""


class Mortal:
    """Ends an experiment at its n-th tick: before and after each answer of a subject and each step of an
    optimizer, within each transaction and after it. Notes what was shown and told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: float = float("inf")
        self.ticks = 0
        self.shown: list[str] = []
        self.told = 0
        for subject in (KnownPixels, NetworkUnits):
            monkeypatch.setattr(subject, "respond", self._noting(subject.respond))
        for optimizer in (Genetic, FDGD):
            monkeypatch.setattr(optimizer, "ask", self._ticking(optimizer.ask))
            monkeypatch.setattr(optimizer, "tell", self._counting(optimizer.tell))
        monkeypatch.setattr(Store, "transaction", self._transaction(Store.transaction))

    def live(self, ticks: float = float("inf")) -> None:
        """From now on, so many ticks; what was noted is forgotten."""
        self.left, self.ticks, self.shown, self.told = ticks, 0, [], 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks > self.left:
            raise Killed

    def _ticking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def ticking(part: Any, *values: Any) -> Any:
            result = method(part, *values)
            self.tick()
            return result

        return ticking

    def _counting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counting(part: Any, *values: Any) -> Any:
            self.told += 1
            return self._ticking(method)(part, *values)

        return counting

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noting(part: Any, images: torch.Tensor) -> Any:
            self.tick()
            self.shown.append(hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest())
            result = method(part, images)
            self.tick()
            return result

        return noting

    def _transaction(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def transaction(store: Store) -> Iterator[Any]:
            with method(store) as connection:
                yield connection
                self.tick()
            self.tick()

        return transaction


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Mortal:
    return Mortal(monkeypatch)


def everything(photographs: Path, **changes: Any) -> Plan:
    """Two subjects, repeats, noise, interleaved references, chunks smaller than a generation."""
    return Plan.make(
        **{
            "targets": ["known:linear::3", "known:energy::1"],
            "generator": {"name": "pixels", "size_px": 8},
            "optimizer": {"name": "genetic", "population": 4, "elites": 1},
            "presentations": 16,
            "repeats": 2,
            "noise_spikes": 20.0,
            "references": str(photographs),
            "references_per_generation": 2,
            "init": "references:middle",
            "seed": 5,
            "batch": 3,
            "threads": 1,
        }
        | changes
    )


def committed(folder: Path) -> tuple[int, int, bool]:
    """(answers of subjects, generations) that are in the store, and whether anything is."""
    record = Record(folder)
    dump = record.dump()
    references = len({row[0] for row in dump["reference"]})
    chunks = len({(generation, chunk) for _, generation, chunk, *_ in dump["presentation"]})
    told = len(record.scores(0))
    record.close()
    return 2 * -(-references // 3) + chunks, told, bool(dump["state"])


@pytest.mark.parametrize("part", range(4))
def test_killed_at_any_point_an_experiment_goes_on_as_if_it_had_not_been(
    tmp_path: Path, photographs: Path, mortal: Mortal, part: int
) -> None:
    plan = everything(photographs)
    expected = xdream.run(plan, tmp_path / "whole").dump()
    total, shown, told = mortal.ticks, mortal.shown, mortal.told
    assert (total, len(shown), told) == (66, 14, 2)
    for ticks in range(part, total, 4):
        folder = tmp_path / str(ticks)
        mortal.live(ticks)
        with pytest.raises(Killed):
            xdream.run(plan, folder)
        answers, generations, _ = committed(folder)
        mortal.live()
        record = xdream.resume(folder)
        assert record.dump() == expected, f"killed at tick {ticks}"
        assert record.finished
        assert mortal.shown == shown[answers:], f"killed at tick {ticks}"  # nothing answered is shown again
        assert mortal.told == told - generations, f"killed at tick {ticks}"  # nor told twice


@pytest.mark.parametrize("part", range(4))
def test_killed_at_any_point_a_record_of_scores_goes_on_too(
    tmp_path: Path, photographs: Path, mortal: Mortal, part: int
) -> None:
    """Over more than one of the states that it keeps, and with runs that end on the way."""
    variants = [{"targets": ["known:linear::3"]}, {"targets": ["known:energy::1"], "plateau": 4}]
    plan = everything(
        photographs, references_per_generation=0, record="scores", presentations=184, variants=variants
    )
    record = xdream.run(plan, tmp_path / "whole")
    expected, total = record.dump(), mortal.ticks
    assert len(record.scores(0)) != len(record.scores(1))
    assert max(len(record.scores(run)) for run in (0, 1)) > 20
    for ticks in range(part, total, 29):
        folder = tmp_path / str(ticks)
        mortal.live(ticks)
        with pytest.raises(Killed):
            xdream.run(plan, folder)
        mortal.live()
        again = xdream.resume(folder)
        assert again.dump() == expected, f"killed at tick {ticks}"
        assert again.finished


def test_killed_at_any_point_every_run_goes_on_from_the_codes_of_its_own_variant(
    tmp_path: Path, photographs: Path, mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are needed from wherever it is resumed until the runs have started; then they may be gone."""
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        np.save(f"{number}.npy", rng.normal(0.5, 0.25, (4, 192)).astype(np.float32))
    inits = ["codes:0.npy", "codes:1.npy", "references:best"]
    plan = everything(photographs, init="codes:gone.npy", variants=[{"init": init} for init in inits])
    expected = xdream.run(plan, "whole")
    total = mortal.ticks
    for number in range(2):
        given = np.load(f"{number}.npy")
        for run in (2 * number, 2 * number + 1):
            np.testing.assert_array_equal(np.stack(list(expected.codes(run, 0).values())), given)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    starts = set()
    for ticks in range(2, total, 5):
        monkeypatch.chdir(tmp_path)
        mortal.live(ticks)
        with pytest.raises(Killed):
            xdream.run(plan, str(ticks))
        monkeypatch.chdir(elsewhere)
        mortal.live()
        started = committed(tmp_path / str(ticks))[2]
        starts.add(started)
        for number in range(2 * started):
            (tmp_path / f"{number}.npy").rename(elsewhere / f"{number}.npy")
        record = xdream.resume(tmp_path / str(ticks))
        assert record.dump() == expected.dump(), f"killed at tick {ticks}"
        assert record.facts["plan"] == expected.facts["plan"]
        for number in range(2 * started):
            (elsewhere / f"{number}.npy").rename(tmp_path / f"{number}.npy")
    assert starts == {False, True}


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_an_experiment_still_ends_the_same(
    tmp_path: Path, photographs: Path, mortal: Mortal, seed: int
) -> None:
    plan = everything(photographs, presentations=24)
    expected = xdream.run(plan, tmp_path / "whole").dump()
    lives = random.Random(seed)
    mortal.live(lives.randint(2, 12))
    with pytest.raises(Killed):
        xdream.run(plan, tmp_path / "x")
    deaths = 1
    while True:
        mortal.live(lives.randint(2, 12))
        try:
            record = xdream.resume(tmp_path / "x")
            break
        except Killed:
            deaths += 1
    assert deaths > 5
    assert record.dump() == expected


NETWORK = """
import torch
from torch import nn

def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 5)
        )
"""


def test_with_a_real_network_the_continuation_is_identical_too(
    tmp_path: Path, mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_to_resume.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    network = "python:network_to_resume:make"
    plan = Plan.make(
        targets=[f"{network}::1,4", f"{network}:2:3", f"{network}:2:7@0,1"],
        preprocessing={network: {"size_px": (16, 16)}},
        generator={"name": "fourier", "size_px": 32},
        optimizer={"name": "fdgd", "population": 6},
        presentations=18,
        batch=5,
        threads=2,
    )
    expected = xdream.run(plan, tmp_path / "whole").dump()
    total = mortal.ticks
    for ticks in random.Random(0).sample(range(total), 4):
        mortal.live(ticks)
        with pytest.raises(Killed):
            xdream.run(plan, tmp_path / str(ticks))
        torch.set_num_threads(1)  # another process may have begun with another number
        mortal.live()
        assert xdream.resume(tmp_path / str(ticks)).dump() == expected, f"killed at tick {ticks}"


RUNNER = """
import xdream
from xdream.experiment.plan import Plan

class Watch:
    def stage(self, name, done, total):
        if name == "generations":
            pipe.send(done)

    def best(self, score):
        pass

if plan:
    xdream.run(Plan.from_toml(plan), folder, Watch())
else:
    xdream.resume(folder, Watch())
"""


def killed(child: Any, folder: Path, plan: str, generation: int, wait_s: float) -> None:
    """Run or resume in a process of its own, killed a while after it began this generation."""
    here, there = child.pipe()
    process = child.start(RUNNER, folder=folder, plan=plan, pipe=there)
    while here.poll(60) and here.recv() < generation:
        pass
    time.sleep(wait_s)
    process.kill()
    process.join()
    assert process.exitcode == -9


@pytest.mark.parametrize("seed", range(2))
def test_killed_by_the_system_an_experiment_goes_on_as_if_it_had_not_been(
    tmp_path: Path, photographs: Path, child: Any, seed: int
) -> None:
    plan = everything(photographs, presentations=4 * 2 * 24)
    expected = xdream.run(plan, tmp_path / "whole").dump()
    moments = random.Random(seed)
    folder = tmp_path / "x"
    first, second = moments.randint(0, 8), moments.randint(12, 20)
    killed(child, folder, plan.to_toml(), first, moments.uniform(0.0, 0.05))
    assert not Record(folder).finished
    killed(child, folder, "", second, moments.uniform(0.0, 0.05))
    record = Record(folder)
    assert not record.finished
    assert len(record.scores(0)) >= second - 1  # the last one may have been on its way
    record.close()
    assert xdream.resume(folder).dump() == expected


def test_a_finished_experiment_is_only_read(tmp_path: Path, photographs: Path, mortal: Mortal) -> None:
    expected = xdream.run(everything(photographs), tmp_path / "x").dump()
    before = (tmp_path / "x" / FILE_NAME).read_bytes()
    for photograph in photographs.iterdir():
        photograph.unlink()  # not even its references are needed
    mortal.live(0)
    record = xdream.resume(tmp_path / "x")
    assert record.dump() == expected
    assert record.finished
    assert (tmp_path / "x" / FILE_NAME).read_bytes() == before


@pytest.fixture
def halted(tmp_path: Path, photographs: Path, mortal: Mortal) -> Path:
    """An experiment that was killed in its first generation."""
    folder = tmp_path / "halted"
    mortal.live(30)
    with pytest.raises(Killed):
        xdream.run(everything(photographs), folder)
    mortal.live()
    return folder


def test_changed_references_are_refused(halted: Path, photographs: Path) -> None:
    before = Record(halted).dump()
    original = (photographs / "3.png").read_bytes()
    (photographs / "3.png").write_bytes((photographs / "4.png").read_bytes())
    with pytest.raises(BadInput, match=r"references '.*photographs' have changed since .*; put them back"):
        xdream.resume(halted)
    (photographs / "3.png").rename(photographs / "9.png")
    (photographs / "9.png").write_bytes(original)
    with pytest.raises(BadInput, match="have changed"):
        xdream.resume(halted)
    (photographs / "9.png").unlink()
    with pytest.raises(BadInput, match="have changed"):
        xdream.resume(halted)
    assert Record(halted).dump() == before
    (photographs / "3.png").write_bytes(original)
    assert xdream.resume(halted).finished


def test_draws_of_another_release_are_refused(halted: Path) -> None:
    with contextlib.closing(apsw.Connection(str(halted / FILE_NAME))) as connection:
        connection.execute("UPDATE experiment SET value = 'dice/1' WHERE key = 'draws'")
    with pytest.raises(BadInput, match=r"draws dice/1; this release has philox.*resume it with the release"):
        xdream.resume(halted)


def test_a_living_experiment_is_not_resumed_beside(halted: Path) -> None:
    with Store.open_existing(halted, {}), pytest.raises(StoreBusy, match="in use by a running experiment"):
        xdream.resume(halted)
    assert xdream.resume(halted).finished


def test_what_is_no_experiment_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no folder of an experiment"):
        xdream.resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_after_a_resume_the_experiment_is_one_file(halted: Path) -> None:
    xdream.resume(halted).close()
    alone = halted / "alone"
    alone.mkdir()
    (alone / FILE_NAME).write_bytes((halted / FILE_NAME).read_bytes())
    assert Record(alone).dump() == Record(halted).dump()
    assert Record(alone).finished


def test_a_failed_subject_is_resumed_like_a_kill(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = everything(photographs)
    expected = xdream.run(plan, tmp_path / "whole").dump()
    respond = KnownPixels.respond
    answers = 0

    def failing(subject: KnownPixels, images: torch.Tensor) -> torch.Tensor:
        nonlocal answers
        answers += 1
        if answers == 9:
            raise SubjectError("the electrode fell out")
        return respond(subject, images)

    monkeypatch.setattr(KnownPixels, "respond", failing)
    with pytest.raises(SubjectError, match="the electrode fell out"):
        xdream.run(plan, tmp_path / "x")
    assert xdream.resume(tmp_path / "x").dump() == expected


@pytest.mark.parametrize("pages", [1, 3, 5])
def test_after_a_full_disk_an_experiment_goes_on_as_if_there_had_been_room(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    plan = everything(photographs)
    expected = xdream.run(plan, tmp_path / "whole").dump()

    def limit(connection: apsw.Connection) -> None:
        if used := connection.pragma("page_count"):
            connection.pragma("max_page_count", used + pages)

    with monkeypatch.context() as full:
        full.setattr(apsw, "connection_hooks", [limit])
        with pytest.raises(StoreError, match=r"the disk is full.*make room, then resume"):
            xdream.run(plan, tmp_path / "x")
    assert not Record(tmp_path / "x").finished
    assert xdream.resume(tmp_path / "x").dump() == expected


def test_on_a_network_share_the_continuation_is_identical(
    tmp_path: Path, photographs: Path, mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = everything(photographs)
    expected = xdream.run(plan, tmp_path / "whole").dump()
    monkeypatch.setattr(connection, "file_system", lambda path: "cifs")
    mortal.live(40)
    with pytest.raises(Killed):
        xdream.run(plan, tmp_path / "x")
    mortal.live()
    record = xdream.resume(tmp_path / "x")
    assert record.dump() == expected
    assert "is on a network share (cifs)" in record.facts["notes"]


def test_it_resumes_from_another_folder_and_without_the_files_of_its_first_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    np.save("codes.npy", np.random.default_rng(0).normal(size=(20, 192)))
    plan = xdream.Plan.make(
        targets=["known:linear::0"],
        generator={"name": "pixels", "size_px": 8},
        presentations=60,
        init="codes:codes.npy",
    )
    whole = xdream.run(plan, tmp_path / "whole").dump()

    class Killed(BaseException):
        pass

    class Killer(NoCallback):
        def best(self, score: float) -> None:
            raise Killed

    with pytest.raises(Killed):
        xdream.run(plan, tmp_path / "killed", Killer())
    (here / "codes.npy").unlink()
    monkeypatch.chdir(there)
    assert xdream.resume(tmp_path / "killed").dump() == whole
