"""Generators from Caffe's files, such as those of DeePSiM: `caffe:PROTOTXT[+CAFFEMODEL]`, or a folder."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from xdream import networks
from xdream.errors import BadInput
from xdream.generators.deepsim import DeepSim, initial_codes
from xdream.networks import caffe, caffe_file
from xdream.networks.weights import RANDOM
from xdream.registry import declares

SCHEME = "caffe:"


class _Blob(nn.Module):
    """A network of which one blob is wanted."""

    def __init__(self, net: caffe.CaffeNet, blob: str) -> None:
        super().__init__()
        self._net, self._blob = net, blob

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """(n, …) -> (n, 3, h, w)."""
        images: torch.Tensor = self._net(codes, self._blob)
        return images


@declares(absolute=networks.absolute)
def caffe_generator(
    name: str,
    *,
    blob: str = "",
    statistics: Path | None = None,
    group: str = "fc6",
    random_weights: bool = False,
) -> DeepSim:
    """A generator whose network is in Caffe's files. Its images are BGR with the mean of CaffeNet removed.

    name: as written. blob: which holds the images (default: the network's output). statistics: an HDF5 file;
    the initial codes are N(mu, sig²) of its `group`, cut at zero for every layer but fc8, otherwise N(0, 1).
    random_weights: for timing only. Raises BadInput, WeightsMissing, WeightsInvalid.
    """
    prototxt, model = caffe_file.files(name.removeprefix(SCHEME), needed=not random_weights)
    net = caffe.load(prototxt, None if random_weights else model)
    if blob and blob not in net.names:
        raise BadInput(f"generator '{name}' has no blob '{blob}'; it has: {', '.join(net.names)}")
    image = net.names[blob or net.output]
    if len(net.inputs) != 1 or len(image) != 3 or image[0] != 3 or image[1] != image[2]:
        inputs = ", ".join(f"{key} {shape}" for key, shape in net.inputs.items())
        raise BadInput(
            f"generator '{name}' makes {image} from {inputs}; one input and a blob (3, size, size) are needed"
        )
    [code_shape] = net.inputs.values()
    initial = initial_codes(statistics, group, code_shape)
    # Channels last: a third faster on a CPU.
    module = _Blob(net, blob).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    centre = torch.zeros(math.prod(code_shape))
    warnings = (RANDOM,) if random_weights else ()
    return DeepSim(name, code_shape, image[1], module, initial, centre, group, warnings)
