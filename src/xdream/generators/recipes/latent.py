"""Decoders and one-step diffusion of `diffusers`: `vae:FOLDER`, `one-step:FOLDER`.

A folder is as `diffusers` saves it, with weights as safetensors: of an autoencoder (AutoencoderKL, VQModel,
AutoencoderTiny), or of a pipeline with `unet`, `vae` and `scheduler` in it, such as SD-turbo.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from xdream import files
from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.generators.base import Generator
from xdream.generators.own import described
from xdream.networks import one_line
from xdream.registry import declares

LatentPx = Annotated[int, Field(ge=1, le=256)]


class Decoder(nn.Module):
    """Latents of standard deviation 1 -> images in [−1, 1]."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae: Any = vae
        self.scaling = float(getattr(vae.config, "scaling_factor", None) or 1.0)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """(n, c, s, s) -> (n, 3, size, size)."""
        images: torch.Tensor = self.vae.decode(latents / self.scaling, return_dict=False)[0]
        return images


class OneStep(nn.Module):
    """Noise -> the latents that a distilled network sees in it -> images, by one step from the last time.

    x₀ = x − σ ε(x / √(σ² + 1)), x = σ noise: the step of Euler's method to σ = 0 (Karras et al. 2022, for a
    network that predicts the noise).
    """

    def __init__(self, unet: Any, decoder: Decoder, scheduler: Any, prompt: torch.Tensor) -> None:
        super().__init__()
        self.unet: Any = unet
        self.decoder = decoder
        kept = float(scheduler.alphas_cumprod[-1])  # of the variance of the image at the last time
        self.sigma = ((1.0 - kept) / kept) ** 0.5
        self.time = len(scheduler.alphas_cumprod) - 1
        self.prompt: torch.Tensor
        self.register_buffer("prompt", prompt)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(n, c, s, s) -> (n, 3, size, size)."""
        x = self.sigma * noise
        seen = x / (self.sigma**2 + 1.0) ** 0.5
        words = self.prompt.expand(len(noise), -1, -1)
        found = self.unet(seen, self.time, encoder_hidden_states=words, return_dict=False)[0]
        images: torch.Tensor = self.decoder(x - self.sigma * found)
        return images


def _absolute(name: str) -> str:
    scheme, _, folder = name.partition(":")
    return f"{scheme}:{files.absolute(folder)}"


@declares(absolute=_absolute)
def vae(name: str, *, latent_px: LatentPx = 8) -> Generator:
    """The decoder of an autoencoder of diffusers, `vae:FOLDER`; the code is the latent, N(0, 1) at first.

    latent_px: height and width of the latent; the image is that many times larger that the decoder makes it
    (8 for Stable Diffusion). Raises BadInput, WeightsMissing, WeightsInvalid.
    """
    folder = Path(name.partition(":")[2]).expanduser()
    module = Decoder(_model(folder))
    channels = module.vae.config.latent_channels
    table = {"code_size": (channels, latent_px, latent_px), "output_range": (-1.0, 1.0)}
    return described(name, module.eval(), _digest(folder), table)


@declares(absolute=_absolute)
def one_step(name: str, *, latent_px: LatentPx | None = None, prompt: Path | None = None) -> Generator:
    """One-step diffusion of diffusers, `one-step:FOLDER` (SD-turbo, say); the code is the noise, N(0, 1).

    latent_px: default the size that it was trained at. prompt: a .npy of (tokens, width), the text encoder's
    output for some words; without it zeros, which name nothing. Raises BadInput, WeightsMissing,
    WeightsInvalid.
    """
    folder = Path(name.partition(":")[2]).expanduser()
    unet, decoder = _model(folder / "unet"), Decoder(_model(folder / "vae"))
    scheduler = _read(folder / "scheduler", "scheduler_config.json")
    width, size = unet.config.cross_attention_dim, latent_px or unet.config.sample_size
    words = torch.zeros(1, 1, width) if prompt is None else _prompt(prompt, width)
    table = {"code_size": (unet.config.in_channels, size, size), "output_range": (-1.0, 1.0)}
    digest = hashlib.sha256((_digest(folder / "unet") + _digest(folder / "vae")).encode())
    digest.update(words.numpy().tobytes())
    module = OneStep(unet, decoder, scheduler, words).eval()
    return described(name, module, digest.hexdigest(), table)


def _model(folder: Path) -> Any:
    """The network in a folder, of the class of `diffusers` that its config.json names."""
    return _read(folder, "config.json", use_safetensors=True)


def _read(folder: Path, config: str, **options: Any) -> Any:
    if not (folder / config).is_file():
        raise WeightsMissing(f"{folder} has no {config}; give a folder as diffusers saves it")
    try:
        package: Any = importlib.import_module("diffusers")
    except ImportError as error:
        raise BadInput(
            f"'{folder}' needs diffusers ({one_line(error)}); pip install 'xdream[diffusers]'"
        ) from None
    try:
        kind = getattr(package, json.loads((folder / config).read_text("utf-8"))["_class_name"])
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except Exception as error:  # of a package that reads many kinds of files
        raise WeightsInvalid(f"diffusers cannot read {folder}: {one_line(error)}") from error


def _digest(folder: Path) -> str:
    """SHA-256 of the weights in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _prompt(path: Path, width: int) -> torch.Tensor:
    try:
        words = torch.from_numpy(np.load(path.expanduser(), allow_pickle=False)).to(torch.float32)
    except Exception as error:  # a reader of foreign bytes
        raise BadInput(f"prompt '{path}' cannot be read: {one_line(error)}; give a .npy") from None
    if words.ndim != 2 or words.shape[1] != width:
        raise BadInput(f"prompt '{path}' has the shape {tuple(words.shape)}; (tokens, {width}) is needed")
    return words[None]
