"""CMA-ES and its separable form, from a safe start.

`cma`: the (μ/μ_w, λ) strategy with active covariance (Hansen 2016, "The CMA Evolution Strategy: a tutorial",
arXiv 1604.00772, equations 41 to 56). `sep-cma`: with a diagonal covariance, whose rate is (d + 2)/3 times as
high (Ros & Hansen 2008, "A simple modification in CMA-ES achieving linear time and space complexity").

In z = (code − centre) / spread of the generator's initial codes, with y_i = (z_i − m) / σ, best first:

    m ← m + σ Σ_{i ≤ μ} w_i y_i                                                                    (41, 42)
    p_σ ← (1 − c_σ) p_σ + √(c_σ (2 − c_σ) μ_w) C^(−1/2) Σ w_i y_i                                       (43)
    σ ← σ exp(c_σ / d_σ (|p_σ| / E|N(0, I)| − 1))                                                       (44)
    p_c ← (1 − c_c) p_c + h_σ √(c_c (2 − c_c) μ_w) Σ w_i y_i                                            (45)
    C ← (1 + c_1 δ(h_σ) − c_1 − c_μ Σ w_j) C + c_1 p_c p_cᵀ + c_μ Σ w_i° y_i y_iᵀ                  (46, 47)

The published strategies are defined for complete generations. Here scores that were not seen count as the
worst, alike, and a generation without two unlike scores changes nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from xdream import random
from xdream.errors import BadInput
from xdream.optimizers import safe_start
from xdream.optimizers.base import SCORE_LIMIT, check, check_population, column, usable
from xdream.optimizers.ranks import by_rank
from xdream.optimizers.safe_start import StartedState
from xdream.optimizers.search_range import SearchRange
from xdream.registry import declares
from xdream.types import Codes, Scores, Seeds

#: More components than this make a covariance matrix too large to decompose in each generation.
MOST_COMPONENTS = 2_000
LEAST_RADIUS, MOST_RADIUS = 1e-6, 1e6
_EPS = 1e-8


@dataclass(frozen=True)
class SepCMAState(StartedState):
    """radius: (runs,) σ. path, covariance_path: (runs, d) p_σ, p_c. variances: (runs, d), the diagonal of C.
    followed: (runs,) int64, generations since the scores differed. All but the last float64."""

    radius: torch.Tensor
    path: torch.Tensor
    covariance_path: torch.Tensor
    variances: torch.Tensor
    followed: torch.Tensor


@dataclass(frozen=True)
class CMAState(StartedState):
    """radius: (runs,) σ. path, covariance_path: (runs, d) p_σ, p_c. covariance: (runs, d, d) C, of which
    axes (runs, d, d) and lengths (runs, d) are the eigenvectors and the roots of the eigenvalues. followed:
    (runs,) int64, generations since the scores differed. All but the last float64."""

    radius: torch.Tensor
    path: torch.Tensor
    covariance_path: torch.Tensor
    covariance: torch.Tensor
    axes: torch.Tensor
    lengths: torch.Tensor
    followed: torch.Tensor


@dataclass(frozen=True)
class Rates:
    """What the strategies derive from d and λ: weights of the ranks (λ,), μ_w, c_1, c_μ, c_σ, d_σ, c_c."""

    weights: torch.Tensor
    effective: float
    rank_one: float
    rank_mu: float
    path: float
    damping: float
    covariance_path: float

    def expected_length(self, d: int) -> float:
        """E|N(0, I)|, approximately (Hansen 2016, after eq. 44)."""
        return math.sqrt(d) * (1.0 - 1.0 / (4.0 * d) + 1.0 / (21.0 * d**2))


def full_rates(d: int, population: int) -> Rates:
    """Of `cma` (Hansen 2016, eq. 49 to 58)."""
    mu = population // 2
    raw = [math.log((population + 1) / 2.0) - math.log(i) for i in range(1, population + 1)]
    effective = sum(raw[:mu]) ** 2 / sum(w * w for w in raw[:mu])
    negative = sum(raw[mu:]) ** 2 / sum(w * w for w in raw[mu:])
    c1 = 2.0 / ((d + 1.3) ** 2 + effective)
    c_mu = min(
        1.0 - c1 - 1e-8,
        2.0 * (effective - 2.0 + 1.0 / effective) / ((d + 2.0) ** 2 + effective),
    )
    alpha = min(
        1.0 + c1 / c_mu if c_mu else math.inf,
        1.0 + 2.0 * negative / (effective + 2.0),
        (1.0 - c1 - c_mu) / (d * c_mu) if c_mu else math.inf,
    )
    up, down = sum(w for w in raw if w > 0), sum(-w for w in raw if w < 0)
    weights = [w / up if w >= 0 else alpha * w / down for w in raw]
    c_sigma = (effective + 2.0) / (d + effective + 5.0)
    return Rates(
        torch.tensor(weights, dtype=torch.float64),
        effective,
        c1,
        c_mu,
        c_sigma,
        1.0 + 2.0 * max(0.0, math.sqrt((effective - 1.0) / (d + 1.0)) - 1.0) + c_sigma,
        (4.0 + effective / d) / (d + 4.0 + 2.0 * effective / d),
    )


def separable_rates(d: int, population: int) -> Rates:
    """Of `sep-cma` (Ros & Hansen 2008, table 1 and section 3)."""
    mu = population // 2
    raw = [math.log(mu + 1.0) - math.log(i) for i in range(1, mu + 1)]
    weights = [w / sum(raw) for w in raw]
    effective = 1.0 / sum(w * w for w in weights)
    c_mu = 2.0 / effective / (d + math.sqrt(2.0)) ** 2
    c_mu += (1.0 - 1.0 / effective) * min(1.0, (2.0 * effective - 1.0) / ((d + 2.0) ** 2 + effective))
    c_sigma = (effective + 2.0) / (d + effective + 3.0)
    return Rates(
        torch.tensor(weights + [0.0] * (population - mu), dtype=torch.float64),
        effective,
        2.0 / ((d + 1.3) ** 2 + effective),
        (d + 2.0) / 3.0 * c_mu,
        c_sigma,
        1.0 + 2.0 * max(0.0, math.sqrt((effective - 1.0) / (d + 1.0)) - 1.0) + c_sigma,
        4.0 / (d + 4.0),
    )


@dataclass(frozen=True)
class _CMA:
    """What both have: a mean and a radius that follow the best half."""

    population: Annotated[int, Field(ge=4)] = 20
    search_radius: Annotated[float, Field(ge=LEAST_RADIUS, le=MOST_RADIUS)] | torch.Tensor = 0.5

    name: ClassVar[str]
    starts_from: ClassVar[str] = "spread"

    def __post_init__(self) -> None:
        check_population(self.name, self.population, 4)
        check("search_radius", self.search_radius, LEAST_RADIUS, MOST_RADIUS)

    def _first(self, seeds: Seeds, initial: Codes) -> dict[str, torch.Tensor]:
        zero = torch.zeros_like(initial[:, 0], dtype=torch.float64)
        return {
            **safe_start.fields(seeds, initial),
            "radius": column(self.search_radius, 1, initial).expand(len(seeds)).clone(),
            "path": zero,
            "covariance_path": zero.clone(),
            "followed": torch.zeros_like(seeds),
        }

    def _noise(self, state: StartedState) -> torch.Tensor:
        shape = (self.population, state.mean.shape[-1])
        return random.normal(state.seeds, state.steps, "cma/steps", shape).to(torch.float64)

    def _asked(self, state: Any, y: torch.Tensor) -> Codes:
        followed = state.mean[:, None] + state.radius[:, None, None] * y
        drawn = functools.partial(safe_start.exploring, state, self.population)
        return safe_start.codes(state, safe_start.sampled(state, followed, drawn))

    def _started(self, state: Any, scores: Scores, changed: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """The fields of the next state: changed ones where scores were followed, else as they were."""
        told = safe_start.wakes(scores)
        begun, follow = told & ~state.awake, told & state.awake
        kept = {
            name: torch.where(follow.reshape(-1, *(1,) * (value.ndim - 1)), value, getattr(state, name))
            for name, value in changed.items()
        }
        if bool(begun.any()):
            first = safe_start.first_mean(safe_start.exploring(state, self.population), scores)
            kept["mean"] = torch.where(begun[:, None], first, kept["mean"])
        return {
            "seeds": state.seeds,
            "steps": state.steps + 1,
            "centre": state.centre,
            "spread": state.spread,
            "awake": state.awake | begun,
            "followed": state.followed + follow,
            **kept,
        }

    def recommended(self, state: StartedState) -> Codes:
        """(runs, d): the mean."""
        return safe_start.codes(state, state.mean[:, None])[:, 0]


def _worst_if_unseen(scores: Scores) -> Scores:
    """Below all that were seen, alike."""
    return usable(scores).nan_to_num(nan=-SCORE_LIMIT)


def _paths(
    state: Any, rates: Rates, step: torch.Tensor, whitened: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """p_σ, σ, p_c and h_σ (43 to 45). step: Σ w_i y_i; whitened: C^(−1/2) of it."""
    d, c, cc = step.shape[-1], rates.path, rates.covariance_path
    path = (1.0 - c) * state.path + math.sqrt(c * (2.0 - c) * rates.effective) * whitened
    length, expected = path.norm(dim=-1), rates.expected_length(d)
    radius = state.radius * (c / rates.damping * (length / expected - 1.0)).exp()
    generation = state.followed.to(torch.float64) + 1.0
    left = length / (1.0 - (1.0 - c) ** (2.0 * (generation + 1.0))).sqrt()
    moves = (left < (1.4 + 2.0 / (d + 1.0)) * expected).to(torch.float64)
    along = (1.0 - cc) * state.covariance_path + (
        moves[:, None] * math.sqrt(cc * (2.0 - cc) * rates.effective) * step
    )
    return path, radius.clamp(LEAST_RADIUS, MOST_RADIUS), along, moves


_SEARCHED = {
    "population": SearchRange(least=4.0, whole=True),
    "search_radius": SearchRange(),
}


@declares(searched=_SEARCHED)
@dataclass(frozen=True)
class SepCMA(_CMA):
    """CMA-ES with a diagonal covariance, from a safe start: linear in the number of components.

    population λ, search_radius σ at the start, in units of the spread of the generator's initial codes.
    """

    name: ClassVar[str] = "sep-cma"
    state_type: ClassVar[type[SepCMAState]] = SepCMAState

    def start(self, seeds: Seeds, initial: Codes) -> SepCMAState:
        """initial: (runs, 2, d), centre and spread of the generator's initial codes."""
        first = self._first(seeds, initial)
        return SepCMAState(**first, variances=torch.ones_like(first["path"]))

    def ask(self, state: SepCMAState) -> Codes:
        """(runs, population, d)."""
        return self._asked(state, state.variances.sqrt()[:, None] * self._noise(state))

    def tell(self, state: SepCMAState, scores: Scores) -> SepCMAState:
        """Move the mean, change radius and variances."""
        rates = separable_rates(state.mean.shape[-1], self.population)
        lengths = state.variances.sqrt()
        y = lengths[:, None] * self._noise(state)
        w = by_rank(_worst_if_unseen(scores), rates.weights.to(y.device).expand(len(y), -1))
        step = (w[:, None] @ y)[:, 0]
        path, radius, along, moves = _paths(state, rates, step, step / lengths)
        lost = (1.0 - moves) * rates.covariance_path * (2.0 - rates.covariance_path)
        kept = (1.0 + rates.rank_one * lost - rates.rank_one - rates.rank_mu)[:, None]
        variances = (
            kept * state.variances + rates.rank_one * along**2 + rates.rank_mu * (w[:, None] @ y**2)[:, 0]
        )
        changed = {
            "mean": state.mean + state.radius[:, None] * step,
            "radius": radius,
            "path": path,
            "covariance_path": along,
            "variances": variances,
        }
        return SepCMAState(**self._started(state, scores, changed))


