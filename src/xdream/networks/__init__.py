"""Architectures and their files: from a network's name to a frozen module and its preprocessing."""

from xdream.networks.base import Network, Preprocessing, fingerprint, resize
from xdream.networks.load import LayerInfo, layers, load, names
from xdream.networks.weights import one_line

__all__ = [
    "LayerInfo",
    "Network",
    "Preprocessing",
    "fingerprint",
    "layers",
    "load",
    "names",
    "one_line",
    "resize",
]
