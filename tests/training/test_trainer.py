"""One step: what each loss is, what moves and by how much, and that a state is all that the next needs."""

import copy
import math
from collections.abc import Callable

import pytest
import torch

import tiny_encoder
from xdream import networks
from xdream.errors import BadInput
from xdream.networks import Network, Preprocessing
from xdream.training.trainer import FeatureMaps, Trainer, default_layers

CPU = torch.device("cpu")
Batch = tuple[torch.Tensor, torch.Tensor]
Make = Callable[..., Trainer]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], module: str) -> bool:
    keys = [key for key in before if key.startswith(f"{module}.")]
    return not same({key: before[key] for key in keys}, {key: after[key] for key in keys})


# The losses


def test_the_losses_are_those_of_the_made_images(trainer: Make, batch: Batch) -> None:
    made_by = trainer(random_share=0.5)
    images, codes = batch
    made_by.maps.calibrate(images)
    generator = copy.deepcopy(made_by.generator)
    wanted = torch.cat((codes, made_by._random_codes(7, 2)))
    with torch.no_grad():
        made = generator(wanted)
        ratios = [
            float(((m[:4] - r) ** 2).mean() / (r**2).mean())
            for m, r in zip(made_by.maps(made), made_by.maps(images), strict=True)
        ]
        read_rows = [0, 4, 5]  # one of the images' codes, all of the drawn ones
        read = made_by.projection(made_by.encoder(made[read_rows]))
        code = float(((read - wanted[read_rows]) ** 2).mean() / (wanted[read_rows] ** 2).mean())
    losses = made_by.step(7, images, codes)
    assert losses["image"] == pytest.approx(float((made[:4] - images).abs().mean()), rel=1e-4)
    assert losses["feature"] == pytest.approx(sum(ratios) / 2, rel=1e-4)
    assert losses["code"] == pytest.approx(code, rel=1e-4)


@pytest.mark.parametrize(("number", "image"), [(0, 3.0), (50, 1.0)])
def test_the_whole_loss_is_the_weighted_sum(trainer: Make, batch: Batch, number: int, image: float) -> None:
    weights = {"image": 3.0, "feature": 0.25, "code": 0.5, "adversarial": 2.0}
    losses = trainer(losses=weights | {"image_later": 1.0}, steps=100).step(number, *batch)
    expected = sum(weight * losses[name] for name, weight in (weights | {"image": image}).items())
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert list(losses) == ["loss", *weights, "discriminator"]


def test_without_drawn_codes_a_code_is_still_read(trainer: Make, batch: Batch) -> None:
    losses = trainer(random_share=0.0).step(0, *batch)
    assert all(math.isfinite(value) for value in losses.values())
    assert losses["code"] > 0


def test_images_come_to_resemble_the_wanted_ones(trainer: Make, batch: Batch) -> None:
    training = trainer(steps=1000, learning_rate=2e-2, losses={"image": 20.0, "code": 0.0})
    training.maps.calibrate(batch[0])
    first, *_, last = (training.step(number, *batch) for number in range(30))
    assert last["image"] < 0.75 * first["image"]
    assert last["feature"] < 0.6 * first["feature"]


def test_a_step_moves_generator_and_discriminator_but_not_the_encoder(trainer: Make, batch: Batch) -> None:
    training = trainer()
    before = training.state()
    fingerprint = networks.fingerprint(training.maps.reader.network.module)
    training.step(0, *batch)
    after = training.state()
    assert changed(before, after, "generator")
    assert changed(before, after, "discriminator")
    assert networks.fingerprint(training.maps.reader.network.module) == fingerprint


def test_the_generator_learns_to_please_the_discriminator(trainer: Make, batch: Batch) -> None:
    weights = {"image": 0.0, "feature": 0.0, "code": 0.0, "adversarial": 1.0}
    training = trainer(steps=1000, learning_rate=2e-2, discriminator_rate=1e-12, losses=weights)
    images, codes = batch

    def score() -> float:
        judge = copy.deepcopy(training.discriminator).eval()
        with torch.no_grad():
            made = copy.deepcopy(training.generator)(codes)
            return float(
                torch.stack([one.mean() for one in judge([made, *training.maps(made)], codes)]).mean()
            )

    before = score()
    for number in range(10):
        training.step(number, images, codes)
    assert score() > before + 0.02


def test_adam_forgets_gradients_at_the_published_rates(trainer: Make, batch: Batch) -> None:
    """β₁ = 0.5, β₂ = 0.99: after one step (1 − β₁) g and (1 − β₂) g² are kept."""
    training = trainer()
    training.step(0, *batch)
    state = training.state()
    for name in ("adam", "adam_d"):
        first, second = state[f"{name}.0.exp_avg"].double(), state[f"{name}.0.exp_avg_sq"].double()
        torch.testing.assert_close(first.square() / 0.25, second / 0.01, rtol=1e-4, atol=1e-12)


