"""A network that is small enough to train generators against in a test: `python:tiny_encoder:network`."""

import threading
from collections import OrderedDict

import torch
from torch import nn

from xdream.networks import Network, Preprocessing, load

NAME = "python:tiny_encoder:network"
SIZE_PX = 32
PREPROCESSING = Preprocessing((SIZE_PX, SIZE_PX), mean=(0.5,) * 3, std=(0.25,) * 3)
_DRAWING = threading.Lock()


def network() -> Network:
    """At its 32 px: conv1 (8, 16, 16), conv2 (12, 8, 8), conv3 (16, 4, 4), grey (1, 4, 4), scores (5,)."""
    return _drawn(0)


def other_weights() -> Network:
    return _drawn(1)


def module() -> nn.Module:
    """Without a preprocessing of its own: images come at the size that they have."""
    return _drawn(0).module


def outputs_only(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)[:, :4]


def _drawn(seed: int) -> Network:
    with _DRAWING, torch.random.fork_rng(devices=[]):  # two threads share PyTorch's generator
        torch.manual_seed(seed)
        layers = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 8, 3, 2, 1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(8, 12, 3, 2, 1),
                relu2=nn.ReLU(),
                conv3=nn.Conv2d(12, 16, 3, 2, 1),
                grey=nn.Conv2d(16, 1, 1),
                pool=nn.AdaptiveAvgPool2d(1),
                flat=nn.Flatten(),
                scores=nn.Linear(1, 5),
            )
        )
    return Network("tiny", layers.eval().requires_grad_(False), PREPROCESSING)


def squeezenet() -> Network:
    return load("squeezenet1.1", random_weights=0)


def efficientnet() -> Network:
    return load("efficientnet-lite0", random_weights=0)
