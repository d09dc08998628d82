"""How Sphinx makes the site of docs/ (`make docs`): the Markdown pages, and the API from the docstrings.

Docstrings are plain prose with `names` in backticks and indented diagrams; `_as_restructured_text` gives them
the form that autodoc expects, so that none of them needs to know a markup language.
"""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benches" / "results"
SOURCE = HERE.parent / "src"

project = "XDream"
author = "The XDream developers"
copyright = author
release = version = metadata.version("xdream")

extensions = [
    "myst_parser",  # pages in Markdown
    "sphinx.ext.autodoc",  # docstrings
    "sphinx.ext.viewcode",  # the source beside them
]
exclude_patterns = ["_build"]
nitpicky = True  # a name of ours that leads nowhere is an error, such as one in api.md that has moved
nitpick_ignore_regex = [
    ("py:.*", r"(?!xdream\.).*"),  # of other packages
    ("py:.*", r"xdream\..*\.(_\w+|[A-Z]|Annotated)"),  # private names, type variables
    ("py:.*", r"xdream\.(registry\.(Part|Declaring)|options\.Factory)"),  # type variables
]
suppress_warnings = [
    "ref.python",  # annotations are names as in their module, such as Scale, of which there are two
]
if not (HERE / "extending.md").exists():  # the index and CONTRIBUTING.md lead there
    suppress_warnings += ["toc.not_readable", "myst.xref_missing"]

myst_enable_extensions = ["colon_fence"]  # ::: around the glossary's terms
myst_heading_anchors = 3

html_theme = "furo"
html_title = "XDream"

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


def _write_api(app: Sphinx) -> None:
    """A page for each folder of the package, with its modules one after the other."""
    pages = HERE / "api"
    pages.mkdir(exist_ok=True)
    written = set()
    for folder in sorted(path.parent for path in SOURCE.glob("xdream/**/__init__.py")):
        name = ".".join(folder.relative_to(SOURCE).parts)
        modules = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n\n"
        inner = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
        if inner:
            text += ".. toctree::\n\n" + "".join(f"   {name}.{one}\n" for one in inner) + "\n"
        for module in modules:
            title = f"{name}.{module}"
            text += f"{title}\n{'-' * len(title)}\n\n.. automodule:: {title}\n   :members:\n\n"
        _write_if_new(pages / f"{name}.rst", text)
        written.add(f"{name}.rst")
    for page in pages.iterdir():
        if page.name not in written:
            page.unlink()


def _copy_results(app: Sphinx) -> None:
    """The measured results, which lie in benches/ beside their scripts, become pages of the site."""
    copies = HERE / "results"
    copies.mkdir(exist_ok=True)
    for page in RESULTS.glob("*.md"):
        text = page.read_text(encoding="utf-8").replace("](../../docs/", "](../")
        title = "" if text.startswith("# ") else f"# {page.stem}\n\n"
        _write_if_new(copies / page.name, f"---\norphan: true\n---\n\n{title}{text}")
    for picture in RESULTS.glob("*.png"):
        shutil.copy2(picture, copies / picture.name)


def _write_if_new(path: Path, text: str) -> None:
    """A file that is the same keeps its time, so that Sphinx does not read it again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _link_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to files outside docs/, as they are in the repository, lead to the pages made from them."""
    here = "../" * page.count("/")
    source[0] = re.sub(r"\]\((?:\.\./)+benches/results/", f"]({here}results/", source[0])
    source[0] = re.sub(
        r"\]\((?:\.\./)+(CHANGELOG|CONTRIBUTING)\.md", lambda m: f"]({here}{m[1].lower()}.md", source[0]
    )


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("builder-inited", _write_api)
    app.connect("builder-inited", _copy_results)
    app.connect("source-read", _link_pages)
    app.connect("autodoc-process-docstring", _rewrite_docstring)
