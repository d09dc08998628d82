"""Default hyperparameters: what the generator declares for the optimizer, else the optimizer's own.

A plan is resolved when it is made and stored with the values, so a stored plan never takes a default of a
later release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdream.errors import UnknownName
from xdream.generators import GENERATORS, Tuned
from xdream.optimizers import OPTIMIZERS

Hyperparameters = dict[str, Any]


def hyperparameters(
    generator: str, optimizer: str, *, noisy: bool, in_recording: bool = False
) -> Hyperparameters:
    """Every hyperparameter of an optimizer that has a default, with a generator and with noise or without.

    in_recording: whether a rig records. A generator of no known name has no defaults of its own. Raises
    UnknownName for an optimizer.
    """
    own = {
        name: option.default
        for name, option in OPTIMIZERS.options(optimizer).items()
        if isinstance(option.default, bool | int | float | str)
    }
    tuned = _tuned(generator).get(optimizer)
    found = own | (tuned.of(noisy=noisy) if tuned else {})
    if in_recording:
        found |= OPTIMIZERS.declared(optimizer, "in_recordings", {})
    return found


def with_region(generator: str, optimizer: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a generator with the region in which a search keeps its codes when it draws them.

    That is what the options say, else what the generator declares; the published optimizers leave codes free
    (they declare `free`). Raises UnknownName.
    """
    declared = GENERATORS.declared(generator, "region")
    if declared is None or "codes" in options or OPTIMIZERS.declared(optimizer, "free", False):
        return dict(options)
    codes, radius = declared
    return {"codes": codes, "radius": radius, **options}


def _tuned(generator: str) -> Mapping[str, Tuned]:
    try:
        declared: Mapping[str, Tuned] = GENERATORS.declared(generator, "tuned", {})
    except UnknownName:  # an object of the caller's own
        return {}
    return declared


@dataclass(frozen=True)
class DefaultsRow:
    """The defaults of one combination. generator: "any other" where the optimizer's own serve.

    noise: "with", "without" or "with and without".
    """

    generator: str
    optimizer: str
    noise: str
    values: Hyperparameters


#: How the table calls the generators that declare nothing for an optimizer.
ANY_OTHER = "any other"
#: How it calls defaults that serve for noisy responses and for others.
ALL_NOISE = "with and without"


def table() -> list[DefaultsRow]:
    """What `xdream list defaults` prints: each declared combination, then each optimizer's own."""
    rows = []
    for generator in [*GENERATORS.names(), *GENERATORS.forms()]:
        for optimizer, tuned in _tuned(generator).items():
            cases = {"without": False, "with": True}
            for noise, noisy in ({ALL_NOISE: False} if tuned.with_noise is None else cases).items():
                values = hyperparameters(generator, optimizer, noisy=noisy)
                rows.append(DefaultsRow(generator, optimizer, noise, values))
    rows += [
        DefaultsRow(ANY_OTHER, one, ALL_NOISE, hyperparameters(ANY_OTHER, one, noisy=True))
        for one in OPTIMIZERS.names()
    ]
    return rows
