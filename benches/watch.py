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
from dataclasses import dataclass
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
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            for line in self.reply:  # until the page ends
                if line.startswith(b"data: "):
                    now = time.time()
                    for row in json.loads(line[6:]).get("rows", ()):
                        self.came.setdefault(row[1], now)


def look(url: str, viewers: int, dead: int) -> None:
    """The viewers, in a process of their own; what came, when the page has ended."""
    every = [Viewer(url, dead=i < dead) for i in range(viewers + dead)]
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps([list(one.came.items()) for one in every if not one.dead]))


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


@dataclass(frozen=True)
class Measured:
    """seconds, cpu: of the session, per generation, by the clock and of its process. delays: from a commit to
    each viewer."""

    seconds: float
    cpu: float
    delays: list[float]


def session(folder: Path, presentations: int, pause_s: float, viewers: int, dead: int = 0) -> Measured:
    """A session with its page and viewers; viewers -1: without the page."""
    with contextlib.ExitStack() as stack:
        looking: list[subprocess.Popen[str]] = []
        began: list[float] = []

        def begun(place: Path) -> None:
            if viewers >= 0:
                view = stack.enter_context(View(place, port=0))
                command = [sys.executable, __file__, "--look", view.url, str(viewers), str(dead)]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                looking.append(subprocess.Popen(command, text=True, **pipes))
                assert looking[0].stdout is not None
                looking[0].stdout.readline()
            began.extend((time.perf_counter(), time.process_time()))

        def respond(block: Block) -> Sequence[Answer]:
            time.sleep(pause_s)
            return answered(block)

        record = serve(plan_of(presentations), folder, bridge=Direct(respond), begun=begun)
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        rows = record.query("SELECT generation, max(told_utc) FROM told GROUP BY generation")
        committed = {generation: datetime.fromisoformat(utc).timestamp() for generation, utc in rows}
        record.close()
        delays: list[float] = []
        for one in looking:
            time.sleep(1.0)  # what is on its way arrives
            for came in json.loads(one.communicate()[0]):
                delays += [at - committed[generation] for generation, at in came]
    return Measured(wall / len(committed), cpu / len(committed), delays)


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
    parser.add_argument("--look", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        look(options.look[0], int(options.look[1]), int(options.look[2]))
        return
    lines = [
        "# The live page",
        "",
        f"`python benches/watch.py` on {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} before. Times in seconds.",
        "",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        session(place / "first", 400, 0.0, -1)
        starts = start_up(place / "first")
        lines += [
            f"From the command to the first data in a viewer: median {statistics.median(starts):.2f}, "
            f"most {max(starts):.2f} of {len(starts)}.",
            "",
        ]
        for viewers in (1, 50):
            delays = session(place / f"delay-{viewers}", options.presentations, 0.15, viewers).delays
            lines.append(
                f"From a commit to a viewer, of {viewers}: median {percent(delays, 0.5) * 1000:.0f} ms, 99th "
                f"percentile {percent(delays, 0.99) * 1000:.0f} ms ({len(delays)} arrivals)."
            )
        lines += [
            "",
            "A session whose rig answers at once, per generation of 40 presentations (2 runs, 32 channels); "
            "medians of the rounds, which take turns, least and most. The processor time is that "
            "of the session's process; by the clock the page and its viewers also take a share of the cores.",
            "",
            "| page | processor time | over no page | by the clock | over no page |",
            "|---|---|---|---|---|",
        ]
        cases = {
            "none": (-1, 0),
            "0 viewers": (0, 0),
            "1 viewer": (1, 0),
            "50 viewers": (50, 0),
            "1 viewer, 10 dead ones": (1, 10),
        }
        times: dict[str, list[Measured]] = {name: [] for name in cases}
        for turn in range(options.rounds):
            for name, (viewers, dead) in cases.items():
                times[name].append(
                    session(place / f"{turn}-{name}", options.presentations, 0.0, viewers, dead)
                )
        for name, found in times.items():
            cells = [name]
            for key in ("cpu", "seconds"):
                values = [getattr(one, key) for one in found]
                base = statistics.median(getattr(one, key) for one in times["none"])
                middle = statistics.median(values)
                cells += [f"{middle:.4f} ({min(values):.4f} to {max(values):.4f})", f"{middle / base:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
        *commands, inside = orders_take(place / "orders")
        middle, most = statistics.median(commands), max(commands)
        lines += [
            "",
            f"`xdream pause` and `go-on`, the program's start included: median {middle:.2f}, most {most:.2f} "
            f"of {len(commands)}; the order alone, from Python: {inside:.2f}. "
            f"`xdream show --no-figures` of that session: {show_takes(place / 'orders'):.2f}.",
            "",
        ]
    RESULT.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
