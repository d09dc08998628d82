"""On a GPU: 100 runs of `natural-v1` with EfficientNet-Lite0, in each engine and precision. One command:

    python benches/gpu.py [--device cuda] [--runs 100] [--images 200000] [--batch 1000]

Images per second of `xdream.run`, from the first generation to the last commit, with a record of scores; the
share of the time outside generator and network; seconds until the first generation; most memory. Then, of the
fastest, the kernels that take most of the time. It prints tables to paste, and writes OUT/gpu.md. With
`--device cpu --runs 2 --images 80` it goes the same way on a processor. The goal on an H100 or H200 is 50,000
images per second.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

import xdream
from engine import POPULATION, _Clock
from xdream.experiment import engine_choice
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan

KINDS = (
    ("torch", "float32"),
    ("torch", "tf32"),
    ("torch", "bfloat16"),
    ("torch-compiled", "float32"),
    ("torch-compiled", "tf32"),
    ("torch-compiled", "bfloat16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--engines", nargs="+", default=["torch", "torch-compiled"])
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    lines = []
    for line in table(options):
        print(line, flush=True)
        lines.append(line)
    (options.out / "gpu.md").write_text("\n".join(lines) + "\n")


def plan_of(options: argparse.Namespace, engine: str, precision: str) -> Plan:
    return Plan.make(
        targets=[f"efficientnet-lite0:_fc:0-{options.runs - 1}"],
        generator="natural-v1",
        optimizer={"name": "genetic", "population": POPULATION},
        presentations=POPULATION * max(2, options.images // (POPULATION * options.runs)),
        record="scores",
        device=options.device,
        engine=engine,
        precision=precision,
        batch=options.batch,
    )


def table(options: argparse.Namespace) -> Iterator[str]:
    cuda = options.device.startswith("cuda")
    name = torch.cuda.get_device_name() if cuda else "processor"
    yield f"{name}, torch {torch.__version__}, {options.runs} runs, batches of {options.batch}"
    yield ""
    yield (
        "| engine | precision | images/s | outside generator and network | start, s | peak memory, MB "
        "| notes |"
    )
    yield "|---|---|---|---|---|---|---|"
    rates: dict[tuple[str, str], float] = {}
    for engine, precision in KINDS:
        if engine not in options.engines:
            continue
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        clock = _Clock(options.device)
        with tempfile.TemporaryDirectory() as folder:
            record = xdream.run(plan_of(options, engine, precision), Path(folder) / "x", clock)
            images = sum(record.presentation_count(run.id) for run in record.runs())
            notes, seconds = record.facts["notes"], clock.began[-1] - clock.began[0]
            start = record.seconds - seconds
            record.close()
        clock.end()
        rates[engine, precision] = images / seconds
        peak = torch.cuda.max_memory_allocated() // 10**6 if cuda else 0
        yield (
            f"| {engine} | {precision} | {rates[engine, precision]:.0f} | {1 - clock.forward / seconds:.1%} "
            f"| {start:.0f} | {peak} | {notes if notes != '[]' else ''} |"
        )
    yield ""
    yield from profile(options, *max(rates, key=lambda one: rates[one]))


def profile(options: argparse.Namespace, engine: str, precision: str) -> Iterator[str]:
    """The kernels that take most of the time."""
    parts = assemble(plan_of(options, engine, precision))
    if engine != engine_choice.TORCH:
        engine_choice.place(parts.forward, engine, options.batch)
    seeds = torch.tensor([7], device=parts.generator.centre.device)
    codes = parts.generator.initial.draw(seeds, options.batch)[0]
    parts.forward.respond(0, parts.forward.draw(codes))
    cuda = options.device.startswith("cuda")
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CUDA if cuda else kinds.CPU]) as found:
        for _ in range(5):
            parts.forward.respond(0, parts.forward.draw(codes))
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda one: -getattr(one, by))
    whole = sum(getattr(one, by) for one in events)
    yield f"{engine}, {precision}: where the time goes"
    yield ""
    yield "| kernel | calls | share |"
    yield "|---|---|---|"
    for one in events[:15]:
        yield f"| `{one.key[:80]}` | {one.count // 5} | {getattr(one, by) / whole:.1%} |"


if __name__ == "__main__":
    main()
