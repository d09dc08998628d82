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
    with pytest.raises(BadInput, match=r"inputs images \(n, 3, 12, 12\) float, more \(.*; one of"):
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


# Graphs as exporters write them.

F32, I64 = TensorProto.FLOAT, TensorProto.INT64


def value(name, shape, kind=F32):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(path, nodes, given, out, constants=(), opset=13, domains=()):
    constants = [numpy_helper.from_array(np.asarray(one), name) for name, one in dict(constants).items()]
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)]
    made = helper.make_graph(nodes, "g", given, out, constants)
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
    return f"onnx:{path}"


def body(weights, dtype=np.float32, given="x"):
    """A convolution and a classifier: "relu" (n, 5, 6, 6), "flat" (n, 5), "y" (n, 4)."""
    nodes = [
        helper.make_node("Conv", [given, "w", "b"], ["conv"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m"], ["y"], transB=1),
    ]
    return nodes, {name: one.astype(dtype) for name, one in weights.items()}


def of_sequence(path, weights):
    """`torch.split` and `chunk`."""
    nodes, constants = body(weights)
    nodes += [
        helper.make_node("SplitToSequence", ["relu", "size"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "one"], ["half"]),
    ]
    parts = helper.make_tensor_sequence_value_info("parts", F32, None)
    constants |= {"size": np.array(2, np.int64), "one": np.array(1, np.int64)}
    return graph(path, nodes, [value("x", ["n", 3, 12, 12])], [parts, value("y", ["n", 4])], constants)


def of_classifier(path, weights):
    """scikit-learn's: labels, and a list of dictionaries of probabilities."""
    nodes, constants = body(weights)
    labels = {"classlabels_ints": [0, 1, 2, 3], "post_transform": "SOFTMAX"}
    nodes += [
        helper.make_node(
            *("LinearClassifier", ["flat"], ["label", "p"]),
            domain="ai.onnx.ml",
            coefficients=weights["m"].ravel().tolist(),
            intercepts=[0.0] * 4,
            **labels,
        ),
        helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3]),
    ]
    kind = helper.make_map_type_proto(I64, helper.make_tensor_type_proto(F32, []))
    maps = helper.make_value_info("maps", helper.make_sequence_type_proto(kind))
    out = [value("label", ["n"], I64), maps]
    return graph(path, nodes, [value("x", ["n", 3, 12, 12])], out, constants, domains=["ai.onnx.ml"])


def of_several(path, weights):
    """A dictionary of outputs: integers first, one number of the whole batch, one number of each image."""
    nodes, constants = body(weights)
    nodes += [
        helper.make_node("ArgMax", ["y"], ["top"], axis=1, keepdims=0),
        helper.make_node("ReduceMean", ["y"], ["all"], axes=[0], keepdims=1),
        helper.make_node("ReduceMax", ["y"], ["best"], axes=[1], keepdims=0),
        helper.make_node(
            "Constant", [], ["same"], value=numpy_helper.from_array(np.ones((2, 4), np.float32))
        ),
    ]
    out = [value("top", ["n"], I64), value("all", [1, 4]), value("best", ["n"]), value("y", ["n", 4])]
    return graph(path, nodes, [value("x", ["n", 3, 12, 12])], out, constants)


def of_last_axis(path, weights, size=(12, 12)):
    """TensorFlow's: the colours last, and transposed inside."""
    nodes, constants = body(weights)
    nodes.insert(0, helper.make_node("Transpose", ["image:0"], ["x"], perm=[0, 3, 1, 2]))
    return graph(path, nodes, [value("image:0", ["n", *size, 3])], [value("y", ["n", 4])], constants)


def of_half(path, weights):
    nodes, constants = body(weights, np.float16)
    given = [value("x", ["n", 3, "h", "w"], TensorProto.FLOAT16)]
    return graph(path, nodes, given, [value("y", ["n", 4], TensorProto.FLOAT16)], constants)


def of_double(path, weights):
    """A readout in double precision: onnxruntime has no convolution of it."""
    constants = {"k": weights["m"].astype(np.float64)[:, :3]}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["flat"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["flat", "k"], ["y"], transB=1),
    ]
    given = [value("x", ["n", 3, 12, 12], TensorProto.DOUBLE)]
    return graph(path, nodes, given, [value("y", ["n", 4], TensorProto.DOUBLE)], constants)


def of_optional(path, weights):
    """An input that may be left out."""
    nodes, constants = body(weights)
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(F32, ["n", 3, 12, 12]))
    nodes.append(helper.make_node("OptionalHasElement", ["mask"], ["masked"]))
    given = [value("x", ["n", 3, 12, 12]), helper.make_value_info("mask", kind)]
    return graph(path, nodes, given, [value("y", ["n", 4])], constants, opset=18)


def of_squeezed(path, weights):
    """`squeeze()` of one image: no row for it any more."""
    nodes, constants = body(weights)
    nodes.append(helper.make_node("Squeeze", ["y", "axis"], ["z"]))
    constants["axis"] = np.array([0], np.int64)
    return graph(path, nodes, [value("x", [1, 3, 12, 12])], [value("z", [4])], constants)


INNER = {"conv", "relu", "pool", "flat", "y"}


