"""Numbers from users and from files, as float64 arrays in which missing is NaN.

NumPy alone turns what is not a number into one without a word: a masked array loses its mask, a complex
number its imaginary part, a date becomes its nanoseconds since 1970. Every array that comes from outside
goes through `numbers`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Set
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xdream.errors import BadInput
from xdream.text import shortened

Array: TypeAlias = npt.NDArray[np.float64]

#: A number as text. Python's own `float` also takes 1_000, which in a table is rather a name.
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)|nan", re.IGNORECASE | re.ASCII
)
#: Types of NumPy's that hold numbers: floating point, integers and booleans.
_KINDS = "fiub"
#: What tells objects of pandas' that stand for a missing value, which need not be installed.
_MISSING = ("NAType", "NaTType")


def numbers(values: Any, what: str) -> Array:
    """Values from elsewhere as a float64 array of their own, in C order; missing values are NaN.

    values: what NumPy takes, and: masked arrays (a masked value is missing), lists of them, tensors of
    PyTorch's on any device and with gradients, objects of pandas, Polars and Arrow (NA and null are
    missing), None. what: they are called in an error, e.g. "scores". Raises BadInput for what holds anything
    but numbers.
    """
    try:
        found = _numbers(values)
    except BadInput as error:
        raise BadInput(f"{what} are not numbers ({error}); NaN stands for missing") from None
    except Exception as error:  # objects of other libraries raise what they like
        reason = shortened(str(error)) or type(error).__name__
        raise BadInput(f"{what} are not numbers ({reason}); NaN stands for missing") from None
    return np.array(found, dtype=np.float64, order="C")


def number(text: str) -> float:
    """The number that a text holds, as a table has it; a decimal comma is none. Raises ValueError."""
    said = text.strip()
    if _NUMBER.fullmatch(said):
        return float(said)
    if _NUMBER.fullmatch(said.replace(",", ".", 1)):
        raise ValueError(f"'{said}' has a decimal comma; write numbers with a point")
    raise ValueError(f"'{said[:40]}' is no number")


def _numbers(values: Any) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        if values.dtype.kind == "O":
            return np.where(np.ma.getmaskarray(values), np.nan, _numbers(values.filled(np.nan)))
        return np.where(np.ma.getmaskarray(values), np.nan, _plain(values.data))
    if isinstance(values, np.ndarray):
        return _plain(values)
    if hasattr(values, "detach"):  # a tensor of PyTorch's, which need not have been imported
        return _plain(_of_tensor(values))
    if isinstance(values, (list, tuple)):
        return _of_sequence(values)
    if isinstance(values, (str, bytes, Mapping, Set)):
        raise BadInput(f"they are a {type(values).__name__}")
    if hasattr(values, "to_numpy"):
        return _of_table(values)
    if hasattr(values, "toarray"):
        raise BadInput("a sparse matrix: which of its zeros are missing is not known; give values.toarray()")
    array = np.asarray(values)
    if array.ndim == 0 and array.dtype.kind == "O":
        raise BadInput(f"they are a {type(values).__name__}")
    return _numbers(array)


def _plain(array: npt.NDArray[Any]) -> Array:
    """An array of NumPy's whose type tells what is in it."""
    if array.dtype.kind in _KINDS:
        return array.astype(np.float64)
    if array.dtype.kind in "OUT" and array.ndim:
        flat = [_one(value) for value in array.reshape(-1).tolist()]
        return np.array(flat, dtype=np.float64).reshape(array.shape)
    if array.dtype.kind in "OU":
        return np.array(_one(array.item()))
    names = {"c": "complex numbers", "M": "dates", "m": "durations", "V": "records", "S": "bytes"}
    raise BadInput(f"they are {names.get(array.dtype.kind, str(array.dtype))}")


def _one(value: Any) -> float:
    """One number, or what stands for a missing one."""
    if value is None or value is np.ma.masked or type(value).__name__ in _MISSING:
        return math.nan
    if isinstance(value, str):
        return number(value)
    if isinstance(value, (complex, np.complexfloating)):
        raise BadInput("they are complex numbers")
    if isinstance(value, (np.datetime64, np.timedelta64)):
        raise BadInput("they are dates or durations")
    if isinstance(value, (bytes, bytearray)):
        raise BadInput("they are bytes")
    if hasattr(value, "detach"):
        return float(_of_tensor(value))
    return float(value)


def _of_sequence(values: list[Any] | tuple[Any, ...]) -> Array:
    """Scalars, or rows of one length: row by row, so that each keeps its mask."""
    # Lists of plain numbers are the common case, and quick.
    if all(type(value) in (int, float) for value in values):
        return np.array(values, dtype=np.float64)
    rows = [_scalar(value) for value in values]
    if all(row is not None for row in rows):
        return np.array(rows, dtype=np.float64)
    arrays = [_numbers(value) for value in values]
    if len({array.shape for array in arrays}) > 1:
        raise BadInput("their rows have several lengths")
    return np.stack(arrays)


def _scalar(value: Any) -> float | None:
    """A number that stands alone; None for what is an array itself."""
    if value is np.ma.masked or isinstance(value, str) or value is None:
        return _one(value)
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", False) or hasattr(value, "to_numpy"):
        return None
    if isinstance(value, np.ma.MaskedArray):  # of no axis
        return math.nan if value.mask else _one(value.item())
    return _one(value)


def _of_tensor(values: Any) -> npt.NDArray[Any]:
    tensor = values.detach().cpu()
    if tensor.is_complex():
        raise BadInput("they are complex numbers")
    array: npt.NDArray[Any] = tensor.double().numpy()
    return array


def _of_table(values: Any) -> Array:
    """Of pandas, Polars or Arrow: their own missing values become None or NaN, never a number."""
    for how in ({"dtype": object, "na_value": None}, {"zero_copy_only": False}, {}):
        try:
            found = values.to_numpy(**how)
        except TypeError:
            continue
        return _numbers(found)
    raise BadInput(f"they are a {type(values).__name__}")
