"""How well a generator gives back images that it was not trained with."""

from __future__ import annotations

import torch

from xdream.generators.projection import GridReader, Projection
from xdream.networks.upconv import UpConv
from xdream.training.prepare import Pictures, project
from xdream.training.trainer import FeatureMaps

BATCH = 50


def measure(
    generator: UpConv,
    maps: FeatureMaps,
    encoder: GridReader,
    projection: Projection,
    pictures: Pictures,
    device: torch.device,
) -> dict[str, float]:
    """Errors of the images that the generator makes of other images' codes; empty without images.

    pixel_error: mean squared difference of pixel values in [0, 1]. feature_error: squared difference in the
    layers of the feature loss, relative to their mean square, averaged over layers. code_error: squared
    difference between a code and the encoder's of its image, relative to the code's mean square.
    """
    if not len(pictures):
        return {}
    codes = project(pictures.features, projection.to(torch.device("cpu"))).to(device)
    pixel = code = 0.0
    difference, energy = torch.zeros(len(maps.layers)), torch.zeros(len(maps.layers))
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            rows = list(range(start, min(start + BATCH, len(pictures))))
            real = pictures.images(rows).to(device, torch.float32) / 255.0
            made = generator(codes[rows])
            pixel += float((made - real).square().mean((1, 2, 3)).sum())
            read = projection(encoder(made))
            code += float((read - codes[rows]).square().sum(1).div(codes[rows].square().sum(1)).sum())
            for place, (m, r) in enumerate(zip(maps(made), maps(real), strict=True)):
                difference[place] += float((m - r).square().sum())
                energy[place] += float(r.square().sum())
    n = len(pictures)
    return {
        "images": float(n),
        "pixel_error": pixel / n,
        "feature_error": float((difference / energy).mean()),
        "code_error": code / n,
    }
