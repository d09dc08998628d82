"""The compiler of PyTorch."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch._inductor.config
from torch.utils._pytree import tree_map_only

from xdream.engines.base import BatchFunction, Running
from xdream.errors import BadInput

T = TypeVar("T")
#: Images from which on an experiment is compiled: the compiler's minute comes back (benches/engine.py).
COMPILED_FROM = 20_000


class TorchCompiled:
    """PyTorch's compiler: layers fused, weights laid out for this machine. It takes a minute, and a C++
    compiler."""

    name = "torch-compiled"
    package = ""
    sets_precision = False

    def missing(self, device: torch.device) -> str:
        """Never known before it is tried."""
        return ""

    def suits(self, images: int) -> bool:
        """When the minute comes back."""
        return images >= COMPILED_FROM

    def run(self, function: BatchFunction, example: torch.Tensor) -> Running:
        """Compiled when it is first called with a shape."""
        if getattr(function, "graph_file", None) is not None:
            raise BadInput("a graph in an ONNX file has nothing to compile")
        through = through_compiler(function)
        return lambda batch, precision: through(batch)


def through_compiler(function: Callable[[torch.Tensor], T]) -> Callable[[torch.Tensor], T]:
    """A function of a network's with its layers fused and its weights laid out for this machine.

    It is compiled for each new shape that it is called with, and called without gradients. On a GPU the
    launches of its kernels are recorded once and replayed together.
    """

    def own(inputs: torch.Tensor) -> T:
        return function(inputs)

    # What is compiled is kept with a function's code, and only so often: each function gets its own copy.
    alone = types.FunctionType(own.__code__.replace(), own.__globals__, closure=own.__closure__)
    options: dict[str, Any] = {"triton.cudagraphs": torch.cuda.is_available()}
    compiled = torch.compile(alone, dynamic=False, options=options)

    def call(inputs: torch.Tensor) -> T:
        inputs = inputs.contiguous()
        if not inputs.is_inference():  # for either kind, and either layout, it would compile once more
            with torch.inference_mode():
                inputs = inputs.clone()
        # Frozen weights are a setting of the process (as an option it comes too late), and need no_grad.
        with torch.no_grad(), torch._inductor.config.patch(freezing=True):
            outputs: T = compiled(inputs)
        # A recorded launch writes the next outputs over these.
        return tree_map_only(torch.Tensor, torch.clone, outputs) if inputs.is_cuda else outputs

    return call
