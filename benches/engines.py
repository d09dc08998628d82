"""The engines beside each other: speed, start, differences; memory of many experiments; two processes.

    python benches/engines.py [--threads 2] [--batch 20] [--turns 9] [--only TABLE] [--without torch-compiled]

speed: generator and network of two pairs in one process, in turns: one image at a time in PyTorch, then a
batch in each engine, and again. A ratio is the median over turns of what both took in the same turn, so that
the load of the machine is the same for both. start: seconds that the engine takes to be made and checked.
apart: the largest difference to PyTorch of the responses, of their range, and of 8-bit pixels, for a random
batch.
memory: of the process, after each of some experiments one after another. neighbours: images per second of one
process, and of two at the same time, by how threads wait. Each goes to OUT/engines-TABLE.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch

import xdream
from engine import PAIRS, _plan, _single
from xdream.experiment import engine_choice
from xdream.experiment.assemble import Parts, assemble
from xdream.waiting import SHORT

VARIANTS = (
    ("torch", "float32"),
    ("torch-compiled", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
EXPERIMENTS = 20
SECONDS = 8.0
WAITING = {
    "300,000 turns (PyTorch's default)": {"GOMP_SPINCOUNT": "300000"},
    "1,000 turns (XDream's)": SHORT,
    "none": {"OMP_WAIT_POLICY": "PASSIVE"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    parser.add_argument("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        neighbour(options)
        return
    for name in [options.only] if options.only else TABLES:
        lines = []
        for line in TABLES[name](options):
            print(line, flush=True)
            lines.append(line)
        (options.out / f"engines-{name}.md").write_text("\n".join(lines) + "\n")


def parts_of(pair: str, engine: str, precision: str, options: argparse.Namespace) -> Parts:
    given = {"pair": pair, "runs": 1, "images": options.batch, "threads": options.threads, "device": "cpu"}
    return assemble(_plan(given | {"engine": engine}, precision=precision, batch=options.batch))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ------------------------------------------------------------------ speed


def speed(options: argparse.Namespace) -> Iterator[str]:
    yield (
        "| pair | engine | ms/image | times one image at a time | times PyTorch's batch | start, s "
        "| responses apart | pixels apart |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for number in range(len(PAIRS)):
        command = [sys.executable, __file__, "--process", f"speed {number}", "--without", *options.without]
        command += [f"--{key}={getattr(options, key)}" for key in ("threads", "batch", "turns")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | SHORT)
        yield from done.stdout.splitlines()


def _speed(pair: str, options: argparse.Namespace) -> Iterator[str]:
    made = {}
    for engine, precision in VARIANTS:
        if engine in options.without:
            continue
        parts = parts_of(pair, engine, precision, options)
        start = seconds(lambda parts=parts, engine=engine: place(parts, engine, options))
        made[engine, precision] = (parts, start)
    eager = made["torch", "float32"][0]
    codes = eager.generator.initial.draw(torch.tensor([7]), options.batch)[0]
    singles, times = [], {key: [] for key in made}
    for _ in range(options.turns):
        singles.append(1.0 / _single(eager, 6))
        for key, (parts, _) in made.items():
            forward = parts.forward
            taken = seconds(lambda forward=forward: forward.respond(0, forward.draw(codes)))
            times[key].append(taken / options.batch)
    images = eager.forward.draw(codes)
    responses = eager.forward.respond(0, images)
    for (engine, precision), (parts, start) in made.items():
        own = times[engine, precision]
        against_single = statistics.median(a / b for a, b in zip(singles, own, strict=True))
        batch = times["torch", "float32"]
        against_batch = statistics.median(a / b for a, b in zip(batch, own, strict=True))
        found = parts.forward.respond(0, images)
        apart = float((found - responses).abs().max() / (responses.max() - responses.min()))
        pixels = int((parts.forward.draw(codes).int() - images.int()).abs().max())
        yield (
            f"| {pair} | {engine}{'' if precision == 'float32' else f', {precision}'} "
            f"| {1e3 * statistics.median(own):.1f} | {against_single:.2f} | {against_batch:.2f} "
            f"| {start:.1f} | {apart:.2g} | {pixels} |"
        )


def place(parts: Parts, engine: str, options: argparse.Namespace) -> None:
    if engine != "torch":
        for label, one in engine_choice.place(parts.forward, engine, options.batch).items():
            assert one.engine == engine, (label, one)


# ------------------------------------------------------------------ memory


def memory(options: argparse.Namespace) -> Iterator[str]:
    yield f"| engine | {' | '.join(f'after {n}' for n in (1, 5, 10, EXPERIMENTS))} |"
    yield "|---|---|---|---|---|"
    for engine in ("torch", "openvino"):
        done = subprocess.run(
            [sys.executable, __file__, "--process", f"memory {engine}", "--threads", str(options.threads)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        sizes = [int(line) for line in done.stdout.split()]
        shown = " | ".join(f"{sizes[n - 1]} MB" for n in (1, 5, 10, EXPERIMENTS))
        yield f"| {engine} | {shown} |"


def _experiments(engine: str, options: argparse.Namespace) -> None:
    """Prints the megabytes of this process after each experiment of natural-v1 with EfficientNet-Lite0."""
    given = {"pair": list(PAIRS)[1], "runs": 1, "images": 40, "threads": options.threads, "device": "cpu"}
    for seed in range(EXPERIMENTS):
        with tempfile.TemporaryDirectory() as folder:
            plan = _plan(given | {"engine": engine}, seed=seed, batch=20)
            xdream.run(plan, Path(folder) / "x").close()
        print(psutil.Process().memory_info().rss // 10**6, flush=True)


# ------------------------------------------------------------------ neighbours


def neighbours(options: argparse.Namespace) -> Iterator[str]:
    yield "| engine | threads wait for | one process, images/s | two, images/s each | both, of one |"
    yield "|---|---|---|---|---|"
    for engine in ("torch", "openvino"):
        for name, environment in WAITING.items():
            [one] = _at_once(1, engine, environment, options)
            two = _at_once(2, engine, environment, options)
            yield (f"| {engine} | {name} | {one:.1f} | {two[0]:.1f}, {two[1]:.1f} | {sum(two) / one:.2f} |")


def _at_once(
    count: int, engine: str, environment: dict[str, str], options: argparse.Namespace
) -> list[float]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, __file__, "--process", f"images {engine}", "--threads", str(options.threads)]
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean | environment
        )
        for _ in range(count)
    ]
    for one in started:  # each is ready before any begins
        assert one.stdout is not None
        one.stdout.readline()
    for one in started:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    return [float(one.communicate()[0]) for one in started]


def neighbour(options: argparse.Namespace) -> None:
    kind, engine = options.process.split()
    if kind == "speed":
        print("\n".join(_speed(list(PAIRS)[int(engine)], options)))
        return
    if kind == "memory":
        _experiments(engine, options)
        return
    parts = parts_of(list(PAIRS)[1], engine, "float32", options)
    place(parts, engine, options)
    codes = parts.generator.initial.draw(torch.tensor([7]), options.batch)[0]
    parts.forward.respond(0, parts.forward.draw(codes))
    print("ready", flush=True)
    sys.stdin.readline()
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        parts.forward.respond(0, parts.forward.draw(codes))
        images += options.batch
    print(images / (time.perf_counter() - start))


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "speed": speed,
    "memory": memory,
    "neighbours": neighbours,
}

if __name__ == "__main__":
    main()
