"""Where in a network a study looks: its early, middle, late and output layers, and which of their units."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from xdream import networks
from xdream.errors import BadInput
from xdream.subjects.target import parse_units

if TYPE_CHECKING:
    from xdream.networks import Network

#: The depths that studies compare, from the image on.
DEPTHS = ("early", "middle", "late", "output")
#: Layers by depth. Of the original networks those of Xiao & Kreiman (2020), "Methods".
_KNOWN: dict[str, tuple[str, str, str, str]] = {
    "efficientnet-lite0": ("_blocks.1", "_blocks.6", "_blocks.13", "_fc"),
    "efficientnet-lite1": ("_blocks.2", "_blocks.9", "_blocks.20", "_fc"),
    "efficientnet-lite2": ("_blocks.2", "_blocks.9", "_blocks.20", "_fc"),
    "squeezenet1.1": ("fire2", "fire5", "fire9", "scores"),
    "caffenet": ("conv2", "conv4", "fc6", "fc8"),
    "placescnn": ("conv2", "conv4", "fc6", "fc8"),
    "resnet-152-v2": ("res15_eletwise", "res25_eletwise", "res35_eletwise", "classifier"),
    "resnet-269-v2": ("res25_eletwise", "res45_eletwise", "res60_eletwise", "classifier"),
    "inception-v3": ("pool2_3x3_s2", "reduction_a_concat", "reduction_b_concat", "classifier"),
    "inception-v4": ("inception_stem3", "reduction_a_concat", "reduction_b_concat", "classifier"),
    "inception-resnet-v2": ("stem_concat", "reduction_a_concat", "reduction_b_concat", "classifier"),
}
#: How deep the layers of an unknown network are looked for, as a part of all its layers.
_PARTS = (0.2, 0.5, 0.8)


@dataclass(frozen=True)
class LayerChoice:
    """A layer of a network. depth: one of `DEPTHS`, or what the user called it; the layer's name if nothing.

    shape: (channels,) or (channels, height, width).
    """

    network: str
    depth: str
    layer: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.network}:{self.layer}"


def short(network: str) -> str:
    """What a network is called in tables and figures: `caffe:/nets/caffenet` is caffenet."""
    scheme, colon, rest = network.partition(":")
    if not colon:
        return network
    first = rest.split("?")[0].split("+")[0]
    name = PurePath(first).name
    for suffix in (".prototxt", ".caffemodel", ".onnx", ".pt", ".pt2"):
        name = name.removesuffix(suffix)
    return name or scheme


def layer_at(network: str, depth: str) -> str | None:
    """The layer of a known network at a depth."""
    known = _KNOWN.get(short(network).lower())
    return None if known is None or depth not in DEPTHS else known[DEPTHS.index(depth)]


def layers_at(network: Network, wanted: Sequence[str], size_px: int | None = None) -> list[LayerChoice]:
    """The layers of a network that a study looks at.

    wanted: depths (`late`), layers (`conv4`) or both (`late=conv4`). Where the layers of a network are not
    known by depth, they are those at a fifth, half and four fifths of its layers, and the last.
    Raises BadInput.
    """
    infos = {i.name: i for i in networks.layers(network, size_px) if len(i.shape) in (1, 3)}
    if not infos:
        raise BadInput(f"network '{network.name}' has no layer with units; a study needs one")
    known = _KNOWN.get(short(network.name).lower())
    by_depth = dict(zip(DEPTHS, known or _spread(list(infos)), strict=True))
    found = []
    for text in wanted:
        depth, equals, layer = text.partition("=")
        if not equals:
            layer = by_depth.get(text, text)
        if layer not in infos:
            raise BadInput(
                f"'{text}' is no depth ({', '.join(DEPTHS)}) and no layer of {network.name}; "
                f"its layers: xdream list targets --layers {network.name}"
            )
        found.append(LayerChoice(network.name, depth or "output", layer, infos[layer].shape))
    return found


def _spread(names: Sequence[str]) -> tuple[str, str, str, str]:
    last = len(names) - 1
    early, middle, late = (names[round(part * last)] for part in _PARTS)
    return early, middle, late, names[last]


def candidates(place: LayerChoice, units: int | str) -> tuple[str, ...]:
    """Units of a layer, each as a target has it: those that are named, or so many.

    So many: in an order that is mixed but the same for ever, so that fewer are the first of more; at the
    centre, where the layer has positions. Raises BadInput for units that are not there.
    """
    if isinstance(units, str):
        try:
            return tuple(str(unit) for unit in parse_units(units, place.shape))
        except BadInput as error:
            raise BadInput(f"{place}:{units}: {error}") from None
    order = sorted(range(place.shape[0]), key=lambda unit: _mixed(f"{place.layer} {unit}"))
    return tuple(str(parse_units(str(unit), place.shape)[0]) for unit in order[:units])


def _mixed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
