"""The options of a part are checked however it is made."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from xdream.errors import BadInput
from xdream.generators import deepsim
from xdream.laboratory.rigs import Folder, Http
from xdream.laboratory.rigs.lsl import Lsl
from xdream.options import checked, options_of


@checked
def tool(
    kind: str, length: Annotated[float, Field(gt=0)] = 1.0, *others: int, **more: Any
) -> tuple[Any, ...]:
    """A tool."""
    return kind, length, others, more


@checked
class Box:
    """A box."""

    def __init__(self, manual: Path | None = None, sizes: list[int] | None = None) -> None:
        self.manual, self.sizes = manual, sizes


def test_values_are_taken_as_the_parameters_have_them() -> None:
    assert tool("saw") == ("saw", 1.0, (), {})
    assert tool("saw", 2, 3, teeth=4) == ("saw", 2.0, (3,), {"teeth": 4})
    assert Box("a.txt", sizes=(1, 2)).__dict__ == {"manual": Path("a.txt"), "sizes": [1, 2]}  # type: ignore
    assert list(options_of(Box, named=False)) == ["manual", "sizes"]


def test_what_is_missing_or_unknown_is_an_error_as_of_any_function() -> None:
    with pytest.raises(TypeError, match="kind"):
        tool()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="colour"):
        Box(colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tool("saw", -1), "tool: length is -1; it must be a number above 0"),
        (lambda: tool(3), "tool: kind is 3; it must be a text"),
        (lambda: Box(sizes=[1, "x"]), r"Box: sizes\[1\] is 'x'; it must be a whole number"),
        (
            lambda: Folder("/x", protocol="orignal"),
            "protocol is 'orignal'; it must be 'manifest' or 'original'",
        ),
        (lambda: Folder("/x", stable_s=-5), "stable_s is -5; it must be a number from 0 to 600"),
        (lambda: Http(port=70_000), "port is 70000; it must be a whole number from 0 to 65535"),
        (lambda: Lsl(form="xml"), "form is 'xml'; it must be 'json' or 'numbers'"),
        (lambda: Lsl(again_s=-1), "again_s is -1; it must be a number above 0"),
        (lambda: deepsim.make("deepsim-fc6", weights=3), "weights is 3; it must be a path"),
    ],
)
def test_what_does_not_fit_is_bad_input(make: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        make()
