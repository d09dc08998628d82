"""Networks in ONNX files, run by onnxruntime: whatever a laboratory's own tools can export."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.networks.base import Network, Preprocessing, as_table, declared, refuse_random
from xdream.networks.weights import one_line


def load(name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None) -> Network:
    """`onnx:FILE`, with a declared preprocessing. Layers are the tensors of its graph, by their names.

    The file's graph runs, so it can compute whatever onnxruntime can. Raises BadInput, WeightsMissing,
    WeightsInvalid.
    """
    refuse_random(name, random_weights)
    path = Path(name.partition(":")[2]).expanduser()
    if not path.is_file():
        raise WeightsMissing(f"no network file {path}; check the path{as_table(path.name)}")
    preprocessing = declared(name, preprocessing)
    return Network(name, OnnxNetwork(path, preprocessing.size_px), preprocessing)


class OnnxNetwork(nn.Module):
    """A graph with one input of images. names: its tensors of numbers, with their shapes for one image.

    size_px: (height, width) of the images. A graph that was exported for a fixed number of images is run for
    that many at a time.
    """

    digest: torch.Tensor

    def __init__(self, path: Path, size_px: tuple[int, int] | None) -> None:
        super().__init__()
        self._runtime: Any = _imported("onnxruntime")
        self._onnx: Any = _imported("onnx")
        self._path = path
        try:
            self._model = self._onnx.load(path, load_external_data=False)
            graph = self._model.graph
        except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
            raise WeightsInvalid(f"cannot read network file {path} ({one_line(error)})") from error
        # What makes the network what it is, where a module would have weights.
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer("digest", torch.tensor([*digest], dtype=torch.uint8))
        constants = {one.name for one in graph.initializer}
        inputs = [one for one in graph.input if one.name not in constants]
        dims = [one.type.tensor_type.shape.dim for one in inputs]
        if len(inputs) != 1 or len(dims[0]) != 4 or dims[0][1].dim_value not in (0, 3):
            said = ", ".join(one.name for one in inputs) or "none"
            raise BadInput(f"{path} has the inputs {said}; one of (images, 3, height, width) is needed")
        self._input = inputs[0].name
        self._batch = dims[0][0].dim_value or None
        declared = (dims[0][2].dim_value or None, dims[0][3].dim_value or None)
        height, width = declared if size_px is None else size_px
        if height is None or width is None:
            raise BadInput(f"{path} takes images of any size; declare size_px in its preprocessing")
        self.size_px = (height, width)
        self._outputs = [one.name for one in graph.output]
        self._sessions: dict[tuple[str, ...], Any] = {}
        self._names = self._tried([name for node in graph.node for name in node.output if name])

    @property
    def names(self) -> Mapping[str, tuple[int, ...]]:
        """Every tensor that can be read, with its shape for one image."""
        return self._names

    @property
    def output(self) -> str:
        """The first output of the graph."""
        first: str = self._outputs[0]
        return first

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, …) of the first output."""
        return self.read(images, [""])[""]

    def read(self, images: torch.Tensor, wanted: Collection[str]) -> dict[str, torch.Tensor]:
        """(n, 3, h, w) -> each wanted tensor, (n, …); "" is the first output."""
        names = {name: name or self.output for name in wanted}
        found = self._run(
            images.detach().cpu().to(torch.float32).numpy(), tuple(dict.fromkeys(names.values()))
        )
        return {name: torch.from_numpy(found[of]).to(images.device) for name, of in names.items()}

    def _tried(self, tensors: list[str]) -> dict[str, tuple[int, ...]]:
        """The tensors that have one row of numbers for each image, by a trial."""
        n = self._batch or 2
        try:
            found = self._run(np.zeros((n, 3, *self.size_px), np.float32), tuple(dict.fromkeys(tensors)))
        except Exception as error:
            raise BadInput(
                f"{self._path} does not take images of {self.size_px}: {one_line(error)}"
            ) from error
        return {
            name: value.shape[1:]
            for name, value in found.items()
            if value.ndim > 1 and len(value) == n and np.issubdtype(value.dtype, np.floating)
        }

    def _run(self, images: np.ndarray[Any, Any], names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
        session = self._session(names)
        n, batch = len(images), self._batch or len(images)
        parts = []
        for start in range(0, n, batch):
            part = images[start : start + batch]
            missing = batch - len(part)
            filled = np.concatenate((part, np.repeat(part[-1:], missing, 0))) if missing else part
            parts.append(session.run([*names], {self._input: filled}))
        # The rows that filled up the last part are cut off; what is no array of rows is of the first part.
        return {
            name: values[0] if len(values) == 1 and not missing else np.concatenate(values)[:n]
            for name, values in zip(names, zip(*parts, strict=True), strict=True)
        }

    def _session(self, names: tuple[str, ...]) -> Any:
        """A session that computes these tensors and what they need."""
        if names not in self._sessions:
            model = self._onnx.ModelProto()
            model.CopyFrom(self._model)
            del model.graph.output[:]
            known = {one.name: one for one in self._model.graph.output}
            for name in names:
                model.graph.output.append(known.get(name) or self._onnx.ValueInfoProto(name=name))
            options = self._runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 3  # errors, which are raised, and no warnings beside them
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(self._path.parent.resolve())
            )
            providers = self._runtime.get_available_providers()
            self._sessions[names] = self._runtime.InferenceSession(
                model.SerializeToString(),
                options,
                [one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in providers],
            )
        return self._sessions[names]


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BadInput(
            f"networks in ONNX files need {package} ({one_line(error)}); pip install 'xdream[onnx]'"
        ) from error
