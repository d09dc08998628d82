"""Channels of a recording: what the runs of a session are driven by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdream.errors import BadInput, SubjectError
from xdream.registry import declares
from xdream.subjects.base import SubjectRequest
from xdream.subjects.target import RIG, parse_units
from xdream.types import ShownImages

if TYPE_CHECKING:
    import torch


class Channels:
    """The units of a target `rig:NAME:CHANNELS`: each channel that is named, or `all` as one unit.

    NAME is the run's own and may be empty. A rig is not asked like a network: `xdream.laboratory.session`
    shows it blocks.
    """

    def __init__(self, layer: str, units: str, channels: int) -> None:
        """channels: how many there are. Raises BadInput for one that is not there."""
        self.name = RIG
        self.warnings: tuple[str, ...] = ()
        if units != "all" and "@" in units:
            raise BadInput(f"target '{RIG}:{layer}:{units}': a channel has no position")
        numbers = ["all"] if units == "all" else [str(one) for one in parse_units(units, (channels,))]
        self.units = tuple(f"{layer}:{one}" for one in numbers)

    def respond(self, images: ShownImages) -> torch.Tensor:
        """Raises SubjectError: a rig answers in its own time."""
        raise SubjectError("a rig cannot be asked for responses; a plan with a rig is for xdream serve")


@declares(response="as recorded")
def requested(request: SubjectRequest) -> Channels:
    """Channels of a session's rig: `rig:NAME:CHANNELS`."""
    if request.channels is None:
        raise BadInput(f"target '{request.target}' needs a rig: a table [rig] with the name of a bridge")
    return Channels(request.layer, request.units[0], request.channels)


def channel_of(target: str) -> int | None:
    """The channel of a run's target as `Channels` names it; None: all of them."""
    unit = target.rpartition(":")[2]
    return None if unit == "all" else int(unit)
