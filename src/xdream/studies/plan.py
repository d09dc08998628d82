"""What a study was asked for: one frozen description, TOML in and out, which expands into shards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from xdream import generators, networks, subjects
from xdream.description import Description, Part
from xdream.errors import BadInput
from xdream.experiment.plan import NamedPart, PreprocessingPlan
from xdream.images import references
from xdream.images.references import SCIKIT_IMAGE
from xdream.studies.network_layers import LayerChoice, layers_at, short
from xdream.subjects.target import split_layer

if TYPE_CHECKING:
    from xdream.generators import Generator
    from xdream.networks import Network

Scale = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class Size:
    """How much a study does at one scale: units per layer, seeds, presentations of one run."""

    units: int
    seeds: int
    presentations: int


@dataclass(frozen=True)
class Shard:
    """A part of a study that is computed by itself: a layer of a network. number: from 1."""

    number: int
    place: LayerChoice

    @property
    def name(self) -> str:
        """For people and folders."""
        layer = self.place.layer or "output"
        return f"{short(self.place.network)}-{layer}".replace("/", "_").replace(":", "_")


class StudyPlan(Description):
    """A study as it was asked for; `study.toml` keeps it with every number filled in.

    networks: as in targets. layers: depths (early, middle, late, output), layers, or DEPTH=LAYER; empty:
    those of the study. units: so many per layer, or their numbers ("3,7,20-29"). seeds: so many from `seed`
    on. presentations: of one evolution. generators: the first is the one that a study uses where it does not
    compare them; empty: those of the study. references: natural images, a folder, a zip file or
    "scikit-image". inverse: NETWORK:LAYER whose activations, rectified, are the codes that the generator was
    trained to invert (`ivt`), where the generator does not say codes itself. image_size_px: at which all
    images are shown; None: that of the first generator. preprocessing: of networks that have none of their
    own, as in a plan.
    """

    kind: ClassVar[str] = "study"
    inner: ClassVar[dict[str, type[BaseModel]]] = {"preprocessing": PreprocessingPlan}

    study: str
    scale: Scale = Field(default="tiny", description="how much: tiny takes minutes")
    networks: tuple[str, ...] = Field(default=(), description="as in targets")
    layers: tuple[str, ...] = Field(
        default=(),
        description="early, middle, late, output; a layer; or DEPTH=LAYER (default: those of the study)",
    )
    units: int | str | None = Field(
        default=None, description="how many units of each layer, or which: 3,7,20-29 (one: 3,)"
    )
    seeds: int | None = Field(default=None, ge=1, le=10_000, description="repetitions of each evolution")
    presentations: int | None = Field(default=None, ge=1, le=10**12, description="budget of each evolution")
    generators: tuple[NamedPart, ...] = Field(
        default=(), description="the generators (default: natural-v1, or what the study compares)"
    )
    references: str = Field(
        default=SCIKIT_IMAGE, description="natural images: a folder, a zip file, or scikit-image"
    )
    inverse: str | None = Field(
        default=None,
        description="the layer that the generator was trained to invert, if it cannot encode images itself",
    )
    image_size_px: int | None = Field(
        default=None, ge=8, le=4096, description="size at which all images are shown"
    )
    seed: int = Field(default=0, ge=0, lt=2**62, description="the first seed")
    device: str = Field(default="cpu", description="cpu, cuda, …")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of one shard")
    batch: int | None = Field(
        default=None, ge=1, description="most images in one pass (default: as many as fit)"
    )
    preprocessing: dict[str, PreprocessingPlan] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.units, int) and self.units < 1:
            raise ValueError(f"units is {self.units}; give at least 1, or the numbers of units")
        for key in ("networks", "layers"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"{key} names one twice")
        for what, parts in (("networks", self.networks), ("generators", [g.name for g in self.generators])):
            names = [short(part) for part in parts]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(
                    f"two {what} are both called {twice} in the table; give one, or their files other names"
                )
        return self

    def filled(
        self, sizes: Mapping[Scale, Size], layers: tuple[str, ...], generators: tuple[str, ...]
    ) -> Self:
        """With the numbers of the scale, and a study's own layers and generators, where nothing was asked."""
        size = sizes[self.scale]
        own: dict[str, Any] = {
            "units": size.units,
            "seeds": size.seeds,
            "presentations": size.presentations,
            "layers": layers,
            "generators": tuple(Part(name=name) for name in generators),
            "networks": self.networks or _networks(self.scale),
        }
        missing = {key: value for key, value in own.items() if getattr(self, key) in (None, ())}
        return self.model_copy(update=missing)

    def network(self, name: str) -> Network:
        """A network, with its preprocessing. Raises BadInput."""
        declared = self.preprocessing.get(name)
        made = None if declared is None else networks.Preprocessing(**declared.model_dump())
        return networks.load(name, made)

    def shards(self) -> tuple[Shard, ...]:
        """A shard per layer, in order. Raises BadInput."""
        found: list[LayerChoice] = []
        for network in self.networks:
            of_network = layers_at(self.network(network), self.layers, self.image_size_px)
            found += {place.layer: place for place in of_network}.values()  # few layers serve several depths
        return tuple(Shard(number, place) for number, place in enumerate(found, 1))

    def generator(self, part: Part) -> Generator:
        """A generator, made at the size at which images are shown, if it has none. Raises BadInput."""
        return generators.GENERATORS.make(part.name, **part.options)

    def resolved(self) -> Self:
        """With absolute paths, every generator made once, and the size of the images. Raises BadInput."""
        from xdream.experiment.assemble import absolute_generator  # with PyTorch

        found = [absolute_generator(one) for one in self.generators]
        size_px = self.image_size_px or self.generator(found[0]).image_size_px
        for place, one in enumerate(found):
            if "size_px" in generators.GENERATORS.options(one.name):  # drawn at the size at which it is shown
                found[place] = Part(name=one.name, **{"size_px": size_px} | one.options)
            made = self.generator(found[place])
            if place == 0 and self.inverse is not None:
                self._check_inverse(made)
        return self.model_copy(
            update={
                "generators": tuple(found),
                "networks": tuple(subjects.absolute(name) for name in self.networks),
                "preprocessing": {subjects.absolute(k): v for k, v in self.preprocessing.items()},
                "references": references.absolute(self.references),
                "inverse": self.inverse and subjects.absolute(self.inverse),
                "image_size_px": size_px,
            }
        )

    def _check_inverse(self, generator: Generator) -> None:
        network, colon, layer = split_layer(str(self.inverse))
        if not colon:
            raise BadInput(f"inverse is '{self.inverse}'; give NETWORK:LAYER")
        _, shapes = networks.layer_reader(self.network(network), [layer])
        numbers = math.prod(shapes[layer])
        if numbers != len(generator.centre):
            raise BadInput(
                f"inverse '{self.inverse}' gives {numbers} numbers; codes of {generator.name} have "
                f"{len(generator.centre)}"
            )


def _networks(scale: Scale) -> tuple[str, ...]:
    if scale == "paper":
        raise BadInput(
            "the scale paper has no default networks; give them, e.g. --networks caffe:/nets/caffenet "
            "(the original ones, see docs/caffe.md) or efficientnet-lite0"
        )
    return ("efficientnet-lite0", "squeezenet1.1")[: 1 if scale == "tiny" else 2]
