"""Caffe files that the tests write, and OpenCV's reading of them."""

import cv2
import numpy as np
import torch

from xdream.networks.caffe import layers, prototxt
from xdream.networks.caffe.net import CaffeNet
from xdream.networks.caffe.schema import NetParameter, layer_type


def head(*shape):
    dims = " ".join(f"dim: {size}" for size in shape)
    given = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}'
    return f'name: "made for a test" {given}\n'


def layer(kind, name, bottoms, tops=None, settings=""):
    """One layer of the newer format."""
    ends = [f'bottom: "{bottom}"' for bottom in bottoms.split()] + [
        f'top: "{top}"' for top in (tops or name).split()
    ]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {settings} }}\n'


def random_blobs(kind, shapes, seed):
    """Weights of the size that a trained layer has; a variance is positive, a factor is not 1."""
    rng = np.random.default_rng(seed)
    if kind == "BatchNorm":
        mean, variance, by = shapes
        return [rng.normal(size=mean), rng.uniform(0.5, 2.0, variance), np.full(by, 1.7)]
    values = [rng.normal(size=shape) for shape in shapes]
    if values and len(shapes[0]) > 1:
        values[0] /= np.sqrt(max(1, np.prod(shapes[0][1:])))
    return values


def write(folder, text, *, old=False, double=False, single=False, seed=0):
    """(prototxt, caffemodel) with random weights. old: blobs of four dimensions; double: in float64;
    single: values one by one instead of packed."""
    path, model = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_text(text)
    net = CaffeNet(prototxt.read(path, layers.TYPES))
    binary = NetParameter(name="made for a test")
    v1 = "layers" in text.split("{")[0] or "\nlayers" in text
    for number, (one, op) in enumerate(zip(net._layers, net._ops, strict=True)):
        message = (binary.layers if v1 else binary.layer).add(name=one.name)
        message.type = one.settings.type
        assert layer_type(message) == one.type
        for values in random_blobs(one.type, op.blobs, 100 * seed + number):
            blob = message.blobs.add()
            values = np.asarray(values)
            if old:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - values.ndim) + values.shape
            else:
                blob.shape.dim.extend(values.shape)
                blob.shape.SetInParent()
            kind, field = ("<f8", 8) if double else ("<f4", 5)
            raw = values.astype(kind).tobytes()
            if single:
                tag = bytes([field << 3 | (1 if double else 5)])
                size = np.dtype(kind).itemsize
                blob.MergeFromString(b"".join(tag + raw[i : i + size] for i in range(0, len(raw), size)))
            else:
                getattr(blob, "double_data" if double else "data").append(raw)
    model.write_bytes(binary.SerializeToString())
    return path, model


def by_opencv(path, model, images, *names):
    """What OpenCV computes for some layers."""
    net = cv2.dnn.readNetFromCaffe(str(path), str(model))
    net.enableFusion(False)
    net.setInput(images.numpy())
    return [np.array(net.forward(name)) for name in names]


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def near(found, expected):
    """To 1e-4 of the largest value."""
    expected = torch.from_numpy(expected)
    assert tuple(found.shape) == tuple(expected.shape)
    assert float(expected.abs().max()) > 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
