"""Caffe's layers, each as it computes in the phase TEST (BVLC Caffe 1.0).

A layer is made for the shapes of its bottoms, (n, …); n, the number of images, may change afterwards.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from xdream.errors import BadInput
from xdream.networks.caffe.prototxt import Layer

Shape: TypeAlias = tuple[int, ...]
Tensor: TypeAlias = torch.Tensor

#: Limits of what a definition may ask for, far above any network's, so that a damaged or hostile one cannot
#: take all memory: sizes of kernels, strides and paddings; values of one blob for one image, or of a weight.
MOST_STEPS = 4096
MOST_VALUES = 2**28


class Op(nn.Module):
    """A layer with its weights, which take no memory before they are given.

    blobs: the shapes of the weights in a caffemodel, in order; a first is the weight, a second the bias.
    """

    def __init__(self, *blobs: Shape) -> None:
        super().__init__()
        self.blobs = tuple(checked(shape) for shape in blobs)
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        self.take([torch.empty(shape, device="meta") for shape in self.blobs])

    def take(self, blobs: Sequence[Tensor]) -> None:
        """Use these weights."""
        for name, blob in zip(("weight", "bias"), blobs, strict=False):
            setattr(self, name, nn.Parameter(blob, requires_grad=False))

    def random(self, rng: torch.Generator) -> list[Tensor]:
        """Weights for a network that only has to be timed or tested (He et al. 2015); biases are zero."""
        first, *others = self.blobs
        scale = math.sqrt(2.0 / max(1, math.prod(first[1:])))
        return [scale * torch.randn(first, generator=rng), *(torch.zeros(shape) for shape in others)]


class Function(Op):
    """A layer without weights."""

    def __init__(self, compute: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self._compute = compute

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The tops."""
        return self._compute(*bottoms)


def checked(shape: Shape) -> Shape:
    """A shape that a tensor of a network can have. Raises BadInput."""
    if any(size < 1 for size in shape) or math.prod(shape) > MOST_VALUES:
        raise BadInput(f"a tensor of the shape {shape} is not possible")
    return shape


# ------------------------------------------------------------------ with weights


