"""The inputs of a user's own generator as tables of a plan: which part of the code each gets, and how."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from xdream.description import Description
from xdream.errors import BadInput
from xdream.files import mistaken
from xdream.generators.base import SMALLEST_SPREAD, GaussianCodes
from xdream.generators.distributions import (
    PURPOSE,
    CorrelatedCodes,
    ListedCodes,
    SpreadCodes,
    TruncatedCodes,
    UniformCodes,
)
from xdream.networks import one_line
from xdream.types import Codes

Whole = Annotated[int, Field(ge=1, le=10**7)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
#: What stands behind `initial`.
Initial = Literal["normal", "uniform", "truncated", "file"]
#: What becomes of the numbers of a code before the generator is given them.
Given = Literal["values", "softmax", "one-hot", "index"]
#: Fewest codes in a file that runs draw from.
LEAST_CODES = 20
#: Keys for one kind of distribution only.
_ONLY = {"truncation": "truncated", "covariance": "normal", "file": "file"}


class InputPlan(Description):
    """One input of a generator.

    name: for a graph in an ONNX file, where inputs have names. code_size: how many numbers of the code it
    gets, or their shape. initial: how they are distributed at first: `normal` (mean, and scale, the standard
    deviation, or covariance, a .npy file), `uniform` (low, high), `truncated` (mean, scale, truncation in
    scales), `file` (a .npy or .npz of codes). low, high: also the bounds of `codes = "box"`. given: the
    numbers as they are (`values`), their `softmax`, `one-hot` of the largest, or its `index`. value: what it
    is given for every image instead of a part of the code.
    """

    kind: ClassVar[str] = "input of a generator"

    name: str = ""
    code_size: Whole | Annotated[tuple[Whole, ...], Field(min_length=1)] | None = None
    initial: Initial = "normal"
    mean: Number | tuple[Number, ...] = 0.0
    scale: Positive | tuple[Positive, ...] = 1.0
    covariance: Path | None = None
    low: Number | tuple[Number, ...] | None = None
    high: Number | tuple[Number, ...] | None = None
    truncation: Positive | None = None
    file: Path | None = None
    given: Given = "values"
    value: int | float | tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> InputPlan:
        if (self.code_size is None) == (self.value is None):
            raise ValueError("give code_size, or a value for every image, and not both")
        for key, of in _ONLY.items():
            if getattr(self, key) is not None and self.initial != of:
                raise ValueError(f'{key} goes with initial = "{of}"')
        if self.initial == "file" and self.file is None:
            raise ValueError('initial = "file" needs file: a .npy of codes')
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        if self.covariance is not None and self.scale != 1.0:
            raise ValueError("scale and covariance are both given; give one")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its part of a code; () for a fixed value."""
        if self.code_size is None:
            return ()
        return (self.code_size,) if isinstance(self.code_size, int) else self.code_size

    @property
    def size(self) -> int:
        """How many numbers of the code it gets."""
        return math.prod(self.shape) if self.shape else 0


@dataclass(frozen=True)
class Input:
    """An input that is ready: its plan, the distribution of its part of the code, its bounds, and what its
    files hold, as SHA-256. initial, bounds: None for a fixed value; bounds also where none are given."""

    plan: InputPlan
    initial: SpreadCodes | None
    bounds: tuple[torch.Tensor, torch.Tensor] | None
    digest: str

    def prepared(self, part: Codes) -> torch.Tensor:
        """(n, size) of a code -> what the generator is given."""
        plan = self.plan
        if plan.value is not None:
            return self._fixed(part)
        if plan.given == "index":
            return part.argmax(1)
        if plan.given == "one-hot":
            return torch.nn.functional.one_hot(part.argmax(1), part.shape[1]).to(part.dtype)
        values = part.softmax(1) if plan.given == "softmax" else part
        return values.reshape(len(part), *plan.shape)

    def _fixed(self, part: Codes) -> torch.Tensor:
        value, n = self.plan.value, len(part)
        if self.plan.given == "index":
            return torch.full((n,), int(value), dtype=torch.int64, device=part.device)  # type: ignore[arg-type]
        row = torch.tensor(value, dtype=torch.float32, device=part.device)
        return row if row.ndim == 0 else row.expand(n, -1)  # one number is the same for all images


