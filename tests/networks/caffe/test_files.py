"""Files: both generations, what a deploy file may hold, and what is wrong or hostile."""

import contextlib
import resource
import time

import caffe_networks as made
import pytest
import torch
from caffe_files import by_opencv, head, images, layer, near, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdream.errors import BadInput, WeightsInvalid
from xdream.networks import caffe
from xdream.networks.caffe import layers, prototxt

OLD = """
name: "old"
input: "data"
input_dim: 10 input_dim: 3 input_dim: 20 input_dim: 20
layers { layer_type: X }
layers {
  name: "conv1"  # a comment with a { in it
  type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } }
}
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "pool1" type: POOLING bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "pool1" top: "fc" inner_product_param { num_output: 5 } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
""".replace("layers { layer_type: X }\n", "")


@pytest.mark.parametrize("kind", ["old", "double", "single", "packed"])
def test_both_generations_and_every_way_to_store_values(kind, tmp_path):
    options = {} if kind == "packed" else {kind: True}
    files = write(tmp_path, OLD, **options)
    x = images(2, 3, 20, 20)
    net = caffe.load(*files)
    assert net.inputs == {"data": (3, 20, 20)}
    assert net.blobs["fc"] == (5,)
    plain = caffe.load(*write(tmp_path, OLD))
    torch.testing.assert_close(net(x), plain(x))
    if kind in ("old", "packed"):
        [expected] = by_opencv(*write(tmp_path, OLD, **options), x, "prob")
        near(net(x), expected)


def test_a_blob_is_what_layers_in_place_leave_and_layers_have_names_too(tmp_path):
    net = caffe.load(*write(tmp_path, OLD))
    x = images(2, 3, 20, 20)
    assert float(net(x, "conv1").min()) == 0.0
    assert torch.equal(net(x, "conv1"), net(x, "relu1"))
    with pytest.raises(BadInput, match="no blob or layer 'conv2'; the blobs are: data, conv1"):
        net(x, "conv2")
    with pytest.raises(BadInput, match=r"takes images of \(3, 20, 20\), not \(3, 21, 20\)"):
        net(images(2, 3, 21, 20))


def test_layers_of_training_and_of_other_stages_are_left_out(tmp_path):
    text = head(1, 4, 3, 3)
    text += layer(
        "Data", "train", "", "label", "include { phase: TRAIN } data_param { source: 'x' batch_size: 9 }"
    )
    text += layer("Power", "one", "data", settings="power_param { shift: 1 } exclude { phase: TRAIN }")
    text += layer("Power", "two", "one", settings="power_param { shift: 1 } include { stage: 'deploy' }")
    text += layer(
        "Power", "three", "one", settings="power_param { shift: 1 } include { phase: TEST not_stage: 'x' }"
    )
    text += layer("Power", "four", "one", settings="power_param { shift: 1 } include { min_level: 1 }")
    assert list(caffe.load(*write(tmp_path, text)).blobs) == ["data", "one", "three"]
    state = 'state { level: 1 stage: "deploy" stage: "x" }\n'
    assert list(caffe.load(*write(tmp_path, state + text)).blobs) == ["data", "one", "two", "four"]


def test_inputs_are_declared_in_four_ways(tmp_path):
    for declared in (
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8',
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }',
        'input: "data" input_shape: < dim: [1, 3, 8, 8] >',
        head(5, 3, 8, 8),
    ):
        assert caffe.load(*write(tmp_path, declared + "\n" + layer("ReLU", "r", "data"))).inputs == {
            "data": (3, 8, 8)
        }
    two = 'input: "a" input: "b" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n' + layer(
        "Eltwise", "sum", "a b"
    )
    net = caffe.load(*write(tmp_path, two))
    x, y = images(2, 3, 8, 8), images(2, 3, 8, 8, seed=1)
    assert torch.equal(net({"a": x, "b": y}), x + y)
    with pytest.raises(BadInput, match="has the inputs a, b; give each by its name"):
        net(x)


