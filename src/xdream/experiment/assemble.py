"""From a plan to its parts: every name looked up, every file read and checked, before anything starts."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from xdream import generators, networks, subjects
from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment import budget, defaults, engine_choice, initialization
from xdream.experiment.forward import Forward, fitting_batch
from xdream.experiment.plan import Plan, PreprocessingPlan, TargetPlan
from xdream.experiment.runs import Initial, Parts, Run
from xdream.generators import GENERATORS, Generator
from xdream.images import references
from xdream.memory import keep_freed_blocks
from xdream.optimizers import OPTIMIZERS, Optimizer, Varying
from xdream.registry import nearest
from xdream.scoring.objectives import OBJECTIVES, Objective
from xdream.subjects import LIST_SUFFIX, RIG, SUBJECTS, Subject, SubjectRequest, read_list, split

#: Images that are drawn at a time for a rig.
RIG_BATCH = 20
#: A unit: (NETWORK:LAYER:UNIT, number of the subject, number among the subject's units).
UnitAddress: TypeAlias = tuple[str, int, int]


def assemble(plan: Plan) -> Parts:
    """Make the parts of a plan. Raises BadInput (and its kinds) before anything is written."""
    regions = _regions(plan)
    plan = _resolved(plan)
    assert plan.threads is not None
    keep_freed_blocks()
    torch.set_num_threads(plan.threads)  # before the first number is computed
    device = networks.device(plan.device)
    variants = [(variant, _optimizer(variant)) for variant in plan.each()]
    declared = _distinct([variant.generator for variant, _ in variants])
    generators = tuple(GENERATORS.make(one.name, **one.options).to(device) for one in declared)
    size_px = plan.image_size_px or max(one.image_size_px for one in generators)
    if len(generators) > 1:  # what a single one draws, when it is drawn again, is shown at that size, too
        plan = plan.model_copy(update={"image_size_px": size_px})

    found = references.load(plan.references) if plan.references else None
    found_subjects, units, identities = _subjects(plan, size_px, device)
    runs, notes = _runs(variants, units, declared)
    for generator in generators:
        fingerprint = fingerprint_of(generator)
        if fingerprint:
            identities[f"generator {generator.name}"] = fingerprint
    initial = {
        (init, number): initialization.read(init, generators[number])
        for init, number in dict.fromkeys((r.init, r.generator) for r in runs)
    }
    notes = (*notes, *_unused_codes(variants, initial, declared), *regions)
    # A rig's images are searched with and reported, both.
    forward = Forward(generators, found_subjects, size_px, plan.precision if plan.rig is None else "float32")
    plan = _sized(plan, forward, runs)
    unused = [name for name in plan.preprocessing if f"network {name}" not in identities]
    if plan.precision != forward.precision:
        notes = (*notes, f"images for a rig are drawn in float32; precision {plan.precision} is for networks")
    notes = (
        *notes,
        *(f"preprocessing is declared for '{name}', but no target uses this network" for name in unused),
    )
    warnings = dict.fromkeys(
        [text for one in generators for text in one.warnings]
        + [text for one in found_subjects for text in one.warnings]
    )
    return Parts(
        plan=plan,
        declared=tuple(declared),
        generators=generators,
        forward=forward,
        references=found,
        runs=runs,
        identities=identities,
        initial=initial,
        notes=(*warnings, *plan.notes, *notes),
    )


def _regions(plan: Plan) -> Iterator[str]:
    """What to say of variants that draw with the plan's generator and would keep its codes elsewhere."""
    codes = [
        defaults.with_region(plan.generator.name, each.optimizer.name, plan.generator.options)
        for variant, each in zip(plan.variants, plan.each(), strict=bool(plan.variants))
        if variant.generator is None
    ]
    if any(one != codes[0] for one in codes):
        own = defaults.with_region(plan.generator.name, plan.optimizer.name, plan.generator.options)
        where = own.get("codes", "free")
        yield (
            f"variants without a generator of their own draw with generator.codes {where!r}, as "
            f"{plan.optimizer.name} does"
        )


def _distinct(parts: Iterable[Part]) -> list[Part]:
    """Each once, in order."""
    found: list[Part] = []
    for one in parts:
        if one not in found:
            found.append(one)
    return found


