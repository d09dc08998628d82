"""PyTorch as it is."""

from __future__ import annotations

import torch

from xdream.engines.base import BatchFunction, Running


class Torch:
    """PyTorch, layer by layer: what every other engine is checked against."""

    name = "torch"
    package = ""
    sets_precision = False

    def missing(self, device: torch.device) -> str:
        """Never."""
        return ""

    def suits(self, images: int) -> bool:
        """Always."""
        return True

    def run(self, function: BatchFunction, example: torch.Tensor) -> Running:
        """The function itself."""
        return lambda batch, precision: function(batch)
