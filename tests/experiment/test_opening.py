"""The default folder of an experiment is one process's own, and nothing is left where nothing came of it."""

import contextlib
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest

from xdream.cli.main import main
from xdream.errors import StoreError
from xdream.experiment import opening

SMALL = ["--generator", "pixels", "--set", "generator.size_px=8", "--presentations", "20", "--quiet"]


class StandingClock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "datetime", StandingClock)
    return tmp_path


def test_several_that_begin_in_one_second_have_folders_of_their_own(monkeypatch: Any) -> None:
    """Also those that look at the same time and see no folder of another."""
    monkeypatch.setattr(Path, "exists", lambda path, **_: False)
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(opening.folder_for(None, "x")) for _ in range(4)]
        assert [folder.name for folder in taken] == ["20260102-030405-x"] + [
            f"20260102-030405-x-{number}" for number in (2, 3, 4)
        ]
        assert all(folder.is_dir() for folder in taken)
        for folder in taken[1:]:
            (folder / "experiment.sqlite").write_text("")
    assert [folder.is_dir() for folder in taken] == [False, True, True, True]


def test_what_is_named_is_taken_as_it_is() -> None:
    with opening.folder_for("o", "x") as folder:
        assert folder == Path("o")
    assert not Path("o").exists()


@pytest.mark.parametrize("command", ["evolve", "tune"])
def test_a_plan_that_is_impossible_leaves_no_folder(command: str) -> None:
    assert main([command, "--target", "known:nobody::0", *SMALL]) == 2
    assert not Path("runs").exists()
    Path("runs").mkdir()
    assert main([command, "--target", "known:nobody::0", *SMALL]) == 2
    assert list(Path("runs").iterdir()) == []


@pytest.mark.parametrize("command", ["evolve", "tune"])
def test_two_of_one_second_are_both_done(command: str) -> None:
    more = ["--evaluations", "1"] if command == "tune" else []
    for _ in range(2):
        assert main([command, "--target", "known:linear::0", *SMALL, "--no-figures", *more]) == 0
    assert len(list(Path("runs").iterdir())) == 2


def test_where_no_folder_can_be_made_that_is_said() -> None:
    Path("runs").write_text("")
    with pytest.raises(StoreError, match="runs cannot be made"), opening.folder_for(None, "x"):
        pass
