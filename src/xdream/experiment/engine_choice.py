"""Which engine computes an experiment, and whether it computes what PyTorch does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch

from xdream.engines import ENGINES, ORDER, BatchFunction, Running
from xdream.errors import BadInput, SubjectError
from xdream.experiment.forward import GENERATOR, Forward
from xdream.experiment.plan import Plan
from xdream.networks import one_line
from xdream.types import Codes, ShownImages

#: Most that an engine's responses in float32 may differ from PyTorch's, of the range of a layer's responses.
TOLERANCE = 1e-3
#: Most that an 8-bit value of a pixel may differ: one step, where PyTorch's stood between two.
STEPS = 1.0
#: Images of a batch that PyTorch computes for the comparison.
CHECKED = 4
TORCH = "torch"


@dataclass(frozen=True)
class Placed:
    """Which engine computes a part. difference: its largest to PyTorch, as `TOLERANCE` (of a generator, in
    8-bit steps) has it; None where PyTorch computes it. reason: why another engine than the plan's does."""

    engine: str
    difference: float | None = None
    reason: str = ""


def chosen(plan: Plan, forward: Forward, images: int) -> str:
    """The engine of a plan for an experiment of so many images. Raises BadInput for one that is missing."""
    device = forward.device
    if plan.engine != "auto":
        reason = missing(plan.engine, forward)
        if reason:
            raise BadInput(f"engine '{plan.engine}' cannot be used: {reason}; or --engine auto")
        return plan.engine
    if plan.compiled is not None:
        return "torch-compiled" if plan.compiled else TORCH
    nothing = not any(_named(forward).values())
    for name in ORDER if plan.rig is None else (name for name in ORDER if name != "torch-compiled"):
        engine = ENGINES.make(name)
        if engine.suits(images) and not engine.missing(device) and not (nothing and engine.package):
            return name
    return TORCH


def missing(name: str, forward: Forward) -> str:
    """Why an engine cannot be used here; "" where it can. Raises UnknownName."""
    return ENGINES.make(name).missing(forward.device)


def versioned(plan: Plan) -> tuple[str, ...]:
    """The packages beside PyTorch on whose versions the numbers of a plan depend."""
    package = "" if plan.engine in ("auto", TORCH) else ENGINES.make(plan.engine).package
    return (package,) if package else ()


def place(
    forward: Forward, name: str, batch: int, before: Mapping[str, Placed] | None = None
) -> dict[str, Placed]:
    """Let an engine compute what it can, `batch` images at a time, and what it cannot PyTorch; by part.

    before: what computed the parts when the experiment was begun; a part is not given to an engine that could
    not take it then. A part is taken over when its outputs agree with those of PyTorch for two batches.
    """
    engine = ENGINES.make(name)
    codes, images = _trial(forward, batch)
    placed: dict[str, Placed] = {}
    running: dict[int, Running] = {}
    for part, label in _labels(forward).items():
        known = (before or {}).get(label)
        if known is not None and known.engine == TORCH:
            placed[label] = known
            continue
        try:
            function = forward.function(part)
            if function is None:
                continue
            rows = images if part > GENERATOR else codes[GENERATOR - part]
            made = engine.run(function, rows)
            difference = None
            if engine.sets_precision or forward.precision == "float32":
                difference = _difference(function, made, rows, None if part > GENERATOR else STEPS)
        except Exception as error:  # of an engine: it has many kinds, and calls others' programs
            placed[label] = Placed(TORCH, reason=one_line(error))
            continue
        if difference is None or difference <= (TOLERANCE if part > GENERATOR else 1.0):
            running[part] = made
            placed[label] = Placed(name, difference)
        else:
            what = "of the range of a layer" if part > GENERATOR else "8-bit steps"
            placed[label] = Placed(TORCH, reason=f"its outputs differ by {difference:.2g} {what}")
    if running:
        forward.use(running, batch, sets_precision=engine.sets_precision)
        for number, some in enumerate(codes):  # what is made at first use is made now
            shown = forward.draw(some, number)
        for part in running:
            if part > GENERATOR:
                forward.respond(part, shown)
    return placed


def notes_of(name: str, placed: Mapping[str, Placed]) -> list[str]:
    """What to say of the parts that an engine could not take."""
    return [
        f"{label} is computed by {TORCH}, not by {name}: {one.reason}"
        for label, one in placed.items()
        if one.reason
    ]


def written(placed: Mapping[str, Placed]) -> str:
    """As a fact of the store."""
    return json.dumps({label: asdict(one) for label, one in placed.items()})


def read(fact: str) -> dict[str, Placed]:
    """What `written` wrote."""
    return {label: Placed(**values) for label, values in json.loads(fact).items()}


def _labels(forward: Forward) -> dict[int, str]:
    """Each part's name, the generators first; of several with one name all but the first have a number."""
    found: dict[int, str] = {}
    for number, one in enumerate(forward.generators):
        label = f"generator {one.name}"
        found[GENERATOR - number] = label if label not in found.values() else f"{label} ({number + 1})"
    for number, subject in enumerate(forward.subjects):
        layers = ", ".join(dict.fromkeys(unit.rpartition(":")[0] for unit in subject.units))
        found[number] = f"network {subject.name}:{layers}"
    return found


def _named(forward: Forward) -> dict[str, bool]:
    """Whether each part is one that an engine can be given."""
    found = {}
    for part, label in _labels(forward).items():
        try:
            found[label] = forward.function(part) is not None
        except BadInput:
            found[label] = False
    return found


def _trial(forward: Forward, batch: int) -> tuple[list[Codes], ShownImages]:
    """Codes of each generator, and images, on which an engine is tried, the same for the same parts: half of
    the images are noise, so that an output that a trace has frozen is not taken for one that follows from its
    images."""
    device = forward.device
    seeds = torch.zeros(1, dtype=torch.int64, device=device)
    codes = [one.initial.draw(seeds, batch)[0] for one in forward.generators]
    images = forward.draw(codes[0][:CHECKED])[torch.arange(batch) % CHECKED % batch].clone()
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[::2] = noise[::2].to(device)
    return codes, images


def _difference(function: BatchFunction, made: Running, rows: torch.Tensor, unit: float | None) -> float:
    """The largest to what PyTorch computes, in float32, for some rows of two batches.

    unit: of the first output alone, in which it is measured; None: the range of each output.
    """
    largest = 0.0
    with torch.inference_mode():
        for batch in (rows, rows.flip(0).contiguous()):
            few = batch[:CHECKED]
            wanted, found = function(few), made(batch, "float32")
            outputs = list(zip(wanted, found, strict=True))
            for ours, theirs in outputs if unit is None else outputs[:1]:
                largest = max(largest, _apart(ours, theirs[: len(few)], unit))
    return largest


def _apart(ours: torch.Tensor, theirs: torch.Tensor, unit: float | None) -> float:
    """The largest difference in units, or in the range of the first; infinite where there is no number."""
    if ours.shape != theirs.shape:
        raise SubjectError(f"its output has shape {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
    a, b = ours.to(torch.float64), theirs.to(torch.float64)
    difference = float((a - b).abs().max())
    if difference == 0.0:
        return 0.0
    whole = float(a.max() - a.min()) if unit is None else unit
    return difference / whole if whole > 0.0 and math.isfinite(difference) else math.inf
