"""A Caffe network as one module, which computes any of its blobs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from xdream.errors import BadInput, WeightsInvalid
from xdream.networks.caffe import layers, prototxt, weights
from xdream.networks.caffe.layers import Op, Shape
from xdream.networks.caffe.prototxt import Definition, Layer
from xdream.text import shortened

#: Weights of one network, in all, so that random ones stay near 1 GB; the largest of the published networks
#: have 0.15 · 10⁹.
MOST_WEIGHTS = 3 * 10**8


@dataclass(frozen=True)
class _Step:
    """A layer, and which values it takes and makes; values are numbered as they come to be."""

    takes: tuple[int, ...]
    makes: tuple[int, ...]


class CaffeNet(nn.Module):
    """A network; made by `load`.

    inputs: the blobs that are given, with their shapes for one image. blobs: every blob with its shape for
    one image, in the order in which they come to be; where layers work in place, it is what they leave.
    names: the same with every layer whose name no blob has. output: the last blob that no layer takes.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__()
        self.name = definition.name
        self._of_layer: dict[str, int] = {}
        self._steps: list[_Step] = []
        self._made_by: dict[int, int] = {}  # the number of the step, which is that of its layer in _ops
        shapes: list[Shape] = []
        last: dict[str, int] = {}
        for name, shape in definition.inputs.items():
            _checked(shape, f"input '{name}'")
            last[name] = len(shapes)
            shapes.append(shape)
        self._inputs = dict(last)
        ops: list[Op] = []
        for layer in definition.layers:
            takes = tuple(_taken(layer, bottom, last) for bottom in layer.bottoms)
            op = layers.make(layer, [shapes[number] for number in takes])
            found = _tops(layer, op, [shapes[number] for number in takes])
            makes = tuple(range(len(shapes), len(shapes) + len(found)))
            for top, number in zip(layer.tops, makes, strict=True):
                if top in last and top not in layer.bottoms:
                    raise BadInput(f"{layer} makes the blob '{top}', which is there already")
                last[top] = number
            shapes += found
            self._made_by |= dict.fromkeys(makes, len(self._steps))
            self._steps.append(_Step(takes, makes))
            ops.append(op)
            if makes:
                self._of_layer[layer.name] = makes[0]
        self._ops = nn.ModuleList(ops)
        self._layers = definition.layers
        self._last = last
        self.inputs: Mapping[str, Shape] = {name: shapes[n][1:] for name, n in self._inputs.items()}
        self.blobs: Mapping[str, Shape] = {name: shapes[n][1:] for name, n in last.items()}
        of_layers = {name: shapes[number][1:] for name, number in self._of_layer.items()}
        self.names: Mapping[str, Shape] = of_layers | dict(self.blobs)
        taken = {number for step in self._steps for number in step.takes}
        untaken = [name for name, number in last.items() if number not in taken]
        self.output = (untaken or list(last))[-1]
        if sum(math.prod(shape) for op in ops for shape in op.blobs) > MOST_WEIGHTS:
            raise BadInput(f"it has more than {MOST_WEIGHTS:,} weights")
        self._check_images(definition.inputs)

    def forward(self, images: torch.Tensor | Mapping[str, torch.Tensor], blob: str = "") -> torch.Tensor:
        """(n, …) of the one input, or of each by its name -> (n, …) of a blob (default: the output)."""
        return self.read(images, [blob])[blob]

    def read(
        self, images: torch.Tensor | Mapping[str, torch.Tensor], wanted: Collection[str]
    ) -> dict[str, torch.Tensor]:
        """Several blobs at once; "" is the output. Nothing is computed that they do not need."""
        numbers = {name: self._number(name or self.output) for name in wanted}
        steps = self._needed(numbers.values())
        uses = Counter([*(n for step in steps for n in self._steps[step].takes), *numbers.values()])
        values = self._given(images)
        for number_of_step in steps:
            step = self._steps[number_of_step]
            taken = [values[number] for number in step.takes]
            for number in step.takes:
                uses[number] -= 1
                if not uses[number]:
                    values.pop(number, None)
            made = self._ops[number_of_step](*taken)
            tops = made if isinstance(made, tuple) else (made,)
            values |= {number: top for number, top in zip(step.makes, tops, strict=True) if uses[number]}
        return {name: values[number] for name, number in numbers.items()}

    def _number(self, name: str) -> int:
        found = self._last.get(name, self._of_layer.get(name))
        if found is None:
            raise BadInput(f"there is no blob or layer '{name}'; the blobs are: {', '.join(self.blobs)}")
        return found

    def _needed(self, numbers: Collection[int]) -> list[int]:
        """The steps that make some values, by their numbers."""
        left, needed = list(numbers), set()
        while left:
            step = self._made_by.get(left.pop())
            if step is not None and step not in needed:
                needed.add(step)
                left += self._steps[step].takes
        return sorted(needed)

    def _given(self, images: torch.Tensor | Mapping[str, torch.Tensor]) -> dict[int, torch.Tensor]:
        if isinstance(images, torch.Tensor):
            if len(self._inputs) > 1:
                raise BadInput(f"the network has the inputs {', '.join(self._inputs)}; give each by its name")
            images = dict.fromkeys(self._inputs, images)
        if images.keys() != self._inputs.keys():
            raise BadInput(f"the inputs are {', '.join(self._inputs)}, not {', '.join(images)}")
        for name, value in images.items():
            if tuple(value.shape[1:]) != self.inputs[name]:
                raise BadInput(
                    f"input '{name}' takes images of {self.inputs[name]}, not {tuple(value.shape[1:])}"
                )
        return {self._inputs[name]: value for name, value in images.items()}

    def take(self, found: Mapping[str, Sequence[weights.Blob]], path: Path) -> None:
        """Use the weights of a caffemodel, by the names of the layers. Raises WeightsInvalid."""
        for layer, op in zip(self._layers, self._ops, strict=True):
            assert isinstance(op, Op)
            blobs = found.get(layer.name, ())
            if len(blobs) != len(op.blobs):
                raise WeightsInvalid(
                    f"weights file {path} has {len(blobs)} blobs for {layer}, which needs {len(op.blobs)}; "
                    "is it another network?"
                )
            op.take(
                [
                    blob.tensor(shape, f"weights file {path}: blob {number} of {layer}")
                    for number, (blob, shape) in enumerate(zip(blobs, op.blobs, strict=True))
                ]
            )

    def random(self, seed: int) -> None:
        """Random weights, for a network that only has to be timed or tested."""
        rng = torch.Generator().manual_seed(seed)
        for op in self._ops:
            assert isinstance(op, Op)
            if op.blobs:
                op.take(op.random(rng))

    def _check_images(self, declared: Mapping[str, Shape]) -> None:
        """One more image must make each blob longer by one, and nothing else."""
        more = {
            name: torch.empty((shape[0] + 1, *shape[1:]), device="meta") for name, shape in declared.items()
        }
        for name, value in self.read(more, list(self.names)).items():
            if tuple(value.shape) != (next(iter(more.values())).shape[0], *self.names[name]):
                raise BadInput(f"blob '{name}' does not have one row for each image")


