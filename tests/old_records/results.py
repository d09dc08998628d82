"""What a record holds, as the old and the present release are compared by it."""

import hashlib
from typing import Any

import numpy as np
import safetensors.numpy


def exact(dump: dict[str, list[tuple[Any, ...]]]) -> dict[str, str]:
    """A digest of each table, without codes and states: these follow from the plan to the last digits only.

    Normal draws go through logarithms and cosines, whose last bit is another on another processor.
    """
    tables = dump | {
        "image": [row[:4] + row[5:] for row in dump["image"]],
        "kept_code": [row[:3] for row in dump["kept_code"]],
        "state": [row[:2] for row in dump["state"]],
    }
    return {name: hashlib.sha256(repr(rows).encode()).hexdigest() for name, rows in tables.items()}


def numbers(dump: dict[str, list[tuple[Any, ...]]]) -> dict[str, np.ndarray[Any, Any]]:
    """Codes and states, by name."""
    codes = [row[4] for row in dump["image"]] + [row[3] for row in dump["kept_code"]]
    found: dict[str, np.ndarray[Any, Any]] = {
        "codes": np.frombuffer(b"".join(one for one in codes if one is not None), "<f4")
    }
    for run, generation, tensors in dump["state"]:
        for name, values in safetensors.numpy.load(tensors).items():
            found[f"{run}.{generation}.{name}"] = values
    return found
