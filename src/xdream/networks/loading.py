"""Networks by name: those that come with XDream, those of `timm`, and the user's own."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from xdream.errors import BadInput, SubjectError, UnknownName
from xdream.images import references
from xdream.networks import caffe_file, efficientnet, onnx_file, own, service, squeezenet, weights
from xdream.networks.base import NamedOutputs, Network, Preprocessing
from xdream.networks.listing import names
from xdream.registry import nearest


def absolute(name: str) -> str:
    """A network's name with absolute paths, to be found from anywhere."""
    scheme, _, rest = name.partition(":")
    if scheme in ("file", "onnx"):
        return f"{scheme}:{references.absolute(rest)}"
    if scheme == "timm" and "?weights=" in rest:
        model, _, file = rest.partition("?weights=")
        return f"timm:{model}?weights={references.absolute(file)}"
    if scheme == "caffe":
        return f"caffe:{'+'.join(references.absolute(part) for part in caffe_file.split(rest) if part)}"
    return name


def load(name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None) -> Network:
    """A frozen network in evaluation mode.

    name: one of `names()`, or `module:callable`. preprocessing: instead of the network's own; `file:`
    networks have none of their own and need it. random_weights: a seed, to leave out the trained weights
    where a network only has to be timed or tested. Prints nothing. Raises UnknownName, BadInput,
    WeightsMissing, WeightsInvalid.
    """
    if name in _NAMED:
        network = _NAMED[name](name, random_weights)
    elif name.partition(":")[0] in _SCHEMES:
        network = _SCHEMES[name.partition(":")[0]](name, preprocessing, random_weights)
    elif _names_a_module(name):
        network = own.from_python(name, preprocessing, random_weights)
    else:
        raise UnknownName(f"unknown network '{name}'; known: {nearest(name, names(), most=8)}")
    if preprocessing is not None:
        network = replace(network, preprocessing=preprocessing)
    if random_weights is not None:
        network = replace(network, warnings=tuple(dict.fromkeys((*network.warnings, weights.RANDOM))))
    for parameter in network.module.parameters():
        parameter.requires_grad_(False)
    return network


#: Images of the batch with which a network is tried: a number at which nobody fixes a batch size.
TRIAL_IMAGES = 3
#: Their size where neither the network nor the plan says one.
DEFAULT_PX = 224


@dataclass(frozen=True)
class LayerInfo:
    """A layer that can be a target.

    name: its module path ("": the network's output). shape: of its output for one image, the batch left
    out. calls: how often it is called for one image; the output is that of the last call.
    """

    name: str
    shape: tuple[int, ...]
    calls: int


def layers(network: Network, shown_px: int | None = None) -> list[LayerInfo]:
    """The layers whose output is a tensor, in the order in which they finish. Runs a small grey batch.

    shown_px: the size of the images, for a network that takes them at their own (default 224). A module
    that has several names in the network is listed under its first. Raises BadInput when the network does
    not take its images, or does not answer each of them.
    """
    if isinstance(network.module, NamedOutputs):
        forward_grey(network, shown_px)
        named = network.module.names
        known = [LayerInfo(name, shape, 1) for name, shape in named.items() if len(shape) in (1, 3)]
        last = network.module.output  # "": it has no output that can be read
        return [*known, LayerInfo("", named[last], 1)] if last in named else known
    found: dict[str, LayerInfo] = {}

    def note(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim > 1 and output.shape[0] == TRIAL_IMAGES:
            before = found.pop(name, None)
            calls = 1 if before is None else before.calls + 1
            found[name] = LayerInfo(name, tuple(output.shape[1:]), calls)

    handles = []
    if network.layers:
        for name, module in network.module.named_modules():
            handles.append(module.register_forward_hook(functools.partial(note, name)))
    try:
        output = forward_grey(network, shown_px)
    finally:
        for handle in handles:
            handle.remove()
    if not network.layers:  # a compiled file takes no hooks
        note("", network.module, None, output)
    return list(found.values())


def forward_grey(network: Network, shown_px: int | None = None) -> object:
    """The network's response to a small grey batch. Raises BadInput when it does not take it."""
    size = network.preprocessing.size_px or (shown_px or DEFAULT_PX,) * 2
    tensor = next(network.module.parameters(), torch.empty(0))
    grey = torch.full((TRIAL_IMAGES, 3, *size), 128, dtype=torch.uint8, device=tensor.device)
    try:
        with torch.inference_mode():
            output: object = network.module(network.preprocessing(grey))
    except SubjectError as error:  # it says itself what to do
        raise BadInput(str(error)) from error
    except Exception as error:  # whatever the user's own network raises
        raise BadInput(
            f"network '{network.name}' failed on a grey batch of {tuple(grey.shape)}: "
            f"{weights.one_line(error)}; if it does not take images like these, declare its preprocessing"
        ) from error
    shape = tuple(getattr(output, "shape", ()))
    if not network.layers and (not isinstance(output, torch.Tensor) or len(shape) not in (2, 4)):
        raise BadInput(
            f"network '{network.name}' returned {type(output).__name__} of shape {shape} for {TRIAL_IMAGES} "
            "images; a tensor (images, units) is needed"
        )
    if isinstance(output, torch.Tensor) and (not shape or shape[0] != TRIAL_IMAGES):
        raise BadInput(
            f"network '{network.name}' gives {shape} for {TRIAL_IMAGES} images; "
            "the first axis must be the images"
        )
    return output


def _names_a_module(name: str) -> bool:
    package = name.rpartition(":")[0].partition(".")[0]
    return package.isidentifier() and importlib.util.find_spec(package) is not None


def _squeezenet(name: str, random_weights: int | None) -> Network:
    if random_weights is None:
        module = squeezenet.load(weights.find(name))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_weights)
            module = squeezenet.build()
    licence = weights.known(name).licence
    return Network(name, module.eval(), squeezenet.PREPROCESSING, licence=licence)


_NAMED: dict[str, Callable[[str, int | None], Network]] = {
    **dict.fromkeys(efficientnet.NAMES, efficientnet.load),
    "squeezenet1.1": _squeezenet,
}
#: What follows the colon is up to these.
_SCHEMES: dict[str, Callable[[str, Preprocessing | None, int | None], Network]] = {
    "timm": own.from_timm,
    "caffe": caffe_file.load,
    "onnx": onnx_file.load,
    "http": service.load,
    "https": service.load,
    "python": own.from_python,
    "file": own.from_file,
}
