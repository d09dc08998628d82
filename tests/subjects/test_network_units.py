"""Units of a network: which layer, which unit, at which call; how far the pass goes; how it fails."""

import numpy as np
import pytest
import torch
from torch import nn

from xdream.errors import BadInput, SubjectError
from xdream.networks import Network, Preprocessing, layer_reader
from xdream.subjects import network_units

SIZE = 12
GREY = Preprocessing(None)


class Small(nn.Module):
    """Two convolutions with one ReLU shared between them, two outputs, a count of what ran."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.fc = nn.Linear(20, 6)
        self.tail = Tail()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.second(x))
        return self.tail(self.fc(self.features(x)))


class Tail(nn.Module):
    """Runs while the layers are looked up; afterwards it may be made to raise."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return x * 2.0


@pytest.fixture
def module() -> Small:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small().eval().requires_grad_(False)


@pytest.fixture
def network(module: Small) -> Network:
    return Network("small", module, Preprocessing((SIZE, SIZE)))


def shown(n: int = 3, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


def directly(module: Small, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The layers' outputs by arithmetic, without hooks."""
    x = images.float() / 255.0
    first = nn.functional.conv2d(x, module.first.weight, module.first.bias, padding=1)
    second = nn.functional.conv2d(
        first.clamp_min(0), module.second.weight, module.second.bias, stride=2, padding=1
    )
    relu = second.clamp_min(0)
    pooled = torch.stack(
        [relu[:, :, y : y + 3, x : x + 3].mean((2, 3)) for y in (0, 3) for x in (0, 3)], dim=2
    ).flatten(1)
    fc = pooled @ module.fc.weight.T + module.fc.bias
    return {"first": first, "second": second, "relu": relu, "fc": fc, "": 2.0 * fc}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=1e-6)


def test_a_unit_of_a_map_is_read_at_its_position(module: Small, network: Network) -> None:
    images = shown()
    subject = network_units(network, [("first", "2@3,7,1,0@11,0")])
    out = directly(module, images)["first"]
    assert subject.units == ("first:2@3,7", "first:1@6,6", "first:0@11,0")
    expected = torch.stack((out[:, 2, 3, 7], out[:, 1, 6, 6], out[:, 0, 11, 0]), dim=1)
    found = subject.respond(images)
    assert found.dtype == torch.float64
    close(found, expected)


def test_a_unit_of_a_flat_layer_is_read_by_its_number(module: Small, network: Network) -> None:
    images = shown()
    subject = network_units(network, [("fc", "5,0-2")])
    assert subject.units == ("fc:5", "fc:0", "fc:1", "fc:2")
    close(subject.respond(images), directly(module, images)["fc"][:, [5, 0, 1, 2]])


def test_an_empty_layer_is_the_output(module: Small, network: Network) -> None:
    images = shown()
    close(network_units(network, [("", "3")]).respond(images), directly(module, images)[""][:, 3:4])


def test_a_shared_module_is_read_at_its_last_call(module: Small, network: Network) -> None:
    images = shown()
    subject = network_units(network, [("relu", "4@1,2")])
    close(subject.respond(images), directly(module, images)["relu"][:, 4, 1, 2, None])


def test_several_layers_are_read_in_one_pass(module: Small, network: Network) -> None:
    images = shown()
    subject = network_units(network, [("fc", "1"), ("first", "0@0,0"), ("relu", "2"), ("", "1")])
    passes = []
    module.first.register_forward_hook(lambda *_: passes.append(1))
    out = directly(module, images)
    expected = (out["fc"][:, 1], out["first"][:, 0, 0, 0], out["relu"][:, 2, 3, 3], out[""][:, 1])
    close(subject.respond(images), torch.stack(expected, dim=1))
    assert len(passes) == 1


@pytest.mark.parametrize("layer", ["first", "second", "relu", "features.0", "fc"])
def test_the_forward_pass_stops_at_the_deepest_layer_that_is_read(
    module: Small, network: Network, layer: str
) -> None:
    subject = network_units(network, [("first", "0"), (layer, "1")] if layer != "first" else [("first", "0")])
    calls = module.tail.calls
    module.tail.error = RuntimeError("ran behind the layer that was read")
    module.fc.register_forward_pre_hook(
        lambda *_: pytest.fail("ran behind the layer that was read") if layer != "fc" else None
    )
    assert subject.respond(shown()).isfinite().all()
    assert module.tail.calls == calls


def test_hooks_do_not_outlive_a_pass(module: Small, network: Network) -> None:
    subject = network_units(network, [("first", "0")])
    subject.respond(shown())
    assert not any(part._forward_hooks for part in module.modules())
    assert module(shown().float()).shape == (3, 6)


@pytest.mark.parametrize(
    ("layer", "units", "said"),
    [
        ("fd", "0", ["layer 'fd' does not exist in small", "fc", "xdream list targets --layers small"]),
        ("first", "4", ["small:first:4", "unit 4 does not exist", "0 to 3"]),
        ("first", "0@12,0", ["position 12,0 does not exist", "12 high and 12 wide"]),
        ("fc", "1@0,0", ["has a position", "(6,)"]),
        ("fc", "6", ["unit 6 does not exist", "0 to 5"]),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    network: Network, layer: str, units: str, said: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        network_units(network, [(layer, units)])
    assert "\n" not in str(caught.value)
    for phrase in said:
        assert phrase in str(caught.value)


def test_a_network_that_gives_its_outputs_only_has_no_inner_layers(module: Small) -> None:
    closed = Network("closed", module, Preprocessing((SIZE, SIZE)), layers=False)
    close(network_units(closed, [("", "2")]).respond(shown()), directly(module, shown())[""][:, 2:3])
    with pytest.raises(BadInput, match="gives its outputs only; leave the layer 'fc' empty"):
        network_units(closed, [("fc", "2")])


def test_a_layer_that_is_neither_flat_nor_maps_is_no_target() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Flatten(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.tokens(x).mean(2)

    tokens = Network("tokens", Tokens().eval(), Preprocessing((SIZE, SIZE)))
    with pytest.raises(BadInput, match=r"layer 'tokens' of tokens has shape \(3, 144\)"):
        network_units(tokens, [("tokens", "0")])


@pytest.mark.parametrize(
    "error", [RuntimeError("out of\nmemory"), ValueError("v"), KeyError("k"), ZeroDivisionError("z")]
)
def test_a_network_that_raises_is_a_subject_error(module: Small, network: Network, error: Exception) -> None:
    subject = network_units(network, [("", "0")])
    module.tail.error = error
    with pytest.raises(SubjectError, match="network 'small' failed on a batch") as caught:
        subject.respond(shown())
    assert type(error).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_not_reached_is_a_subject_error(module: Small, network: Network) -> None:
    subject = network_units(network, [("fc", "0")])
    module.forward = lambda x: module.first(x)  # type: ignore[method-assign]
    with pytest.raises(SubjectError, match="layer 'fc' was not reached"):
        subject.respond(shown())


# How an image becomes a network's input.


def triangle(old: int, new: int) -> np.ndarray:
    """(new, old) weights of an antialiased linear resize: a triangle as wide as the output's pixels."""
    scale = old / new
    width = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centres[:, None]) / width
    weights = np.clip(1.0 - distance, 0.0, None)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(("old", "new"), [((12, 8), (5, 4)), ((4, 6), (7, 6)), ((9, 9), (3, 3))])
def test_preprocessing_resizes_the_whole_image_with_antialiasing_then_normalises(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    images = torch.randint(0, 256, (2, 3, *old), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    made = Preprocessing(new, channels="BGR", scale=255.0, mean=mean, std=std)(images)
    rows, columns = triangle(old[0], new[0]), triangle(old[1], new[1])
    resized = np.einsum("ay,ncyx,bx->ncab", rows, images.numpy().astype(float), columns) / 255.0
    expected = (resized[:, ::-1] - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected, atol=2e-5)


def test_without_a_size_images_stay_as_they_are_and_rgb_stays_rgb() -> None:
    images = shown(2, 5)
    assert torch.equal(Preprocessing(None, scale=1.0)(images), images.float())


def test_a_network_sees_images_of_any_size_at_its_own(module: Small, network: Network) -> None:
    large = shown(2, 3 * SIZE, seed=2)
    seen = Preprocessing((SIZE, SIZE))(large)
    first = nn.functional.conv2d(seen, module.first.weight, module.first.bias, padding=1)
    close(network_units(network, [("first", "1@0,5")]).respond(large), first[:, 1, 0, 5, None])


def test_the_reader_gives_the_shapes_of_its_layers(network: Network) -> None:
    _, shapes = layer_reader(network, ["second", "fc"])
    assert shapes == {"second": (5, 6, 6), "fc": (6,)}
