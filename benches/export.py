"""Exports: seconds and the most memory for each format, of a session of N presentations with spikes.

python benches/export.py [--presentations 20000] [--formats csv,parquet,mat,nwb] [--folder FOLDER]

One generation of a session is served and then written again and again into its record, so that a million
presentations take a minute to make and not a day. Each format is exported by a process of its own, whose most
memory (resident) is what is printed; `--presentations 1000000` is the claim of the documentation.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
import numpy as np

from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.laboratory.session import serve
from xdream.scoring.recordings import Spikes
from xdream.store import FILE_NAME

FORMATS = ("csv", "parquet", "mat", "nwb")
CHANNELS, POPULATION, REPEATS, SPIKES = 4, 20, 5, 3
#: Seconds from one image to the next.
TRIAL_S = 0.25


def plan() -> Plan:
    return Plan.make(
        targets=["rig::0"],
        generator={"name": "pixels", "size_px": 16},
        optimizer={"name": "genetic", "population": POPULATION},
        presentations=POPULATION * REPEATS,
        repeats=REPEATS,
        rig="direct",
        session={
            "channels": CHANNELS,
            "animal": {"id": "m1", "species": "Macaca mulatta", "sex": "M", "age": "P7Y"},
        },
        threads=1,
    )


def answered(block: Block) -> Sequence[Answer]:
    rng = np.random.default_rng(block.number)
    channels = np.repeat(np.arange(CHANNELS), SPIKES)
    rows = [
        AnswerRow(
            one.image,
            one.repeat,
            Spikes(rng.uniform(0, 200, len(channels)), channels, CHANNELS, 0.0, 200.0),
            TRIAL_S * (one.code - 1),
        )
        for one in block.presentations
    ]
    return [Answer(tuple(rows), block=block.number)]


def make(folder: Path, presentations: int) -> int:
    """A record of about so many presentations; how many it has."""
    serve(plan(), folder, bridge=Direct(answered), identity="5e5510").close()
    with contextlib.closing(apsw.Connection(str(folder / FILE_NAME))) as connection:
        connection.pragma("synchronous", "off")
        each = POPULATION * REPEATS
        [(blocks,)] = connection.execute("SELECT count(*) FROM block").fetchall()
        with connection:
            for g in range(1, max(1, presentations // each)):
                for sql in COPIES:
                    connection.execute(
                        sql,
                        {
                            "g": g,
                            "b": g * blocks,
                            "p": g * each,
                            "i": g * POPULATION,
                            "n": blocks,
                            "t": g * each * TRIAL_S,
                        },
                    )
        [(count,)] = connection.execute("SELECT count(*) FROM planned").fetchall()
    return int(count)


#: What the first generation has, as generation :g.
COPIES = (
    "INSERT INTO kept_image SELECT pixels || :g, png FROM image JOIN kept_image USING (pixels)"
    " WHERE id <= 20 AND :i < 20000 - 20",
    "INSERT INTO image SELECT id + :i, run, :g, slot, chunk, code, pixels || :g, score, noise_free_score"
    " FROM image WHERE id <= 20",
    "INSERT INTO told SELECT run, :g, told_utc FROM told WHERE run = 0 AND generation = 0",
    "INSERT INTO block SELECT id + :b, :g,"
    " strftime('%Y-%m-%dT%H:%M:%f000+00:00', planned_utc, :t || ' seconds'),"
    " fence, holder, closed_utc, ending, reason FROM block WHERE id <= :n",
    "INSERT INTO planned SELECT id + :p, block + :b, place, image + :i, NULL, repeat,"
    " printf('5e5510-g%04d%s', :g, substr(name, 13)), pixels FROM planned WHERE id <= 100",
    "INSERT INTO recording (block, planned, status, name, repeat, raw, source, arrived_utc,"
    " arrived_monotonic_s, onset_s) SELECT block + :b, planned + :p, status, name, repeat, raw, source,"
    " strftime('%Y-%m-%dT%H:%M:%f000+00:00', arrived_utc, (:t + 25) || ' seconds'), arrived_monotonic_s,"
    " onset_s + :t FROM recording WHERE id <= 100",
)


def measure(folder: Path, form: str, out: Path) -> dict[str, float]:
    """One export, in this process."""
    from xdream.export.export import export

    began = time.perf_counter()
    export(folder, form, out, spikes=form == "parquet")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    return {"seconds": time.perf_counter() - began, "most_mb": most, "size_mb": size}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presentations", type=int, default=20_000, metavar="N")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument(
        "--folder", type=Path, help="where the record and the exports are made (default: temporary)"
    )
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "FORMAT", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, form, out = options.one
        print(json.dumps(measure(Path(folder), form, Path(out))))
        return
    formats = options.formats.split(",")
    if unknown := set(formats) - set(FORMATS):
        parser.error(f"{', '.join(sorted(unknown))} is no format; there are {', '.join(FORMATS)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        record = Path(place) / "record"
        began = time.perf_counter()
        count = make(record, options.presentations)
        size = (record / FILE_NAME).stat().st_size / 1e6
        print(
            f"{count:,} presentations, {size:.0f} MB, made in {time.perf_counter() - began:.0f} s", flush=True
        )
        print(f"{'format':8} {'seconds':>8} {'most MB':>8} {'file MB':>8}")
        for form in formats:
            out = Path(place) / f"out.{form}"
            command = [sys.executable, __file__, "--one", str(record), form, str(out)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{form:8} {found['seconds']:8.1f} {found['most_mb']:8.0f} {found['size_mb']:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
