"""Whether an experiment runs: read from the system and compared with what the writer signed."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xdream.store import lock_file
from xdream.store.lock_file import LOCK_NAME, clear, is_running, sign
from xdream.store.sqlite import locked

pytestmark = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not say")


def test_it_runs_from_the_lock_to_its_end(tmp_path: Path) -> None:
    assert is_running(tmp_path) is False
    lock = locked(tmp_path)
    assert is_running(tmp_path) is True, "not signed yet"
    sign(tmp_path)
    assert is_running(tmp_path) is True
    said = json.loads((tmp_path / LOCK_NAME).read_text())
    assert said["pid"] == os.getpid()
    clear(tmp_path)
    lock.release()
    assert is_running(tmp_path) is False
    assert (tmp_path / LOCK_NAME).read_bytes() == b""


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_an_inode_that_another_process_locks_now_says_nothing(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """A writer was killed and its file came back from a copy; its inode is another program's."""
    with locked(tmp_path):
        sign(tmp_path)
        said = json.loads((tmp_path / LOCK_NAME).read_text())
        (tmp_path / LOCK_NAME).write_text(json.dumps(said | change))
        assert is_running(tmp_path) is False


def test_an_inode_of_another_file_system_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a lock that nobody signed: the process that the system lists has another file open."""
    (tmp_path / LOCK_NAME).touch()
    inode = (tmp_path / LOCK_NAME).stat().st_ino
    monkeypatch.setattr(lock_file, "_locks", lambda: iter([(os.getpid(), inode)]))
    assert is_running(tmp_path) is False
    with (tmp_path / LOCK_NAME).open() as file:
        assert is_running(tmp_path) is True
        del file


def test_a_writer_that_was_killed_does_not_run(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from xdream.store.lock_file import sign;"
        "from xdream.store.sqlite import locked; lock = locked(Path(sys.argv[1]));"
        "sign(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert json.loads((tmp_path / LOCK_NAME).read_text())
    assert is_running(tmp_path) is False
    with (tmp_path / LOCK_NAME).open() as file:  # the next one to lock it
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_running(tmp_path) is False