RELU = layer("ReLU", "r", "data")
WRONG = {
    "no input": (RELU, "it declares no input"),
    "dims": ('input: "data" input_dim: 1 ' + RELU, "1 inputs with 1 input_dim"),
    "both": (head(1, 3) + RELU + 'layers { name: "x" type: RELU }', "both `layer` and `layers`"),
    "syntax": (head(1, 3) + "layer { name: ", "line 2, column"),
    "field": (head(1, 3) + RELU.replace("type", "colour: 3 type"), 'line 2, .*no field named "colour"'),
    "setting": (
        head(1, 3) + layer("ReLU", "r", "data", settings="relu_param { slope: 1 }"),
        'line 2, .*"ReLUParameter" has no field named "slope"',
    ),
    "number": (
        head(1, 3) + layer("ReLU", "r", "data", settings="relu_param { negative_slope: x }"),
        "line 2",
    ),
    "twice": (head(1, 3) + RELU + layer("ReLU", "r", "r", "s"), "has the name of the one of line 2"),
    "blob twice": (head(1, 3) + RELU + layer("TanH", "t", "data", "r"), "makes the blob 'r', which is there"),
    "missing blob": (
        head(1, 3) + layer("ReLU", "r", "x"),
        "takes the blob 'x', which no layer before it makes",
    ),
    "later blob": (
        head(1, 3) + layer("ReLU", "r", "t", "s") + layer("TanH", "t", "data"),
        "takes the blob 't'",
    ),
    "zero": (head(1, 0) + RELU, r"shape \(0,\) is not possible"),
    "negative": (head(1, -3) + RELU, r"shape \(-3,\) is not possible"),
    "huge": (head(1, 99999999999) + RELU, "is not possible"),
    "too long": (head(1, 99999999999999999999) + RELU, "line 1"),
    "deep": (head(1, 3) + "a { " * 5000, "more than 20 deep"),
    "unclosed": (head(1, 3) + 'layer { name: "x" type: "ReLU"', "line 2"),
    "oldest": (head(1, 3) + 'layers { layer { name: "x" type: "conv" } }', "both `layer`|no field"),
    "tops": (head(1, 3) + layer("ReLU", "r", "data", "a b"), "has 2 tops instead of 1"),
    "weights": (
        head(1, 30000)
        + layer("InnerProduct", "a", "data", settings="inner_product_param { num_output: 8000 }") * 1
        + "".join(
            layer("InnerProduct", f"a{i}", "data", settings="inner_product_param { num_output: 8000 }")
            for i in range(5)
        ),
        "more than 300,000,000 weights",
    ),
    "data base": (layer("Data", "d", "", "data") + head(1, 3).replace('"data"', '"x"'), "type Data, line 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_prototxt_is_said_with_its_line(name, tmp_path):
    text, said = WRONG[name]
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        caffe.load(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 1000


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.prototxt"
    with pytest.raises(BadInput, match="cannot read prototxt"):
        caffe.load(path)
    path.write_bytes(b"\xff\xfe\x00layers")
    with pytest.raises(BadInput, match=r"prototxt .*UTF-16 is damaged"):
        caffe.load(path)
    path.write_bytes(b" " * 4_000_001)
    with pytest.raises(BadInput, match="4,000,001 bytes, which is no prototxt"):
        caffe.load(path)


def test_wrong_weights(tmp_path):
    path, model = write(tmp_path, OLD)
    whole = model.read_bytes()
    (tmp_path / "x").mkdir()
    _, other = write(tmp_path / "x", OLD.replace("num_output: 5", "num_output: 6"))
    with pytest.raises(
        WeightsInvalid, match=r"blob 0 of layer 'fc' .* has the shape \(6, 324\), but \(5, 324\)"
    ):
        caffe.load(path, other)
    for damage, said in (
        (whole[: len(whole) // 2], "truncated or no caffemodel"),
        (b"", "has no layers"),
        (b"\x00" * 100, "truncated or no caffemodel"),
        (whole.replace(b"conv1", b"conv9"), "has 0 blobs for layer 'conv1'"),
    ):
        model.write_bytes(damage)
        with pytest.raises(WeightsInvalid, match=said):
            caffe.load(path, model)
    with pytest.raises(WeightsInvalid, match="cannot read weights file"):
        caffe.load(path, tmp_path / "gone.caffemodel")


def test_values_that_are_not_numbers_or_too_few(tmp_path):
    from xdream.networks.caffe.schema import NetParameter

    path, model = write(tmp_path, OLD)
    for change, said in (
        (lambda blob: blob.data.__setitem__(0, b"\xff" * len(blob.data[0])), "not finite numbers"),
        (
            lambda blob: blob.data.__setitem__(0, blob.data[0][:-4]),
            r"has 107 values for the shape \(4, 3, 3, 3\)",
        ),
        (lambda blob: blob.data.__delitem__(0), "has 0 values"),
        (lambda blob: blob.shape.dim.__setitem__(0, 2**62), "has the shape"),
    ):
        net = NetParameter.FromString(model.read_bytes())
        change(net.layers[0].blobs[0])
        damaged = tmp_path / "damaged.caffemodel"
        damaged.write_bytes(net.SerializeToString())
        with pytest.raises(WeightsInvalid, match=said):
            caffe.load(path, damaged)


def test_a_hostile_prototxt_takes_no_longer_than_its_size(tmp_path):
    """Quotes that never close, and many layers: each was looked at once for every other before."""
    head_only = head(1, 3)
    many = "".join(layer("ReLU", f"r{i}", "data") + "\n" * 50 for i in range(9000))
    for text in (head_only + '"' + '\\"' * 400_000, head_only + many, head_only + many + RELU * 1000):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        before = time.process_time()
        with contextlib.suppress(BadInput):
            prototxt.read(path, layers.TYPES)
        assert time.process_time() - before < 20.0
    with pytest.raises(BadInput, match="10,001 layers, more than 10,000"):
        prototxt.parse(text, layers.TYPES)


def field(number, content):
    """A field with a length, as a caffemodel has it."""
    head = b""
    for value in (number << 3 | 2, len(content)):
        while value > 127:
            head += bytes([value & 127 | 128])
            value >>= 7
        head += bytes([value])
    return head + content


MANY = 2_000_000
HOSTILE = {
    "layers": (field(100, b"") * MANY, "more than 1,000,000 parts"),
    "blobs": (field(100, field(1, b"conv1") + field(7, b"") * MANY), "more than 1,000,000 parts"),
    "some blobs": (field(100, field(1, b"conv1") + field(7, b"") * 1000), "101 blobs for layer 'conv1'"),
    "others": (field(3, b"") * MANY, "more than 1,000,000 parts"),
    "axes": (
        field(100, field(1, b"conv1") + field(7, field(7, field(1, b"\1" * MANY))) * 2),
        r"has the shape \(1, 1, 1, 1, 1, 1, 1, 1\) and so on, but",
    ),
    "no number": (b"\2\0" * 9, "a field without a number"),
    "end": (field(100, b"abc")[:-1], "it ends within a field"),
    "endless": (b"\xff" * 100, "it ends within a number"),
    "kind": (bytes([100 << 3 & 127 | 3 | 128, 6]), "a field of the kind 3"),
    "length": (bytes([2 << 3 | 2]) + b"\xff" * 9 + b"\1", "it ends within a field"),
    "name": (field(100, field(1, b"\xff\xfe")), "truncated or no caffemodel"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_caffemodel_is_refused_in_little_memory(name, tmp_path):
    content, said = HOSTILE[name]
    path, model = write(tmp_path, OLD)
    model.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsInvalid, match=said) as error:
        caffe.load(path, model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert len(str(error.value)) < 1000


def test_parts_that_are_not_needed_are_passed_over(tmp_path):
    """Settings, differences and what later versions of the format may have."""
    path, model = write(tmp_path, OLD)
    x = images(1, 3, 20, 20)
    expected = caffe.load(path, model)(x)
    content = model.read_bytes()
    others = b"\x98\x06\x01" + b"\x9d\x06abcd" + b"\x99\x06abcdefgh" + field(90, b"whatever")
    model.write_bytes(others + content + field(2, field(4, b"another layer") + others))
    assert torch.equal(caffe.load(path, model)(x), expected)
    monstrous = tmp_path / "large.caffemodel"
    with monstrous.open("wb") as file:
        file.truncate(2**31 + 1)  # takes no room
    with pytest.raises(WeightsInvalid, match="2,147,483,649 bytes, more than a caffemodel can have"):
        caffe.load(path, monstrous)


FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SMALL = made.inception(1, 39) + layer("LRN", "n", "classifier_x", "n") * 0


def _load_or_refuse(path, model=None):
    """Loading ends in a network or in an error of ours, without gigabytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(BadInput, WeightsInvalid):
        caffe.load(path, model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@FUZZ
@given(data=st.data())
def test_a_damaged_prototxt_is_read_or_refused(tmp_path, data):
    """Pieces cut out, doubled, moved; numbers and words replaced by others."""
    tokens = SMALL.split()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        kind = data.draw(st.sampled_from(["cut", "double", "number", "word", "brace", "text"]))
        if kind == "cut":
            del tokens[at : at + data.draw(st.integers(1, 30))]
        elif kind == "double":
            tokens[at:at] = tokens[at : at + data.draw(st.integers(1, 30))]
        elif kind == "number":
            tokens[at] = str(
                data.draw(st.sampled_from([0, -1, 1, 2, 7, 1000, 2**31, 2**63, 10**30, "1e99", "nan"]))
            )
        elif kind == "word":
            tokens[at] = tokens[data.draw(st.integers(0, len(tokens) - 1))]
        elif kind == "brace":
            tokens[at] = data.draw(st.sampled_from(["{", "}", "<", ">", "[", ":"]))
        else:
            tokens[at] = data.draw(st.text(max_size=8))
        tokens = tokens or ["x"]
    path = tmp_path / "net.prototxt"
    path.write_text(" ".join(tokens), encoding="utf-8", errors="replace")
    _load_or_refuse(path)


@FUZZ
@given(data=st.data())
def test_a_damaged_caffemodel_is_read_or_refused(tmp_path, data):
    """Bytes changed, cut out, put in, above all near the beginning, where the structure is."""
    path, model = write(tmp_path, OLD)
    content = bytearray(model.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(content) - 1, data.draw(st.sampled_from([60, 600, 10**6])))))
        kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 50))]
        else:
            content[at:at] = data.draw(st.binary(max_size=12))
        content = content or bytearray(b"x")
    model.write_bytes(bytes(content))
    _load_or_refuse(path, model)


@FUZZ
@given(content=st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(tmp_path, content):
    path, model = write(tmp_path, OLD)
    model.write_bytes(content)
    _load_or_refuse(path, model)
    path.write_bytes(content)
    _load_or_refuse(path)
