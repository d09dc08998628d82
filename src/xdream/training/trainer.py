"""One step of the training, and everything that a checkpoint has to hold."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from xdream import networks, random
from xdream.errors import BadInput
from xdream.generators.projection import GridReader, Projection
from xdream.networks import Network, layer_reader
from xdream.networks.up_architecture import UpArchitecture
from xdream.networks.upconv import UpConv
from xdream.training.discriminator import Discriminator, discriminator_loss, generator_loss
from xdream.training.recipe import Recipe
from xdream.types import Codes, Images

#: The encoder reads codes from this share of the images of a step, which is what costs most.
CODE_SHARE = 0.125
#: Steps over which the learning rates rise at first.
WARM_UP = 100
#: Smaller maps say nothing of places.
LEAST_MAP_PX = 4
#: Keeps a ratio finite.
TINY = 1e-6


class FeatureMaps:
    """Layers of the encoder's network at the images' own size, each scaled to a mean square of one."""

    def __init__(self, network: Network, layers: Sequence[str], size_px: int, device: torch.device) -> None:
        self.reader, shapes = layer_reader(network.at(None), layers, device, size_px)
        flat = [layer for layer in layers if len(shapes[layer]) != 3]
        if flat:
            raise BadInput(
                f"feature layer '{flat[0]}' of {network.name} has the shape {shapes[flat[0]]}, no positions; "
                "give layers of (channels, height, width)"
            )
        self.layers = tuple(layers)
        self.channels = tuple(shapes[layer][0] for layer in layers)
        self.scales = torch.ones(len(layers))

    def __call__(self, images: Images) -> list[torch.Tensor]:
        """(n, 3, size, size) in [0, 1] -> a map of each layer."""
        outputs = self.reader.outputs(images * 255.0)
        return [outputs[layer] * s for layer, s in zip(self.layers, self.scales.tolist(), strict=True)]

    def calibrate(self, images: Images) -> None:
        """Set the scales by some images."""
        with torch.no_grad():
            self.scales = torch.ones(len(self.layers))
            self.scales = torch.stack(
                [1.0 / one.square().mean().sqrt().clamp_min(TINY) for one in self(images)]
            )


def default_layers(network: Network, size_px: int) -> tuple[str, ...]:
    """The last layer of about 1/2, 1/4, 1/8 and 1/16 of the image's size; modules before their parts."""
    chosen: dict[int, str] = {}
    for info in networks.layers(network.at(None), size_px):
        if not info.name or len(info.shape) != 3 or info.shape[1] < LEAST_MAP_PX:
            continue
        halvings = round(math.log2(size_px / info.shape[1]))
        before = chosen.get(halvings)
        if 1 <= halvings <= 4 and (before is None or info.name.count(".") <= before.count(".")):
            chosen[halvings] = info.name
    if not chosen:
        raise BadInput(
            f"network '{network.name}' has no layers with positions for images of {size_px} px; give "
            "feature_layers, or larger images"
        )
    return tuple(name for _, name in sorted(chosen.items()))


