"""The folder: images out, answers in, and all that a folder shared with another computer can hold."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xdream.errors import BadInput, RigError
from xdream.images.files import decoded, encoded
from xdream.laboratory.rigs import BRIDGES, Answer, AnswerRow, Block, Bridge, Folder
from xdream.laboratory.simulation.folder import as_file
from xdream.scoring.recordings import Values
from xdream.testing.sessions import PATIENCE_S, SESSION, a_block, left_of


class SteppedSession:
    """A session that looks into the folder when the test says so, and keeps every answer that came."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.answers: list[Answer] = []
        bridge.open(SESSION, ("a", "b", "c"))

    def offer(self, block: Block) -> None:
        self.bridge.offer(block)

    @property
    def rows(self) -> list[AnswerRow]:
        return [row for answer in self.answers for row in answer.rows]

    @property
    def faults(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.fault is not None]

    def listen(self, until: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        """Take what comes until something is so; that it never is fails the test."""
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline, f"it did not come to that; answers: {self.answers}"
            self.take(0.05)

    def take(self, timeout_s: float) -> None:
        for arrival in self.bridge.collect(timeout_s):
            assert isinstance(arrival, Answer)
            self.answers.append(arrival)


# ---------------------------------------------------------------------- one thing each


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def original(tmp_path: Path, clock: Clock) -> Iterator[SteppedSession]:
    yield from opened(Folder(tmp_path, "original", poll_s=0.1, stable_s=0.5), clock)


@pytest.fixture
def safe(tmp_path: Path, clock: Clock) -> Iterator[SteppedSession]:
    yield from opened(Folder(tmp_path, poll_s=0.1, stable_s=0.5), clock)


def opened(bridge: Folder, clock: Clock) -> Iterator[SteppedSession]:
    bridge.clock, bridge.wait = clock, clock.wait
    yield SteppedSession(bridge)
    bridge.close()


def names_of(block: Any) -> list[str]:
    return [f"block{block.number:03d}_{p.place:03d}_{p.image}.png" for p in block.presentations]


def answer_of(block: Any, answer_format: str = "csv", rows: int | None = None, add: float = 0.0) -> bytes:
    names = names_of(block)[:rows]
    table = np.arange(len(names) * 3, dtype=float).reshape(-1, 3) + add
    return as_file(answer_format, names, table, sorted(names_of(block)))


def test_images_have_the_names_that_the_original_gave_them(original: SteppedSession, tmp_path: Path) -> None:
    block = a_block(7)
    original.offer(block)
    assert sorted(path.name for path in tmp_path.glob("block*")) == names_of(block)
    assert names_of(block)[1] == "block007_001_5e5510-g0007-r00-s001.png"


def test_every_picture_format_keeps_every_pixel() -> None:
    [image, *_] = a_block(size=33).images.values()
    for image_format in ("png", "bmp"):
        assert bool((decoded(encoded(image, image_format)) == image).all())
    with pytest.raises(BadInput, match="choose png or bmp"):
        encoded(image, "jpg")
    with pytest.raises(BadInput, match="uint8 of shape"):
        encoded(image.float(), "png")
    for bad in (b"", b"\x89PNG\r\n\x1a\n", encoded(image, "png")[:200], bytes(500)):
        with pytest.raises(BadInput, match="no png or bmp image"):
            decoded(bad)


def test_an_answer_is_read_when_it_has_not_changed_for_a_while(
    original: SteppedSession, tmp_path: Path, clock: Clock
) -> None:
    block = a_block()
    original.offer(block)
    whole = answer_of(block)
    half = whole[: whole.index(b"\n", len(whole) // 2) + 1]  # it could be read, and would be wrong
    (tmp_path / "block001.csv").write_bytes(half)
    original.take(0.3)
    assert original.answers == []
    (tmp_path / "block001.csv").write_bytes(whole)
    original.take(0.4)
    assert original.answers == []
    original.take(5.0)
    assert len(original.rows) == len(block.presentations)
    assert clock.now < 103.0


def test_a_damaged_file_is_one_fault_and_is_looked_at_again_when_it_changes(
    original: SteppedSession, tmp_path: Path
) -> None:
    block = a_block()
    original.offer(block)
    (tmp_path / "block001.csv").write_bytes(b"stimulusID,a\nx,1")
    for _ in range(5):
        original.take(2.0)
    [fault] = original.answers
    assert fault.fault == "block001.csv: the last line has no end: the file was cut"
    assert fault.raw == b"stimulusID,a\nx,1"
    (tmp_path / "block001.csv").write_bytes(answer_of(block))
    original.take(2.0)
    assert len(original.rows) == len(block.presentations)
    original.take(2.0)
    (tmp_path / "block001.csv").touch()
    original.take(2.0)
    assert len(original.answers) == 2


def test_an_answer_from_before_the_images_is_stale(original: SteppedSession, tmp_path: Path) -> None:
    block = a_block()
    for _ in range(3):  # never over what is there already
        (tmp_path / "stale").mkdir(exist_ok=True)
    (tmp_path / "stale" / "block001.csv").write_bytes(b"older")
    (tmp_path / "block001.csv").write_bytes(answer_of(block))
    original.offer(block)
    original.take(2.0)
    [fault] = original.answers
    assert fault.fault == (
        "block001.csv: it was there before the block's images, and is put aside in stale/block001-1.csv"
    )
    assert fault.raw == answer_of(block)
    assert (tmp_path / "stale" / "block001.csv").read_bytes() == b"older"
    assert (tmp_path / "stale" / "block001-1.csv").read_bytes() == answer_of(block)
    (tmp_path / "block001.csv").write_bytes(answer_of(block, add=1.0))
    original.take(2.0)
    assert len(original.rows) == len(block.presentations)


def test_after_a_restart_an_answer_that_came_meanwhile_is_taken(tmp_path: Path) -> None:
    block = a_block()
    first = SteppedSession(Folder(tmp_path, "original"))
    first.offer(block)
    first.bridge.close()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    (tmp_path / "block001.csv").write_bytes(answer_of(block))
    second = SteppedSession(Folder(tmp_path, "original", stable_s=0.0))
    second.offer(block)
    second.listen(lambda: len(second.rows) == len(block.presentations))
    assert not second.faults
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")} == times
    second.bridge.close()


def test_after_a_kill_between_images_an_answer_is_stale(tmp_path: Path) -> None:
    block = a_block()
    first = SteppedSession(Folder(tmp_path, "original"))
    first.offer(block)
    first.bridge.close()
    (tmp_path / names_of(block)[5]).unlink()
    (tmp_path / names_of(block)[6]).write_bytes(b"half")
    (tmp_path / f".partial-{names_of(block)[5]}").write_bytes(b"half")
    (tmp_path / "block001.csv").write_bytes(answer_of(block))
    second = SteppedSession(Folder(tmp_path, "original", stable_s=0.0))
    second.offer(block)
    second.take(0.0)
    assert [answer.fault is None for answer in second.answers] == [False]
    assert not list(tmp_path.glob(".partial-*"))
    for name, one in zip(names_of(block), block.presentations, strict=True):
        assert bool((decoded((tmp_path / name).read_bytes()) == block.images[one.image]).all())
    second.bridge.close()


def test_scores_by_order_mean_the_same_files_after_a_restart(tmp_path: Path) -> None:
    block = a_block()
    first = SteppedSession(Folder(tmp_path, "original"))
    first.offer(block)
    first.bridge.close()
    second = SteppedSession(Folder(tmp_path, "original", stable_s=0.0))
    second.offer(left_of(block, lambda one: one.place in (1, 6)))
    (tmp_path / "block001.h5").write_bytes(answer_of(block, "h5"))
    second.listen(lambda: len(second.answers) > 0)
    found = [(row.image, row.repeat) for row in second.rows]
    assert found == [(one.image, one.repeat) for one in block.presentations]
    second.bridge.close()


def test_images_of_another_session_do_not_stay_among_the_new(tmp_path: Path) -> None:
    first = Folder(tmp_path, "original")
    first.open("other", ["a"])
    first.offer(replace(a_block(12), session="other"))
    first.close()
    stepped = SteppedSession(Folder(tmp_path, "original"))
    stepped.offer(a_block(1))
    assert sorted(path.name for path in tmp_path.glob("*.png")) == names_of(a_block(1))
    assert len(list((tmp_path / "stale").glob("block012_*"))) == 8
    stepped.bridge.close()


def test_answers_of_closed_blocks_are_reported_under_their_number(
    original: SteppedSession, tmp_path: Path
) -> None:
    for number in range(1, 24):
        original.offer(a_block(number))
        original.bridge.withdraw(number)
    for number in (1, 2, 3, 4, 22, 23, 24):
        (tmp_path / f"block{number:03d}.csv").write_bytes(answer_of(a_block(number)))
    original.take(2.0)
    original.take(2.0)
    assert [answer.block for answer in original.answers] == [3, 4, 22, 23]
    (tmp_path / "block003.csv").write_bytes(answer_of(a_block(3), rows=2))
    original.take(2.0)
    assert [answer.block for answer in original.answers[4:]] == [3]


@pytest.mark.parametrize("name", ["block001.CSV", "Block001.csv", "block1.csv", "BLOCK0001.Csv"])
def test_a_name_that_can_mean_only_one_block_is_taken(
    original: SteppedSession, tmp_path: Path, name: str
) -> None:
    original.offer(a_block())
    (tmp_path / name).write_bytes(answer_of(a_block()))
    original.take(2.0)
    assert [(answer.block, answer.source, len(answer.rows)) for answer in original.answers] == [(1, name, 8)]
    assert original.bridge.notices() == {}  # type: ignore[attr-defined]


def test_such_a_name_from_before_the_images_is_stale(original: SteppedSession, tmp_path: Path) -> None:
    (tmp_path / "Block1.csv").write_bytes(answer_of(a_block()))
    original.offer(a_block())
    original.take(2.0)
    assert [one.source for one in original.faults] == ["Block1.csv"]
    assert (tmp_path / "stale" / "Block1.csv").exists()


def test_of_two_names_the_documented_one_is_taken_and_without_it_none(
    original: SteppedSession, tmp_path: Path
) -> None:
    original.offer(a_block())
    for name in ("block1.csv", "block01.mat"):
        (tmp_path / name).write_bytes(answer_of(a_block(), add=5.0))
    original.take(2.0)
    assert original.answers == []
    said = original.bridge.notices()  # type: ignore[attr-defined]
    assert said["block1.csv"] == (
        "waiting for block001.mat (or .npz, .csv, .h5); found block1.csv, and it is not clear which of "
        "block01.mat, block1.csv is the answer: leave one"
    )
    assert said.keys() == {"block1.csv", "block01.mat"}
    (tmp_path / "block001.csv").write_bytes(answer_of(a_block()))
    original.take(2.0)
    assert [answer.source for answer in original.answers] == ["block001.csv"]
    said = original.bridge.notices()  # type: ignore[attr-defined]
    assert said["block1.csv"].endswith("found block1.csv, beside block001.csv, which is read")


def test_everything_that_a_rig_puts_down_is_mentioned(original: SteppedSession, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    original.offer(a_block())
    (tmp_path / "day3").mkdir()
    for i in range(6):
        (tmp_path / f"notes{i}.txt").write_text("x")
    original.take(0.0)
    said = original.bridge.notices()  # type: ignore[attr-defined]
    assert said["day3"].endswith("found day3, which is a folder")
    assert len(said) == 6
    assert said["and more"] == "there are 2 more files that are no answers"


@pytest.mark.parametrize("name", ["block001.answer.JSON", "Block1.Answer.json", "block1.answer-2.json"])
def test_names_of_the_manifest_protocol_are_read_alike(
    safe: SteppedSession, tmp_path: Path, name: str
) -> None:
    safe.offer(a_block())
    (tmp_path / name).write_bytes(json.dumps({"session": SESSION, "block": 1, "responses": []}).encode())
    safe.take(2.0)
    assert [answer.source for answer in safe.answers] == [name]


def v5(block: Block, table: Any, *, images_first: bool) -> bytes:
    import io

    import scipy.io

    cells, file = np.empty((len(table), 1), dtype=object), io.BytesIO()
    cells[:, 0] = names_of(block)[: len(table)]
    scipy.io.savemat(file, {"stimulusID": cells, "tEvokedResp": table if images_first else table.T})
    return file.getvalue()


def spoken(tmp_path: Path, answers: list[bytes], **options: Any) -> list[Answer]:
    """What is read of v5 answers to blocks 1, 2, …, with a restart before each."""
    found = []
    for number, data in enumerate(answers, 1):
        bridge = Folder(tmp_path, "original", stable_s=0.0, **options)
        bridge.open(SESSION, ("a", "b", "c"))
        bridge.offer(a_block(number))
        (tmp_path / f"block{number:03d}.mat").write_bytes(data)
        for _ in range(2):
            found += [one for one in bridge.collect(0.0) if isinstance(one, Answer)]
        bridge.close()
    return found


@pytest.mark.parametrize("images_first", [True, False])
def test_a_square_is_read_as_earlier_answers_stood_or_as_the_plan_says(
    tmp_path: Path, images_first: bool
) -> None:
    wide, square = np.arange(24.0).reshape(8, 3), np.arange(9.0).reshape(3, 3)
    answers = [v5(a_block(i), t, images_first=images_first) for i, t in ((1, square), (2, wide), (3, square))]
    first, _, last = spoken(tmp_path, answers)
    assert first.fault is not None
    assert "3 x 3: images or channels first? save it as v7.3, or say it in the plan" in first.fault
    assert [row.recorded.values.tolist() for row in last.rows if isinstance(row.recorded, Values)] == (
        square.tolist()
    )
    folder = tmp_path / "said"
    folder.mkdir()
    said = "images-channels" if images_first else "channels-images"
    [one] = spoken(folder, answers[:1], orientation=said)
    assert [row.recorded.values.tolist() for row in one.rows if isinstance(row.recorded, Values)] == (
        square.tolist()
    )


def test_answers_that_stand_in_both_ways_teach_nothing(tmp_path: Path) -> None:
    wide, square = np.arange(24.0).reshape(8, 3), np.arange(9.0).reshape(3, 3)
    both = [v5(a_block(i + 1), wide, images_first=bool(i)) for i in range(2)]
    *_, last = spoken(tmp_path, [*both, v5(a_block(3), square, images_first=True)])
    assert "images or channels first" in str(last.fault)


def test_an_answer_that_stands_otherwise_than_the_plan_says_is_refused(tmp_path: Path) -> None:
    wide = v5(a_block(), np.arange(24.0).reshape(8, 3), images_first=True)
    [one] = spoken(tmp_path, [wide], orientation="channels-images")
    assert one.fault == (
        "block001.mat: tEvokedResp is images-channels, and the plan says orientation = 'channels-images'"
    )


def test_answers_may_have_a_folder_of_their_own(tmp_path: Path, clock: Clock) -> None:
    for name in ("images", "answers"):
        (tmp_path / name).mkdir()
    (tmp_path / "answers" / "block001.csv").write_bytes(b"of yesterday")
    bridge = Folder(tmp_path / "images", "original", answers=tmp_path / "answers")
    bridge.clock, bridge.wait = clock, clock.wait
    one = SteppedSession(bridge)
    one.offer(a_block())
    one.take(2.0)
    assert [answer.raw for answer in one.faults] == [b"of yesterday"]
    assert (tmp_path / "answers" / "stale" / "block001.csv").exists()
    assert sorted(p.name for p in (tmp_path / "images").glob("block*")) == names_of(a_block())
    (tmp_path / "images" / "block001.csv").write_bytes(answer_of(a_block()))
    one.take(2.0)
    assert one.rows == []
    assert list(bridge.notices().values()) == [
        f"found block001.csv in {tmp_path / 'images'}; answers are awaited in {tmp_path / 'answers'}"
    ]
    (tmp_path / "answers" / "block001.csv").write_bytes(answer_of(a_block()))
    one.take(2.0)
    assert len(one.rows) == 8
    for folders in ((tmp_path / "answers", None), (tmp_path, tmp_path / "answers")):
        with pytest.raises(BadInput, match=r"another session uses .*answers"):
            Folder(folders[0], answers=folders[1]).open(SESSION, ["a"])
    Folder(tmp_path).check(["a"])  # what was refused holds no lock
    bridge.close()
    with pytest.raises(BadInput, match=r"there is no folder .*no; make it"):
        Folder(tmp_path, answers=tmp_path / "no").open(SESSION, ["a"])


def test_names_are_joined_by_their_last_part_and_others_are_told_as_they_are(
    original: SteppedSession, tmp_path: Path
) -> None:
    block = a_block()
    original.offer(block)
    names = [f"C:\\data\\today\\{name}" for name in names_of(block)]
    names[3], names[4] = "block001_999_who.png", names[5]
    names[6] = names[6].replace("block001", "block009")
    table = np.arange(24.0).reshape(8, 3)
    table[2] = np.nan
    (tmp_path / "block001.mat").write_bytes(as_file("mat", names, table, []))
    original.take(2.0)
    [answer] = original.answers
    planned = [(one.image, one.repeat) for one in block.presentations]
    found = [(row.image, row.repeat) for row in answer.rows]
    assert found[:3] == planned[:3]
    assert answer.rows[2].recorded is None
    assert found[3] == ("block001_999_who.png", None)
    assert found[4] == found[5] == planned[5]
    assert found[6] == (names_of(block)[6].replace("block001", "block009"), None)


def test_loose_names_count_after_the_block(tmp_path: Path) -> None:
    stepped = SteppedSession(Folder(tmp_path, "original", match="loose", stable_s=0.0))
    block = a_block()
    stepped.offer(block)
    names = [name.replace("block001", "block009") for name in names_of(block)]
    (tmp_path / "block001.csv").write_bytes(as_file("csv", names, np.ones((8, 3)), []))
    stepped.listen(lambda: len(stepped.rows) > 0)
    assert [(r.image, r.repeat) for r in stepped.rows] == [(p.image, p.repeat) for p in block.presentations]
    stepped.bridge.close()


def test_scores_whose_count_does_not_match_are_a_fault(original: SteppedSession, tmp_path: Path) -> None:
    block = a_block()
    original.offer(block)
    np.savez(tmp_path / "block001.npz", scores=np.ones((7, 3)))
    original.take(2.0)
    [fault] = original.answers
    assert fault.fault == "block001.npz: 7 rows of scores, but the block has 8 files"
    np.savez(tmp_path / "block001.npz", scores=np.ones((2, 3)), indices=np.array([7, 8]))
    original.take(2.0)
    assert original.answers[1].fault == "block001.npz: index 8, but the block has 8 files, from 0"
    np.savez(tmp_path / "block001.npz", scores=np.ones((2, 3)), indices=np.array([7, 0]))
    original.take(2.0)
    shown = [block.presentations[7], block.presentations[0]]
    assert [(r.image, r.repeat) for r in original.rows] == [(p.image, p.repeat) for p in shown]


def test_the_manifest_comes_last_and_says_what_to_show(
    safe: SteppedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = replace(a_block(3), fence=2)
    written: list[str] = []
    rename = Path.replace
    monkeypatch.setattr(Path, "replace", lambda p, to: (written.append(Path(to).name), rename(p, to))[1])
    safe.offer(block)
    assert written == [*names_of(block), "block003.manifest.json"]
    said_ = json.loads((tmp_path / "block003.manifest.json").read_bytes())
    first = block.presentations[0]
    assert said_["session"] == SESSION
    assert (said_["block"], said_["fence"], said_["size_px"]) == (3, 2, 6)
    assert (said_["show_ms"], said_["gap_ms"], said_["background"]) == (100.0, 150.0, [128, 128, 128])
    assert said_["channels"] == ["a", "b", "c"]
    assert [one["image"] for one in said_["order"]] == [one.image for one in block.presentations]
    assert said_["order"][0] | {"sha256": ""} == {
        "image": first.image,
        "repeat": 0,
        "place": 0,
        "code": 1,
        "reference": False,
        "file": names_of(block)[0],
        "sha256": "",
    }


def test_a_manifest_is_taken_back_with_its_block_and_when_the_session_is_over(
    safe: SteppedSession, tmp_path: Path
) -> None:
    (tmp_path / "block044.manifest.json").write_text("{}")
    safe.offer(a_block(1))
    assert [path.name for path in tmp_path.glob("*.manifest.json")] == ["block001.manifest.json"]
    safe.bridge.withdraw(1)
    safe.offer(a_block(2))
    safe.bridge.status({"state": "showing"})
    assert [path.name for path in tmp_path.glob("*.manifest.json")] == ["block002.manifest.json"]
    safe.bridge.status({"state": "over"})
    assert not list(tmp_path.glob("*.manifest.json"))
    assert json.loads((tmp_path / "status.json").read_bytes()) == {"state": "over"}


def test_a_manifest_is_written_anew_when_fewer_are_left(safe: SteppedSession, tmp_path: Path) -> None:
    block = a_block()
    safe.offer(block)
    safe.offer(left_of(block, lambda one: one.place > 5))
    said_ = json.loads((tmp_path / "block001.manifest.json").read_bytes())
    assert [one["place"] for one in said_["order"]] == [6, 7]


def test_an_answer_renamed_into_place_is_taken_at_once(
    safe: SteppedSession, tmp_path: Path, clock: Clock
) -> None:
    safe.offer(a_block())
    body = {"session": "other", "block": 1, "fence": 4, "rows": 0, "responses": []}
    (tmp_path / "block001.answer-3.json").write_text(json.dumps(body))
    safe.take(0.0)
    [answer] = safe.answers
    assert (answer.session, answer.block, answer.fence, answer.last) == ("other", 1, 4, False)
    assert clock.now == 100.0


def test_a_folder_that_is_gone_is_an_error_until_it_is_back(tmp_path: Path, clock: Clock) -> None:
    for protocol in ("manifest", "original"):
        there, away = tmp_path / protocol, tmp_path / f"{protocol}-away"
        there.mkdir()
        [stepped] = [next(steps) for steps in [opened(Folder(there, protocol), clock)]]
        block = a_block()
        stepped.offer(block)
        there.rename(away)
        for call in (
            lambda d=stepped: d.take(0.0),
            lambda d=stepped: d.offer(a_block(2)),
            lambda d=stepped: d.bridge.status({"state": "paused"}),
        ):
            with pytest.raises(RigError, match="cannot be used: No such file"):
                call()
        away.rename(there)
        stepped.take(0.0)
        assert json.loads((there / "status.json").read_bytes()) == {"state": "paused"}
        assert names_of(a_block(2))[0] in {path.name for path in there.iterdir()}
        stepped.bridge.close()


def test_a_folder_that_comes_back_empty_is_filled_again(safe: SteppedSession, tmp_path: Path) -> None:
    block = a_block()
    safe.offer(block)
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    with pytest.raises(RigError):
        safe.take(0.0)
    tmp_path.mkdir()
    safe.take(0.0)
    assert {path.name for path in tmp_path.iterdir()} >= {*names_of(block), "block001.manifest.json"}


def test_a_hiccup_does_not_make_an_answer_stale(
    original: SteppedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a rig takes away the images that it has shown."""
    block = a_block()
    original.offer(block)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    (tmp_path / "block001.csv").write_bytes(answer_of(block))
    with monkeypatch.context() as patch:
        patch.setattr("os.listdir", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(RigError, match="Input/output error"):
            original.take(0.0)
    original.take(2.0)
    assert len(original.rows) == 8
    assert not original.faults


def test_a_file_that_is_too_large_is_a_fault(tmp_path: Path) -> None:
    stepped = SteppedSession(Folder(tmp_path, "original", stable_s=0.0, answer_limit_mb=2))
    stepped.offer(a_block())
    with (tmp_path / "block001.csv").open("wb") as file:
        file.truncate(5 << 30)
    stepped.listen(lambda: len(stepped.answers) > 0)
    assert stepped.answers[0].fault == "block001.csv: it has more than 2097152 bytes; see answer_limit_mb"
    assert len(stepped.answers[0].raw or b"") == 1 << 20
    stepped.bridge.close()


def test_two_sessions_cannot_have_one_folder(safe: SteppedSession, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another session uses"):
        Folder(tmp_path).open("another", ["a"])
    safe.bridge.close()
    again = Folder(tmp_path)
    again.open("another", ["a"])
    again.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folder": ""}, "folder is ''; it must be a path"),
        ({"folder": 3}, "folder is 3; it must be a path"),
        ({"protocol": "http"}, "protocol is 'http'; it must be 'manifest' or 'original'"),
        ({"orientation": "images-channels"}, "orientation is for the original protocol"),
        ({"protocol": "original", "orientation": "x"}, "orientation is 'x'; it must be 'images-channels' or"),
        ({"answers": ""}, "answers is ''; it must be a path"),
        ({"answers": 3}, "answers is 3; it must be a path"),
        ({"match": "exact"}, "match is 'exact'; it must be 'strict' or 'loose'"),
        ({"match": "loose"}, "match is for the original protocol"),
        ({"poll_s": 0}, "poll_s is 0; it must be a number from"),
        ({"stable_s": -1}, "stable_s is -1; it must be a number from"),
        ({"answer_limit_mb": "big"}, "answer_limit_mb is 'big'; it must be a number"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        BRIDGES.make("folder", **{"folder": str(tmp_path), **options})


def test_its_folder_is_an_option_that_is_a_path() -> None:
    found = BRIDGES.absolute("folder", {"folder": "shared", "poll_s": 1.0})
    assert found == {"folder": str(Path.cwd() / "shared"), "poll_s": 1.0}
    assert BRIDGES.absolute("folder", {"folder": ""}) == {"folder": ""}, "which is refused, not where we are"
    assert BRIDGES.options("http")["token_file"].is_path
    assert BRIDGES.options("zmq")["token_file"].is_path


def test_a_folder_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no folder"):
        Folder(tmp_path / "no").open(SESSION, ["a"])
