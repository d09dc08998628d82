"""How near do codes of given images come? Methods and generators beside each other, in pixels and features.

    python benches/encoding.py --images PHOTOGRAPHS --count 8

Prints a table: mean squared difference of pixels in [0, 1], the same in a layer of SqueezeNet 1.1 relative to
that of a grey image, the root mean square of the codes in units of the spread, seconds for all images.
"""

from __future__ import annotations

import argparse
import time

import torch

from xdream.experiment.inversion import InversionMethod, invert
from xdream.generators import GENERATORS, Generator, Invertible, layer_features, spread_of
from xdream.images import references
from xdream.networks import load

GENERATORS_TRIED = (
    ("natural-v1", {}),
    ("natural-v1", {"codes": "ball"}),
    ("fourier", {}),
    ("fourier", {"codes": "ball"}),
    ("pixels", {"size_px": 32}),
)
LAYER = "fire9"
WAYS: tuple[tuple[InversionMethod, bool, int], ...] = (
    ("ivt", False, 1),
    ("opt", False, 1),
    ("opt", False, 3),
    ("opt", True, 1),
    ("search", False, 1),
    ("search", True, 1),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="scikit-image", help="a folder, a zip file, scikit-image")
    parser.add_argument("--count", type=int, default=8, help="images (the first ones)")
    parser.add_argument("--generations", type=int, default=500, help="of the search")
    options = parser.parse_args()
    photographs = references.load(options.images)
    chosen = range(min(options.count, len(photographs)))
    print(f"{len(chosen)} images; {torch.get_num_threads()} threads\n")
    print("| generator | method | near in | restarts | pixels | features | rms of codes | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, settings in GENERATORS_TRIED:
        generator = GENERATORS.make(name, **settings)
        images = photographs.images(chosen, generator.image_size_px).to(torch.float32) / 255.0
        for method, by_features, restarts in WAYS:
            if method == "ivt" and not isinstance(generator, Invertible):
                continue
            row = measured(generator, images, method, by_features, restarts, options.generations)
            region = ", in the ball" if settings.get("codes") == "ball" else ""
            near = LAYER if by_features else "pixels"
            print(f"| {name}{region} | {method} | {near} | {restarts} | {row} |", flush=True)


def measured(
    generator: Generator,
    images: torch.Tensor,
    method: InversionMethod,
    by_features: bool,
    restarts: int,
    generations: int,
) -> str:
    """The cells of one row."""
    features = layer_features(load("squeezenet1.1"), LAYER, generator.image_size_px)
    began = time.perf_counter()
    codes, _ = invert(
        generator,
        images,
        method=method,
        steps=generations if method == "search" else None,
        features=features if by_features else None,
        restarts=restarts,
    )
    seconds = time.perf_counter() - began
    with torch.no_grad():
        shown = generator(codes).clamp(0.0, 1.0)
        pixels = float((shown - images).square().mean())
        grey = features(torch.full_like(images, 0.5))
        seen, wanted = features(shown), features(images)
        apart = float((seen - wanted).square().mean() / (grey - wanted).square().mean())
    spread = spread_of(generator.initial, generator.centre)
    rms = float(((codes - generator.centre) / spread).square().mean(1).sqrt().mean())
    return f"{pixels:.4f} | {apart:.2f} | {rms:.2f} | {seconds:.1f}"


if __name__ == "__main__":
    main()
