"""Names and the factories behind them. An unknown name lists the near ones."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from xdream.errors import BadInput, UnknownName

Part = TypeVar("Part")


#: So few names are all listed.
FEW = 5


def nearest(name: str, known: list[str], most: int = FEW) -> str:
    """The known names nearest to `name`, or all of them when they are few, as one phrase."""
    near = known if len(known) <= most else difflib.get_close_matches(name, known, most, cutoff=0.4)
    return ", ".join(near or [*known[:most], "…"])


class Registry(Generic[Part]):
    """Factories by name, of one `kind` of part.

    Other packages add theirs through the entry-point group `xdream.KINDs`
    (for example `xdream.generators`); they are looked up when first needed.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        #: The factory of a name that is not registered (a file, say), or None.
        self.others: Callable[[str], Callable[..., Part] | None] = lambda name: None
        self._factories: dict[str, Callable[..., Part]] = {}
        self._looked_up = False

    def register(self, name: str, factory: Callable[..., Part]) -> None:
        """Add a factory under a new name."""
        if name in self._factories:
            raise BadInput(f"{self.kind} '{name}' is registered already; choose another name")
        self._factories[name] = factory

    def names(self) -> list[str]:
        """All names, in alphabetical order."""
        if not self._looked_up:
            self._looked_up = True
            for entry in importlib.metadata.entry_points(group=f"xdream.{self.kind}s"):
                self.register(entry.name, lambda entry=entry, **options: entry.load()(**options))
        return sorted(self._factories)

    def factory(self, name: str) -> Callable[..., Part]:
        """The factory behind a name. Raises UnknownName."""
        if name not in self.names():
            other = self.others(name)
            if other is not None:
                return other
            known = self.names()
            if len(known) <= FEW:
                raise UnknownName(f"unknown {self.kind} '{name}'; known: {', '.join(known)}")
            near = nearest(name, known)
            raise UnknownName(f"unknown {self.kind} '{name}'; near: {near} (all: xdream list {self.kind}s)")
        return self._factories[name]

    def options(self, name: str) -> Mapping[str, inspect.Parameter]:
        """What the factory behind a name takes. Raises UnknownName."""
        return inspect.signature(self.factory(name)).parameters

    def make(self, name: str, **options: Any) -> Part:
        """Call the factory behind `name`. Raises BadInput for an option that it does not take."""
        factory = self.factory(name)
        parameters = self.options(name)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for option in options:
                if option not in parameters:
                    raise BadInput(
                        f"{self.kind} '{name}' has no option '{option}'; "
                        f"it takes: {', '.join(parameters) or 'none'}"
                    )
        try:
            return factory(**options)
        except TypeError as error:
            given = ", ".join(f"{key} = {value!r}" for key, value in options.items())
            raise BadInput(f"{self.kind} '{name}' cannot be made with {given}: {error}") from error
