"""Recipes: TOML in and out, and what cannot be one."""

from pathlib import Path
from typing import Any

import pytest

from xdream.errors import BadInput
from xdream.training.recipe import CHANNELS, REFINED, LossWeights, Recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def test_a_recipe_comes_back_from_its_toml() -> None:
    recipe = Recipe.make(
        name="mine",
        images="photographs",
        validation=["a.zip", "b"],
        channels=[8, 4, 4],
        image_size_px=16,
        losses={"adversarial": 0.2},
    )
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert recipe.images == ("photographs",)
    assert recipe.validation == ("a.zip", "b")
    assert recipe.losses == LossWeights(adversarial=0.2)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_it_can_be_read(path: Path) -> None:
    assert Recipe.read(path).name == path.stem


@pytest.mark.parametrize(("size", "stages"), [(16, 3), (32, 4), (64, 5), (128, 6), (256, 7)])
def test_there_are_default_channels_for_every_size(size: int, stages: int) -> None:
    assert Recipe.make(image_size_px=size).stages == stages
    assert len(CHANNELS) == len(REFINED) >= stages


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size_px": 48}, r"image_size_px: .*16, 32, 64, 128 or 256 \(it is 48\)"),
        ({"dimensions": 1}, r"dimensions: .*\(it is 1\)"),
        ({"batch": 2}, r"batch: .*\(it is 2\)"),
        ({"steps": 0}, r"steps: .*\(it is 0\)"),
        ({"learning_rate": 0}, r"learning_rate: "),
        ({"average": 1.0}, r"average: "),
        ({"random_share": 1.5}, r"random_share: "),
        ({"random_scale": 0.5}, r"random_scale: "),
        ({"seed": -1}, r"seed: "),
        ({"name": "a/b"}, r"name: "),
        ({"precision": "float16"}, r"precision: .*'float32' or 'bfloat16' \(it is 'float16'\)"),
        ({"channels": [8, "many"]}, r"channels.1: .*'many'"),
        ({"losses": {"image": -1.0}}, r"losses.image: .*\(it is -1.0\)"),
        (
            {"losses": {"images": 1.0}},
            r"losses.images: it stands in the recipe itself; what may stand here: image",
        ),
        ({"step": 100}, r"step: unknown key; near: steps"),
        ({"losses": {"image": float("nan")}}, r"losses.image: "),
    ],
)
def test_a_wrong_value_is_one_line_with_its_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=f"^recipe: {message}") as error:
        Recipe.make(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("progress", "image"), [(0.0, 20.0), (0.1, 20.0), (13 / 60, 12.0), (1 / 3, 4.0), (0.99, 4.0)]
)
def test_the_image_loss_counts_less_from_a_third_of_the_steps_on(progress: float, image: float) -> None:
    weights = LossWeights(image=20.0, image_later=4.0, feature=2.0, code=0.5, adversarial=0.1).at(progress)
    assert weights == pytest.approx({"image": image, "feature": 2.0, "code": 0.5, "adversarial": 0.1})
