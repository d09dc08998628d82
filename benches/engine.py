"""How fast is an experiment with many runs, against one image at a time and against what the machine can?

    python benches/engine.py [--runs 1 20 100] [--images 2000] [--threads 2] [--device cpu] [--only TABLE]

Two pairs of a generator and a target, population 20, `genetic`, a record of scores; each run drives a unit of
its own. Every row is a process of its own and measures, in turn, so that the load of the machine is the same:

- end to end: images per second of `xdream.run`, from the first generation to the last commit (optimizer,
  generator, 8 bits, resizing, network, scores, store; without loading and compiling, which are given apart);
- baseline: the same networks one image at a time, eager, each image all the way through;
- roofline: floating-point operations per image (counted) over the rate of float32 matrix products.

Ratios are what counts; rates are of this machine at this hour. Further tables: what each ingredient is worth;
the latency of a closed loop, from the last response of a generation to the next 40 images as 8-bit arrays;
bytes of a large record. Each goes to OUT/engine-TABLE.md. Engines beside each other: engines.py; what lower
precision does to the result: precision.py; a GPU: gpu.py.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import xdream
from xdream import memory
from xdream.experiment import engine_choice
from xdream.experiment.assemble import Parts, assemble
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.forward import Forward
from xdream.experiment.plan import Plan
from xdream.networks import deepsim, efficientnet
from xdream.store import FILE_NAME
from xdream.types import quantise
from xdream.waiting import SHORT

ALEXNET = "python:alexnet:make"
PAIRS: dict[str, dict[str, Any]] = {
    "deepsim-fc6, AlexNet": {
        "generator": {"name": "deepsim-fc6", "random_weights": True},
        "target": f"{ALEXNET}:18",
        "preprocessing": {
            ALEXNET: {
                "size_px": (227, 227),
                "channels": "BGR",
                "scale": 1.0,
                "mean": (104.0, 117.0, 123.0),
            }
        },
    },
    "natural-v1, EfficientNet-Lite0": {"generator": "natural-v1", "target": "efficientnet-lite0:_fc"},
}
POPULATION = 20
SINGLE = 40  # images of the baseline
MATRIX = 2048
BATCH = 80  # images together, where it is not the batch that is looked at


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--images", type=int, default=2000, help="of a row, at least two generations")
    parser.add_argument("--threads", type=int, help="of the CPU (default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engine", default="auto", help="of the table of speed")
    parser.add_argument("--precision", default="float32", help="of the table of speed")
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(ROWS[json.loads(options.row)["row"]](json.loads(options.row))))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else TABLES:
        text = "\n".join(TABLES[name](options))
        (options.out / f"engine-{name}.md").write_text(text + "\n")
        print(text, flush=True)


def _row(options: argparse.Namespace, row: str, **values: Any) -> dict[str, Any]:
    """One row, measured in a process of its own: its memory and its compiled code are its own."""
    given = values | {"row": row, "threads": options.threads, "device": options.device}
    with tempfile.TemporaryDirectory() as cache:  # of the compiler, which would remember an earlier row
        done = subprocess.run(
            [sys.executable, __file__, "--row", json.dumps(given)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | SHORT | {"TORCHINDUCTOR_CACHE_DIR": cache},
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# ------------------------------------------------------------------ speed


def speed(options: argparse.Namespace) -> Iterator[str]:
    """End to end."""
    yield from (
        "| pair | engine | runs | images/s | of the baseline | of the roofline | outside the networks "
        "| start, s | peak memory, MB | bytes/image |",
        "|---|---|---|---|---|---|---|---|---|---|",
    )
    for pair in PAIRS:
        for runs in options.runs:
            r = _row(
                options,
                "speed",
                pair=pair,
                runs=runs,
                images=options.images,
                engine=options.engine,
                precision=options.precision,
            )
            yield (
                f"| {pair} | {r['engine']} | {runs} | {r['rate']:.1f} | {r['rate'] / r['single']:.2f} | "
                f"{r['rate'] / r['roofline']:.0%} | {r['outside']:.1%} | {r['compile']:.0f} | "
                f"{r['memory'] / 1e6:.0f} | {r['bytes']:.0f} |"
            )


class _Clock(NoCallback):
    """When each generation began, and how long generator and networks took meanwhile."""

    def __init__(self, device: str) -> None:
        self.began: list[float] = []
        self.forward = 0.0
        self._counting = False
        self._own = {name: getattr(Forward, name) for name in ("draw", "respond")}
        for name, method in self._own.items():
            setattr(Forward, name, self._timed(method, device))

    def end(self) -> None:
        """Time nothing from now on."""
        for name, method in self._own.items():
            setattr(Forward, name, method)

    def _timed(self, method: Callable[..., Any], device: str) -> Callable[..., Any]:
        def timed(*values: Any) -> Any:
            start = time.perf_counter()
            result = method(*values)
            if device != "cpu":
                torch.cuda.synchronize()
            if self._counting:
                self.forward += time.perf_counter() - start
            return result

        return timed

    def stage(self, name: str, done: int, total: int) -> None:
        """Notes the time."""
        self._counting = name == "generations"
        if self._counting:
            self.began.append(time.perf_counter())


def _plan(given: dict[str, Any], **changes: Any) -> Plan:
    pair, runs = PAIRS[given["pair"]], given["runs"]
    values = {
        "targets": [f"{pair['target']}:0-{runs - 1}"],
        "generator": pair["generator"],
        "preprocessing": pair.get("preprocessing", {}),
        "optimizer": {"name": "genetic", "population": POPULATION},
        "presentations": POPULATION * max(2, given["images"] // (POPULATION * runs)),
        "record": "scores",
        "threads": given["threads"],
        "device": given["device"],
        "engine": given["engine"],
    }
    return Plan.make(**values | changes)


def _speed_row(given: dict[str, Any]) -> dict[str, Any]:
    plan = _plan(given, precision=given["precision"])
    eager = assemble(_plan(given, engine="torch"))
    operations = _operations(eager)
    rates, singles = [_products(given["device"])], [_single(eager)]
    clock = _Clock(given["device"])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        record = xdream.run(plan, Path(folder) / "x", clock)
        images = sum(record.presentation_count(run.id) for run in record.runs())
        engine = Plan.from_toml(record.facts["plan"]).engine
        record.close()
        size = (Path(folder) / "x" / FILE_NAME).stat().st_size
    seconds = clock.began[-1] - clock.began[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if given["device"] != "cpu":
        peak = torch.cuda.max_memory_allocated()
    rates.append(_products(given["device"]))
    singles.append(_single(eager))
    return {
        "engine": engine if plan.precision == "float32" else f"{engine}, {plan.precision}",
        "rate": images / seconds,
        "single": statistics.mean(singles),
        "roofline": statistics.mean(rates) / operations,
        "outside": 1.0 - clock.forward / seconds,
        "compile": clock.began[0] - start,
        "memory": peak,
        "bytes": size / images,
    }


def _operations(parts: Parts) -> float:
    """Floating-point operations for one image, generator and network."""
    codes = parts.generator.centre.expand(4, -1)
    with FlopCounterMode(display=False) as counter:
        parts.forward.respond(0, parts.forward.draw(codes))
    return counter.get_total_flops() / 4


def _products(device: str) -> float:
    """Floating-point operations per second in float32 products of matrices, the best of some."""
    a = torch.randn(MATRIX, MATRIX, device=device)
    best = 0.0
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, 2 * MATRIX**3 / (time.perf_counter() - start))
    return best


def _single(parts: Parts, count: int = SINGLE) -> float:
    """Images per second as the original did: one after another, the whole network for each."""
    codes = parts.generator.initial.draw(torch.tensor([0]), count)[0].to(parts.generator.centre.device)
    subject = parts.forward.subjects[0]
    with torch.inference_mode():
        for code in codes[:3]:
            subject.respond(quantise(parts.generator(code[None])))
        start = time.perf_counter()
        for code in codes:
            subject.respond(quantise(parts.generator(code[None])))
        return count / (time.perf_counter() - start)


# ------------------------------------------------------------------ ingredients


def ingredients(options: argparse.Namespace) -> Iterator[str]:
    """What each is worth: time without it over time with it, generator and network alone."""
    yield from ("| pair | ingredient | times as fast |", "|---|---|---|")
    for pair in PAIRS:
        found = _row(options, "ingredients", pair=pair)
        for name, ratio in found.items():
            yield f"| {pair} | {name} | {ratio:.2f} |"


def _ingredients_row(given: dict[str, Any]) -> dict[str, float]:
    given |= {"runs": 1, "images": BATCH, "engine": "torch"}
    found: dict[str, float] = {}
    parts = assemble(_plan(given, batch=BATCH))

    def seconds(batch: int = BATCH) -> float:
        codes = parts.generator.initial.draw(torch.tensor([0]), batch)[0].to(parts.generator.centre.device)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            parts.forward.respond(0, parts.forward.draw(codes))
            if given["device"] != "cpu":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / batch)
        return statistics.median(times[1:])

    for batch in (1, 5, 10, 20, 40, 160):
        found[f"batch {BATCH} instead of {batch}"] = seconds(batch) / seconds()
    whole = seconds()
    with mock.patch.object(torch, "inference_mode", torch.no_grad):
        found["inference mode instead of no gradients"] = seconds() / whole
    modules = [parts.generator.module, parts.forward.subjects[0]._reader._module]  # type: ignore[attr-defined]
    for module in modules:
        module.to(memory_format=torch.contiguous_format)
    reader = parts.forward.subjects[0]._reader  # type: ignore[attr-defined]
    with mock.patch.object(
        reader, "inputs", lambda images: reader.network.preprocessing(images).contiguous()
    ):
        found["channels last"] = seconds() / whole
    for module in modules:
        module.to(memory_format=torch.channels_last)
    whole = seconds()
    threads = torch.get_num_threads()
    if threads > 1 and given["device"] == "cpu":
        torch.set_num_threads(1)
        found[f"{threads} threads instead of 1"] = seconds() / whole
        torch.set_num_threads(threads)
        whole = seconds()
    engine_choice.place(parts.forward, "torch-compiled", BATCH)
    compiled = seconds()
    found["compiled"] = whole / compiled
    if given["device"] == "cpu" and memory.keep_freed_blocks():
        library = ctypes.CDLL(None)
        library.mallopt(-4, 65_536)  # M_MMAP_MAX and M_TRIM_THRESHOLD as glibc has them
        library.mallopt(-1, 128 * 1024)
        found["keeping freed memory (compiled)"] = seconds() / compiled
        memory.keep_freed_blocks()
    # As the networks are written: a transposed convolution at the end, zeros around images.
    with mock.patch.object(deepsim, "FEW", 0), mock.patch.object(efficientnet, "_pad_inside"):
        parts = assemble(_plan(given, batch=BATCH))
    engine_choice.place(parts.forward, "torch-compiled", BATCH)
    name = "the last layer as a convolution" if "deepsim" in given["pair"] else "padding inside convolutions"
    found[f"{name} (compiled)"] = seconds() / compiled
    return found


# ------------------------------------------------------------------ latency


def latency(options: argparse.Namespace) -> Iterator[str]:
    """Of a closed loop."""
    yield from (
        "| generator | optimizer | engine | median, ms | 99th percentile, ms |",
        "|---|---|---|---|---|",
    )
    for generator in ("deepsim-fc6", "natural-v1"):
        for optimizer in ("genetic", "nes"):
            found = _row(options, "latency", generator=generator, optimizer=optimizer)
            for engine, (median, late) in found.items():
                yield f"| {generator} | {optimizer} | {engine} | {median:.0f} | {late:.0f} |"


def _latency_row(given: dict[str, Any]) -> dict[str, Any]:
    """Of each engine, in turns."""
    memory.keep_freed_blocks()
    if given["threads"]:
        torch.set_num_threads(given["threads"])
    options = {"random_weights": True} if given["generator"].startswith("deepsim") else {}
    turns = {
        engine: _turns(
            xdream.Evolution(
                given["generator"],
                given["optimizer"],
                seed=0,
                generator_options=options,
                population=40,
                engine=engine,
            )
        )
        for engine in ("torch", "openvino")
    }
    times: dict[str, list[float]] = {engine: [] for engine in turns}
    for _ in range(53):
        for engine, one in turns.items():
            times[engine].append(next(one))
    return {
        engine: (statistics.median(some[3:]), float(np.percentile(some[3:], 99)))
        for engine, some in times.items()
    }


def _turns(evolution: xdream.Evolution) -> Iterator[float]:
    """Milliseconds of each generation, from its scores to the next images."""
    batch = evolution.ask()
    rng = np.random.default_rng(0)
    while True:
        scores = rng.normal(size=len(batch.ids))
        start = time.perf_counter()
        evolution.tell(batch.ids, scores)
        batch = evolution.ask()
        (batch.images * 255.0).round().astype(np.uint8)
        yield 1e3 * (time.perf_counter() - start)


# ------------------------------------------------------------------ a large record


def record(options: argparse.Namespace) -> Iterator[str]:
    """Bytes."""
    found = _row(options, "record")
    yield from (
        "| codes | runs | presentations of each | bytes/presentation | outside the networks, s per 1,000 |",
        "|---|---|---|---|---|",
        f"| {found['dim']:.0f} numbers | 20 | 10,000 | {found['bytes']:.0f} | {found['seconds']:.2f} |",
    )


def _record_row(given: dict[str, Any]) -> dict[str, float]:
    """Codes as large as those of fc6, and a neuron that costs nothing."""
    plan = Plan.make(
        targets=["known:linear::0"],
        generator={"name": "pixels", "size_px": 37},
        optimizer={"name": "genetic", "population": POPULATION},
        presentations=10_000,
        runs=20,
        record="scores",
        threads=given["threads"],
    )
    clock = _Clock("cpu")
    with tempfile.TemporaryDirectory() as folder:
        xdream.run(plan, Path(folder) / "x", clock).close()
        size = (Path(folder) / "x" / FILE_NAME).stat().st_size
    outside = clock.began[-1] - clock.began[0] - clock.forward
    return {"dim": 3 * 37**2, "bytes": size / 200_000, "seconds": outside / 200}


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "speed": speed,
    "ingredients": ingredients,
    "latency": latency,
    "record": record,
}
ROWS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "speed": _speed_row,
    "ingredients": _ingredients_row,
    "latency": _latency_row,
    "record": _record_row,
}

if __name__ == "__main__":
    main()
