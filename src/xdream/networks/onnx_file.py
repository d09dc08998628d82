"""Networks in ONNX files, run by onnxruntime: whatever a laboratory's own tools can export."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.files import mistaken
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
    module = OnnxNetwork(path, preprocessing.size_px, preprocessing.layout)
    return Network(name, module, preprocessing, warnings=module.warnings)


def bare(name: str) -> Preprocessing:
    """What is needed to list the layers of `onnx:FILE`: its own size, and the order of its axes."""
    path = Path(name.partition(":")[2]).expanduser()
    if not path.is_file():
        raise WeightsMissing(f"no network file {path}; check the path{as_table(path.name)}")
    return Preprocessing(None, layout=_layout(_image_input(_graph(path)[0].graph, path)) or "NCHW")


class OnnxNetwork(nn.Module):
    """A graph with one input of images. names: its tensors with a row of numbers for each image, with their
    shapes for one image.

    size_px: (height, width) of the images. layout: "NCHW" or "NHWC", the order of the axes of its input. A
    graph that was exported for a fixed number of images is run for that many at a time. Tensors of integers,
    texts, sequences, and those that do not have as many rows as there are images, are left out.
    """

    digest: torch.Tensor

    def __init__(self, path: Path, size_px: tuple[int, int] | None, layout: str = "NCHW") -> None:
        super().__init__()
        self._runtime: Any = _imported("onnxruntime")
        self._path = path
        self._model, self._onnx = _graph(path)
        graph = self._model.graph
        # What makes the network what it is, where a module would have weights.
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer("digest", torch.tensor([*digest], dtype=torch.uint8))
        image = _image_input(graph, path)
        self._input = image.name
        self._dtype = _INPUTS[image.type.tensor_type.elem_type]
        self._absent = [one.name for one in _inputs(graph) if one.name != image.name]
        dims = [one.dim_value for one in image.type.tensor_type.shape.dim]
        if _layout(image) not in (layout, None):
            raise BadInput(
                f"{path} takes images of shape {_shape(image)}, which is {_layout(image)}; declare "
                f'layout = "{_layout(image)}" in its preprocessing'
            )
        self._layout = layout
        self._batch = dims[0] or None
        sides = dims[2:] if layout == "NCHW" else dims[1:3]
        height, width = (sides[0] or None, sides[1] or None) if size_px is None else size_px
        if height is None or width is None:
            raise BadInput(f"{path} takes images of any size; declare size_px in its preprocessing")
        self.size_px = (height, width)
        self._sessions: dict[tuple[str, ...], Any] = {}
        self._names = self._tried(self._readable())
        if not self._names:
            said = ", ".join(f"{one.name} {_shape(one)}" for one in graph.output)
            raise BadInput(f"{path} has no tensor with a row of numbers for each image; its outputs: {said}")
        plain = self._dtype is np.float32 and not self._absent and (1,) not in self._names.values()
        self.graph_path = path if plain else None  # other engines take the file as it is
        usable = [one.name for one in graph.output if one.name in self._names]
        self._output = usable[0] if usable else ""
        first = graph.output[0]
        self.warnings: tuple[str, ...] = ()
        if usable and first.name != usable[0]:
            self.warnings = (
                f"the output of {path.name} is '{usable[0]}': its first output '{first.name}' "
                "has no row of floating-point numbers for each image",
            )

    @property
    def names(self) -> Mapping[str, tuple[int, ...]]:
        """Every tensor that can be read, with its shape for one image."""
        return self._names

    @property
    def output(self) -> str:
        """The first output of the graph that can be read; "": none can, only inner tensors."""
        return self._output

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w), or (n, h, w, 3) -> (n, …) of the output, or of an inner tensor where it has none."""
        name = self.output or next(iter(self._names))
        return self.read(images, [name])[name]

    def read(self, images: torch.Tensor, wanted: Collection[str]) -> dict[str, torch.Tensor]:
        """(n, 3, h, w), or (n, h, w, 3) -> each wanted tensor, (n, …); "" is the output."""
        names = {name: name or self.output for name in wanted}
        found = self._run(images.detach().cpu().numpy(), tuple(dict.fromkeys(names.values())))
        return {name: _rows(found[of]).to(images.device) for name, of in names.items()}

    def _readable(self) -> list[str]:
        """The tensors that depend on the images, and are not known to be anything but numbers."""
        known: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # a graph that cannot be followed is tried as it is
            inferred = self._onnx.shape_inference.infer_shapes(self._model).graph
            known = {one.name: one.type for one in (*inferred.value_info, *inferred.output)}
        reached, found = {self._input}, []
        for node in self._model.graph.node:
            # What a branch or a loop reads inside, nobody says here: all of it counts as reached.
            inner = any(attribute.HasField("g") for attribute in node.attribute)
            if inner or not reached.isdisjoint(node.input):
                reached.update(node.output)
                found += [name for name in node.output if name and _may_be_numbers(known.get(name))]
        return found

    def _tried(self, tensors: list[str]) -> dict[str, tuple[int, ...]]:
        """Those that have one row of numbers for each image, by trials with two numbers of images."""
        shapes: list[dict[str, tuple[int, ...]]] = []
        for n in ((self._batch,) if self._batch else (2, 3)) if tensors else ():
            height, width = self.size_px
            shape = (n, 3, height, width) if self._layout == "NCHW" else (n, height, width, 3)
            try:
                found = self._run(np.zeros(shape, np.float32), tuple(dict.fromkeys(tensors)))
            except WeightsInvalid:
                raise
            except Exception as error:
                raise BadInput(
                    f"{self._path} does not take images of {self.size_px}: {one_line(error)}"
                ) from error
            shapes.append(
                {
                    name: value.shape[1:] or (1,)
                    for name, value in found.items()
                    if isinstance(value, np.ndarray)
                    and value.ndim > 0
                    and len(value) == n
                    and np.issubdtype(value.dtype, np.floating)
                }
            )
        return {k: shape for first in shapes[:1] for k, shape in first.items() if shapes[-1].get(k) == shape}

    def _run(self, images: np.ndarray[Any, Any], names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
        session = self._session(names)
        n, batch = len(images), self._batch or len(images)
        parts = []
        for start in range(0, n, batch):
            part = images[start : start + batch]
            missing = batch - len(part)
            filled = np.concatenate((part, np.repeat(part[-1:], missing, 0))) if missing else part
            given = dict.fromkeys(self._absent) | {self._input: filled.astype(self._dtype)}
            parts.append(session.run([*names], given))
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
            try:
                self._sessions[names] = self._runtime.InferenceSession(
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
            operators = max((one.version for one in self._model.opset_import), default=0)
            what = f", of a newer format (version {self._model.ir_version}, operators {operators})"
        return WeightsInvalid(
            f"onnxruntime {self._runtime.__version__} cannot run {self._path}{what} ({one_line(error)}); "
            "upgrade it, or export the network anew, in float32"
        )


def _graph(path: Path) -> tuple[Any, Any]:
    """The model in a file, without weights that are kept beside it, and the package that reads it."""
    onnx = _imported("onnx")
    try:
        return onnx.load(path, load_external_data=False), onnx
    except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
        what = mistaken(path) or one_line(error)
        raise WeightsInvalid(f"cannot read network file {path}: {what}") from error


#: The types of images that a graph may take, by their numbers in the format.
_INPUTS: Mapping[int, type[np.floating[Any]]] = {1: np.float32, 10: np.float16, 11: np.float64}
#: And of the tensors that are read.
_FLOATS = (0, 1, 10, 11)


def _inputs(graph: Any) -> list[Any]:
    """What is given to a graph when it runs: weights may be declared as inputs too."""
    constants = {one.name for one in (*graph.initializer, *graph.sparse_initializer) if hasattr(one, "name")}
    return [one for one in graph.input if one.name not in constants]


def _image_input(graph: Any, path: Path) -> Any:
    """The one input of images; others must be optional. Raises BadInput."""
    given = [one for one in _inputs(graph) if one.type.WhichOneof("value") != "optional_type"]
    dims = [one.type.tensor_type.shape.dim for one in given]
    if len(given) != 1 or len(dims[0]) != 4 or not (_has_three(dims[0][1]) or _has_three(dims[0][3])):
        said = ", ".join(f"{one.name} {_shape(one)}" for one in given) or "none"
        raise BadInput(f"{path} has the inputs {said}; one of (images, 3, height, width) is needed")
    if given[0].type.tensor_type.elem_type not in _INPUTS:
        raise BadInput(
            f"{path} takes images of type {_type(given[0])}; a float, half or double input is needed"
        )
    return given[0]


def _has_three(dim: Any) -> bool:
    """Whether an axis has 3 entries, or any number."""
    return dim.dim_value in (0, 3)


def _layout(image: Any) -> str | None:
    """Which axis of an input is the colours, where its shape says so."""
    dims = image.type.tensor_type.shape.dim
    if dims[1].dim_value == 3:
        return "NCHW"
    if dims[3].dim_value == 3 or dims[1].dim_value:
        return "NHWC"
    return "NCHW" if dims[3].dim_value else None


def _shape(one: Any) -> str:
    """The shape of an input or output as its graph declares it, or its kind."""
    kind = one.type.WhichOneof("value")
    if kind != "tensor_type":
        return f"({str(kind or 'of no type').removesuffix('_type')})"
    dims = (str(dim.dim_value or dim.dim_param or "?") for dim in one.type.tensor_type.shape.dim)
    return f"({', '.join(dims)}) {_type(one)}"


def _type(one: Any) -> str:
    name: str = _imported("onnx").TensorProto.DataType.Name(one.type.tensor_type.elem_type)
    return name.lower()


def _may_be_numbers(kind: Any) -> bool:
    if kind is None or kind.WhichOneof("value") is None:
        return True
    return kind.WhichOneof("value") == "tensor_type" and kind.tensor_type.elem_type in _FLOATS


def _rows(values: np.ndarray[Any, Any]) -> torch.Tensor:
    """(n, …), with an axis of units where there is a number for each image; half precision as float32."""
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    return torch.from_numpy(wide if wide.ndim > 1 else wide[:, None])


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BadInput(
            f"networks in ONNX files need {package} ({one_line(error)}); pip install 'xdream[onnx]'"
        ) from error
