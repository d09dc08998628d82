"""The tables of an NWB file: their columns with descriptions, the first batch, and what is appended later."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from xdream.experiment.plan import generators_of
from xdream.experiment.presentation_rows import PresentationRecord, ShownImage
from xdream.export.nwb_recordings import Survey
from xdream.store import Record

Columns = dict[str, Any]

IMAGES = {
    "image_id": "id of the image, as in trials",
    "run": "run that the image belongs to, from 0; -1: a reference",
    "generation": "generation of the image, from 1; -1: a reference",
    "slot": "place in its generation's population, from 0; -1: a reference",
    "is_reference": "whether it is a natural image shown for comparison",
    "reference_name": "file of a reference",
    "score": "score that the optimizer was told; NaN: none",
    "noise_free_score": "score without noise, of an experiment on a network; as score for a session",
    "counts": "whether the score counts: told, and not of a rejected generation",
    "pixels_sha256": "SHA-256 of the shown 8-bit pixels, (3, height, width)",
    "code": "the generator's code from which the image was made; NaN: not recorded, or a reference",
}
REFERENCES = {
    "run": "run, from 0",
    "image_id": "id of the reference, as in images and trials",
    "reference_name": "file of the reference",
    "response": "response without noise of an experiment on a network; mean response of a session",
    "score": "score by the run's objective, to be compared with those of images",
}
GENERATIONS = {
    "run": "run, from 0",
    "generation": "generation, from 1",
    "images": "images with a score",
    "best_score": "best score of the generation",
    "mean_score": "mean score of the generation",
}
EVENTS = {
    "utc": "time, UTC",
    "kind": "kind of event",
    "generation": "generation, from 1; -1: none",
    "block": "block; -1: none",
    "text": "what happened",
}
RECORD = {"key": "what it is; parts of tables and lists after a point", "value": "as text"}


class Appended:
    """A table that grows: the first batch through the library, the others through h5py.

    where: its group in the file. first: its columns, wrapped so that they can grow.
    """

    def __init__(self, where: str, columns: Columns) -> None:
        from pynwb import H5DataIO

        self.where = where
        self.count = len(next(iter(columns.values()))) if columns else 0
        self.first = {
            name: H5DataIO(data=values, maxshape=(None, *np.shape(values)[1:]), chunks=True)
            for name, values in columns.items()
        }
        self.ids = H5DataIO(data=np.arange(self.count), maxshape=(None,), chunks=True)

    def append(self, file: h5py.File, columns: Columns) -> None:
        """One more batch, in the file that the library has written."""
        group = file[self.where]
        rows = len(next(iter(columns.values())))
        if "id" in group:
            columns = columns | {"id": np.arange(self.count, self.count + rows)}
        for name, values in columns.items():
            data = group[name]
            data.resize(len(data) + rows, axis=0)
            data[len(data) - rows :] = values
        self.count += rows


def vectors(appended: Appended, descriptions: Mapping[str, str]) -> list[Any]:
    """Columns as the library has them."""
    from hdmf.common import VectorData

    return [
        VectorData(name=name, description=descriptions[name], data=data)
        for name, data in appended.first.items()
    ]


def table(name: str, description: str, appended: Appended, descriptions: Mapping[str, str]) -> Any:
    """A table with its first batch."""
    from hdmf.common import DynamicTable

    columns = vectors(appended, descriptions)
    return DynamicTable(name=name, description=description, columns=columns, id=appended.ids)


def trial_descriptions(channels: Sequence[str]) -> dict[str, str]:
    """What the columns of the trials are."""
    names = ", ".join(channels[:20]) + (" …" if len(channels) > 20 else "")
    return {
        "start_time": "onset of the image, seconds on the clock of the file",
        "stop_time": "when the image went, as the plan has it",
        "presentation": "number of the presentation in the record",
        "run": "run whose image it is, from 0; -1: a reference that all runs share",
        "generation": "generation, from 1",
        "block": "block in which it was shown",
        "place": "place in its block, from 0",
        "image_id": "id of the image, as in processing/misc/images",
        "is_reference": "whether it is a natural image shown for comparison",
        "repeat": "repeat of the image in its generation, from 0",
        "response": f"response of each channel ({names}), NaN: missing",
        "response_noise_free": "the same without the simulated noise",
        "score": "score of the image that the optimizer was told, NaN: none",
        "status": "what became of the answer: taken, missing, late, quarantined, unanswered, …",
        "onset_estimated": "whether start_time is estimated from the arrival of the answer",
        "rig_onset_s": "onset as the rig said it, on its own clock",
        "arrived_utc": "when the answer arrived, UTC; empty: none",
        "counts": "whether the optimizer was told it, and its generation and block are valid",
    }


def trial_columns(batch: Sequence[PresentationRecord], record: Record, found: Survey) -> Columns:
    """The trials of a batch, without columns that say nothing of this kind of record."""
    session = record.is_session
    width = len(batch[0].responses) if batch else 1
    columns: Columns = {
        "start_time": np.array([one.onset_s for one in batch]),
        "stop_time": np.array([one.end_s for one in batch]),
        "presentation": _whole([one.id for one in batch]),
        "run": _whole([one.run for one in batch]),
        "generation": _whole([one.generation for one in batch]),
        "image_id": [one.image for one in batch],
        "is_reference": np.array([one.reference for one in batch], dtype=bool),
        "repeat": _whole([one.repeat for one in batch]),
        "response": np.array([one.responses for one in batch]).reshape(-1, width),
        "score": np.array([one.score for one in batch]),
        "status": [one.status for one in batch],
        "onset_estimated": np.array([one.onset_estimated for one in batch], dtype=bool),
        "arrived_utc": [one.arrived_utc or "" for one in batch],
        "counts": np.array([one.counts for one in batch], dtype=bool),
    }
    if not session:
        return columns | {"response_noise_free": np.array([one.noise_free for one in batch])}
    columns |= {"block": _whole([one.block for one in batch]), "place": _whole([one.place for one in batch])}
    if found.onsets:
        columns["rig_onset_s"] = np.array([one.rig_onset_s for one in batch])
    return columns


def image_columns(batch: Sequence[ShownImage], dims: int) -> Columns:
    """Images with their codes, (n, dims)."""
    codes = np.full((len(batch), max(dims, 1)), np.nan, dtype=np.float32)
    for row, one in enumerate(batch):
        if one.code is not None:
            codes[row, : len(one.code)] = one.code
    return {
        "image_id": [one.id for one in batch],
        "run": _whole([one.run for one in batch]),
        "generation": _whole([one.generation for one in batch]),
        "slot": _whole([one.slot for one in batch]),
        "is_reference": np.array([one.reference for one in batch], dtype=bool),
        "reference_name": [one.name or "" for one in batch],
        "score": np.array([one.score for one in batch]),
        "noise_free_score": np.array([one.noise_free_score for one in batch]),
        "counts": np.array([one.counts for one in batch], dtype=bool),
        "pixels_sha256": [one.pixels or "" for one in batch],
        "code": codes,
    }


def reference_table_columns(of_run: Columns) -> Columns:
    """The references of a run."""
    return {
        "run": _whole(of_run["run"]),
        "image_id": of_run["image"],
        "reference_name": of_run["name"],
        "response": np.array(of_run["response"], dtype=np.float64),
        "score": np.array(of_run["score"], dtype=np.float64),
    }


def generation_columns(record: Record) -> Columns:
    """Scores by run and generation."""
    rows = record.query(
        "SELECT run, generation + 1, count(score), max(score), avg(score) FROM image"
        " JOIN told USING (run, generation) WHERE generation NOT IN (SELECT generation FROM void)"
        " GROUP BY run, generation ORDER BY run, generation"
    )
    kinds = {"run": int, "generation": int, "images": int, "best_score": float, "mean_score": float}
    return {
        name: np.array([np.nan if row[i] is None else row[i] for row in rows], dtype=kind)
        for i, (name, kind) in enumerate(kinds.items())
    }


def event_columns(events: Sequence[Mapping[str, Any]]) -> Columns:
    """What happened."""
    return {
        "utc": [str(one["utc"]) for one in events],
        "kind": [str(one["kind"]) for one in events],
        "generation": _whole([one["generation"] for one in events]),
        "block": _whole([one["block"] for one in events]),
        "text": [str(one["text"]) for one in events],
    }


def record_columns(record: Record) -> Columns:
    """Plan, facts, versions and runs as texts: tables and lists with a row for each entry."""
    facts: dict[str, Any] = {key: _read(value) for key, value in record.facts.items()}
    facts |= {"versions": record.versions(), "plan": tomllib.loads(record.facts["plan"])}
    facts["runs"] = [
        {"target": run.target, "seed": run.seed, "generator": {"name": generator.name} | generator.options}
        | {"optimizer": run.optimizer, "objective": run.objective}
        for run, generator in zip(record.runs(), generators_of(record), strict=True)
    ]
    rows = [row for key, value in facts.items() for row in _flat(key, value)]
    return {"key": [key for key, _ in rows], "value": [value for _, value in rows]}


def _read(text: str) -> Any:
    """A fact: JSON where it is a table or a list, else a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for inner, one in entries:
            yield from _flat(f"{key}.{inner}", one)
    else:
        yield key, str(value)


def _whole(values: Sequence[int | None]) -> Any:
    return np.array([-1 if one is None else one for one in values], dtype=np.int64)
