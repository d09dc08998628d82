"""A package with parts of each kind, installed into an environment of its own, used from the command line.

The package is the page docs/extending.md: each of its Python blocks that an entry point names is a file.
"""

import json
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

import xdream
from xdream.store import Record

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
PATIENCE_S = 240


def written(folder: Path) -> dict[str, dict[str, str]]:
    """The package `mypackage` in a folder, from the page; returns its entry points by group."""
    text = PAGE.read_text("utf-8")
    python, toml = (
        re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) for language in ("python", "toml")
    )
    groups: dict[str, dict[str, str]] = {}
    for block in toml:
        groups |= tomllib.loads(block)["project"]["entry-points"]
    package = folder / "mypackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for points in groups.values():
        for target in points.values():
            module, _, name = target.partition(":")
            [block] = [one for one in python if re.search(rf"^(class|def) {name}\b", one, re.MULTILINE)]
            (folder / f"{module.replace('.', '/')}.py").write_text(block)
    lines = [f'[project.entry-points."{group}"]\n{_toml(points)}' for group, points in groups.items()]
    (folder / "pyproject.toml").write_text(
        textwrap.dedent("""\
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"

        [project]
        name = "mypackage"
        version = "1"

        """)
        + "\n".join(lines)
    )
    return groups


def _toml(points: dict[str, str]) -> str:
    return "".join(f'"{name}" = "{target}"\n' for name, target in points.items())


class Environment:
    """A virtual environment that sees the packages of this one, and mypackage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        self.python = folder / "env" / "bin" / "python"
        [packages] = (folder / "env").glob("lib/*/site-packages")
        seen = [*(path for path in sys.path if path.endswith("site-packages")), str(source())]
        (packages / "beside.pth").write_text("\n".join(seen))
        self.groups = written(folder / "package")
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "install"]
        quiet = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        subprocess.run([*pip, *quiet, folder / "package"], check=True, timeout=PATIENCE_S)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command, from a folder without the package."""
        place = self.folder / "elsewhere"
        place.mkdir(exist_ok=True)
        return subprocess.Popen(
            [self.python, "-m", "xdream.cli", *arguments],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """What a command prints. It must end well."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        return output


def source() -> Path:
    return Path(xdream.__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("stranger"))


def last_json(output: str) -> Any:
    return json.loads(output.splitlines()[-1])


def test_each_part_touches_one_file_and_one_entry_point(environment: Environment) -> None:
    files = list((environment.folder / "package" / "mypackage").glob("[!_]*.py"))
    assert len(files) == sum(len(points) for points in environment.groups.values())
    kinds = ("optimizers", "generators", "objectives", "subjects", "bridges", "drivers", "studies")
    assert set(environment.groups) == {f"xdream.{kind}" for kind in kinds}


@pytest.mark.parametrize("kind", ["generators", "optimizers", "objectives", "bridges", "studies"])
def test_they_are_listed(environment: Environment, kind: str) -> None:
    listed = last_json(environment.run("list", kind, "--json"))[kind]
    assert set(environment.groups[f"xdream.{kind}"]) <= set(listed)


def test_subjects_are_listed_among_targets_and_the_doctor_looks_at_all(environment: Environment) -> None:
    assert "stripes" in last_json(environment.run("list", "targets", "--json"))["targets"]
    findings = last_json(environment.start("doctor", "--json").communicate(timeout=PATIENCE_S)[0])["findings"]
    said = [one["text"] for one in findings if one["subject"] == "part" and one["state"] == "ok"]
    parts = [name for points in environment.groups.values() for name in points]
    assert len(said) == len(parts)
    assert all("of the package mypackage" in text for text in said)


def test_an_experiment_is_made_of_them_and_goes_on(environment: Environment) -> None:
    palette = environment.folder / "elsewhere" / "palette.txt"
    palette.parent.mkdir(exist_ok=True)
    palette.write_text("1 0 0 0 1 0 0 0 1")
    folder = environment.folder / "experiment"
    flags = "--target stripes:v1:0-1 --generator mosaic --optimizer hill --objective reliable"
    environment.run(
        *("evolve", *flags.split(), "--set", "generator.palette=palette.txt", "--set", "objective.power=2.0"),
        *("--presentations", "60", "--out", str(folder), "--no-figures", "--quiet"),
    )
    with Record(folder) as record:
        assert record.finished
        first = record.runs()[0]
        assert first.target == "stripes:v1:0"
        assert first.optimizer == {"name": "hill", "population": 20, "step": 0.5}
        plan = tomllib.loads(record.facts["plan"])
        assert plan["generator"]["palette"] == str(palette)  # absolute: the type of the option is Path
        assert plan["objective"] == {"name": "reliable", "power": 2.0}
        assert any(name.startswith("generator mosaic") for name in json.loads(record.facts["identities"]))
    assert "reliable" in environment.run("show", str(folder), "--no-figures")
    environment.run("resume", str(folder), "--no-figures", "--quiet")


def test_an_option_out_of_its_range_is_refused_before_anything_is_written(environment: Environment) -> None:
    folder = environment.folder / "refused"
    process = environment.start(
        *("evolve", "--target", "stripes:v1:0", "--generator", "mosaic", "--set", "generator.squares=99"),
        *("--out", str(folder)),
    )
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "squares is 99; it must be a whole number from 1 to 64" in errors
    assert not folder.exists()


def test_a_session_is_served_and_rehearsed_over_a_bridge_and_its_driver(environment: Environment) -> None:
    plan, folder = environment.folder / "plan.toml", environment.folder / "session"
    plan.write_text(
        f"""
        targets = ["rig::0"]
        optimizer = "hill"
        presentations = 40
        [generator]
        name = "mosaic"
        size_px = 16
        [rig]
        name = "drop"
        folder = '{environment.folder / "drop"}'
        [session]
        channels = 2
        """
    )
    serve = environment.start("serve", str(plan), "--out", str(folder), "--no-figures", "--quiet")
    rig = environment.start("simulate-rig", str(plan), "--target", "stripes:v1:0-1")
    for process in (serve, rig):
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    with Record(folder) as record:
        assert record.finished
        assert record.runs()[0].optimizer == {"name": "hill", "population": 20, "step": 0.25}  # in_recordings
        assert record.presentation_count(0) == 40
