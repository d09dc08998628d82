"""A record as an NWB file (Neurodata Without Borders 2) that DANDI takes.

    stimulus_templates/shown_images   Images, those that were kept; order_of_images
    stimulus/presented_images         IndexSeries: which of them was shown when
    trials                            every presentation, with the responses of all channels
    units                             spike times of each channel, where they were recorded
    acquisition/traces                (presentations, samples, channels), where they were recorded
    processing/misc                 images (codes, scores), generations, events, record (plan, versions, …)

The library writes the first batch of each table and h5py the others, so that memory does not grow with them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xdream.errors import BadInput
from xdream.experiment import presentation_rows
from xdream.experiment.presentation_rows import PresentationRecord
from xdream.experiment.session_plan import AnimalPlan, ElectrodesPlan, NwbPlan
from xdream.export import nwb_tables as tables
from xdream.export.base import (
    Request,
    about,
    images_with_progress,
    new_place,
    presentations_with_progress,
)
from xdream.export.nwb_recordings import Survey, Units, add_recordings, survey
from xdream.images.files import pixels_of

#: The file begins so long before the experiment: what was recorded before the first image has times above 0.
LEAD_S = 1.0
#: What DANDI requires of a subject, by the key of the plan.
REQUIRED = {
    "session.animal.id": "the animal's id",
    "session.animal.species": "its species in Latin",
    "session.animal.sex": "M, F, U or O",
    "session.animal.age": "as P7Y or P90D",
}
#: What it recommends.
RECOMMENDED = ("session.nwb.experimenter", "session.nwb.institution", "session.nwb.description")
#: More images than this are left to `--to images`: each is an object of its own.
MOST_IMAGES = 20_000


def missing_for_dandi(plan: Any) -> tuple[list[str], list[str]]:
    """Keys of a session's plan that DANDI requires and recommends, and that are not there."""
    animal = plan.session.animal or AnimalPlan()
    nwb = plan.session.nwb or NwbPlan()
    required = [key for key in REQUIRED if getattr(animal, key.rpartition(".")[2]) is None]
    return required, [key for key in RECOMMENDED if not getattr(nwb, key.rpartition(".")[2])]


def export_nwb(request: Request) -> None:
    """One .nwb file. Raises BadInput where the plan lacks what DANDI requires, and without pynwb."""
    if request.record.is_session:
        required, recommended = missing_for_dandi(request.plan)
        if required:
            wanted = "; ".join(f"{key} ({REQUIRED[key]})" for key in required)
            raise BadInput(f"DANDI requires of a session: {wanted}. Give each with --set KEY=VALUE")
        if recommended:
            request.notes.append(f"DANDI recommends: {', '.join(recommended)} (--set KEY=VALUE)")
    try:
        import pynwb
    except ImportError:
        raise BadInput("NWB files need pynwb: pip install 'xdream[nwb]'") from None
    if not request.record.keeps_everything:
        raise BadInput(f"{request.record.folder} is a record of scores, which has no presentations to export")
    with new_place(request.out) as path:
        _Writer(request, pynwb).write(path)