def opened(plan: InputPlan, number: int) -> Input:
    """An input with its files read. number: among the inputs, so that their draws differ. Raises BadInput."""
    if plan.value is not None:
        return Input(plan, None, None, "")
    purpose = PURPOSE if number == 0 else f"{PURPOSE} {number}"
    digest = hashlib.sha256()
    for path in (plan.covariance, plan.file):
        if path is not None:
            digest.update(_bytes(path))
    bounds = None
    if plan.low is not None and plan.high is not None:
        bounds = _filled("low", plan.low, plan.size), _filled("high", plan.high, plan.size)
        if not bool((bounds[0] < bounds[1]).all()):
            raise BadInput(f"low is {plan.low} and high is {plan.high}; low must be below high")
    return Input(plan, _distribution(plan, bounds, purpose), bounds, digest.hexdigest())


def parsed(tables: Sequence[dict[str, Any]]) -> list[InputPlan]:
    """Inputs as a plan has them. Raises BadInput that says which."""
    found = []
    for number, table in enumerate(tables):
        try:
            found.append(InputPlan.make(**table))
        except BadInput as error:
            said = str(error).removeprefix(f"{InputPlan.kind}: ")
            raise BadInput(f"inputs[{number}]: {said}") from None
    return found


def _distribution(
    plan: InputPlan, bounds: tuple[torch.Tensor, torch.Tensor] | None, purpose: str
) -> SpreadCodes:
    if plan.initial == "file":
        assert plan.file is not None
        return _listed(plan.file, plan.size, purpose)
    if plan.initial == "uniform":
        low, high = bounds or (torch.full((plan.size,), -1.0), torch.full((plan.size,), 1.0))
        return UniformCodes(low, high, purpose)
    mean, scale = _filled("mean", plan.mean, plan.size), _filled("scale", plan.scale, plan.size)
    if plan.initial == "truncated":
        return TruncatedCodes(mean, scale, plan.truncation or 2.0, purpose)
    if plan.covariance is not None:
        return CorrelatedCodes(mean, _factor(plan.covariance, plan.size), purpose)
    return GaussianCodes(mean, scale, purpose=purpose)


def _filled(key: str, value: float | tuple[float, ...], size: int) -> torch.Tensor:
    """(size,): one number for all, or one for each. Raises BadInput."""
    numbers = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
    if len(numbers) not in (1, size):
        raise BadInput(f"{key} has {len(numbers)} numbers; code_size asks for {size}, or for one for all")
    return numbers.expand(size).clone()


def _factor(path: Path, size: int) -> torch.Tensor:
    found = _array(path, "covariance", lambda shape: shape == (size, size), f"({size}, {size})")
    if not np.allclose(found, found.T):
        raise BadInput(f"covariance '{path}' is not symmetric")
    try:
        return torch.from_numpy(np.linalg.cholesky(found)).to(torch.float32)
    except np.linalg.LinAlgError:
        raise BadInput(f"covariance '{path}' is not positive definite") from None


def _listed(path: Path, size: int, purpose: str) -> ListedCodes:
    found = _array(
        path,
        "codes",
        lambda shape: len(shape) > 1 and shape[0] >= LEAST_CODES and math.prod(shape[1:]) == size,
        f"(at least {LEAST_CODES}, {size})",
    )
    codes = torch.from_numpy(found.reshape(len(found), -1)).to(torch.float32)
    if float(codes.std(0).max()) <= SMALLEST_SPREAD:
        raise BadInput(f"codes '{path}' are all the same")
    return ListedCodes(codes, purpose)


def _bytes(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise BadInput(f"'{path}' cannot be read: {one_line(error)}") from None


def _array(
    path: Path, kind: str, fits: Callable[[tuple[int, ...]], bool], wanted: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The array in a .npy, or `codes` in a .npz, as float64. Raises BadInput."""
    try:
        loaded = np.load(path.expanduser(), allow_pickle=False)
        found = loaded if isinstance(loaded, np.ndarray) else loaded["codes"]
        array: np.ndarray[Any, np.dtype[np.float64]] = found.astype(np.float64, casting="same_kind")
    except Exception as error:  # a reader of foreign bytes raises whatever it likes
        what = mistaken(path) or one_line(error)
        raise BadInput(f"{kind} '{path}' cannot be read ({what}); give a .npy") from None
    if not fits(array.shape):
        raise BadInput(f"{kind} '{path}' has the shape {array.shape}; {wanted} is needed")
    if not np.isfinite(array).all():
        raise BadInput(f"{kind} '{path}' has a number that is not finite")
    return array
