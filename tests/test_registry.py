"""Names and factories: what a user who mistypes is told."""

import dataclasses
import importlib.metadata
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from xdream.errors import BadInput, UnknownName
from xdream.images import references
from xdream.registry import Registry, declares, nearest


@dataclasses.dataclass(frozen=True)
class Tool:
    length: float = 1.0
    colour: str = "red"


def shelf() -> Registry[Any]:
    registry: Registry[Any] = Registry("tool")
    for name in ("hammer", "saw", "screwdriver", "chisel", "plane", "spanner", "file"):
        registry.register(name, Tool)
    return registry


def test_a_name_makes_its_part_with_its_options():
    assert shelf().make("saw") == Tool()
    assert shelf().make("saw", length=2.0) == Tool(length=2.0)
    assert shelf().factory("saw") is Tool


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(UnknownName) as caught:
        shelf().make("scredriver")
    message = str(caught.value)
    assert "unknown tool 'scredriver'" in message
    assert "screwdriver" in message
    assert "hammer" not in message


def test_a_name_like_no_other_lists_some_and_says_that_there_are_more():
    with pytest.raises(UnknownName, match="chisel, file, hammer, plane, saw, …"):
        shelf().make("xyz")


def test_few_names_are_all_listed():
    registry: Registry[Any] = Registry("tool")
    registry.register("saw", Tool)
    registry.register("axe", Tool)
    with pytest.raises(UnknownName, match="known: axe, saw"):
        registry.make("xyz")
    assert nearest("xyz", ["axe", "saw"]) == "axe, saw"


def test_where_nothing_is_registered_the_installation_is_to_blame():
    with pytest.raises(UnknownName, match="none is registered, so XDream is installed in part only"):
        Registry("tool").make("saw")


def test_names_come_in_alphabetical_order():
    assert shelf().names() == ["chisel", "file", "hammer", "plane", "saw", "screwdriver", "spanner"]


def test_an_unknown_option_names_the_ones_it_takes():
    with pytest.raises(BadInput, match="tool 'saw' has no option 'width'; it takes: length, colour"):
        shelf().make("saw", width=3.0)


def test_a_part_without_options_says_so():
    registry: Registry[Any] = Registry("tool")
    registry.register("rope", lambda: "rope")
    with pytest.raises(BadInput, match="it takes: none"):
        registry.make("rope", length=3.0)


def test_a_factory_that_takes_any_option_gets_them():
    registry: Registry[Any] = Registry("tool")
    registry.register("box", lambda **options: options)
    assert registry.make("box", anything=1) == {"anything": 1}


def test_a_name_is_registered_once():
    registry = shelf()
    with pytest.raises(BadInput, match="tool 'saw' is registered already; choose another name"):
        registry.register("saw", dict)
    assert registry.factory("saw") is Tool


