"""Neurons with a known optimum: that it is one, and that a response depends on its image alone."""

import pytest
import torch

from xdream.errors import BadInput, UnknownName
from xdream.subjects import KNOWN, known_pixels
from xdream.subjects.known import Energy, Gaussian, KnownNeuron, Linear

D = 3 * 8 * 8


def unit_vectors(n: int, d: int, seed: int) -> torch.Tensor:
    vectors = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def in_code_space(name: str) -> KnownNeuron:
    first, second = unit_vectors(2, 30, seed=1)
    second = torch.nn.functional.normalize(second - (second @ first) * first, dim=0)
    neurons: dict[str, KnownNeuron] = {
        "linear": Linear(first, limit=2.0),
        "energy": Energy(first, second, limit=2.0),
        "gaussian": Gaussian(4.0 * first, width=0.5),
    }
    return neurons[name]


def within_domain(neuron: KnownNeuron, x: torch.Tensor) -> torch.Tensor:
    """The nearest points of the neuron's domain."""
    if isinstance(neuron, Linear | Energy):
        return x.clamp(-neuron.limit, neuron.limit)
    return x


def neurons() -> list[tuple[str, KnownNeuron]]:
    made = [(f"{name} in code space", in_code_space(name)) for name in ("linear", "energy", "gaussian")]
    return made + [(f"{name} on pixels", KNOWN.make(name, seed=5, size_px=8)) for name in KNOWN.names()]


@pytest.mark.parametrize(("name", "neuron"), neurons(), ids=[name for name, _ in neurons()])
def test_no_search_beats_the_best_stimulus_within_the_domain(name: str, neuron: KnownNeuron) -> None:
    best = neuron.best
    (top,) = neuron(best[None]).tolist()
    torch.testing.assert_close(within_domain(neuron, best[None])[0], best, rtol=1e-6, atol=1e-7)
    limit = top + 1e-5 * abs(top)

    random = within_domain(neuron, unit_vectors(2000, len(best), seed=2) * 10.0 * best.norm())
    near = within_domain(neuron, best + 0.1 * best.norm() * unit_vectors(2000, len(best), seed=3))
    assert float(neuron(random).max()) <= limit
    assert float(neuron(near).max()) <= limit

    x = within_domain(neuron, best + 0.5 * best.norm() * unit_vectors(20, len(best), seed=4))
    before = float(neuron(x).max())
    for _ in range(100):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(neuron(x).sum(), x)
        step = 0.05 * best.norm() * torch.nn.functional.normalize(gradient, dim=1)
        x = within_domain(neuron, x.detach() + step)
    climbed = float(neuron(x).max())
    assert climbed <= limit
    assert before < climbed  # the climb is one
    assert climbed > 0.9 * top  # and it nearly arrives, so that the best is no mere upper bound


def test_a_known_neuron_is_what_its_formula_says() -> None:
    x = torch.randn(4, 30, generator=torch.Generator().manual_seed(9))
    linear, energy, gaussian = (in_code_space(name) for name in ("linear", "energy", "gaussian"))
    assert isinstance(linear, Linear)
    assert isinstance(energy, Energy)
    assert isinstance(gaussian, Gaussian)
    torch.testing.assert_close(linear(x), (x * linear.weights).sum(1))
    torch.testing.assert_close(energy(x), (x * energy.first).sum(1) ** 2 + (x * energy.second).sum(1) ** 2)
    squares = ((x - gaussian.centre) ** 2).sum(1)
    torch.testing.assert_close(gaussian(x), torch.exp(-squares / (2 * 0.5**2 * 30)))


@pytest.mark.parametrize("name", KNOWN.names())
@pytest.mark.parametrize("size_px", [8, 31])
def test_the_best_images_can_be_shown_and_are_best_when_shown(name: str, size_px: int) -> None:
    subject = known_pixels(f"known:{name}", "", "0-4", size_px)
    images = subject.best_images()
    assert images.shape == (5, 3, size_px, size_px)
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    shown = (images * 255).round().to(torch.uint8)
    top = torch.stack([neuron(neuron.best[None])[0] for neuron in subject.neurons]).double()
    # Half a grey level in each pixel costs little.
    torch.testing.assert_close(subject.respond(shown).diagonal(), top, rtol=0.02, atol=0)


@pytest.mark.parametrize("name", KNOWN.names())
@pytest.mark.parametrize("size_px", [8, 40, 128])
def test_a_known_neuron_responds_bit_for_bit_the_same_whatever_else_is_shown(name: str, size_px: int) -> None:
    subject = known_pixels(f"known:{name}", "", "0,7", size_px)
    images = torch.randint(0, 256, (21, 3, size_px, size_px), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    together = subject.respond(images)
    for n in (1, 2, 3, 8, 20):
        assert torch.equal(subject.respond(images[1 : 1 + n]), together[1 : 1 + n])
    alone = known_pixels(f"known:{name}", "", "7", size_px)
    assert torch.equal(alone.respond(images)[:, 0], together[:, 1])


def test_each_unit_is_another_neuron_and_the_same_each_time() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    subject = known_pixels("known:linear", "", "3,0-2", 8)
    assert subject.units == (":3", ":0", ":1", ":2")
    responses = subject.respond(images)
    assert responses.shape == (5, 4)
    assert len(set(responses[0].tolist())) == 4
    assert torch.equal(known_pixels("known:linear", "", "3,0-2", 8).respond(images), responses)


@pytest.mark.parametrize(
    ("network", "layer", "units", "error", "said"),
    [
        ("known:linaer", "", "0", UnknownName, "'linaer'; known: energy, gaussian, linear"),
        ("known:linear", "conv", "0", BadInput, "has a layer; write known:linear::0"),
        ("known:linear", "", "1000", BadInput, "unit 1000 does not exist"),
        ("known:linear", "", "0@1,1", BadInput, "has a position"),
    ],
)
def test_a_known_neuron_that_does_not_exist_is_refused(
    network: str, layer: str, units: str, error: type[BadInput], said: str
) -> None:
    with pytest.raises(error) as caught:
        known_pixels(network, layer, units, 8)
    assert said in str(caught.value)
