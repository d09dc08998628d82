"""From images to codes without a search: a layer of a network, averaged over a grid, whitened.

This is the paper's `ivt` encoding, the code that a generator was trained to invert, for generators whose
code is a linear projection of a layer's activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from xdream import networks
from xdream.errors import BadInput
from xdream.networks import LayerReader, Network, layer_reader
from xdream.types import Codes, Images


@final
class GridReader:
    """Reads one layer of a network, averaged over a grid of positions.

    The network sees images at size_px, resized whole. Made by `grid_reader`.
    """

    def __init__(self, reader: LayerReader, layer: str, grid: int, channels: int) -> None:
        self.layer = layer
        self.grid = grid
        self.channels = channels
        self._reader = reader

    @property
    def identity(self) -> str:
        """What its features depend on besides the images: the weights by their SHA-256, layer, sizes."""
        network = self._reader.network
        size = network.preprocessing.size_px
        return f"{networks.fingerprint(network.module)} {self.layer} {size} {self.grid}"

    @property
    def features(self) -> int:
        """Numbers per image: channels x grid x grid."""
        return self.channels * self.grid**2

    def __call__(self, images: Images) -> torch.Tensor:
        """(n, 3, h, w) in [0, 1] -> (n, features), channel by channel. Gradients flow through."""
        output = self._reader.outputs(images * 255.0)[self.layer]
        return nn.functional.adaptive_avg_pool2d(output, self.grid).flatten(1)


def grid_reader(
    network: Network, layer: str, size_px: int, grid: int, device: torch.device | None = None
) -> GridReader:
    """A reader of (channels, grid, grid) averages of a layer. Raises BadInput."""
    reader, shapes = layer_reader(network.at((size_px, size_px)), [layer], device, size_px)
    shape = shapes[layer]
    if len(shape) != 3:
        raise BadInput(
            f"layer '{layer}' of {network.name} has the shape {shape}, no positions; an encoder needs "
            f"a layer of (channels, height, width): xdream list targets --layers {network.name}"
        )
    channels, height, width = shape
    if channels < 2:
        raise BadInput(f"layer '{layer}' of {network.name} has one channel; an encoder needs several")
    if min(height, width) < grid:
        raise BadInput(
            f"layer '{layer}' of {network.name} has {height} x {width} positions at {size_px} px, fewer than "
            f"a grid of {grid} x {grid}; give a grid of at most {min(height, width)}, or larger images"
        )
    return GridReader(reader, layer, grid, channels)


@final
@dataclass(frozen=True, eq=False)
class Projection:
    """codes = matrix · (features − mean). mean: (features,). matrix: (d, features). float32."""

    mean: torch.Tensor
    matrix: torch.Tensor

    def __call__(self, features: torch.Tensor) -> Codes:
        """(n, features) -> (n, d)."""
        return (features - self.mean) @ self.matrix.T

    def to(self, device: torch.device) -> Projection:
        """The same projection on a device."""
        return Projection(self.mean.to(device), self.matrix.to(device))


@dataclass(frozen=True)
class EncoderSpec:
    """What a generator's file says of its encoder.

    network, layer: as in a target. size_px: of the images that the network sees. grid: see GridReader.
    fingerprint: SHA-256 of the network's weights, so that other weights are not taken for them.
    """

    network: str
    layer: str
    size_px: int
    grid: int
    fingerprint: str

    def open(self, device: torch.device | None = None) -> GridReader:
        """Load the network. Raises BadInput when it is not the one that the generator was trained with."""
        network = networks.load(self.network)
        if networks.fingerprint(network.module) != self.fingerprint:
            raise BadInput(
                f"network '{self.network}' has other weights than those that this generator's encoder was "
                "made with; its codes would mean something else"
            )
        return grid_reader(network, self.layer, self.size_px, self.grid, device)
