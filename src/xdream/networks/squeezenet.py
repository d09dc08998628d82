"""SqueezeNet 1.1 (Iandola et al. 2016), with the names that its Caffe model gives the layers.

The published weights are the original Caffe ones, converted for Keras. Pooling rounds sizes up, as Caffe
does and as the network was trained (227 px: 113, 56, 28, 14); Keras' `valid` pooling would round down
(113, 56, 27, 13) and lose the last row and column.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn

from xdream.errors import WeightsInvalid
from xdream.networks import weights
from xdream.networks.base import Preprocessing

#: 227 px, BGR, 0–255, minus the mean of ImageNet in that order.
PREPROCESSING = Preprocessing(size_px=(227, 227), channels="BGR", scale=1.0, mean=(104.0, 117.0, 123.0))


class Fire(nn.Module):
    """A squeeze to few channels, then 1x1 and 3x3 kernels side by side, concatenated."""

    def __init__(self, n_in: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(n_in, squeeze, 1)
        self.relu_squeeze1x1 = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.relu_expand1x1 = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu_expand3x3 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_in, h, w) -> (n, 2 · expand, h, w)."""
        x = self.relu_squeeze1x1(self.squeeze1x1(x))
        wide = self.relu_expand3x3(self.expand3x3(x))
        return torch.cat((self.relu_expand1x1(self.expand1x1(x)), wide), dim=1)


def build() -> nn.Sequential:
    """The network without weights: (n, 3, 227, 227) -> (n, 1000) scores before the softmax."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 3, stride=2),
            relu_conv1=nn.ReLU(),
            pool1=pool(),
            fire2=Fire(64, 16, 64),
            fire3=Fire(128, 16, 64),
            pool3=pool(),
            fire4=Fire(128, 32, 128),
            fire5=Fire(256, 32, 128),
            pool5=pool(),
            fire6=Fire(256, 48, 192),
            fire7=Fire(384, 48, 192),
            fire8=Fire(384, 64, 256),
            fire9=Fire(512, 64, 256),
            conv10=nn.Conv2d(512, 1000, 1),
            relu_conv10=nn.ReLU(),
            pool10=nn.AdaptiveAvgPool2d(1),
            scores=nn.Flatten(),
        )
    )


def load(path: Path) -> nn.Sequential:
    """The network with the weights of the Keras file. Raises WeightsMissing, WeightsInvalid.

    In the file, `fire2/squeeze1x1` is a group that holds `fire2/squeeze1x1_W:0` (height, width, in, out)
    and `fire2/squeeze1x1_b:0`.
    """
    weights.check_file(path)
    network = build()
    tensors: weights.Tensors = {}
    try:
        with h5py.File(path, "r") as file:
            for name, module in network.named_modules():
                if isinstance(module, nn.Conv2d):
                    layer = name.replace(".", "/")
                    for end in ("W:0", "b:0"):
                        if f"{layer}/{layer}_{end}" not in file:
                            raise KeyError(f"no {layer}_{end}")
                    kernel = np.asarray(file[f"{layer}/{layer}_W:0"], dtype=np.float32)
                    bias = np.asarray(file[f"{layer}/{layer}_b:0"], dtype=np.float32)
                    tensors[f"{name}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
                    tensors[f"{name}.bias"] = torch.from_numpy(bias)
    except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
        raise WeightsInvalid(
            f"cannot read weights file {path}: truncated or not the Keras file "
            f"({weights.one_line(error)}); delete it and run `xdream weights get squeezenet1.1`"
        ) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    weights.check_shapes(tensors, shapes, path)
    network.load_state_dict(tensors)
    return network
