"""Against a second, functional derivation of every family, from tensors typed as they are stored."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from xdream.errors import WeightsInvalid
from xdream.networks import deepsim

FILE = Path("weights.pt")

# name in willwx, name in binxu, shape of the weight, * where willwx has a bias
FC = """
fc7 defc7 4096x{n} *, fc6 defc6 4096x4096 *, fc5 defc5 4096x4096 *, tconv5_0 deconv5 256x256x4x4,
"""
FROM_T5 = """
tconv5_1 conv5_1 256x512x3x3, tconv4_0 deconv4 512x256x4x4, tconv4_1 conv4_1 256x256x3x3,
tconv3_0 deconv3 256x128x4x4, tconv3_1 conv3_1 128x128x3x3, tconv2 deconv2 128x64x4x4,
tconv1 deconv1 64x32x4x4, tconv0 deconv0 32x3x4x4
"""
POOL5 = """
conv6 Rconv6 512x256x3x3 *, conv7 Rconv7 512x512x3x3 *, conv8 Rconv8 512x512x3x3 *,
tconv5_0 deconv5 512x256x4x4,
"""
CONV = """
conv6 Rconv6 384x384x3x3 *, conv7 Rconv7 512x384x3x3 *, conv8 Rconv8 512x512x2x2 *,
tconv5_0 deconv5 512x256x4x4, tconv5_1 conv5_1 256x256x3x3, tconv4_0 deconv4 256x128x4x4,
tconv4_1 conv4_1 128x128x3x3, tconv3_0 deconv3 128x128x4x4, tconv3_1 conv3_1 128x128x3x3,
tconv2_0 deconv2 128x64x4x4, conv2_1 conv2_1 32x64x3x3, tconv1_0 deconv1 32x16x4x4,
conv1_1 conv1_1 3x16x3x3
"""
FROM_T4 = """
conv8 Rconv8 128x128x3x3 *, tconv4_0 deconv4 128x128x4x4, conv4_1 conv4_1 128x128x3x3,
tconv3_0 deconv3 128x64x4x4, conv3_1 conv3_1 64x64x3x3, tconv2_0 deconv2 64x32x4x4,
conv2_1 conv2_1 32x32x3x3, tconv1_0 deconv1 32x16x4x4, conv1_1 conv1_1 3x16x3x3
"""
STORED = {
    "fc6": FC.format(n=4096) + FROM_T5,
    "fc7": FC.format(n=4096) + FROM_T5,
    "fc8": FC.format(n=1000) + FROM_T5,
    "pool5": POOL5 + FROM_T5,
    "conv3": CONV,
    "conv4": CONV,
    "norm1": "conv6 Rconv6 128x96x3x3 *, conv7 Rconv7 128x128x3x3 *," + FROM_T4,
    "norm2": "conv6 Rconv6 256x256x3x3 *, conv7 Rconv7 128x256x3x3 *," + FROM_T4,
}
CODE_SHAPES = {
    "norm1": (96, 27, 27),
    "norm2": (256, 13, 13),
    "conv3": (384, 13, 13),
    "conv4": (384, 13, 13),
    "pool5": (256, 6, 6),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (1000,),
}


def stored(layer):
    for row in STORED[layer].split(","):
        willwx, binxu, shape, *bias = row.split()
        yield willwx, binxu, tuple(map(int, shape.split("x"))), bool(bias)


def draw(layer):
    """Weights and biases under the names of binxu without its prefix."""
    rng = torch.Generator().manual_seed(7)
    tensors = {}
    for _, name, shape, _ in stored(layer):
        up = name.startswith("deconv")
        inputs = shape[0] * 4 if up else math.prod(shape[1:])
        transposed = up or name in transposed_names(layer)
        tensors[f"{name}.weight"] = torch.randn(shape, generator=rng) * math.sqrt(1.8 / inputs)
        n_out = shape[1] if transposed else shape[0]
        tensors[f"{name}.bias"] = torch.randn(n_out, generator=rng) * 0.3
    return tensors


def transposed_names(layer):
    """The layers of kernel 3 whose kernels are stored input-first."""
    if layer.startswith("norm"):
        return ()
    return ("conv5_1", "conv4_1", "conv3_1")


def as_binxu(tensors):
    return {f"G.{name}": tensor for name, tensor in tensors.items()}


def as_willwx(layer, tensors):
    renamed = {}
    for willwx, binxu, _, bias in stored(layer):
        renamed[f"{willwx}.weight"] = tensors[f"{binxu}.weight"]
        if bias:
            renamed[f"{willwx}.bias"] = tensors[f"{binxu}.bias"]
    return renamed


def without_later_biases(layer, tensors):
    """What willwx leaves out, as zeros."""
    kept = {binxu for _, binxu, _, bias in stored(layer) if bias}
    return {
        name: tensor if name.endswith("weight") or name.removesuffix(".bias") in kept else tensor * 0
        for name, tensor in tensors.items()
    }


def forward(layer, tensors, x, t3=F.conv_transpose2d):
    """The architecture once more, as calls."""

    def w(name):
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def act(x):
        return torch.where(x > 0, x, 0.3 * x)

    def up(x, name):
        return F.conv_transpose2d(x, *w(name), stride=2, padding=1)

    def same(x, name):
        return act(t3(x, *w(name), stride=1, padding=1))

    def conv(x, name, stride=1, padding=0):
        return act(F.conv2d(x, *w(name), stride=stride, padding=padding))

    if layer.startswith("norm"):
        x = conv(x, "Rconv6", stride=2 if layer == "norm1" else 1, padding=2)
        x = conv(conv(x, "Rconv7", padding=1), "Rconv8", padding=1)
        for k in (4, 3, 2):
            x = conv(act(up(x, f"deconv{k}")), f"conv{k}_1", padding=1)
        x = up(x, "deconv1")
        return 255 * torch.tanh(F.conv2d(x, *w("conv1_1"), padding=1))
    if layer.startswith("conv"):
        x = conv(conv(conv(x, "Rconv6"), "Rconv7"), "Rconv8")
        for k in (5, 4, 3):
            x = same(act(up(x, f"deconv{k}")), f"conv{k}_1")
        x = conv(act(up(x, "deconv2")), "conv2_1", padding=1)
        x = act(up(x, "deconv1"))
        return 255 * torch.tanh(F.conv2d(x, *w("conv1_1"), padding=1))
    if layer == "pool5":
        x = conv(conv(conv(x, "Rconv6", padding=1), "Rconv7", padding=1), "Rconv8")
    else:
        for name in ("defc7", "defc6", "defc5"):
            x = act(F.linear(x, *w(name)))
        x = x.reshape(-1, 256, 4, 4)
    for k in (5, 4, 3):
        x = same(act(up(x, f"deconv{k}")), f"conv{k}_1")
    return up(act(up(act(up(x, "deconv2")), "deconv1")), "deconv0")


def codes(layer):
    return torch.randn(1, *CODE_SHAPES[layer], generator=torch.Generator().manual_seed(1))


def close(a, b):
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.std()))


@pytest.mark.parametrize("layer", ["fc6", "pool5", "conv4", "norm1", "norm2"])
def test_both_conventions_load_and_compute_what_the_paper_draws(layer):
    tensors, x = draw(layer), codes(layer)
    with torch.inference_mode():
        expected = forward(layer, tensors, x)
        assert expected.std() > 0.1
        binxu = deepsim.load(layer, as_binxu(tensors), FILE)
        assert close(binxu(x), expected)
        fewer = without_later_biases(layer, tensors)
        assert not close(forward(layer, fewer, x), expected)
        willwx = deepsim.load(layer, as_willwx(layer, fewer), FILE)
        assert close(willwx(x), forward(layer, fewer, x))
        zeroed = deepsim.load(layer, as_binxu(fewer), FILE)
        assert torch.equal(willwx(x), zeroed(x))


def test_layers_of_kernel_3_are_transposed_convolutions_whatever_their_name():
    tensors, x = draw("conv4"), codes("conv4")
    with torch.inference_mode():
        plain = forward("conv4", tensors, x, t3=F.conv2d)
        assert not close(deepsim.load("conv4", as_binxu(tensors), FILE)(x), plain)


@pytest.mark.parametrize("layer", STORED)
def test_every_table_has_the_published_shapes(layer):
    architecture = deepsim.ARCHITECTURES[layer]
    assert architecture.code_shape == CODE_SHAPES[layer]
    found = [(*row.names, row.weight_shape, row.biased) for row in architecture.rows]
    assert found == list(stored(layer))


@pytest.mark.parametrize(
    ("layer", "size"), [("fc8", 256), ("pool5", 256), ("conv3", 256), ("norm1", 240), ("norm2", 240)]
)
def test_random_weights_give_images_of_the_published_size_that_neither_vanish_nor_explode(layer, size):
    with torch.inference_mode():
        images = deepsim.random(layer, seed=3)(codes(layer))
    assert images.shape == (1, 3, size, size)
    assert deepsim.ARCHITECTURES[layer].image_size_px == size
    assert 10 < float(images.std()) < 150


def test_random_weights_are_a_function_of_the_seed():
    x = codes("norm1")
    with torch.inference_mode():
        first, again, other = (deepsim.random("norm1", seed)(x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_half_precision_weights_are_computed_in_single():
    tensors = {name: t.to(torch.float16) for name, t in as_binxu(draw("norm1")).items()}
    with torch.inference_mode():
        assert deepsim.load("norm1", tensors, FILE)(codes("norm1")).dtype == torch.float32


def test_willwx_with_all_biases_uses_them():
    tensors, x = draw("norm1"), codes("norm1")
    full = {}
    for willwx, binxu, _, _ in stored("norm1"):
        for part in ("weight", "bias"):
            full[f"{willwx}.{part}"] = tensors[f"{binxu}.{part}"]
    with torch.inference_mode():
        assert close(deepsim.load("norm1", full, FILE)(x), forward("norm1", tensors, x))


def damaged(kind):
    tensors = as_binxu(draw("norm1"))
    if kind == "missing":
        del tensors["G.deconv3.bias"]
    elif kind == "unexpected":
        tensors["G.extra"] = torch.ones(1)
    elif kind == "shape":
        tensors["G.Rconv6.weight"] = torch.zeros(96, 128, 3, 3)
    elif kind == "nan":
        tensors["G.conv2_1.weight"] = torch.full((32, 32, 3, 3), float("nan"))
    return tensors


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("missing", "G.deconv3.bias"),
        ("unexpected", "G.extra"),
        ("shape", "G.Rconv6.weight"),
        ("nan", "G.conv2_1.weight"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_the_file(kind, name):
    with pytest.raises(WeightsInvalid, match=name) as error:
        deepsim.load("norm1", damaged(kind), FILE)
    assert "weights.pt" in str(error.value)


def test_the_weights_of_another_layer_are_refused():
    with pytest.raises(WeightsInvalid, match="another network"):
        deepsim.load("norm2", as_binxu(draw("norm1")), FILE)


def test_a_thin_up_convolution_is_the_transposed_convolution() -> None:
    for bias in (True, False):
        thin = deepsim.ThinUp(5, 3, 4, 2, 1, bias=bias)
        x = torch.randn(2, 5, 6, 7)
        with torch.inference_mode():
            torch.testing.assert_close(thin(x), torch.nn.ConvTranspose2d.forward(thin, x))
    assert isinstance(deepsim.random("fc6", 0).tconv0, deepsim.ThinUp)
