"""What a generator is: codes in, images out, nothing remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, cast, runtime_checkable

import torch

from xdream import random
from xdream.errors import BadInput
from xdream.generators.region import DEFAULT_RADIUS, CodeRegion, Radius, bounded
from xdream.options import Option
from xdream.registry import Registry
from xdream.types import Codes, Images, Seeds


class CodeDistribution(Protocol):
    """How a generator's initial codes are distributed: anything that can be drawn from."""

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d) float32 on the device of the seeds; the same for equal seeds, whatever else is drawn
        (`xdream.random` draws so)."""
        ...


@dataclass(frozen=True)
class GaussianCodes:
    """N(mean, std²) per dimension, cut at `floor`.

    mean, std: (d,) float32. floor: least value of a component (None: no limit); the DeePSiM generators
    were trained on features after a ReLU, so their codes are cut at zero. purpose: of the draws.
    """

    mean: torch.Tensor
    std: torch.Tensor
    floor: float | None = None
    purpose: str = "initial codes"

    def draw(self, seeds: Seeds, n: int) -> Codes:
        """(runs, n, d) float32; the same for equal seeds, whatever else is drawn."""
        start = torch.zeros_like(seeds)
        z = random.normal(seeds, start, self.purpose, (n, len(self.mean)))
        codes = self.mean.to(z.device) + self.std.to(z.device) * z
        return codes if self.floor is None else codes.clamp_min(self.floor)

    def to(self, device: torch.device) -> GaussianCodes:
        """The same distribution on a device."""
        return GaussianCodes(self.mean.to(device), self.std.to(device), self.floor, self.purpose)


@dataclass(frozen=True)
class Tuned:
    """Hyperparameters of one optimizer that do well with a generator; others keep the optimizer's defaults.

    with_noise: where they are others when responses are noisy.
    """

    values: Mapping[str, Any]
    with_noise: Mapping[str, Any] | None = None

    def of(self, *, noisy: bool) -> dict[str, Any]:
        """Those with noise or without."""
        return dict(self.with_noise if noisy and self.with_noise is not None else self.values)


#: A component that does not vary is searched all the same, within this.
SMALLEST_SPREAD = 1e-6


class Generator(Protocol):
    """Turns codes into images.

    A factory may declare (`xdream.registry.declares`):
        tuned: optimizer's name -> `Tuned`, the default hyperparameters with this generator.
        region: (codes, radius), where a search keeps its codes when they are drawn: ("ball", 1.3), say;
            but for optimizers that declare `free`.
        parametric: true for one whose codes are named numbers (`xdream.generators.parametric`).
        absolute: a function from the generator's name to the same name with absolute paths, for names that
            hold some. absolute_options: the same of its options, for paths inside tables.

    name: as the user wrote it. code_shape: the shape of one code before it was flattened to d numbers.
    image_size_px: height and width of an image. differentiable: whether gradients flow from the images
    to the codes. initial: the distribution of initial codes. centre: (d,) float32, where optimizers that
    move a centre start. warnings: sentences that every output made with it must carry. fingerprint: SHA-256
    of the weights that its images depend on (`xdream.networks.fingerprint`), so that an experiment does not
    go on with others; "" for one without weights. A generator may have `bounds`, (low, high) of (d,) each,
    for `codes = "box"`, and `parameters`, what each number of a code is (`xdream.generators.parametric`).
    """

    name: str
    code_shape: tuple[int, ...]
    image_size_px: int
    differentiable: bool
    centre: torch.Tensor
    warnings: tuple[str, ...]

    @property
    def initial(self) -> CodeDistribution: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    def __call__(self, codes: Codes) -> Images:
        """(n, d) float32 -> (n, 3, h, w) float32, RGB; in [0, 1] once clipped."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same generator on a device."""
        ...


@runtime_checkable
class Invertible(Protocol):
    """A generator that says the code of an image itself: in closed form, or by the encoder it inverts."""

    def invert(self, images: Images) -> Codes:
        """(n, 3, h, w) in [0, 1], of the generator's own size -> (n, d)."""
        ...


