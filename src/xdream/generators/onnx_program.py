"""A generator's graph in an ONNX file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xdream.errors import BadInput
from xdream.generators.inputs import InputPlan
from xdream.networks.onnx_graph import FLOATS, OnnxGraph, shape_of


class OnnxProgram(nn.Module):
    """The graph in a file, given inputs in the order of `plans`, with the images as (n, …) of one output.

    plans: the declared inputs, those with a name in any order. output: its name or number (default: the
    first). A graph that was exported for a fixed number of codes is run for that many at a time. digest:
    SHA-256 of the file. Raises BadInput, WeightsInvalid.
    """

    def __init__(self, path: Path, plans: Sequence[InputPlan], output: str | int | None) -> None:
        super().__init__()
        self._file = OnnxGraph(path)
        self.digest = self._file.digest.hex()
        self.plans = list(plans)
        inputs = self._file.inputs()
        known = {one.name: one for one in inputs}
        said = ", ".join(f"{one.name} {shape_of(one)}" for one in inputs) or "none"
        if len(plans) != len(inputs):
            raise BadInput(f"its inputs are {said}; {len(plans)} are declared: give inputs, a table for each")
        for one in plans:
            if one.name and one.name not in known:
                raise BadInput(f"it has no input '{one.name}'; its inputs are {said}")
        unnamed = iter([one.name for one in inputs if one.name not in {plan.name for plan in plans}])
        self._names = [one.name or next(unnamed) for one in plans]
        first = known[self._names[0]].type.tensor_type.shape.dim
        self._batch = first[0].dim_value or None if len(first) > 1 else None
        for name, plan in zip(self._names, plans, strict=True):
            _check(known[name], plan)
        self._types = {name: _type(known[name]) for name in self._names}
        outputs = [one.name for one in self._file.graph.output]
        self._output = outputs[0] if output is None else self._picked(outputs, output)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(n, …) each -> (n, …) of the output."""
        if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
            raise RuntimeError("onnxruntime computes a generator in an ONNX file")
        rows: dict[str, np.ndarray[Any, Any]] = {}
        others: dict[str, np.ndarray[Any, Any] | None] = {}
        for name, value in zip(self._names, inputs, strict=True):
            array = value.detach().cpu().numpy().astype(self._types[name])
            if array.ndim:
                rows[name] = array
            else:
                others[name] = array
        [found] = self._file.rows(rows, (self._output,), self._batch, others).values()
        return torch.from_numpy(np.ascontiguousarray(found)).to(inputs[0].device)

    def _picked(self, outputs: Sequence[str], output: str | int) -> str:
        found = output if isinstance(output, str) else dict(enumerate(outputs)).get(output)
        if found not in outputs:
            raise BadInput(f"it has no output {output!r}; its outputs are {', '.join(outputs)}")
        return str(found)


def _check(one: Any, plan: InputPlan) -> None:
    """Raise BadInput where the graph says another shape than the plan."""
    dims = [dim.dim_value for dim in one.type.tensor_type.shape.dim][1:]
    shape = () if plan.given == "index" else plan.shape
    if plan.value is None and dims and all(dims) and tuple(dims) != shape:
        raise BadInput(
            f"its input {one.name} is {shape_of(one)}, and code_size is {plan.code_size}; "
            f"give code_size = {dims[0] if len(dims) == 1 else dims}"
        )


def _type(one: Any) -> Any:
    found = one.type.tensor_type.elem_type
    whole = {6: np.int32, 7: np.int64}
    if found not in FLOATS and found not in whole:
        raise BadInput(f"its input {one.name} is {shape_of(one)}; floating-point or whole numbers are needed")
    return FLOATS.get(found) or whole[found]
