"""A rehearsal: the rig that a plan names, with units of a network as neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xdream.errors import BadInput
from xdream.experiment.assemble import subject_of
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS
from xdream.laboratory.simulation.drivers import bridge_options, driver_class, driver_of
from xdream.laboratory.simulation.faults import Faults
from xdream.laboratory.simulation.neurons import NeuronsPlan, SimulatedNeurons
from xdream.laboratory.simulation.rig import simulate

#: What the number of channels less one stands for in a target.
LAST = "N"


def rehearse(
    plan: Plan,
    target: str,
    neurons: Mapping[str, Any] | None = None,
    faults: Mapping[str, Any] | None = None,
    answer_format: str = "mat",
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int], None] = lambda number, presentations: None,
) -> int:
    """Answer a session until it is over; returns how many blocks. It may begin before the session.

    target: NETWORK:LAYER:UNITS, one unit for each channel; its last `N` is the last channel's number.
    neurons, faults: keys of `NeuronsPlan` and `Faults`. tell: (block, presentations) before each. Raises
    BadInput.
    """
    if plan.rig is None or plan.session is None:
        raise BadInput("the plan has no rig; give the plan of a session")
    given = dict(neurons or {})
    if driver_class(plan.rig).sends_spikes:
        window = {key: value for key, value in bridge_options(plan.rig).items() if key == "stop_ms"}
        given = {"records": "spikes"} | window | given
    how, what = NeuronsPlan.make(**given), Faults.make(**faults or {})
    channels = len(plan.session.channels)
    if target.endswith(LAST):
        target = f"{target.removesuffix(LAST)}{channels - 1}"
    drawing = [one.generator for one in plan.each()]
    size_px = plan.image_size_px or max(
        GENERATORS.make(one.name, **one.options).image_size_px for one in drawing
    )
    subject = subject_of(target, size_px, plan)
    population = SimulatedNeurons(subject, how, channels, size_px)
    with driver_of(plan, answer_format) as driver:
        return simulate(driver, population, what, stop=stop, tell=tell)
