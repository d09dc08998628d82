"""The options of the published optimizers: selection by rank, scores by rule, a start that waits."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from xdream import random
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.optimizers import FDGD, NES, OPTIMIZERS, Genetic
from xdream.optimizers.ranks import followed
from xdream.optimizers.safe_start import first_mean
from xdream.testing import check_optimizer

NAN, INF = float("nan"), float("inf")
D = 7
CENTRE, SPREAD = 3.0, 0.5
FOLLOWING = [FDGD, NES]


def started(optimizer: Any, runs: int = 1) -> Any:
    seeds = torch.arange(runs) + 5
    if optimizer.starts_from == "spread":
        rows = torch.stack((torch.full((runs, D), CENTRE), torch.full((runs, D), SPREAD)), dim=1)
        return optimizer.start(seeds, rows)
    return optimizer.start(seeds, torch.full((runs, 1, D), CENTRE))


def scores_of(codes: torch.Tensor) -> torch.Tensor:
    weights = torch.arange(1, D + 1, dtype=torch.float64)
    return -((codes.to(torch.float64) - CENTRE - 0.8) ** 2 * weights).sum(-1)


# ------------------------------------------------------------------ what is followed


def test_standardised_scores_have_mean_0_and_deviation_1_of_those_seen() -> None:
    scores = torch.tensor([[1.0, NAN, 4.0, 7.0]], dtype=torch.float64)
    found = followed(scores, "standardised")[0]
    deviation = math.sqrt((9 + 0 + 9) / 3)
    np.testing.assert_allclose(found.numpy(), [-3 / deviation, NAN, 0.0, 3 / deviation])


def test_ranks_are_the_utilities_of_the_paper_times_their_number() -> None:
    scores = torch.tensor([[5.0, 1.0, NAN, 3.0, 3.0]], dtype=torch.float64)
    raw = [max(0.0, math.log(3) - math.log(i)) for i in range(1, 5)]
    w = [one / sum(raw) for one in raw]
    tied = (w[1] + w[2]) / 2
    expected = [4 * w[0] - 1, 4 * w[3] - 1, NAN, 4 * tied - 1, 4 * tied - 1]
    np.testing.assert_allclose(followed(scores, "ranks")[0].numpy(), expected)


@pytest.mark.parametrize("rule", ["standardised", "ranks"])
@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [0.1 + 0.2, 0.3, 0.3], [NAN, 4.0, NAN], [NAN, NAN, NAN]])
def test_scores_that_are_alike_say_nothing(rule: Any, values: list[float]) -> None:
    if rule == "ranks" and values[0] == 0.1 + 0.2:
        pytest.skip("a rank is a rank, however small the difference")
    found = followed(torch.tensor([values], dtype=torch.float64), rule)[0]
    np.testing.assert_array_equal(np.isnan(found.numpy()), np.isnan(values))
    np.testing.assert_allclose(found.nan_to_num().numpy(), 0.0, atol=1e-12)


def test_raw_scores_are_as_they_were() -> None:
    scores = torch.tensor([[1.0, NAN, INF]])
    assert followed(scores, "raw") is scores


@pytest.mark.parametrize("optimizer", FOLLOWING)
@pytest.mark.parametrize("rule", ["standardised", "ranks"])
def test_the_size_of_scores_then_does_not_matter(optimizer: Any, rule: str) -> None:
    """Powers of two and ranks exactly; so the codes are the same, bit for bit."""
    found = optimizer(scores=rule, learning_rate=0.1)
    one, other = started(found), started(found)
    for _ in range(5):
        scores = scores_of(found.ask(one)).round(decimals=3)
        one, other = found.tell(one, scores), found.tell(other, 1024.0 * scores)
        assert torch.equal(found.ask(one), found.ask(other))
    raw = optimizer(learning_rate=0.1)
    scores = scores_of(raw.ask(started(raw)))
    assert not torch.equal(raw.tell(started(raw), scores).centre, raw.tell(started(raw), 2.0 * scores).centre)


@pytest.mark.parametrize("optimizer", FOLLOWING)
@pytest.mark.parametrize("rule", ["standardised", "ranks"])
def test_the_step_is_the_published_one_of_other_scores(optimizer: Any, rule: Any) -> None:
    found, published = optimizer(scores=rule), optimizer()
    scores = scores_of(found.ask(started(found)))
    after = found.tell(started(found), scores)
    expected = published.tell(started(published), followed(scores, rule))
    assert torch.equal(after.centre, expected.centre)
    assert not torch.equal(after.centre, started(found).centre)


@pytest.mark.parametrize("optimizer", FOLLOWING)
def test_a_rule_that_does_not_exist_is_refused(optimizer: Any) -> None:
    with pytest.raises(BadInput, match="choose raw, standardised or ranks"):
        optimizer(scores="rank")


# ------------------------------------------------------------------ genetic by rank


def test_parents_by_rank_are_the_better_half_by_their_weights(monkeypatch: Any) -> None:
    """Children without crossover and mutation are copies of their first parents; a draw picks each."""
    optimizer = Genetic(population=4, selection="rank", heritability=1.0, mutation_rate=0.0)
    codes = torch.arange(4.0)[None, :, None].expand(1, 4, D)
    state = optimizer.start(torch.tensor([1]), codes)
    raw = [max(0.0, math.log(3) - math.log(i)) for i in range(1, 5)]
    share = np.cumsum(np.array(raw) / sum(raw))  # best first; 0 for the two worst
    draws = torch.tensor([[0.0, share[0] - 0.01, share[0] + 0.01, 0.999] * 2], dtype=torch.float64)
    monkeypatch.setattr(random, "uniform64", lambda *_: draws)
    # The best is in slot 2, so the draws run over slots in their order: 0, 1, 2, 3.
    told = optimizer.tell(state, torch.tensor([[9.0, 8.0, 1.0, 2.0]]))
    assert told.codes[0, :, 0].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_by_rank_only_the_order_of_scores_matters_and_selectivity_says_nothing() -> None:
    ranked = Genetic(selection="rank")
    other = Genetic(selection="rank", selectivity=1e6)
    initial = torch.randn(1, 20, D, generator=torch.Generator().manual_seed(0))
    one, two = (o.start(torch.tensor([1]), initial) for o in (ranked, other))
    for _ in range(4):
        scores = scores_of(one.codes)
        one, two = ranked.tell(one, scores), other.tell(two, 1e-6 * scores + 3.0)
        assert torch.equal(one.codes, two.codes)


@pytest.mark.parametrize("scores", [[NAN] * 4, [NAN, 1.0, NAN, NAN], [2.0] * 4, [INF, -INF, NAN, 0.0]])
def test_genetic_by_rank_takes_what_comes(scores: list[float]) -> None:
    optimizer = Genetic(population=4, selection="rank")
    initial = torch.randn(1, 4, D, generator=torch.Generator().manual_seed(0))
    state = optimizer.start(torch.tensor([1]), initial)
    after = optimizer.tell(state, torch.tensor([scores])).codes
    assert bool(torch.isfinite(after).all())
    kept = [slot for slot, one in enumerate(scores) if math.isnan(one)]
    assert torch.equal(after[0, kept], initial[0, kept])


def test_a_selection_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="choose boltzmann or rank"):
        Genetic(selection="tournament")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="selection"):
        OPTIMIZERS.make("genetic", selection=2)


# ------------------------------------------------------------------ a start that waits


@pytest.mark.parametrize("optimizer", FOLLOWING)
def test_a_silent_neuron_moves_nothing_and_draws_become_wider(optimizer: Any) -> None:
    found = optimizer(safe_start=True)
    state = first = started(found)
    spans = []
    for _ in range(30):
        spans.append(float(((found.ask(state) - CENTRE) / SPREAD).std()))
        state = found.tell(state, torch.full((1, found.population), 2.5))
        assert not bool(state.awake)
        assert torch.equal(state.centre, first.centre)
        if isinstance(found, NES):
            assert torch.equal(state.radius, first.radius)
    assert np.mean(spans[:3]) == pytest.approx(1.0, abs=0.2)
    assert np.mean(spans[-3:]) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("optimizer", FOLLOWING)
def test_it_begins_where_the_neuron_answers_and_then_follows_the_published_rule(optimizer: Any) -> None:
    found, published = optimizer(safe_start=True), optimizer()
    state = started(found)
    codes = found.ask(state)
    scores = torch.zeros(1, found.population, dtype=torch.float64)
    scores[0, 3] = 5.0
    state = found.tell(state, scores)
    z = (codes[0, 3].to(torch.float64) - CENTRE) / SPREAD
    expected = CENTRE + SPREAD * z / z.square().mean().sqrt()
    np.testing.assert_allclose(state.centre[0].numpy(), expected.numpy(), rtol=1e-5)
    same = published.start(state.seeds, state.centre[:, None])
    same = type(same)(**{**vars(same), "steps": state.steps})
    for _ in range(3):
        assert torch.equal(found.ask(state), published.ask(same))
        scores = scores_of(found.ask(state))
        state, same = found.tell(state, scores), published.tell(same, scores)
        assert torch.equal(state.centre, same.centre)


@pytest.mark.parametrize("optimizer", FOLLOWING)
def test_runs_beside_each_other_start_each_when_it_can(optimizer: Any) -> None:
    found = optimizer(safe_start=True, scores="ranks", learning_rate=0.1)
    both = started(found, 2)
    alone = type(both)(**{name: value[1:] for name, value in vars(both).items()})
    for generation in range(5):
        scores = scores_of(found.ask(both))
        if generation < 2:
            scores[0] = 0.0
        both, alone = found.tell(both, scores), found.tell(alone, scores[1:])
        assert torch.equal(found.ask(both)[1], found.ask(alone)[0])
        assert both.awake.tolist() == [generation >= 2, True]


@pytest.mark.parametrize(("name", "rates"), [("fdgd", {}), ("nes", {"radius_learning_rate": 0.0})])
def test_the_suite_for_optimizers_passes_with_a_safe_start(name: str, rates: dict[str, float]) -> None:
    check_optimizer(OPTIMIZERS.make(name, safe_start=True, scores="ranks", learning_rate=0.2, **rates))


def test_the_first_mean_of_a_neuron_that_answers_to_one_code_is_that_code() -> None:
    z = torch.randn(1, 20, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores = torch.zeros(1, 20)
    scores[0, 7] = 1.0
    expected = z[0, 7] / z[0, 7].square().mean().sqrt()
    torch.testing.assert_close(first_mean(z, scores)[0], expected)
    scores[0, [2, 3]] = NAN  # neither does a score that was not seen count
    torch.testing.assert_close(first_mean(z, scores)[0], expected)


# ------------------------------------------------------------------ in experiments


def test_runs_with_unlike_texts_share_an_experiment_in_groups_of_their_own(tmp_path: Any) -> None:
    import xdream

    def plan(**variants: Any) -> Plan:
        return Plan.make(
            targets=["known:linear::3"],
            generator={"name": "pixels", "size_px": 8},
            optimizer={"name": "genetic", "population": 4},
            presentations=12,
            seed=3,
            **variants,
        )

    both = [
        {"optimizer": {"name": "genetic", "population": 4, "selection": one}} for one in ("rank", "boltzmann")
    ]
    with xdream.run(plan(variants=both), tmp_path / "both") as record:
        found = [record.scores(run)[2] for run in (0, 1)]
    assert not np.array_equal(*found)
    with xdream.run(plan(variants=both[:1]), tmp_path / "alone") as record:
        assert np.array_equal(record.scores(0)[2], found[0])
