"""The adversary: its losses by hand, its shapes, and that it listens to the code."""

import pytest
import torch

from xdream.training.discriminator import Discriminator, Head, discriminator_loss, generator_loss


def test_real_places_are_wanted_above_one_and_made_ones_below_minus_one() -> None:
    real = [torch.tensor([[2.0, 0.0]]), torch.tensor([[-1.0]])]
    made = [torch.tensor([[-2.0, 0.5]]), torch.tensor([[-1.0]])]
    # first head: (0 + 1) / 2 + (0 + 1.5) / 2; second: 2 + 0; their mean
    assert float(discriminator_loss(real, made)) == pytest.approx((1.25 + 2.0) / 2)


def test_the_generator_wants_high_scores() -> None:
    made = [torch.tensor([[-2.0, 0.5]]), torch.tensor([[3.0]])]
    assert float(generator_loss(made)) == pytest.approx(-(-0.75 + 3.0) / 2)


@pytest.fixture
def maps() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, s, s, generator=rng) for c, s in ((3, 16), (8, 8), (12, 4))]


def test_each_map_is_scored_in_many_places(maps: list[torch.Tensor]) -> None:
    discriminator = Discriminator((3, 8, 12), dim=5)
    scores = discriminator(maps, torch.zeros(2, 5))
    assert [tuple(one.shape) for one in scores] == [(2, 4, 4), (2, 4, 4), (2, 2, 2)]


def test_a_score_is_that_of_the_place_plus_its_product_with_the_code(maps: list[torch.Tensor]) -> None:
    head = Head(8, 5, strided=False).eval()
    code = torch.arange(10.0).reshape(2, 5)
    with torch.no_grad():
        body = head.body(maps[1])
        expected = head.real(body)[:, 0] + (body * head.of_code(code)[:, :, None, None]).sum(1)
        torch.testing.assert_close(head(maps[1], code), expected)
        assert not torch.allclose(head(maps[1], code), head(maps[1], code.flip(0)))


def test_its_weights_have_a_largest_singular_value_of_one() -> None:
    """Spectral normalisation: one power iteration per pass in training."""
    head = Head(8, 5, strided=False)
    for _ in range(100):
        head(torch.zeros(1, 8, 4, 4), torch.zeros(1, 5))
    for layer in (head.body[0], head.of_code):
        assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
        values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
        assert float(values[0]) == pytest.approx(1.0, rel=0.02)


def test_it_learns_to_tell_real_from_made(maps: list[torch.Tensor]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        discriminator = Discriminator((3, 8, 12), dim=5)
    adam = torch.optim.Adam(discriminator.parameters(), 1e-2)
    made, codes = [one + 1.0 for one in maps], torch.ones(2, 5)
    losses = []
    for _ in range(20):
        loss = discriminator_loss(discriminator(maps, codes), discriminator(made, codes))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        assert generator_loss(discriminator(made, codes)) > generator_loss(discriminator(maps, codes))