def test_the_generators_loss_does_not_move_the_discriminator(trainer: Make, batch: Batch) -> None:
    """With rate 0 only the estimates of singular vectors move in it."""
    training = trainer()
    training.recipe = training.recipe.model_copy(update={"discriminator_rate": 0.0})
    before = {k: v.clone() for k, v in training.discriminator.named_parameters()}
    training.step(0, *batch)
    assert all(torch.equal(before[k], v) for k, v in training.discriminator.named_parameters())


# Rates, averages, draws


@pytest.mark.parametrize(
    ("number", "factor"),
    [
        (0, 0.01),  # the first of 100 steps of rise
        (49, 0.5 * 0.5 * (1 + math.cos(math.pi * 49 / 400))),
        (100, 0.5 * (1 + math.cos(math.pi / 4))),
        (200, 0.5),
        (300, 0.5 * (1 - math.cos(math.pi / 4))),
        (399, 0.5 * (1 + math.cos(math.pi * 399 / 400))),
    ],
)
def test_rates_rise_shortly_and_fall_along_a_cosine(trainer: Make, number: int, factor: float) -> None:
    training = trainer(steps=400, learning_rate=2e-3, discriminator_rate=5e-4)
    training._set_rates(number)
    assert training.adam.param_groups[0]["lr"] == pytest.approx(2e-3 * factor)
    assert training.adam_d.param_groups[0]["lr"] == pytest.approx(5e-4 * factor)


def test_the_kept_weights_are_the_average_of_those_so_far(trainer: Make, batch: Batch) -> None:
    """By 1/10, 2/11, 3/12, … of what was kept before, until the recipe's share is reached."""
    training = trainer(average=0.2)
    key = "layers.0.weight"
    expected = training.generator.state_dict()[key].double().clone()
    for number, decay in enumerate((0.1, 2 / 11, 0.2, 0.2)):
        training.step(number, *batch)
        expected = decay * expected + (1 - decay) * training.generator.state_dict()[key].double()
        torch.testing.assert_close(training.kept.state_dict()[key].double(), expected, atol=1e-6, rtol=0)
    steps = training.kept.state_dict()["layers.1.num_batches_tracked"]
    assert steps == 4
    assert not training.kept.training
    assert not any(parameter.requires_grad for parameter in training.kept.parameters())


def test_drawn_codes_are_normal_with_scales_between_one_and_the_recipes(trainer: Make) -> None:
    training = trainer(random_scale=2.0, dimensions=64)
    codes = torch.cat([training._random_codes(number, 50) for number in range(20)]).double()
    assert codes.shape == (1000, 64)
    assert codes.mean().abs() < 0.02
    # E[s²] of s uniform in 1 … 2 is 7/3; a code's own mean square has a relative deviation of sqrt(2/64)
    assert float(codes.square().mean()) == pytest.approx(7 / 3, rel=0.03)
    scales = codes.square().mean(1).sqrt()
    assert float((scales < 1.5).double().mean()) == pytest.approx(0.5, abs=0.06)
    assert 0.6 < scales.min() < 1.0
    assert 2.0 < scales.max() < 2.6


def test_drawn_codes_follow_from_seed_and_step(trainer: Make) -> None:
    one, other = trainer(), trainer(seed=1)
    assert torch.equal(one._random_codes(3, 5), one._random_codes(3, 5))
    assert torch.equal(one._random_codes(3, 5)[:2], trainer(steps=3)._random_codes(3, 2))
    assert not torch.equal(one._random_codes(3, 5), one._random_codes(4, 5))
    assert not torch.equal(one._random_codes(3, 5), other._random_codes(3, 5))
    assert torch.equal(trainer(random_scale=1.0)._random_codes(3, 500).std().round(), torch.tensor(1.0))


def test_a_training_follows_from_its_seed_and_leaves_the_global_generator_alone(
    trainer: Make, batch: Batch
) -> None:
    before = torch.random.get_rng_state()
    trainings = [trainer(seed=seed) for seed in (5, 5, 6)]
    for training in trainings:
        training.step(0, *batch)
        training.step(1, *batch)
    one, again, other = (training.state() for training in trainings)
    assert same(one, again)
    for part in ("generator", "kept", "discriminator"):
        assert changed(one, other, part)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_step_in_mixed_precision_is_nearly_that_in_full(trainer: Make, batch: Batch) -> None:
    full, mixed = trainer(), trainer(precision="bfloat16")
    for training in (full, mixed):
        training.maps.calibrate(batch[0])
    expected, losses = full.step(0, *batch), mixed.step(0, *batch)
    for name in ("image", "feature", "code", "discriminator"):
        assert losses[name] == pytest.approx(expected[name], rel=0.05), name
        assert losses[name] != expected[name]
    assert all(value.dtype in (torch.float32, torch.int64) for value in mixed.state().values())
    again = mixed.step(1, *batch)
    assert all(math.isfinite(value) for value in again.values())