class Convolution(Op):
    """Convolution; or Deconvolution, whose weight is (in, out / group, height, width)."""

    def __init__(self, layer: Layer, bottom: Shape) -> None:
        p = layer.settings.convolution_param
        if len(bottom) != 4 or p.axis not in (1, -3):
            raise BadInput(f"only (n, channels, height, width) can be convolved, over axis 1, not {bottom}")
        kernel = _pair(p, "kernel", p.kernel_size, None, 1)
        n_in, n_out = bottom[1], p.num_output
        if not 0 < p.group <= min(n_in, n_out) or n_in % p.group or n_out % p.group:
            raise BadInput(f"{n_in} input and {n_out} output channels cannot be in {p.group} groups")
        transposed = layer.type == "Deconvolution"
        channels = (n_in, n_out // p.group) if transposed else (n_out, n_in // p.group)
        super().__init__((*channels, *kernel), *([(n_out,)] if p.bias_term else []))
        self._transposed, self._group = transposed, p.group
        self._stride = _pair(p, "stride", p.stride, 1, 1)
        self._padding = _pair(p, "pad", p.pad, 0, 0)
        self._dilation = _two("dilation", p.dilation, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, out, …)."""
        weight, bias, stride, padding = self.weight, self.bias, self._stride, self._padding
        assert weight is not None
        if self._transposed:
            return functional.conv_transpose2d(
                x, weight, bias, stride, padding, 0, self._group, self._dilation
            )
        return functional.conv2d(x, weight, bias, stride, padding, self._dilation, self._group)


class InnerProduct(Op):
    """All values from an axis on, times a matrix (out, in), or (in, out) where it is transposed."""

    def __init__(self, layer: Layer, bottom: Shape) -> None:
        p = layer.settings.inner_product_param
        self._axis = _axis(p.axis, bottom, least=1)
        matrix = (p.num_output, math.prod(bottom[self._axis :]))
        super().__init__(matrix[::-1] if p.transpose else matrix, *([matrix[:1]] if p.bias_term else []))
        self._transpose = p.transpose

    def forward(self, x: Tensor) -> Tensor:
        """(n, …) -> (n, out)."""
        assert self.weight is not None
        weight = self.weight.T if self._transpose else self.weight
        return functional.linear(x.flatten(self._axis), weight, self.bias)


class BatchNorm(Op):
    """(x - mean) / sqrt(variance + eps), both as sums that a third blob divides."""

    def __init__(self, layer: Layer, bottom: Shape) -> None:
        p = layer.settings.batch_norm_param
        if not p.use_global_stats:
            raise BadInput(
                "use_global_stats: false makes a response depend on the other images; it must be true"
            )
        if not p.eps > 0.0:
            raise BadInput(f"eps is {p.eps}; it must be above 0")
        channels = bottom[1] if len(bottom) > 1 else 1
        super().__init__((channels,), (channels,), (1,))
        self._eps = p.eps

    def take(self, blobs: Sequence[Tensor]) -> None:
        """Divided already."""
        mean, variance, by = blobs
        factor = torch.where(by == 0.0, 0.0, 1.0 / by)
        super().take([mean * factor, variance * factor])

    def random(self, rng: torch.Generator) -> list[Tensor]:
        """As if no image had been seen: mean 0, variance 1."""
        mean, variance, by = self.blobs
        return [torch.zeros(mean), torch.ones(variance), torch.ones(by)]

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return functional.batch_norm(x, self.weight, self.bias, eps=self._eps)


class Scale(Op):
    """x · weight + bias, over `num_axes` axes from `axis` on; the weight may be a second bottom."""

    def __init__(self, layer: Layer, bottom: Shape, second: Shape | None = None) -> None:
        p = layer.settings.scale_param
        axis, shape = _covered(p, bottom, second)
        self._given = second is not None
        super().__init__(*([shape] if second is None else []), *([shape] if p.bias_term else []))
        self._rest = len(bottom) - axis - len(shape)

    def take(self, blobs: Sequence[Tensor]) -> None:
        """With a second bottom, the one blob is the bias."""
        super().take(blobs)
        if self._given:
            self.weight, self.bias = None, self.weight

    def random(self, rng: torch.Generator) -> list[Tensor]:
        """The identity."""
        fill = [torch.zeros] if self._given else [torch.ones, torch.zeros]
        return [make(shape) for make, shape in zip(fill, self.blobs, strict=False)]

    def forward(self, x: Tensor, second: Tensor | None = None) -> Tensor:
        """The shape stays."""
        weight = self.weight if second is None else second
        assert weight is not None
        x = x * weight.reshape(*weight.shape, *[1] * self._rest)
        return x if self.bias is None else x + self.bias.reshape(*self.bias.shape, *[1] * self._rest)


class Bias(Op):
    """x + bias, over `num_axes` axes from `axis` on; the bias may be a second bottom."""

    def __init__(self, layer: Layer, bottom: Shape, second: Shape | None = None) -> None:
        p = layer.settings.bias_param
        axis, shape = _covered(p, bottom, second)
        super().__init__(*([shape] if second is None else []))
        self._rest = len(bottom) - axis - len(shape)

    def random(self, rng: torch.Generator) -> list[Tensor]:
        """The identity."""
        return [torch.zeros(shape) for shape in self.blobs]

    def forward(self, x: Tensor, second: Tensor | None = None) -> Tensor:
        """The shape stays."""
        bias = self.weight if second is None else second
        assert bias is not None
        return x + bias.reshape(*bias.shape, *[1] * self._rest)


class PReLU(Op):
    """max(0, x) + weight · min(0, x), with a weight for each channel or one for all."""

    def __init__(self, layer: Layer, bottom: Shape) -> None:
        if len(bottom) < 2:
            raise BadInput(f"a bottom with channels is needed, not {bottom}")
        super().__init__(() if layer.settings.prelu_param.channel_shared else (bottom[1],))

    def random(self, rng: torch.Generator) -> list[Tensor]:
        """Caffe's own first value."""
        return [torch.full(shape, 0.25) for shape in self.blobs]

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        assert self.weight is not None
        return functional.prelu(x, self.weight.reshape(-1))


# ------------------------------------------------------------------ without weights


def _pooling(layer: Layer, bottom: Shape) -> Op:
    """Maximum or average; STOCHASTIC is, in use, the average of values weighted by themselves.

    Sizes are rounded up, and an average counts padding, but not beyond it.
    """
    p = layer.settings.pooling_param
    if len(bottom) != 4:
        raise BadInput(f"only (n, channels, height, width) can be pooled, not {bottom}")
    pool = _named(p, "pool")
    if p.global_pooling:
        return Function(
            _POOLS[pool](lambda x: x.amax((2, 3), keepdim=True), lambda x: x.mean((2, 3), keepdim=True))
        )
    kernel = _pair(p, "kernel", [p.kernel_size] if p.HasField("kernel_size") else [], None, 1)
    stride = _pair(p, "stride", [p.stride] if p.HasField("stride") else [], 1, 1)
    padding = _pair(p, "pad", [p.pad] if p.HasField("pad") else [], 0, 0)
    up = p.ceil_mode if p.HasField("ceil_mode") else _named(p, "round_mode") == "CEIL"
    if pool == "STOCHASTIC" and any(padding):
        raise BadInput("pool: STOCHASTIC takes no padding")
    sides = zip(bottom[2:], kernel, stride, padding, strict=True)
    rows, columns = (_windows(*side, up, any(padding)) for side in sides)
    filled: tuple[int, ...] = ()
    if any(2 * pad > k for pad, k in zip(padding, kernel, strict=True)):
        # More than PyTorch pads: put there beforehand, with values that change no window.
        filled, padding = (padding[1], padding[1], padding[0], padding[0]), (0, 0)

    def pooled(x: Tensor, by: Callable[..., Tensor], outside: float) -> Tensor:
        x = functional.pad(x, filled, value=outside) if filled else x
        return by(x, kernel, stride, padding, ceil_mode=up)[:, :, :rows, :columns]

    return Function(
        _POOLS[pool](
            lambda x: pooled(x, functional.max_pool2d, -math.inf),
            lambda x: pooled(x, functional.avg_pool2d, 0.0),
        )
    )


_Pool: TypeAlias = Callable[[Tensor], Tensor]
#: The pooling of each name, from the largest and the average of every window.
_POOLS: dict[str, Callable[[_Pool, _Pool], _Pool]] = {
    "MAX": lambda largest, average: largest,
    "AVE": lambda largest, average: average,
    # Values that are never negative, weighted by themselves; where all are 0, 0.
    "STOCHASTIC": lambda largest, average: (
        lambda x: average(x * x) / (average(x) + torch.finfo(torch.float32).tiny)
    ),
}


def _windows(size: int, kernel: int, stride: int, padding: int, up: bool, clipped: bool) -> int:
    """How many windows lie along one side. Raises BadInput where Caffe has none, or one without a value.

    clipped: whether a last window that begins beyond the side is left out, as it is with padding.
    """
    if padding >= kernel:
        raise BadInput(f"padding {padding} must be below the windows of {kernel}")
    room = size + 2 * padding - kernel
    windows = (-(-room // stride) if up else room // stride) + 1
    if clipped and (windows - 1) * stride >= size + padding:
        windows -= 1
    if windows < 1:
        raise BadInput(f"windows of {kernel} with padding {padding} do not fit a side of {size}")
    if (windows - 1) * stride >= size + padding:
        raise BadInput(f"the last window of {kernel} with stride {stride} lies outside a side of {size}")
    return windows


def _lrn(layer: Layer, bottom: Shape) -> Op:
    """x / (k + alpha · mean of squares) ^ beta, over neighbouring channels or places."""
    p = layer.settings.lrn_param
    n, alpha, beta, k = p.local_size, p.alpha, p.beta, p.k
    if n % 2 != 1 or n > MOST_STEPS or len(bottom) != 4:
        raise BadInput(
            f"local_size {n} of {bottom}: an odd number and (n, channels, height, width) are needed"
        )
    if _named(p, "norm_region") == "ACROSS_CHANNELS":
        return Function(lambda x: functional.local_response_norm(x, n, alpha, beta, k))
    # Within a channel k is always 1 in Caffe, and every window is counted whole.
    return Function(
        lambda x: (
            x * (1.0 + alpha * functional.avg_pool2d(functional.pad(x * x, (n // 2,) * 4), n, 1)).pow(-beta)
        )
    )


def _relu(layer: Layer, bottom: Shape) -> Op:
    slope = layer.settings.relu_param.negative_slope
    return Function(lambda x: functional.leaky_relu(x, slope) if slope else functional.relu(x))


def _power(layer: Layer, bottom: Shape) -> Op:
    """(shift + scale · x) ^ power."""
    p = layer.settings.power_param
    power, scale, shift = p.power, p.scale, p.shift
    return Function(lambda x: (shift + scale * x) ** power if power != 1.0 else shift + scale * x)


def _eltwise(layer: Layer, *bottoms: Shape) -> Op:
    """The sum with coefficients, the product or the largest of blobs of one shape."""
    p = layer.settings.eltwise_param
    if len(bottoms) < 2 or any(bottom != bottoms[0] for bottom in bottoms):
        raise BadInput(f"two or more bottoms of one shape are needed, not {', '.join(map(str, bottoms))}")
    operation = _named(p, "operation")
    coefficients = [*p.coeff] or [1.0] * len(bottoms)
    if len(coefficients) != len(bottoms) or (len(p.coeff) and operation != "SUM"):
        raise BadInput(f"{len(p.coeff)} coefficients for the {operation} of {len(bottoms)} bottoms")

    join: Any = {"SUM": torch.add, "PROD": torch.mul, "MAX": torch.maximum}[operation]

    def compute(*xs: Tensor) -> Tensor:
        if operation == "SUM":
            xs = tuple(x if c == 1.0 else c * x for c, x in zip(coefficients, xs, strict=True))
        found = xs[0]
        for x in xs[1:]:
            found = join(found, x)
        return found

    return Function(compute)


def _concat(layer: Layer, *bottoms: Shape) -> Op:
    p = layer.settings.concat_param
    axis = _axis(p.concat_dim if p.HasField("concat_dim") else p.axis, bottoms[0], least=1)
    return Function(lambda *xs: torch.cat(xs, axis))


def _slice(layer: Layer, bottom: Shape) -> Op:
    """Parts along an axis: between the points, or equal ones."""
    p = layer.settings.slice_param
    axis = _axis(p.slice_dim if p.HasField("slice_dim") else p.axis, bottom, least=1)
    tops, size = len(layer.tops), bottom[axis]
    points = [*p.slice_point] or [size * i // tops for i in range(1, tops)]
    sizes = [b - a for a, b in itertools.pairwise([0, *points, size])]
    if len(sizes) != tops or min(sizes) < 1 or (not p.slice_point and size % tops):
        raise BadInput(f"axis {axis} of {bottom} cannot be cut at {points} into {tops} tops")
    return Function(lambda x: x.split(sizes, axis))


def _flatten(layer: Layer, bottom: Shape) -> Op:
    p = layer.settings.flatten_param
    first, last = _axis(p.axis, bottom, least=1), _axis(p.end_axis, bottom, least=0)
    return Function(lambda x: x.flatten(first, last))


def _reshape(layer: Layer, bottom: Shape) -> Op:
    """0 keeps a size, -1 stands for what is left. The images stay the first axis."""
    p = layer.settings.reshape_param
    dims = [*p.shape.dim]
    start = p.axis if p.axis >= 0 else len(bottom) + 1 + p.axis
    end = len(bottom) if p.num_axes == -1 else start + p.num_axes
    if not 0 <= start <= end <= len(bottom) or dims.count(-1) > 1 or any(size < -1 for size in dims):
        raise BadInput(f"{bottom} cannot be reshaped to {dims} from axis {p.axis} on")
    if any(size == 0 and start + i >= len(bottom) for i, size in enumerate(dims)):
        raise BadInput(f"{bottom} has no axis for each 0 of {dims}")
    shape = [
        *bottom[:start],
        *(bottom[start + i] if s == 0 else s for i, s in enumerate(dims)),
        *bottom[end:],
    ]
    images, rest = bottom[0], math.prod(bottom[1:])
    if -1 in shape:
        known = math.prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = images * rest // known
    if shape[:1] != [images] or math.prod(shape[1:]) != rest:
        raise BadInput(f"{bottom} cannot be reshaped to {dims} with the images as its first axis")
    return Function(lambda x: x.reshape(-1, *shape[1:]))


def _softmax(layer: Layer, bottom: Shape) -> Op:
    axis = _axis(layer.settings.softmax_param.axis, bottom, least=1)
    return Function(lambda x: x.softmax(axis))


def _dropout(layer: Layer, bottom: Shape) -> Op:
    """Nothing; or, in a network that was trained without scaling, the share that was kept."""
    p = layer.settings.dropout_param
    kept = 1.0 if p.scale_train else 1.0 - p.dropout_ratio
    return Function(lambda x: x if kept == 1.0 else kept * x)


def _crop(layer: Layer, bottom: Shape, like: Shape) -> Op:
    """As large as a second bottom, from an axis on."""
    p = layer.settings.crop_param
    axis = _axis(p.axis, bottom, least=1)
    sizes = like[axis:]
    offsets = [*p.offset] or [0]
    offsets = offsets * len(sizes) if len(offsets) == 1 else offsets
    if len(like) != len(bottom) or len(offsets) != len(sizes):
        raise BadInput(f"{len(offsets)} offsets to crop {bottom} to {like} from axis {axis} on")
    if any(o + n > size for o, n, size in zip(offsets, sizes, bottom[axis:], strict=True)):
        raise BadInput(f"{bottom} cannot be cropped to {like} at {offsets}")
    where = (*[slice(None)] * axis, *(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True)))
    return Function(lambda x, _: x[where])


def _plain(compute: Callable[[Tensor], Tensor]) -> Callable[..., Op]:
    return lambda layer, bottom: Function(compute)


#: How a layer of each type is made, from the shapes of its bottoms.
TYPES: dict[str, Callable[..., Op]] = {
    "AbsVal": _plain(torch.abs),
    "BatchNorm": BatchNorm,
    "Bias": Bias,
    "Concat": _concat,
    "Convolution": Convolution,
    "Crop": _crop,
    "Deconvolution": Convolution,
    "Dropout": _dropout,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": InnerProduct,
    "LRN": _lrn,
    "PReLU": PReLU,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "Reshape": _reshape,
    "Scale": Scale,
    "Sigmoid": _plain(torch.sigmoid),
    "Silence": lambda layer, *bottoms: Function(lambda *xs: ()),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": lambda layer, bottom: Function(lambda x: (x,) * len(layer.tops)),
    "TanH": _plain(torch.tanh),
}


def make(layer: Layer, bottoms: Sequence[Shape]) -> Op:
    """The layer for bottoms of these shapes. Raises BadInput that names it."""
    if layer.type not in TYPES:
        raise BadInput(f"{layer} is of an unknown type; known: {', '.join(TYPES)}")
    kind = TYPES[layer.type]
    try:
        inspect.signature(kind).bind(layer, *bottoms)
    except TypeError:
        raise BadInput(f"{layer} cannot have {len(bottoms)} bottoms") from None
    try:
        return kind(layer, *bottoms)
    except BadInput as error:
        raise BadInput(f"{layer}: {error}") from None


# ------------------------------------------------------------------ settings


def _named(settings: Any, field: str) -> str:
    """The name of the value of a setting that is one of some words."""
    kind = settings.DESCRIPTOR.fields_by_name[field].enum_type
    return str(kind.values_by_number[getattr(settings, field)].name)


def _axis(axis: int, bottom: Shape, least: int) -> int:
    """An axis counted from the front. Raises BadInput, also for that of the images where it cannot be."""
    found = axis + len(bottom) if axis < 0 else axis
    if not least <= found < len(bottom):
        raise BadInput(f"axis {axis} of {bottom} is not possible")
    return found


def _pair(
    settings: Any, name: str, values: Sequence[int], default: int | None, least: int
) -> tuple[int, int]:
    """(height, width) of a setting that is written once, twice, or as NAME_h and NAME_w.

    Of a padding one of these may be alone: the other is 0, as in Caffe.
    """
    sides = (f"{name}_h", f"{name}_w")
    given = [side for side in sides if settings.HasField(side)]
    if given and (values or (len(given) == 1 and name != "pad")):
        raise BadInput(f"give {name} once, or as both of {' and '.join(sides)}")
    if given:  # 0 where it is not written
        return _two(name, [getattr(settings, side) for side in sides], default, least)
    return _two(name, values, default, least)


def _two(name: str, values: Sequence[int], default: int | None, least: int) -> tuple[int, int]:
    """The same of a setting that is written once or twice."""
    found = [*values] or ([] if default is None else [default])
    if not 1 <= len(found) <= 2:
        raise BadInput(
            f"{name} has {len(values)} values; one, or one for the height and the width, is needed"
        )
    height, width = found[0], found[-1]
    if min(height, width) < least or max(height, width) > MOST_STEPS:
        raise BadInput(f"{name} is {height} x {width}; between {least} and {MOST_STEPS} is possible")
    return height, width


def _covered(settings: Any, bottom: Shape, second: Shape | None) -> tuple[int, Shape]:
    """The axis and the shape of a weight of Scale or Bias."""
    if second is not None:
        axis = _axis(settings.axis, bottom, least=0)
        if bottom[axis : axis + len(second)] != second:
            raise BadInput(f"a second bottom of {second} does not fit {bottom} from axis {settings.axis} on")
        return axis, second
    axis = _axis(settings.axis, bottom, least=1)
    end = len(bottom) if settings.num_axes == -1 else axis + settings.num_axes
    if not axis <= end <= len(bottom):
        raise BadInput(
            f"num_axes {settings.num_axes} from axis {settings.axis} on is not possible for {bottom}"
        )
    return axis, bottom[axis:end]
