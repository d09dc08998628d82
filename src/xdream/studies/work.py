"""The work of a shard: conditions become experiments, experiments become rows of the table."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xdream import networks
from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment import loop
from xdream.experiment.callbacks import Labelled, Watcher
from xdream.experiment.defaults import hyperparameters
from xdream.experiment.plan import Plan, Variant
from xdream.optimizers import OPTIMIZERS
from xdream.store import FILE_NAME, Record
from xdream.studies import natural
from xdream.studies.natural import Natural
from xdream.studies.places import Place, candidates, short
from xdream.studies.plan import Shard, StudyPlan
from xdream.studies.table import Row

#: Whose expected best sets the scale of the noise (Xiao & Kreiman 2020).
NOISE_REFERENCES = 10_000
#: Responses to natural images are asked for this many units, or twice, three times as many.
SPARE_STEP = 16


#: What is used where optimizers are not compared.
GENETIC = Part(name="genetic")


@dataclass(frozen=True)
class Condition:
    """Evolutions that differ in unit and seed only.

    name: as the table has it. optimizer: what is not given has its default for this generator and noise.
    seeds: how many; None: those of the study. spikes: Poisson noise such that the expected best of 10,000
    natural images gives so many. init: as in a plan, or for each unit.
    """

    name: str
    generator: Part
    optimizer: Part = GENETIC
    spikes: float | None = None
    repeats: int = 1
    seeds: int | None = None
    init: str | Callable[[str], str] = "default"

    def check_budget(self, presentations: int | None) -> None:
        """Raise BadInput where the budget does not suffice for one generation."""
        values = hyperparameters(self.generator.name, self.optimizer.name, noisy=self.spikes is not None)
        population = OPTIMIZERS.make(self.optimizer.name, **values | self.optimizer.options).population
        least = population * self.repeats
        if presentations is not None and presentations < least:
            raise BadInput(f"presentations is {presentations}; one generation of '{self.name}' takes {least}")


@dataclass(frozen=True)
class Evolved:
    """One evolution that is done: what it was, where it is, and its noise-free scores by generation."""

    condition: Condition
    unit: str
    seed: int
    record: Record
    run: int
    scores: list[np.ndarray[Any, np.dtype[np.float64]]] = field(repr=False)

    @property
    def first(self) -> float:
        """The best of the first generation."""
        return _best(self.scores[:1])

    @property
    def last(self) -> float:
        """The best of the last generation: what the paper reports."""
        return _best(self.scores[-1:])

    @property
    def presentations(self) -> int:
        """Repeats included."""
        return sum(len(one) for one in self.scores) * self.condition.repeats


class Work:
    """What a shard computes with. folder: of the shard. Constructing does nothing."""

    def __init__(self, plan: StudyPlan, shard: Shard, folder: Path, watcher: Watcher) -> None:
        self.plan, self.shard, self.folder, self.watcher = plan, shard, folder, watcher

    @property
    def place(self) -> Place:
        """The layer."""
        return self.shard.place

    @property
    def size_px(self) -> int:
        """At which all images are shown."""
        assert self.plan.image_size_px is not None
        return self.plan.image_size_px

    @cached_property
    def natural(self) -> Natural:
        """The responses of the units, and of some to spare, to the natural images."""
        study = self.folder.parent.parent
        return natural.responses(
            natural.from_manifest(study, self.plan.references),
            self.plan.network(self.place.network),
            self.place.layer,
            candidates(self.place, _with_spare(self.plan.units)),
            self.size_px,
            networks.device(self.plan.device),
            study.parent / "natural",
            self.watcher,
        )

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Those that the study asks for and that some natural image excites: others have no natural scale.

        Raises BadInput when there is none.
        """
        natural = self.natural
        # The expected best sets the noise; where it is positive the best is, too, which is divided by.
        excited = [u for u in natural.units if natural.expected_best(u, NOISE_REFERENCES) > 0.0]
        if not excited:
            raise BadInput(
                f"no unit of {self.place} responds to any of the natural images, so nothing can be compared "
                "with them; give other units or references"
            )
        wanted = len(natural.units) if isinstance(self.plan.units, str) else self.plan.units
        assert wanted is not None
        if len(excited) < wanted:
            self.watcher.trouble(
                f"{self.shard.name}: only {len(excited)} of {wanted} units respond above 0 to natural "
                "images; the others are left out"
            )
        return tuple(excited[:wanted])

    def evolve(self, conditions: Sequence[Condition]) -> Iterator[Evolved]:
        """The evolutions of every unit, run or gone on with, in as few experiments as there can be."""
        together: dict[str, list[Condition]] = defaultdict(list)
        for one in conditions:
            together[f"{one.generator.name} x{one.repeats}"].append(one)
        for number, (name, alike) in enumerate(together.items()):
            plan, runs = self._plan(alike)
            with contextlib.closing(self.experiment(f"{number:02}", plan, name)) as record:
                planned = [(run.target, run.seed) for run in record.runs()]
                assert planned == [(self.target(unit), seed) for _, unit, seed in runs]
                for run, (condition, unit, seed) in enumerate(runs):
                    yield Evolved(condition, unit, seed, record, run, record.scores(run))

    def experiment(self, key: str, plan: Plan, said: str) -> Record:
        """An experiment of the shard, run or gone on with; one that is done is only read."""
        folder = self.folder / key
        # The best of many unlike runs says nothing.
        watcher = Labelled(self.watcher, f"{self.shard.name}, {said}", with_best=False)
        if (folder / FILE_NAME).exists():
            return loop.resume(folder, watcher)
        return loop.run(plan, folder, watcher)

    def target(self, unit: str) -> str:
        """As in a plan."""
        return f"{self.place}:{unit}"

    def base(self, **values: Any) -> Plan:
        """A plan with what all experiments of the study share. Raises BadInput."""
        shared = {
            "name": self.plan.study,
            "image_size_px": self.size_px,
            "presentations": self.plan.presentations,
            "seed": self.plan.seed,
            "device": self.plan.device,
            "threads": self.plan.threads,
            "batch": self.plan.batch,
            "record": "scores",
            "preprocessing": self.plan.preprocessing,
        }
        return Plan.make(**shared | values)

    def row(self, measure: str, value: float = math.nan, **columns: Any) -> Row:
        """A row of this shard."""
        of = Row(self.plan.study, short(self.place.network), self.place.depth, self.place.layer)
        return replace(of, measure=measure, value=value, **columns)

    def rows(self, one: Evolved) -> Iterator[Row]:
        """What every study says of an evolution."""
        best = self.natural.best(one.unit)
        for measure, value in (
            ("relative activation", one.last / best),
            ("initial relative activation", one.first / best),
            ("over expected best", one.last / self.natural.expected_best(one.unit, one.presentations)),
            ("last", one.last),
            ("first", one.first),
            ("presentations", float(one.presentations)),
        ):
            yield self.row(measure, value, **columns(one))

    def natural_rows(self) -> Iterator[Row]:
        """What the natural images gave; and how many units it left out."""
        asked = len(self.natural.units) if isinstance(self.plan.units, str) else self.plan.units
        yield self.row("units left out", float((asked or 0) - len(self.units)))
        for unit in self.units:
            best = self.natural.best(unit)
            yield self.row("best natural", best, unit=unit)
            yield self.row("natural images", float(len(self.natural.references)), unit=unit)
            expected = self.natural.expected_best(unit, NOISE_REFERENCES)
            yield self.row("expected best natural", expected / best, unit=unit)

    def _plan(self, alike: Sequence[Condition]) -> tuple[Plan, list[tuple[Condition, str, int]]]:
        """One experiment of some conditions; its runs in order, as (condition, unit, seed)."""
        variants: list[Variant] = []
        runs: list[tuple[Condition, str, int]] = []
        for condition in alike:
            seeds = condition.seeds or self.plan.seeds or 1
            own = condition.spikes is not None or callable(condition.init)
            for units in [(unit,) for unit in self.units] if own else [self.units]:
                variants.append(self._variant(condition, units, seeds))
                numbers = range(self.plan.seed, self.plan.seed + seeds)
                runs += [(condition, unit, seed) for unit, seed in itertools.product(units, numbers)]
        first = alike[0]
        targets = [self.target(unit) for unit in self.units]
        return (
            self.base(targets=targets, generator=first.generator, repeats=first.repeats, variants=variants),
            runs,
        )

    def _variant(self, condition: Condition, units: tuple[str, ...], seeds: int) -> Variant:
        values: dict[str, Any] = {
            "targets": [self.target(unit) for unit in units],
            "optimizer": condition.optimizer,
            "runs": seeds,
        }
        if condition.spikes is not None:
            expected = self.natural.expected_best(units[0], NOISE_REFERENCES)
            values["noise_scale"] = condition.spikes / expected
        if condition.init != "default":
            values["init"] = condition.init(units[0]) if callable(condition.init) else condition.init
        return Variant(**values)


def columns(one: Evolved) -> Mapping[str, Any]:
    """Which evolution a row is of."""
    return {
        "unit": one.unit,
        "generator": one.condition.generator.name,
        "optimizer": one.condition.optimizer.name,
        "condition": one.condition.name,
        "seed": one.seed,
    }


def _with_spare(units: int | str | None) -> int | str:
    """More units than wanted, as some respond to no natural image; few numbers, that studies share them."""
    assert units is not None
    return units if isinstance(units, str) else SPARE_STEP * -(-(units + units // 4 + 8) // SPARE_STEP)


def _best(scores: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> float:
    seen = [one for one in scores if not np.isnan(one).all()]
    return float(np.nanmax(np.concatenate(seen))) if seen else math.nan
