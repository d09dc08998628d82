"""Caffe's networks as targets and generators of an experiment, and how their files are found."""

import shutil
from pathlib import Path

import caffe_networks as made
import numpy as np
import pytest
import torch
from caffe_files import head, images, layer, write

import xdream
from xdream import networks
from xdream.errors import BadInput, WeightsMissing
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS
from xdream.networks import caffe, caffe_file
from xdream.testing import check_generator

SMALL = made.inception(1, 39)
#: Each kind of layer that the compiler fuses, once: the compiler takes a second for each that it cannot fuse.
FEW_LAYERS = (
    head(1, 3, 15, 15)
    + made.normed("conv", "data", 4, 3, 2)
    + made.pool("max", "conv", 3, 1, 1)
    + made.pool("ave", "conv", 3, 1, 1, "AVE")
    + layer("Concat", "both", "max ave")
    + made.conv("up", "both", 8, 1)
    + layer("Eltwise", "sum", "both up", settings="eltwise_param { coeff: 1 coeff: 0.17 }")
    + made.product("classifier", "sum", 10)
    + layer("Softmax", "prob", "classifier")
)
GENERATOR = (
    head(1, 6).replace('"data"', '"feat"')
    + made.product("defc", "feat", 4 * 4 * 4)
    + made.relu("relu_defc", "defc", 0.3)
    + layer("Reshape", "reshape", "defc", settings="reshape_param { shape { dim: 0 dim: 4 dim: 4 dim: 4 } }")
    + made.conv("deconv1", "reshape", 5, 4, 2, 1, kind="Deconvolution")
    + made.relu("relu1", "deconv1", 0.3)
    + made.conv("deconv0", "deconv1", 3, 4, 2, 1, kind="Deconvolution")
    + layer("Power", "out", "deconv0", settings="power_param { scale: 300 }")
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    return write(folder, SMALL)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return write(tmp_path_factory.mktemp("generator"), GENERATOR)


def plan(files, **changes):
    values = {
        "targets": [f"caffe:{files[0]}:a1_concat:1@2,3,4", f"caffe:{files[0]}:classifier:7"],
        "generator": {"name": "pixels", "size_px": 39},
        "optimizer": {"name": "genetic", "population": 6},
        "presentations": 18,
        "threads": 1,
    }
    return Plan.make(**values | changes)


def test_blobs_are_targets(files, tmp_path):
    record = xdream.run(plan(files), tmp_path / "x")
    net = caffe.load(*files)
    mean = torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    for run, blob, unit in (
        (0, "a1_concat", (1, 2, 3)),
        (1, "a1_concat", (4, 5, 5)),
        (2, "classifier", (7,)),
    ):
        if run == 1:
            unit = (4, *(size // 2 for size in net.blobs[blob][1:]))
        codes = record.codes(run, 1)
        shown = torch.from_numpy(np.stack(list(codes.values()))).reshape(-1, 3, 39, 39)
        shown = (shown.clamp(0, 1) * 255).round()
        expected = net(shown.flip(1) - mean, blob)[(slice(None), *unit)]
        np.testing.assert_allclose(record.scores(run)[1], expected, rtol=1e-4, atol=1e-5)
    assert any("that of CaffeNet is used" in note for note in record.facts["notes"].split('", "'))


def test_a_declared_preprocessing_is_used_and_nothing_is_said(files):
    own = networks.Preprocessing((39, 39), "RGB", 255.0)
    network = networks.load(f"caffe:{files[0]}", own)
    assert network.preprocessing == own
    assert network.warnings == ()


def test_a_preprocessing_that_is_not_used_is_noted(files, tmp_path):
    other = f"caffe:{tmp_path}/other"
    declared = {"size_px": (39, 39)}
    found = assemble(plan(files, preprocessing={other: declared, f"caffe:{files[0]}": declared})).notes
    assert found == (f"preprocessing is declared for '{other}', but no target uses this network",)


def test_layers_are_blobs_and_layers_and_the_pass_stops_at_the_wanted_one(files):
    network = networks.load(f"caffe:{files[0]}+{files[1]}")
    shapes = {one.name: one.shape for one in networks.layers(network)}
    assert shapes["a1_concat"] == shapes["a1_concat"]
    assert shapes["a1_7x1_relu"] == shapes["a1_7x1"]
    assert shapes[""] == shapes["prob"] == (50,)
    reader, found = networks.layer_reader(network, ["stem_concat", "prob"])
    assert set(found) == {"stem_concat", "prob"}
    seen = []
    for op in network.module._ops:
        op.register_forward_hook(lambda op, inputs, output: seen.append(op))
    reader, _ = networks.layer_reader(network, ["conv1_3x3_s2"])
    seen.clear()
    reader.read(torch.zeros(1, 3, 39, 39, dtype=torch.uint8))
    assert len(seen) == 4  # convolution, normalisation, scale, ReLU
    with pytest.raises(BadInput, match="layer 'fc8' does not exist"):
        networks.layer_reader(network, ["fc8"])


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_it_answers_the_same(tmp_path):
    name = f"caffe:{write(tmp_path, FEW_LAYERS)[0]}"
    changes = {
        "targets": f"{name}:prob:7,9",  # one graph, which holds the branches
        "generator": {"name": "pixels", "size_px": 15},
        "presentations": 6,
    }
    eager = xdream.run(plan(("", ""), compiled=False, **changes), tmp_path / "eager")
    compiled = xdream.run(plan(("", ""), compiled=True, **changes), tmp_path / "compiled")
    assert Plan.from_toml(compiled.facts["plan"]).compiled, compiled.facts["notes"]
    for run in range(2):
        np.testing.assert_allclose(compiled.scores(run), eager.scores(run), rtol=1e-4, atol=1e-5)


def test_a_generator_from_caffes_files(files, generator, tmp_path):
    name = f"caffe:{generator[0]}"
    made_one = GENERATORS.make(name)
    check_generator(made_one)
    assert (made_one.code_shape, made_one.image_size_px, len(made_one.centre)) == ((6,), 16, 6)
    codes = images(3, 6)
    net = caffe.load(*generator)
    mean = torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    torch.testing.assert_close(made_one(codes), (net(codes) + mean).flip(1) / 255.0)
    record = xdream.run(plan(files, generator=name, image_size_px=39), tmp_path / "x")
    assert record.codes(0, 0)
    assert Plan.from_toml(record.facts["plan"]).generator.name == name


def test_initial_codes_from_statistics(generator, tmp_path):
    import h5py

    with h5py.File(tmp_path / "stats.h5", "w") as file:
        for group in ("fc6", "fc8"):
            file[f"{group}/mu"], file[f"{group}/sig"] = np.full(6, -1.0), np.full(6, 2.0)
    name = f"caffe:{generator[0]}"
    made_one = GENERATORS.make(name, statistics=str(tmp_path / "stats.h5"))
    assert made_one.initial.floor == 0.0
    assert made_one.initial.mean.tolist() == [-1.0] * 6
    assert GENERATORS.make(name, statistics=str(tmp_path / "stats.h5"), group="fc8").initial.floor is None
    with pytest.raises(BadInput, match="no group 'x'; it has: fc6, fc8"):
        GENERATORS.make(name, statistics=str(tmp_path / "stats.h5"), group="x")


@pytest.mark.parametrize(("group", "expected"), [("fc6", (0.0, 3.0)), ("fc8", (-2.0, 2.0))])
def test_variants_start_from_statistics_of_their_own(files, generator, tmp_path, group, expected):
    import h5py

    for number, mean in enumerate((-1.0, 3.0)):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            for name, mu in (("fc6", mean), ("fc8", mean - 1.0)):
                file[f"{name}/mu"], file[f"{name}/sig"] = np.full(6, mu), np.full(6, 0.01)
    part = {"name": f"caffe:{generator[0]}", "group": group}
    variants = [{}, *({"init": f"statistics:{tmp_path / f'{number}.h5'}"} for number in range(2))]
    record = xdream.run(
        plan(files, generator=part, image_size_px=39, presentations=6, variants=variants), tmp_path / "x"
    )
    normal, low, high = (np.stack(list(record.codes(run, 0).values())) for run in (0, 3, 6))
    assert normal.std() > 0.5
    for found, wanted in zip((low, high), expected, strict=True):  # those of fc6 are cut at zero
        np.testing.assert_allclose(found, wanted, atol=0.0 if wanted == 0.0 else 0.1)


def test_generators_that_make_no_images_are_refused(files, generator):
    with pytest.raises(BadInput, match="has no blob 'x'; it has: "):
        GENERATORS.make(f"caffe:{generator[0]}", blob="x")
    with pytest.raises(BadInput, match=r"makes \(5, 8, 8\) from feat \(6,\)"):
        GENERATORS.make(f"caffe:{generator[0]}", blob="deconv1")
    with pytest.raises(BadInput, match="takes feat"):
        networks.load(f"caffe:{generator[0]}")


def test_how_files_are_found(files, tmp_path, monkeypatch):
    prototxt, model = files
    assert caffe_file.files(str(prototxt)) == (prototxt, model)
    assert caffe_file.files(str(prototxt.parent)) == (prototxt, model)
    assert caffe_file.files(f"{prototxt}+{model}") == (prototxt, model)
    folder = tmp_path / "a+b"  # a plus in a name is no separator
    folder.mkdir()
    for name in ("train.prototxt", "deploy.prototxt", "one.caffemodel"):
        shutil.copy(prototxt if name.endswith("prototxt") else model, folder / name)
    assert caffe_file.files(str(folder)) == (folder / "deploy.prototxt", folder / "one.caffemodel")
    shutil.copy(model, folder / "two.caffemodel")
    with pytest.raises(WeightsMissing, match=r"2 files .*name the one that is meant"):
        caffe_file.files(str(folder))
    shutil.copy(model, folder / "deploy.caffemodel")
    assert caffe_file.files(str(folder))[1] == folder / "deploy.caffemodel"
    (folder / "deploy.prototxt").rename(folder / "test.prototxt")
    with pytest.raises(BadInput, match=r"2 files \*\.prototxt"):
        caffe_file.files(str(folder))
    with pytest.raises(WeightsMissing, match=r"no weights file .*gone\.caffemodel; check the path"):
        caffe_file.files(f"{prototxt}+{tmp_path}/gone.caffemodel")
    for text in (str(model), f"{model}+{prototxt}", f"{model}+{model}"):
        with pytest.raises(BadInput, match=r"begins with the weights; write caffe:PROTOTXT\+CAFFEMODEL"):
            caffe_file.files(text)
    with pytest.raises(BadInput, match="no prototxt"):
        caffe_file.files(str(tmp_path / "gone.prototxt"))
    monkeypatch.chdir(prototxt.parent)
    made_one = plan(("net.prototxt", ""))
    record = xdream.run(made_one, tmp_path / "x")
    network = Plan.from_toml(record.facts["plan"]).targets[0].network
    assert network == f"caffe:{Path(prototxt).resolve()}"  # to be resumed from anywhere
