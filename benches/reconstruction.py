"""How well does the shipped generator give images back? Against a PCA of as many numbers, and the mean image.

    python benches/reconstruction.py --validation PLACE --training PLACE [--training PLACE …]

Each validation image is encoded by the generator's own encoder (`ivt`) and drawn again. PCA: of the pixels of
the training images, with as many axes as the code has numbers. Errors, averaged over images: of pixels (mean
squared difference, values in [0, 1]); of features, in the layers of the training's feature loss at the
images' own size (squared difference relative to the mean square, averaged over layers); of the code (the
encoder's layer: squared difference of codes relative to their mean square). Writes OUT/reconstruction.md, and
two sheets for looking at: OUT/runs/reconstruction.png of validation images, and docs/images/natural-v1.png of
crops of photographs of scikit-image with random samples, which the model card shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from xdream import networks, random
from xdream.generators import GENERATORS
from xdream.generators.learned import Learned
from xdream.images import references
from xdream.images.files import decoded_photograph
from xdream.memory import keep_freed_blocks
from xdream.training.measure import errors
from xdream.training.prepare import fit
from xdream.training.sheet import sheet
from xdream.training.trainer import FeatureMaps
from xdream.types import Codes, Images

BATCH = 100
SHEET_IMAGES = 32
#: Photographs of scikit-image that are free of rights, and whose crops look like photographs.
FREE = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "moon.png", "rocket.jpg")
#: (top, left, size) of the crops, as shares of the photograph's shorter side.
CROPS = ((0.0, 0.0, 1.0), (0.05, 0.1, 0.5), (0.1, 0.45, 0.5), (0.45, 0.1, 0.5), (0.4, 0.4, 0.55))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--validation", required=True, help="folder or zip file")
    parser.add_argument("--training", action="append", required=True, help="folder or zip file; repeatable")
    parser.add_argument("--pca-images", type=int, default=20_000, help="of the training images, for the PCA")
    parser.add_argument("--generator", default="natural-v1")
    parser.add_argument("--card-sheet", type=Path, default=Path("docs/images/natural-v1.png"))
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    keep_freed_blocks()
    generator = GENERATORS.make(options.generator)
    assert isinstance(generator, Learned)
    size_px, dim = generator.image_size_px, len(generator.centre)

    held_out = _images([options.validation], size_px)
    pixels = _images(options.training, size_px, options.pca_images)
    axes = fit(pixels.flatten(1).numpy().astype(np.float16), dim, seed=0, report=lambda *_: None)
    back = axes.matrix.T / axes.matrix.square().sum(1)

    def by_pca(images: Images) -> Images:
        codes = axes(images.flatten(1))
        return (axes.mean + codes @ back.T).reshape(images.shape).clamp(0.0, 1.0)

    def by_generator(images: Images) -> Images:
        return generator(generator.invert(images))

    def by_mean(images: Images) -> Images:
        return axes.mean.reshape(1, *images.shape[1:]).expand_as(images)

    layers = generator.card["provenance"]["recipe"]["feature_layers"]
    maps = FeatureMaps(networks.load(generator.encoder.network), layers, size_px, torch.device("cpu"))
    methods = {generator.name: by_generator, f"PCA, {dim} axes": by_pca, "mean image": by_mean}
    lines = [
        f"{len(held_out)} validation images at {size_px} px; code of {dim} numbers; PCA and mean of "
        f"{len(pixels)} training images.",
        "",
        "| | pixel error | feature error | code error |",
        "|---|---|---|---|",
    ]
    with torch.inference_mode():
        for name, method in methods.items():
            found = errors(_remade(held_out, method, generator), maps, generator.invert)
            cells = (found[key] for key in ("pixel_error", "feature_error", "code_error"))
            lines.append(f"| {name} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |")
            print(lines[-1], flush=True)
        some = held_out[:: len(held_out) // SHEET_IMAGES][:SHEET_IMAGES]
        (options.out / "runs").mkdir(parents=True, exist_ok=True)
        rows = [("originals", some), ("reconstructions", by_generator(some)), ("PCA", by_pca(some))]
        (options.out / "runs" / "reconstruction.png").write_bytes(sheet(rows))
        free = _free_photographs(size_px)[:SHEET_IMAGES]
        drawn = generator.initial.draw(torch.tensor([0]), SHEET_IMAGES)[0]
        rows = [
            (f"{SHEET_IMAGES} crops of photographs of scikit-image", free),
            ("their reconstructions (encoded by projection, 256 numbers each)", by_generator(free)),
            ("random codes, N(0, 1)", generator(drawn)),
        ]
        options.card_sheet.write_bytes(sheet(rows))
    (options.out / "reconstruction.md").write_text("\n".join(lines) + "\n")


def _remade(
    images: Images, method: Callable[[Images], Images], generator: Learned
) -> Iterator[tuple[Images, Images, Codes]]:
    for real in images.split(BATCH):
        yield real, method(real), generator.invert(real)


def _images(places: list[str], size_px: int, most: int | None = None) -> Images:
    """All images of some places, or as many of them, drawn without replacement."""
    found = [references.load(place) for place in places]
    where = [(one, row) for one in found for row in range(len(one))]
    if most is not None and most < len(where):
        order = random.permutation(torch.tensor([0]), torch.tensor([0]), "bench", len(where))[0]
        where = [where[i] for i in sorted(order[:most].tolist())]
    parts = []
    for one in found:
        rows = [row for owner, row in where if owner is one]
        parts.append(one.images(rows, size_px).to(torch.float32) / 255.0)
    return torch.cat(parts)


def _free_photographs(size_px: int) -> Images:
    loaded = references.load(references.SCIKIT_IMAGE)
    crops = []
    for name in FREE:
        full = decoded_photograph((loaded.place / name).read_bytes()).to(torch.float32) / 255.0
        side = min(full.shape[1:])
        for top, left, share in CROPS:
            y, x, s = (round(value * side) for value in (top, left, share))
            crop = full[None, :, y : y + s, x : x + s]
            crops.append(networks.resize(crop, (size_px, size_px)).clamp(0.0, 1.0))
    return torch.cat(crops)


if __name__ == "__main__":
    main()
