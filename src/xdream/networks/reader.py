"""Reading inner layers of a network. The forward pass stops at the deepest layer that is read."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from xdream.engines import GraphFile
from xdream.errors import BadInput, SubjectError
from xdream.memory import out_of_memory
from xdream.networks.base import NamedOutputs, Network
from xdream.networks.loading import layers
from xdream.networks.weights import one_line
from xdream.registry import nearest
from xdream.types import ShownImages


class _LastLayerReached(Exception):
    """Ends a forward pass; never leaves this module."""


class LayerReader:
    """Reads layers of a network; made by `layer_reader`.

    A layer that runs several times in a forward pass (a shared activation function) is read at its last.
    """

    def __init__(self, network: Network, calls: dict[str, int], device: torch.device) -> None:
        self.network = network
        self.calls = calls
        self.device = device
        # Channels last: 1.5 to 1.7 times as fast for EfficientNet-Lite0 on a CPU.
        self._module = network.module.to(device)
        if network.layers:
            self._module = self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def read(
        self,
        images: ShownImages,
        through: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None = None,
    ) -> dict[str, torch.Tensor]:
        """(n, 3, h, w) uint8 -> the output of each layer, (n, channels[, height, width]).

        through: what computes them, where it is not PyTorch: `function` in an engine.
        """
        try:
            with torch.inference_mode():
                if through is None:
                    outputs = self.outputs(images)
                else:
                    outputs = dict(zip(self.calls, through(images.to(self.device)), strict=True))
        except SubjectError:
            raise
        except Exception as error:  # whatever the user's own network raises
            if out_of_memory(error):
                raise
            raise SubjectError(
                f"network '{self.network.name}' failed on a batch: {one_line(error)}"
            ) from error
        for layer, output in outputs.items():
            if len(output) != len(images):
                raise SubjectError(
                    f"layer '{layer}' of {self.network.name} gave {len(output)} rows for {len(images)} images"
                )
        return outputs

    def outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images with values from 0 to 255, uint8 or float32 -> the output of each layer. Gradients flow."""
        return _outputs(self._module, self.inputs(images.to(self.device)), self.calls)

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """What the network is given for some images."""
        inputs = self.network.preprocessing(images)
        return inputs.contiguous(memory_format=torch.channels_last) if self.network.layers else inputs

    def function(self) -> Callable[[torch.Tensor], list[torch.Tensor]]:
        """Images on the reader's device -> the output of each layer, in their order, for an engine.

        Raises BadInput for what is no module of PyTorch: its outputs only are known.
        """
        if not self.network.layers:
            raise BadInput(f"network '{self.network.name}' gives its outputs only")
        return _Tapped(self.inputs, self._module, self.calls)


class _Tapped:
    """A network that gives the outputs of some layers. Without exceptions, which a compiler does not follow:
    it leaves out by itself what comes after the last of them."""

    def __init__(
        self, inputs: Callable[[torch.Tensor], torch.Tensor], module: nn.Module, calls: Collection[str]
    ) -> None:
        self._inputs, self._layers = inputs, list(calls)
        self._found: dict[str, torch.Tensor] = {}
        self._module = module
        self.graph_file: GraphFile | None = None
        if isinstance(module, NamedOutputs):
            self.graph_file = _graph_file(module, inputs, self._layers)
            return
        # A compiler follows hooks that are there before it comes: a copy, which shares the weights, has them.
        shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        self._module = copy.deepcopy(module, shared)
        modules = dict(self._module.named_modules())
        for layer in self._layers:
            modules[layer].register_forward_hook(functools.partial(self._keep, layer))

    def _keep(self, layer: str, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._found[layer] = output.clone()  # what comes may write over it

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        if isinstance(self._module, NamedOutputs):
            outputs = self._module.read(self._inputs(images), self._layers)
            return [outputs[layer] for layer in self._layers]
        self._module(self._inputs(images))
        return [self._found.pop(layer) for layer in self._layers]


def _graph_file(
    module: NamedOutputs, inputs: Callable[[torch.Tensor], torch.Tensor], layers: Sequence[str]
) -> GraphFile | None:
    """The file of a network that is a graph in one."""
    path = getattr(module, "graph_path", None)
    if path is None:
        return None
    return GraphFile(path, inputs, tuple(layer or module.output for layer in layers))


def layer_reader(
    network: Network,
    wanted: Sequence[str],
    device: torch.device | None = None,
    size_px: int | None = None,
) -> tuple[LayerReader, dict[str, tuple[int, ...]]]:
    """A reader of some layers, and their shapes without the batch.

    size_px: of the images that will be shown, for a network that takes them at their own size. The network
    sees a grey batch, so that a layer that does not exist is known now. Raises BadInput.
    """
    for layer in wanted:
        if layer and not network.layers:
            raise BadInput(
                f"network '{network.name}' gives its outputs only; leave the layer '{layer}' empty: "
                "NETWORK::UNITS"
            )
    known = {info.name: info for info in layers(network, size_px)}
    for layer in wanted:
        if layer not in known:
            what = f"layer '{layer}' does not exist in {network.name}; near"
            if not layer:  # of ONNX files: whose outputs are integers, sequences, or not one for each image
                what = f"{network.name} has no output with a row of numbers for each image; layers"
            raise BadInput(
                f"{what}: {nearest(layer, [one for one in known if one])} "
                f"(all: xdream list targets --layers {network.name})"
            )
        if len(known[layer].shape) not in (1, 3):
            raise BadInput(
                f"layer '{layer}' of {network.name} has shape {known[layer].shape}; "
                "a target layer has (channels,) or (channels, height, width)"
            )
    calls = {layer: known[layer].calls for layer in wanted}
    shapes = {layer: known[layer].shape for layer in wanted}
    return LayerReader(network, calls, device or torch.device("cpu")), shapes


def _outputs(module: nn.Module, inputs: torch.Tensor, calls: dict[str, int]) -> dict[str, torch.Tensor]:
    """The outputs of the layers named in `calls`, each at its last call; the pass ends with the last."""
    if isinstance(module, NamedOutputs):
        return module.read(inputs, calls)
    if calls == {"": 1}:  # no hook: a compiled file takes none
        return {"": module(inputs)}
    left = dict(calls)
    outputs: dict[str, torch.Tensor] = {}

    with _hooks(module, left, outputs), contextlib.suppress(_LastLayerReached):
        module(inputs)
    missing = [layer for layer in calls if layer not in outputs]
    if missing:
        raise SubjectError(f"layer '{missing[0]}' was not reached in a forward pass")
    return outputs


@contextlib.contextmanager
def _hooks(module: nn.Module, left: dict[str, int], outputs: dict[str, torch.Tensor]) -> Iterator[None]:
    modules = dict(module.named_modules())

    def hook_for(layer: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            left[layer] -= 1
            outputs[layer] = output
            if not any(left.values()):
                raise _LastLayerReached
            outputs[layer] = output.clone()  # what comes may write over it

        return hook

    with contextlib.ExitStack() as stack:
        for layer in left:
            stack.callback(modules[layer].register_forward_hook(hook_for(layer)).remove)
        yield
