"""OpenVINO: graphs for processors, made in seconds and without a C++ compiler (Apache 2.0)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from xdream.engines.base import BatchFunction, GraphFile, Running

#: Images from which on its start of a few seconds comes back.
FROM_IMAGES = 2_000
#: Threads that one stream uses; with more, batches are divided among streams.
THREADS_OF_STREAM = 8
#: Rows with which a function is traced. The graph takes any number of them, or is made again.
TRACED = 2
#: Graphs that are kept, each for its number of images: runs that end make batches smaller.
SIZES_KEPT = 3
#: Our words for its precisions. TensorFloat-32 is of GPUs.
PRECISIONS = {"float32": "f32", "tf32": "f32", "bfloat16": "bf16"}


class OpenVino:
    """OpenVINO: graphs made for this processor. Twice as fast as PyTorch on many; extra `fast`."""

    name = "openvino"
    package = "openvino"
    sets_precision = True

    def missing(self, device: torch.device) -> str:
        """Where it is not installed, and on other devices than the processor."""
        if importlib.util.find_spec("openvino") is None:
            return "it is not installed: pip install 'xdream[fast]'"
        return "" if device.type == "cpu" else f"it computes on the processor, and the device is '{device}'"

    def suits(self, images: int) -> bool:
        """When the start of a few seconds comes back."""
        return images >= FROM_IMAGES

    def run(self, function: BatchFunction, example: torch.Tensor) -> Running:
        """Its graph is made now, and for each number of images when they first come."""
        file = getattr(function, "graph_file", None)
        few = example[:TRACED]
        graph, kept = _traced(function, few) if file is None else _from_file(file, few)
        return _Graph(graph, kept, function, torch.get_num_threads())


class _Graph:
    """A graph with one input, run for some numbers of images at a time. function: what it was made from."""

    def __init__(self, graph: Any, kept: object, function: BatchFunction, threads: int) -> None:
        self._graph, self._kept = graph, kept
        self._function, self._threads = function, threads
        self._streams = max(1, threads // THREADS_OF_STREAM)
        self._made: OrderedDict[tuple[int, str], list[Any]] = OrderedDict()

    def __call__(self, batch: torch.Tensor, precision: str) -> list[torch.Tensor]:
        rows = np.ascontiguousarray(batch.numpy())
        # By the size of the batch alone, so that the same batch is always divided in the same way.
        parts = self._streams if len(rows) % self._streams == 0 else 1
        each = len(rows) // parts
        requests = self._requests(batch[:each], precision)[:parts]
        for number, request in enumerate(requests):
            request.start_async([rows[number * each : (number + 1) * each]], share_inputs=True)
        for request in requests:
            request.wait()
        # Copied: the next batch writes over them.
        found = [[output.data.copy() for output in request.output_tensors] for request in requests]
        return [torch.from_numpy(np.concatenate(some)) for some in zip(*found, strict=True)]

    def _requests(self, batch: torch.Tensor, precision: str) -> list[Any]:
        key = len(batch), PRECISIONS[precision]
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        if len(self._made) >= SIZES_KEPT:
            self._made.popitem(last=False)
        settings = {
            "INFERENCE_PRECISION_HINT": key[1],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._streams,
            # Two experiments side by side would be bound to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = _core().compile_model(self._of_size(batch), "CPU", settings)
        self._made[key] = [compiled.create_infer_request() for _ in range(self._streams)]
        return self._made[key]

    def _of_size(self, batch: torch.Tensor) -> Any:
        """The graph for as many rows as this batch has."""
        try:
            self._graph.reshape([len(batch), *list(self._graph.input().partial_shape)[1:]])
            if all(output.partial_shape[0] == len(batch) for output in self._graph.outputs):
                return self._graph
        except RuntimeError:
            pass
        # Made with another number of rows, which is written into it: `x.reshape(len(x), …)` does so.
        self._graph, self._kept = _traced(self._function, batch)
        return self._graph


class _Module(nn.Module):
    """A function as a module, which is what can be traced."""

    def __init__(self, function: BatchFunction) -> None:
        super().__init__()
        self._function = function

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self._function(batch))


def _traced(function: BatchFunction, example: torch.Tensor) -> tuple[Any, object]:
    """The graph of what a function does with a batch of this size, and what must live as long as it."""
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is the same for every batch; the outputs are checked
        batch = example.clone()
        imported()
        trace: Any = torch.jit.trace
        traced = trace(_Module(function).eval(), batch, check_trace=False, strict=False)
        decoders = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
        decoder = decoders.TorchScriptPythonDecoder(traced, example_input=batch)
        graph = _frontend().convert(_frontend().load(decoder))
        _forget(traced)
    graph.reshape([-1, *batch.shape[1:]])
    return graph, decoder  # which holds the weights


def _forget(traced: Any) -> None:
    """PyTorch keeps the code of all that was traced, weights in it, until the process ends: empty it."""
    graph = traced.graph
    for _ in list(graph.outputs()):
        graph.eraseOutput(0)
    for node in reversed(list(graph.nodes())):
        node.destroy()


def _from_file(file: GraphFile, example: torch.Tensor) -> tuple[Any, object]:
    """The graph of an ONNX file behind that of its preprocessing."""
    openvino = imported()
    graph = _core().read_model(str(file.path))
    batch = graph.inputs[0].partial_shape[0]
    if not batch.is_dynamic:
        raise ValueError(f"{file.path.name} was made for {batch} images at a time")
    wanted = [graph.output(name) if name in _names(graph) else None for name in file.outputs]
    added = [name for name, found in zip(file.outputs, wanted, strict=True) if found is None]
    if added:
        graph.add_outputs(added)
    first, kept = _traced(lambda images: (file.before(images),), example)
    graph.inputs[0].get_node().output(0).replace(first.outputs[0].get_node().input_value(0))
    results = [graph.output(name).get_node() for name in file.outputs]
    return openvino.Model(results, first.get_parameters(), "network"), kept


def _names(graph: Any) -> set[str]:
    return {name for output in graph.outputs for name in output.get_names()}


def imported() -> Any:
    """The package, without its telemetry: to import it would send a message to its makers."""
    if "openvino" not in sys.modules:
        known = sys.modules.get("openvino_telemetry")
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
            if known is not None:
                sys.modules["openvino_telemetry"] = known
    return importlib.import_module("openvino")


@functools.cache
def _core() -> Any:
    return imported().Core()


@functools.cache
def _frontend() -> Any:
    imported()
    return importlib.import_module("openvino.frontend").FrontEndManager().load_by_framework("pytorch")
