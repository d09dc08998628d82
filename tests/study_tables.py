"""Tables of studies made by hand, and a study that is small enough for a test."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xdream import studies
from xdream.studies import Study, StudyPlan, Table
from xdream.studies.table import TableRow

NETWORK = "python:tiny_encoder:network"
DEPTHS = ("early", "middle", "late", "output")


def table(
    study: str,
    values: Mapping[tuple[str, str], Iterable[float]],
    measure: str = "relative activation",
    network: str = "caffenet",
    natural: int = 5000,
    presentations: int = 2000,
    **columns: Any,
) -> Table:
    """From (condition, depth) -> the values of the units, in order."""
    rows = [TableRow(study, network, "early", measure="natural images", value=float(natural))]
    rows.append(TableRow(study, network, "early", measure="presentations", value=float(presentations)))
    for (condition, depth), of_units in values.items():
        rows += [
            TableRow(
                study, network, depth, depth, str(unit), condition=condition, measure=measure, value=value
            )
            for unit, value in enumerate(of_units)
        ]
    return Table(rows)


def around(value: float, n: int = 8, spread: float = 0.02) -> list[float]:
    """So many units, close to a value."""
    return [value + spread * (i - (n - 1) / 2) / n for i in range(n)]


def photographs(folder: Path, count: int = 12, size_px: int = 16, categories: int = 3) -> Path:
    """A folder of small random images, CATEGORY_NUMBER.png."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    for number in range(count):
        low = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(low).resize((size_px, size_px), Image.Resampling.BICUBIC)
        image.save(folder / f"n{number % categories}_{number}.png")
    return folder


def tiny_plan(study: str, tmp_path: Path, **changes: Any) -> StudyPlan:
    """With a network and a generator that take no time."""
    values: dict[str, Any] = {
        "study": study,
        "networks": [NETWORK],
        "layers": ["early=conv1", "output=conv3"],
        "units": 2,
        "seeds": 2,
        "presentations": 60,
        "generators": [{"name": "pixels", "size_px": 8}],
        "references": str(photographs(tmp_path / "photographs")),
    }
    return StudyPlan.make(**values | changes)


def run(study: Study, tmp_path: Path, **changes: Any) -> Table:
    """The whole study, in the folder `study`."""
    return studies.run(tiny_plan(study.name, tmp_path, **changes), tmp_path / "study")


def verdicts(study: Study, found: Table) -> list[tuple[str, str]]:
    """(verdict, why) of each finding, in order."""
    return [(one.verdict, one.why) for one in study.findings(found)]
