"""Names and factories: what a user who mistypes is told."""

import dataclasses
import importlib.metadata
from typing import Any

import pytest

from xdream.errors import BadInput, UnknownName
from xdream.registry import Registry, nearest


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
    registry = shelf()
    assert asked == []
    assert "drill" in registry.names()
    assert registry.names() == registry.names()
    assert asked == ["xdream.tools"]
    assert registry.make("drill", colour="blue") == Tool(colour="blue")
    assert asked == ["xdream.tools", "loaded"]