class _Writer:
    def __init__(self, request: Request, pynwb: Any) -> None:
        self._request, self._record, self._plan, self._nwb = request, request.record, request.plan, pynwb
        self._channels = presentation_rows.channel_names(request.record)
        self._appended: list[tables.Appended] = []

    def write(self, path: Path) -> None:
        """The whole file."""
        found = survey(self._record)
        file = self._file()
        pictures = self._pictures(file)
        presentations = _later(presentations_with_progress(self._request))
        units = Units(len(self._channels))
        traces = add_recordings(self._nwb, file, found, self._electrodes(file), self._plan)
        first = next(presentations, [])
        trials = tables.Appended("intervals/trials", self._trials(first, found))
        shown = tables.Appended("stimulus/presentation/presented_images", _shown(first, pictures))
        if first:
            self._add_trials(file, trials)
        if pictures:
            self._add_shown(file, shown)
        self._add_tables(file)
        units.add(first)
        if traces is not None:
            traces.first(first)
        rest: list[PresentationRecord] = []
        if found.spikes:  # all of them, since the library writes units as a whole
            rest = [one for batch in presentations for one in batch]
            units.add(rest)
            units.write(file, self._channel_labels())
            presentations = iter([rest] if rest else [])
        with self._nwb.NWBHDF5IO(str(path), "w") as io:
            io.write(file)
        with h5py.File(path, "a") as h5:
            for batch in presentations:
                trials.append(h5, self._trials(batch, found))
                if pictures:
                    shown.append(h5, _shown(batch, pictures))
                if traces is not None:
                    traces.append(h5, batch)
            for appended, columns in self._rest:
                for more in columns:
                    appended.append(h5, more)

    # ------------------------------------------------------------------ what stands at the top

    def _file(self) -> Any:
        plan, record = self._plan, self._record
        about_it = plan.session.nwb if plan.session is not None and plan.session.nwb else NwbPlan()
        kind = "closed-loop session with a rig" if record.is_session else "experiment on a network"
        targets = ", ".join(dict.fromkeys(run.target for run in record.runs()))
        described = f"{plan.name}: {kind}; images that drive {targets[:200]} were evolved with XDream"
        optional = {
            "experimenter": about_it.experimenter or None,
            "institution": about_it.institution,
            "lab": about_it.lab,
            "protocol": about_it.protocol,
            "related_publications": about_it.related_publications or None,
        }
        file = self._nwb.NWBFile(
            session_description=about_it.description or described,
            identifier=str(uuid.uuid4()),
            session_start_time=presentation_rows.start_utc(record) - timedelta(seconds=LEAD_S),
            session_id=presentation_rows.session_id(record) or plan.name,
            experiment_description=about_it.experiment or described,
            keywords=about_it.keywords or ("closed loop", "stimulus optimization", "XDream"),
            notes="\n".join(json.loads(record.facts["notes"])) or None,
            source_script=record.facts["plan"],
            source_script_file_name="plan.toml",
            **{key: value for key, value in optional.items() if value is not None},
        )
        if record.is_session:
            file.subject = self._subject((plan.session and plan.session.animal) or AnimalPlan())
        return file

    def _subject(self, animal: AnimalPlan) -> Any:
        described = animal.description or f"{animal.species}, sex {animal.sex}, age {animal.age}"
        more = {"strain": animal.strain, "weight": animal.weight, "description": described}
        return self._nwb.file.Subject(
            subject_id=animal.id,
            species=animal.species,
            sex=animal.sex,
            age=animal.age,
            **{key: value for key, value in more.items() if value is not None},
        )

    def _channel_labels(self) -> list[str]:
        session = self._plan.session
        labels = () if session is None or session.electrodes is None else session.electrodes.labels
        return list(labels or self._channels)

    def _electrodes(self, file: Any) -> Any:
        """The table of electrodes, a row for each channel, as a region; None for an experiment."""
        if not self._record.is_session:
            return None
        session = self._plan.session
        plan = (session and session.electrodes) or ElectrodesPlan()
        made = ", ".join(text for text in (plan.device, plan.manufacturer, plan.description) if text)
        device = file.create_device(name="recording_array", description=made or "electrodes of the rig")
        areas = [area or "unknown" for area in plan.areas_of(len(self._channels))]
        groups = {
            area: file.create_electrode_group(
                name=f"electrodes_{number}", description=f"channels in {area}", location=area, device=device
            )
            for number, area in enumerate(dict.fromkeys(areas))
        }
        file.add_electrode_column("label", "name of the channel, as the rig's recordings have it")
        for row, (label, area) in enumerate(zip(self._channel_labels(), areas, strict=True)):
            at = dict(zip("xyz", plan.coordinates_um[row], strict=True)) if plan.coordinates_um else {}
            file.add_electrode(location=area, group=groups[area], label=label, **at)
        return file.create_electrode_table_region(list(range(len(areas))), "every channel of the session")

    # ------------------------------------------------------------------ images and when they were shown

    def _pictures(self, file: Any) -> dict[str, int]:
        """The images that were kept; where each stands in their order."""
        kept = [
            image
            for batch in presentation_rows.images(self._record)
            for image in batch
            if self._record.kept_image(image.pixels) is not None
        ]
        if len(kept) > MOST_IMAGES:
            self._request.notes.append(f"{len(kept):,} images are left out: xdream export --to images")
            return {}
        if not kept:
            self._request.notes.append("no images were kept: the file has none; xdream export --to images")
            return {}
        made: list[Any] = []
        first_of: dict[str | None, int] = {}
        place: dict[str, int] = {}
        for image in kept:
            if image.pixels in first_of:  # the same pixels once more
                place[image.id] = first_of[image.pixels]
                continue
            data = self._record.kept_image(image.pixels)
            assert data is not None
            kind = f"reference photograph {image.name}" if image.reference else f"evolved image {image.id}"
            picture = self._nwb.image.RGBImage(name=image.id, data=pixels_of(data), description=kind)
            made.append(picture)
            place[image.id] = first_of[image.pixels] = len(made) - 1
        order = self._nwb.base.ImageReferences(name="order_of_images", data=made)
        self._images = self._nwb.base.Images(
            name="shown_images",
            images=made,
            description="images as they were shown, 8 bits, RGB",
            order_of_images=order,
        )
        file.add_stimulus_template(self._images)
        return place

    def _add_shown(self, file: Any, shown: tables.Appended) -> None:
        series = self._nwb.image.IndexSeries(
            name="presented_images",
            data=shown.first["data"],
            timestamps=shown.first["timestamps"],
            indexed_timeseries=None,
            indexed_images=self._images,
            unit="N/A",
            description="which of shown_images appeared when; presentations whose image was not kept are "
            "left out (all are in trials)",
            comments="onsets as estimated from arrivals where trials.onset_estimated is true",
        )
        file.add_stimulus(series)

    # ------------------------------------------------------------------ tables

    def _trials(self, batch: Iterable[PresentationRecord], found: Survey) -> dict[str, Any]:
        return tables.trial_columns(list(batch), self._record, found)

    def _add_trials(self, file: Any, trials: tables.Appended) -> None:
        core = self._nwb.epoch.TimeIntervals(
            name="trials",
            description="every presentation of an image; generations count from 1",
            columns=tables.vectors(trials, tables.trial_descriptions(self._channels)),
            id=trials.ids,
        )
        file.trials = core

    def _add_tables(self, file: Any) -> None:
        module = file.create_processing_module("misc", "XDream: codes, scores, events, plan")
        dims = self._dims()
        batches = (tables.image_columns(batch, dims) for batch in images_with_progress(self._request))
        self._rest: list[tuple[tables.Appended, Iterator[dict[str, Any]]]] = []
        for first in itertools.islice(batches, 1):  # none of a session that showed nothing
            images = tables.Appended("processing/misc/images", first)
            self._rest.append((images, batches))
            module.add(tables.table("images", "codes and scores of every image", images, tables.IMAGES))
        generations = tables.Appended("processing/misc/generations", tables.generation_columns(self._record))
        if generations.count:
            text = "scores of each generation of each run, of those that count"
            module.add(tables.table("generations", text, generations, tables.GENERATIONS))
        events = tables.Appended(
            "processing/misc/events", tables.event_columns(about(self._record)["events"])
        )
        if events.count:
            module.add(tables.table("events", "what happened in the session", events, tables.EVENTS))
        record = tables.Appended("processing/misc/record", tables.record_columns(self._record))
        text = "what explains the record: plan, versions, seeds, notes, facts"
        module.add(tables.table("record", text, record, tables.RECORD))

    def _dims(self) -> int:
        [(dims,)] = self._record.query("SELECT coalesce(max(length(code)) / 4, 0) FROM image")
        return int(dims)


def _later(batches: Iterable[Sequence[PresentationRecord]]) -> Iterator[list[PresentationRecord]]:
    """The same on the clock of the file."""
    for batch in batches:
        yield [
            dataclasses.replace(one, onset_s=one.onset_s + LEAD_S, end_s=one.end_s + LEAD_S) for one in batch
        ]


def _shown(batch: Iterable[PresentationRecord], place: dict[str, int]) -> dict[str, Any]:
    """IndexSeries of those whose image is in the file."""
    rows = [(place[one.image], one.onset_s) for one in batch if one.image in place]
    return {
        "data": np.array([row[0] for row in rows], dtype=np.uint32),
        "timestamps": np.array([row[1] for row in rows], dtype=np.float64),
    }
