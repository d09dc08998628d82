"""Each layer against OpenCV's importer, which is independent of Caffe's and of ours; where OpenCV lacks it or
differs from Caffe, against a derivation by hand."""

import math

import numpy as np
import pytest
import torch
from caffe_files import by_opencv, head, images, layer, near, write

from xdream.errors import BadInput
from xdream.networks import caffe

CONV = "convolution_param"
POOL = "pooling_param"

# name, type, settings, shape of the bottom
SINGLE = {
    "convolution": ("Convolution", f"{CONV} {{ num_output: 6 kernel_size: 3 }}", (4, 9, 8)),
    "convolution, stride, padding": (
        "Convolution",
        f"{CONV} {{ num_output: 6 kernel_size: 5 stride: 2 pad: 2 bias_term: false }}",
        (4, 11, 12),
    ),
    "convolution, sides": (
        "Convolution",
        f"{CONV} {{ num_output: 6 kernel_h: 1 kernel_w: 7 pad_h: 0 pad_w: 3 stride_h: 2 stride_w: 1 }}",
        (4, 11, 12),
    ),
    "convolution, two numbers": (
        "Convolution",
        f"{CONV} {{ num_output: 6 kernel_size: 3 kernel_size: 1 pad: 1 pad: 0 stride: 1 stride: 2 }}",
        (4, 11, 12),
    ),
    "convolution, groups": ("Convolution", f"{CONV} {{ num_output: 6 kernel_size: 3 group: 2 }}", (4, 9, 8)),
    "convolution, depthwise": (
        "Convolution",
        f"{CONV} {{ num_output: 4 kernel_size: 3 group: 4 }}",
        (4, 9, 8),
    ),
    "convolution, dilation": (
        "Convolution",
        f"{CONV} {{ num_output: 6 kernel_size: 3 dilation: 2 pad: 2 }}",
        (4, 9, 8),
    ),
    "deconvolution": (
        "Deconvolution",
        f"{CONV} {{ num_output: 6 kernel_size: 4 stride: 2 pad: 1 }}",
        (4, 5, 6),
    ),
    "deconvolution, same size": (
        "Deconvolution",
        f"{CONV} {{ num_output: 7 kernel_size: 3 stride: 1 pad: 1 bias_term: false }}",
        (4, 5, 6),
    ),
    "deconvolution, groups": (
        "Deconvolution",
        f"{CONV} {{ num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 2 }}",
        (4, 5, 6),
    ),
    "inner product": ("InnerProduct", "inner_product_param { num_output: 7 }", (4, 3, 2)),
    "inner product, no bias": (
        "InnerProduct",
        "inner_product_param { num_output: 7 bias_term: false }",
        (24,),
    ),
    "maximum": ("Pooling", f"{POOL} {{ pool: MAX kernel_size: 3 stride: 2 }}", (4, 8, 9)),
    "maximum, padding": ("Pooling", f"{POOL} {{ pool: MAX kernel_size: 3 stride: 2 pad: 1 }}", (4, 8, 9)),
    "maximum, sides": (
        "Pooling",
        f"{POOL} {{ kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1 }}",
        (4, 8, 9),
    ),
    "average": ("Pooling", f"{POOL} {{ pool: AVE kernel_size: 3 stride: 1 }}", (4, 8, 9)),
    "average, rounded up": ("Pooling", f"{POOL} {{ pool: AVE kernel_size: 2 stride: 2 }}", (4, 7, 9)),
    "average, padding": ("Pooling", f"{POOL} {{ pool: AVE kernel_size: 3 stride: 1 pad: 1 }}", (4, 8, 9)),
    "maximum, global": ("Pooling", f"{POOL} {{ pool: MAX global_pooling: true }}", (4, 8, 9)),
    "average, global": ("Pooling", f"{POOL} {{ pool: AVE global_pooling: true }}", (4, 8, 9)),
    "relu": ("ReLU", "", (4, 3, 2)),
    "relu, slope": ("ReLU", "relu_param { negative_slope: 0.3 }", (4, 3, 2)),
    "prelu": ("PReLU", "", (4, 3, 2)),
    "across channels": ("LRN", "lrn_param { local_size: 5 alpha: 0.7 beta: 0.6 }", (9, 4, 3)),
    "within a channel": (
        "LRN",
        "lrn_param { local_size: 3 alpha: 0.7 beta: 0.75 norm_region: WITHIN_CHANNEL }",
        (5, 6, 7),
    ),
    "batch norm": ("BatchNorm", "batch_norm_param { use_global_stats: true }", (4, 3, 2)),
    "batch norm, eps": ("BatchNorm", "batch_norm_param { eps: 0.1 }", (4, 3, 2)),
    "scale": ("Scale", "scale_param { bias_term: true }", (4, 3, 2)),
    "scale, no bias": ("Scale", "", (4, 3, 2)),
    "power": ("Power", "power_param { power: 2 scale: 0.5 shift: 3 }", (4, 3, 2)),
    "power, shift": ("Power", "power_param { shift: -3 }", (4, 3, 2)),
    "tanh": ("TanH", "", (4, 3, 2)),
    "sigmoid": ("Sigmoid", "", (4, 3, 2)),
    "absolute value": ("AbsVal", "", (4, 3, 2)),
    "softmax": ("Softmax", "", (4, 3, 2)),
    "softmax, axis": ("Softmax", "softmax_param { axis: 2 }", (4, 3, 2)),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.3 }", (4, 3, 2)),
    "flatten": ("Flatten", "", (4, 3, 2)),
    "flatten, axes": ("Flatten", "flatten_param { axis: 2 end_axis: 3 }", (4, 3, 2)),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", (4, 3, 2)),
    "reshape, from an axis": (
        "Reshape",
        "reshape_param { shape { dim: -1 dim: 2 } axis: 1 num_axes: 2 }",
        (4, 3, 2),
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_layer_computes_what_opencv_computes(name, tmp_path):
    kind, settings, shape = SINGLE[name]
    files = write(tmp_path, head(3, *shape) + layer(kind, "it", "data", settings=settings))
    x = images(3, *shape)
    [expected] = by_opencv(*files, x, "it")
    net = caffe.load(*files)
    near(net(x, "it"), expected)
    assert net.blobs["it"] == expected.shape[1:]
    assert len(net(x[:1])) == 1  # whatever number the file says


# settings, type, bottoms a and b (c)
JOINED = {
    "sum": ("Eltwise", "", (4, 3, 2)),
    "sum, coefficients": ("Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -0.5 }", (4, 3, 2)),
    "product": ("Eltwise", "eltwise_param { operation: PROD }", (4, 3, 2)),
    "larger": ("Eltwise", "eltwise_param { operation: MAX }", (4, 3, 2)),
    "concat": ("Concat", "", (4, 3, 2)),
    "concat, axis": ("Concat", "concat_param { axis: 3 }", (4, 3, 2)),
}


@pytest.mark.parametrize("name", JOINED)
def test_layers_with_two_bottoms(name, tmp_path):
    kind, settings, shape = JOINED[name]
    text = head(3, *shape) + layer("Power", "a", "data", settings="power_param { scale: 0.5 shift: 0.2 }")
    text += layer("TanH", "b", "data") + layer(kind, "it", "a b", settings=settings)
    files = write(tmp_path, text)
    x = images(3, *shape)
    [expected] = by_opencv(*files, x, "it")
    near(caffe.load(*files)(x), expected)


def test_split_and_slice(tmp_path):
    text = head(1, 6, 3, 2) + layer(
        "Slice", "cut", "data", "a b c", "slice_param { slice_point: 1 slice_point: 4 }"
    )
    text += layer("Split", "copies", "b", "d e") + layer("Slice", "equal", "data", "f g")
    net = caffe.load(
        *write(tmp_path, text + layer("Slice", "old", "data", "h i j", "slice_param { slice_dim: 2 }")),
    )
    x = images(2, 6, 3, 2)
    found = net.read(x, [*"abcdefghij"])
    parts = (
        x[:, :1],
        x[:, 1:4],
        x[:, 4:],
        x[:, 1:4],
        x[:, 1:4],
        x[:, :3],
        x[:, 3:],
        x[:, :, :1],
        x[:, :, 1:2],
        x[:, :, 2:],
    )
    for name, part in zip("abcdefghij", parts, strict=True):
        assert torch.equal(found[name], part)


def test_crop(tmp_path):
    text = head(1, 4, 7, 8) + layer(
        "Pooling", "small", "data", settings="pooling_param { kernel_size: 3 stride: 2 }"
    )
    text += layer("Crop", "one", "data small", settings="crop_param { offset: 2 }")
    text += layer("Crop", "two", "data small", settings="crop_param { axis: 2 offset: 1 offset: 3 }")
    x = images(2, 4, 7, 8)
    found = caffe.load(*write(tmp_path, text)).read(x, ["one", "two"])
    assert torch.equal(found["one"], x[:, :, 2:5, 2:6])
    assert torch.equal(found["two"], x[:, :, 1:4, 3:7])


def test_bias_and_scales_over_some_axes(tmp_path):
    shape = (4, 3, 2)
    cases = {
        "a": ("Bias", "", lambda x, w, b: x + w[:, None, None]),
        "b": ("Bias", "bias_param { axis: 2 num_axes: -1 }", lambda x, w, b: x + w),
        "c": ("Bias", "bias_param { num_axes: 0 }", lambda x, w, b: x + w),
        "d": (
            "Scale",
            "scale_param { axis: 1 num_axes: 2 bias_term: true }",
            lambda x, w, b: x * w[..., None] + b[..., None],
        ),
        "e": ("Scale", "scale_param { num_axes: 0 }", lambda x, w, b: x * w),
        "f": ("Scale", "scale_param { axis: -1 }", lambda x, w, b: x * w),
    }
    text = head(1, *shape) + "".join(
        layer(kind, name, "data", settings=s) for name, (kind, s, _) in cases.items()
    )
    net = caffe.load(*write(tmp_path, text))
    x = images(2, *shape)
    for op, (name, (_, _, expected)) in zip(net._ops, cases.items(), strict=True):
        assert op.weight.abs().max() > 0
        torch.testing.assert_close(net(x, name), expected(x, op.weight, op.bias))


def test_bias_and_scale_by_a_second_bottom(tmp_path):
    text = head(1, 4, 3, 2) + layer(
        "Pooling", "pool", "data", settings="pooling_param { pool: AVE global_pooling: true }"
    )
    text += layer("Flatten", "flat", "pool") + layer(
        "Scale", "gate", "data flat", settings="scale_param { axis: 0 }"
    )
    text += layer("Bias", "more", "data flat", settings="bias_param { axis: 0 }")
    net = caffe.load(*write(tmp_path, text))
    x = images(2, 4, 3, 2)
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(net(x, "gate"), x * mean)
    torch.testing.assert_close(net(x, "more"), x + mean)


def test_prelu_for_all_channels_and_a_transposed_matrix(tmp_path):
    text = head(1, 4, 3, 2) + layer("PReLU", "a", "data", settings="prelu_param { channel_shared: true }")
    text += layer(
        "InnerProduct", "b", "data", settings="inner_product_param { num_output: 5 transpose: true axis: 2 }"
    )
    net = caffe.load(*write(tmp_path, text))
    x = images(2, 4, 3, 2)
    shared, product = net._ops
    assert shared.blobs == ((),)
    torch.testing.assert_close(net(x, "a"), torch.where(x > 0, x, shared.weight * x))
    assert product.blobs == ((6, 5), (5,))
    torch.testing.assert_close(net(x, "b"), x.flatten(2) @ product.weight + product.bias)


def test_what_opencv_leaves_out(tmp_path):
    text = head(1, 9, 4, 3) + layer("TanH", "b", "data")
    text += layer("LRN", "k", "data", settings="lrn_param { local_size: 3 alpha: 0.7 beta: 0.75 k: 2 }")
    text += layer("Concat", "old", "data b", settings="concat_param { concat_dim: 2 }")
    net = caffe.load(*write(tmp_path, text))
    x = images(2, 9, 4, 3)
    padded = torch.nn.functional.pad(x**2, (0, 0, 0, 0, 1, 1))
    sums = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    torch.testing.assert_close(net(x, "k"), x / (2 + 0.7 / 3 * sums) ** 0.75)
    assert torch.equal(net(x, "old"), torch.cat((x, x.tanh()), 2))


def test_dropout_without_scaling_in_training_scales_in_use(tmp_path):
    text = head(1, 4) + layer(
        "Dropout", "it", "data", settings="dropout_param { dropout_ratio: 0.3 scale_train: false }"
    )
    x = images(2, 4)
    torch.testing.assert_close(caffe.load(*write(tmp_path, text))(x), 0.7 * x)


def pooled_by_hand(x, kernel, stride, pads, pool):
    """Caffe's rule as it is written down, one window after another."""
    n, c, *lengths = x.shape
    sizes = []
    for size, pad in zip(lengths, pads, strict=True):
        count = math.ceil((size + 2 * pad - kernel) / stride) + 1
        if any(pads) and (count - 1) * stride >= size + pad:
            count -= 1
        sizes.append(count)
    out = np.empty((n, c, *sizes), np.float32)
    for place in np.ndindex(*sizes):
        area, window = 1, x.numpy()
        for axis, (at, size, pad) in enumerate(zip(place, lengths, pads, strict=True), 2):
            start = at * stride - pad
            end = min(start + kernel, size + pad)
            area *= end - start
            window = window.take(range(max(start, 0), min(end, size)), axis)
        by = {
            "MAX": window.max((2, 3)),
            "AVE": window.sum((2, 3)) / area,
            "STOCHASTIC": (window**2).sum((2, 3)) / window.sum((2, 3)),
        }
        out[(slice(None), slice(None), *place)] = by[pool]
    return out


# kernel, stride, padding of the height and of the width
WINDOWS = [
    (3, 2, (0, 0)),
    (3, 2, (1, 1)),
    (2, 2, (1, 1)),
    (5, 3, (2, 2)),
    (4, 3, (2, 2)),
    (3, 1, (1, 1)),
    (3, 2, (2, 2)),  # more than half of a window
    (3, 1, (2, 2)),
    (4, 3, (3, 1)),
    (5, 2, (0, 4)),
    (2, 3, (0, 1)),  # a last window beyond a side is left out, on the side without padding too
    (2, 3, (1, 0)),
    (13, 32, (0, 0)),  # larger than the image, but there is one
]


@pytest.mark.parametrize(
    ("pool", "kernel", "stride", "pads"),
    [
        (pool, *window)
        for pool in ("AVE", "MAX", "STOCHASTIC")
        for window in WINDOWS
        if pool != "STOCHASTIC" or not any(window[2])  # Caffe has no padding there
    ],
)
def test_pooling_is_caffes_rule_at_every_size(pool, kernel, stride, pads, tmp_path):
    for height, width in ((5, 6), (7, 8), (9, 10), (11, 12), (7, 9)):
        settings = f"pool: {pool} kernel_size: {kernel} stride: {stride} pad_h: {pads[0]} pad_w: {pads[1]}"
        text = head(1, 2, height, width) + layer(
            "Pooling", "it", "data", settings=f"pooling_param {{ {settings} }}"
        )
        x = images(2, 2, height, width).abs()
        near(caffe.load(*write(tmp_path, text))(x), pooled_by_hand(x, kernel, stride, pads, pool))


def test_stochastic_pooling_in_use_is_an_average_weighted_by_the_values(tmp_path):
    text = head(1, 1, 2, 4) + layer(
        "Pooling", "a", "data", settings=f"{POOL} {{ pool: STOCHASTIC kernel_size: 2 stride: 2 }}"
    )
    text += layer("Pooling", "b", "data", settings=f"{POOL} {{ pool: STOCHASTIC global_pooling: true }}")
    net = caffe.load(*write(tmp_path, text))
    x = torch.tensor([[[[1.0, 3.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]]]])
    torch.testing.assert_close(net(x, "a"), torch.tensor([[[[26.0 / 8.0, 0.0]]]]))
    torch.testing.assert_close(net(x, "b"), torch.tensor([[[[26.0 / 8.0]]]]))


def test_pooling_rounds_down_when_a_file_says_so(tmp_path):
    for settings in ("round_mode: FLOOR", "ceil_mode: false"):
        text = layer(
            "Pooling", "it", "data", settings=f"pooling_param {{ kernel_size: 3 stride: 2 {settings} }}"
        )
        assert caffe.load(*write(tmp_path, head(1, 2, 8, 8) + text)).blobs["it"] == (2, 3, 3)


BAD = {
    "kernel": ("Convolution", f"{CONV} {{ num_output: 2 }}", "kernel has 0 values"),
    "both": (
        "Convolution",
        f"{CONV} {{ num_output: 2 kernel_size: 3 kernel_h: 3 kernel_w: 3 }}",
        "give kernel once",
    ),
    "half": ("Convolution", f"{CONV} {{ num_output: 2 kernel_h: 3 }}", "give kernel once"),
    "groups": ("Convolution", f"{CONV} {{ num_output: 2 kernel_size: 1 group: 3 }}", "in 3 groups"),
    "no outputs": ("Convolution", f"{CONV} {{ kernel_size: 1 }}", "0 output channels"),
    "too large": ("Convolution", f"{CONV} {{ num_output: 2 kernel_size: 9 }}", "cannot take"),
    "stride": ("Convolution", f"{CONV} {{ num_output: 2 kernel_size: 1 stride: 0 }}", "stride is 0 x 0"),
    "huge": ("Convolution", f"{CONV} {{ num_output: 99999999999 kernel_size: 1 }}", "is not possible"),
    "huge padding": (
        "Convolution",
        f"{CONV} {{ num_output: 2 kernel_size: 1 pad: 999999 }}",
        "pad is 999999",
    ),
    "huge matrix": ("InnerProduct", "inner_product_param { num_output: 4000000000 }", "is not possible"),
    "window": ("Pooling", f"{POOL} {{ kernel_size: 9 }}", "do not fit a side"),
    "stochastic": ("Pooling", f"{POOL} {{ pool: STOCHASTIC kernel_size: 2 pad: 1 }}", "takes no padding"),
    "padding": ("Pooling", f"{POOL} {{ kernel_size: 2 pad: 2 }}", "padding 2 must be below the windows of 2"),
    "outside": ("Pooling", f"{POOL} {{ kernel_size: 1 stride: 3 }}", "lies outside"),
    "even": ("LRN", "lrn_param { local_size: 4 }", "an odd number"),
    "batch": ("BatchNorm", "batch_norm_param { use_global_stats: false }", "depend on the other images"),
    "axis": ("Softmax", "softmax_param { axis: 4 }", "axis 4"),
    "images": ("Flatten", "flatten_param { axis: 0 }", "axis 0"),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 7 } }", "cannot be reshaped"),
    "reshape images": ("Reshape", "reshape_param { shape { dim: 2 dim: -1 } }", "cannot be reshaped"),
    "one bottom": ("Eltwise", "", "two or more bottoms"),
    "slice": ("Slice", "slice_param { slice_point: 9 }", "cannot be cut"),
    "axes": ("Scale", "scale_param { axis: 2 num_axes: 4 }", "num_axes 4"),
    "unknown": ("SPP", "", r"type SPP, line 2\) is of an unknown type; known: AbsVal"),
    "two bottoms": ("ReLU", "", "cannot have 2 bottoms"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_computed_is_said_with_the_layer(name, tmp_path):
    kind, settings, said = BAD[name]
    bottoms = "data data" if name == "two bottoms" else "data"
    path = tmp_path / "net.prototxt"
    path.write_text(head(1, 4, 5, 6) + layer(kind, "it", bottoms, settings=settings))
    with pytest.raises(BadInput, match=said) as error:
        caffe.load(path)
    assert f"layer 'it' (type {kind}, line 2)" in str(error.value)


@pytest.mark.parametrize(
    ("alone", "both"), [("pad_h: 1", "pad_h: 1 pad_w: 0"), ("pad_w: 2", "pad_h: 0 pad_w: 2")]
)
def test_a_padding_of_one_side_leaves_the_other_without(alone, both, tmp_path):
    """As in Caffe, whose fields are 0 where they are not written; OpenCV passes such a padding over."""
    x = images(2, 4, 9, 8)
    found = []
    for padding in (alone, both):
        settings = f"{CONV} {{ num_output: 6 kernel_size: 3 {padding} }}"
        files = write(tmp_path, head(2, 4, 9, 8) + layer("Convolution", "it", "data", settings=settings))
        found.append(caffe.load(*files)(x))
    assert torch.equal(*found)
