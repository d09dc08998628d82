"""From a plan to its parts: every name looked up, every file read and checked, before anything starts."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xdream import defaults, networks, references
from xdream.errors import BadInput, SubjectError
from xdream.generators import GENERATORS, Generator, InitialCodes, encode, read_statistics
from xdream.networks import resize
from xdream.objectives import OBJECTIVES, Objective
from xdream.optimizers import OPTIMIZERS, checked_codes
from xdream.plan import Part, Plan, PreprocessingPlan, TargetPlan
from xdream.references import References
from xdream.subjects import (
    ImageMatch,
    Subject,
    known_pixels,
    layer_reader,
    network_units,
)
from xdream.types import Codes, ShownImages, quantise

#: Steps of the gradient descent that prepares initial codes from images (Xiao & Kreiman 2020).
INITIAL_ENCODING_STEPS = 200


@dataclass(frozen=True)
class Run:
    """One evolution of the experiment.

    target: NETWORK:LAYER:UNIT. subject, unit: which subject answers, and which of its units is this run's.
    population: images per generation. generations: the budget.
    """

    id: int
    target: str
    subject: int
    unit: int
    seed: int
    optimizer: str
    hyperparameters: dict[str, Any]
    population: int
    generations: int

    def optimizer_json(self) -> str:
        """The optimizer's name and every hyperparameter, as the store keeps it."""
        return json.dumps({"name": self.optimizer} | self.hyperparameters)


@dataclass(frozen=True)
class Parts:
    """Everything that a plan names, made and checked. plan: with every default filled in.

    initial: (k, d) codes to start from that the plan names, or None where they are drawn or follow from
    the references' responses. notes: what the user should know before the start.
    """

    plan: Plan
    generator: Generator
    subjects: tuple[Subject, ...]
    objective: Objective
    references: References | None
    runs: tuple[Run, ...]
    initial: Codes | None
    initial_distribution: InitialCodes
    notes: tuple[str, ...]

    @property
    def image_size_px(self) -> int:
        """The size at which images are shown."""
        return self.plan.image_size_px or self.generator.image_size_px

    def draw(self, codes: Sequence[torch.Tensor]) -> ShownImages:
        """(n, 3, h, w) uint8: exactly the pixels that are shown for these codes, together in one batch."""
        size = (self.image_size_px, self.image_size_px)
        if not codes:
            return torch.empty((0, 3, *size), dtype=torch.uint8)
        with torch.inference_mode():
            images = resize(self.generator(torch.stack(list(codes))), size)
            if not bool(torch.isfinite(images).all()):
                raise SubjectError(f"generator '{self.generator.name}' made an image with NaN or inf in it")
            return quantise(images)


def assemble(plan: Plan) -> Parts:
    """Make the parts of a plan. Raises BadInput (and its kinds) before anything is written."""
    plan = _resolved(plan)
    assert plan.threads is not None
    torch.set_num_threads(plan.threads)  # before the first number is computed
    device = _device(plan.device)
    hyperparameters = plan.optimizer.options
    optimizer = OPTIMIZERS.make(plan.optimizer.name, **hyperparameters)
    objective = OBJECTIVES.make(plan.objective.name, **plan.objective.options)
    options = plan.generator.options
    if plan.init.startswith("statistics:") and optimizer.starts_from == "centre":
        raise BadInput(
            f"init '{plan.init}' says how a population is drawn, but {plan.optimizer.name} starts from a "
            "centre; use default, zeros, codes, images or references"
        )
    if plan.init.startswith("statistics:") and plan.generator.name.startswith("deepsim-"):
        options["statistics"] = plan.init.partition(":")[2]
    generator = GENERATORS.make(plan.generator.name, **options).to(device)
    generations, notes = _generations(plan, optimizer.population, hyperparameters)
    size_px = plan.image_size_px or generator.image_size_px

    found = references.load(plan.references) if plan.references else None
    subjects, units = _subjects(plan, size_px, device)
    distribution, initial = _initial(plan, generator)
    seeds = range(plan.seed, plan.seed + plan.runs)
    runs = tuple(
        Run(
            id=number,
            target=target,
            subject=subject,
            unit=unit,
            seed=seed,
            optimizer=plan.optimizer.name,
            hyperparameters=hyperparameters,
            population=optimizer.population,
            generations=generations,
        )
        for number, ((target, subject, unit), seed) in enumerate(
            (place, seed) for place in units for seed in seeds
        )
    )
    warnings = dict.fromkeys(
        [*generator.warnings, *(text for subject in subjects for text in subject.warnings)]
    )
    return Parts(
        plan=plan,
        generator=generator,
        subjects=subjects,
        objective=objective,
        references=found,
        runs=runs,
        initial=initial,
        initial_distribution=distribution,
        notes=(*warnings, *notes),
    )