def test_other_packages_add_theirs_when_first_needed(monkeypatch):
    asked = []

    class Entry:
        name, value = "drill", "package:drill"

        def load(self) -> type[Tool]:
            asked.append("loaded")
            return Tool

    def entry_points(group: str) -> list[Entry]:
        asked.append(group)
        return [Entry()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    registry: Registry[Any] = Registry("tool")
    assert asked == []
    with pytest.raises(BadInput, match="tool 'drill' is registered already; choose another name"):
        registry.register("drill", Tool)
    assert "drill" in registry.names()
    assert registry.names() == registry.names()
    assert asked == ["xdream.tools"]
    assert registry.make("drill", colour="blue") == Tool(colour="blue")
    assert asked == ["xdream.tools", "loaded"]


# ------------------------------------------------------------------ options


def tool(
    kind: Literal["hand", "power"],
    length: Annotated[float, Field(gt=0, le=5)] = 1.0,
    teeth: Annotated[int, Field(ge=2, le=90)] = 20,
    sizes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None,
    manual: Path | None = None,
    sharp: bool = True,
) -> dict[str, Any]:
    """A saw. Its teeth cut."""
    return {"length": length, "teeth": teeth, "sizes": sizes, "manual": manual}


def workshop() -> Registry[Any]:
    registry: Registry[Any] = Registry("tool")
    registry.register("saw", tool)
    return registry


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "foot"}, "kind is 'foot'; it must be 'hand' or 'power'"),
        ({"length": 0}, "length is 0; it must be a number above 0 of at most 5"),
        ({"length": "2"}, "length is '2'; it must be a number"),
        ({"length": math.nan}, "length is nan; it must be a number"),
        ({"teeth": 91}, "teeth is 91; it must be a whole number from 2 to 90"),
        ({"teeth": 20.0}, "teeth is 20.0; it must be a whole number"),
        ({"teeth": True}, "teeth is True; it must be a whole number"),
        ({"sizes": []}, "sizes is []; it must be a non-empty list of whole numbers of at least 0"),
        ({"sizes": [1, -1]}, "sizes[1] is -1; it must be a whole number of at least 0"),
        ({"manual": 3}, "manual is 3; it must be a path"),
        ({"sharp": 1}, "sharp is 1; it must be true or false"),
    ],
)
def test_an_option_of_another_type_or_out_of_range_is_named_with_what_it_may_be(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        workshop().make("saw", **{"kind": "hand"} | options)
    assert str(caught.value).startswith(f"tool 'saw': {said}")


def test_options_of_the_declared_types_arrive():
    made = workshop().make("saw", kind="hand", length=2, teeth=5, sizes=[0, 1], manual="a.pdf")
    assert made == {"length": 2.0, "teeth": 5, "sizes": [0, 1], "manual": Path("a.pdf")}


def test_an_option_that_must_be_given_is_asked_for():
    with pytest.raises(BadInput, match="tool 'saw' needs the option kind"):
        workshop().make("saw")


def test_paths_become_absolute_by_their_type_and_not_by_their_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = {"manual": "a.pdf", "kind": "hand", "sizes": [1]}
    assert workshop().absolute("saw", options) == options | {"manual": str(tmp_path / "a.pdf")}


def test_a_part_is_described_with_types_ranges_and_defaults():
    assert workshop().described("saw").splitlines() == [
        "saw: A saw",
        "  kind: 'hand' or 'power', needed",
        "  length: a number above 0 of at most 5, default 1.0",
        "  teeth: a whole number from 2 to 90, default 20",
        "  sizes: a non-empty list of whole numbers of at least 0, default None",
        "  manual: a path, default None",
        "  sharp: true or false, default True",
    ]


# ------------------------------------------------------------------ forms and declarations


def test_a_form_stands_for_all_its_names_and_is_given_the_name():
    registry = shelf()
    registry.register("box:*", lambda name, depth=1: (name, depth))
    registry.register("box:long:*", lambda name: f"long {name}")
    assert registry.make("box:7", depth=2) == ("box:7", 2)
    assert registry.make("box:long:7") == "long box:long:7"
    assert registry.has("box:7")
    assert not registry.has("box")
    assert "box:*" not in registry.names()
    assert registry.forms() == ["box:*", "box:long:*"]
    assert list(registry.options("box:7")) == list(registry.options("box:*")) == ["depth"]


def test_what_a_factory_declares_is_read_by_name():
    registry = shelf()
    registry.register("rope", declares(weight=3)(lambda: "rope"))
    assert registry.declared("rope", "weight") == 3
    assert registry.declared("rope", "colour") is None
    assert registry.declared("saw", "weight", 0) == 0
    assert registry.make("rope") == "rope"
    with pytest.raises(UnknownName):
        registry.declared("rop", "weight")


def bring(monkeypatch, tmp_path, source: str) -> Registry[Any]:
    """A registry whose tool `drill` is the function `make` of a module of another package."""
    (tmp_path / "another_package.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "another_package", raising=False)
    entry = importlib.metadata.EntryPoint("drill", "another_package:make", "xdream.tools")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    return Registry("tool")


def test_a_summary_is_read_without_importing_the_part(monkeypatch, tmp_path):
    source = 'import nothing_like_this\n\n\ndef make():\n    """Makes holes. Round ones."""\n'
    assert bring(monkeypatch, tmp_path, source).summary("drill") == "Makes holes"


def test_a_part_that_lacks_a_module_says_what_to_install(monkeypatch, tmp_path):
    source = "NEEDS = \"pip install 'holes[round]'\"\nimport nothing_like_this\n"
    with pytest.raises(BadInput, match=r"'drill' needs the module 'nothing_like_this'.*pip install 'holes"):
        bring(monkeypatch, tmp_path, source).make("drill")


def test_a_part_that_cannot_be_imported_names_its_fault(monkeypatch, tmp_path):
    with pytest.raises(BadInput, match=r"tool .drill.*cannot be imported: ZeroDivisionError"):
        bring(monkeypatch, tmp_path, "1 / 0\n").make("drill")


def test_what_is_declared_twice_is_joined():
    @declares(colour="red")
    @declares(colour="blue", length=2)
    def tool() -> None: ...

    registry: Registry[Any] = Registry("tool")
    registry.register("declared_twice", tool)
    assert registry.declared("declared_twice", "colour") == "red"
    assert registry.declared("declared_twice", "length") == 2


DECLARING = """from xdream.registry import declares
import nothing_like_this

LENGTH = 2


{decorators}
def make(): ...
"""


@pytest.mark.parametrize(
    ("decorators", "fact", "found"),
    [
        ('@declares(colour="red")', "colour", "red"),
        ('@declares(colour="red")', "weight", "light"),
        ('@declares(colour="red")\n@declares(colour="blue", weight=2)', "colour", "red"),
        ('@declares(colour="red")\n@declares(colour="blue", weight=2)', "weight", 2),
        ("", "weight", "light"),
    ],
)
def test_what_the_source_declares_in_a_literal_is_read_without_importing_the_part(
    monkeypatch, tmp_path, decorators, fact, found
):
    tools = bring(monkeypatch, tmp_path, DECLARING.format(decorators=decorators))
    assert tools.declared("drill", fact, "light") == found


@pytest.mark.parametrize(
    "decorators", ["@declares(weight=LENGTH)", "@declares(**{'weight': 2})", "@other", "make = 3"]
)
def test_what_the_source_alone_does_not_say_is_asked_of_the_part(monkeypatch, tmp_path, decorators):
    tools = bring(monkeypatch, tmp_path, DECLARING.format(decorators=decorators))
    with pytest.raises(BadInput, match="needs the module 'nothing_like_this'"):
        tools.declared("drill", "weight")


def brought(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> Registry[Any]:
    """A registry of tools, with the entry points (name, value) of other packages."""
    found = [importlib.metadata.EntryPoint(name, value, "xdream.tools") for name, value in points]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
    return Registry("tool")


def test_a_name_that_is_brought_twice_is_said_each_time(monkeypatch):
    registry = brought(monkeypatch, ("saw", "one:Saw"), ("saw", "two:Saw"), ("axe", "one:Axe"))
    for _ in range(2):
        with pytest.raises(BadInput, match="two packages bring a tool 'saw'"):
            registry.names()


def test_a_package_that_is_gone_leaves_the_others_as_they_are(monkeypatch):
    registry = brought(monkeypatch, ("saw", "gone_package.saws:Saw"), ("axe", "xdream.options:Option"))
    assert registry.names() == ["axe", "saw"]
    assert registry.summary("saw") == ""
    assert registry.summary("axe")
    with pytest.raises(BadInput, match="tool 'saw' needs the module 'gone_package', which is not installed"):
        registry.factory("saw")


def test_a_factory_without_types_that_cannot_take_a_value_is_bad_input():
    registry: Registry[Any] = Registry("tool")
    registry.register("saw", lambda length: length + 1)
    with pytest.raises(BadInput, match="tool 'saw' cannot be made with length = 'long'"):
        registry.make("saw", length="long")


def test_a_path_is_made_absolute_as_every_path_of_a_plan_is(monkeypatch, tmp_path):
    def tool(file: Path) -> None: ...

    monkeypatch.chdir(tmp_path)
    registry: Registry[Any] = Registry("tool")
    registry.register("tool", tool)
    assert registry.absolute("tool", {"file": "../w.npz"}) == {"file": references.absolute("../w.npz")}
