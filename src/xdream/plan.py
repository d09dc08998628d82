"""The plan: one frozen description of an experiment, TOML in and out. It says what, never how."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from xdream.errors import BadInput
from xdream.registry import nearest
from xdream.subjects import split

#: What `init` may say; the part after the colon is a path or a choice.
INIT_FORMS = (
    "default",
    "zeros",
    "statistics:FILE",
    "codes:FILE",
    "images:FOLDER",
    "references:best|middle|worst",
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Part(BaseModel):
    """A part by name; every other key is one of its options, checked when the part is made."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `name`."""
        return dict(self.model_extra or {})


class TargetPlan(_Frozen):
    """Units of one layer of a network; several units are several runs."""

    network: str = Field(min_length=1)
    layer: str = ""
    units: str = Field(default="all", min_length=1)

    def __str__(self) -> str:
        return f"{self.network}:{self.layer}:{self.units}"


class PreprocessingPlan(_Frozen):
    """How 8-bit images become the input of a network of the user's own."""

    size_px: tuple[int, int] | None = None
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = Field(default=255.0, gt=0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


def _target(value: Any) -> Any:
    if isinstance(value, str):
        network, layer, units = split(value)
        return {"network": network, "layer": layer, "units": units}
    return value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | TargetPlan) else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Plan(_Frozen):
    """Everything about an experiment.

    targets: what to drive; each unit is a run. runs: repetitions of each, with seeds seed, seed + 1, …
    presentations: budget of each run, generated images times repeats (references are not counted).
    noise_spikes: Poisson noise such that the expected best of min(10,000, N) references gives this many
    spikes; noise_scale: the same noise with spikes per unit of activation given. references: a folder, a
    zip file or "scikit-image". references_per_generation: how many are interleaved in each generation.
    image_size_px: the size at which images are shown. batch: most images in one pass through generator and
    network (recorded, because the last digit of a network's response depends on it). threads: of the CPU,
    recorded for the same reason; None: as many as there are.
    """

    name: str = Field(default="evolution", pattern=r"^[\w.-]+$")
    targets: Annotated[tuple[Annotated[TargetPlan, BeforeValidator(_target)], ...], BeforeValidator(_several)]
    generator: Annotated[Part, BeforeValidator(_named)] = Part(name="fourier")
    optimizer: Annotated[Part, BeforeValidator(_named)] = Part(name="genetic")
    objective: Annotated[Part, BeforeValidator(_named)] = Part(name="mean")
    presentations: int = Field(default=10_000, ge=1, le=10**15)
    repeats: int = Field(default=1, ge=1)
    noise_spikes: float | None = Field(default=None, gt=0)
    noise_scale: float | None = Field(default=None, gt=0)
    references: str | None = None
    references_per_generation: int = Field(default=0, ge=0)
    init: str = "default"
    seed: int = Field(default=0, ge=0, lt=2**63)
    runs: int = Field(default=1, ge=1, le=100_000)
    image_size_px: int | None = Field(default=None, ge=8, le=4096)
    batch: int = Field(default=50, ge=1)
    threads: int | None = Field(default=None, ge=1)
    device: str = "cpu"
    preprocessing: dict[str, PreprocessingPlan] = {}

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
        if self.seed + self.runs > 2**63:
            raise ValueError(f"seed {self.seed} leaves no room for {self.runs} runs below 2**63")
        return self

    @classmethod
    def make(cls, /, **values: Any) -> Plan:
        """A plan from its values. Raises BadInput: one line that names each wrong key and value."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise BadInput(f"plan: {_one_line(error)}") from None

    @classmethod
    def from_toml(cls, text: str) -> Plan:
        """A plan from TOML. Raises BadInput."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"plan: not TOML: {error}") from None
        return cls.make(**values)

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """A plan from a file. Raises BadInput."""
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"plan '{path}' cannot be read: {error}") from None
        try:
            return cls.from_toml(text)
        except BadInput as error:
            raise BadInput(f"plan '{path}': {str(error).removeprefix('plan: ')}") from None

    def to_toml(self) -> str:
        """The plan as TOML; reading it back gives an equal plan."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _one_line(error: ValidationError) -> str:
    phrases = []
    for one in error.errors():
        where = ".".join(str(part) for part in one["loc"])
        what = str(one["msg"]).removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            key = str(one["loc"][-1])
            inner: dict[str, type[BaseModel]] = {"targets": TargetPlan, "preprocessing": PreprocessingPlan}
            known = inner[str(one["loc"][0])] if len(one["loc"]) > 1 else Plan
            what = f"unknown key; near: {nearest(key, sorted(known.model_fields))}"
        elif where and one["type"] != "value_error":
            what = f"{what[0].lower()}{what[1:]} (it is {one['input']!r})"
        phrases.append(f"{where}: {what}" if where else what)
    return "; ".join(phrases)
