"""Every study by its name. Without PyTorch: names are listed from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdream.errors import BadInput
from xdream.registry import Registry

if TYPE_CHECKING:
    from xdream.studies.base import Study

#: Every study, those of other packages too (entry points of the group `xdream.studies`).
STUDIES: Registry[Study] = Registry("study", plural="studies")
#: The experiments of the paper in its order; other studies come after them.
PAPER = (
    *("overview", "targets", "initialisations", "generators", "optimizers", "hyperparameters"),
    *("random-exploration", "expressiveness"),
)


def names() -> list[str]:
    """All studies: those of the paper in its order, then others in alphabetical order."""
    known = STUDIES.names()
    return [*(name for name in PAPER if name in known), *(name for name in known if name not in PAPER)]


def named(name: str) -> Study:
    """A study by its name. Raises BadInput."""
    study = STUDIES.make(name)
    if study.name != name:
        raise BadInput(f"study '{name}' calls itself '{study.name}'; give its entry point that name")
    return study
