"""One function for every format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xdream.errors import BadInput
from xdream.experiment.plan import Plan, plan_of
from xdream.export.base import Progress, Request
from xdream.store import Record

FORMATS = ("csv", "parquet", "mat", "nwb", "images")


def export(
    folder: str | Path,
    to: str,
    out: str | Path,
    *,
    spikes: bool = False,
    changes: Mapping[str, Any] | None = None,
    progress: Progress = lambda name, done, total: None,
) -> list[str]:
    """Write a record, finished or not, in the format of another program; what the user should know of it.

    to: one of FORMATS. out: a folder (csv, parquet, images) or a file (mat, nwb), which must be new. spikes:
    spike times into the tables. changes: tables of the plan's [session], over those that the record has
    (animal, nwb, electrodes). Raises BadInput, StoreError.
    """
    if to not in FORMATS:
        raise BadInput(f"format '{to}' is not known; choose {', '.join(FORMATS)}")
    with Record(folder) as opened, opened.snapshot() as record:
        plan = _changed(plan_of(record), changes or {}, record)
        request = Request(record, plan, Path(out), spikes, progress, [])
        if to in ("csv", "parquet"):
            from xdream.export.tables import export_tables

            export_tables(request, to)
        elif to == "mat":
            from xdream.export.matlab import export_mat

            export_mat(request)
        elif to == "nwb":
            from xdream.export.nwb import export_nwb

            export_nwb(request)
        else:
            from xdream.export.pictures import export_images

            export_images(request)
        return request.notes


def _changed(plan: Plan, changes: Mapping[str, Any], record: Record) -> Plan:
    """The plan with what is said of animal, electrodes and session now."""
    if not changes:
        return plan
    if not record.is_session:
        raise BadInput(
            f"no session here: {record.folder} is an experiment on a network, without animal and electrodes; "
            "leave out --set"
        )
    if set(changes) - {"session"}:
        raise BadInput(
            "only session.animal, session.nwb and session.electrodes of a session can be given here"
        )
    values = plan.model_dump()
    for key, table in changes["session"].items():
        if key not in ("animal", "nwb", "electrodes") or not isinstance(table, Mapping):
            raise BadInput(f"session.{key} cannot be given here; session.animal, .nwb and .electrodes can")
        values["session"][key] = (values["session"][key] or {}) | dict(table)
    return Plan.make(**values)
