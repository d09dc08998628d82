"""SphereCMA: an evolution strategy on a sphere (Wang & Ponce 2022, GECCO; "ZOHA_Sphere_lr_euclid").

In z = (code − centre) / spread of the generator's initial codes, on the sphere of radius R = √d, from the
base x, with N = d:

    samples  v_k = u_k − (u_k·x) x/|x|², u_k ~ N(0, I);  t_k = θ_g / √N · v_k
             z_k = R [cos|t_k| x/R + sin|t_k| t_k/|t_k|]                                              (1)
    x itself is shown, too, with no weight                                                            (2)
    m = Σ w_k z_k, w_k ∝ ln(20.5) − ln rank_k for the best 20 of 40, y = R m/|m|, α = angle(x, y)    (3)
    x ← [sin((1 − l) α) x + sin(l α) y] / sin α                                                       (4)
    θ_g = 50° (7.33/50)^(g/(G − 1)), "exponential"; or 15° + 1°/(0.0017 g + 0.0146), "inverse"        (5)

Start: Gaussian draws on the sphere, x = R m/|m|; drawn again while the scores are all alike. The exponential
schedule is over G = `generations`, after which the angle stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from xdream import random
from xdream.errors import BadInput
from xdream.optimizers import safe_start
from xdream.optimizers.base import check, check_population, column
from xdream.optimizers.ranks import by_rank
from xdream.optimizers.safe_start import StartedState
from xdream.optimizers.search_range import SearchRange
from xdream.registry import declares
from xdream.types import Codes, Scores, Seeds

FIRST_ANGLE, LAST_ANGLE = 50.0, 7.33
#: Below this angle between base and mean, radians, they are one.
LEAST_ANGLE = 1e-9


@dataclass(frozen=True)
class SphereCMAState(StartedState):
    """mean: the base x; zero before the scores differ. followed: (runs,) int64, generations from a base."""

    followed: torch.Tensor


@declares(
    searched={
        "population": SearchRange(least=2.0, whole=True),
        "learning_rate": SearchRange(),
        "generations": SearchRange(least=2.0, whole=True),
    },
)
@dataclass(frozen=True)
class SphereCMA:
    """Samples around a base on the sphere of natural contrast, and turns the base towards the best half.

    population B, beside which the base is shown; learning_rate l; schedule of the angle over `generations`.
    Defaults: the paper's, for its 3,000 evaluations.
    """

    population: Annotated[int, Field(ge=3)] = 41
    learning_rate: Annotated[float, Field(ge=0, le=2)] | torch.Tensor = 1.5
    schedule: Literal["exponential", "inverse"] = "exponential"
    generations: Annotated[int, Field(ge=2)] = 75

    state_type: ClassVar[type[SphereCMAState]] = SphereCMAState
    starts_from: ClassVar[str] = "spread"

    def __post_init__(self) -> None:
        check_population("sphere-cma", self.population, 3)
        check("learning_rate", self.learning_rate, 0.0, 2.0)
        check("generations", self.generations, 2, 10**9)
        if self.schedule not in ("exponential", "inverse"):
            raise BadInput(f"schedule is {self.schedule!r}; choose exponential or inverse")

    @property
    def _samples(self) -> int:
        """B: all but the base."""
        return self.population - 1

    def start(self, seeds: Seeds, initial: Codes) -> SphereCMAState:
        """initial: (runs, 2, d), centre and spread of the generator's initial codes."""
        fields = safe_start.fields(seeds, initial)
        fields["mean"] = _on_sphere(fields["mean"])
        return SphereCMAState(**fields, followed=torch.zeros_like(seeds))

    def populations(self, state: SphereCMAState) -> torch.Tensor:
        """The base is shown as soon as there is one."""
        return torch.where(state.awake, self.population, self._samples)

    def ask(self, state: SphereCMAState) -> Codes:
        """(runs, population, d): the samples, then the base."""
        z = safe_start.sampled(state, self._around(state), lambda: self._anywhere(state))
        return safe_start.codes(state, torch.cat((z, state.mean[:, None]), dim=1))

    def tell(self, state: SphereCMAState, scores: Scores) -> SphereCMAState:
        """Turn the base, or find the first one."""
        told = scores[:, : self._samples]
        weights = by_rank(told, self._weights(told))[:, None, :]
        begun = safe_start.wakes(told) & ~state.awake
        turned = self._turned(state.mean, _on_sphere((weights @ self._around(state))[:, 0]))
        seen = (weights != 0.0).any(-1)[:, 0]
        base = torch.where((state.awake & seen)[:, None], turned, state.mean)
        if bool(begun.any()):
            base = torch.where(begun[:, None], _on_sphere((weights @ self._anywhere(state))[:, 0]), base)
        return SphereCMAState(
            state.seeds,
            state.steps + 1,
            state.centre,
            state.spread,
            state.awake | begun,
            base,
            torch.where(state.awake, state.followed + 1, 0),
        )

    def recommended(self, state: SphereCMAState) -> Codes:
        """(runs, d): the base."""
        return safe_start.codes(state, state.mean[:, None])[:, 0]

    def angle(self, followed: torch.Tensor) -> torch.Tensor:
        """θ_g in degrees (5). followed: g."""
        g = followed.to(torch.float64)
        if self.schedule == "inverse":
            return 15.0 + 1.0 / (0.0017 * g + 0.0146)
        share = (g / (self.generations - 1)).clamp_max(1.0)
        found: torch.Tensor = FIRST_ANGLE * (share * math.log(LAST_ANGLE / FIRST_ANGLE)).exp()
        return found

    def _weights(self, told: Scores) -> torch.Tensor:
        """(runs, B): w of the best, the second best, … of those that were seen; half of them have one (3)."""
        seen = (~torch.isnan(told)).sum(-1)
        place = torch.arange(1, told.shape[-1] + 1, dtype=torch.float64, device=told.device)
        half = (seen // 2).clamp_min(1)[:, None]
        raw = torch.where(place <= half, torch.log(half + 0.5) - torch.log(place), 0.0)
        raw = torch.where(place <= seen[:, None], raw, 0.0)
        return raw / raw.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)

    def _anywhere(self, state: SphereCMAState) -> torch.Tensor:
        return _on_sphere(safe_start.exploring(state, self._samples))

    def _around(self, state: SphereCMAState) -> torch.Tensor:
        """(runs, B, d): the samples (1)."""
        d = state.mean.shape[-1]
        shape = (self._samples, d)
        u = random.normal(state.seeds, state.steps, "sphere-cma/steps", shape).to(torch.float64)
        x = state.mean[:, None]
        v = u - (u @ x.mT) / d * x
        t = (self.angle(state.followed) * math.pi / 180.0 / math.sqrt(d))[:, None, None] * v
        length = t.norm(dim=-1, keepdim=True)
        direction = t / length.clamp_min(torch.finfo(torch.float64).tiny)
        found: torch.Tensor = torch.cos(length) * x + math.sqrt(d) * torch.sin(length) * direction
        return found

    def _turned(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(4): from x towards y, and beyond it, on the great circle through both."""
        d = x.shape[-1]
        angle = torch.acos(((x * y).sum(-1, keepdim=True) / d).clamp(-1.0, 1.0))
        rate = column(self.learning_rate, 2, x)
        turned = torch.sin((1.0 - rate) * angle) * x + torch.sin(rate * angle) * y
        apart = (angle > LEAST_ANGLE) & (angle < math.pi - LEAST_ANGLE)
        return torch.where(apart, _on_sphere(turned / torch.sin(torch.where(apart, angle, 1.0))), x)


def _on_sphere(z: torch.Tensor) -> torch.Tensor:
    """Rescaled to |z| = √d; 0 stays 0."""
    length = z.norm(dim=-1, keepdim=True)
    return torch.where(length > 0.0, z * (math.sqrt(z.shape[-1]) / length.clamp_min(1e-300)), z)
