"""What the published experiments cost: presentations, floating-point operations, hours.

    python benches/paper_scale.py [--device cpu] [--images 160] [--teraflops N …] [--out benches/results]

Presentations are counted from the published designs (100 units per layer, 10,000 presentations per
evolution). Operations per image are counted by PyTorch on networks of the published shapes with random
weights (those that the packages here can build; ResNet-269 as 269/152 of ResNet-152), always of the whole
network. Images per second are measured here, generator and network together, uncompiled; hours follow from
them. For a device that is not here, --teraflops gives the sustained rate to reckon with: arithmetic only.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from alexnet import make as alexnet
from xdream.generators import GENERATORS
from xdream.memory import keep_freed_blocks

UNITS, EACH = 100, 10_000
#: Network -> (how it is built here, side of its input).
NETWORKS: Mapping[str, tuple[str, int]] = {
    "CaffeNet": ("alexnet", 227),
    "ResNet-152-v2": ("resnetv2_152", 224),
    "ResNet-269-v2": ("resnetv2_152", 224),
    "Inception-v3": ("inception_v3", 299),
    "Inception-v4": ("inception_v4", 299),
    "Inception-ResNet-v2": ("inception_resnet_v2", 299),
    "PlacesCNN": ("alexnet", 227),
}
#: What torch forgets with its object.
KEPT: list[torch.library.Library] = []
DEEPER = {"ResNet-269-v2": 269 / 152}


@dataclass(frozen=True)
class Part:
    """Evolutions of one study on one network: so many layers, times so many conditions with each unit."""

    study: str
    network: str
    layers: int
    conditions: int
    units: int = UNITS

    @property
    def presentations(self) -> int:
        return self.layers * self.units * self.conditions * EACH


#: As the paper has them; all layers of a network are reckoned as the whole network.
DESIGN = (
    Part("overview", "CaffeNet", 1, 1, units=1),
    *(Part("targets", network, 4, 1) for network in NETWORKS),
    Part("initialisations", "CaffeNet", 4, 10 + 6),
    Part("generators", "CaffeNet", 3, 9),
    Part("generators", "Inception-ResNet-v2", 1, 9),
    Part("generators", "CaffeNet", 4, 1),
    Part("generators", "PlacesCNN", 4, 1),
    Part("generators", "Inception-ResNet-v2", 1, 1),
    Part("optimizers", "CaffeNet", 4, 6 + 6),
    Part("optimizers", "Inception-ResNet-v2", 1, 6 + 6),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=160, help="measured of each pair")
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--teraflops", type=float, nargs="*", default=[5.0, 20.0])
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    options = parser.parse_args()
    keep_freed_blocks()
    device = torch.device(options.device)
    generator = GENERATORS.make("deepsim-fc6", random_weights=True).to(device)
    codes = torch.randn(options.batch, len(generator.centre), device=device)
    gflops: dict[str, float] = {}
    rates: dict[str, float] = {}
    drawn = operations(lambda: generator(codes)) / options.batch / 1e9
    for name, (kind, side) in NETWORKS.items():
        network = build(kind).eval().to(device)

        def once(network: nn.Module = network, side: int = side) -> None:
            images = nn.functional.interpolate(generator(codes), (side, side), mode="bilinear")
            network(images)

        with torch.inference_mode():
            deeper = DEEPER.get(name, 1.0)
            answered = operations(once) / options.batch / 1e9 - drawn
            gflops[name] = drawn + answered * deeper
            rates[name] = options.batch / seconds(once, options.images // options.batch, device)
            rates[name] *= (drawn + answered) / gflops[name]
        print(f"{name}: {gflops[name]:.2f} GFLOP, {rates[name]:.1f} images per second", flush=True)
    text = markdown(gflops, rates, drawn, options)
    (options.out / f"paper-scale-{device.type}.md").write_text(text)
    print(text)


def build(kind: str) -> nn.Module:
    """A network of this shape with random weights."""
    if kind == "alexnet":
        return alexnet()
    # A torch without a GPU lacks two operators that torchvision refers to when it is imported.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # they are there
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    KEPT.append(library)
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = timm.create_model(kind, pretrained=False)
    return made


def operations(work: object) -> float:
    """Floating-point operations of a call: a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()  # type: ignore[operator]
    return float(counter.get_total_flops())


def seconds(work: object, times: int, device: torch.device) -> float:
    """The median of several calls, after one for warming up."""
    found = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()  # type: ignore[operator]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return sorted(found[1:])[len(found[1:]) // 2]


def markdown(
    gflops: Mapping[str, float], rates: Mapping[str, float], drawn: float, options: argparse.Namespace
) -> str:
    machine = torch.cuda.get_device_name() if options.device.startswith("cuda") else "CPU"
    threads = "" if options.device.startswith("cuda") else f", threads: {torch.get_num_threads()}"
    reckoned = " | ".join(f"hours at {rate:g} TFLOP/s | on ten" for rate in options.teraflops)
    lines = [
        f"`deepsim-fc6` takes {drawn:.2f} GFLOP for an image; below it is included. Measured: "
        f"{machine}{threads}, uncompiled, batches of {options.batch}.",
        "",
        "| network | GFLOP per presentation | images per second |",
        "|---|---|---|",
        *(f"| {name} | {gflops[name]:.2f} | {rates[name]:.1f} |" for name in NETWORKS),
        "",
        f"| study | presentations | PFLOP | hours here | {reckoned} |",
        "|---|---|---|---|" + "---|---|" * len(options.teraflops),
    ]
    totals = [0.0, 0.0, 0.0]
    for study in [*dict.fromkeys(part.study for part in DESIGN), "all"]:
        parts = [part for part in DESIGN if part.study == study]
        count = float(sum(part.presentations for part in parts))
        work = sum(part.presentations * gflops[part.network] for part in parts) / 1e6
        here = sum(part.presentations / rates[part.network] for part in parts) / 3600
        if study == "all":
            count, work, here = totals
        totals = [totals[0] + count, totals[1] + work, totals[2] + here]
        hours = [work * 1e3 / rate / 3600 for rate in options.teraflops]
        cells = " | ".join(f"{one:,.1f} | {one / 10:,.2f}" for one in hours)
        lines.append(f"| {study} | {count / 1e6:,.2f} M | {work:,.1f} | {here:,.1f} | {cells} |")
    natural = 1.43e6
    lines += [
        "",
        f"Natural images: {natural / 1e6:.2f} M, once for each network and layer that is looked at: "
        f"{natural * 4 * len(NETWORKS) / 1e6:.0f} M presentations without a generator.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
