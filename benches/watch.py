"""The live page: how fast it starts and follows, and what it costs a session.

python benches/watch.py   (about four minutes; writes benches/results/watch.md)

A session over a bridge within one process, whose rig answers each block at once, is the fastest there is:
what the page costs shows there most. Times are ratios within one run of this script.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from xdream.dashboard import View
from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import Answer, AnswerRow, Block, Direct
from xdream.laboratory.session import give, obeyed, serve
from xdream.scoring.recordings import Values

RESULT = Path(__file__).parent / "results" / "watch.md"
CHANNELS = 32


def plan_of(presentations: int) -> Plan:
    return Plan.make(
        targets=["rig::0-1"],
        generator={"name": "pixels", "size_px": 64},
        optimizer={"name": "genetic", "population": 20},
        presentations=presentations,
        rig="direct",
        session={"channels": CHANNELS},
        threads=1,
    )


def answered(block: Block) -> Sequence[Answer]:
    rows = [
        AnswerRow(
            p.image,
            p.repeat,
            Values(block.images[p.image].double().mean((1, 2)).numpy().repeat(11)[:CHANNELS]),
        )
        for p in block.presentations
    ]
    return [Answer(tuple(rows), block=block.number)]


class Viewer(threading.Thread):
    """Takes events as a browser does, and notes when each generation came. dead: it never reads."""

    def __init__(self, url: str, *, dead: bool = False) -> None:
        super().__init__(daemon=True)
        host, _, port = url.partition("/#")[0].removeprefix("http://").rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=120)
        self.connection.request("GET", "/events")
        self.reply = self.connection.getresponse()
        self.came: dict[int, float] = {}
        self.dead = dead
        if not dead:
            self.start()

    def run(self) -> None:
        try:
            for line in self.reply:
                if line.startswith(b"data: "):
                    now = time.time()
                    for row in json.loads(line[6:]).get("rows", ()):
                        self.came.setdefault(row[1], now)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # the session is over, and the page with it


def start_up(folder: Path) -> list[float]:
    """Seconds from the command to the first reply with the page's data."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        with View(folder, port=0) as view:
            viewer = Viewer(view.url, dead=True)
            assert viewer.reply.status == 200
            assert viewer.reply.readline() == b"event: all\n"
            took.append(time.perf_counter() - began)
    return took


def session(
    folder: Path, presentations: int, pause_s: float, viewers: int, dead: int
) -> tuple[float, list[float]]:
    """(seconds for a session, delays from each commit to a viewer)."""
    committed: dict[int, float] = {}
    with_page = viewers >= 0
    opened: list[Any] = []

    def begun(place: Path) -> None:
        if with_page:
            view = View(place, port=0)
            opened.append(view)
            opened.extend(Viewer(view.url, dead=i < dead) for i in range(viewers + dead))

    def respond(block: Block) -> Sequence[Answer]:
        if pause_s:
            time.sleep(pause_s)
        return answered(block)

    began = [0.0]

    def start(place: Path) -> None:
        begun(place)
        began[0] = time.perf_counter()

    record = serve(plan_of(presentations), folder, bridge=Direct(respond), begun=start)
    took = time.perf_counter() - began[0]
    for generation, utc in record.query("SELECT generation, max(told_utc) FROM told GROUP BY generation"):
        committed[generation] = datetime.fromisoformat(utc).timestamp()
    record.close()
    time.sleep(0.5)
    delays = [
        one.came[generation] - at
        for one in opened
        if isinstance(one, Viewer) and not one.dead
        for generation, at in committed.items()
        if generation in one.came
    ]
    for one in opened:
        if isinstance(one, View):
            one.close()
    return took, delays


def orders_take(folder: Path) -> list[float]:
    """Seconds for `xdream pause` and `go-on`, the program's start included, in a session that shows."""
    took: list[float] = []
    stop = threading.Event()

    def quiet(block: Block) -> Sequence[Answer]:
        return []

    def order() -> None:
        for i in range(10):
            began = time.perf_counter()
            word = ("pause", "go-on")[i % 2]
            done = subprocess.run(
                [sys.executable, "-m", "xdream.cli", word, str(folder)],
                capture_output=True,
                text=True,
                check=True,
            )
            took.append(time.perf_counter() - began)
            assert "has obeyed" in done.stdout, done.stdout
        began = time.perf_counter()
        assert obeyed(give(folder, "pause"))
        took.append(time.perf_counter() - began)
        stop.set()

    thread = threading.Thread(target=order)
    with contextlib.suppress(KeyboardInterrupt):
        serve(plan_of(4000), folder, bridge=Slow(quiet), begun=lambda _: thread.start(), stop=stop.is_set)
    thread.join()
    return took


class Slow(Direct):
    """A bridge that waits as the real ones do."""

    def collect(self, timeout_s: float) -> Any:
        time.sleep(timeout_s)
        return []


def show_takes(folder: Path) -> float:
    """Seconds for `xdream show --no-figures`."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "xdream.cli", "show", str(folder), "--no-figures"],
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - began


def percent(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presentations", type=int, default=2000, help="of each of two runs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lines = [
        "# The live page",
        "",
        f"`python benches/watch.py` on {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} before. Times in seconds.",
        "",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        session(place / "first", 400, 0.0, -1, 0)
        starts = start_up(place / "first")
        lines += [
            f"From the command to the first data in a viewer: median {statistics.median(starts):.2f}, "
            f"most {max(starts):.2f} of {len(starts)}.",
            "",
        ]
        _, delays = session(place / "delay", options.presentations, 0.15, 1, 0)
        lines += [
            f"From a commit to one viewer: median {percent(delays, 0.5) * 1000:.0f} ms, 99th percentile "
            f"{percent(delays, 0.99) * 1000:.0f} ms ({len(delays)} generations, one each 0.15 s or more).",
        ]
        _, delays = session(place / "fifty", options.presentations, 0.15, 50, 0)
        lines += [
            f"The same with 50 viewers: median {percent(delays, 0.5) * 1000:.0f} ms, 99th percentile "
            f"{percent(delays, 0.99) * 1000:.0f} ms ({len(delays)} arrivals).",
            "",
            "A session whose rig answers at once, seconds per generation of 40 presentations (2 runs, 32 "
            "channels); with a rig that takes its time, only the last column counts, which is what it has to "
            "share its cores with:",
            "",
            "| page | seconds per generation (median, least, most of the rounds) | over no page |",
            "|---|---|---|",
        ]
        generations = options.presentations // 20
        cases = {
            "none": (-1, 0),
            "0 viewers": (0, 0),
            "1 viewer": (1, 0),
            "50 viewers": (50, 0),
            "1 viewer, 10 dead ones": (1, 10),
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(options.rounds):
            for name, (viewers, dead) in cases.items():
                took, _ = session(place / f"{turn}-{name}", options.presentations, 0.0, viewers, dead)
                times[name].append(took / generations)
        base = statistics.median(times["none"])
        for name, found in times.items():
            middle = statistics.median(found)
            lines.append(
                f"| {name} | {middle:.4f} ({min(found):.4f} to {max(found):.4f}) | {middle / base:.2f} |"
            )
        *commands, inside = orders_take(place / "orders")
        middle, most = statistics.median(commands), max(commands)
        lines += [
            "",
            f"`xdream pause` and `go-on`, start of the program included: median {middle:.2f}, most {most:.2f} "
            f"of {len(commands)}; the order alone, from Python: {inside:.2f}. "
            f"`xdream show --no-figures` of that session: {show_takes(place / 'orders'):.2f}.",
            "",
        ]
    RESULT.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
