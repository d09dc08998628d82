"""Whole networks of the paper's kinds against OpenCV, from random weights; and their full definitions."""

import math

import caffe_networks as made
import pytest
import torch
from caffe_files import by_opencv, images, near, write
from torch import nn

from xdream.networks import caffe, deepsim
from xdream.networks.caffe import layers, prototxt
from xdream.networks.caffe.net import CaffeNet

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
    "Inception-v3": (
        made.inception_v3(),
        {
            "pool2_3x3_s2": (192, 35, 35),
            "reduction_a_concat": (768, 17, 17),
            "reduction_b_concat": (1280, 8, 8),
            "classifier": (1000,),
        },
    ),
    "Inception-v4": (
        made.inception_v4(),
        {
            "inception_stem3": (384, 35, 35),
            "reduction_a_concat": (1024, 17, 17),
            "reduction_b_concat": (1536, 8, 8),
            "classifier": (1000,),
        },
    ),
    "Inception-ResNet-v2": (
        made.inception_resnet_v2(),
        {
            "stem_concat": (320, 35, 35),
            "reduction_a_concat": (1088, 17, 17),
            "reduction_b_concat": (2080, 8, 8),
            "classifier": (1000,),
        },
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


#: Weights that are trained, as these architectures have them in timm 1.0 (and CaffeNet as published); running
#: means and variances are not counted.
WEIGHTS = {
    "CaffeNet": 60_965_224,
    "ResNet-152-v2": 60_185_128,
    "Inception-v3": 23_834_568,
    "Inception-v4": 42_679_816,
    "Inception-ResNet-v2": 55_843_464,
    "DenseNet-169": 14_149_480,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_definitions_at_full_size_have_the_published_number_of_weights(name):
    net = CaffeNet(prototxt.parse(DEFINITIONS[name][0], layers.TYPES))
    trained = [op.blobs for layer, op in zip(net._layers, net._ops, strict=True) if layer.type != "BatchNorm"]
    assert sum(math.prod(shape) for shapes in trained for shape in shapes) == WEIGHTS[name]


@pytest.mark.parametrize("name", ["Inception-v3", "Inception-v4", "Inception-ResNet-v2"])
def test_an_inception_network_at_full_size_computes_what_opencv_computes(name, tmp_path):
    text, shapes = DEFINITIONS[name]
    files = write(tmp_path, text)
    net = caffe.load(*files)
    x = images(1, 3, 299, 299)
    found = net.read(x, shapes)
    for blob, expected in zip(shapes, by_opencv(*files, x, *shapes), strict=True):
        near(found[blob], expected)
    files[1].unlink()  # a folder of a test is kept for a while, and this has up to 220 MB


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