def load(path: str | Path, caffemodel: str | Path | None = None, *, seed: int = 0) -> CaffeNet:
    """A Caffe network, frozen, as in the phase TEST.

    path: the deploy prototxt. caffemodel: its weights; None: random ones (He et al. 2015), from `seed`.
    Raises BadInput for a prototxt that cannot be read or computed, with the layer and the line;
    WeightsInvalid for a caffemodel that cannot be read or is another network's.
    """
    path = Path(path).expanduser()
    definition = prototxt.read(path, layers.TYPES)
    try:
        net = CaffeNet(definition)
    except BadInput as error:
        raise BadInput(f"prototxt {path}: {error}") from None
    if caffemodel is None:
        net.random(seed)
    else:
        file = Path(caffemodel).expanduser()
        net.take(weights.read(file), file)
    return net.requires_grad_(False).eval()


def _taken(layer: Layer, bottom: str, last: Mapping[str, int]) -> int:
    if bottom not in last:
        raise BadInput(f"{layer} takes the blob '{bottom}', which no layer before it makes")
    return last[bottom]


def _tops(layer: Layer, op: Op, bottoms: Sequence[Shape]) -> list[Shape]:
    """The shapes of what a layer makes. Raises BadInput."""
    try:
        made = op(*(torch.empty(shape, device="meta") for shape in bottoms))
    except (RuntimeError, ValueError, OverflowError, IndexError) as error:
        reason = shortened(str(error))
        raise BadInput(f"{layer} cannot take {', '.join(map(str, bottoms))}: {reason}") from None
    tops = made if isinstance(made, tuple) else (made,)
    if len(tops) != len(layer.tops):
        raise BadInput(f"{layer} has {len(layer.tops)} tops instead of {len(tops)}")
    return [_checked(tuple(top.shape), str(layer)) for top in tops]


def _checked(shape: Shape, who: str) -> Shape:
    if not shape:
        raise BadInput(f"{who} has no axes")
    try:
        layers.checked(shape[1:])
        layers.checked(shape[:1])
    except BadInput as error:
        raise BadInput(f"{who}: {error}") from None
    return shape
