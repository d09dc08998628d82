"""How Sphinx makes the site of docs/ (`make docs`): the Markdown pages, and the API from the docstrings.

Docstrings are plain prose with `names` in backticks and indented diagrams; `_as_restructured_text` gives them
the form that autodoc expects, so that none of them needs to know a markup language.
"""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benches" / "results"

project = "XDream"
author = "The XDream developers"
copyright = author
release = version = metadata.version("xdream")

extensions = [
    "myst_parser",  # pages in Markdown
    "sphinx.ext.autodoc",  # docstrings
    "sphinx.ext.apidoc",  # a page for each package
    "sphinx.ext.viewcode",  # the source beside them
]
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "XDream"

apidoc_modules = [
    {
        "path": "../src/xdream",
        "destination": "api/",
        "max_depth": 2,
        "module_first": True,
        "separate_modules": False,
        "include_private": False,
        "exclude_patterns": ["**/__main__.py"],
        "automodule_options": {"members", "undoc-members", "show-inheritance"},
    }
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False


def _as_restructured_text(lines: list[str]) -> list[str]:
    """A docstring of plain prose: diagrams become literal blocks, `names` code, other signs themselves."""
    written: list[str] = []
    literal = False
    for line in lines:
        indented = line.startswith("    ") and not _in_list(written)
        if indented and not literal:
            written += ["", "::", ""]
        if literal and line.strip() and not indented:
            written.append("")
            literal = False
        literal = literal or indented
        written.append(line if literal else _prose(line))
    return [*written, ""]


def _in_list(written: list[str]) -> bool:
    """Whether an indented line goes on with an item of a list."""
    before = written[-1] if written else ""
    return bool(re.match(r"\s*(-|\d+\.) |\s{2,}\S", before)) and "::" not in written[-3:]


def _prose(line: str) -> str:
    """One line: code between backticks stays, signs that reStructuredText would read are escaped."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(
        f"``{part[1:-1]}``" + ("\\ " if after[:1].isalnum() else "")
        if part.startswith("`")
        else re.sub(r"([\\*_|`])", r"\\\1", part)
        for part, after in zip(parts, [*parts[1:], ""], strict=True)
    )


def _rewrite_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    lines[:] = _as_restructured_text(lines)


def _copy_results(app: Sphinx) -> None:
    """The measured results, which lie in benches/ beside their scripts, become pages of the site."""
    copies = HERE / "results"
    copies.mkdir(exist_ok=True)
    for page in RESULTS.glob("*.md"):
        text = page.read_text(encoding="utf-8").replace("](../../docs/", "](../")
        _write_if_new(copies / page.name, "---\norphan: true\n---\n\n" + text)
    for picture in RESULTS.glob("*.png"):
        shutil.copy2(picture, copies / picture.name)


def _write_if_new(path: Path, text: str) -> None:
    """A file that is the same keeps its time, so that Sphinx does not read it again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _link_results(app: Sphinx, page: str, source: list[str]) -> None:
    """Links of the pages to benches/results, as they are in the repository, lead to those copies."""
    source[0] = re.sub(r"\]\((?:\.\./)+benches/results/", f"]({'../' * page.count('/')}results/", source[0])


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("builder-inited", _copy_results, priority=100)
    app.connect("source-read", _link_results)
    app.connect("autodoc-process-docstring", _rewrite_docstring)
