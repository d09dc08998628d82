"""The references of a record with the responses and scores by which they are compared: the noise-free ones of
an experiment, the means so far of a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xdream.experiment import presentation_rows
from xdream.report.summary import reference_scores
from xdream.store import Record

#: Columns by type, as `xdream.experiment.record` has them.
REFERENCE_COLUMNS = {
    "run": "int64",
    "image": "str",
    "name": "str",
    "response": "float64",
    "score": "float64",
}


def reference_columns(record: Record) -> Iterator[dict[str, list[Any]]]:
    """A row for each reference that a run has a response to, run by run; runs without references are left
    out."""
    session = presentation_rows.session_id(record)
    names = [name for name, _ in record.references]
    for run in record.runs():
        rows = record.query(
            "SELECT reference, response FROM reference_response WHERE run = ? ORDER BY reference", run.id
        )
        if rows:
            yield {
                "run": [run.id] * len(rows),
                "image": [presentation_rows.reference_id(session, reference) for reference, _ in rows],
                "name": [names[reference] for reference, _ in rows],
                "response": [np.nan if response is None else response for _, response in rows],
                "score": reference_scores(record, run).tolist(),
            }
