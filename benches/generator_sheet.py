"""A sheet of generators: six random draws of each, and the best image of one evolution.

    python benches/generator_sheet.py [--target NETWORK:LAYER:UNIT] [--presentations N] [NAME …]

writes docs/images/generators.png. A generator whose weights are not here is left out, and said so.
"""

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import xdream
from xdream.errors import WeightsMissing
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS, draw

NAMES = ["natural-v1", "fourier", "pixels", "gratings", "gabors", "shapes", "cppn", "dcgan-faces"]
OUT = Path(__file__).parents[1] / "docs" / "images" / "generators.png"
TILE, GAP, LEFT, TOP, DRAWS = 112, 6, 130, 26, 6


def row(name: str, target: str, presentations: int) -> tuple[list[np.ndarray], str]:
    """Seven images, (h, w, 3), and what is said of the last."""
    generator = GENERATORS.make(name)
    codes = generator.initial.draw(torch.tensor([1]), DRAWS)[0]
    shown = draw(generator, codes, generator.image_size_px).permute(0, 2, 3, 1).numpy()
    plan = Plan.make(targets=target, generator=name, presentations=presentations, engine="torch")
    with tempfile.TemporaryDirectory() as folder, xdream.run(plan, Path(folder) / "x") as record:
        best = record.best(0)
        first = float(np.max(record.scores(0)[0]))
        png = record.kept_image(best.pixels)
        found = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return [*shown, found], f"{first:.2f} to {best.noise_free_score:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--target", default="efficientnet-lite0:_fc:954")
    parser.add_argument("--presentations", type=int, default=1000)
    options = parser.parse_args()
    rows = []
    for name in options.names:
        try:
            rows.append((name, *row(name, options.target, options.presentations)))
        except WeightsMissing as error:
            print(f"{name} is left out: {error}")
            continue
        print(f"{name}: {rows[-1][2]}", flush=True)
    width = LEFT + (DRAWS + 1) * (TILE + GAP) + 3 * GAP
    sheet = Image.new("RGB", (width, TOP + len(rows) * (TILE + GAP)), "white")
    text = ImageDraw.Draw(sheet)
    text.text((LEFT, 8), "six random draws", fill="black")
    text.text((LEFT + DRAWS * (TILE + GAP) + 3 * GAP, 8), "best of an evolution", fill="black")
    for number, (name, images, said) in enumerate(rows):
        y = TOP + number * (TILE + GAP)
        text.text((6, y + 40), name, fill="black")
        text.text((6, y + 56), said, fill="grey")
        for column, image in enumerate(images):
            x = LEFT + column * (TILE + GAP) + (3 * GAP if column == DRAWS else 0)
            sheet.paste(Image.fromarray(image).resize((TILE, TILE), Image.Resampling.NEAREST), (x, y))
    sheet.save(OUT)
    print(OUT)


if __name__ == "__main__":
    main()
