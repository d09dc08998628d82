"""BigGAN-deep (Brock et al. 2019) by the package pytorch-pretrained-biggan: `biggan:FOLDER`.

FOLDER holds `config.json` and `pytorch_model.bin`, as published with that package for 128, 256 and 512 px.
The code is the latent (128 numbers) and the class embedding (128 numbers), side by side, as in Wang & Ponce
2022; with `class_index` the class is fixed and the code is the latent alone.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from xdream import files
from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.generators.base import Generator
from xdream.generators.own import described
from xdream.networks import one_line, weights
from xdream.registry import declares

SCHEME = "biggan:"
FILES = ("config.json", "pytorch_model.bin")


class Conditioned(nn.Module):
    """A BigGAN that is given the class embedding itself, at one truncation."""

    def __init__(self, network: Any, truncation: float) -> None:
        super().__init__()
        self.generator, self.truncation = network.generator, truncation

    def forward(self, latent: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(n, z), (n, z) -> (n, 3, size, size) in [−1, 1]."""
        images: torch.Tensor = self.generator(torch.cat((latent, embedding), dim=1), self.truncation)
        return images


def _absolute(name: str) -> str:
    return SCHEME + files.absolute(name.removeprefix(SCHEME))


@declares(absolute=_absolute)
def biggan(
    name: str,
    *,
    truncation: Annotated[float, Field(gt=0, le=1)] = 0.4,
    class_index: Annotated[int, Field(ge=0)] | None = None,
) -> Generator:
    """BigGAN-deep: latent and class embedding as the code, `biggan:FOLDER` with config.json and weights.

    truncation: of the latents (N(0, 1) cut at ±2, times this) and of the statistics inside. class_index: a
    fixed class of ImageNet. Raises BadInput, WeightsMissing, WeightsInvalid.
    """
    folder = Path(name.removeprefix(SCHEME)).expanduser()
    for one in FILES:
        if not (folder / one).is_file():
            raise WeightsMissing(f"generator '{name}': {folder} has no {one}; give the folder of both files")
    network = _network(folder)
    embeddings = network.embeddings.weight.detach().T  # (classes, z)
    size = embeddings.shape[1]
    latent = {"code_size": size, "initial": "truncated", "truncation": 2.0, "scale": truncation}
    if class_index is None:
        mean, scale = embeddings.mean(0), embeddings.std(0).clamp_min(1e-6)
        label: dict[str, Any] = {"code_size": size, "mean": mean.tolist(), "scale": scale.tolist()}
    elif class_index < len(embeddings):
        label = {"value": embeddings[class_index].tolist()}
    else:
        raise BadInput(f"class_index is {class_index}; the classes are 0 to {len(embeddings) - 1}")
    digest = hashlib.sha256((folder / FILES[1]).read_bytes()).hexdigest()
    table = {"inputs": [latent, label], "output_range": (-1.0, 1.0)}
    return described(name, Conditioned(network, truncation).eval(), digest, table)


def _network(folder: Path) -> Any:
    try:
        package: Any = importlib.import_module("pytorch_pretrained_biggan")
    except ImportError as error:
        raise BadInput(
            f"BigGAN needs pytorch-pretrained-biggan ({one_line(error)}); pip install 'xdream[biggan]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of spectral norms of an older kind
            network = package.BigGAN(package.BigGANConfig.from_json_file(str(folder / FILES[0])))
        # The package loads a pickle, and overlooks what is missing.
        network.load_state_dict(weights.load_tensors(folder / FILES[1]))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, WeightsInvalid):
            raise
        raise WeightsInvalid(f"{folder} holds no BigGAN of this kind: {one_line(error)}") from error
    return network
