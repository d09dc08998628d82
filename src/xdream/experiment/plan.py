"""The plan: one frozen description of an experiment, TOML in and out. It says what, never how."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr, model_validator

from xdream.description import Description, Frozen, Part
from xdream.errors import BadInput
from xdream.experiment.session_plan import SessionPlan as SessionPlan
from xdream.generators.cards import SHIPPED
from xdream.scoring.responses import ResponsesPlan
from xdream.subjects.target import RIG, split

if TYPE_CHECKING:
    from xdream.store import Record

#: What `init` may say; the part after the colon is a path or a choice.
INIT_FORMS = (
    "default",
    "zeros",
    "statistics:FILE",
    "codes:FILE",
    "images:FOLDER",
    "references:best|middle|worst",
)


class TargetPlan(Frozen):
    """Units of one layer of a network; several units are several runs."""

    network: str = Field(min_length=1)
    layer: str = ""
    units: str = Field(default="all", min_length=1)

    def __str__(self) -> str:
        return f"{self.network}:{self.layer}:{self.units}"


class NetworkPlan(Frozen):
    """About a network, for tables and figures. names: a text file with the name of each unit, one a line."""

    names: str = Field(min_length=1)


class PreprocessingPlan(Frozen):
    """How 8-bit images become the input of a network of the user's own."""

    size_px: tuple[int, int] | None = None
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = Field(default=255.0, gt=0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Literal["NCHW", "NHWC"] = "NCHW"


def _target(value: Any) -> Any:
    if isinstance(value, str):
        network, layer, units = split(value)
        return {"network": network, "layer": layer, "units": units}
    return value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | TargetPlan) else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Targets = Annotated[tuple[Annotated[TargetPlan, BeforeValidator(_target)], ...], BeforeValidator(_several)]
NamedPart = Annotated[Part, BeforeValidator(_named)]


DEFAULT_OBJECTIVE = "mean"
#: What searches best over units, noise and generators (benches/optimizers.py, docs/optimizers.md).
DEFAULT_OPTIMIZER = "rank-nes"
#: What is said of a plan file that takes it, which once meant another.
NO_OPTIMIZER = "names no optimizer"


class Variant(Frozen):
    """Some of the plan's runs, with these keys instead of the plan's own."""

    targets: Targets | None = None
    generator: NamedPart | None = None
    optimizer: NamedPart | None = None
    objective: NamedPart | None = None
    presentations: int | None = Field(default=None, ge=1, le=10**15)
    noise_spikes: float | None = Field(default=None, gt=0)
    noise_scale: float | None = Field(default=None, gt=0)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    runs: int | None = Field(default=None, ge=1, le=100_000)
    plateau: int | None = Field(default=None, ge=1)
    init: str | None = None
    responses: ResponsesPlan | None = None

    @model_validator(mode="after")
    def _written(self) -> Self:
        nothing = [key for key in self.model_fields_set if getattr(self, key) is None]
        if nothing:  # TOML has no word for it
            raise ValueError(f"{nothing[0]} is None; leave it out of the plan and give it in other variants")
        return self


#: Keys that came with a schema of the store, and what releases before it did: a plan that was stored then
#: has these values where it lacks the keys, whatever the default is today. Schema -> dotted key -> value.
#: A key of the part of one name alone is written `generator:fourier.size_px`. Parts of variants have it too.
VALUES_BEFORE: dict[int, dict[str, Any]] = {
    5: {"keep_images": "none", "generator.codes": "free", "session.undo_s": 0.0}
}

#: Keys that every stored plan has since they came: a stored plan without one has this value.
WITHOUT_KEY: dict[str, Any] = {"session.first_block": 1, "session.even_blocks": False}


