"""Writes the records of the schema that the installed release has, to be run before the schema changes.

Schema 3: git f68efc2, whose modules had other names. Schema 4: git c1444b5.

python make_records.py FOLDER: an experiment, a record of scores and a session, each interrupted in the
middle, and beside each what the same release makes of it when it goes on: `expected.json`, `expected.npz`.
"""

import contextlib
import functools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import xdream
from xdream.store import Record

try:
    from xdream.experiment.callbacks import NoCallback
    from xdream.experiment.plan import Plan
    from xdream.laboratory.rigs import Answer, AnswerRow, Direct
    from xdream.laboratory.session import resume, serve
    from xdream.scoring.recordings import Values
except ImportError:  # schema 3
    from xdream.plan import Plan
    from xdream.recorded import Values
    from xdream.rigs import Answer, Direct
    from xdream.rigs import Row as AnswerRow
    from xdream.session import resume, serve
    from xdream.watcher import Nobody as NoCallback

sys.path.insert(0, str(Path(__file__).parent))
import old_rig

from results import exact, numbers

ALIKE = {"generator": {"name": "pixels", "size_px": old_rig.SIZE_PX}, "threads": 1, "batch": 5}
EXPERIMENT = {
    "name": "old",
    "targets": ["python:old_rig:network::0-1"],
    "preprocessing": {"python:old_rig:network": {"scale": 1.0}},
    "optimizer": {"name": "genetic", "population": 4},
    "presentations": 48,
    "noise_scale": 0.01,
    "repeats": 2,
    "variants": [{}, {"optimizer": {"name": "nes", "population": 4}}, {"plateau": 1}],
}
SESSION = {
    "name": "old-session",
    "targets": ["rig::0-1", "rig:both:all"],
    "optimizer": {"name": "genetic", "population": 6},
    "presentations": 48,
    "repeats": 2,
    "rig": "direct",
    "session": {"channels": 3, "block_size": 20},
}


class Stop(Exception):
    """Ends the process in the middle."""


class StopAt(NoCallback):
    """Stops before a generation."""

    def stage(self, name: str, done: int, total: int) -> None:
        if name == "generations" and done == 2:
            raise Stop


def interrupted(plan: Plan, folder: Path) -> None:
    try:
        xdream.run(plan, folder, StopAt())
    except Stop:
        return
    raise AssertionError("it was not interrupted")


def bridge() -> Direct:
    return Direct(functools.partial(old_rig.answers, answer=Answer, row=AnswerRow, values=Values))


def main(out: Path) -> None:
    for name, more in (("experiment", {}), ("scores", {"record": "scores", "init": "default"})):
        folder = out / name
        interrupted(Plan.make(**{**EXPERIMENT, **ALIKE, **more}), folder)
        keep(folder, lambda copy: xdream.resume(copy))
    folder, blocks = out / "session", iter(range(12))
    with contextlib.suppress(KeyboardInterrupt):
        serve(
            Plan.make(**SESSION, **ALIKE),
            folder,
            bridge=bridge(),
            identity="5e5510",
            stop=lambda: next(blocks, None) is None,
        )
    keep(folder, lambda copy: resume(copy, bridge=bridge()))


def keep(folder: Path, go_on: Callable[[Path], Record]) -> None:
    """Goes on with a copy, and notes what came of it."""
    (folder / "writer.lock").unlink(missing_ok=True)
    copy = folder.parent / f"{folder.name}-copy"
    shutil.copytree(folder, copy)
    before = Record(folder)
    told = [len(before.scores(run.id)) for run in before.runs()]
    before.close()
    record = go_on(copy)
    after = [len(record.scores(run.id)) for run in record.runs()]
    assert told != after, (told, after)
    print(folder.name, told, after, record.finished)
    (folder / "expected.json").write_text(json.dumps(exact(record.dump()), indent=1) + "\n")
    np.savez_compressed(folder / "expected.npz", **numbers(record.dump()))
    record.close()
    shutil.rmtree(copy)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
