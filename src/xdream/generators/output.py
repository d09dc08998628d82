"""What a user's own generator gives, as images: which result, its range, its channels, its axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from xdream.errors import BadInput
from xdream.types import Images

#: Ranges that programs use; an error names the one that fits.
USUAL = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
#: Most of the values of the trial that may lie outside the range (programs without a last nonlinearity have
#: some), and by how much of the range a value does so.
OUTSIDE, MARGIN = 0.3, 0.02
#: Least part of the range that the values of the trial must take.
LEAST_PART = 0.02


@dataclass(frozen=True)
class Output:
    """picked: of several results, its key or number. black, white: the values that are these. channels:
    "RGB", "BGR" or "grey". layout: "NCHW", or "NHWC" with the colours last."""

    picked: str | int | None = None
    black: float = 0.0
    white: float = 1.0
    channels: Literal["RGB", "BGR", "grey"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @classmethod
    def of(cls, table: Mapping[str, Any], *, picks: bool) -> Output:
        """From a plan. picks: whether a result must be picked here. Raises BadInput."""
        black, white = _range(table.get("output_range", (0.0, 1.0)))
        return cls(
            table.get("output") if picks else None,
            black,
            white,
            table.get("channels", "RGB"),
            table.get("layout", "NCHW"),
        )

    def images(self, raw: Any) -> Images:
        """What the program gave -> (n, 3, size, size) float32; its range is [0, 1]."""
        x = self._planes(raw).to(torch.float32)
        if self.channels == "BGR":
            x = x.flip(1)
        elif self.channels == "grey":
            x = x.expand(-1, 3, -1, -1)
        if (self.black, self.white) == (0.0, 1.0):
            return x
        return (x - self.black) / (self.white - self.black)

    def examined(self, raw: Any, n: int) -> tuple[int, tuple[str, ...]]:
        """The size of n images of a trial, and what to say of them. Raises BadInput where they are none."""
        found = self._picked(raw)
        if not isinstance(found, torch.Tensor):
            raise BadInput(f"it gave {_said(found)}; a tensor of images is needed{self._which(found)}")
        planes = 1 if self.channels == "grey" else 3
        axes = f"({n}, {planes}, size, size)" if self.layout == "NCHW" else f"({n}, size, size, {planes})"
        shape = tuple(found.shape)
        x = self._planes(raw) if found.ndim == 4 else found
        if found.ndim != 4 or x.shape[0] != n or x.shape[1] != planes or x.shape[2] != x.shape[3]:
            raise BadInput(f"it gave {shape} for {n} codes, where {axes} is awaited{self._remedy(shape, n)}")
        if not found.is_floating_point():
            raise BadInput(f"it gave numbers of type {found.dtype}; floating-point numbers are needed")
        if not bool(x.isfinite().all()):
            raise BadInput("it made an image with NaN or inf in it")
        return int(x.shape[-1]), self._range_said(x.to(torch.float32))

    def _range_said(self, x: torch.Tensor) -> tuple[str, ...]:
        least, most = float(x.min()), float(x.max())
        found = f"the values of its images run from {least:.3g} to {most:.3g}"
        declared = f"output_range is [{self.black:g}, {self.white:g}]"
        width = self.white - self.black
        low, high = min(self.black, self.white), max(self.black, self.white)
        margin = abs(width) * MARGIN
        outside = float(((x < low - margin) | (x > high + margin)).float().mean())
        small = (most - least) < LEAST_PART * abs(width) and most > least
        if outside > OUTSIDE or small:
            fits = [(a, b) for a, b in USUAL if least >= a - 0.3 * (b - a) and most <= b + 0.3 * (b - a)]
            better = next((one for one in fits if one != (self.black, self.white)), None)
            remedy = f"declare output_range = [{better[0]:g}, {better[1]:g}]" if better else "declare it"
            raise BadInput(f"{found}, and {declared}; {remedy}")
        if least >= (low + high) / 2.0:
            return (f"{found}, the brighter half of its output_range [{self.black:g}, {self.white:g}] only",)
        return ()

    def _planes(self, raw: Any) -> torch.Tensor:
        found: torch.Tensor = self._picked(raw)
        return found.permute(0, 3, 1, 2) if self.layout == "NHWC" else found

    def _picked(self, raw: Any) -> Any:
        if self.picked is None:
            return raw
        try:
            if isinstance(self.picked, str) and not isinstance(raw, Mapping):
                return getattr(raw, self.picked)
            return raw[self.picked]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise BadInput(f"output is {self.picked!r}, but it gave {_said(raw)}") from None

    def _which(self, found: Any) -> str:
        if isinstance(found, tuple | list):
            return "; output = NUMBER picks one of several, from 0"
        return "; output = KEY picks it" if hasattr(found, "__dict__") or isinstance(found, Mapping) else ""

    def _remedy(self, shape: tuple[int, ...], n: int) -> str:
        if len(shape) != 4:
            return ""
        if shape[0] != n:
            return "; the first axis must be the codes"
        if self.layout == "NCHW" and shape[3] in (1, 3) and shape[1] == shape[2]:
            return '; declare layout = "NHWC"'
        if self.layout == "NHWC" and shape[1] in (1, 3) and shape[2] == shape[3]:
            return '; declare layout = "NCHW"'
        if 1 in (shape[1], shape[3]) and self.channels != "grey":
            return '; declare channels = "grey"'
        return '; images must be square, of three colours (or channels = "grey")'


def _range(value: Any) -> tuple[float, float]:
    numbers = [float(one) for one in value]
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise BadInput(f"output_range is {list(value)}; it is two numbers, those of black and of white")
    return numbers[0], numbers[1]


def _said(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a table with {', '.join(map(str, found))}"
    if isinstance(found, tuple | list):
        return f"{len(found)} results"
    return f"a {type(found).__name__}"