class Plan(Description):
    """Everything about an experiment.

    targets: what to drive; each unit is a run. runs: repetitions of each, with seeds seed, seed + 1, …
    presentations: budget of each run, generated images times repeats (references are not counted).
    noise_spikes: Poisson noise such that the expected best of min(10,000, N) references gives this many
    spikes; noise_scale: the same noise with spikes per unit of activation given. references: a folder, a
    zip file or "scikit-image". references_per_generation: how many are interleaved in each generation.
    image_size_px: the size at which images are shown. variants: runs that differ in more than their seed,
    each a change of these keys; without any, the plan itself is the only one. plateau: a run ends when the
    mean score of a generation has not been above that of all before for so many generations. record:
    "everything", or "scores", from which the rest follows, for large studies of networks. keep_images: which
    of the shown images the record keeps as PNG: all, the best of each generation, or none; None: all of a
    session's, the best of an experiment's, none in a record of scores.

    batch: most images in one pass through generator and network (recorded, because the last digit of a
    network's response depends on it); None: as many as fit. threads: of the CPU, recorded for the same
    reason; None: as many as there are. engine: what computes generator and networks; auto: OpenVINO where it
    is installed and there are images enough, PyTorch's compiler for large experiments, else PyTorch; the one
    that was chosen is recorded. compiled: from before there were engines: true is torch-compiled, false torch
    (or what `engine` says). precision: of the products in generator and networks while searching; what is
    reported is computed in float32.

    network: by its name, a file with the names of its units, for tables and figures.

    rig: the bridge to a laboratory, with its options; display: another bridge that carries the images, where
    the rig only records. session: channels, blocks and waiting. responses: how recordings become numbers.
    """

    name: str = Field(
        default="evolution", pattern=r"^[\w.-]+$", description="a word for the name of the default folder"
    )
    kind: ClassVar[str] = "plan"
    inner: ClassVar[dict[str, type[BaseModel]]] = {
        "targets": TargetPlan,
        "preprocessing": PreprocessingPlan,
        "network": NetworkPlan,
        "variants": Variant,
        "session": SessionPlan,
        "responses": ResponsesPlan,
    }

    targets: Targets = Field(description="the units to drive, e.g. efficientnet-lite0:_fc:281")
    generator: NamedPart = Field(
        default=Part(name=SHIPPED), description="the generator; see xdream list generators"
    )
    optimizer: NamedPart = Field(
        default=Part(name=DEFAULT_OPTIMIZER), description="the optimizer; see xdream list optimizers"
    )
    objective: NamedPart = Field(
        default=Part(name=DEFAULT_OBJECTIVE), description="the objective; see xdream list objectives"
    )
    presentations: int = Field(default=10_000, ge=1, le=10**15, description="budget of each run")
    repeats: int = Field(default=1, ge=1, description="presentations of each image")
    noise_spikes: float | None = Field(
        default=None, gt=0, description="Poisson noise: the expected best reference gives N spikes"
    )
    noise_scale: float | None = Field(
        default=None, gt=0, description="Poisson noise: K spikes per unit of activation"
    )
    references: str | None = Field(
        default=None, description="natural images: a folder, a zip file, or scikit-image"
    )
    references_per_generation: int = Field(
        default=0, ge=0, description="references interleaved in every generation"
    )
    init: str = Field(default="default", description=f"initial codes: {', '.join(INIT_FORMS)}")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the first run")
    runs: int = Field(
        default=1, ge=1, le=100_000, description="runs of each target, with seeds seed, seed + 1, …"
    )
    image_size_px: int | None = Field(
        default=None, ge=8, le=4096, description="size at which images are shown"
    )
    variants: tuple[Variant, ...] = ()
    plateau: int | None = Field(
        default=None, ge=1, description="a run ends after N generations without a better mean score"
    )
    record: Literal["everything", "scores"] = Field(
        default="everything", description="scores: a small record, for large studies"
    )
    keep_images: Literal["best", "all", "none"] | None = Field(
        default=None,
        description="images kept as PNG (default: of a session all, of an experiment the best of each "
        "generation, in a record of scores none)",
    )
    batch: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    device: str = Field(default="cpu", description="cpu, cuda, …")
    engine: str = Field(
        default="auto",
        min_length=1,
        description="what computes generator and networks: auto, or one of xdream list engines",
    )
    compiled: bool | None = Field(
        default=None,
        description="the same as engine torch-compiled; with no-, as engine torch (default: engine decides)",
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        default="float32",
        description="precision of the products in generator and networks while searching",
    )
    preprocessing: dict[str, PreprocessingPlan] = Field(default={})
    network: dict[str, NetworkPlan] = Field(default={})
    rig: NamedPart | None = None
    display: NamedPart | None = None
    session: SessionPlan | None = None
    responses: ResponsesPlan = ResponsesPlan()

    _notes: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """One from a file, with a note where it takes a default that was another before. Raises BadInput."""
        plan = super().read(path)
        if "optimizer" in plan.model_fields_set:
            return plan
        return plan.noted(
            [f"{path} {NO_OPTIMIZER}: {DEFAULT_OPTIMIZER} is the default now, it was genetic before"]
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever runs the plan is to be told."""
        return self._notes

    def noted(self, notes: Sequence[str]) -> Self:
        """The same with these notes."""
        same = self.model_copy()
        same._notes = tuple(notes)
        return same

    @classmethod
    def stored(cls, text: str, schema: int) -> Self:
        """A plan as a store of a schema holds it. Raises BadInput."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"the stored plan is damaged: {error}") from None
        # Before there were engines, `compiled` said which of the two it was; sessions were never compiled.
        compiled = values.get("compiled") and "rig" not in values
        values.setdefault("engine", "torch-compiled" if compiled else "torch")
        if values["engine"] != "torch-compiled":
            values["compiled"] = False
        for since, keys in [*VALUES_BEFORE.items(), (schema + 1, WITHOUT_KEY)]:
            for key, value in keys.items() if schema < since else ():
                *tables, last = key.split(".")
                for inner in [values, *values.get("variants", [])] if tables else [values]:
                    for table in tables:  # a table that a plan does not have gets no key
                        table, _, part = table.partition(":")
                        inner = inner.get(table) if isinstance(inner, dict) else None
                        inner = inner if not part or (inner or {}).get("name") == part else None
                    if isinstance(inner, dict):
                        inner.setdefault(last, value)
        return cls.make(**values)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.targets:
            raise ValueError("targets is empty; give at least one, NETWORK:LAYER:UNITS")
        if self.noise_spikes and self.noise_scale:
            raise ValueError("noise_spikes and noise_scale are both given; give one")
        if self.noise_spikes and not self.references:
            raise ValueError("noise_spikes needs references, which set the scale; give them or noise_scale")
        if self.references_per_generation and not self.references:
            raise ValueError("references_per_generation needs references")
        kind, _, value = self.init.partition(":")
        known = {form.partition(":")[0]: ":" in form for form in INIT_FORMS}
        if kind not in known or bool(value) != known[kind]:
            raise ValueError(f"init is '{self.init}'; it is one of {', '.join(INIT_FORMS)}")
        if kind == "references" and (value not in ("best", "middle", "worst") or not self.references):
            raise ValueError(f"init is '{self.init}'; it needs references, and best, middle or worst")
        if self.compiled and self.engine not in ("auto", "torch-compiled"):
            raise ValueError(f"compiled is engine torch-compiled, and engine is '{self.engine}'; give one")
        if self.compiled is False and self.engine == "torch-compiled":
            raise ValueError("engine is 'torch-compiled' and compiled is false; give one")
        if self.seed + self.runs > 2**63:
            raise ValueError(f"seed {self.seed} leaves no room for {self.runs} runs below 2**63")
        if self.record == "scores" and self.references_per_generation:
            raise ValueError("references_per_generation needs record everything, which keeps their responses")
        if self.record == "scores" and self.keep_images in ("best", "all"):
            raise ValueError(
                f"keep_images '{self.keep_images}' needs record everything; a record of scores keeps none"
            )
        self._check_rig()
        self.each()
        return self

    @property
    def images_kept(self) -> Literal["best", "all", "none"]:
        """Which of the shown images are kept."""
        if self.keep_images is not None:
            return self.keep_images
        if self.record == "scores":
            return "none"
        return "best" if self.rig is None else "all"

    def _check_rig(self) -> None:
        """What a recording cannot have, and what only a recording has."""
        recorded = {target.network == RIG for target in self.targets}
        if self.rig is None:
            if True in recorded:
                raise ValueError(f"a target {RIG}:… needs a rig: a table [rig] with the name of a bridge")
            for key in ("display", "session"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} needs a rig: a table [rig] with the name of a bridge")
            return
        if False in recorded:
            raise ValueError(f"with a rig every target is {RIG}:NAME:CHANNELS (NAME may be empty)")
        if self.session is None:
            raise ValueError("a rig needs a table [session] with at least its channels")
        if self.noise_spikes or self.noise_scale:
            raise ValueError(
                "noise_spikes and noise_scale are for networks; responses of a rig already contain noise"
            )
        if self.record == "scores":
            raise ValueError("a session is recorded with everything; leave record out")
        if self.responses.zscore_blocks and not self.references_per_generation:
            raise ValueError("responses.zscore_blocks needs references and references_per_generation")
        if self.init.startswith("references:"):
            raise ValueError("init references:… needs responses before the first block; use images:FOLDER")

    def each(self) -> tuple[Self, ...]:
        """The plan of each variant, without variants. Raises ValueError for one that cannot be."""
        plans = []
        for variant in self.variants or (Variant(),):
            changes = {key: getattr(variant, key) for key in variant.model_fields_set}
            if {"noise_spikes", "noise_scale"} & changes.keys():
                changes = {"noise_spikes": None, "noise_scale": None} | changes
            values = {key: getattr(self, key) for key in type(self).model_fields} | changes | {"variants": ()}
            plans.append(type(self)(**values) if self.variants else self)
        return tuple(plans)


#: The fact that says which generator draws for which run, where there are several.
GENERATORS_FACT = "generators"


def written_generators(parts: Sequence[Part], of_runs: Sequence[int]) -> dict[str, str]:
    """The fact of an experiment: its generators, and which of them is each run's; none where there is one."""
    if len(parts) == 1:
        return {}
    of_parts = [{"name": one.name} | one.options for one in parts]
    return {GENERATORS_FACT: json.dumps({"parts": of_parts, "of_runs": list(of_runs)})}


def generators_of(record: Record) -> list[Part]:
    """The generator of each run of an experiment, by the run's number."""
    known = record.facts.get(GENERATORS_FACT)
    if known is None:
        return [plan_of(record).each()[0].generator] * len(record.runs())
    found = json.loads(known)
    parts = [Part(**one) for one in found["parts"]]
    return [parts[number] for number in found["of_runs"]]


def plan_of(record: Record) -> Plan:
    """The plan of an experiment, with the defaults of the release that stored it."""
    return Plan.stored(record.facts["plan"], record.plan_schema)
