"""Frozen, validated descriptions as TOML files: what plans and recipes have in common."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from xdream import text
from xdream.errors import BadInput
from xdream.registry import nearest


class Frozen(BaseModel):
    """A description that cannot be changed, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Part(BaseModel):
    """A part by name; every other key is one of its options, checked when the part is made."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `name`."""
        return dict(self.model_extra or {})


class Description(Frozen):
    """A whole file of it. kind: how errors call it. inner: the descriptions inside it, by their key."""

    kind: ClassVar[str]
    inner: ClassVar[dict[str, type[BaseModel]]] = {}

    @classmethod
    def make(cls, /, **values: Any) -> Self:
        """One from its values. Raises BadInput: one line that names each wrong key and value."""
        for key, value in values.items():
            for one in _texts(value):
                if one != text.storable(one):
                    raise BadInput(
                        f"{cls.kind}: {key}: '{text.storable(one)}' has bytes that are not UTF-8, which a "
                        f"{cls.kind} is; rename the file or folder"
                    )
        try:
            return cls(**values)
        except ValidationError as error:
            raise BadInput(f"{cls.kind}: {_one_line(error, cls)}") from None

    @classmethod
    def from_toml(cls, content: str) -> Self:
        """One from TOML. Raises BadInput."""
        try:
            values = tomllib.loads(content)
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"{cls.kind}: not TOML: {error}") from None
        return cls.make(**values)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """One from a file. Raises BadInput."""
        try:
            content = text.toml(Path(path).read_bytes())
        except (OSError, BadInput) as error:
            raise BadInput(f"{cls.kind} '{path}' cannot be read: {error}") from None
        try:
            return cls.from_toml(content)
        except BadInput as error:
            raise BadInput(f"{cls.kind} '{path}': {str(error).removeprefix(f'{cls.kind}: ')}") from None

    def to_toml(self) -> str:
        """As TOML; reading it back gives an equal plan."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _one_line(error: ValidationError, described: type[Description]) -> str:
    phrases = []
    for one in error.errors():
        where = ".".join(str(part) for part in one["loc"])
        what = str(one["msg"]).removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            key = str(one["loc"][-1])
            known = described.inner[str(one["loc"][0])] if len(one["loc"]) > 1 else described
            what = f"unknown key; near: {nearest(key, sorted(known.model_fields))}"
            if key in described.model_fields and known is not described:
                possible = ", ".join(known.model_fields)
                what = f"it stands in the {described.kind} itself; what may stand here: {possible}"
        elif where and one["type"] != "value_error":
            what = f"{what[0].lower()}{what[1:]} (it is {one['input']!r})"
        phrases.append(f"{where}: {what}" if where else what)
    return "; ".join(phrases)