@runtime_checkable
class WithStatistics(Protocol):
    """A generator that takes `init = "statistics:FILE"`: it knows how such a file calls its codes, and where
    they are cut."""

    def initial_from(self, statistics: Path) -> CodeDistribution:
        """The distribution of initial codes in a file. Raises BadInput."""
        ...


#: The spread of a distribution that does not say it is that of so many draws.
SPREAD_DRAWS = 1_000


def spread_of(distribution: CodeDistribution, centre: torch.Tensor) -> torch.Tensor:
    """(d,) float32: the standard deviation of each component of the initial codes, above 0.

    A distribution may say it (`std`); else it is that of `SPREAD_DRAWS` draws, the same each time.
    """
    declared = getattr(distribution, "std", None)
    if declared is None:
        seeds = torch.zeros(1, dtype=torch.int64, device=centre.device)
        declared = distribution.draw(seeds, SPREAD_DRAWS)[0].std(0)
    return torch.as_tensor(declared, dtype=torch.float32, device=centre.device).clamp_min(SMALLEST_SPREAD)


class GeneratorRegistry(Registry[Generator]):
    """Generators by name. Each has two options beside its factory's: `codes` and `radius`, the region in
    which its codes are drawn (`xdream.generators.region`)."""

    def options(self, name: str) -> Mapping[str, Option]:
        """What the factory behind a name takes, and the region. Raises UnknownName."""
        region = {
            "codes": Option("codes", CodeRegion, "free", False),
            "radius": Option("radius", Radius | None, None, False),
        }
        return {**region, **super().options(name)}

    def described(self, name: str) -> str:
        """A part in a few lines, with the region in which searches keep its codes."""
        region = self.declared(name, "region")
        named = self.declared(name, "parametric")
        numbers = [f"\n  code: {one}" for one in self.make(name).parameters] if named else []  # type: ignore[attr-defined]
        if len(numbers) > MOST_NAMED:
            numbers = [*numbers[:MOST_NAMED], f"\n  code: … {len(numbers) - MOST_NAMED} more"]
        said = (
            f"\n  in a search: codes {region[0]!r}, radius {region[1]} (free with genetic, fdgd, nes)"
            if region
            else ""
        )
        return super().described(name) + said + "".join(numbers)

    def absolute(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with absolute paths, also inside tables, where the factory says how."""
        inside: Callable[[Mapping[str, Any]], dict[str, Any]] = self.declared(name, "absolute_options", dict)
        return inside(super().absolute(name, options))

    def filled(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with the defaults of those that are left out; a free generator has no radius."""
        found = super().filled(name, options)
        if found["codes"] == "free":
            return found if "radius" in options else {k: v for k, v in found.items() if k != "radius"}
        if found["codes"] == "box":  # a box has the bounds of the generator, or a radius that is given
            return {k: v for k, v in found.items() if v is not None}
        return {"radius": DEFAULT_RADIUS, **found}

    def make(self, name: str, **options: Any) -> Generator:
        """Call the factory behind `name`; its codes stay in their region. Raises BadInput, UnknownName."""
        known = self.options(name)
        region: dict[str, Any] = {}
        for key in ("codes", "radius"):
            try:
                region[key] = known[key].checked(options.pop(key, known[key].default))
            except ValueError as error:
                raise BadInput(f"generator '{name}': {error}") from None
        if region["codes"] == "free":
            if region["radius"] is not None:
                raise BadInput(
                    f"generator '{name}': radius is for codes in a ball, on a sphere or in a box; give codes"
                )
            return super().make(name, **options)
        made = bounded(super().make(name, **options), region["codes"], region["radius"])
        return cast(Generator, made)


#: Parameters of a generator that its description lists.
MOST_NAMED = 40
#: Every generator by name.
GENERATORS = GeneratorRegistry("generator", others=lambda name: _installed(name))


def absolute(name: str) -> str:
    """A generator's name with absolute paths, to be used from anywhere. Raises UnknownName."""
    rewritten: Callable[[str], str] = GENERATORS.declared(name, "absolute", str)
    return rewritten(name)


def _installed(name: str) -> Callable[..., Generator] | None:
    """A generator file that lies where weights are looked for, by its name."""
    from xdream.generators import learned  # imported only for a name that is not known

    return learned.by_name(name)
