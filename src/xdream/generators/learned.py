"""Learned generators: one self-describing file each, made by `xdream train-generator`.

The file (safetensors) holds the up-convolution network, the encoder's projection and the statistics of the
codes in half precision, and a card in its header: architecture, encoder, provenance, metrics.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import safetensors.torch
import torch

from xdream import networks
from xdream.errors import BadInput, WeightsInvalid
from xdream.files import absolute, replace
from xdream.generators import cards
from xdream.generators.base import GaussianCodes, Tuned
from xdream.generators.cards import CARD, FORMAT, SHIPPED, VERSION
from xdream.generators.cards import SUFFIX as SUFFIX
from xdream.generators.cards import shipped_file as shipped_file
from xdream.generators.projection import EncoderSpec, GridReader, Projection
from xdream.generators.statistics import read_statistics
from xdream.networks import one_line, weights
from xdream.networks.up_architecture import UpArchitecture
from xdream.networks.upconv import UpConv
from xdream.registry import declares
from xdream.types import Codes, Images

#: Where searches keep codes: images are natural there (benches/optimizers.py, docs/optimizers.md).
REGION = ("ball", 1.3)

#: From `xdream tune` with natural-v1 (benches/tuning.py); they serve for every learned generator, whose codes
#: are all whitened.
TUNED = {
    "rank-nes": Tuned(
        {"population": 10, "mean_limit": REGION[1]}, with_noise={"population": 20, "mean_limit": REGION[1]}
    ),
    "genetic": Tuned(
        {
            "population": 10,
            "mutation_rate": 0.1,
            "mutation_size": 0.5,
            "selectivity": 1.0,
            "heritability": 0.7,
        },
        with_noise={
            "population": 20,
            "mutation_rate": 0.1,
            "mutation_size": 0.5,
            "selectivity": 2.0,
            "heritability": 0.7,
        },
    ),
    "fdgd": Tuned(
        {"population": 40, "search_radius": 1.25, "learning_rate": 0.893},
        with_noise={"population": 80, "search_radius": 0.625, "learning_rate": 0.625},
    ),
    "nes": Tuned(
        {"population": 20, "search_radius": 0.625, "learning_rate": 0.4375, "radius_learning_rate": 0.2},
        with_noise={
            "population": 80,
            "search_radius": 2.5,
            "learning_rate": 1.75,
            "radius_learning_rate": 0.2,
        },
    ),
}


@final
@dataclass(eq=False)
class Learned:
    """A generator as in base.py, trained to invert a layer of a network.

    Codes are whitened: N(0, 1) in each component for natural images. card: what the file says of itself.
    """

    name: str
    code_shape: tuple[int, ...]
    image_size_px: int
    module: UpConv
    initial: GaussianCodes
    centre: torch.Tensor
    encoder: EncoderSpec
    projection: Projection
    card: Mapping[str, Any] = field(repr=False)
    differentiable: bool = True
    warnings: tuple[str, ...] = ()

    def __call__(self, codes: Codes) -> Images:
        """(n, d) -> (n, 3, size, size), inside (0, 1)."""
        images: Images = self.module(codes)
        return images

    def invert(self, images: Images) -> Codes:
        """(n, 3, size, size) in [0, 1] -> (n, d): what the encoder says of them (the paper's `ivt`).

        Raises BadInput when the encoder's network is not the one that the generator was trained with.
        """
        with torch.inference_mode():
            return self.projection(self.reader(images))

    @functools.cached_property
    def reader(self) -> GridReader:
        """The encoder's network, loaded when it is first needed."""
        reader = self.encoder.open(self.centre.device)
        if reader.features != len(self.projection.mean):
            raise BadInput(
                f"the encoder of generator '{self.name}' gives {reader.features} numbers, its projection "
                f"takes {len(self.projection.mean)}; the file's card is damaged"
            )
        return reader

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that codes and images depend on."""
        parts = (self.projection.mean, self.projection.matrix, self.initial.mean, self.initial.std)
        digest = hashlib.sha256(networks.fingerprint(self.module).encode())
        for tensor in parts:
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device) -> Learned:
        """The same generator on a device; this one stays where it is."""
        return Learned(
            self.name,
            self.code_shape,
            self.image_size_px,
            copy.deepcopy(self.module).to(device),
            self.initial.to(device),
            self.centre.to(device),
            self.encoder,
            self.projection.to(device),
            self.card,
        )

    def initial_from(self, statistics: Path) -> GaussianCodes:
        """The distribution in the group of the generator's name of an HDF5 file. Raises BadInput."""
        return read_statistics(statistics, self.name, self.code_shape)


def write(
    path: Path,
    module: UpConv,
    encoder: EncoderSpec,
    projection: Projection,
    statistics: GaussianCodes,
    about: Mapping[str, Any],
) -> None:
    """Write a generator file, whole or not at all. module: folded. about: `name`, `provenance`, `metrics`,
    whatever else JSON can hold. Raises BadInput when the disk is full or a weight is beyond half precision.
    """
    tensors = {f"generator.{key}": value for key, value in module.state_dict().items()}
    tensors |= {"encoder.mean": projection.mean, "encoder.matrix": projection.matrix}
    tensors |= {"codes.mean": statistics.mean, "codes.std": statistics.std}
    half = {key: value.detach().cpu().to(torch.float16).contiguous() for key, value in tensors.items()}
    for key, value in half.items():
        if not bool(torch.isfinite(value).all()):
            raise BadInput(f"'{key}' has values that half precision cannot hold; the training has diverged")
    card = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": asdict(module.architecture),
        "encoder": asdict(encoder),
        **about,
    }
    try:
        replace(path, safetensors.torch.save(half, {CARD: json.dumps(card)}))
    except OSError as error:
        raise BadInput(f"cannot write {path}: {one_line(error)}; make room, and resume") from error