@declares(searched=_SEARCHED)
@dataclass(frozen=True)
class CMA(_CMA):
    """CMA-ES with the full covariance, from a safe start; up to 2,000 components.

    population λ, search_radius σ at the start, in units of the spread of the generator's initial codes.
    """

    name: ClassVar[str] = "cma"
    state_type: ClassVar[type[CMAState]] = CMAState
    derived: ClassVar[frozenset[str]] = frozenset({"axes", "lengths"})

    def start(self, seeds: Seeds, initial: Codes) -> CMAState:
        """initial: (runs, 2, d), centre and spread of the generator's initial codes. Raises BadInput."""
        d = initial.shape[-1]
        if d > MOST_COMPONENTS:
            raise BadInput(
                f"cma is for codes of up to {MOST_COMPONENTS} numbers, and these have {d}; choose sep-cma, "
                "which has a variance for each number, or rank-nes"
            )
        first = self._first(seeds, initial)
        eye = torch.eye(d, dtype=torch.float64, device=initial.device).expand(len(seeds), d, d).contiguous()
        return self.restored({**first, "covariance": eye})

    def restored(self, saved: Mapping[str, torch.Tensor]) -> CMAState:
        """The state, with the axes of its covariance."""
        # One after the other: a matrix alone is decomposed as it is beside others.
        each = [torch.linalg.eigh(one) for one in saved["covariance"]]
        values = torch.stack([one.eigenvalues for one in each])
        lengths = torch.where(values < 0.0, _EPS, values).sqrt()
        return CMAState(**saved, axes=torch.stack([one.eigenvectors for one in each]), lengths=lengths)

    def ask(self, state: CMAState) -> Codes:
        """(runs, population, d)."""
        return self._asked(state, self._steps(state))

    def tell(self, state: CMAState, scores: Scores) -> CMAState:
        """Move the mean, change radius and covariance."""
        d = state.mean.shape[-1]
        rates = full_rates(d, self.population)
        y = self._steps(state)
        whitened = (y @ state.axes) / state.lengths[:, None]
        weights = rates.weights.to(y.device)
        told = _worst_if_unseen(scores)
        w = by_rank(told, weights.expand(len(y), -1))
        up = by_rank(told, weights.clamp_min(0.0).expand(len(y), -1))
        step = (up[:, None] @ y)[:, 0]
        root = ((up[:, None] @ whitened) @ state.axes.mT)[:, 0]
        path, radius, along, moves = _paths(state, rates, step, root)
        lost = (1.0 - moves) * rates.covariance_path * (2.0 - rates.covariance_path)
        total = rates.rank_mu * float(weights.sum())
        kept = (1.0 + rates.rank_one * lost - rates.rank_one - total)[:, None, None]
        # A bad sample's outer product counts as if it had the length that is expected (46).
        negative = d / (whitened.square().sum(-1) + _EPS)
        w = torch.where(w >= 0.0, w, w * negative)
        covariance = (
            kept * state.covariance
            + rates.rank_one * along[:, :, None] * along[:, None]
            + rates.rank_mu * ((w[:, :, None] * y).mT @ y)
        )
        changed = {
            "mean": state.mean + state.radius[:, None] * step,
            "radius": radius,
            "path": path,
            "covariance_path": along,
            "covariance": (covariance + covariance.mT) / 2.0,
        }
        return self.restored(self._started(state, scores, changed))

    def _steps(self, state: CMAState) -> torch.Tensor:
        """(runs, population, d): y ~ N(0, C)."""
        return (self._noise(state) * state.lengths[:, None]) @ state.axes.mT