@pytest.mark.parametrize(
    ("export", "layout", "names", "output"),
    [
        (of_sequence, "NCHW", INNER | {"half", ""}, "y"),
        (of_classifier, "NCHW", INNER | {"p"}, None),
        (of_several, "NCHW", INNER | {"best", ""}, "best"),
        (of_last_axis, "NHWC", INNER | {"x", ""}, "y"),
        (of_half, "NCHW", INNER | {""}, "y"),
        (of_double, "NCHW", {"flat", "y", ""}, "y"),
        (of_squeezed, "NCHW", INNER, None),
    ],
)
def test_what_has_a_row_for_each_image_is_offered(tmp_path, weights, export, layout, names, output):
    shown = Preprocessing((12, 12), layout=layout)
    network = networks.load(export(tmp_path / "net.onnx", weights), shown)
    assert {one.name for one in networks.layers(network)} == names
    images = torch.randint(0, 256, (3, 3, 12, 12), dtype=torch.uint8)
    wanted = ["y", *([""] if output else [])]
    reader, shapes = networks.layer_reader(network, wanted)
    assert shapes["y"] == (4,)
    found = reader.read(images)
    assert found["y"].dtype in (torch.float32, torch.float64)
    if export is not of_double:
        _, scores = expected(weights, images)
        assert torch.allclose(found["y"], scores, atol=2e-2 if export is of_half else 1e-5)
    if output == "best":
        assert torch.allclose(found[""], found["y"].max(1, keepdim=True)[0])
        assert ["its first output 'top' has no row" in one for one in network.warnings] == [True]
    elif output is not None:
        assert torch.equal(found[""], found[output])
        assert network.warnings == () or export is of_sequence
    else:
        with pytest.raises(
            BadInput, match="has no output with a row of numbers for each image; layers: conv"
        ):
            networks.layer_reader(network, [""])


def test_an_input_that_may_be_left_out_is(tmp_path, weights):
    network = networks.load(of_optional(tmp_path / "net.onnx", weights), Preprocessing((12, 12)))
    images = torch.randint(0, 256, (3, 3, 12, 12), dtype=torch.uint8)
    reader, _ = networks.layer_reader(network, [""])
    assert torch.allclose(reader.read(images)[""], expected(weights, images)[1], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "declared", "words"),
    [
        (
            (12, 12),
            "NCHW",
            r"images of shape \(n, 12, 12, 3\) float, which is NHWC; declare layout = \"NHWC\"",
        ),
        (("h", "w"), "NCHW", r"\(n, h, w, 3\) float, which is NHWC"),
        (None, "NHWC", r"\(n, 3, 12, 12\) float, which is NCHW; declare layout = \"NCHW\""),
    ],
)
def test_the_order_of_the_axes_is_declared(tmp_path, weights, size, declared, words):
    path = tmp_path / "net.onnx"
    name = make(path, weights) if size is None else of_last_axis(path, weights, size)
    with pytest.raises(BadInput, match=words):
        networks.load(name, Preprocessing((12, 12), layout=declared))


def test_the_layers_of_a_graph_of_either_order_are_listed(tmp_path, weights, capsys):
    name = of_last_axis(tmp_path / "net.onnx", weights)
    assert main(["list", "targets", "--layers", name]) == 0
    assert "relu                                     5 x 6 x 6" in capsys.readouterr().out
    plan = Plan(targets=[{"network": name, "layer": "y", "units": "0"}], presentations=20)
    plan = Plan.make(**plan.model_dump() | {"preprocessing": {name: {"size_px": (12, 12), "layout": "NHWC"}}})
    assert xdream.run(plan, tmp_path / "out").finished


def test_what_cannot_be_run_is_said_in_one_line(tmp_path, weights):
    nodes, constants = body(weights, np.float64)
    given, out = [value("x", ["n", 3, 12, 12], 11)], [value("y", ["n", 4], 11)]
    name = graph(tmp_path / "double.onnx", nodes, given, out, constants)
    with pytest.raises(
        WeightsInvalid, match=r"onnxruntime .* cannot run .* export the network anew, in float32"
    ):
        networks.load(name, SHOWN)
    whole = [value("x", ["n", 3, 12, 12], TensorProto.UINT8)]
    nodes, constants = body(weights)
    name = graph(tmp_path / "uint8.onnx", nodes, whole, [value("y", ["n", 4])], constants)
    with pytest.raises(BadInput, match="takes images of type uint8; a float, half or double input is needed"):
        networks.load(name, SHOWN)
    nodes = [helper.make_node("Shape", ["x"], ["s"])]
    name = graph(tmp_path / "none.onnx", nodes, [value("x", ["n", 3, 12, 12])], [value("s", [4], I64)])
    with pytest.raises(
        BadInput, match=r"no tensor with a row of numbers for each image; its outputs: s \(4\) int64"
    ):
        networks.load(name, SHOWN)


def test_a_graph_that_takes_no_images_says_what_it_takes(tmp_path):
    nodes = [helper.make_node("Relu", ["features"], ["y"])]
    name = graph(tmp_path / "skl.onnx", nodes, [value("features", ["n", 12])], [value("y", ["n", 12])])
    with pytest.raises(BadInput, match=r"has the inputs features \(n, 12\) float; one of"):
        networks.load(name, SHOWN)


@pytest.mark.parametrize(("ir", "opset"), [(99, 13), (8, 99)])
def test_a_newer_format_is_named(tmp_path, weights, ir, opset):
    nodes, constants = body(weights)
    path = tmp_path / "new.onnx"
    name = graph(path, nodes, [value("x", ["n", 3, 12, 12])], [value("y", ["n", 4])], constants, opset)
    model = onnx.load(path)
    model.ir_version = ir
    onnx.save(model, path)
    with pytest.raises(WeightsInvalid, match=rf"of a newer format \(version {ir}, operators {opset}\)"):
        networks.load(name, SHOWN)
