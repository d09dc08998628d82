"""What a record holds, as the old and the present release are compared by it."""

import hashlib
from typing import Any

import numpy as np
import safetensors.numpy


def exact(dump: dict[str, list[tuple[Any, ...]]]) -> dict[str, str]:
    """A digest of each table, without codes and states: of these the last digit may differ.

    The releases of schema 3 drew normal numbers with the square root of the processor's vector library, whose
    last bit is not the same on every processor.
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