# The state


def test_a_state_is_all_that_the_next_step_depends_on(trainer: Make, batch: Batch) -> None:
    whole, begun = trainer(), trainer()
    for number in range(3):
        whole.step(number, *batch)
        begun.step(number, *batch)
    state = {key: value.clone() for key, value in begun.state().items()}
    resumed = trainer()
    resumed.load(state)
    assert same(resumed.state(), state)
    for number in range(3, 6):
        assert resumed.step(number, *batch) == whole.step(number, *batch)
        assert same(resumed.state(), whole.state())


def test_the_names_in_a_state_stay_as_they_are(trainer: Make, batch: Batch) -> None:
    """Checkpoints of trainings that are under way hold them."""
    training = trainer()
    training.step(0, *batch)
    state = training.state()
    for name in (
        "generator.layers.0.weight",
        "generator.layers.1.running_mean",
        "generator.to_rgb.bias",
        "kept.layers.0.weight",
        "discriminator.heads.0.body.0.parametrizations.weight.original",
        "discriminator.heads.2.of_code.parametrizations.weight.0._u",
        "adam.0.exp_avg",
        "adam.3.step",
        "adam_d.0.exp_avg_sq",
    ):
        assert name in state


def test_a_state_of_another_architecture_is_refused_by_a_tensors_name(trainer: Make, batch: Batch) -> None:
    wide = trainer(channels=(8, 6, 4))
    wide.step(0, *batch)
    training = trainer()
    before = training.state()
    with pytest.raises(
        BadInput, match=r"architecture: generator\.\S+ has the shape \(6,\), not \(8,\)"
    ) as error:
        training.load(wide.state())
    assert "\n" not in str(error.value)
    assert same(training.state(), before)
    deep = trainer(refined=(1, 0, 1))
    with pytest.raises(BadInput, match=r"has the shape nothing, not \("):
        deep.load(before)


# The maps of the feature loss


def test_maps_are_scaled_to_a_mean_square_of_one(batch: Batch) -> None:
    maps = FeatureMaps(tiny_encoder.network(), ["conv1", "conv2"], 16, CPU)
    assert maps.channels == (8, 12)
    maps.calibrate(batch[0])
    first, second = maps(batch[0])
    assert (first.shape, second.shape) == ((4, 8, 8, 8), (4, 12, 4, 4))
    for one in (first, second):
        assert float(one.square().mean()) == pytest.approx(1.0, rel=1e-5)
    module = tiny_encoder.network().module
    plain = module.get_submodule("conv1")((batch[0] - 0.5) / 0.25)
    torch.testing.assert_close(first, plain / plain.square().mean().sqrt(), atol=1e-5, rtol=0)
    maps.calibrate(batch[0])  # anew, not on top
    assert torch.equal(maps(batch[0])[0], first)


def test_images_are_not_resized_for_the_maps(batch: Batch) -> None:
    """The encoder's own 32 px would make them twice as large."""
    maps = FeatureMaps(tiny_encoder.network(), ["conv1"], 64, CPU)
    assert maps(torch.rand(1, 3, 64, 64))[0].shape == (1, 8, 32, 32)


def test_a_layer_without_positions_has_no_map() -> None:
    with pytest.raises(BadInput, match=r"feature layer 'scores' of tiny has the shape \(5,\), no positions"):
        FeatureMaps(tiny_encoder.network(), ["conv1", "scores"], 16, CPU)


def test_by_default_the_last_layer_of_each_resolution_is_taken() -> None:
    assert default_layers(tiny_encoder.network(), 32) == ("relu1", "relu2", "grey")
    assert default_layers(tiny_encoder.network(), 16) == ("relu1", "relu2")
    blocks = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU()),
        torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, 1, 1), torch.nn.ReLU()),
    )
    assert default_layers(Network("blocks", blocks, Preprocessing(None)), 16) == ("1",)


def test_a_network_without_layers_of_positions_is_refused() -> None:
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
    with pytest.raises(BadInput, match="'flat' has no layers with positions for images of 16 px"):
        default_layers(Network("flat", flat, Preprocessing(None)), 16)
