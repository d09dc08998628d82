"""Names, consoles and settings of the user's system never end a command."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xdream import text
from xdream.cli.main import main
from xdream.images import references
from xdream.store import Record

QUICK = (
    "--target known:linear::0 --generator pixels --set generator.size_px=8 --presentations 20 --quiet".split()
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 or UTF-16 there")


def xdream(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xdream.cli", *arguments],
        env=os.environ | environment,
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def worked(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def photograph(path: Path | bytes, seed: int = 0) -> None:
    os.makedirs(os.path.dirname(os.fspath(path)), exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    with open(path, "wb") as out:
        out.write(file.getvalue())


# Names of files.


@pytest.fixture
def latin1(tmp_path: Path) -> Path:
    """Photographs as an archive of Windows leaves them: the best has a name in Latin-1."""
    for seed, name in enumerate((b"a.png", b"caf\xe9.png")):
        photograph(os.fsencode(tmp_path / "photos") + b"/" + name, seed)
    return tmp_path / "photos"


@linux_only
@pytest.mark.parametrize("more", [["--init", "references:best"], ["--references-per-generation", "2"]])
def test_photographs_with_names_that_are_not_utf8_are_references(
    latin1: Path, tmp_path: Path, more: Any
) -> None:
    out = str(tmp_path / "out")
    assert main(["evolve", *QUICK, "--references", str(latin1), *more, "--out", out]) == 0
    with Record(out) as record:
        assert [name for name, _ in record.references] == ["a.png", r"caf\xe9.png"]
    assert main(["show", out]) == 0  # the reference is drawn, and so found by that name
    assert main(["resume", out]) == 0


@linux_only
def test_a_name_that_looks_escaped_is_itself(latin1: Path) -> None:
    photograph(latin1 / r"caf\xe8.png", 7)
    assert references.load(str(latin1)).images(range(3), 8).shape == (3, 3, 8, 8)


@linux_only
def test_images_in_a_folder_whose_name_is_not_utf8_are_encoded(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/ann\xe9e"
    photograph(folder + b"/a.png")
    out = str(tmp_path / "c.npz")
    encode = ["encode", os.fsdecode(folder), "--generator", "pixels", "--set", "generator.size_px=8"]
    assert main([*encode, "--out", out]) == 0


@linux_only
@pytest.mark.parametrize("flag", ["--references", "--init", "--name", "--weights", "--set"])
def test_a_plan_cannot_hold_such_a_name_and_says_which(tmp_path: Path, capsys: Any, flag: str) -> None:
    value = {"--init": "images:ann\udce9e", "--set": "generator.x='ann\udce9e'"}.get(flag, "ann\udce9e")
    assert main(["evolve", *QUICK, flag, value, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert r"ann\xe9e" in said
    assert "not UTF-8" in said
    assert "rename" in said
    assert not (tmp_path / "out").exists()


@linux_only
def test_a_plan_is_not_begun_in_a_folder_that_it_cannot_name(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/ann\xe9e")
    photograph(os.fsencode(folder) + b"/r/a.png")
    done = xdream("evolve", *QUICK, "--references", "r", "--out", "o", cwd=Path(folder))
    assert done.returncode == 2
    assert r"ann\xe9e/r' has bytes" in done.stderr


@linux_only
def test_an_experiment_goes_into_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/ann\xe9e/o")
    assert main(["evolve", *QUICK, "--out", out]) == 0
    assert main(["show", out, "--json"]) == 0
    assert main(["resume", out]) == 0
    assert main(["codes", out, "--out", f"{out}/c.npz"]) == 0


@linux_only
def test_a_name_gives_no_orders_to_the_terminal(tmp_path: Path, capsys: Any) -> None:
    photograph(tmp_path / "p" / "a\x1b[31m\n.png")
    encode = ["encode", str(tmp_path / "p"), "--generator", "pixels", "--set", "generator.size_px=8"]
    assert main([*encode, "--out", str(tmp_path / "c.npz")]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(r"a\x1b[31m\x0a.png: ")


# Consoles.


@pytest.mark.parametrize("encoding", ["cp437", "ascii", "gbk"])
def test_what_a_console_cannot_show_is_replaced(tmp_path: Path, encoding: str) -> None:
    """After the run, when the table names a reference in any script."""
    for seed, name in enumerate(("猫.png", "Москва.png", "ü\u2013\u00d7.png")):
        photograph(tmp_path / "bilder-日本" / name, seed)
    run = ["evolve", *QUICK, "--references", "bilder-日本", "--out", "o"]
    assert "best" in worked(xdream(*run, cwd=tmp_path, PYTHONIOENCODING=encoding))
    shown = worked(xdream("show", "o", "--json", cwd=tmp_path, PYTHONIOENCODING=encoding))
    assert json.loads(shown.splitlines()[-1])["best_reference_name"] in (
        "猫.png",
        "Москва.png",
        "ü\u2013\u00d7.png",
    )
    worked(xdream("evolve", "--help", cwd=tmp_path, PYTHONIOENCODING=encoding))
    worked(xdream("list", "targets", cwd=tmp_path, PYTHONIOENCODING=encoding))


def test_signs_become_similar_ones_and_letters_their_numbers() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    text.forgiving(stream, None)
    stream.write("0.5 \u2013 2 \u00d7 3 … 猫 é \udce9")
    stream.flush()
    assert stream.buffer.getvalue() == rb"0.5 - 2 x 3 ... \u732b \xe9 \xe9"  # type: ignore[attr-defined]


# The settings of matplotlib.


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_backend_of_a_notebook_is_not_asked_for(tmp_path: Path, backend: str) -> None:
    worked(xdream("evolve", *QUICK, "--out", "o", cwd=tmp_path, MPLBACKEND=backend))
    assert (tmp_path / "o" / "figures" / "figure.png").exists()
    worked(xdream("list", "optimizers", cwd=tmp_path, MPLBACKEND=backend))


@pytest.mark.parametrize(
    ("where", "content"),
    [
        ("here", b"# caf\xe9\ntext.usetex: True\n"),
        ("MPLCONFIGDIR", b"# caf\xe9\n"),
        ("MATPLOTLIBRC", b"backend: nonsense\nfont.size: x\ntext.usetex: True\n"),
    ],
)
def test_a_broken_settings_file_of_matplotlib_is_passed_over(
    tmp_path: Path, where: str, content: bytes
) -> None:
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "matplotlibrc").write_bytes(content)
    here = folder if where == "here" else tmp_path
    worked(
        xdream("evolve", *QUICK, "--out", "o", cwd=here, **({} if where == "here" else {where: str(folder)}))
    )
    assert (here / "o" / "figures" / "figure.png").exists()
