"""DCGAN (Radford et al. 2016) at 64 px: faces of DigiFace-1M, from the package gan-face-generate (MIT).

xdream weights get dcgan-faces
xdream evolve --generator dcgan-faces --target …
"""

from __future__ import annotations

import torch
from torch import nn

from xdream.errors import WeightsInvalid
from xdream.generators.base import Generator
from xdream.generators.own import described
from xdream.networks import fingerprint, weights

NAME = "dcgan-faces"
LATENT, MAPS, IMAGE_PX = 100, 64, 64


class DcGan(nn.Module):
    """Transposed convolutions with batch normalisation, from (n, 100, 1, 1) to (n, 3, 64, 64) in [−1, 1]."""

    def __init__(self, latent: int = LATENT, maps: int = MAPS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = latent
        for doubled in (8, 4, 2, 1):
            stride, padding = (1, 0) if doubled == 8 else (2, 1)
            layers += [nn.ConvTranspose2d(before, doubled * maps, 4, stride, padding, bias=False)]
            before = doubled * maps
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(before, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """(n, latent, 1, 1) -> (n, 3, 64, 64)."""
        images: torch.Tensor = self.main(codes)
        return images


def _randomise(module: DcGan) -> None:
    """Weights whose images have contrast (He et al. 2015), the same each time."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.main:
        if isinstance(layer, nn.ConvTranspose2d):
            terms = layer.in_channels * (4 if layer.stride[0] == 2 else 1)
            nn.init.normal_(layer.weight, std=(2.0 / terms) ** 0.5, generator=generator)


def dcgan_faces(random_weights: bool = False) -> Generator:
    """A DCGAN of rendered faces at 64 px, from 100 numbers; `xdream weights get dcgan-faces` fetches it.

    random_weights: for tests and timing only. Raises WeightsMissing, WeightsInvalid.
    """
    module = DcGan().eval()
    if random_weights:
        _randomise(module)
    else:
        path = weights.find(NAME)
        try:
            module.load_state_dict(weights.load_tensors(path))
        except RuntimeError as error:
            raise WeightsInvalid(f"{path} is no DCGAN of 100 numbers: {weights.one_line(error)}") from error
    table = {"code_size": (LATENT, 1, 1), "output_range": (-1.0, 1.0), "image_size_px": IMAGE_PX}
    warnings = (weights.RANDOM,) if random_weights else ()
    return described(NAME, module, fingerprint(module), table, warnings)
