"""Commands that compute nothing answer at once: they do not import what takes seconds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xdream.cli.main import COMMANDS

OLD = Path(__file__).parents[1] / "old_records" / "schema-3"
#: Exit with the status of the command, and say which of the slow packages were imported.
PROGRAM = """
import sys
from xdream.cli.main import main
try:
    status = main({arguments!r})
except SystemExit as end:
    status = end.code or 0
print("imported:", *sorted({{"torch", "scipy", "matplotlib", "pandas", "pynwb"}} & set(sys.modules)))
sys.exit(status)
"""


def imported(*arguments: str, cwd: Path) -> set[str]:
    """The slow packages that a command imports in a process of its own."""
    program = PROGRAM.format(arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("imported:").split())


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder with an experiment and a session that are not finished."""
    for name in ("experiment", "session"):
        shutil.copytree(OLD / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "pause session --reason rest",
        "go-on session",
        "reject-block session 1 --yes",
        "take-back session",
        "acknowledge session 3",
        "end experiment 0",
        "show session --no-figures",
        "show experiment --no-figures --json",
        "weights list",
        "list generators",
        "list optimizers",
        "list objectives",
        "list bridges",
        "list engines",
        "list targets",
        "list studies",
        "--version",
        "--help",
    ],
)
def test_it_imports_nothing_slow(folders: Path, command: str) -> None:
    assert imported(*command.split(), cwd=folders) == set()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_imports_nothing_slow(tmp_path: Path, command: str) -> None:
    assert imported(command, "--help", cwd=tmp_path) == set()


def test_the_figure_of_several_runs_is_drawn_without_torch(folders: Path) -> None:
    assert imported("show", "experiment", cwd=folders) == {"matplotlib"}


def test_merge_imports_neither_torch_nor_scipy(folders: Path) -> None:
    assert not imported("merge", "experiment", "--out", "t.csv", cwd=folders) & {"torch", "scipy"}
    assert not imported("merge", "t.csv", "--out", "u.csv", cwd=folders) & {"torch", "scipy"}


def test_a_command_that_computes_is_seen_here_to_import_torch(tmp_path: Path) -> None:
    """The test above can fail."""
    evolve = "evolve --target known:linear::0 --generator fourier --set generator.size_px=16 --quiet"
    command = [*evolve.split(), "--set", "generator.cutoff_cycles=3.0", "--presentations", "20"]
    assert "torch" in imported(*command, "--no-figures", cwd=tmp_path)
