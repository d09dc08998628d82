"""The files by which the folders of studies and tunings are known, and how tables end. Without PyTorch."""

from __future__ import annotations

from pathlib import Path

STUDY, TUNING = "study.toml", "tuning.toml"
TABLE_SUFFIXES = (".csv", ".parquet")


def is_study(place: Path) -> bool:
    """Whether that is a study's folder or a table of studies."""
    return (place / STUDY).exists() or (place.suffix.lower() in TABLE_SUFFIXES and not place.is_dir())
