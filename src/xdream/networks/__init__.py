"""Architectures and their files: from a network's name to a frozen module and its preprocessing."""

from xdream.networks.base import Network, Preprocessing, device, fingerprint, resize
from xdream.networks.load import DEFAULT_PX, LayerInfo, layers, load, names
from xdream.networks.original import split as split_caffe
from xdream.networks.reader import LayerReader, layer_reader, through_compiler
from xdream.networks.weights import one_line

__all__ = [
    "DEFAULT_PX",
    "LayerInfo",
    "LayerReader",
    "Network",
    "Preprocessing",
    "device",
    "fingerprint",
    "layer_reader",
    "layers",
    "load",
    "names",
    "one_line",
    "resize",
    "split_caffe",
    "through_compiler",
]
