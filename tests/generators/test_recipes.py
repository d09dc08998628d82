"""Recipes with random weights of the true architecture, in small sizes; DCGAN's own where they are."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.generators import GENERATORS
from xdream.generators.recipes.dcgan import DcGan, _randomise
from xdream.networks import weights
from xdream.testing import check_generator


def codes_of(generator: Any, n: int = 3) -> torch.Tensor:
    found: torch.Tensor = generator.initial.draw(torch.tensor([3]), n)[0]
    return found


# ------------------------------------------------------------------ DCGAN


def test_dcgan_reads_its_published_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = DcGan().eval()
    _randomise(module)
    with torch.no_grad():
        module.main[0].weight.mul_(0.9)  # other weights than those of random_weights
    torch.save({"netG_state_dict": module.state_dict()}, tmp_path / "dcgan-faces.pt")
    known = dataclasses.replace(weights.KNOWN["dcgan-faces"], sha256=None)
    monkeypatch.setitem(weights.KNOWN, "dcgan-faces", known)
    monkeypatch.setenv("XDREAM_WEIGHTS", str(tmp_path))
    generator: Any = GENERATORS.make("dcgan-faces")
    codes = codes_of(generator)
    with torch.no_grad():
        wanted = (module(codes.reshape(3, 100, 1, 1)) + 1.0) / 2.0
    torch.testing.assert_close(generator(codes), wanted)
    assert generator.fingerprint != GENERATORS.make("dcgan-faces", random_weights=True).fingerprint
    torch.save({"netG_state_dict": nn.Linear(2, 2).state_dict()}, tmp_path / "dcgan-faces.pt")
    with pytest.raises(WeightsInvalid, match="no DCGAN of 100 numbers"):
        GENERATORS.make("dcgan-faces")


def test_the_published_dcgan_draws_faces() -> None:
    """With the weights that `xdream weights get dcgan-faces` fetches."""
    if all(row.path is None for row in weights.listing() if row.name == "dcgan-faces"):
        pytest.skip("xdream weights get dcgan-faces")
    images = GENERATORS.make("dcgan-faces")(codes_of(GENERATORS.make("dcgan-faces"), 64))
    # Faces of this set look alike: their mean image keeps much of their contrast; that of noise has none.
    noise = float(images.std(0).mean()) / 8.0  # of the mean of 64 images that have nothing in common
    assert float(images.mean(0).std()) > 1.5 * noise
    assert float(images.std(0).mean()) > 0.1


# ------------------------------------------------------------------ BigGAN-deep


@pytest.fixture
def biggan(tmp_path: Path) -> Path:
    package = pytest.importorskip("pytorch_pretrained_biggan")
    layers = [[True, 16, 8], [True, 8, 4], [False, 4, 2], [False, 2, 1]]
    config = {"output_dim": 16, "z_dim": 8, "channel_width": 4, "num_classes": 10, "layers": layers}
    (tmp_path / "config.json").write_text(json.dumps({**config, "attention_layer_position": 2}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = package.BigGAN(package.BigGANConfig.from_json_file(str(tmp_path / "config.json")))
    torch.manual_seed(0)
    for tensor in network.parameters():
        nn.init.normal_(tensor, std=0.2)
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    return tmp_path


def test_biggan_takes_latent_and_class_embedding(biggan: Path) -> None:
    generator: Any = GENERATORS.make(f"biggan:{biggan}", truncation=0.5)
    check_generator(generator)
    codes = codes_of(generator, 200)
    assert codes.shape == (200, 16)
    assert float(codes[:, :8].abs().max()) <= 1.0  # ±2, times the truncation
    package = pytest.importorskip("pytorch_pretrained_biggan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = package.BigGAN.from_pretrained(str(biggan)).eval()
    one = torch.nn.functional.one_hot(torch.tensor([4]), 10).float()
    with torch.no_grad():
        wanted = network(codes[:1, :8], one, 0.5)
        embedding = network.embeddings(one)
    torch.testing.assert_close(generator(torch.cat((codes[:1, :8], embedding), 1)), (wanted + 1.0) / 2.0)
    fixed: Any = GENERATORS.make(f"biggan:{biggan}", truncation=0.5, class_index=4)
    torch.testing.assert_close(fixed(codes[:1, :8]), (wanted + 1.0) / 2.0)


def test_a_folder_that_is_no_biggan_is_refused(biggan: Path) -> None:
    with pytest.raises(BadInput, match="class_index is 10; the classes are 0 to 9"):
        GENERATORS.make(f"biggan:{biggan}", class_index=10)
    torch.save(nn.Linear(2, 2).state_dict(), biggan / "pytorch_model.bin")
    with pytest.raises(WeightsInvalid, match="no BigGAN of this kind"):
        GENERATORS.make(f"biggan:{biggan}")
    (biggan / "config.json").unlink()
    with pytest.raises(WeightsMissing, match=r"has no config\.json"):
        GENERATORS.make(f"biggan:{biggan}")


# ------------------------------------------------------------------ diffusers


@pytest.fixture
def pipeline(tmp_path: Path, torchvision: object) -> Path:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **blocks
    )
    vae.save_pretrained(tmp_path / "vae")
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, cross_attention_dim=16, attention_head_dim=4, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **blocks,
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "unet")
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, timestep_spacing="trailing"
    )
    scheduler.save_pretrained(tmp_path / "scheduler")
    vq = diffusers.VQModel(**blocks, down_block_types=("DownEncoderBlock2D",) * 2,
                           up_block_types=("UpDecoderBlock2D",) * 2)  # fmt: skip
    vq.save_pretrained(tmp_path / "vq")
    return tmp_path


@pytest.mark.parametrize("kind", ["vae", "vq"])
def test_the_latent_of_an_autoencoder_is_a_code(pipeline: Path, kind: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    generator: Any = GENERATORS.make(f"vae:{pipeline / kind}", latent_px=4)
    check_generator(generator)
    codes = codes_of(generator)
    kinds = {"vae": diffusers.AutoencoderKL, "vq": diffusers.VQModel}
    model = kinds[kind].from_pretrained(str(pipeline / kind), local_files_only=True)
    latents = codes.reshape(3, *generator.code_shape) / model.config.scaling_factor
    with torch.no_grad():
        wanted = (model.decode(latents).sample + 1.0) / 2.0
    torch.testing.assert_close(generator(codes), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:__array__")  # of the scheduler in diffusers
def test_one_step_is_the_step_of_the_scheduler(pipeline: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    words = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    np.save(pipeline / "words.npy", words)
    generator: Any = GENERATORS.make(f"one-step:{pipeline}", prompt=str(pipeline / "words.npy"))
    codes = codes_of(generator, 2)
    read = {"local_files_only": True}
    unet = diffusers.UNet2DConditionModel.from_pretrained(str(pipeline / "unet"), **read)
    vae = diffusers.AutoencoderKL.from_pretrained(str(pipeline / "vae"), **read)
    scheduler = diffusers.EulerDiscreteScheduler.from_pretrained(str(pipeline / "scheduler"), **read)
    scheduler.set_timesteps(1)
    [time] = scheduler.timesteps
    x = codes.reshape(2, 4, 8, 8) * scheduler.sigmas[0]
    prompt = torch.from_numpy(words)[None].expand(2, -1, -1)
    with torch.no_grad():
        found = unet(scheduler.scale_model_input(x, time), time, encoder_hidden_states=prompt).sample
        x = scheduler.step(found, time, x).prev_sample
        wanted = (vae.decode(x / vae.config.scaling_factor).sample + 1.0) / 2.0
    torch.testing.assert_close(generator(codes), wanted, atol=1e-3, rtol=1e-3)
    assert generator.fingerprint != GENERATORS.make(f"one-step:{pipeline}").fingerprint


def test_a_folder_or_prompt_that_does_not_fit_is_refused(pipeline: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"has no config\.json"):
        GENERATORS.make(f"vae:{pipeline}/gone")
    np.save(pipeline / "words.npy", np.zeros((5, 3)))
    with pytest.raises(BadInput, match=r"has the shape \(5, 3\); \(tokens, 16\) is needed"):
        GENERATORS.make(f"one-step:{pipeline}", prompt=str(pipeline / "words.npy"))
    (pipeline / "vae" / "config.json").write_text("{}")
    with pytest.raises(WeightsInvalid, match="diffusers cannot read"):
        GENERATORS.make(f"vae:{pipeline / 'vae'}")


# ------------------------------------------------------------------ StyleGAN: a file and a table


def test_a_synthesis_network_in_w_space_needs_a_file_and_a_table_only(tmp_path: Path) -> None:
    """As docs/generators.md has it: codes w, a trained network's mean and covariance of w."""

    class Synthesis(nn.Module):
        num_ws = 4

        def __init__(self) -> None:
            super().__init__()
            self.styles = nn.ModuleList(nn.Linear(16, 12) for _ in range(self.num_ws))

        def forward(self, ws: torch.Tensor) -> torch.Tensor:
            planes = sum(style(ws[:, i]) for i, style in enumerate(self.styles))
            return torch.tanh(planes).reshape(-1, 3, 2, 2).repeat(1, 1, 4, 4)  # type: ignore[union-attr]

    class FromW(nn.Module):
        def __init__(self, synthesis: Any) -> None:
            super().__init__()
            self.synthesis, self.count = synthesis, synthesis.num_ws

        def forward(self, w: torch.Tensor) -> torch.Tensor:
            images: torch.Tensor = self.synthesis(w[:, None].repeat(1, self.count, 1))
            return images

    torch.manual_seed(0)
    module, w = FromW(Synthesis()).eval(), torch.randn(500, 16) @ torch.randn(16, 16)
    np.save(tmp_path / "w-covariance.npy", np.cov(w.T.numpy()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, w[:2]), tmp_path / "g.pt")
    table = {"code_size": 16, "covariance": str(tmp_path / "w-covariance.npy"), "output_range": [-1, 1]}
    generator: Any = GENERATORS.make(f"file:{tmp_path / 'g.pt'}", **table)
    check_generator(generator)
    torch.testing.assert_close(generator(w[:3]), (module(w[:3]) + 1.0) / 2.0)
