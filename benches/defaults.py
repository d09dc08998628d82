"""Which hyperparameters serve `fourier` best? A coarse look, one setting at a time.

Each setting is tried on the same four units of EfficientNet-Lite0 (one early, one late, two of the output),
which no other bench reports. Its mark is the mean over units of the last generation's best, divided by the
best that any setting reached there. Results are kept as JSON lines, so that a look can be continued:

    python benches/defaults.py benches/results/defaults.jsonl [--presentations 400]

The settings that came out are declared in `xdream/generators/fourier.py` and `pixels.py` (TUNED).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import xdream
from xdream.report import summarise

TARGETS = (
    "efficientnet-lite0:_blocks.2:5",
    "efficientnet-lite0:_blocks.12:30",
    "efficientnet-lite0:_fc:10",
    "efficientnet-lite0:_fc:700",
)

FOURIER = {"name": "fourier"}
SETTINGS: list[tuple[dict[str, object], dict[str, object]]] = [
    *(({**FOURIER, "cutoff_cycles": c}, {"name": "genetic"}) for c in (4.0, 8.0, 16.0, 24.0)),
    *(
        (FOURIER, {"name": "genetic", **options})
        for options in (
            {"mutation_size": 0.3},
            {"mutation_size": 0.8},
            {"mutation_rate": 0.25},
            {"mutation_rate": 0.1, "mutation_size": 0.8},
            {"selectivity": 4.0},
        )
    ),
    *(
        (FOURIER, {"name": name, "learning_rate": rate, "search_radius": radius})
        for name in ("nes", "fdgd")
        for rate, radius in ((0.5, 0.5), (1.5, 0.5), (1.5, 1.25))
    ),
    *((FOURIER, {"name": "nes", "learning_rate": 5.0, "search_radius": radius}) for radius in (0.5, 1.25)),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--presentations", type=int, default=400)
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.touch()
    known = {json.loads(line)["key"]: json.loads(line) for line in options.results.read_text().splitlines()}
    for generator, optimizer in SETTINGS:
        key = json.dumps([generator, optimizer, options.presentations], sort_keys=True)
        if key not in known:
            known[key] = {"key": key, "bests": _try(generator, optimizer, options.presentations)}
            with options.results.open("a") as file:
                file.write(json.dumps(known[key]) + "\n")
        print(key, [f"{best:.3g}" for best in known[key]["bests"]], flush=True)
    tops = [max(one["bests"][unit] for one in known.values()) for unit in range(len(TARGETS))]
    for one in sorted(
        known.values(), key=lambda one: -sum(b / t for b, t in zip(one["bests"], tops, strict=True))
    ):
        mark = sum(b / t for b, t in zip(one["bests"], tops, strict=True)) / len(tops)
        print(f"{mark:.3f} {one['key']}")


def _try(generator: dict[str, object], optimizer: dict[str, object], presentations: int) -> list[float]:
    plan = xdream.Plan.make(
        targets=TARGETS, generator=generator, optimizer=optimizer, presentations=presentations, seed=1000
    )
    with tempfile.TemporaryDirectory() as folder:
        record = xdream.run(plan, Path(folder) / "run")
        return [summary.last_generation_best or 0.0 for summary in summarise(record)]


if __name__ == "__main__":
    main()
