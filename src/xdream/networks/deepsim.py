"""The DeePSiM up-convolution networks (Dosovitskiy & Brox 2016, "Generating images with perceptual
similarity metrics based on deep networks"): features of CaffeNet in, images out.

One table per family; each row is a layer under the names of the two conventions in circulation
(`willwx`, `binxu`: see `load`). A network takes (n, *code_shape) and returns (n, 3, size, size): BGR,
mean removed, on the 0–255 scale.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from xdream.errors import WeightsInvalid
from xdream.networks import weights

SLOPE = 0.3  # of every LeakyReLU
FEW = 4  # channels, up to which a ThinUp is faster


class ThinUp(nn.ConvTranspose2d):
    """A transposed convolution of kernel 4, stride 2 and padding 1 for few output channels.

    As a convolution of kernel 2 that gives the four pixels of each place as channels (Shi et al. 2016, "Is
    the deconvolution layer the same as a convolutional layer?"): on a CPU it takes two thirds of the time.
    """

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """(n, c, h, w) -> (n, few, 2 h, 2 w)."""
        # Pixels 2 i - 1 and 2 i come from the inputs i - 1 and i, by taps 2, 0 and 3, 1.
        n_in, n_out = self.weight.shape[:2]
        taps = self.weight.flip(2, 3).reshape(n_in, n_out, 2, 2, 2, 2)  # in, out, i, y, j, x
        weight = taps.flip(3, 5).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        pixels = nn.functional.conv2d(x, weight, bias, padding=1)
        return nn.functional.pixel_shuffle(pixels, 2)[:, :, 1:-1, 1:-1]


@dataclass(frozen=True)
class Layer:
    """One layer. names: in the conventions willwx and binxu; the first is also ours.

    biased: whether willwx has a bias. active: whether a LeakyReLU follows.
    """

    names: tuple[str, str]
    module: type[nn.Linear] | type[nn.Conv2d] | type[nn.ConvTranspose2d]
    n_in: int
    n_out: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    biased: bool = False
    active: bool = True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """As stored: output channels first, but input channels first in a transposed convolution."""
        if self.module is nn.Linear:
            return (self.n_out, self.n_in)
        both = (self.n_out, self.n_in)
        if self.module is nn.ConvTranspose2d:
            both = (self.n_in, self.n_out)
        return (*both, self.kernel, self.kernel)

    @property
    def inputs_per_output(self) -> float:
        """How many products are summed into one output value, away from the edges."""
        taps: float = self.kernel**2
        if self.module is nn.ConvTranspose2d:
            taps /= self.stride**2
        return self.n_in * taps

    def make(self) -> nn.Module:
        """The layer, without memory for its weights."""
        with torch.device("meta"):
            if self.module is nn.Linear:
                return nn.Linear(self.n_in, self.n_out)
            kind: type[nn.Conv2d] | type[nn.ConvTranspose2d] = nn.ConvTranspose2d
            if self.module is nn.Conv2d:
                kind = nn.Conv2d
            elif self.stride == 2 and self.n_out <= FEW:
                kind = ThinUp
            return kind(self.n_in, self.n_out, self.kernel, self.stride, self.padding)


def _linear(names: str, n_in: int) -> Layer:
    return Layer(_pair(names), nn.Linear, n_in, 4096, biased=True)


def _up(names: str, n_in: int, n_out: int, active: bool = True) -> Layer:
    """Twice the size."""
    return Layer(_pair(names), nn.ConvTranspose2d, n_in, n_out, 4, 2, 1, active=active)


def _t3(names: str, n_in: int, n_out: int) -> Layer:
    """The same size, and transposed in both conventions, whatever its name says."""
    return Layer(_pair(names), nn.ConvTranspose2d, n_in, n_out, 3, 1, 1)


def _c3(names: str, n_in: int, n_out: int, active: bool = True) -> Layer:
    return Layer(_pair(names), nn.Conv2d, n_in, n_out, 3, 1, 1, active=active)


def _first(names: str, n_in: int, n_out: int, kernel: int, stride: int, padding: int) -> Layer:
    return Layer(_pair(names), nn.Conv2d, n_in, n_out, kernel, stride, padding, biased=True)


def _pair(names: str) -> tuple[str, str]:
    willwx, binxu = names.split()
    return willwx, binxu


_FROM_T5 = (
    _t3("tconv5_1 conv5_1", 256, 512),
    _up("tconv4_0 deconv4", 512, 256),
    _t3("tconv4_1 conv4_1", 256, 256),
    _up("tconv3_0 deconv3", 256, 128),
    _t3("tconv3_1 conv3_1", 128, 128),
    _up("tconv2 deconv2", 128, 64),
    _up("tconv1 deconv1", 64, 32),
    _up("tconv0 deconv0", 32, 3, active=False),
)


def _full(n_in: int) -> tuple[Layer, ...]:
    return (
        _linear("fc7 defc7", n_in),
        _linear("fc6 defc6", 4096),
        _linear("fc5 defc5", 4096),
        _up("tconv5_0 deconv5", 256, 256),
        *_FROM_T5,
    )


_POOL5 = (
    _first("conv6 Rconv6", 256, 512, 3, 1, 1),
    _first("conv7 Rconv7", 512, 512, 3, 1, 1),
    _first("conv8 Rconv8", 512, 512, 3, 1, 0),
    _up("tconv5_0 deconv5", 512, 256),
    *_FROM_T5,
)

_CONV = (
    _first("conv6 Rconv6", 384, 384, 3, 1, 0),
    _first("conv7 Rconv7", 384, 512, 3, 1, 0),
    _first("conv8 Rconv8", 512, 512, 2, 1, 0),
    _up("tconv5_0 deconv5", 512, 256),
    _t3("tconv5_1 conv5_1", 256, 256),
    _up("tconv4_0 deconv4", 256, 128),
    _t3("tconv4_1 conv4_1", 128, 128),
    _up("tconv3_0 deconv3", 128, 128),
    _t3("tconv3_1 conv3_1", 128, 128),
    _up("tconv2_0 deconv2", 128, 64),
    _c3("conv2_1 conv2_1", 64, 32),
    _up("tconv1_0 deconv1", 32, 16),
    _c3("conv1_1 conv1_1", 16, 3, active=False),
)


def _norm(n_in: int, n_first: int, stride: int) -> tuple[Layer, ...]:
    return (
        _first("conv6 Rconv6", n_in, n_first, 3, stride, 2),
        _first("conv7 Rconv7", n_first, 128, 3, 1, 1),
        _first("conv8 Rconv8", 128, 128, 3, 1, 1),
        _up("tconv4_0 deconv4", 128, 128),
        _c3("conv4_1 conv4_1", 128, 128),
        _up("tconv3_0 deconv3", 128, 64),
        _c3("conv3_1 conv3_1", 64, 64),
        _up("tconv2_0 deconv2", 64, 32),
        _c3("conv2_1 conv2_1", 32, 32),
        _up("tconv1_0 deconv1", 32, 16, active=False),
        _c3("conv1_1 conv1_1", 16, 3, active=False),
    )


@dataclass(frozen=True)
class Architecture:
    """A network. bounded: whether it ends in tanh × 255."""

    code_shape: tuple[int, ...]
    rows: tuple[Layer, ...]
    image_size_px: int = 256
    bounded: bool = False


#: By the layer of CaffeNet that the network inverts.
ARCHITECTURES: dict[str, Architecture] = {
    "norm1": Architecture((96, 27, 27), _norm(96, 128, stride=2), 240, bounded=True),
    "norm2": Architecture((256, 13, 13), _norm(256, 256, stride=1), 240, bounded=True),
    "conv3": Architecture((384, 13, 13), _CONV, bounded=True),
    "conv4": Architecture((384, 13, 13), _CONV, bounded=True),
    "pool5": Architecture((256, 6, 6), _POOL5),
    "fc6": Architecture((4096,), _full(4096)),
    "fc7": Architecture((4096,), _full(4096)),
    "fc8": Architecture((1000,), _full(1000)),
}


class ScaledTanh(nn.Module):
    """255 · tanh(x): the range of an image with its mean removed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape."""
        return 255.0 * torch.tanh(x)


def load(layer: str, tensors: weights.Tensors, path: Path) -> nn.Module:
    """The network that inverts `layer`, with the weights of either naming convention.

    willwx: names as in the tables above; only the linear layers and the first three convolutions have a
    bias, the others are taken as zero. binxu: prefix `G.`, every layer has a bias. Raises
    WeightsInvalid, naming `path` and the tensor, when the tensors are those of another network.
    """
    rows = ARCHITECTURES[layer].rows
    binxu = any(name.startswith("G.") for name in tensors)
    names = {row: f"G.{row.names[1]}" if binxu else row.names[0] for row in rows}
    expected: dict[str, tuple[int, ...]] = {}
    for row, name in names.items():
        expected[f"{name}.weight"] = row.weight_shape
        if binxu or row.biased or f"{name}.bias" in tensors:
            expected[f"{name}.bias"] = (row.n_out,)
    weights.check_shapes(tensors, expected, path)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise WeightsInvalid(
                f"weights file {path}: '{name}' holds values that are not finite numbers; get it again"
            )
    state = {}
    for row, name in names.items():
        bias = tensors.get(f"{name}.bias")
        state[f"{row.names[0]}.weight"] = tensors[f"{name}.weight"]
        state[f"{row.names[0]}.bias"] = torch.zeros(row.n_out) if bias is None else bias
    return _build(layer, state)


def random(layer: str, seed: int) -> nn.Module:
    """The network that inverts `layer` with random weights, for timing only.

    Scaled as He et al. 2015 ("Delving deep into rectifiers") for this slope, so that activations keep
    their size, and so that codes of unit variance give images with a standard deviation near 50.
    """
    rng = torch.Generator().manual_seed(seed)
    architecture = ARCHITECTURES[layer]
    state = {}
    for row in architecture.rows:
        gain = math.sqrt(2.0 / (1.0 + SLOPE**2)) if row.active else 1.0
        if row is architecture.rows[-1]:
            gain = 0.2 if architecture.bounded else 50.0
        std = gain / math.sqrt(row.inputs_per_output)
        weight = torch.empty(row.weight_shape).normal_(0.0, std, generator=rng)
        state[f"{row.names[0]}.weight"] = weight
        state[f"{row.names[0]}.bias"] = torch.zeros(row.n_out)
    return _build(layer, state)


def _build(layer: str, state: weights.Tensors) -> nn.Module:
    architecture = ARCHITECTURES[layer]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for row in architecture.rows:
        name = row.names[0]
        if name == "tconv5_0" and len(architecture.code_shape) == 1:
            parts["reshape"] = nn.Unflatten(1, (256, 4, 4))
        parts[name] = row.make()
        if row.active:
            parts[f"relu_{name}"] = nn.LeakyReLU(SLOPE)
    if architecture.bounded:
        parts["tanh"] = ScaledTanh()
    network = nn.Sequential(parts)
    network.load_state_dict({name: t.to(torch.float32) for name, t in state.items()}, assign=True)
    return network.requires_grad_(False).eval()
