"""A sheet of evolved images, one optimizer above the other, from the images that benches/optimizers.py kept.

python benches/search_sheet.py IMAGES SHEET.png --noise none --methods genetic rank-nes
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from optimizers import DEPTHS, NETWORKS, UNITS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", default="none")
    parser.add_argument("--methods", nargs="+", default=["genetic", "rank-nes"])
    parser.add_argument("--depths", nargs="+", default=["late", "output"], choices=DEPTHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, default=Path(__file__).parent / "results" / "optimizers.csv")
    options = parser.parse_args()
    units = [
        (network, layers[DEPTHS.index(depth)], unit)
        for network, layers in NETWORKS.items()
        for depth in options.depths
        for unit in UNITS["test"][DEPTHS.index(depth)]
    ]
    rows = {
        (r["network"], r["layer"], int(r["unit"]), r["method"]): float(r["recommended"])
        for r in csv.DictReader(options.table.open())
        if (r["set"], r["noise"], r["seed"]) == ("test", options.noise, str(options.seed))
    }
    figure, axes = plt.subplots(
        len(options.methods),
        len(units),
        figsize=(1.15 * len(units), 1.5 * len(options.methods) + 0.4),
        squeeze=False,
    )
    for row, method in zip(axes, options.methods, strict=True):
        for axis, (network, layer, unit) in zip(row, units, strict=True):
            noise = options.noise.replace("%", "percent")
            name = f"{network}_{layer}_{unit}_natural-v1_{method}_{noise}_{options.seed}.png"
            axis.imshow(Image.open(options.images / name))
            axis.set_title(f"{rows[network, layer, unit, method]:.3g}", fontsize=8, pad=2)
            axis.set(xticks=[], yticks=[])
            if method == options.methods[-1]:
                axis.set_xlabel(f"{layer}\n{unit}", fontsize=7)
        row[0].set_ylabel(method, fontsize=9)
    figure.tight_layout(pad=0.4)
    figure.savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
