"""The adversary: small heads on layers of the encoder and on the image itself.

A discriminator on the features of a trained network learns from few images (Sauer et al. 2021, "Projected
GANs converge faster"); each head is told the code by an inner product (Miyato & Koyama 2018). Hinge loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from xdream.types import Codes

WIDTH = 64
SLOPE = 0.2


class Discriminator(nn.Module):
    """Maps and codes -> how real each place of each map looks for its code.

    channels: of each map; the first is the image, which two more convolutions make coarser.
    """

    def __init__(self, channels: Sequence[int], dim: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(c, dim, strided=place == 0) for place, c in enumerate(channels))

    def forward(self, maps: Sequence[torch.Tensor], codes: Codes) -> list[torch.Tensor]:
        """Maps of (n, channels, h, w) and (n, d) codes -> (n, h', w') scores for each map."""
        return [head(one, codes) for head, one in zip(self.heads, maps, strict=True)]


class Head(nn.Module):
    """One of the discriminator's views."""

    def __init__(self, channels: int, dim: int, *, strided: bool) -> None:
        super().__init__()
        first = (
            [
                spectral_norm(nn.Conv2d(channels, WIDTH // 2, 4, 2, 1)),
                nn.LeakyReLU(SLOPE),
                spectral_norm(nn.Conv2d(WIDTH // 2, WIDTH, 4, 2, 1)),
            ]
            if strided
            else [spectral_norm(nn.Conv2d(channels, WIDTH, 3, 2, 1))]
        )
        self.body = nn.Sequential(
            *first,
            nn.LeakyReLU(SLOPE),
            spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, padding=1)),
            nn.LeakyReLU(SLOPE),
        )
        self.real = spectral_norm(nn.Conv2d(WIDTH, 1, 1))
        self.of_code = spectral_norm(nn.Linear(dim, WIDTH, bias=False))

    def forward(self, one: torch.Tensor, codes: Codes) -> torch.Tensor:
        """(n, channels, h, w), (n, d) -> (n, h', w')."""
        body = self.body(one)
        wanted: torch.Tensor = self.of_code(codes)
        scores: torch.Tensor = self.real(body)[:, 0] + torch.einsum("nchw,nc->nhw", body, wanted)
        return scores


def discriminator_loss(real: Sequence[torch.Tensor], made: Sequence[torch.Tensor]) -> torch.Tensor:
    """Hinge: real places above 1, made ones below −1; the mean over heads."""
    parts = [(1.0 - r).relu().mean() + (1.0 + m).relu().mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(parts).mean()


def generator_loss(made: Sequence[torch.Tensor]) -> torch.Tensor:
    """Minus the discriminator's scores of what was made; the mean over heads."""
    return -torch.stack([m.mean() for m in made]).mean()
