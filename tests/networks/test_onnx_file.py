"""Networks in ONNX files, against the same computation in PyTorch."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

import xdream
from xdream import networks
from xdream.cli.main import main
from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.experiment.plan import Plan
from xdream.networks.base import Preprocessing

SHOWN = Preprocessing((12, 12), scale=255.0)


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return {
        "w": rng.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(size=5).astype(np.float32),
        "m": rng.normal(size=(4, 5)).astype(np.float32),
    }


def make(path, weights, batch="n", size=(12, 12), inputs=("images",)):
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3, *size]) for name in inputs]
    nodes = [
        helper.make_node("Conv", [inputs[0], "w", "b"], ["conv"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Shape", ["relu"], ["shape"]),  # no numbers of images
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m"], ["scores"], transB=1),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    out = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, out, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, path)
    return f"onnx:{path}"


def expected(weights, images):
    x = F.relu(
        F.conv2d(images / 255.0, *(torch.from_numpy(weights[key]) for key in "wb"), stride=2, padding=1)
    )
    return x, x.mean((2, 3)) @ torch.from_numpy(weights["m"]).T


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_tensors_of_the_graph_are_layers(tmp_path, weights, batch):
    network = networks.load(make(tmp_path / "net.onnx", weights, batch), SHOWN)
    shapes = {one.name: one.shape for one in networks.layers(network)}
    assert shapes["relu"] == (5, 6, 6)
    assert shapes["scores"] == shapes[""] == (4,)
    assert "shape" not in shapes
    reader, _ = networks.layer_reader(network, ["relu", "scores", ""])
    images = torch.randint(0, 256, (7, 3, 12, 12), dtype=torch.uint8)
    found = reader.read(images)
    relu, scores = expected(weights, images.float())
    torch.testing.assert_close(found["relu"], relu, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["scores"], scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[""], found["scores"])
    with pytest.raises(BadInput, match="layer 'conv9' does not exist"):
        networks.layer_reader(network, ["conv9"])


def test_it_is_a_target_of_an_experiment_that_is_resumed_with_the_same_file_only(tmp_path, weights):
    name = make(tmp_path / "net.onnx", weights)
    plan = Plan.make(
        targets=[f"{name}:scores:2", f"{name}:relu:1@0,3"],
        generator={"name": "pixels", "size_px": 12},
        preprocessing={name: {"size_px": (12, 12)}},
        presentations=40,
        threads=1,
        compiled=True,  # nothing in it to compile
    )
    record = xdream.run(plan, tmp_path / "x")
    codes = torch.from_numpy(np.stack(list(record.codes(0, 1).values()))).reshape(-1, 3, 12, 12)
    _, scores = expected(weights, (codes.clamp(0, 1) * 255).round())
    np.testing.assert_allclose(record.scores(0)[1], scores[:, 2], rtol=1e-4, atol=1e-5)
    assert networks.fingerprint(networks.load(name, SHOWN).module) != networks.fingerprint(
        networks.load(make(tmp_path / "b.onnx", weights | {"b": weights["b"] + 1}), SHOWN).module
    )


def test_what_cannot_be_used_is_said(tmp_path, weights):
    with pytest.raises(BadInput, match="declare it in a plan file"):
        networks.load(make(tmp_path / "a.onnx", weights))
    with pytest.raises(BadInput, match=r"does not take images of \(13, 13\)"):
        networks.load(make(tmp_path / "a.onnx", weights), Preprocessing((13, 13)))
    with pytest.raises(BadInput, match="inputs images, more; one of"):
        networks.load(make(tmp_path / "b.onnx", weights, inputs=("images", "more")), SHOWN)
    name = make(tmp_path / "c.onnx", weights, size=("h", "w"))
    with pytest.raises(BadInput, match="any size; declare size_px"):
        networks.load(name, Preprocessing(None))
    assert networks.load(name, Preprocessing((20, 9))).module.names["conv"] == (5, 10, 5)
    with pytest.raises(WeightsMissing, match="no network file"):
        networks.load(f"onnx:{tmp_path}/gone.onnx")  # said before anything is asked about it
    (tmp_path / "d.onnx").write_bytes((tmp_path / "a.onnx").read_bytes()[:-50])
    with pytest.raises((WeightsInvalid, BadInput), match=r"d\.onnx"):
        networks.load(f"onnx:{tmp_path}/d.onnx", SHOWN)
    with pytest.raises(BadInput, match="brings its own weights"):
        networks.load(make(tmp_path / "a.onnx", weights), SHOWN, random_weights=0)


def test_without_the_package_the_extra_is_named(tmp_path, weights, monkeypatch):
    import sys

    name = make(tmp_path / "a.onnx", weights)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadInput, match=r"pip install 'xdream\[onnx\]'"):
        networks.load(name, SHOWN)


def test_layers_are_listed_without_a_plan(tmp_path, weights, capsys):
    """The size of the images is all that matters, and the file says it."""
    name = make(tmp_path / "net.onnx", weights)
    assert main(["list", "targets", "--layers", name]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["relu", "5", "x", "6", "x", "6"]
    name = make(tmp_path / "any.onnx", weights, size=("h", "w"))
    assert main(["list", "targets", "--layers", name]) == 2
    assert "takes images of any size; declare size_px" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r'declare it in a plan file, as \[preprocessing\."onnx:'):
        networks.load(name)
