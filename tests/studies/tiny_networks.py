"""Networks and natural images so small that a study of them takes seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NETWORK = """
import torch
from torch import nn

def small(seed=0):
    torch.manual_seed(seed)
    first = [nn.Conv2d(3, 4, 5, stride=4), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 6))

def other():
    return small(1)
"""
#: Of the images that are shown: the networks take them at their own size.
SIZE_PX = 32


def network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network of two convolutions and an output with six units, as a target has it, but for `:small`.

    `:other` has other weights.
    """
    name = f"tiny_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(folder)
    return f"python:{name}"


def photographs(folder: Path, count: int = 5) -> str:
    """So many images of coloured clouds."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return str(folder)
