"""A session keeps every image that it showed, references too, unless the plan wants fewer."""

import hashlib
from pathlib import Path

import pytest
from session_rig import Rig, served, session_plan

from xdream.images.files import decoded
from xdream.store import Record


def kept(record: Record) -> dict[str, bytes]:
    return dict(record.query("SELECT pixels, png FROM kept_image"))


def test_every_shown_image_is_kept_with_the_references(tmp_path: Path, photographs: Path) -> None:
    plan = session_plan(references=str(photographs), references_per_generation=2)
    with served(plan, tmp_path / "x", Rig()) as record:
        found = kept(record)
        assert set(found) == {sha for (sha,) in record.query("SELECT pixels FROM planned")}
        assert record.query("SELECT 1 FROM planned WHERE reference IS NOT NULL")
        for sha, png in found.items():
            assert hashlib.sha256(decoded(png).numpy().tobytes()).hexdigest() == sha


@pytest.mark.parametrize("which", ["best", "none"])
def test_fewer_are_kept_where_the_plan_says_so(tmp_path: Path, which: str) -> None:
    with served(session_plan(keep_images=which), tmp_path / "x", Rig()) as record:
        generations = len(record.scores(0))
        best = {record.best_image(run, g).pixels for run in (0, 1) for g in range(generations)}  # type: ignore[union-attr]
        assert set(kept(record)) == (best if which == "best" else set())
