"""Reading inner layers of a network. The forward pass stops at the deepest layer that is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from xdream.errors import BadInput, SubjectError
from xdream.memory import out_of_memory
from xdream.networks.base import Network
from xdream.networks.load import layers
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

    def read(self, images: ShownImages) -> dict[str, torch.Tensor]:
        """(n, 3, h, w) uint8 -> the output of each layer, (n, channels[, height, width])."""
        try:
            with torch.inference_mode():
                outputs = self.outputs(images)
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
        inputs = self.network.preprocessing(images.to(self.device))
        if self.network.layers:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return _outputs(self._module, inputs, self.calls)


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
    known = {info.name: info for info in layers(network, size_px)}
    for layer in wanted:
        if layer and not network.layers:
            raise BadInput(
                f"network '{network.name}' gives its outputs only; leave the layer '{layer}' empty"
            )
        if layer not in known:
            raise BadInput(
                f"layer '{layer}' does not exist in {network.name}; near: {nearest(layer, list(known)[:-1])} "
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
