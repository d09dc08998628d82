"""The golden files are what their derivation writes."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


def alike(one: Any, other: Any) -> bool:
    """Equal, with numbers to 1e-9: another platform's logarithm may differ in the last digit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return bool(other == pytest.approx(one, rel=1e-9, abs=1e-9, nan_ok=True))
    return bool(one == other)


@pytest.mark.parametrize("name", ["genetic", "fdgd", "nes"])
def test_the_golden_file_is_what_its_derivation_writes(name):
    derivation = runpy.run_path(str(GOLDEN / "derivation.py"))
    text = derivation["written"](derivation["golden"](name))
    assert alike(json.loads((GOLDEN / f"{name}.json").read_text()), json.loads(text))
