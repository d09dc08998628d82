"""What the documentation says of the program, where a test can tell."""

import re
import runpy
from pathlib import Path

import pytest

from xdream.cli.main import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_command_is_on_the_page_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z][a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert len(commands) > 10
    assert [name for name in commands if not re.search(rf"`(xdream )?{name}\b", page)] == []


def test_every_status_of_an_answer_is_explained() -> None:
    schema = (ROOT / "src/xdream/store/schema.sql").read_text(encoding="utf-8")
    [statuses] = re.findall(r"status TEXT NOT NULL, +-- (.*)", schema)
    guide = (DOCS / "closed-loop.md").read_text(encoding="utf-8")
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    for status in statuses.split(", "):
        assert f"\n| {status} |" in guide
        assert f"\n**{status}**\n" in glossary


def test_no_term_is_twice_in_the_glossary() -> None:
    terms = re.findall(r"^\*\*(.+)\*\*$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(terms) > 80
    assert len(set(terms)) == len(terms)


def test_every_folder_of_the_package_is_on_the_page_of_the_architecture() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (ROOT / "src/xdream").glob("*/__init__.py")]
    modules = [path.name for path in (ROOT / "src/xdream").glob("[a-z]*.py")]
    assert [name for name in folders if f"| `{name}/` |" not in page] == []
    assert [name for name in modules if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize(
    ("plain", "written"),
    [
        (["`genetic` or *any*_name"], ["``genetic`` or \\*any\\*\\_name", ""]),
        (
            ["A line.", "", "    a -> b", "", "More."],
            ["A line.", "", "", "::", "", "    a -> b", "", "", "More.", ""],
        ),
        (["1. One", "   goes on", "2. two"], ["1. One", "   goes on", "2. two", ""]),
    ],
)
def test_a_docstring_of_plain_prose_is_shown_as_it_stands(plain: list[str], written: list[str]) -> None:
    convert = runpy.run_path(str(DOCS / "conf.py"))["_as_restructured_text"]
    assert convert(plain) == written
