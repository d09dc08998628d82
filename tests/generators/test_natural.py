"""The generator inside the package: what a user who never trained one gets."""

import re
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

import xdream
from xdream import networks
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan
from xdream.generators import GENERATORS, encode, learned
from xdream.generators.learned import Learned
from xdream.images.resizing import resize
from xdream.types import quantise

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


@pytest.fixture(scope="module")
def natural() -> Learned:
    made = GENERATORS.make("natural-v1")
    assert isinstance(made, Learned)
    return made


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    folder = Path(skimage.data.__file__).parent
    return torch.cat([_square(folder / name) for name in PHOTOGRAPHS])


def _square(path: Path) -> torch.Tensor:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    pixels = torch.frombuffer(bytearray(image.crop((0, 0, side, side)).tobytes()), dtype=torch.uint8)
    return resize(pixels.reshape(1, side, side, 3).permute(0, 3, 1, 2) / 255.0, (64, 64))


def test_it_fits_into_the_package_and_tells_where_it_comes_from(natural: Learned) -> None:
    path = learned.shipped_file()
    assert path.stat().st_size <= 16_000_000
    assert natural.image_size_px >= 64
    text = str(natural.card)
    assert not re.search(r"/\w+/\w+|\\\\|[A-Z]:", text), "a path of somebody's machine"
    for word in ("efficientnet-lite0", "_blocks.14", "images", "steps", "pixel"):
        assert word in text


def test_it_is_the_default_everywhere() -> None:
    assert Plan.make(targets=["known:linear::0"]).generator.name == "natural-v1"
    batch = xdream.Evolution().ask()
    assert batch.codes.shape == (20, 256)
    assert batch.images.shape == (20, 3, 64, 64)


def test_its_encoder_is_the_network_that_it_was_trained_with(natural: Learned) -> None:
    network = networks.load(natural.encoder.network)
    assert networks.fingerprint(network.module) == natural.encoder.fingerprint


def test_random_codes_give_images_with_the_statistics_of_photographs(natural: Learned) -> None:
    """Contrast, smoothness and colour within wide bounds that noise and grey both miss."""
    codes = natural.initial.draw(torch.tensor([3]), 64)[0]
    images = natural(codes)
    contrast = images.std((2, 3)).mean()
    neighbours = (images[..., 1:] - images[..., :-1]).square().mean() / images.var((2, 3)).mean()
    assert 0.1 < contrast < 0.4
    assert neighbours < 0.4  # white noise: 2
    assert images.mean((0, 2, 3)).sub(0.45).abs().max() < 0.15
    assert images.mean((2, 3)).std(0).min() > 0.05  # unlike each other


def test_a_code_read_from_a_photograph_draws_it_again(natural: Learned, photographs: torch.Tensor) -> None:
    codes, losses = encode(natural, photographs)
    baseline = (natural(natural.centre[None]) - photographs).square().mean((1, 2, 3))
    assert losses.mean() < 0.8 * baseline.mean()
    length = codes.square().mean(1).sqrt()
    assert bool(((length > 0.5) & (length < 2.0)).all()), length
    again = natural.invert(natural(codes))
    cosine = torch.cosine_similarity(codes[:, None], again[None], dim=-1)
    assert torch.equal(cosine.argmax(1), torch.arange(len(codes))), cosine


def test_hyperparameters_were_tuned_for_it_with_noise_and_without() -> None:
    found = {}
    for optimizer in ("genetic", "fdgd", "nes"):
        for spikes in (None, 20.0):
            plan = Plan.make(
                targets=["known:linear::0"],
                optimizer=optimizer,
                noise_spikes=spikes,
                references="scikit-image" if spikes else None,
            )
            found[optimizer, spikes] = assemble(plan).runs[0].hyperparameters
    for optimizer in ("genetic", "fdgd", "nes"):
        assert found[optimizer, None] != found[optimizer, 20.0]


def test_images_of_a_code_do_not_depend_on_what_is_beside_it(natural: Learned) -> None:
    codes = natural.initial.draw(torch.tensor([1]), 20)[0]
    alone = torch.cat([natural(code[None]) for code in codes])
    torch.testing.assert_close(natural(codes), alone, atol=1e-4, rtol=0)
    different = (quantise(natural(codes)) != quantise(alone)).float().mean()
    assert different < 1e-3
