"""Units of a network as a subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from xdream import networks
from xdream.errors import BadInput, SubjectError, UnknownName
from xdream.networks import LayerReader, Network, layer_reader
from xdream.registry import declares
from xdream.subjects.base import SUBJECTS, SubjectRequest
from xdream.subjects.target import Unit, parse_units
from xdream.types import ShownImages


@dataclass(frozen=True)
class Readout:
    """The units that are read from one layer, which has so many channels."""

    layer: str
    units: tuple[Unit, ...]
    channels: int


class NetworkUnits:
    """Units of one or more layers of one network; made by `network_units`.

    counts: of the units of each request.
    """

    def __init__(self, reader: LayerReader, readouts: tuple[Readout, ...]) -> None:
        self.name = reader.network.name
        self.units = tuple(f"{r.layer}:{unit}" for r in readouts for unit in r.units)
        self.counts = tuple(len(r.units) for r in readouts)
        self.warnings = reader.network.warnings
        self._reader = reader
        self._readouts = readouts

    def respond(
        self,
        images: ShownImages,
        through: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None = None,
    ) -> torch.Tensor:
        """(n, 3, h, w) uint8 -> (n, units) float64. Raises SubjectError.

        through: `function` in an engine, which then computes the layers.
        """
        outputs = self._reader.read(images, through)
        for readout in self._readouts:
            found = outputs[readout.layer].shape[1]
            if found != readout.channels:
                raise SubjectError(
                    f"{self.name} gave {found} units in layer '{readout.layer}' instead of the "
                    f"{readout.channels} with which it began"
                )
        read = [_units_of(outputs[r.layer], r.units) for r in self._readouts]
        return torch.cat(read, dim=1).to(torch.float64).cpu()

    def function(self) -> Callable[[torch.Tensor], list[torch.Tensor]]:
        """Images -> the layers that are read, for an engine. Raises BadInput where there is no module."""
        return self._reader.function()


def network_units(
    network: Network,
    requests: Sequence[tuple[str, str]],
    device: torch.device | None = None,
    size_px: int | None = None,
) -> NetworkUnits:
    """A subject from (layer, units as written) requests; size_px as in `layer_reader`. Raises BadInput."""
    reader, shapes = layer_reader(network, [layer for layer, _ in requests], device, size_px)
    readouts = []
    for layer, text in requests:
        try:
            readouts.append(Readout(layer, parse_units(text, shapes[layer]), shapes[layer][0]))
        except BadInput as error:
            raise BadInput(f"{network.name}:{layer}:{text}: {error}") from None
    return NetworkUnits(reader, tuple(readouts))


# A subject per layer: every run has images of its own, which go no deeper than its layer.
@declares(absolute=networks.absolute, together=True)
def requested(request: SubjectRequest) -> NetworkUnits:
    """Units of one layer of a network."""
    targets = [(request.layer, units) for units in request.units]
    try:
        network = request.load(request.network)
    except UnknownName as error:
        raise UnknownName(f"{error}; other subjects: {', '.join(SUBJECTS.names())}") from None
    return network_units(network, targets, request.device, request.size_px)


def _units_of(output: torch.Tensor, units: Sequence[Unit]) -> torch.Tensor:
    channels = [unit.channel for unit in units]
    if output.ndim == 2:
        return output[:, channels]
    return output[:, channels, [unit.y for unit in units], [unit.x for unit in units]]
