"""Initial codes prepared from natural images, for the study `initialisations`."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch

from xdream import files, networks
from xdream.errors import BadInput
from xdream.generators import Generator, Invertible, encode
from xdream.studies.plan import Scale, StudyPlan
from xdream.studies.shard_work import Condition, Work
from xdream.subjects.target import split_layer
from xdream.types import Codes

#: Which natural images of a unit, and how they become codes.
CHOICES, METHODS = ("best", "middle", "worst"), ("opt", "ivt")
#: Of the gradient descent that encodes natural images (200 in the paper).
STEPS: Mapping[Scale, int] = {"tiny": 20, "small": 100, "paper": 200}


def methods(plan: StudyPlan, generator: Generator) -> list[str]:
    """By which natural images can become codes of this generator. Raises BadInput where there is none."""
    can = {
        "opt": generator.differentiable,
        "ivt": plan.inverse is not None or isinstance(generator, Invertible),
    }
    methods = [method for method in METHODS if can[method]]
    if not methods:
        raise BadInput(f"generator '{generator.name}' can encode no images; choose one that can")
    return methods


class PreparedCodes:
    """Files of initial codes: of each unit its best, middle or worst natural images, encoded."""

    def __init__(self, work: Work) -> None:
        self._work = work
        first = work.plan.generators[0]
        device = networks.device(work.plan.device)
        self._generator = work.plan.generator(first).to(device)
        self._population = Condition("prepared", first).population

    def file(self, choice: str, method: str, unit: str) -> str:
        """`codes:FILE`, made when it is asked for first."""
        path = self._work.folder / f"{choice}-{method}-{unit.replace('@', '-').replace(',', '-')}.npz"
        if not path.exists():
            order = self._work.natural.order(unit)
            n = min(self._population, len(order))
            first = {"best": 0, "middle": (len(order) - n) // 2, "worst": len(order) - n}[choice]
            images = self._work.natural.references.images(
                order[first : first + n], self._generator.image_size_px
            )
            buffer = io.BytesIO()
            name = np.array(self._generator.name)
            np.savez(buffer, codes=self._encoded(images, method).cpu().numpy(), generator=name)
            files.replace(path, buffer.getvalue())
        return f"codes:{path.absolute()}"

    def _encoded(self, images: torch.Tensor, method: str) -> Codes:
        inverse = self._work.plan.inverse
        if method == "ivt" and inverse is not None:
            network, _, layer = split_layer(inverse)
            reader, _ = networks.layer_reader(
                self._work.plan.network(network), [layer], self._generator.centre.device, images.shape[-1]
            )
            codes: Codes = reader.read(images)[layer].flatten(1).clamp_min(0.0).to(torch.float32)
            return codes.clone()
        floats = images.to(torch.float32) / 255.0
        codes, _ = encode(
            self._generator, floats, STEPS[self._work.plan.scale], "ivt" if method == "ivt" else "opt"
        )
        return codes