def _resolved(plan: Plan) -> Plan:
    """The plan with its defaults looked up, and its paths absolute, to be resumed from anywhere."""
    update: dict[str, Any] = {
        "optimizer": _filled(plan),
        "objective": _filled_objective(plan),
        "threads": plan.threads or torch.get_num_threads(),
        "variants": tuple(
            variant.model_copy(
                update={
                    "optimizer": _filled(each),
                    **({} if variant.generator is None else {"generator": _filled_generator(each)}),
                    "objective": _filled_objective(each),
                    "targets": _absolute_targets(each.targets),
                    "init": initialization.absolute(each.init),
                }
            )
            for variant, each in zip(plan.variants, plan.each(), strict=bool(plan.variants))
        ),
    }
    update["generator"] = _filled_generator(plan)
    if plan.references is not None:
        update["references"] = references.absolute(plan.references)
    update["targets"] = _absolute_targets(plan.targets)
    update["preprocessing"] = {subjects.absolute(k): v for k, v in plan.preprocessing.items()}
    update["init"] = initialization.absolute(plan.init)
    return plan.model_copy(update=update)


def _filled_generator(plan: Plan) -> Part:
    """The generator with the defaults it has beside the plan's optimizer, and absolute paths. Raises
    BadInput, UnknownName."""
    generator = plan.generator
    GENERATORS.factory(generator.name)
    options = generator.options
    # What is drawn at any size is drawn at the size at which it is shown.
    if plan.image_size_px and "size_px" in GENERATORS.options(generator.name):
        options = {"size_px": plan.image_size_px} | options
    options = defaults.with_region(generator.name, plan.optimizer.name, options)
    return absolute_generator(Part(name=generator.name, **GENERATORS.filled(generator.name, options)))


def _filled(plan: Plan) -> Part:
    """The optimizer with every hyperparameter that has a default for this generator and this noise."""
    optimizer = plan.optimizer
    noisy = plan.rig is not None or plan.noise_spikes is not None or plan.noise_scale is not None
    values = defaults.hyperparameters(
        plan.generator.name, optimizer.name, noisy=noisy, in_recording=plan.rig is not None
    )
    return Part(name=optimizer.name, **values | optimizer.options)


def _filled_objective(plan: Plan) -> Part:
    objective = plan.objective
    return Part(name=objective.name, **OBJECTIVES.filled(objective.name, objective.options))


def _absolute_targets(targets: Sequence[TargetPlan]) -> tuple[TargetPlan, ...]:
    """Every target by itself: with absolute paths, and the units of a list written out."""
    found: list[TargetPlan] = []
    for target in targets:
        network = subjects.absolute(target.network)
        units = {target.layer: target.units}
        if target.units.lower().endswith(LIST_SUFFIX):
            if target.layer:
                raise BadInput(f"target '{target}': the unit list contains the layers; leave the layer empty")
            units = read_list(Path(target.units).expanduser())
        found += [TargetPlan(network=network, layer=layer, units=text) for layer, text in units.items()]
    return tuple(found)


def absolute_generator(generator: Part) -> Part:
    """A generator with absolute paths: in its name, and in its options. Raises UnknownName."""
    name = generators.absolute(generator.name)
    return Part(name=name, **GENERATORS.absolute(generator.name, generator.options))


def fingerprint_of(generator: Generator) -> str:
    """What a generator's images depend on besides their codes. Raises BadInput for one that does not say."""
    found = getattr(generator, "fingerprint", None)
    if not isinstance(found, str):
        raise BadInput(
            f"generator '{generator.name}' has no fingerprint; give it an attribute `fingerprint`: the "
            'SHA-256 of its weights (xdream.networks.fingerprint(module)), or "" where it has none'
        )
    return found


