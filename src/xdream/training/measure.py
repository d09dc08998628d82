"""How well a generator gives back images that it was not trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch

from xdream.generators.projection import GridReader, Projection
from xdream.networks.upconv import UpConv
from xdream.training.prepare import Pictures, project
from xdream.training.trainer import FeatureMaps
from xdream.types import Codes, Images

BATCH = 50


def measure(
    generator: UpConv,
    maps: FeatureMaps,
    encoder: GridReader,
    projection: Projection,
    pictures: Pictures,
    device: torch.device,
) -> dict[str, float]:
    """The `errors` of the images that the generator makes of other images' codes; empty without images."""
    if not len(pictures):
        return {}
    codes = project(pictures.features, projection.to(torch.device("cpu"))).to(device)

    def made() -> Iterator[tuple[Images, Images, Codes]]:
        for start in range(0, len(pictures), BATCH):
            rows = list(range(start, min(start + BATCH, len(pictures))))
            real = pictures.images(rows).to(device, torch.float32) / 255.0
            yield real, generator(codes[rows]), codes[rows]

    with torch.inference_mode():
        return errors(made(), maps, lambda images: projection(encoder(images)))


def errors(
    made: Iterable[tuple[Images, Images, Codes]], maps: FeatureMaps, encode: Callable[[Images], Codes]
) -> dict[str, float]:
    """How far images are from those that they should be. made: (real, made, code of the real) batches.

    pixel_error: mean squared difference of pixel values in [0, 1]. feature_error: squared difference in the
    layers of the feature loss, relative to their mean square, averaged over layers. code_error: squared
    difference between the real image's code and the made one's, relative to its square, averaged over images.
    """
    n = 0
    pixel = code = 0.0
    difference, energy = torch.zeros(len(maps.layers)), torch.zeros(len(maps.layers))
    for real, image, wanted in made:
        n += len(real)
        pixel += float((image - real).square().mean((1, 2, 3)).sum())
        code += float(((encode(image) - wanted).square().sum(1) / wanted.square().sum(1)).sum())
        for place, (m, r) in enumerate(zip(maps(image), maps(real), strict=True)):
            difference[place] += float((m - r).square().sum())
            energy[place] += float(r.square().sum())
    return {
        "images": float(n),
        "pixel_error": pixel / n,
        "feature_error": float((difference / energy).mean()),
        "code_error": code / n,
    }
