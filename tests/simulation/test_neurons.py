"""Neurons as a rig sees them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from xdream.errors import BadInput, SubjectError
from xdream.recorded import Spikes, Values, to_bytes
from xdream.simulation.neurons import MOST_HZ, NeuronsPlan, Shown, SimulatedNeurons, best_of
from xdream.types import ShownImages


class Brightness:
    """Units that respond in proportion to the brightness of the image, which is 1 at most."""

    name = "brightness"
    warnings = ()

    def __init__(self, *gains: float) -> None:
        self.gains = torch.tensor(gains, dtype=torch.float64)
        self.units = tuple(f":{i}" for i in range(len(gains)))
        self.shown: list[int] = []

    def respond(self, images: ShownImages) -> torch.Tensor:
        self.shown.append(len(images))
        return images.to(torch.float64).mean((1, 2, 3))[:, None] / 255.0 * self.gains


def image(brightness: float) -> ShownImages:
    return torch.full((3, 4, 4), round(255 * brightness), dtype=torch.uint8)


WHITE, BLACK = image(1.0), image(0.0)


def neurons(
    gains: Sequence[float] = (2.0, 4.0), best: Sequence[float] = (2.0, 4.0), **plan: Any
) -> SimulatedNeurons:
    return SimulatedNeurons(Brightness(*gains), np.array(best), NeuronsPlan(**plan))


def showings(n: int, pixels: ShownImages = WHITE, repeat: int = 0) -> list[Shown]:
    return [(f"s-{i}", repeat, pixels) for i in range(n)]


def counts(of: SimulatedNeurons, block: int = 1, n: int = 400, **how: Any) -> np.ndarray:
    """(2, n, channels): values and baselines."""
    recorded = of.record(block, showings(n, **how))
    assert all(isinstance(one, Values) for one in recorded)
    return np.array([[one.values for one in recorded], [one.baseline for one in recorded]])  # type: ignore[union-attr]


def is_poisson(found: np.ndarray, rate: float) -> None:
    """Mean and variance within five standard errors."""
    n = found.size
    assert abs(found.mean() - rate) <= 5 * np.sqrt(rate / n)
    assert abs(found.var() - rate) <= 5 * np.sqrt((rate + 2 * rate**2) / n)
    assert (found == found.round()).all()


def test_counts_are_poisson_with_the_rate_of_the_image_and_the_baseline() -> None:
    # 0.1 s: half as bright as the best is half of 80 Hz above 20 Hz.
    for pixels, rate in ((WHITE, 10.0), (image(0.5), 2.0 + 8 * 128 / 255), (BLACK, 2.0)):
        values, baselines = counts(neurons(rate_hz=80, baseline_hz=20), pixels=pixels)
        is_poisson(values, rate)
        is_poisson(baselines, 2.0)
        assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.2
        assert abs(np.corrcoef(values[:, 0], baselines[:, 0])[0, 1]) < 0.2


def test_each_channel_is_measured_by_its_own_best_response() -> None:
    values, _ = counts(neurons(best=(2.0, 8.0), rate_hz=100, baseline_hz=0))
    is_poisson(values[:, 0], 10.0)
    is_poisson(values[:, 1], 5.0)


def test_what_suppresses_a_unit_adds_nothing() -> None:
    values, _ = counts(neurons(gains=(-2.0, 4.0), rate_hz=100, baseline_hz=20))
    is_poisson(values[:, 0], 2.0)
    is_poisson(values[:, 1], 12.0)


def test_only_what_is_in_the_window_after_the_latency_is_driven() -> None:
    values, baselines = counts(neurons(rate_hz=100, baseline_hz=10, latency_ms=120, window_ms=[70, 170]))
    is_poisson(values, 1.0 + 5.0)
    is_poisson(baselines, 1.0)
    values, _ = counts(neurons(rate_hz=100, baseline_hz=10, latency_ms=500))
    is_poisson(values, 1.0)


def test_spike_times_begin_with_the_latency_and_are_even_before_and_after() -> None:
    of = neurons(record="spikes", rate_hz=100, baseline_hz=50, latency_ms=50, recorded_ms=[-100, 150])
    recorded = of.record(1, showings(300))
    assert all(isinstance(one, Spikes) for one in recorded)
    for one in recorded:
        assert isinstance(one, Spikes)
        assert (one.count, one.start_ms, one.stop_ms) == (2, -100, 150)
        assert bool((np.diff(one.times_ms) >= 0).all())
        assert len(one.times_ms) == 0 or (one.times_ms[0] >= -100 and one.times_ms[-1] < 150)
    times = np.concatenate([one.times_ms for one in recorded])  # type: ignore[union-attr]
    found, _ = np.histogram(times, [-100, -50, 0, 50, 100, 150])
    expected = 300 * 2 * 0.05 * np.array([50, 50, 50, 150, 150])
    assert (np.abs(found - expected) < 5 * np.sqrt(expected)).all()
    channels = np.concatenate([one.channels for one in recorded])  # type: ignore[union-attr]
    assert abs(np.mean(channels) - 0.5) < 0.05


def test_gain_and_baseline_drift_with_the_blocks_number() -> None:
    of = neurons(rate_hz=100, baseline_hz=20, gain_drift=-0.1, baseline_drift=0.1)
    for block, gain, baseline in ((1, 1.0, 1.0), (3, 0.81, 1.21)):
        values, baselines = counts(of, block)
        is_poisson(values, 10 * gain + 2 * baseline)
        is_poisson(baselines, 2 * baseline)


def test_drift_ends_at_a_tenth_and_at_ten_times() -> None:
    of = neurons(rate_hz=50, baseline_hz=10, gain_drift=-0.1, baseline_drift=0.1)
    values, baselines = counts(of, 10**6)
    is_poisson(values, 0.5 + 10)
    is_poisson(baselines, 10)


def test_the_response_falls_with_each_repeat() -> None:
    of = neurons(rate_hz=100, baseline_hz=0, adaptation=0.5)
    for repeat, rate in ((0, 10.0), (1, 5.0), (3, 1.25)):
        is_poisson(counts(of, repeat=repeat)[0], rate)


def test_a_lost_channel_is_silent_from_its_block_on() -> None:
    of = neurons(rate_hz=100, baseline_hz=50, lost=[(1, 5), (1, 9)])
    is_poisson(counts(of, 4)[0], 15.0)
    for block in (5, 100):
        found = counts(of, block)
        is_poisson(found[0, :, 0], 15.0)
        assert not found[:, :, 1].any()
    spikes = neurons(record="spikes", lost=[(1, 5)]).record(5, showings(50))
    assert not np.concatenate([one.channels for one in spikes]).any()  # type: ignore[union-attr]


def test_no_neuron_fires_faster_than_once_in_a_millisecond() -> None:
    is_poisson(counts(neurons(best=(1e-9, 1e-9)), n=100)[0], MOST_HZ / 10)
    [one] = neurons(best=(1e-9, 1e-9), record="spikes", recorded_ms=[0, 1000]).record(1, showings(1))
    assert isinstance(one, Spikes)
    assert 1500 < len(one.times_ms) < 2200


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["values", "spikes"]),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=12, unique=True),
    st.data(),
)
def test_what_is_recorded_does_not_depend_on_what_else_is_asked_for(
    record: str, which: list[tuple[int, int]], data: st.DataObject
) -> None:
    presentations = [(f"s-{i}", repeat, image((i % 7) / 7)) for i, repeat in which]
    whole = neurons(record=record, rate_hz=400, seed=3).record(4, presentations)
    order = data.draw(st.permutations(range(len(which))))
    part = order[: data.draw(st.integers(1, len(which)))]
    again = neurons(record=record, rate_hz=400, seed=3).record(4, [presentations[i] for i in part])
    for i, one in zip(part, again, strict=True):
        assert to_bytes(one) == to_bytes(whole[i])


def test_other_blocks_images_repeats_and_seeds_are_other_draws() -> None:
    def drawn(block: int = 1, name: str = "a", repeat: int = 0, **plan: Any) -> bytes:
        of = SimulatedNeurons(Brightness(*[1.0] * 8), np.ones(8), NeuronsPlan(**plan))
        return to_bytes(of.record(block, [(name, repeat, WHITE)])[0])

    several = [drawn(), drawn(block=2), drawn(name="b"), drawn(repeat=1), drawn(seed=1)]
    assert len(set(several)) == 5
    assert drawn() == drawn()


def test_an_image_is_shown_to_the_network_once_and_alone() -> None:
    subject = Brightness(1.0)
    presentations = [("a", 0, WHITE), ("b", 0, BLACK), ("a", 1, WHITE), ("c", 0, image(0.5))]
    SimulatedNeurons(subject, np.ones(1)).record(1, presentations)
    assert subject.shown == [1, 1, 1]
    subject.shown.clear()
    SimulatedNeurons(subject, np.ones(1), NeuronsPlan(together=2)).record(1, presentations)
    assert subject.shown == [2, 1]


def test_it_is_the_pixels_that_count_not_the_name() -> None:
    of = neurons(rate_hz=500, baseline_hz=0)
    bright, dark = of.record(1, [("a", 0, WHITE), ("a", 1, BLACK)])
    assert isinstance(bright, Values)
    assert isinstance(dark, Values)
    assert bright.values.min() > 20
    assert not dark.values.any()


def test_a_response_that_is_no_number_is_missing_and_no_spikes_can_say_so() -> None:
    subject = Brightness(float("nan"), 1.0)
    [one] = SimulatedNeurons(subject, np.ones(2)).record(1, showings(1))
    assert isinstance(one, Values)
    assert np.isnan(one.values).tolist() == [True, False]
    with pytest.raises(SubjectError, match="not a number"):
        SimulatedNeurons(subject, np.ones(2), NeuronsPlan(record="spikes")).record(1, showings(1))


def test_nothing_is_recorded_of_nothing() -> None:
    assert neurons().record(1, []) == []
    [one] = neurons(record="spikes", rate_hz=0, baseline_hz=0).record(1, showings(1))
    assert isinstance(one, Spikes)
    assert len(one.times_ms) == 0


def test_the_best_response_to_some_images_is_found() -> None:
    subject = Brightness(2.0, 4.0)
    assert best_of(subject, torch.stack([BLACK, WHITE, image(0.5)])).tolist() == [2.0, 4.0]
    with pytest.raises(BadInput, match="brightness:0 has a best response of 0 to 1 images"):
        best_of(subject, BLACK[None])


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"rate_hz": -1}, "rate_hz"),
        ({"rate_hz": 1001}, "rate_hz"),
        ({"gain_drift": -1}, "gain_drift"),
        ({"adaptation": 1.1}, "adaptation"),
        ({"record": "traces"}, "record"),
        ({"window_ms": [170, 70]}, "window_ms is 170 to 70; it must stop after"),
        ({"recorded_ms": [0, 1e6]}, "at most 10000 ms"),
    ],
)
def test_neurons_that_cannot_be_are_refused(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NeuronsPlan(**plan)


def test_neurons_must_fit_their_subject() -> None:
    for best in ([1.0], [1.0, 0.0], [1.0, float("nan")], [[1.0, 1.0]]):
        with pytest.raises(BadInput, match="a number above 0 for each of 2 units"):
            neurons(best=best)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="lost has channel 2; there are channels 0 to 1"):
        neurons(lost=[(2, 1)])
