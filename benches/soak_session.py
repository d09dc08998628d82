"""Does a session keep its memory? 20,000 generations over HTTP with a rig that does everything wrong.

    python benches/soak_session.py [--generations 20000] [--out FOLDER]

The served program is a process of its own; its memory is measured from outside. Writes OUT/soak-session.csv
and OUT/soak-session.png, and prints what arrived. Ends with status 1 when memory at the end is more than 5 %
above that after the first tenth, when a response was told twice, or when a score does not follow from the
recordings.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil

from xdream.experiment.plan import Plan
from xdream.laboratory.session import rescore, serve
from xdream.laboratory.simulation import rehearse
from xdream.store import Record

SAMPLES = 200
MOST_GROWTH = 1.05
FAULTS = {
    **dict.fromkeys(("dropped", "duplicated", "nan", "inf", "unknown_id", "late"), 0.02),
    **dict.fromkeys(
        ("all_zero", "wrong_shape", "stale_session", "stale_block", "truncated", "zero_tail"), 0.01
    ),
    "reordered": 0.5,
    "partial": 0.2,
    "again": 0.05,
    "disconnect": 0.005,
    "disconnect_s": 0.01,
}


def plan_of(generations: int, port: int) -> Plan:
    return Plan.make(
        targets=["rig::0", "rig:both:all"],
        generator={"name": "pixels", "size_px": 8},
        optimizer={"name": "genetic", "population": 4},
        presentations=4 * generations,
        references="scikit-image",
        references_per_generation=1,
        rig={"name": "http", "port": port},
        session={"channels": 2, "silence_s": 5.0, "on_silence": "close"},
        threads=1,
    )


def _serve(plan: str, folder: str) -> None:
    serve(Plan.from_toml(plan), folder).close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generations", type=int, default=20_000)
    parser.add_argument("--port", type=int, default=18_799)
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    plan = plan_of(options.generations, options.port)
    rows: list[tuple[int, int, int]] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "s"
        program = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(plan.to_toml(), str(folder))
        )
        program.start()
        process = psutil.Process(program.pid)

        def note(number: int, presentations: int) -> None:
            if number % max(1, options.generations // SAMPLES) == 0:
                size = sum(path.stat().st_size for path in folder.glob("experiment.sqlite*"))
                rows.append((number, process.memory_info().rss, size))

        rehearse(plan, "known:linear::0-N", {"rate_hz": 200}, {"seed": 1, **FAULTS}, tell=note)
        program.join(60)
        seconds = time.monotonic() - began
        record = Record(folder)
        finished = record.finished
        twice = record.query(
            "SELECT planned FROM recording WHERE status = 'taken' GROUP BY planned HAVING count(*) > 1"
        )
        arrived = record.query("SELECT status, count(*) FROM recording GROUP BY status ORDER BY 2 DESC")
        wrong = sum(
            not np.array_equal(one.scores, record.scores(one.run)[one.generation], equal_nan=True)
            for one in rescore(folder)[:: max(1, options.generations // 500)]
        )
        record.close()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "soak-session.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("block", "memory_bytes", "record_bytes"))
        writer.writerows(rows)
    _draw(rows, options.out / "soak-session.png")
    early = max(memory for _, memory, _ in rows[: len(rows) // 10])
    late = max(memory for _, memory, _ in rows[-len(rows) // 10 :])
    print(f"{options.generations} generations in {seconds:.0f} s, finished: {finished}")
    print(f"memory of the served program: {early / 1e6:.0f} MB at first, {late / 1e6:.0f} MB at the end")
    print("arrived: " + ", ".join(f"{count:,} {status}" for status, count in arrived))
    print(f"told twice: {len(twice)}; scores that do not follow from the recordings: {wrong}")
    return 0 if finished and not twice and not wrong and late <= MOST_GROWTH * early else 1


def _draw(rows: list[tuple[int, int, int]], path: Path) -> None:
    blocks, memory, size = zip(*rows, strict=True)
    figure, axes = plt.subplots(figsize=(6.0, 3.2), layout="constrained")
    axes.plot(blocks, [value / 1e6 for value in memory], label="memory of the served program")
    axes.plot(blocks, [value / 1e6 for value in size], label="record on the disk")
    axes.set(xlabel="block", ylabel="MB", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
