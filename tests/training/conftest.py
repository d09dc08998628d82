"""What the tests of training share: a few images, a recipe that takes a second, its parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_encoder
from xdream import networks
from xdream.generators.projection import Projection, grid_reader
from xdream.networks.up_architecture import UpArchitecture
from xdream.training.recipe import Recipe
from xdream.training.trainer import FeatureMaps, Trainer

CPU = torch.device("cpu")
COUNT = 40


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 images of coarse blots, 24 x 20 px."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        blots = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        blots.resize((24, 20), Image.Resampling.BILINEAR).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def small(pictures: Path) -> Callable[..., Recipe]:
    """A recipe: 8 numbers, 16 px, 8 steps of 4 images; `small(key=value)` changes it."""

    def make(**changes: Any) -> Recipe:
        values: dict[str, Any] = {
            "name": "tiny",
            "images": str(pictures),
            "network": tiny_encoder.NAME,
            "layer": "conv3",
            "grid": 2,
            "dimensions": 8,
            "image_size_px": 16,
            "channels": (8, 8, 4),
            "refined": (1, 0, 0),
            "feature_layers": ("conv1",),
            "batch": 4,
            "steps": 8,
            "checkpoint_every": 3,
            "sheet_every": 1000,
        }
        return Recipe.make(**{**values, **changes})

    return make


@pytest.fixture
def trainer(small: Callable[..., Recipe]) -> Callable[..., Trainer]:
    """The networks of that recipe, with a projection drawn at random; `trainer(key=value)`."""

    def make(**changes: Any) -> Trainer:
        recipe = small(**changes)
        network = networks.load(recipe.network)
        encoder = grid_reader(network, recipe.layer, 32, recipe.grid)
        rng = torch.Generator().manual_seed(1)
        projection = Projection(
            torch.randn(encoder.features, generator=rng),
            torch.randn(recipe.dimensions, encoder.features, generator=rng),
        )
        assert recipe.channels is not None
        assert recipe.refined is not None
        architecture = UpArchitecture(recipe.dimensions, recipe.channels, recipe.refined)
        maps = FeatureMaps(network, ["conv1", "conv2"], recipe.image_size_px, CPU)
        return Trainer(recipe, architecture, maps, encoder, projection, CPU)

    return make


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Four images of 16 px, each of four blots, and four codes of 8 numbers."""
    rng = torch.Generator().manual_seed(2)
    blots = torch.rand(4, 3, 2, 2, generator=rng)
    images = torch.nn.functional.interpolate(blots, (16, 16), mode="bilinear")
    return images, torch.randn(4, 8, generator=rng)
