"""How natural are images? Measured beside photographs, for the images that benches/optimizers.py kept.

    python benches/naturalness.py --photographs tiny64-val.zip --images FOLDER

FOLDER is what `benches/optimizers.py --images FOLDER` writes; images are grouped by depth, noise and method.
All at 64 px. The first 1,000 photographs are the bank, the next 1,000 give a photograph's own value.

texture, object: distance to the nearest photograph of the bank, over that of a photograph (1). Texture: means
and standard deviations of the channels of SqueezeNet's fire3, standardised, Euclidean. Object: means of
fire9, cosine. saturated: values below 2 % or above 98 %. variation: mean absolute difference of neighbouring
grey values. slope: of log power over log frequency, Hann window, 2 to 28 cycles. Medians over images.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xdream.generators import layer_features
from xdream.images import references
from xdream.images.references import References
from xdream.networks import load

SIZE_PX, BANK = 64, 1_000
TEXTURE, OBJECT = "fire3", "fire9"
FIRST_CYCLE, LAST_CYCLE = 2, 28


class Measures:
    """What is measured of images, (n, 3, 64, 64) in [0, 1], beside a bank of photographs."""

    def __init__(self, photographs: torch.Tensor) -> None:
        network = load("squeezenet1.1")
        self._texture = layer_features(network, TEXTURE, SIZE_PX)
        self._object = layer_features(network, OBJECT, SIZE_PX)
        bank, others = photographs[:BANK], photographs[BANK : 2 * BANK]
        texture, _ = self._features(bank)
        self._mean, self._std = texture.mean(0), texture.std(0).clamp_min(1e-6)
        self._bank = self._standardised(bank)
        self._own = [np.median(one) for one in self._nearest(others)]
        self.photographs = self.of(others)

    def of(self, images: torch.Tensor) -> Naturalness:
        """The medians of some images."""
        texture, objects = (
            float(np.median(one) / own) for one, own in zip(self._nearest(images), self._own, strict=True)
        )
        values = images.numpy()
        grey = values.mean(1)
        across, down = (np.abs(np.diff(grey, axis=axis)).mean((1, 2)) for axis in (2, 1))
        return Naturalness(
            texture,
            objects,
            float(((values < 0.02) | (values > 0.98)).mean()),
            float(np.median((across + down) / 2)),
            float(np.median([slope(one) for one in grey])),
        )

    def _features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        texture, objects = [], []
        with torch.inference_mode():
            for some in images.split(100):
                early = self._texture(some).flatten(2)
                texture.append(torch.cat((early.mean(2), early.std(2)), 1))
                objects.append(self._object(some).flatten(2).mean(2))
        return torch.cat(texture), torch.cat(objects)

    def _standardised(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        texture, objects = self._features(images)
        return (texture - self._mean) / self._std, torch.nn.functional.normalize(objects, dim=1)

    def _nearest(self, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        texture, objects = self._standardised(images)
        near = torch.cdist(texture, self._bank[0]).min(1).values
        return near.numpy(), (1.0 - (objects @ self._bank[1].T).max(1).values).numpy()


@dataclass(frozen=True)
class Naturalness:
    """The row of a table."""

    texture: float
    objects: float
    saturated: float
    variation: float
    slope: float

    def __str__(self) -> str:
        return (
            f"{self.texture:.2f} | {self.objects:.2f} | {self.saturated:.1%} | {self.variation:.3f} | "
            f"{self.slope:.2f}"
        )


def slope(grey: np.ndarray) -> float:
    """Of log power over log frequency of one image, (h, w)."""
    window = np.outer(np.hanning(len(grey)), np.hanning(len(grey)))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    cycles = np.fft.fftfreq(len(grey), 1 / len(grey))
    radius = np.hypot(*np.meshgrid(cycles, cycles)).round().astype(int)
    wanted = np.arange(FIRST_CYCLE, LAST_CYCLE + 1)
    radial = np.array([power[radius == one].mean() for one in wanted])
    return float(np.polyfit(np.log(wanted), np.log(radial + 1e-12), 1)[0])


def as_floats(found: References, numbers: Sequence[int]) -> torch.Tensor:
    """Photographs in [0, 1]."""
    return found.images(numbers, SIZE_PX).to(torch.float32) / 255.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", required=True, help="a folder or a zip file, 2,000 or more")
    parser.add_argument("--images", type=Path, required=True, help="of benches/optimizers.py --images")
    options = parser.parse_args()
    measures = Measures(as_floats(references.load(options.photographs), range(2 * BANK)))
    evolved = references.load(str(options.images))
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for number, name in enumerate(evolved.names):
        depth, noise, method = read_name(Path(name).stem)
        groups[depth, noise, method].append(number)
    print("| layer | noise | method | images | texture | object | saturated | variation | slope |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| photographs | | | {BANK} | {measures.photographs} |")
    for (depth, noise, method), numbers in sorted(groups.items()):
        row = measures.of(as_floats(evolved, numbers))
        print(f"| {depth} | {noise} | {method} | {len(numbers)} | {row} |")


def read_name(stem: str) -> tuple[str, str, str]:
    """Depth, noise and method of a file of benches/optimizers.py."""
    from optimizers import DEPTHS, NETWORKS

    network, rest = next((n, stem.removeprefix(f"{n}_")) for n in NETWORKS if stem.startswith(f"{n}_"))
    layers = NETWORKS[network]
    depth = next(d for d, layer in zip(DEPTHS, layers, strict=True) if rest.startswith(f"{layer}_"))
    _, _, method, noise, _ = rest.removeprefix(f"{layers[DEPTHS.index(depth)]}_").split("_")
    return depth, noise, method


if __name__ == "__main__":
    main()
