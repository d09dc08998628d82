import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.generators import deepsim
from xdream.generators.base import GENERATORS
from xdream.generators.statistics import read_statistics
from xdream.networks import deepsim as networks
from xdream.types import quantise

NORM1 = (96, 27, 27)
DIM = 96 * 27 * 27


@pytest.fixture(scope="module")
def norm1():
    return GENERATORS.make("deepsim-norm1", random_weights=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of norm1 under the names of willwx."""
    path = tmp_path_factory.mktemp("weights") / "deepsim-norm1.safetensors"
    state = networks.random("norm1", seed=5).state_dict()
    safetensors.torch.save_file(dict(state), path)
    return path


def statistics(path, layer, mu, sig):
    with h5py.File(path, "w") as out:
        out[f"{layer}/mu"] = mu
        out[f"{layer}/sig"] = sig
    return str(path)


def test_all_nine_are_registered():
    layers = ("norm1", "norm2", "conv3", "conv4", "pool5", "fc6", "fc7", "fc8", "fc6-places365")
    assert {f"deepsim-{layer}" for layer in layers} <= set(GENERATORS.names())


def test_blue_green_red_around_the_mean_becomes_red_green_blue():
    raw = torch.tensor([10.0, -117.0, 132.0]).reshape(1, 3, 1, 1)  # + mean: b 114, g 0, r 255
    image = deepsim.to_rgb(raw)
    assert image.flatten().tolist() == pytest.approx([1.0, 0.0, 114 / 255])
    assert quantise(image).flatten().tolist() == [255, 0, 114]


def test_what_is_out_of_range_is_left_to_be_clipped_when_shown():
    raw = torch.tensor([300.0, -300.0, 0.0]).reshape(1, 3, 1, 1)
    image = deepsim.to_rgb(raw)
    assert image.flatten().tolist() == pytest.approx([123 / 255, -183 / 255, 404 / 255])
    assert quantise(image).flatten().tolist() == [123, 0, 255]


def test_images_have_the_stated_size_and_depend_on_their_own_code_alone(norm1):
    codes = torch.randn(2, DIM, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        images = norm1(codes)
        assert images.shape == (2, 3, 240, 240)
        assert norm1.image_size_px == 240
        assert torch.allclose(images[1:], norm1(codes[1:]), atol=1e-5)
        assert not torch.allclose(images[0], images[1], atol=0.1)


def test_a_flat_code_is_read_in_the_order_of_its_shape(norm1):
    code = torch.zeros(1, DIM)
    code[0, 3 * 27 * 27 + 2 * 27 + 20] = 500.0  # channel 3, row 2, column 20: top right
    with torch.inference_mode():
        changed = (norm1(code) - norm1(torch.zeros(1, DIM))).abs().sum((0, 1))
    row, column = divmod(int(changed.argmax()), 240)
    assert row < 60
    assert 130 < column < 220


def test_gradients_reach_the_code(norm1):
    code = torch.randn(1, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    norm1(code).square().mean().backward()
    assert norm1.differentiable
    assert float(code.grad.abs().max()) > 0


def test_random_weights_are_declared(norm1):
    assert norm1.warnings == ("random weights: for timing only",)


def test_without_statistics_codes_start_standard_normal_and_the_centre_is_zero(norm1):
    codes = norm1.initial.draw(torch.tensor([3]), 4)
    assert codes.shape == (1, 4, DIM)
    assert abs(float(codes.mean())) < 0.01
    assert float(codes.std()) == pytest.approx(1.0, abs=0.01)
    assert norm1.code_shape == NORM1
    assert torch.equal(norm1.centre, torch.zeros(DIM))


def test_statistics_give_the_mean_and_the_spread_of_each_component_cut_at_zero(tmp_path):
    mu = np.arange(DIM, dtype=np.float32).reshape(NORM1) - 100
    path = statistics(tmp_path / "s.h5", "norm1", mu, np.zeros(NORM1, np.float32))
    generator = GENERATORS.make("deepsim-norm1", random_weights=True, statistics=path)
    code = generator.initial.draw(torch.tensor([0]), 1)[0, 0]
    assert torch.equal(code, (torch.arange(DIM) - 100.0).clamp_min(0.0))


def test_codes_of_fc8_may_be_negative(tmp_path):
    path = statistics(tmp_path / "s.h5", "fc8", np.full(1000, -3.0), np.full(1000, 0.5))
    generator = GENERATORS.make("deepsim-fc8", random_weights=True, statistics=path)
    codes = generator.initial.draw(torch.tensor([0]), 50)
    assert float(codes.mean()) == pytest.approx(-3.0, abs=0.02)
    assert float(codes.std()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("layer", "mu", "sig", "message"),
    [
        ("fc6", np.zeros(4096), np.ones(4096), "no group 'norm1'; it has: fc6"),
        ("norm1", np.zeros(DIM), np.ones(DIM), r"expected \(96, 27, 27\)"),
        ("norm1", np.zeros(NORM1), -np.ones(NORM1), "negative"),
        ("norm1", np.full(NORM1, np.nan), np.ones(NORM1), "not finite"),
        ("norm1", np.full(NORM1, "x", dtype="S1"), np.ones(NORM1), "not numbers"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(tmp_path, layer, mu, sig, message):
    path = statistics(tmp_path / "s.h5", layer, mu, sig)
    with pytest.raises(BadInput, match=message) as error:
        GENERATORS.make("deepsim-norm1", random_weights=True, statistics=path)
    assert path in str(error.value)


def test_a_statistics_file_that_is_none_is_named(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "half.h5", "w") as out:
        out["norm1/mu"] = np.zeros(NORM1)
    for name in ("text.h5", "nowhere.h5", "half.h5"):
        with pytest.raises(BadInput, match=name):
            read_statistics(tmp_path / name, "norm1", NORM1)


def test_weights_are_found_by_name_and_by_path(file, monkeypatch):
    monkeypatch.setenv("XDREAM_WEIGHTS", str(file.parent))
    found = GENERATORS.make("deepsim-norm1")
    given = GENERATORS.make("deepsim-norm1", weights=str(file))
    code = torch.randn(1, DIM, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = deepsim.to_rgb(networks.random("norm1", seed=5)(code.reshape(1, *NORM1)))
        assert torch.equal(found(code), given(code))
        torch.testing.assert_close(found(code), expected, atol=1e-5, rtol=0)  # another order of sums
    assert found.warnings == given.warnings == ()


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDREAM_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("xdream.networks.weights.cache", lambda: tmp_path / "cache")
    with pytest.raises(WeightsMissing, match="xdream weights get deepsim-fc6"):
        GENERATORS.make("deepsim-fc6")
    with pytest.raises(WeightsMissing, match="no public address"):
        GENERATORS.make("deepsim-fc6-places365")
    with pytest.raises(WeightsMissing, match=r"nowhere\.pt"):
        GENERATORS.make("deepsim-fc6", weights=str(tmp_path / "nowhere.pt"))


def test_weights_of_another_layer_are_refused_with_their_path(file):
    with pytest.raises(WeightsInvalid, match=r"deepsim-norm1\.safetensors"):
        GENERATORS.make("deepsim-norm2", weights=str(file))


def test_weights_and_random_weights_exclude_each_other(file):
    with pytest.raises(BadInput, match="not both"):
        GENERATORS.make("deepsim-norm1", weights=str(file), random_weights=True)


def test_an_unknown_option_lists_the_options():
    with pytest.raises(BadInput, match="weights, random_weights, statistics"):
        GENERATORS.make("deepsim-norm1", image_size=3)


def test_a_copy_on_a_device_draws_the_same_images_and_leaves_the_first(norm1):
    copy = norm1.to(torch.device("cpu"))
    code = torch.randn(1, DIM, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(copy(code), norm1(code))
    assert copy.module is not norm1.module
    assert copy.warnings == norm1.warnings
