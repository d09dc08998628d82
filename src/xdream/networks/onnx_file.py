"""Networks in ONNX files, run by onnxruntime: whatever a laboratory's own tools can export."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xdream.errors import BadInput, WeightsInvalid
from xdream.networks.base import Network, Preprocessing, declared, existing, refuse_random
from xdream.networks.onnx_graph import FLOATS, OnnxGraph, imported, shape_of, type_of
from xdream.networks.weights import one_line


def load(name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None) -> Network:
    """`onnx:FILE`, with a declared preprocessing. Layers are the tensors of its graph, by their names.

    The file's graph runs, so it can compute whatever onnxruntime can. Raises BadInput, WeightsMissing,
    WeightsInvalid.
    """
    refuse_random(name, random_weights)
    path = existing(name, "network")
    preprocessing = declared(name, preprocessing)
    module = OnnxNetwork(path, preprocessing.size_px, preprocessing.layout)
    return Network(name, module, preprocessing, warnings=module.warnings)


def bare(name: str) -> Preprocessing:
    """What is needed to list the layers of `onnx:FILE`: its own size, and the order of its axes."""
    path = existing(name, "network")
    return Preprocessing(None, layout=_layout(_image_input(OnnxGraph(path))) or "NCHW")


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
        imported("onnxruntime")
        self._path = path
        self._file = OnnxGraph(path)
        graph = self._file.graph
        # What makes the network what it is, where a module would have weights.
        self.register_buffer("digest", torch.tensor([*self._file.digest], dtype=torch.uint8))
        image = _image_input(self._file)
        self._input = image.name
        self._dtype = FLOATS[image.type.tensor_type.elem_type]
        self._absent = [one.name for one in self._file.inputs() if one.name != image.name]
        dims = [one.dim_value for one in image.type.tensor_type.shape.dim]
        if _layout(image) not in (layout, None):
            raise BadInput(
                f"{path} takes images of shape {shape_of(image)}, which is {_layout(image)}; declare "
                f'layout = "{_layout(image)}" in its preprocessing'
            )
        self._layout = layout
        self._batch = dims[0] or None
        sides = dims[2:] if layout == "NCHW" else dims[1:3]
        height, width = (sides[0] or None, sides[1] or None) if size_px is None else size_px
        if height is None or width is None:
            raise BadInput(f"{path} takes images of any size; declare size_px in its preprocessing")
        self.size_px = (height, width)
        self._names = self._tried(self._readable())
        if not self._names:
            said = ", ".join(f"{one.name} {shape_of(one)}" for one in graph.output)
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
            inferred = self._file.onnx.shape_inference.infer_shapes(self._file.model).graph
            known = {one.name: one.type for one in (*inferred.value_info, *inferred.output)}
        reached, found = {self._input}, []
        for node in self._file.graph.node:
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
        given = {self._input: images.astype(self._dtype)}
        return self._file.rows(given, names, self._batch, dict.fromkeys(self._absent))


#: The types of tensors that are read, by their numbers in the format; 0: not known.
_FLOATS = (0, *FLOATS)


def _image_input(file: OnnxGraph) -> Any:
    """The one input of images; others must be optional. Raises BadInput."""
    path = file.path
    given = [one for one in file.inputs() if one.type.WhichOneof("value") != "optional_type"]
    dims = [one.type.tensor_type.shape.dim for one in given]
    if len(given) != 1 or len(dims[0]) != 4 or not (_has_three(dims[0][1]) or _has_three(dims[0][3])):
        said = ", ".join(f"{one.name} {shape_of(one)}" for one in given) or "none"
        raise BadInput(f"{path} has the inputs {said}; one of (images, 3, height, width) is needed")
    if given[0].type.tensor_type.elem_type not in FLOATS:
        raise BadInput(
            f"{path} takes images of type {type_of(given[0])}; a float, half or double input is needed"
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


def _may_be_numbers(kind: Any) -> bool:
    if kind is None or kind.WhichOneof("value") is None:
        return True
    return kind.WhichOneof("value") == "tensor_type" and kind.tensor_type.elem_type in _FLOATS


def _rows(values: np.ndarray[Any, Any]) -> torch.Tensor:
    """(n, …), with an axis of units where there is a number for each image; half precision as float32."""
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    return torch.from_numpy(wide if wide.ndim > 1 else wide[:, None])
