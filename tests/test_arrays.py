"""Numbers from elsewhere: what is missing stays missing, and what is no number is refused."""

import decimal
import fractions
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from xdream import arrays
from xdream.errors import BadInput
from xdream.experiment.evolution import Evolution
from xdream.images.references import expected_best
from xdream.optimizers import make
from xdream.scoring.recordings import Spikes, Traces, Values, from_bytes, to_bytes

NAN = np.nan
PLAIN = np.array([0.5, NAN, 2.0])


class NAType:
    """As pandas' NA: neither a number nor a truth."""

    def __float__(self) -> float:
        raise TypeError("float() argument must be a string or a real number, not 'NAType'")

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


class Series:
    """As a column of pandas' with its own missing value."""

    def to_numpy(self, dtype: Any = None, na_value: Any = NAType()) -> Any:  # noqa: B008
        return np.array([0.5, na_value, 2.0], dtype=object)


MASKED = np.ma.MaskedArray([0.5, 1e6, 2.0], mask=[0, 1, 0])
MISSING = {
    "NaN": PLAIN,
    "a masked array": MASKED,
    "a masked array of integers": np.ma.MaskedArray([1, 1000000, 4], mask=[0, 1, 0]) / 2.0,
    "a list with the masked constant": [0.5, np.ma.masked, 2.0],
    "None": [0.5, None, 2.0],
    "pandas' NA in a list": [0.5, NAType(), 2.0],
    "a column of pandas'": Series(),
    "Arrow's null": pyarrow.array([0.5, None, 2.0]),
    "pieces of Arrow's": pyarrow.chunked_array([[0.5], [None, 2.0]]),
    "a tensor with a gradient": torch.tensor([0.5, NAN, 2.0], dtype=torch.float64, requires_grad=True) * 1.0,
    "half precision of the brain": torch.tensor([0.5, NAN, 2.0], dtype=torch.bfloat16),
    "a list of tensors": [torch.tensor(0.5), torch.tensor(NAN), torch.tensor(2.0, requires_grad=True)],
    "text": ["0.5", "nan", "2"],
    "decimal numbers": [decimal.Decimal("0.5"), decimal.Decimal("nan"), fractions.Fraction(2)],
    "objects, masked": np.ma.MaskedArray(np.array([0.5, "x", 2.0], dtype=object), mask=[0, 1, 0]),
    "big-endian": PLAIN.astype(">f8"),
    "a tuple": (0.5, NAN, 2),
}


@pytest.mark.parametrize("values", MISSING.values(), ids=MISSING.keys())
def test_what_is_missing_is_nan(values: Any) -> None:
    found = arrays.numbers(values, "scores")
    np.testing.assert_array_equal(found, PLAIN)
    assert found.dtype == np.float64


def test_rows_keep_their_masks() -> None:
    rows = [MASKED, np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[1, 0, 0])]
    np.testing.assert_array_equal(arrays.numbers(rows, "codes"), [[0.5, NAN, 2.0], [NAN, 2.0, 3.0]])


def test_an_array_of_ones_own() -> None:
    given = np.zeros(3)
    arrays.numbers(given, "scores")[0] = 1.0
    assert given[0] == 0.0


REFUSED = {
    "complex numbers": (np.array([1.0, 2j]), "complex"),
    "a complex number in a list": ([1.0, 2j], "complex"),
    "complex tensors": (torch.tensor([1j]), "complex"),
    "dates": (np.array(["2026-01-02"], dtype="M8[D]"), "dates"),
    "durations": (np.array([1], dtype="m8[ms]"), "durations"),
    "records": (np.zeros(2, dtype=[("score", "f8")]), "records"),
    "digits with an underscore": (["1_000"], "1_000"),
    "a decimal comma": (["1,5"], "decimal comma"),
    "a text": ("1.5", "str"),
    "a dictionary": ({"a": 1.0}, "dict"),
    "a set": ({1.0, 2.0}, "set"),
    "unlike rows": ([[1.0], [1.0, 2.0]], "several lengths"),
    "a generator": ((x for x in [1.0]), "generator"),
}


@pytest.mark.parametrize(("values", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_number_is_refused(values: Any, word: str) -> None:
    with pytest.raises(BadInput, match=f"scores are not numbers .*{word}.*NaN stands for missing"):
        arrays.numbers(values, "scores")


# Where arrays come in.


def evolution() -> Evolution:
    return Evolution("pixels", "genetic", generator_options={"size_px": 8}, seed=0, population=3)


@pytest.mark.parametrize("values", MISSING.values(), ids=MISSING.keys())
def test_a_score_that_is_missing_is_not_seen(values: Any) -> None:
    one, other = evolution(), evolution()
    one.tell(one.ask().ids, values)
    other.tell(other.ask().ids, arrays.numbers(values, "scores"))
    np.testing.assert_array_equal(one.ask().codes, other.ask().codes)


def test_a_masked_score_is_not_the_best_of_an_optimizer() -> None:
    codes = []
    for scores in (MASKED, PLAIN):
        optimizer = make("genetic", dim=4, population=3)
        optimizer.ask()
        optimizer.tell(scores)
        codes.append(optimizer.ask())
    np.testing.assert_array_equal(*codes)


def test_masked_initial_codes_are_refused() -> None:
    with pytest.raises(BadInput, match="NaN"):
        make(
            "genetic", dim=3, population=2, initial=np.ma.MaskedArray([[1.0, 2, 3]] * 2, mask=[[0, 1, 0]] * 2)
        )


def test_a_masked_response_is_not_the_best_reference() -> None:
    assert expected_best(MASKED, 5) == 2.0


def test_a_bridge_of_anothers_may_mask_what_is_missing() -> None:
    values = from_bytes(to_bytes(Values(MASKED, baseline=MASKED)))
    assert isinstance(values, Values)
    np.testing.assert_array_equal(values.values, PLAIN)
    np.testing.assert_array_equal(values.baseline, PLAIN)  # type: ignore[arg-type]
    traces = from_bytes(to_bytes(Traces(np.ma.MaskedArray([[1.0, 9.0]], mask=[[0, 1]]), 0.0, 1.0)))
    assert isinstance(traces, Traces)
    np.testing.assert_array_equal(traces.samples, [[1.0, NAN]])
    assert Spikes(torch.tensor([1.5]), np.zeros(1, np.int64), 1, 0.0, 9.0).times_ms.dtype == np.float64


@pytest.mark.parametrize("order", [list, tuple, np.array, iter, lambda ids: dict.fromkeys(ids, 1)])
def test_ids_are_anything_with_an_order(order: Any) -> None:
    one, other = evolution(), evolution()
    one.tell(order(one.ask().ids), PLAIN)
    other.tell(other.ask().ids, PLAIN)
    np.testing.assert_array_equal(one.ask().codes, other.ask().codes)


@pytest.mark.parametrize(
    ("ids", "words"),
    [({"g0000-000"}, "a set, which has no order"), ("g0000-000", "one text"), (3, "ids are a int")],
)
def test_ids_without_an_order_are_refused_with_a_sentence(ids: Any, words: str) -> None:
    one = evolution()
    one.ask()
    with pytest.raises(BadInput, match=words):
        one.tell(ids, [1.0])
