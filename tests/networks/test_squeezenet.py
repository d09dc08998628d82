import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xdream.errors import WeightsInvalid, WeightsMissing
from xdream.networks import squeezenet
from xdream.networks.base import Network
from xdream.networks.loading import layers, load

FIRES = {2: (64, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128)}
FIRES |= {6: (256, 48, 192), 7: (384, 48, 192), 8: (384, 64, 256), 9: (512, 64, 256)}


def kernels():
    """Every kernel as Keras keeps it (height, width, in, out)."""
    shapes = {"conv1": (3, 3, 3, 64), "conv10": (1, 1, 512, 1000)}
    for k, (n_in, squeeze, expand) in FIRES.items():
        shapes[f"fire{k}/squeeze1x1"] = (1, 1, n_in, squeeze)
        shapes[f"fire{k}/expand1x1"] = (1, 1, squeeze, expand)
        shapes[f"fire{k}/expand3x3"] = (3, 3, squeeze, expand)
    return shapes


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(5)
    made = {}
    for layer, shape in kernels().items():
        scale = np.sqrt(2 / np.prod(shape[:3]))
        made[layer] = (
            (rng.normal(size=shape) * scale).astype(np.float32),
            rng.normal(size=shape[3]).astype(np.float32) * 0.1,
        )
    return made


@pytest.fixture(scope="module")
def file(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("squeezenet") / "weights.h5"
    with h5py.File(path, "w") as out:
        for layer, (kernel, bias) in arrays.items():
            out[f"{layer}/{layer}_W:0"] = kernel
            out[f"{layer}/{layer}_b:0"] = bias
        out.create_group("fire2/concat")
    return path


def forward(arrays, x):
    def conv(x, layer, stride=1, padding=0):
        kernel, bias = arrays[layer]
        kernel = torch.from_numpy(np.moveaxis(kernel, (3, 2), (0, 1)).copy())
        return F.relu(F.conv2d(x, kernel, torch.from_numpy(bias), stride, padding))

    x = conv(x, "conv1", stride=2)
    for k in range(2, 10):
        if k in (2, 4, 6):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = conv(x, f"fire{k}/squeeze1x1")
        wide = conv(x, f"fire{k}/expand3x3", padding=1)
        x = torch.cat((conv(x, f"fire{k}/expand1x1"), wide), 1)
    return conv(x, "conv10").mean((2, 3))


def test_it_computes_what_its_definition_says_from_a_keras_file(arrays, file):
    x = torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = forward(arrays, x)
        found = squeezenet.load(file).eval()(x)
    assert expected.std() > 0.01
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_its_layers_are_named_as_in_caffe_and_pooling_rounds_up():
    shapes = {layer.name: layer.shape for layer in layers(load("squeezenet1.1", random_weights=0))}
    assert shapes["conv1"] == (64, 113, 113)
    assert shapes["pool1"] == (64, 56, 56)
    assert shapes["pool3"] == (128, 28, 28)
    assert shapes["pool5"] == (256, 14, 14)
    assert shapes["fire9"] == (512, 14, 14)
    assert shapes["fire5.expand3x3"] == shapes["fire5.relu_expand3x3"] == (128, 28, 28)
    assert shapes["conv10"] == shapes["relu_conv10"] == (1000, 14, 14)
    assert shapes[""] == (1000,)


def test_nonlinearities_leave_the_layer_before_them_as_it_was():
    network = load("squeezenet1.1", random_weights=0)
    kept = []
    network.module.get_submodule("conv1").register_forward_hook(lambda *a: kept.append(a[2]))
    with torch.inference_mode():
        network.module(network.preprocessing(torch.zeros(1, 3, 50, 60, dtype=torch.uint8)))
    assert kept[0].min() < 0


def test_blue_has_the_mean_104_and_comes_first():
    image = torch.tensor([10, 20, 30], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 4, 4)
    x = squeezenet.PREPROCESSING(image)
    assert x.shape == (1, 3, 227, 227)
    assert x[0, :, 0, 0].tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_trained_weights_are_looked_for_by_name(monkeypatch, file):
    from xdream.networks import weights

    monkeypatch.setattr(weights, "find", lambda name: {"squeezenet1.1": file}[name])
    network = load("squeezenet1.1")
    assert isinstance(network, Network)
    assert network.warnings == ()
    assert network.licence == "BSD"


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "a layer missing", "shape"])
def test_a_broken_file_gives_one_line_with_its_path(tmp_path, file, kind):
    path = tmp_path / "broken.h5"
    contents = file.read_bytes()
    if kind in ("a layer missing", "shape"):
        path.write_bytes(contents)
        with h5py.File(path, "a") as out:
            del out["fire3/expand1x1"]
            if kind == "shape":
                out["fire3/expand1x1/fire3/expand1x1_W:0"] = np.zeros((1, 1, 64, 16), np.float32)
                out["fire3/expand1x1/fire3/expand1x1_b:0"] = np.zeros(64, np.float32)
    else:
        path.write_bytes({"truncated": contents[:9000], "empty": b"", "text": b"hello"}[kind])
    with pytest.raises(WeightsInvalid) as error:
        squeezenet.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if kind in ("a layer missing", "shape"):
        assert "expand1x1" in str(error.value)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(WeightsMissing):
        squeezenet.load(tmp_path / "nowhere.h5")
