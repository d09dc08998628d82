"""The options of a part: types and limits, read from the parameters of its factory, and their words."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import pydantic_core

from xdream.errors import BadInput

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """What a factory takes under one name. annotation: its type, with limits where it has some.

    default: `inspect.Parameter.empty` where it must be given. is_path: whether it names a file or a folder.
    """

    name: str
    annotation: Any
    default: Any
    is_path: bool

    def checked(self, value: Any) -> Any:
        """The value as the annotation has it. Raises ValueError with a phrase that says what is wrong."""
        try:
            data = pydantic_core.to_json(value)
        except pydantic_core.PydanticSerializationError:
            return value  # an object of Python's, which no plan holds: the factory judges it
        try:
            return self._holder.model_validate_json(b'{"value": %b}' % data, strict=True).value
        except pydantic.ValidationError as error:
            name, annotation = self.name, self.annotation
            for place in (one for one in error.errors()[0]["loc"][1:] if isinstance(one, int)):
                name, value, annotation = f"{name}[{place}]", value[place], _element(annotation)
            raise ValueError(f"{name} is {value!r}; it must be {_said(annotation)}") from None

    @functools.cached_property
    def _holder(self) -> Any:
        """A model with the one field `value`; to make one takes a thousand times as long as to use it."""
        config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        return pydantic.create_model("Options", __config__=config, value=(self.annotation, ...))

    @property
    def needed(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    def __str__(self) -> str:
        """Name, type, range and default, on one line."""
        default = "needed" if self.needed else f"default {self.default!r}"
        return f"{self.name}: {_said(self.annotation)}, {default}"


def options_of(factory: Callable[..., Any], *, named: bool) -> dict[str, Option]:
    """named: the first parameter is the name of the part, and no option."""
    hints = _hints(factory)
    found = {}
    for one in list(inspect.signature(factory).parameters.values())[named:]:
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            annotation = hints.get(one.name, Any)
            found[one.name] = Option(one.name, annotation, one.default, _names_path(annotation))
    return found


def checked(factory: Factory) -> Factory:
    """A decorator of a class or function: its options are checked also where it is called directly.

    A value of another type or beyond its limits raises BadInput, as it does where a plan names the part.
    """
    inner = factory.__init__ if inspect.isclass(factory) else factory
    signature = inspect.signature(inner)

    @functools.wraps(inner)
    def call(*values: Any, **options: Any) -> Any:
        given = signature.bind(*values, **options)  # TypeError, as of any function
        for name, value in given.arguments.items():
            if name in known():
                try:
                    given.arguments[name] = known()[name].checked(value)
                except ValueError as error:
                    raise BadInput(f"{factory.__name__}: {error}") from None
        return inner(*given.args, **given.kwargs)

    @functools.cache
    def known() -> dict[str, Option]:
        return options_of(inner, named=inspect.isclass(factory))

    if not inspect.isclass(factory):
        return typing.cast(Factory, call)
    factory.__init__ = call  # type: ignore[method-assign]
    return factory


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Types of a factory's parameters; none where they cannot be resolved."""
    target = (
        factory.__init__ if inspect.isclass(factory) else inspect.unwrap(getattr(factory, "func", factory))
    )
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError:  # of a module that imports PyTorch only where it computes, mostly
        import torch

        with contextlib.suppress(NameError, TypeError):
            return typing.get_type_hints(target, localns={"torch": torch}, include_extras=True)
    except TypeError:
        pass
    return {}


def _names_path(annotation: Any) -> bool:
    return annotation is Path or any(_names_path(inner) for inner in typing.get_args(annotation))


def _said(annotation: Any) -> str:
    """A type and its limits in words: "a number from 0 to 1", "a list of whole numbers of at least 0"."""
    inner = [one for one in typing.get_args(annotation) if one is not type(None)]
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        limits = _limits(inner[1:])
        if "min_length" in limits:
            return _said(inner[0]).replace("a list", "a non-empty list", 1)
        return _said(inner[0]) + _range(limits)
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    if origin in (typing.Union, types.UnionType):
        # A tensor is one value for each of several runs, which no reader writes.
        return " or ".join(
            dict.fromkeys(_said(one) for one in inner if getattr(one, "__name__", "") != "Tensor")
        )
    if origin is dict:
        return "a table"
    if origin is not None:
        return f"a list of {_plural(_said(inner[0]))}" if inner else str(annotation)
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    Path: "a path",
    Any: "anything",
}


def _plural(said: str) -> str:
    return re.sub(r"^an? (whole number|number|text|path|list|non-empty list|table)", r"\1s", said)


def _element(annotation: Any) -> Any:
    """The type of the elements of the list that an annotation allows."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) in (Annotated, typing.Union, types.UnionType):
        return next((found for one in inner if (found := _element(one)) is not Any), Any)
    return inner[0] if inner else Any


def _limits(metadata: Sequence[Any]) -> dict[str, Any]:
    """The limits in an annotation: ge, gt, le, lt, min_length."""
    inner = [limit for one in metadata for limit in (one, *getattr(one, "metadata", ()))]
    keys = ("ge", "gt", "le", "lt", "min_length")
    return {key: getattr(one, key) for key in keys for one in inner if getattr(one, key, None) is not None}


def _range(limits: Mapping[str, Any]) -> str:
    """ " from 0 to 1", " above 0 and of at most 5"; "" without limits."""
    if limits.keys() >= {"ge", "le"}:
        return f" from {limits['ge']:g} to {limits['le']:g}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    return "".join(f" {words[key]} {limit:g}" for key, limit in limits.items())
