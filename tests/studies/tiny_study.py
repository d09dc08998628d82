"""A study of a network, a generator and natural images that are all tiny."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from xdream.studies import Study, StudyPlan, begin, gathered, run_shard
from xdream.studies.base import UnitGroup
from xdream.studies.claims import Finding
from xdream.studies.table import Table

MODULE = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2)
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(216, 8))
"""


def images(folder: Path, names: list[str]) -> Path:
    """Noise of unlike brightness."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        low = int(rng.integers(0, 150))
        Image.fromarray(rng.integers(low, low + 100, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    return folder


def table_of(
    study: Study, references: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **values: Any
) -> Table:
    """Every shard of a study, run."""
    module = f"own_{folder.name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    asked = {
        "networks": [f"python:{module}:net"],
        "layers": ["late=2", "output=4"],
        "generators": [{"name": "pixels", "size_px": 16}],
        "references": str(references),
        "threads": 1,
    }
    plan = begin(study, StudyPlan.make(study=study.name, **asked | values), folder / "study")
    for shard in plan.shards():
        run_shard(study, folder / "study", shard.number)
    return gathered([folder / "study"])


def verdicts(findings: list[Finding], network: str) -> list[str]:
    """Of one network, in order."""
    return [one.verdict for one in findings if one.network == network]


def group(study: Study, table: Table, **wanted: str) -> UnitGroup:
    """The only one with these attributes."""
    [found] = [
        one for one in study.groups(table) if all(getattr(one, key) == value for key, value in wanted.items())
    ]
    return found


def drawn(study: Study, table: Table) -> Figure:
    """The figure as an object."""
    figure = Figure(layout="constrained")
    study.draw(figure, table)
    figure.draw_without_rendering()
    return figure