def _resolved(plan: Plan) -> Plan:
    """The plan with its defaults looked up, and its paths absolute, to be resumed from anywhere."""
    optimizer, generator = plan.optimizer, plan.generator
    OPTIMIZERS.factory(optimizer.name)
    GENERATORS.factory(generator.name)
    noisy = plan.noise_spikes is not None or plan.noise_scale is not None
    filled = defaults.hyperparameters(generator.name, optimizer.name, noisy=noisy) | optimizer.options
    update: dict[str, Any] = {
        "optimizer": Part(name=optimizer.name, **filled),
        "threads": plan.threads or torch.get_num_threads(),
    }
    options = generator.options
    # What is drawn at any size is drawn at the size at which it is shown.
    if plan.image_size_px and generator.name in ("pixels", "fourier"):
        options = {"size_px": plan.image_size_px} | options
    for key in ("weights", "statistics"):
        if isinstance(options.get(key), str):
            options[key] = _absolute(options[key])
    update["generator"] = Part(name=generator.name, **options)
    if plan.references not in (None, references.SCIKIT_IMAGE):
        update["references"] = _absolute(str(plan.references))
    kind, _, value = plan.init.partition(":")
    if kind in ("statistics", "codes", "images"):
        update["init"] = f"{kind}:{_absolute(value)}"
    return plan.model_copy(update=update)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"device '{name}' cannot be used ({networks.one_line(error)}); cpu always can"
        ) from None
    return device


