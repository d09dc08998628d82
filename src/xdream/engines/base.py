"""What an engine is: it takes a function of a generator or of a network, and runs it from batch to batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import torch

from xdream.registry import Registry

#: (n, …) -> some tensors, of which those with n rows have one for each row given.
BatchFunction: TypeAlias = Callable[[torch.Tensor], Sequence[torch.Tensor]]
#: The same in an engine, with the precision of its products: "float32", "tf32" or "bfloat16".
Running: TypeAlias = Callable[[torch.Tensor, str], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class GraphFile:
    """A function that is a graph in an ONNX file, after some preprocessing.

    before: (n, 3, h, w) -> the graph's input. outputs: names of the tensors that are wanted, in order.
    """

    path: Path
    before: Callable[[torch.Tensor], torch.Tensor]
    outputs: tuple[str, ...]


class Engine(Protocol):
    """Runs functions of generators and networks.

    name: as in a plan. package: of whose version its numbers depend, beside PyTorch; "" for none.
    sets_precision: whether what it runs follows the precision that is asked for with each batch; an engine
    of PyTorch follows PyTorch's settings instead, which are those of the experiment.
    """

    name: str
    package: str
    sets_precision: bool

    def missing(self, device: torch.device) -> str:
        """Why it cannot be used here, with the remedy; "" where it can. Imports nothing that is slow."""
        ...

    def suits(self, images: int) -> bool:
        """Whether it is faster for an experiment of so many images, its start included."""
        ...

    def run(self, function: BatchFunction, example: torch.Tensor) -> Running:
        """The function in this engine. It computes what the function computes, up to rounding.

        example: a batch of the size that comes most often. A function that is in a file has it as
        `graph_file`, a `GraphFile`. Raises whatever comes of what the engine cannot take.
        """
        ...


#: Every engine by name.
ENGINES: Registry[Engine] = Registry("engine")
#: What `auto` takes: the first that can be used here and suits the experiment.
ORDER = ("openvino", "torch-compiled", "torch")
