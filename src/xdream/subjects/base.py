"""What a subject is: it is shown images and responds. And how one is found by the target that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xdream.registry import Registry
from xdream.subjects.target import Unit, parse_units
from xdream.types import ShownImages

if TYPE_CHECKING:  # figures ask this module for names alone
    import torch

    from xdream.networks import Network


class Subject(Protocol):
    """Something that responds to images, on one or more units.

    name: for messages and reports. units: the name of each unit, `LAYER:UNIT`, in the order of the responses.
    warnings: sentences that every output made with it must carry.

    It may have `identities`, a mapping such as {"image /nets/a.png": SHA-256}: what must be the same when an
    experiment is resumed (of the networks that it loads through its request, they are noted anyway).
    """

    name: str
    units: tuple[str, ...]
    warnings: tuple[str, ...]

    def respond(self, images: ShownImages) -> torch.Tensor:
        """(n, 3, h, w) uint8 -> (n, units) float64, without noise. Raises SubjectError."""
        ...


@dataclass(frozen=True)
class SubjectRequest:
    """What a subject is made from: a target NETWORK:LAYER:UNITS, and what the plan says beside it.

    network, layer: as in the target, paths absolute. units: as in the target, for each target of this layer:
    one, unless the factory declares `together`. size_px: of the images. channels: how many a session with a
    rig has; None for any other experiment. load: a network by name, with the plan's preprocessing; its
    weights are noted in the record, to be the same when the experiment is resumed.
    """

    network: str
    layer: str
    units: tuple[str, ...]
    size_px: int
    device: torch.device
    load: Callable[[str], Network]
    channels: int | None = None

    @property
    def target(self) -> str:
        """The (first) target as written."""
        return f"{self.network}:{self.layer}:{self.units[0]}"

    def parsed(self, shape: tuple[int, ...]) -> tuple[Unit, ...]:
        """The units of the (first) target among those of `shape`, (n,) or (channels, height, width).

        Raises BadInput.
        """
        return parse_units(self.units[0], shape)


#: Every subject by the NETWORK of its targets: a name, or a form like `known:*`. A factory takes a
#: `SubjectRequest`. It may declare (`xdream.registry.declares`) `absolute`, a function from NETWORK to the
#: same with absolute paths, where it holds some; and `together`, True where one subject serves all targets of
#: a layer: it then has `counts`, the number of units of each; and `response`, what a figure calls its
#: responses (else "activation"). A name without a subject of its own is a network's.
SUBJECTS: Registry[Subject] = Registry("subject", others=lambda name: _network())


def absolute(name: str) -> str:
    """The NETWORK of a target with absolute paths, to be found from anywhere."""
    rewritten: Callable[[str], str] = SUBJECTS.declared(name, "absolute", str)
    return rewritten(name)


def make_subject(request: SubjectRequest) -> Subject:
    """The subject that a request names. Raises BadInput and its kinds."""
    return SUBJECTS.factory(request.network)(request)


def identities(subject: Subject) -> Mapping[str, str]:
    """What must be the same when an experiment is resumed; nothing where a subject says nothing."""
    found: Mapping[str, str] = getattr(subject, "identities", {})
    return found


def _network() -> Callable[[SubjectRequest], Subject]:
    from xdream.subjects import network  # imported only for a name that is not known

    return network.requested