def _generations(plan: Plan, population: int, hyperparameters: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """How many generations the budget buys, and what to say of the rest."""
    each = population * plan.repeats
    generations = plan.presentations // each
    if generations < 1:
        raise BadInput(
            f"presentations is {plan.presentations}, below one generation of {each} "
            f"({population} images x {plan.repeats} repeats); give at least {each}"
        )
    notes = []
    if hyperparameters.get("population", population) != population:
        notes.append(
            f"population {hyperparameters['population']} is odd; {plan.optimizer.name} shows codes in "
            f"pairs and uses {population}"
        )
    if generations * each != plan.presentations:
        notes.append(
            f"{plan.presentations} presentations are no multiple of a generation of {each}; "
            f"{generations * each} are shown"
        )
    return generations, tuple(notes)


def _subjects(
    plan: Plan, size_px: int, device: torch.device
) -> tuple[tuple[Subject, ...], list[tuple[str, int, int]]]:
    """The subjects (one per network and layer), and (target, subject, unit) of each unit named."""
    requests: dict[str, list[TargetPlan]] = defaultdict(list)
    for target in plan.targets:
        requests[target.network].append(target)
    subjects: list[Subject] = []
    units: list[tuple[str, int, int]] = []
    for network, targets in requests.items():
        for subject in _subjects_of(network, targets, plan, size_px, device):
            units += [(f"{network}:{unit}", len(subjects), i) for i, unit in enumerate(subject.units)]
            subjects.append(subject)
    names = [name for name, _, _ in units]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise BadInput(f"target {min(twice)} is named twice; use runs to repeat it with other seeds")
    return tuple(subjects), units


def _subjects_of(
    network: str, targets: Sequence[TargetPlan], plan: Plan, size_px: int, device: torch.device
) -> list[Subject]:
    scheme, _, rest = network.partition(":")
    if scheme == "known":
        return [known_pixels(network, t.layer, t.units, size_px) for t in targets]
    if scheme == "match":
        return [_match(rest, target, plan, device) for target in targets]
    loaded = networks.load(network, _preprocessing(plan, network))
    by_layer: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for target in targets:
        by_layer[target.layer].append((target.layer, target.units))
    # A subject per layer: every run has images of its own, which go no deeper than its layer.
    return [network_units(loaded, requests, device) for requests in by_layer.values()]


def _match(rest: str, target: TargetPlan, plan: Plan, device: torch.device) -> ImageMatch:
    """`match:FILE::0` compares pixels, `match:FILE:NETWORK:LAYER:0` the activations of a layer."""
    if target.units not in ("0", "all"):
        raise BadInput(f"target '{target}' has one unit, 0")
    path, network = rest, ""
    if target.layer:
        at = [i for i, character in enumerate(rest) if character == ":"]
        splits = [(rest[:i], rest[i + 1 :]) for i in at if Path(rest[:i]).is_file()]
        if not splits:
            raise BadInput(f"target '{target}' is not match:FILE:NETWORK:LAYER:0 with a file that exists")
        path, network = splits[0]
    try:
        image = references.decode(Path(path).read_bytes())[None]
    except Exception as error:  # a decoder of foreign bytes raises whatever it likes
        raise BadInput(f"image '{path}' cannot be read ({networks.one_line(error)})") from None
    if not network:
        return ImageMatch(f"match:{path}", image)
    reader, _ = layer_reader(networks.load(network, _preprocessing(plan, network)), [target.layer], device)
    return ImageMatch(f"match:{path}:{network}", image, reader)


def _preprocessing(plan: Plan, network: str) -> networks.Preprocessing | None:
    declared: PreprocessingPlan | None = plan.preprocessing.get(network)
    return None if declared is None else networks.Preprocessing(**declared.model_dump())


def _initial(plan: Plan, generator: Generator) -> tuple[InitialCodes, Codes | None]:
    """The distribution of initial codes, and the codes that the plan names, if it does."""
    kind, _, value = plan.init.partition(":")
    if kind == "zeros":
        return generator.initial, torch.zeros(1, len(generator.centre))
    if kind == "statistics":
        if generator.name.startswith("deepsim-"):  # made with them: it knows its group and its floor
            return generator.initial, None
        return read_statistics(Path(value), generator.name, generator.code_shape), None
    if kind == "codes":
        return generator.initial, _codes_from(value, len(generator.centre))
    if kind == "images":
        images = references.load(value)
        shown = images.images(range(len(images)), generator.image_size_px)
        codes, _ = encode(generator, shown.to(torch.float32) / 255.0, INITIAL_ENCODING_STEPS)
        return generator.initial, codes
    return generator.initial, None


def _codes_from(path: str, dim: int) -> Codes:
    """(k, dim) codes from a .npz with `codes` (as `xdream encode` writes it) or a .npy. Raises BadInput."""
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = loaded if isinstance(loaded, np.ndarray) else loaded["codes"]
            codes = found.astype(np.float64, casting="same_kind")
    except Exception as error:  # a reader of foreign bytes raises whatever it likes
        raise BadInput(
            f"codes '{path}' cannot be read ({networks.one_line(error)}); give a .npz with `codes`, as "
            "xdream encode writes it, or a .npy"
        ) from None
    try:
        return checked_codes(codes.reshape(len(codes), -1) if codes.ndim > 2 and codes.size else codes, dim)
    except BadInput as error:
        raise BadInput(f"codes '{path}': {error}") from None