def read_card(path: Path) -> dict[str, Any]:
    """What a generator file says of itself. Raises WeightsMissing, WeightsInvalid, BadInput."""
    card = cards.read(path)
    try:
        _described(card)
    except (KeyError, TypeError, BadInput) as error:
        raise WeightsInvalid(f"generator file {path} has a damaged card ({one_line(error)})") from error
    return card


def _described(card: Mapping[str, Any]) -> tuple[UpArchitecture, EncoderSpec]:
    return cards.architecture(card), EncoderSpec(**card["encoder"])


def open_file(path: Path, name: str | None = None) -> Learned:
    """The generator of a file, checked. name: how it is called (default: the path as given).

    Raises WeightsMissing, WeightsInvalid, BadInput.
    """
    card = read_card(path)
    architecture, encoder = _described(card)
    tensors = {key: value.to(torch.float32) for key, value in weights.load_tensors(path).items()}
    with torch.device("meta"):  # no room is taken before the shapes are known to be those of the file
        module = UpConv(architecture, normalised=False).eval()
    d, features = architecture.dim, tensors.get("encoder.mean", torch.empty(0)).numel()
    expected = {f"generator.{key}": tuple(value.shape) for key, value in module.state_dict().items()}
    expected |= {"encoder.mean": (features,), "encoder.matrix": (d, features)}
    expected |= {"codes.mean": (d,), "codes.std": (d,)}
    weights.check_shapes(tensors, expected, path)
    module.load_state_dict(
        {k.removeprefix("generator."): v for k, v in tensors.items() if k.startswith("generator.")},
        assign=True,
    )
    return Learned(
        name or str(path),
        (d,),
        architecture.image_size_px,
        # Channels last: a quarter faster on a CPU.
        module.requires_grad_(False).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        GaussianCodes(tensors["codes.mean"], tensors["codes.std"]),
        torch.zeros(d),
        encoder,
        Projection(tensors["encoder.mean"], tensors["encoder.matrix"]),
        card,
    )


def by_name(name: str) -> Callable[[], Learned] | None:
    """How a generator is made that has no entry point: by the name of an installed file."""
    if Path(name).is_file():
        raise BadInput(f"'{name}' is no generator file: their names end in {SUFFIX}")
    found = [path for folder in weights.folders() if (path := folder / f"{name}{SUFFIX}").is_file()]
    if not found:
        return None

    @declares(tuned=TUNED, region=REGION)
    def installed_file() -> Learned:
        return open_file(found[0], name)

    return installed_file


@declares(tuned=TUNED, region=REGION)
def natural_v1() -> Learned:
    """The generator that comes with the package: photographs, 64 px, from 256 numbers."""
    return open_file(shipped_file(), SHIPPED)


@declares(tuned=TUNED, region=REGION, absolute=absolute)
def from_file(name: str) -> Learned:
    """A generator file that `xdream train-generator` made; it is called by its whole path."""
    return open_file(Path(absolute(name)))
