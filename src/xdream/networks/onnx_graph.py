"""Graphs in ONNX files, run by onnxruntime: what networks and generators in such files have in common."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from xdream.errors import BadInput, WeightsInvalid
from xdream.files import mistaken
from xdream.networks.weights import one_line

#: The types of numbers that are given to a graph, by their numbers in the format.
FLOATS: Mapping[int, type[np.floating[Any]]] = {1: np.float32, 10: np.float16, 11: np.float64}


class OnnxGraph:
    """The graph in a file, without weights that are kept beside it. The file's graph runs, so it can compute
    whatever onnxruntime can.

    model: as the package `onnx` has it. digest: SHA-256 of the file. Raises BadInput where the packages are
    missing, WeightsInvalid for a damaged file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.onnx = imported("onnx")
        try:
            self.model = self.onnx.load(path, load_external_data=False)
        except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
            what = mistaken(path) or one_line(error)
            raise WeightsInvalid(f"cannot read network file {path}: {what}") from error
        self.digest = hashlib.sha256(path.read_bytes()).digest()
        self._sessions: dict[tuple[str, ...], Any] = {}

    @property
    def graph(self) -> Any:
        """Its nodes, inputs and outputs."""
        return self.model.graph

    def inputs(self) -> list[Any]:
        """What is given to the graph when it runs: weights may be declared as inputs too."""
        known = (*self.graph.initializer, *self.graph.sparse_initializer)
        constants = {one.name for one in known if hasattr(one, "name")}
        return [one for one in self.graph.input if one.name not in constants]

    def run(
        self, given: Mapping[str, np.ndarray[Any, Any] | None], names: tuple[str, ...]
    ) -> list[np.ndarray[Any, Any]]:
        """These tensors for what is given, inputs by their names. Raises WeightsInvalid where onnxruntime
        cannot run the graph at all, else whatever onnxruntime raises."""
        found: list[np.ndarray[Any, Any]] = self._session(names).run([*names], dict(given))
        return found

    def rows(
        self,
        given: Mapping[str, np.ndarray[Any, Any]],
        names: tuple[str, ...],
        batch: int | None,
        others: Mapping[str, np.ndarray[Any, Any] | None] = MappingProxyType({}),
    ) -> dict[str, np.ndarray[Any, Any]]:
        """These tensors, by name, for inputs with n rows each, `batch` rows at a time (None: all together).

        others: inputs that are the same for all rows; None: one that is left out.
        """
        n = len(next(iter(given.values())))
        batch = batch or n
        parts, missing = [], 0
        for start in range(0, n, batch):
            part = {key: value[start : start + batch] for key, value in given.items()}
            missing = max(0, start + batch - n)
            if missing:
                part = {k: np.concatenate((v, np.repeat(v[-1:], missing, 0))) for k, v in part.items()}
            parts.append(self.run({**others, **part}, names))
        # The rows that filled up the last part are cut off; what is no array of rows is of the first part.
        return {
            name: values[0]
            if (len(values) == 1 and not missing) or not isinstance(values[0], np.ndarray)
            else np.concatenate(values)[:n]
            for name, values in zip(names, zip(*parts, strict=True), strict=True)
        }

    def _session(self, names: tuple[str, ...]) -> Any:
        """A session that computes these tensors and what they need."""
        if names not in self._sessions:
            runtime = imported("onnxruntime")
            model = self.onnx.ModelProto()
            model.CopyFrom(self.model)
            del model.graph.output[:]
            known = {one.name: one for one in self.graph.output}
            for name in names:
                model.graph.output.append(known.get(name) or self.onnx.ValueInfoProto(name=name))
            options = runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 3  # errors, which are raised, and no warnings beside them
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(self.path.parent.resolve())
            )
            providers = runtime.get_available_providers()
            try:
                self._sessions[names] = runtime.InferenceSession(
                    model.SerializeToString(),
                    options,
                    [one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in providers],
                )
            except Exception as error:  # an operator or a version that it does not know, a missing part
                raise self._not_run(error) from error
        return self._sessions[names]

    def _not_run(self, error: Exception) -> WeightsInvalid:
        what = ""
        if any(word in str(error) for word in ("IR version", "opset")):
            operators = max((one.version for one in self.model.opset_import), default=0)
            what = f", of a newer format (version {self.model.ir_version}, operators {operators})"
        return WeightsInvalid(
            f"onnxruntime {imported('onnxruntime').__version__} cannot run {self.path}{what} "
            f"({one_line(error)}); upgrade it, or export the network anew, in float32"
        )


def shape_of(one: Any) -> str:
    """The shape of an input or output as its graph declares it, or its kind."""
    kind = one.type.WhichOneof("value")
    if kind != "tensor_type":
        return f"({str(kind or 'of no type').removesuffix('_type')})"
    dims = (str(dim.dim_value or dim.dim_param or "?") for dim in one.type.tensor_type.shape.dim)
    return f"({', '.join(dims)}) {type_of(one)}"


def type_of(one: Any) -> str:
    """The type of the numbers of an input or output."""
    name: str = imported("onnx").TensorProto.DataType.Name(one.type.tensor_type.elem_type)
    return name.lower()


def imported(package: str) -> Any:
    """`onnx` or `onnxruntime`. Raises BadInput."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BadInput(
            f"networks in ONNX files need {package} ({one_line(error)}); pip install 'xdream[onnx]'"
        ) from error