def _sized(plan: Plan, forward: Forward, runs: Sequence[Run]) -> Plan:
    """The plan with its batch and its engine."""
    images = sum(r.population * r.generations for r in runs)
    engine = engine_choice.chosen(plan, forward, images)
    update: dict[str, Any] = {"engine": engine, "compiled": engine == "torch-compiled"}
    together: dict[tuple[int, int], int] = defaultdict(int)
    for r in runs:
        together[r.subject, r.generator] += r.population
    # An engine always takes whole batches: a generation in equal parts.
    generation = max(together.values(), default=1) + plan.references_per_generation
    if plan.rig is not None:  # images are drawn while the rig shows others: the smallest batch does
        return plan.model_copy(update=update | {"batch": plan.batch or RIG_BATCH})
    batch = plan.batch or -(-generation // -(-generation // fitting_batch(forward)))
    return plan.model_copy(update=update | {"batch": batch})


def _optimizer(variant: Plan) -> Optimizer[Any]:
    made = OPTIMIZERS.make(variant.optimizer.name, **variant.optimizer.options)
    if variant.init.startswith("statistics:") and made.starts_from == "centre":
        raise BadInput(
            f"init '{variant.init}' says how a population is drawn, but {variant.optimizer.name} starts from "
            "a centre; use default, zeros, codes, images or references"
        )
    return made


def _runs(
    variants: Sequence[tuple[Plan, Optimizer[Any]]],
    units: Mapping[TargetPlan, Sequence[UnitAddress]],
    generators: Sequence[Part],
) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """All runs: of each variant each unit with each seed; and what to say of their budgets."""
    runs: list[Run] = []
    notes: dict[str, None] = {}
    for variant, optimizer in variants:
        options = variant.optimizer.options
        score = score_of(variant)
        generations, said = _generations(variant, optimizer, options)
        notes |= dict.fromkeys(said)
        places = [place for target in variant.targets for place in units[target]]
        names = [name for name, _, _ in places]
        if len(set(names)) < len(names):
            twice = min(name for name in names if names.count(name) > 1)
            raise BadInput(f"target {twice} is named twice; use runs to repeat it with other seeds")
        runs += [
            Run(
                id=len(runs) + number,
                target=target,
                generator=generators.index(variant.generator),
                subject=subject,
                unit=unit,
                seed=seed,
                optimizer=variant.optimizer.name,
                hyperparameters=options,
                objective=variant.objective,
                score=score,
                population=optimizer.population,
                presentations=variant.presentations,
                generations=generations,
                noise_spikes=variant.noise_spikes,
                noise_scale=variant.noise_scale,
                plateau=variant.plateau,
                init=variant.init,
                responses=variant.responses,
            )
            for number, ((target, subject, unit), seed) in enumerate(
                itertools.product(places, range(variant.seed, variant.seed + variant.runs))
            )
        ]
    return tuple(runs), tuple(notes)


def _unused_codes(
    variants: Sequence[tuple[Plan, Optimizer[Any]]],
    initial: Mapping[tuple[str, int], Initial],
    generators: Sequence[Part],
) -> Iterator[str]:
    """What to say of more initial codes than a population takes."""
    for (init, number), one in initial.items():
        count = 0 if one.codes is None else len(one.codes)
        alike = [
            o
            for variant, o in variants
            if (variant.init, generators.index(variant.generator)) == (init, number)
            and o.starts_from == "population"
        ]
        used = min((o.population for o in alike), default=count)
        if count > used:
            named = f" ({init})" if len(initial) > 1 else ""
            yield (
                f"the first {used} of {count} initial codes are used{named}; a population of {count} would "
                "use all"
            )


def score_of(plan: Plan) -> Objective:
    """The objective's formula. Names of a session's channels become their numbers. Raises BadInput."""
    objective = plan.objective
    options = objective.options
    if plan.session is not None:
        try:
            options = {key: _numbered(value, plan.session.channels) for key, value in options.items()}
        except ValueError as error:
            raise BadInput(f"objective {objective.name}: {error}") from None
    score = OBJECTIVES.make(objective.name, **options)
    for target in plan.targets:
        _check_channels(plan, target, score)
    return score


def _check_channels(plan: Plan, target: TargetPlan, score: Objective) -> None:
    """Raise BadInput when an objective asks for channels that a run of this target does not have."""
    whole = plan.session is not None and target.units == "all"
    channels = len(plan.session.channels) if plan.session is not None and whole else 1
    try:
        score(torch.zeros(1, 1, channels, dtype=torch.float64))
    except IndexError:
        remedy = f"a target over several channels is {RIG}:NAME:all"
        if plan.session is None:
            remedy = "each run of such a target is driven by one unit, channel 0; use mean or minus-mean"
        raise BadInput(
            f"objective {plan.objective.name} of target '{target}' names a channel that is not among its "
            f"{channels}; {remedy}"
        ) from None


def _numbered(value: Any, channels: Sequence[str]) -> Any:
    if isinstance(value, list | tuple):
        return [_numbered(one, channels) for one in value]
    if not isinstance(value, str):
        return value
    if value not in channels:
        raise ValueError(f"there is no channel '{value}'; near: {nearest(value, list(channels))}")
    return channels.index(value)


def _generations(
    plan: Plan, optimizer: Optimizer[Any], hyperparameters: dict[str, Any]
) -> tuple[int, tuple[str, ...]]:
    """How many generations the budget buys at the largest population, and what to say of the rest."""
    population = optimizer.population
    each = population * plan.repeats
    generations = budget.generations(plan.presentations, population, plan.repeats)
    notes = []
    if hyperparameters.get("population", population) != population:
        notes.append(
            f"population {hyperparameters['population']} is odd; {plan.optimizer.name} shows codes in "
            f"pairs and uses {population}"
        )
    if generations * each != plan.presentations and not isinstance(optimizer, Varying):
        notes.append(
            f"{plan.presentations} presentations are no multiple of a generation of {each}; "
            f"{generations * each} are shown"
        )
    return generations, tuple(notes)


def _subjects(
    plan: Plan, size_px: int, device: torch.device
) -> tuple[tuple[Subject, ...], dict[TargetPlan, list[UnitAddress]], dict[str, str]]:
    """The subjects (one per network and layer), the units of each target, identities."""
    identities: dict[str, str] = {}
    requests: dict[str, list[TargetPlan]] = defaultdict(list)
    for target in dict.fromkeys(target for variant in plan.each() for target in variant.targets):
        requests[target.network].append(target)
    found: list[Subject] = []
    units: dict[TargetPlan, list[UnitAddress]] = {}
    for network, targets in requests.items():
        for subject, counts in _subjects_of(network, targets, plan, size_px, device, identities):
            names = iter(enumerate(subject.units))
            for target, count in counts.items():
                units[target] = [
                    (f"{network}:{unit}", len(found), i) for i, unit in itertools.islice(names, count)
                ]
            found.append(subject)
    return tuple(found), units, identities


def subject_of(target: str, size_px: int, plan: Plan) -> Subject:
    """The subject behind one target by itself. plan: for preprocessing and device. Raises BadInput."""
    network, layer, units = split(target)
    one = TargetPlan(network=subjects.absolute(network), layer=layer, units=units)
    [(subject, _)] = _subjects_of(one.network, [one], plan, size_px, networks.device(plan.device), {})
    return subject


def _subjects_of(
    network: str,
    targets: Sequence[TargetPlan],
    plan: Plan,
    size_px: int,
    device: torch.device,
    identities: dict[str, str],
) -> Iterator[tuple[Subject, dict[TargetPlan, int]]]:
    """The subjects of one network, and how many units of each are each target's, in order."""
    together: dict[object, list[TargetPlan]] = defaultdict(list)
    for target in targets:
        together[target.layer if SUBJECTS.declared(network, "together", False) else target].append(target)
    load = functools.cache(functools.partial(_loaded, plan, identities))
    channels = None if plan.session is None else len(plan.session.channels)
    for alike in together.values():
        units = tuple(target.units for target in alike)
        request = SubjectRequest(network, alike[0].layer, units, size_px, device, load, channels)
        subject = subjects.make_subject(request)
        identities |= subjects.identities(subject)
        counts = getattr(subject, "counts", (len(subject.units),))
        yield subject, dict(zip(alike, counts, strict=True))


def _loaded(plan: Plan, identities: dict[str, str], network: str) -> networks.Network:
    """A network with the plan's preprocessing; its weights are noted among the identities."""
    declared: PreprocessingPlan | None = plan.preprocessing.get(network)
    preprocessing = None if declared is None else networks.Preprocessing(**declared.model_dump())
    loaded = networks.load(network, preprocessing)
    identities[f"network {network}"] = networks.fingerprint(loaded.module)
    return loaded
