"""A record as a MATLAB v5 file that needs no toolbox: structs of numeric arrays, and lists of names.

    xdream.presentations   (presentations, 1) columns; response (presentations, channels)
    xdream.images          (images, 1) columns; code (images, d)
    xdream.references      (runs x references, 1) columns
    xdream.runs, xdream.channels, xdream.plan, xdream.events

Images are numbered from 1 in `presentations.image`: rows of `images`. The file is made in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xdream.errors import BadInput
from xdream.experiment import presentation_rows
from xdream.experiment.plan import generators_of
from xdream.experiment.presentation_rows import PresentationRecord, ShownImage, spike_times
from xdream.experiment.record import as_array
from xdream.export.base import Request, about, images_with_progress, new_place, presentations_with_progress
from xdream.export.reference_rows import REFERENCE_COLUMNS, reference_columns

#: Bytes of one variable: the format has no more.
MOST_BYTES = 2**31 - 1


def export_mat(request: Request) -> None:
    """One .mat file. Raises BadInput for a record that is too large for the format, and without SciPy."""
    try:
        from scipy.io import savemat
    except ImportError:
        raise BadInput("MATLAB files need SciPy: pip install 'xdream[tables]'") from None
    record = request.record
    _check_size(request)
    images = [one for batch in images_with_progress(request) for one in batch]
    numbers = {one.id: row + 1 for row, one in enumerate(images)}
    found: dict[str, Any] = {
        "images": _images(images),
        "channels": _cell(presentation_rows.channel_names(record)),
        "runs": _runs(request),
        "plan": record.facts["plan"],
        "events": _events(request),
    }
    if record.references:
        found["references"] = _references(request, numbers)
    if record.keeps_everything:
        found["presentations"] = _presentations(request, numbers)
    else:
        request.notes.append("a record of scores has no presentations: only the images are written")
    with new_place(request.out) as path, path.open("wb") as file:
        savemat(file, {"xdream": found}, do_compression=False, long_field_names=True, oned_as="column")


def _check_size(request: Request) -> None:
    record = request.record
    dims = next(
        (len(one.code) for b in presentation_rows.images(record) for one in b if one.code is not None), 0
    )
    channels = len(presentation_rows.channel_names(record))
    size = presentation_rows.presentation_count(record) * (channels + 15) * 8
    size += presentation_rows.image_count(record) * (dims * 4 + 200)
    if size > MOST_BYTES:
        raise BadInput(
            f"a MATLAB v5 file holds 2 GB, and this record takes about {size / 1e9:.1f} GB; "
            "export it to parquet, which MATLAB reads with parquetread"
        )


def _presentations(request: Request, numbers: dict[str, int]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {}
    responses: list[npt.NDArray[np.float64]] = []
    spikes: list[Any] = []
    for batch in presentations_with_progress(request):
        for name, values in _columns(batch, numbers).items():
            columns.setdefault(name, []).append(values)
        responses.append(np.stack([one.responses for one in batch]))
        if request.spikes:
            spikes += [[spike_times(one, c) for c in range(len(one.responses))] for one in batch]
    found: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    found["response"] = np.concatenate(responses) if responses else np.empty((0, 0))
    found["statuses"] = _cell(_STATUSES)
    if request.spikes:
        cells = np.empty(found["response"].shape, dtype=object)
        for row, of_row in enumerate(spikes):
            for channel, times in enumerate(of_row):
                cells[row, channel] = np.empty(0) if times is None else times
        found["spike_times_ms"] = cells
    return found


#: `presentations.status` is a number from 1: its place here.
_STATUSES = (*presentation_rows.STATUSES, "unanswered", "unknown")


def _columns(batch: Any, numbers: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    every: list[PresentationRecord] = list(batch)
    return {
        "run": _whole([one.run for one in every]),
        "generation": _whole([one.generation for one in every]),
        "block": _whole([one.block for one in every]),
        "place": _whole([one.place for one in every]),
        "image": _whole([numbers[one.image] for one in every]),
        "reference": np.array([one.reference for one in every]),
        "repeat": _whole([one.repeat for one in every]),
        "noise_free": np.array([one.noise_free for one in every]),
        "score": np.array([one.score for one in every]),
        "status": _whole(
            [_STATUSES.index(one.status if one.status in _STATUSES else "unknown") + 1 for one in every]
        ),
        "onset_s": np.array([one.onset_s for one in every]),
        "onset_estimated": np.array([one.onset_estimated for one in every]),
        "rig_onset_s": np.array([one.rig_onset_s for one in every]),
        "counts": np.array([one.counts for one in every]),
    }


def _whole(values: list[int | None]) -> npt.NDArray[np.float64]:
    """Whole numbers as doubles, as MATLAB has them; NaN where there is none."""
    return np.array([np.nan if one is None else one for one in values], dtype=np.float64)


def _images(images: list[ShownImage]) -> dict[str, Any]:
    dims = max((len(one.code) for one in images if one.code is not None), default=0)
    codes = np.full((len(images), dims), np.nan, dtype=np.float32)
    for row, one in enumerate(images):
        if one.code is not None:
            codes[row, : len(one.code)] = one.code
    return {
        "id": _cell([one.id for one in images]),
        "name": _cell([one.name or "" for one in images]),
        "sha256": _cell([one.pixels or "" for one in images]),
        "run": _whole([one.run for one in images]),
        "generation": _whole([one.generation for one in images]),
        "slot": _whole([one.slot for one in images]),
        "reference": np.array([one.reference for one in images]),
        "score": np.array([one.score for one in images]),
        "noise_free_score": np.array([one.noise_free_score for one in images]),
        "counts": np.array([one.counts for one in images]),
        "code": codes,
    }


def _references(request: Request, numbers: dict[str, int]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {name: [] for name in REFERENCE_COLUMNS}
    for of_run in reference_columns(request.record):
        for name, values in of_run.items():
            columns[name] += values
    return {
        "run": _whole(columns["run"]),
        "image": _whole([numbers[image] for image in columns["image"]]),
        "name": _cell(columns["name"]),
        "response": np.array(columns["response"]),
        "score": np.array(columns["score"]),
    }


def _runs(request: Request) -> dict[str, Any]:
    runs = request.record.runs()
    return {
        "run": _whole([run.id for run in runs]),
        "target": _cell([run.target for run in runs]),
        "seed": _cell([str(run.seed) for run in runs]),  # beyond 2^53 no double has it
        "generator": _cell([one.name for one in generators_of(request.record)]),
        "optimizer": _cell([run.optimizer["name"] for run in runs]),
    }


def _events(request: Request) -> dict[str, Any]:
    events = about(request.record)["events"]
    return {key: _cell([str(one[key] or "") for one in events]) for key in ("utc", "kind", "text")}


def _cell(texts: Any) -> npt.NDArray[Any]:
    """A column of a cell array of texts."""
    return as_array(list(texts), "str").reshape(-1, 1)
