"""Poisson noise: its size, its scale, and that the same presentation has the same noise."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdream.subjects import noise_draws, poisson_responses

NAN, INF = float("nan"), float("inf")


def noisy(
    clean: list[float],
    k: float = 2.0,
    repeats: int = 3,
    seed: int = 0,
    generation: int = 0,
    places: list[int] | None = None,
    target: str = "net:layer:1",
) -> torch.Tensor:
    places = list(range(len(clean))) if places is None else places
    draws = noise_draws(torch.tensor([seed]), generation, [target], (max(places, default=-1) + 1, repeats))
    return poisson_responses(torch.tensor(clean, dtype=torch.float64), draws[0, places], torch.tensor(k))


@pytest.mark.parametrize(("activation", "k"), [(0.3, 2.0), (4.0, 0.5), (4.0, 5.0), (100.0, 1.0)])
def test_noise_is_poisson_of_a_k_over_k(activation: float, k: float) -> None:
    n = 20_000
    counts = noisy([activation] * 400, k, repeats=n // 400).flatten() * k
    rate = activation * k
    assert counts.dtype == torch.float64
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)  # whole spikes
    assert float(counts.mean()) == pytest.approx(rate, abs=5 * math.sqrt(rate / n))
    # The variance of a Poisson sample's variance is (rate + 2 rate²) / n.
    assert float(counts.var()) == pytest.approx(rate, abs=5 * math.sqrt((rate + 2 * rate**2) / n))
    for spikes in range(3):
        p = math.exp(spikes * math.log(rate) - rate - math.lgamma(spikes + 1))
        found = float((counts.round() == spikes).double().mean())
        assert found == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n) + 1e-9)


def test_units_that_share_a_seed_do_not_share_their_noise() -> None:
    one, other = (noisy([20.0] * 200, target=f"net:layer:{unit}").flatten() for unit in (1, 2))
    assert torch.equal(one, noisy([20.0] * 200).flatten())
    assert abs(float(torch.corrcoef(torch.stack((one, other)))[0, 1])) < 0.15


def test_a_rate_of_any_size_is_drawn_at_once() -> None:
    counts = noisy([1e12] * 300, k=1.0).flatten()
    assert float(counts.mean()) == pytest.approx(1e12, abs=5 * 1e6 / math.sqrt(900))
    assert float(counts.std()) == pytest.approx(1e6, rel=0.15)


def test_an_activation_of_zero_or_below_gives_no_spikes() -> None:
    assert noisy([0.0, -3.0, -1e-9, -1e300]).tolist() == [[0.0] * 3] * 4


def test_a_response_that_is_missing_stays_missing() -> None:
    found = noisy([NAN, INF, -INF, 5.0])
    assert found.isnan().all(1).tolist() == [True, True, True, False]


@settings(deadline=None)
@given(
    st.lists(st.floats(-5, 50) | st.just(NAN), min_size=1, max_size=9),
    st.data(),
)
def test_noise_does_not_depend_on_how_a_generation_is_cut_into_chunks(
    clean: list[float], data: st.DataObject
) -> None:
    whole = noisy(clean, generation=4).nan_to_num(nan=-1.0)
    order = data.draw(st.permutations(range(len(clean))))
    cut = data.draw(st.integers(0, len(clean)))
    for chunk in (order[:cut], order[cut:]):
        if chunk:
            part = noisy([clean[i] for i in chunk], generation=4, places=list(chunk)).nan_to_num(nan=-1.0)
            assert torch.equal(part, whole[list(chunk)])


def test_the_same_presentation_has_the_same_noise_and_another_has_other_noise() -> None:
    clean = [30.0] * 50
    first = noisy(clean, seed=7, generation=3)
    assert torch.equal(noisy(clean, seed=7, generation=3), first)
    assert not torch.equal(noisy(clean, seed=8, generation=3), first)
    assert not torch.equal(noisy(clean, seed=7, generation=4), first)
    assert len(set(first.flatten().tolist())) > 10  # neither images nor repeats share their noise
    assert not torch.equal(first[:, 0], first[:, 1])


def test_k_is_spikes_per_unit_of_activation() -> None:
    # With many spikes the noise of a response is sqrt(a / k).
    for k in (100.0, 10_000.0):
        found = noisy([1.0] * 500, k, repeats=4).flatten()
        assert float(found.std()) == pytest.approx(1.0 / math.sqrt(k), rel=0.1)
