"""The other end of the bridge that a plan names, found by the bridge's name."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from xdream.description import Part
from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.laboratory.rigs import BRIDGES
from xdream.laboratory.simulation.base import BridgeDriver, Driver, RigSetup
from xdream.registry import Registry

#: The driver of each bridge that has one, under the bridge's name; each is a class (see `BridgeDriver`).
DRIVERS: Registry[Driver] = Registry("driver")


@contextlib.contextmanager
def driver_of(plan: Plan, answer_format: str = "mat") -> Iterator[Driver]:
    """A driver for the plan's rig, and for its display where the rig only records; closed in the end.

    answer_format: of the files of the original's folder protocol. Raises BadInput for a bridge that has none.
    """
    assert plan.rig is not None
    assert plan.session is not None
    setup = RigSetup(plan.session.channels, answer_format)
    if plan.display is None:
        if driver_class(plan.rig).is_recorder:
            raise BadInput(
                f"there is no simulated rig for the bridge '{plan.rig.name}' without a display: add a table "
                "[display]"
            )
        with contextlib.closing(_made(plan.rig, setup)) as driver:
            yield driver
        return
    if not driver_class(plan.rig).is_recorder:
        raise BadInput(f"there is no simulated rig for the bridge '{plan.rig.name}' beside a display")
    if driver_class(plan.display).is_recorder:
        raise BadInput(f"the bridge '{plan.display.name}' records and cannot be the display")
    with (
        contextlib.closing(_made(plan.display, setup)) as display,
        contextlib.closing(_made(plan.rig, replace(setup, display=display))) as driver,
    ):
        yield driver


def driver_class(part: Part) -> type[BridgeDriver]:
    """The driver of a bridge. Raises BadInput."""
    BRIDGES.factory(part.name)
    if not DRIVERS.has(part.name):
        known = ", ".join(DRIVERS.names())
        raise BadInput(f"there is no simulated rig for the bridge '{part.name}'; there is one for: {known}")
    found: Any = DRIVERS.factory(part.name)
    lacks = [one for one in ("for_bridge", "is_recorder", "sends_spikes") if not hasattr(found, one)]
    if lacks:
        raise BadInput(
            f"driver '{part.name}' has no {', '.join(lacks)}; see xdream.laboratory.simulation.base"
        )
    return cast("type[BridgeDriver]", found)


def bridge_options(part: Part) -> dict[str, Any]:
    """The options of a plan's bridge, with the bridge's own defaults for those that are not given.

    Raises BadInput for a value that the bridge does not take, and for one that is missing.
    """
    found = {}
    for name, option in BRIDGES.options(part.name).items():
        if name in part.options:
            try:
                found[name] = option.checked(part.options[name])
            except ValueError as error:
                raise BadInput(f"bridge '{part.name}': {error}") from None
        elif option.default is inspect.Parameter.empty:
            raise BadInput(f"bridge '{part.name}' needs the option {name}")
        else:
            found[name] = option.default
    return found


def _made(part: Part, setup: RigSetup) -> Driver:
    made = driver_class(part)
    taken = inspect.signature(made.for_bridge).parameters
    return made.for_bridge(setup, **{k: v for k, v in bridge_options(part).items() if k in taken})
