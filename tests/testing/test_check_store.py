"""The check of stores passes ours, and finds each guarantee that one breaks."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest

from xdream.store import Record, Store, ToldRow
from xdream.testing import check_store


def test_our_store_passes(tmp_path: Path) -> None:
    check_store(tmp_path)


class ZeroForMissing(Store):
    def write_told(self, generation: int, rows: Iterable[ToldRow]) -> None:
        zeros = [
            dataclasses.replace(row, scores=[0.0 if math.isnan(score) else score for score in row.scores])
            for row in rows
        ]
        super().write_told(generation, zeros)


class NoTransactions(Store):
    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        yield self._connection


class TellsTwice(Store):
    def write_told(self, generation: int, rows: Iterable[ToldRow]) -> None:
        some = list(rows)
        with self.transaction() as connection:
            for row in some:
                connection.execute("DELETE FROM told WHERE run = ? AND generation = ?", (row.run, generation))
        super().write_told(generation, some)


class ForgetsStates(Store):
    def write_start(self, spikes: Mapping[int, float], states: Mapping[int, bytes]) -> None:
        super().write_start(spikes, {})


class SumsGenerations(Record):
    def presentation_count(self, run: int) -> int:
        return 2 * super().presentation_count(run)


@pytest.mark.parametrize(
    ("store", "record", "sentence"),
    [
        (ZeroForMissing, Record, "a missing one is NaN"),
        (NoTransactions, Record, "half a transaction"),
        (TellsTwice, Record, "told twice"),
        (ForgetsStates, Record, "has not started"),
        (Store, SumsGenerations, "presentations are counted as 4"),
    ],
)
def test_a_broken_guarantee_is_named(tmp_path: Path, store: Any, record: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_store(tmp_path, store, record)
