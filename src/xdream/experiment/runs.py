"""What an experiment consists of, once its plan has been assembled: its runs and its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdream.description import Part
from xdream.experiment.forward import Forward
from xdream.experiment.plan import Plan
from xdream.generators import CodeDistribution, Generator
from xdream.images.references import References
from xdream.scoring.objectives import Objective
from xdream.scoring.responses import ResponsesPlan
from xdream.types import Codes


@dataclass(frozen=True)
class Initial:
    """What the runs with one `init` start from.

    distribution: of codes that are drawn. codes: (k, d), where `init` names them; None where they are drawn
    or follow from the references' responses.
    """

    distribution: CodeDistribution
    codes: Codes | None = None


@dataclass(frozen=True)
class Run:
    """One evolution of the experiment.

    target: NETWORK:LAYER:UNIT. generator: which of the parts' generators draws. subject, unit: which subject
    answers, and which of its units is this run's. score: the objective's formula. population: most images per
    generation. presentations: the budget. generations: what it buys at that population. noise_spikes,
    noise_scale, plateau, init, responses: as in a plan.
    """

    id: int
    target: str
    generator: int
    subject: int
    unit: int
    seed: int
    optimizer: str
    hyperparameters: dict[str, Any]
    objective: Part
    score: Objective
    population: int
    presentations: int
    generations: int
    noise_spikes: float | None
    noise_scale: float | None
    plateau: int | None
    init: str
    responses: ResponsesPlan

    def optimizer_json(self) -> str:
        """The optimizer's name and every hyperparameter, as the store keeps it."""
        return json.dumps({"name": self.optimizer} | self.hyperparameters)

    def objective_json(self) -> str:
        """The objective's name and options, as the store keeps it."""
        return json.dumps({"name": self.objective.name} | self.objective.options)


@dataclass(frozen=True)
class Parts:
    """Everything that a plan names, made and checked. plan: with every default filled in.

    declared, generators: as the plan has them, and made; each once, in the order of the variants that draw
    with them. identities: SHA-256 of the weights of each generator and of each network, and of each image to
    match: what must be the same when the experiment is resumed. Code of the user's own is not looked into.
    initial: what runs start from, by their `init` and their generator. notes: what the user should know
    before the start.
    """

    plan: Plan
    declared: tuple[Part, ...]
    generators: tuple[Generator, ...]
    forward: Forward
    references: References | None
    runs: tuple[Run, ...]
    identities: dict[str, str]
    initial: Mapping[tuple[str, int], Initial]
    notes: tuple[str, ...]

    @property
    def generator(self) -> Generator:
        """The first, where there is one for all runs."""
        return self.generators[0]

    @property
    def image_size_px(self) -> int:
        """The size at which images are shown."""
        return self.forward.size_px