class Trainer:
    """The networks in training. `state` and `load` are all that a checkpoint needs."""

    def __init__(
        self,
        recipe: Recipe,
        architecture: UpArchitecture,
        maps: FeatureMaps,
        encoder: GridReader,
        projection: Projection,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.maps = maps
        self.encoder = encoder
        self.projection = projection.to(device)
        self.generator = UpConv(architecture, normalised=True)
        self.generator.draw_weights(recipe.seed)
        _placed(self.generator, device)
        self.kept = copy.deepcopy(self.generator).eval().requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.discriminator = Discriminator((3, *maps.channels), architecture.dim)
        _placed(self.discriminator, device)
        betas = (0.5, 0.99)
        self.adam = torch.optim.Adam(self.generator.parameters(), recipe.learning_rate, betas)
        self.adam_d = torch.optim.Adam(self.discriminator.parameters(), recipe.discriminator_rate, betas)

    def step(self, number: int, images: Images, codes: Codes) -> dict[str, float]:
        """One step on some images and their codes. number: from 0. Returns each loss."""
        self._set_rates(number)
        extra = self._random_codes(number, round(len(images) * self.recipe.random_share))
        wanted = torch.cat((codes, extra))
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            with torch.no_grad():
                real = [images, *self.maps(images)]
            made_images = self.generator(wanted)
            made = [made_images, *self.maps(made_images)]
            against = self._train_discriminator(real, codes, made, wanted)
            losses = self._losses(real, made, wanted)
            weights = self.recipe.losses.at(number / self.recipe.steps)
            loss = torch.stack([weights[name] * one for name, one in losses.items()]).sum()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self._keep_average(number)
        values = {name: float(one.detach()) for name, one in losses.items()}
        return {"loss": float(loss.detach())} | values | {"discriminator": against}

    def _train_discriminator(
        self, real: Sequence[torch.Tensor], codes: Codes, made: Sequence[torch.Tensor], wanted: Codes
    ) -> float:
        self.discriminator.requires_grad_(True)
        scores = self.discriminator(real, codes), self.discriminator([m.detach() for m in made], wanted)
        loss = discriminator_loss(*scores)
        self.adam_d.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam_d.step()
        self.discriminator.requires_grad_(False)
        return float(loss.detach())

    def _losses(
        self, real: Sequence[torch.Tensor], made: Sequence[torch.Tensor], wanted: Codes
    ) -> dict[str, torch.Tensor]:
        """The parts of the generator's loss. The first rows of `made` are of the real images' codes."""
        n = len(real[0])
        relative = [
            (m[:n] - r).square().mean() / r.square().mean().clamp_min(TINY)
            for m, r in zip(made[1:], real[1:], strict=True)
        ]
        read_rows = [*range(max(1, round(n * CODE_SHARE))), *range(n, len(wanted))]
        code = wanted[read_rows]
        read = self.projection(self.encoder(made[0][read_rows]))
        return {
            "image": (made[0][:n] - real[0]).abs().mean(),
            "feature": torch.stack(relative).mean(),
            "code": (read - code).square().mean() / code.square().mean(),
            "adversarial": generator_loss(self.discriminator(made, wanted)),
        }

    def _random_codes(self, number: int, count: int) -> Codes:
        """(count, d): N(0, s²), s uniform between 1 and the recipe's scale for each code."""
        seeds, steps = torch.tensor([self.recipe.seed]), torch.tensor([number])
        z = random.normal(seeds, steps, "training codes", (count, self.generator.architecture.dim))[0]
        u = random.uniform(seeds, steps, "training code scales", (count, 1))[0]
        return (z * (1.0 + (self.recipe.random_scale - 1.0) * u)).to(self.device)

    def _set_rates(self, number: int) -> None:
        """A short rise, then half a cosine down to zero."""
        progress = number / self.recipe.steps
        factor = min(1.0, (number + 1) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * progress))
        for adam, rate in (
            (self.adam, self.recipe.learning_rate),
            (self.adam_d, self.recipe.discriminator_rate),
        ):
            for group in adam.param_groups:
                group["lr"] = rate * factor

    def _keep_average(self, number: int) -> None:
        """The exponential average of the generator's weights; of all steps so far while they are few."""
        decay = min(self.recipe.average, (number + 1) / (number + 10))
        with torch.no_grad():
            for kept, new in zip(
                self.kept.state_dict().values(), self.generator.state_dict().values(), strict=True
            ):
                if kept.is_floating_point():
                    kept.lerp_(new, 1.0 - decay)
                else:
                    kept.copy_(new)

    def state(self) -> dict[str, torch.Tensor]:
        """Every tensor that the next step depends on, by name."""
        found: dict[str, torch.Tensor] = {}
        for name, module in self._modules():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, adam in self._optimizers():
            for index, slots in adam.state_dict()["state"].items():
                found |= {f"{name}.{index}.{slot}": value for slot, value in slots.items()}
        return {key: value.detach().cpu().contiguous() for key, value in found.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a state. Raises BadInput for one of another architecture."""
        expected = {key: value.shape for key, value in self.state().items() if not _of_adam(key)}
        given = {key: value.shape for key, value in state.items() if not _of_adam(key)}
        if expected != given:
            wrong = sorted(k for k in expected | given if expected.get(k) != given.get(k))[0]
            raise BadInput(
                f"the checkpoint is of another architecture: {wrong} has the shape "
                f"{_shape(given.get(wrong))}, not {_shape(expected.get(wrong))}; resume with the recipe that "
                "it was begun with"
            )
        for name, module in self._modules():
            prefix = f"{name}."
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
        for name, adam in self._optimizers():
            slots: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
            for key, value in state.items():
                owner, index, slot = (*key.rsplit(".", 2), "", "")[:3]
                if owner == name:
                    slots[int(index)][slot] = value
            adam.load_state_dict({**adam.state_dict(), "state": dict(slots)})

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [
            ("generator", self.generator),
            ("kept", self.kept),
            ("discriminator", self.discriminator),
        ]

    def _optimizers(self) -> list[tuple[str, torch.optim.Adam]]:
        return [("adam", self.adam), ("adam_d", self.adam_d)]


def _placed(module: nn.Module, device: torch.device) -> None:
    """On a device, channels last: most of what is computed are convolutions."""
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _of_adam(key: str) -> bool:
    return key.startswith(("adam.", "adam_d."))


def _shape(shape: torch.Size | None) -> str:
    return "nothing" if shape is None else str(tuple(shape))
