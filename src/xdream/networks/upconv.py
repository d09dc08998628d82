"""Up-convolution networks: from a code to a small image, doubling the size at each stage.

The shape is that of Dosovitskiy & Brox 2016 ("Generating images with perceptual similarity metrics"),
much narrower: transposed convolutions (kernel 4, stride 2) with ordinary ones (kernel 3) between them.
Trained with batch normalisation, which is folded into the convolutions of a finished generator.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from xdream.networks.up_architecture import UpArchitecture

SLOPE = 0.2


class UpConv(nn.Module):
    """(n, dim) codes -> (n, 3, size, size) images, inside (0, 1). normalised: with batch normalisation."""

    def __init__(self, architecture: UpArchitecture, *, normalised: bool) -> None:
        super().__init__()
        self.architecture = architecture
        with torch.random.fork_rng(devices=[]):  # torch draws weights, which others replace
            self.layers, self.to_rgb = _layers(architecture, normalised=normalised)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """(n, dim) -> (n, 3, size, size)."""
        return torch.sigmoid(self.to_rgb(self.layers(codes[:, :, None, None])))

    def _convolutions(self) -> list[nn.Conv2d | nn.ConvTranspose2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]

    def draw_weights(self, seed: int) -> None:
        """Fresh weights (He et al. 2015) from a seed, whatever the global generator's state is."""
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in (*self._convolutions(), self.to_rgb):
                taps = math.prod(layer.kernel_size) / math.prod(layer.stride)
                if isinstance(layer, nn.ConvTranspose2d) and layer.padding == (0, 0):
                    taps = 1.0  # from one position to the first map: each value has one source
                gain = math.sqrt(2.0 / ((1.0 + SLOPE**2) * layer.in_channels * taps))
                layer.weight.copy_(gain * torch.randn(layer.weight.shape, generator=rng))
                assert layer.bias is not None
                layer.bias.zero_()

    def folded(self) -> UpConv:
        """The same function of a code as in evaluation mode, without normalisation."""
        plain = UpConv(self.architecture, normalised=False)
        norms = [layer for layer in self.layers if isinstance(layer, nn.BatchNorm2d)]
        with torch.no_grad():
            for source, norm, target in zip(self._convolutions(), norms, plain._convolutions(), strict=True):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                assert source.bias is not None
                assert target.bias is not None
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                axis = 1 if isinstance(source, nn.ConvTranspose2d) else 0
                shape = [-1 if i == axis else 1 for i in range(4)]
                target.weight.copy_(source.weight * scale.reshape(shape))
                target.bias.copy_((source.bias - norm.running_mean) * scale + norm.bias)
            plain.to_rgb.load_state_dict(self.to_rgb.state_dict())
        return plain


def _layers(architecture: UpArchitecture, *, normalised: bool) -> tuple[nn.Sequential, nn.Conv2d]:
    """What leads to the last feature map, and from there to the image."""
    layers: list[nn.Module] = []

    def add(layer: nn.ConvTranspose2d | nn.Conv2d, channels: int) -> None:
        layers.extend([layer, *([nn.BatchNorm2d(channels)] if normalised else []), nn.LeakyReLU(SLOPE)])

    before = architecture.dim
    for stage, (channels, refined) in enumerate(
        zip(architecture.channels, architecture.refined, strict=True)
    ):
        stride = 2 if stage else 1
        add(nn.ConvTranspose2d(before, channels, 4, stride, 1 if stage else 0), channels)
        for _ in range(refined):
            add(nn.Conv2d(channels, channels, 3, padding=1), channels)
        before = channels
    return nn.Sequential(*layers), nn.Conv2d(before, 3, 3, padding=1)
