"""A record as its reader in Python has it: with its presentations and images as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xdream import store
from xdream.errors import BadInput
from xdream.experiment import presentation_rows as rows
from xdream.experiment.presentation_rows import PresentationRecord, ShownImage

if TYPE_CHECKING:
    import pandas as pd

#: The columns of the tables in their order, by the type that they have in NumPy and pandas.
PRESENTATION_COLUMNS = {
    "presentation": "int64",
    "run": "Int64",
    "generation": "int64",
    "block": "Int64",
    "place": "Int64",
    "image": "str",
    "reference": "bool",
    "repeat": "int64",
    "channel": "str",
    "response": "float64",
    "noise_free": "float64",
    "score": "float64",
    "status": "str",
    "onset_s": "float64",
    "onset_estimated": "bool",
    "rig_onset_s": "float64",
    "arrived_utc": "str",
    "counts": "bool",
}
IMAGE_COLUMNS = {
    "image": "str",
    "run": "Int64",
    "generation": "Int64",
    "slot": "Int64",
    "reference": "bool",
    "name": "str",
    "score": "float64",
    "noise_free_score": "float64",
    "counts": "bool",
    "sha256": "str",
}


class Record(store.Record):
    """Read-only view of an experiment's folder, with its tables. A context manager. Raises StoreError.

        presentations()   one row per presentation and channel, pandas
        images()          one row per image
        best(run)         the image with the best noise-free score

    Generations count from 1 in these tables.
    """

    def presentations(self, *, spikes: bool = False) -> pd.DataFrame:
        """Every presentation, a row for each channel that was recorded with it.

        Columns: see PRESENTATION_COLUMNS, and `docs/records.md`. spikes: also `spike_times_ms`, an array of
        each row (None where no spike times were recorded). Raises BadInput for a record of scores, which has
        no presentations, and where pandas is missing.
        """
        frames = imported_pandas()
        self._check_everything()
        found = [presentation_frame(self, batch, spikes=spikes) for batch in rows.presentations(self)]
        return (
            frames.concat(found, ignore_index=True) if found else presentation_frame(self, [], spikes=spikes)
        )

    def presentation_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The same as NumPy arrays, by column, without pandas: (rows,) each. None is -1, "" or NaN."""
        self._check_everything()
        columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in PRESENTATION_COLUMNS}
        for batch in chain(rows.presentations(self), [[]]):
            for name, values in presentation_columns(self, batch).items():
                columns[name].append(as_array(values, PRESENTATION_COLUMNS[name]))
        return {name: np.concatenate(parts) for name, parts in columns.items()}

    def images(self, *, codes: bool = False) -> pd.DataFrame:
        """Every image, references first. codes: also `code`, (d,) float32 of each row, None without one.

        Columns: see IMAGE_COLUMNS. The pixels of one that was kept: `kept_image(sha256)`. Raises BadInput
        where pandas is missing.
        """
        frames = imported_pandas()
        found = list(chain.from_iterable(rows.images(self)))
        frame = _frame(frames, image_columns(found), IMAGE_COLUMNS)
        if codes:
            frame["code"] = frames.Series([one.code for one in found], dtype=object)
        return frame

    def best(self, run: int = 0) -> store.ImageRecord | None:
        """The image of a run with the best noise-free score, of generations that count; None before any.

        Its generation counts from 0. Raises BadInput for a run that is not there.
        """
        there = [one.id for one in self.runs()]
        if run not in there:
            raise BadInput(f"{self.folder} has no run {run}; it has 0 to {max(there)}")
        return self.best_image(run)

    def _check_everything(self) -> None:
        if not self.keeps_everything:
            raise BadInput(
                f"{self.folder} is a record of scores, which has no presentations; images() has the scores"
            )


def imported_pandas() -> Any:
    """The module. Raises BadInput where it is missing."""
    try:
        import pandas
    except ImportError:
        raise BadInput("tables need pandas, which is not installed: pip install 'xdream[tables]'") from None
    return pandas


def presentation_columns(record: store.Record, batch: Sequence[PresentationRecord]) -> dict[str, list[Any]]:
    """The columns of a batch: a value for each channel of each presentation."""
    labels = _labels(record)
    found: dict[str, list[Any]] = {name: [] for name in PRESENTATION_COLUMNS}
    for one in batch:
        channels = labels(one)
        for name, value in (
            ("presentation", one.id), ("run", one.run), ("generation", one.generation), ("block", one.block),
            ("place", one.place), ("image", one.image), ("reference", one.reference), ("repeat", one.repeat),
            ("noise_free", one.noise_free), ("score", one.score), ("status", one.status),
            ("onset_s", one.onset_s), ("onset_estimated", one.onset_estimated),
            ("rig_onset_s", one.rig_onset_s), ("arrived_utc", one.arrived_utc), ("counts", one.counts),
        ):  # fmt: skip
            found[name] += [value] * len(channels)
        found["channel"] += channels
        found["response"] += one.responses.tolist()
    return found


def _labels(record: store.Record) -> Any:
    if record.is_session:
        names = rows.channel_names(record)
        return lambda one: names
    units = {run.id: [rows.unit_of(run.target)] for run in record.runs()}
    return lambda one: units[one.run]


def spike_columns(batch: Iterable[PresentationRecord]) -> Iterator[npt.NDArray[np.float64] | None]:
    """Spike times of each row of `presentation_columns`."""
    for one in batch:
        yield from (rows.spike_times(one, channel) for channel in range(len(one.responses)))


def image_columns(batch: Sequence[ShownImage]) -> dict[str, list[Any]]:
    """The columns of a batch of images."""
    return {
        "image": [one.id for one in batch],
        "run": [one.run for one in batch],
        "generation": [one.generation for one in batch],
        "slot": [one.slot for one in batch],
        "reference": [one.reference for one in batch],
        "name": [one.name for one in batch],
        "score": [one.score for one in batch],
        "noise_free_score": [one.noise_free_score for one in batch],
        "counts": [one.counts for one in batch],
        "sha256": [one.pixels for one in batch],
    }


def presentation_frame(record: store.Record, batch: Sequence[PresentationRecord], *, spikes: bool) -> Any:
    """A batch as a DataFrame."""
    frames = imported_pandas()
    frame = _frame(frames, presentation_columns(record, batch), PRESENTATION_COLUMNS)
    if spikes:
        frame["spike_times_ms"] = frames.Series(list(spike_columns(batch)), dtype=object)
    return frame


def _frame(frames: Any, columns: dict[str, list[Any]], types: dict[str, str]) -> Any:
    return frames.DataFrame(
        {name: frames.Series(values, dtype=types[name]) for name, values in columns.items()}
    )


def as_array(values: list[Any], kind: str) -> npt.NDArray[Any]:
    """A column in NumPy: whole numbers that are missing are -1, texts are ""."""
    if kind == "str":
        return np.array(["" if one is None else one for one in values], dtype=object)
    if kind == "Int64":
        return np.array([-1 if one is None else one for one in values], dtype=np.int64)
    return np.array(values, dtype=kind)
