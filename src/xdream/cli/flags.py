"""Flags of the command line made from the fields of a description, and flags laid over its values."""

from __future__ import annotations

import argparse
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xdream.errors import BadInput

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class FieldFlag:
    """How a field is given at the command line.

    metavar: what the help calls the value (default: the choices). name: of the flag (default: the field's
    name with dashes). each: a field of several values has one flag for each, not one flag for all. read:
    what makes the value of the text (default: the field's type).
    """

    metavar: str | None = None
    name: str | None = None
    each: bool = False
    read: Callable[[str], Any] | None = None


def add(parser: argparse.ArgumentParser, model: type[BaseModel], flags: Mapping[str, FieldFlag]) -> None:
    """Add a flag for each of these fields. None is its value where it is not given.

    Its type and choices are those of the field, its help is the field's description with the default.
    """
    for field, flag in flags.items():
        annotation = _plain(model.model_fields[field].annotation)
        options: dict[str, Any] = {"dest": field, "default": None, "help": _help(model, field)}
        if flag.metavar is not None:
            options["metavar"] = flag.metavar
        if annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif flag.read is not None:
            options["type"] = flag.read
        elif typing.get_origin(annotation) is Literal:
            choices = typing.get_args(annotation)
            # Numbers are judged by the description, whose error says what it is about.
            options |= {"choices": choices} if isinstance(choices[0], str) else {"type": type(choices[0])}
        elif typing.get_origin(annotation) is tuple:
            options |= {"action": "append"} if flag.each else {"nargs": "+"}
            options["help"] += "; may be given several times" if flag.each else ""
        elif annotation in (int, float):
            options["type"] = annotation
        parser.add_argument(f"--{flag.name or field.replace('_', '-')}", **options)


def given(options: argparse.Namespace, fields: Iterable[str]) -> dict[str, Any]:
    """The values of those fields whose flags were given: what is laid over a description."""
    return {field: getattr(options, field) for field in fields if getattr(options, field) is not None}


def add_settings(
    parser: argparse.ArgumentParser,
    form: str = "PART.KEY=VALUE",
    text: str = "an option of a part, e.g. optimizer.mutation_rate=0.3 or generator.size_px=64",
) -> None:
    """Add `--set`, of which `lay_over` is the reader."""
    parser.add_argument("--set", action="append", default=[], metavar=form, help=text)


def lay_over(
    values: dict[str, Any],
    settings: Iterable[str],
    *,
    flag: str = "--set",
    form: str = "KEY=VALUE",
    parts: Collection[str] | None = None,
    depth: tuple[int, int] = (0, 1),
) -> None:
    """Write settings, each KEY=VALUE or PART.KEY=VALUE, into nested values.

    VALUE is read as TOML, else as text. depth: how many parts may stand before the key, from and to. parts:
    what the first part may be (None: anything). flag, form: how errors call it. Raises BadInput.
    """
    least, most = depth
    for setting in settings:
        path, equals, text = setting.partition("=")
        *inner, last = path.split(".")
        right = equals and last and least <= len(inner) <= most
        if not right or (parts is not None and inner[0] not in parts):
            raise BadInput(f"{flag} '{setting}' is not {form}")
        table = values
        for part in inner:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise BadInput(f"{flag} '{setting}': {part} has no keys of its own")
        table[last] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _help(model: type[BaseModel], field: str) -> str:
    """The description of a field, with its default where it has one and does not say so itself."""
    from xdream.description import Part

    about = model.model_fields[field]
    text, default = about.description or "", about.default
    choices = typing.get_args(about.annotation)
    if typing.get_origin(about.annotation) is Literal and not isinstance(choices[0], str):
        text += f": {', '.join(map(str, choices))}"
    if isinstance(default, Part):
        default = default.name
    if isinstance(default, str | int | float) and default != "" and "(default" not in text:
        text += f" (default {default})"
    return text.replace("%", "%%")


def _plain(annotation: Any) -> Any:
    """A type without None beside it, and without what `Annotated` adds."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return _plain(kinds[0]) if len(kinds) == 1 else annotation
    return annotation
