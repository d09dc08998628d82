"""Whole networks of the paper's kinds against OpenCV, from random weights; and their full definitions."""

import caffe_networks as made
import pytest
import torch
from caffe_files import by_opencv, images, near, write
from torch import nn

from xdream import caffe
from xdream.caffe import layers, prototxt
from xdream.caffe.net import CaffeNet
from xdream.networks import deepsim

# text, and what is compared: our name, OpenCV's (that of a layer)
NETWORKS = {
    "CaffeNet": (
        made.caffenet(0.25),
        [("norm1", "norm1"), ("conv4", "relu4"), ("fc6", "relu6"), ("fc8", "fc8"), ("prob", "prob")],
    ),
    "ResNet-v2": (
        made.resnet_v2((2, 2), 8, 64),
        [("res2_eletwise", "res2_eletwise"), ("res3_bn", "res3_relu"), ("prob", "prob")],
    ),
    "Inception": (
        made.inception(),
        [("stem_concat",) * 2, ("a1_concat",) * 2, ("reduction_a_concat",) * 2, ("prob",) * 2],
    ),
    "DenseNet": (
        made.densenet((2, 2, 1), 6, 8, 72),
        [("concat_3_2", "concat_3_2"), ("pool3", "pool3"), ("fc", "fc")],
    ),
    "DeePSiM fc6": (
        made.deepsim("fc6", 0.125),
        [("defc5", "relu_defc5"), ("deconv5", "relu_deconv5"), ("deconv0", "deconv0")],
    ),
    "DeePSiM conv4": (made.deepsim("conv4", 0.125), [("Rconv8", "relu_Rconv8"), ("out", "out")]),
    "DeePSiM norm1": (made.deepsim("norm1", 0.25), [("deconv1", "deconv1"), ("out", "out")]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_opencv_computes(name, tmp_path):
    text, pairs = NETWORKS[name]
    files = write(tmp_path, text)
    net = caffe.load(*files)
    [(_, shape)] = net.inputs.items()
    x = images(2, *shape)
    expected = by_opencv(*files, x, *(theirs for _, theirs in pairs))
    found = net.read(x, [ours for ours, _ in pairs])
    for (ours, _), one in zip(pairs, expected, strict=True):
        near(found[ours], one)
    assert net.output == pairs[-1][0]
    assert torch.equal(net(x), found[net.output])


#: Layers of the paper's targets with the shapes that the published networks have there.
DEFINITIONS = {
    "CaffeNet": (
        made.caffenet(),
        {"conv2": (256, 27, 27), "conv4": (384, 13, 13), "pool5": (256, 6, 6), "fc6": (4096,)},
    ),
    "ResNet-152-v2": (
        made.resnet_v2((3, 8, 36, 3)),
        {
            "res15_eletwise": (1024, 14, 14),
            "res25_eletwise": (1024, 14, 14),
            "res35_eletwise": (1024, 14, 14),
        },
    ),
    "ResNet-269-v2": (
        made.resnet_v2((3, 30, 48, 8), size=320),
        {"res25_eletwise": (512, 40, 40), "res45_eletwise": (1024, 20, 20), "res60_eletwise": (1024, 20, 20)},
    ),
    "DenseNet-169": (made.densenet((6, 12, 32, 32)), {"concat_5_31": (1632, 7, 7), "fc": (1000, 1, 1)}),
    "DeePSiM fc6": (made.deepsim("fc6"), {"deconv0": (3, 256, 256)}),
    "DeePSiM conv4": (made.deepsim("conv4"), {"out": (3, 256, 256)}),
    "DeePSiM norm1": (made.deepsim("norm1"), {"out": (3, 240, 240)}),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definitions_at_full_size_have_the_published_layers(name):
    text, shapes = DEFINITIONS[name]
    net = CaffeNet(prototxt.parse(text, layers.TYPES))  # takes no memory for weights
    for blob, shape in shapes.items():
        assert net.blobs[blob] == shape


def test_a_deepsim_file_is_the_same_network_as_ours(tmp_path):
    """The generator that this package builds itself, with the weights of a caffemodel."""
    net = caffe.load(*write(tmp_path, made.deepsim("conv4")))
    ours = deepsim.random("conv4", 0)
    weighted = [op for op in net._ops if op.blobs]
    own = [layer for layer in ours if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    for op, layer in zip(weighted, own, strict=True):
        layer.weight.copy_(op.weight)
        layer.bias.copy_(op.bias)
    codes = images(1, 384, 13, 13)
    with torch.inference_mode():
        torch.testing.assert_close(net(codes), ours(codes), rtol=0, atol=1e-4 * 255)


def test_nothing_is_computed_that_is_not_wanted(tmp_path):
    net = caffe.load(*write(tmp_path, made.caffenet(0.25)))
    seen = []
    for op in net._ops:
        op.register_forward_hook(lambda op, inputs, output: seen.append(op))
    net(images(1, 3, 227, 227), "pool1")
    assert seen == [*net._ops][:3]
