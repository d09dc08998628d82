"""Recordings into responses: expected numbers by hand, and a second derivation with the standard library."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from xdream.errors import BadInput
from xdream.scoring.recordings import Recorded, Spikes, Traces, Values
from xdream.scoring.responses import Artefacts, ResponsesPlan, Trial, needed, read, responses

NAN = float("nan")
INF = float("inf")


def plan(**values: Any) -> ResponsesPlan:
    return ResponsesPlan(**values)


def trial(
    values: Sequence[float] | Recorded,
    baseline: Sequence[float] | None = None,
    *,
    generation: int = 0,
    block: int = 1,
    reference: bool = False,
) -> Trial:
    if isinstance(values, Values | Spikes | Traces):
        recorded: Recorded = values
    else:
        recorded = Values(np.array(values), None if baseline is None else np.array(baseline))
    return Trial(generation, block, "image", 0, reference, recorded)


def spikes(
    *spikes: tuple[float, int], count: int = 2, start_ms: float = -100.0, stop_ms: float = 300.0
) -> Spikes:
    times, channels = [time for time, _ in spikes], [channel for _, channel in spikes]
    return Spikes(np.array(times, dtype=float), np.array(channels, dtype=np.int64), count, start_ms, stop_ms)


def same(found: np.ndarray, expected: Any) -> None:
    np.testing.assert_allclose(found, np.array(expected, dtype=float), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------- windows


def test_spikes_become_their_rate_in_the_window_whose_start_counts_and_whose_stop_does_not() -> None:
    recorded = spikes((69.9, 0), (70.0, 0), (100.0, 0), (169.9, 0), (170.0, 0), (120.0, 1))
    values, _ = read(recorded, plan())
    same(values, [30.0, 10.0])  # 3 and 1 spikes in 0.1 s


def test_several_windows_are_one_rate_over_their_whole_duration() -> None:
    recorded = spikes((10.0, 0), (60.0, 0), (110.0, 0))
    values, _ = read(recorded, plan(windows_ms=[[100, 250], [0, 50]]))
    same(values, [2 / 0.2, 0.0])  # not the mean of 1/0.05 and 1/0.15 Hz


def test_windows_that_touch_are_the_window_that_they_make_together() -> None:
    recorded = spikes((50.0, 0), (99.0, 0), (100.0, 0), (149.0, 1))
    one, two = (plan(windows_ms=windows) for windows in ([[50, 150]], [[50, 100], [100, 150]]))
    same(read(recorded, two)[0], read(recorded, one)[0])


def test_the_baseline_of_spikes_is_a_rate_in_its_own_window() -> None:
    recorded = spikes((-50.0, 1), (-10.0, 1), (0.0, 1), (80.0, 1))
    _, baseline = read(recorded, plan(baseline_ms=[-100, 0]))
    same(baseline, [0.0, 20.0])
    _, baseline = read(recorded, plan(baseline_ms=[-50, 0]))
    same(baseline, [0.0, 40.0])


def test_traces_become_the_mean_of_the_samples_inside() -> None:
    samples = np.array([np.arange(40.0), np.full(40, 5.0)])  # at -100, -90, …, 290 ms
    recorded = Traces(samples, -100.0, 10.0)
    values, baseline = read(recorded, plan())
    same(values, [np.mean(range(17, 27)), 5.0])  # 70 … 160 ms
    same(baseline, [4.5, 5.0])
    values, _ = read(recorded, plan(windows_ms=[[0, 20], [285, 300]]))
    same(values, [(10 + 11 + 39) / 3, 5.0])


def test_rounding_of_the_samples_times_moves_no_sample_into_or_out_of_a_window() -> None:
    # (0 + 99.9) / 0.3 is a little above 333, whose sample is at 0 ms.
    recorded = Traces(np.arange(1000.0)[None], -99.9, 0.3)
    values, _ = read(recorded, plan(windows_ms=[[0, 30]]))
    same(values, [np.mean(range(333, 433))])
    # -100.2 + 700 * 0.1 is a little less than -30.2, at which the recording ends.
    recorded = Traces(np.ones((1, 700)), -100.2, 0.1)
    read(recorded, plan(windows_ms=[[-50, -30.2]]))


def test_a_missing_sample_is_left_out_and_a_trace_without_any_is_missing() -> None:
    samples = np.array([[1.0, NAN, 4.0], [NAN, NAN, NAN]])
    values, _ = read(Traces(samples, 0.0, 10.0), plan(windows_ms=[[0, 30]]))
    same(values, [2.5, NAN])


def test_values_are_taken_as_they_are_whatever_the_windows() -> None:
    values, baseline = read(Values(np.array([1.0, NAN]), np.array([3.0, 4.0])), plan(windows_ms=[[900, 999]]))
    same(values, [1.0, NAN])
    same(baseline, [3.0, 4.0])
    _, none = read(Values(np.array([1.0, 2.0])), plan())
    same(none, [NAN, NAN])


def test_what_is_not_finite_is_missing() -> None:
    values, baseline = read(Values(np.array([INF, -INF, 1.0]), np.array([INF, 0.0, NAN])), plan())
    same(values, [NAN, NAN, 1.0])
    same(baseline, [NAN, 0.0, NAN])


@pytest.mark.parametrize("window", [[70, 301], [-101, 20], [400, 500]])
def test_a_window_outside_of_what_was_recorded_is_refused_with_both(window: list[float]) -> None:
    start, stop = window
    message = rf"window from {start} to {stop} ms.*-100 to 300 ms"
    with pytest.raises(BadInput, match=message):
        read(spikes(), plan(windows_ms=[window]))
    with pytest.raises(BadInput, match=message):
        read(Traces(np.zeros((2, 40)), -100.0, 10.0), plan(windows_ms=[window]))
    with pytest.raises(BadInput, match=message):
        read(spikes(), plan(baseline="trial", baseline_ms=window))
    with pytest.raises(BadInput, match=message):
        read(Traces(np.zeros((2, 40)), -100.0, 10.0), plan(baseline="overall", baseline_ms=window))


def test_a_baseline_that_was_not_recorded_is_missing_when_it_is_not_subtracted() -> None:
    recorded = [spikes(start_ms=0.0), Traces(np.zeros((2, 30)), 0.0, 10.0)]
    for one in recorded:
        same(read(one, plan())[1], [NAN, NAN])
        with pytest.raises(BadInput, match="-100 to 0 ms"):
            read(one, plan(baseline="trial"))


def test_a_window_between_two_samples_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no sample.*50 ms apart"):
        read(Traces(np.zeros((2, 10)), 0.0, 50.0), plan(windows_ms=[[110, 140]]))


@pytest.mark.parametrize(("start", "step"), [(0.0, 0.0), (0.0, -1.0), (0.0, NAN), (NAN, 1.0), (INF, 1.0)])
def test_traces_without_a_time_axis_are_refused(start: float, step: float) -> None:
    with pytest.raises(BadInput, match="steps"):
        read(Traces(np.zeros((2, 10)), start, step), plan(windows_ms=[[0, 5]]))


def test_spikes_of_a_time_span_that_is_no_number_are_refused() -> None:
    with pytest.raises(BadInput, match="not within"):
        read(spikes(stop_ms=NAN), plan())


def test_spikes_of_channels_that_are_not_there_are_refused() -> None:
    for channel in (2, -1, 10**15):
        with pytest.raises(BadInput, match="recording of 2 channels"):
            read(spikes((10.0, channel)), plan())
    with pytest.raises(BadInput, match="2 spike times have 1 channels"):
        read(Spikes(np.zeros(2), np.zeros(1, dtype=np.int64), 2, -100.0, 300.0), plan())


def test_values_that_lack_the_baseline_that_is_to_be_subtracted_are_refused() -> None:
    for kind in ("trial", "overall"):
        with pytest.raises(BadInput, match=f"no baseline.*'{kind}'"):
            read(Values(np.zeros(2)), plan(baseline=kind))
    with pytest.raises(BadInput, match="2 values have a baseline of 1"):
        read(Values(np.zeros(2), np.zeros(1)), plan())


# ---------------------------------------------------------------------------------------- limits, baseline


def test_a_response_beyond_a_limit_is_missing() -> None:
    found = responses(
        [trial([10.0, 5.0, 2.0]), trial([10.1, 1.9, NAN])], plan(artefacts={"above": 10, "below": 2})
    )
    same(found, [[10, 5, 2], [NAN, NAN, NAN]])


def test_a_trace_is_rejected_for_one_sample_beyond_a_limit_in_its_windows() -> None:
    quiet = np.zeros(40)
    spike = quiet.copy()
    spike[18] = 90.0  # at 80 ms; the mean of the window is 9
    outside = quiet.copy()
    outside[30] = 90.0
    dip = quiet.copy()
    dip[18] = -90.0
    recorded = Traces(np.stack([quiet, spike, outside, dip]), -100.0, 10.0)
    same(responses([trial(recorded)], plan(artefacts={"above": 50})), [[0, NAN, 0, -9]])
    same(responses([trial(recorded)], plan(artefacts={"below": -50})), [[0, 9, 0, NAN]])


def test_a_trace_is_rejected_for_a_sample_in_its_baseline_only_when_that_is_subtracted() -> None:
    before = np.zeros((1, 40))
    before[0, 3] = 90.0
    recorded = Traces(before, -100.0, 10.0)
    same(responses([trial(recorded)], plan(artefacts={"above": 50})), [[0.0]])
    same(responses([trial(recorded)], plan(artefacts={"above": 50}, baseline="trial")), [[NAN]])


def test_limits_are_on_responses_before_the_baseline_is_subtracted() -> None:
    trials = [trial([12.0], [5.0]), trial([9.0], [-5.0])]
    same(responses(trials, plan(baseline="trial", artefacts={"above": 10})), [[NAN], [14]])


def test_each_trials_own_baseline_is_subtracted() -> None:
    trials = [trial([5.0, 7.0], [1.0, 2.0]), trial([5.0, 7.0], [3.0, NAN])]
    same(responses(trials, plan(baseline="trial")), [[4, 5], [2, NAN]])


def test_the_overall_baseline_is_the_channels_mean_in_the_block() -> None:
    trials = [
        trial([5.0, 7.0], [1.0, NAN], block=1),
        trial([6.0, 8.0], [3.0, 4.0], block=1),
        trial([6.0, 8.0], [10.0, NAN], block=2),
    ]
    # A presentation without a baseline of its own has that of its block.
    same(responses(trials, plan(baseline="overall")), [[3, 3], [4, 4], [-4, NAN]])


def test_what_is_rejected_by_its_limits_is_not_in_the_blocks_baseline() -> None:
    trials = [trial([5.0], [1.0]), trial([99.0], [50.0])]
    same(responses(trials, plan(baseline="overall", artefacts={"above": 50})), [[4], [NAN]])


# ---------------------------------------------------------------------------------------- deviations, share


def test_what_is_far_from_the_generations_median_is_rejected() -> None:
    # Median 3, deviations 2 1 0 1 97, their median 1: the limit of 2 is at 3 ± 2.9652.
    trials = [trial([x]) for x in (1.0, 2.0, 3.0, 4.0, 100.0)]
    same(responses(trials, plan(artefacts={"deviations": 2})), [[1], [2], [3], [4], [NAN]])
    same(responses(trials, plan(artefacts={"deviations": 1})), [[NAN], [2], [3], [4], [NAN]])
    # 97 / 1.4826 = 65.4
    same(responses(trials, plan(artefacts={"deviations": 65.5}))[-1], [100])
    same(responses(trials, plan(artefacts={"deviations": 65.4}))[-1], [NAN])


def test_deviations_are_those_within_one_generation() -> None:
    high = [trial([x], generation=1, block=2) for x in (101.0, 102.0, 103.0)]
    trials = [trial([x]) for x in (1.0, 2.0, 3.0)] + high
    assert np.isfinite(responses(trials, plan(artefacts={"deviations": 3}))).all()


def test_a_sparse_channel_is_not_rejected_for_its_few_spikes() -> None:
    trials = [trial([x]) for x in (0.0, 0.0, 0.0, 0.0, 1.0, 2.0)]
    same(responses(trials, plan(artefacts={"deviations": 3})), [[0], [0], [0], [0], [1], [2]])


def test_a_presentation_is_rejected_whole_when_the_share_of_its_channels_is() -> None:
    trials = [trial([9.0, 9.0, 1.0, NAN]), trial([9.0, 1.0, 1.0, 1.0])]
    # Two of three that are there; one of four.
    found = responses(trials, plan(artefacts={"above": 5, "share": 2 / 3}))
    same(found, [[NAN] * 4, [NAN, 1, 1, 1]])
    found = responses(trials, plan(artefacts={"above": 5, "share": 0.7}))
    same(found, [[NAN, NAN, 1, NAN], [NAN, 1, 1, 1]])
    found = responses(trials, plan(artefacts={"above": 5, "share": 0.25}))
    assert np.isnan(found).all()


def test_the_share_is_met_exactly() -> None:
    # 0.7 * 10 is above 7 by rounding.
    found = responses([trial([9.0] * 7 + [1.0] * 3)], plan(artefacts={"above": 5, "share": 0.7}))
    assert np.isnan(found).all()


def test_limits_and_deviations_count_together_for_the_share() -> None:
    columns = [[1.0, 2.0, 3.0, 4.0, 90.0], [1.0, 2.0, 3.0, 4.0, 900.0], [1.0, 1.0, 1.0, 1.0, 1.0]]
    trials = [trial(row) for row in np.array(columns).T.tolist()]
    found = responses(trials, plan(artefacts={"above": 500, "deviations": 5, "share": 0.6}))
    assert np.isnan(found[4]).all()
    assert np.isfinite(found[:4]).all()


def test_an_infinite_response_beyond_a_limit_is_a_rejected_one() -> None:
    found = responses([trial([INF, 1.0, 1.0])], plan(artefacts={"above": 5, "share": 0.4}))
    same(found, [[NAN, 1, 1]])  # one of three


# ---------------------------------------------------------------------------------------- z-score


def test_responses_are_measured_by_the_references_in_the_window_of_blocks() -> None:
    trials = [
        trial([2.0], block=1, reference=True),
        trial([4.0], block=1, reference=True),
        trial([5.0], block=1),
        trial([10.0], block=2, reference=True),
        trial([14.0], block=2, reference=True),
        trial([14.0], block=2),
        trial([20.0], block=3),
        trial([12.0], block=3, reference=True),
    ]
    # Block 1: mean 3, deviation 1; block 2 of 10 and 14: 12 and 2.
    one = responses(trials, plan(zscore_blocks=1))
    same(one[[2, 5]], [[2], [1]])
    same(one[[0, 1]], [[-1], [1]])  # references, too
    # Two blocks: 2 4 10 14: mean 7.5, deviation √(30.25 + 12.25 + 6.25 + 42.25)/2; then 10 14 12.
    two = responses(trials, plan(zscore_blocks=2))
    same(two[5], [(14 - 7.5) / (math.sqrt(91.0) / 2)])
    same(two[6], [(20 - 12) / math.sqrt(8 / 3)])
    same(responses(trials, plan(zscore_blocks=3))[6], [(20 - 8.4) / statistics.pstdev([2, 4, 10, 14, 12])])


def test_blocks_are_counted_by_their_numbers_so_a_rejected_one_is_an_empty_one() -> None:
    first = [trial([x], block=1, reference=True) for x in (0.0, 2.0)]
    last = [trial([x], block=3, reference=True) for x in (10.0, 14.0)] + [trial([14.0], block=3)]
    same(responses(first + last, plan(zscore_blocks=2))[-1], [1])
    same(responses(first + last, plan(zscore_blocks=3))[-1], [(14 - 6.5) / statistics.pstdev([0, 2, 10, 14])])


def test_without_a_spread_the_latest_window_that_had_one_measures() -> None:
    trials = [
        trial([0.0], block=1, reference=True),
        trial([2.0], block=1, reference=True),
        trial([10.0], block=2, reference=True),
        trial([14.0], block=2, reference=True),
        trial([7.0], block=3, reference=True),
        trial([7.0], block=3, reference=True),
        trial([16.0], block=3),
        trial([16.0], block=4),
        trial([NAN], block=5, reference=True),
        trial([3.0], block=5, reference=True),
        trial([16.0], block=5),
    ]
    found = responses(trials, plan(zscore_blocks=1))
    same(found[[6, 7, 10]], [[2], [2], [2]])  # (16 − 12) / 2


def test_before_there_was_any_spread_the_deviation_counts_as_1() -> None:
    trials = [
        trial([5.0, 5.0, 5.0], block=1),
        trial([4.0, NAN, 0.1], block=1, reference=True),
        trial([NAN, NAN, 0.1], block=1, reference=True),
        trial([NAN, NAN, 0.1], block=1, reference=True),  # 0.1 three times is not 3 · 0.1 in floats
    ]
    same(responses(trials, plan(zscore_blocks=1))[0], [1, 5, 4.9])


def test_channels_are_measured_each_by_itself() -> None:
    trials = [
        trial([0.0, 3.0], block=1, reference=True),
        trial([2.0, 5.0], block=1, reference=True),
        trial([6.0, 20.0], block=2, reference=True),
        trial([6.0, 24.0], block=2, reference=True),
        trial([6.0, 24.0], block=2),
    ]
    same(responses(trials, plan(zscore_blocks=1))[-1], [5, 1])


def test_rejected_references_do_not_measure() -> None:
    trials = [trial([x], reference=True) for x in (2.0, 4.0, 1000.0)] + [trial([5.0])]
    same(responses(trials, plan(zscore_blocks=1, artefacts={"above": 100}))[-1], [2])


def test_references_are_measured_less_their_baseline() -> None:
    trials = [
        trial([12.0], [10.0], reference=True),
        trial([24.0], [20.0], reference=True),
        trial([5.0], [0.0]),
    ]
    same(responses(trials, plan(zscore_blocks=1, baseline="trial"))[-1], [2])


@pytest.mark.parametrize("size", [1e-170, 1e170, 1e-310])
def test_very_small_and_very_large_responses_have_a_spread_too(size: float) -> None:
    trials = [trial([x * size], reference=True) for x in (2.0, 4.0)] + [trial([5.0 * size])]
    np.testing.assert_allclose(responses(trials, plan(zscore_blocks=1))[-1], [2], rtol=1e-9)


# ---------------------------------------------------------------------------------------- all together


def test_nothing_makes_nothing() -> None:
    assert responses([], plan()).shape == (0, 0)
    assert needed([], plan(zscore_blocks=3)) == ()


def test_what_is_wrong_with_a_recording_is_said_with_its_presentation() -> None:
    with pytest.raises(BadInput, match="image image, repeat 0, of block 7: the window from 70"):
        responses([trial(spikes(stop_ms=100.0), block=7)], plan())
    with pytest.raises(BadInput, match="of block 8: 1 channels; the first has 2"):
        responses([trial([1.0, 2.0], block=7), trial([1.0], block=8)], plan())


def test_recordings_are_left_as_they_were() -> None:
    recorded = Values(np.array([50.0, 1.0]), np.array([1.0, 1.0]))
    settings_ = plan(baseline="trial", zscore_blocks=1, artefacts={"above": 10})
    responses([trial(recorded), trial(recorded, reference=True)], settings_)
    same(recorded.values, [50, 1])
    same(recorded.baseline, [1, 1])  # type: ignore[arg-type]


# On a grid, where sums are exact: two derivations must not differ in whether numbers are alike.
number = st.one_of(
    st.just(NAN), st.just(INF), st.integers(-5, 12).map(float), st.integers(-80, 80).map(lambda x: x / 4)
)


@st.composite
def sessions(draw: st.DrawFn, channels: int = 2) -> list[list[Trial]]:
    """Generations of trials, whose blocks have numbers that grow, with gaps."""
    block, generations = 0, []
    for generation in range(draw(st.integers(1, 7))):
        trials = []
        for _ in range(draw(st.integers(1, 2))):
            block += draw(st.integers(1, 3))
            for reference in draw(st.lists(st.booleans(), max_size=5)):
                values, baseline = (
                    draw(st.lists(number, min_size=channels, max_size=channels)) for _ in range(2)
                )
                one = trial(values, baseline, generation=generation, block=block, reference=reference)
                trials.append(one)
        generations.append(trials)
    return generations


plans = st.builds(
    ResponsesPlan,
    baseline=st.sampled_from(["none", "trial", "overall"]),
    zscore_blocks=st.one_of(st.none(), st.integers(1, 4)),
    artefacts=st.builds(
        Artefacts,
        above=st.one_of(st.none(), st.just(11.5)),
        deviations=st.one_of(st.none(), st.just(2.5)),
    ),
)


def second_derivation(trials: Sequence[Trial], settings_: ResponsesPlan) -> list[list[float]]:
    """One channel after the other, with lists and the standard library; without shares."""

    def numbers(array: Any) -> list[float]:
        return [float(x) if math.isfinite(x) else NAN for x in array]

    def finite(xs: Sequence[float]) -> list[float]:
        return [x for x in xs if math.isfinite(x)]

    columns = []
    for channel in range(len(trials[0].recorded.values)):  # type: ignore[union-attr]
        raw = [float(t.recorded.values[channel]) for t in trials]  # type: ignore[union-attr]
        xs = numbers(raw)
        bases = numbers([t.recorded.baseline[channel] for t in trials])  # type: ignore[union-attr,index]
        above = settings_.artefacts.above
        for i, value in enumerate(raw):
            if above is not None and value > above:
                xs[i] = bases[i] = NAN
        if settings_.baseline == "trial":
            xs = [x - b for x, b in zip(xs, bases, strict=True)]
        if settings_.baseline == "overall":
            for i, t in enumerate(trials):
                block = finite([b for b, u in zip(bases, trials, strict=True) if u.block == t.block])
                xs[i] = xs[i] - statistics.fmean(block) if block else NAN
        if settings_.artefacts.deviations is not None:
            kept = list(xs)
            for i, t in enumerate(trials):
                own = finite([x for x, u in zip(xs, trials, strict=True) if u.generation == t.generation])
                if own and math.isfinite(xs[i]):
                    middle = statistics.median(own)
                    mad = statistics.median([abs(x - middle) for x in own])
                    if mad > 0 and abs(xs[i] - middle) > settings_.artefacts.deviations * 1.4826 * mad:
                        kept[i] = NAN
            xs = kept
        if settings_.zscore_blocks is not None:
            size, latest, scaled = settings_.zscore_blocks, None, list(xs)
            for block in sorted({t.block for t in trials}):
                pairs = list(zip(xs, trials, strict=True))
                window = finite([x for x, u in pairs if u.reference and block - size < u.block <= block])
                if len(set(window)) > 1:
                    latest = (statistics.fmean(window), statistics.pstdev(window))
                centre, spread = latest or (statistics.fmean(window) if window else 0.0, 1.0)
                for i, t in enumerate(trials):
                    if t.block == block:
                        scaled[i] = (xs[i] - centre) / spread
            xs = scaled
        columns.append(xs)
    return [list(row) for row in zip(*columns, strict=True)]


@settings(deadline=None)
@given(sessions(), plans)
def test_a_second_derivation_finds_the_same(generations: list[list[Trial]], settings_: ResponsesPlan) -> None:
    trials = [one for generation in generations for one in generation]
    if not trials:
        return
    expected = second_derivation(trials, settings_)
    np.testing.assert_allclose(responses(trials, settings_), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(sessions(), plans)
def test_generation_by_generation_with_what_is_needed_gives_the_same_bits(
    generations: list[list[Trial]], settings_: ResponsesPlan
) -> None:
    history: tuple[Trial, ...] = ()
    before: list[Trial] = []
    for now in generations:
        if not now:
            continue
        whole = responses([*before, *now], settings_)
        found = responses([*history, *now], settings_)
        assert np.array_equal(found[-len(now) :], whole[-len(now) :], equal_nan=True)
        # And what comes later changes nothing of what was.
        if before:
            earlier = responses(before, settings_)
            assert np.array_equal(whole[: len(before)], earlier, equal_nan=True)
        history = needed([*history, *now], settings_)
        before = [*before, *now]


def test_of_a_generation_all_is_needed_or_nothing() -> None:
    # 50 is far from 1, 2, 3, but not from all of its generation.
    first = [trial([x], block=1) for x in (-100.0, 100.0, 30.0, 80.0)]
    first += [trial([x], block=3, reference=True) for x in (1.0, 2.0, 3.0, 50.0)]
    now = [trial([5.0], generation=1, block=4)]
    settings_ = plan(zscore_blocks=2, artefacts={"deviations": 3})
    whole = responses([*first, *now], settings_)[-1]
    same(whole, [(5 - 14) / statistics.pstdev([1, 2, 3, 50])])
    same(responses([*needed(first, settings_), *now], settings_)[-1], whole)


def test_the_order_of_presentations_within_the_session_does_not_matter() -> None:
    trials = [trial([x], block=b, reference=x < 9) for b, x in enumerate([1.0, 5.0, 2.0, 10.0, 4.0, 12.0])]
    settings_ = plan(zscore_blocks=3)
    order = [3, 0, 5, 2, 4, 1]
    same(responses([trials[i] for i in order], settings_), responses(trials, settings_)[order])


def test_what_is_needed_does_not_grow_with_the_session() -> None:
    settings_ = plan(zscore_blocks=3)
    history: tuple[Trial, ...] = ()
    sizes = []
    for generation in range(40):
        now = [
            trial([float(x + generation), 1.0], generation=generation, block=generation + 1, reference=True)
            for x in range(4)
        ]
        history = needed([*history, *now], settings_)
        sizes.append(len(history))
    assert set(sizes[3:]) == {3 * 4}
    assert needed(history, plan()) == ()


def test_a_long_session_of_many_channels_is_computed_at_once() -> None:
    rng = np.random.default_rng(0)
    values = rng.poisson(5.0, (20_000, 96)).astype(float)
    trials = [
        Trial(i // 100, i // 100 + 1, "image", 0, i % 10 == 0, Values(row, row))
        for i, row in enumerate(values)
    ]
    found = responses(trials, plan(baseline="overall", zscore_blocks=5, artefacts={"deviations": 6}))
    assert found.shape == values.shape
    references = found[::10][-500:]
    assert abs(np.nanmean(references)) < 0.1
    assert abs(np.nanstd(references) - 1.0) < 0.1


# ---------------------------------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"windows_ms": []}, "at least 1"),
        ({"windows_ms": [[100, 100]]}, "100 to 100 ms stops before it has begun"),
        ({"windows_ms": [[100, 50]]}, "100 to 50 ms stops before it has begun"),
        ({"windows_ms": [[150, 250], [70, 170]]}, "70 to 170 and 150 to 250 ms overlap"),
        ({"baseline_ms": [0, -100]}, "0 to -100 ms stops before"),
        ({"baseline": "block"}, "'none', 'trial' or 'overall'"),
        ({"zscore_blocks": 0}, "greater than or equal to 1"),
        ({"artefacts": {"above": 1, "below": 2}}, "above is 1 and below 2; nothing would be left"),
        ({"artefacts": {"deviations": 0}}, "greater than 0"),
        ({"artefacts": {"share": 0.5}}, "share needs above, below or deviations"),
        ({"artefacts": {"above": 1, "share": 1.5}}, "less than or equal to 1"),
        ({"window_ms": [[1, 2]]}, "window_ms"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ResponsesPlan(**values)


def test_equal_settings_are_one_key() -> None:
    one, other = (plan(windows_ms=[[0, 50.0], [60, 70]], artefacts={"above": 3}) for _ in range(2))
    assert {one: 1}[other] == 1
    assert all(a != b for a, b in pairwise([plan(), one, plan(zscore_blocks=2)]))
    assert ResponsesPlan(**one.model_dump(mode="json", exclude_none=True)) == one
