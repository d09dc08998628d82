"""Does an original Caffe model give what it should? SqueezeNet 1.1 as its authors trained it.

    xdream weights get squeezenet1.1  # and squeezenet1.1-caffe, and squeezenet1.1-prototxt
    python benches/original.py --images ZIP [--out benches/results]

ZIP: photographs, one of each ImageNet class, whose sorted names are in the order of the classes. Compares
the weights with those of the Keras file, the layers with those of `squeezenet1.1`, and says how often the
class of a photograph is the first, and among the first five.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from xdream import networks
from xdream.images import references
from xdream.networks import weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True)
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    caffe = networks.load(
        f"caffe:{weights.find('squeezenet1.1-prototxt')}+{weights.find('squeezenet1.1-caffe')}"
    )
    keras = networks.load("squeezenet1.1")
    modules = dict(keras.module.named_modules())
    equal = all(
        torch.equal(modules[layer.name.replace("/", ".")].weight, op.weight)
        and torch.equal(modules[layer.name.replace("/", ".")].bias, op.bias)
        for layer, op in zip(caffe.module._layers, caffe.module._ops, strict=True)
        if op.blobs
    )
    found = references.load(options.images)
    pairs = {"conv1": "relu_conv1", "fire5/concat": "fire5", "fire9/concat": "fire9"}
    theirs, _ = networks.layer_reader(caffe, [*pairs, "pool10"])
    ours, _ = networks.layer_reader(keras, [*pairs.values(), ""])
    difference, first, five = dict.fromkeys(pairs, 0.0), 0, 0
    for start in range(0, len(found), 20):
        numbers = range(start, min(start + 20, len(found)))
        images = found.images(numbers, 227)
        a, b = theirs.read(images), ours.read(images)
        for blob, layer in pairs.items():
            difference[blob] = max(difference[blob], float((a[blob] - b[layer]).abs().max()))
        best = a["pool10"].flatten(1).topk(5).indices
        classes = torch.tensor([*numbers])[:, None]
        first += int((best[:, :1] == classes).sum())
        five += int((best == classes).sum())
    lines = [
        "| SqueezeNet 1.1 from Caffe's files | |",
        "|---|---|",
        f"| weights equal to those of the Keras file | {equal} |",
        *(f"| largest difference at {blob} | {value:g} |" for blob, value in difference.items()),
        f"| photographs | {len(found)} |",
        f"| class is the first | {first / len(found):.3f} |",
        f"| class is among the first five | {five / len(found):.3f} |",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "original.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
