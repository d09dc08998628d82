"""The command `train-generator`."""

from __future__ import annotations

import argparse
import functools
import json
import shlex
from pathlib import Path

from xdream.cli import flags, running
from xdream.cli.command import Subcommand
from xdream.cli.flags import FieldFlag
from xdream.errors import BadInput

RECIPE_FLAGS = {
    "images": FieldFlag("PLACE", each=True),
    "validation": FieldFlag("PLACE", each=True),
    "network": FieldFlag("NAME"),
    "layer": FieldFlag("LAYER"),
    "dimensions": FieldFlag("N"),
    "image_size_px": FieldFlag("PX", name="image-size"),
    "batch": FieldFlag("N"),
    "steps": FieldFlag("N"),
    "seed": FieldFlag("N"),
    "device": FieldFlag("NAME"),
    "precision": FieldFlag(),
    "name": FieldFlag("NAME"),
}
#: Keys of a recipe file that have no flag of their own, but `--set`.
RECIPE_FILE_ONLY = (
    *("encoder_size_px", "grid", "channels", "refined", "feature_layers", "random_share", "random_scale"),
    *("learning_rate", "discriminator_rate", "average", "losses", "checkpoint_every", "sheet_every"),
    *("threads",),
)


def _train_flags(parser: argparse.ArgumentParser) -> None:
    from xdream.training.recipe import Recipe

    parser.add_argument("recipe", nargs="?", help="a recipe file (TOML); flags replace its keys")
    flags.add(parser, Recipe, RECIPE_FLAGS)
    parser.add_argument(
        "--out", metavar="FOLDER", help="a new folder for everything (default generators/NAME)"
    )
    parser.add_argument("--resume", metavar="FOLDER", help="go on with a training that was interrupted")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    flags.add_settings(
        parser, "KEY=VALUE", "any other key of a recipe, e.g. grid=2 or losses.adversarial=0.2"
    )


def _train_generator(options: argparse.Namespace) -> int:
    """Train a generator, or go on with it."""
    from xdream import training
    from xdream.training.recipe import Recipe

    given = flags.given(options, RECIPE_FLAGS)
    if options.resume:
        if options.recipe or options.out or options.set or given:
            raise BadInput("--resume uses the recipe of the training; leave out the other flags")
        folder = Path(options.resume)
        work = functools.partial(training.resume, folder)
    else:
        values = Recipe.read(options.recipe).model_dump(exclude_unset=True) if options.recipe else {}
        values |= given
        flags.lay_over(values, options.set)
        recipe = Recipe.make(**values)
        folder = Path(options.out or f"generators/{recipe.name}")
        work = functools.partial(training.train, recipe, folder)
    begun = folder / training.RECIPE
    again = "xdream train-generator --resume"
    with running.stopping(ignored=False) as stop:
        return running.watched(lambda bar: work(bar, stop=stop), _print_generator, begun, options, again)


def _print_generator(file: Path, options: argparse.Namespace) -> int:
    from xdream.generators import cards

    card = cards.read(file)
    told = ", ".join(f"{name} {value:.4g}" for name, value in card["metrics"].items())
    print(f"generator: {file} ({told or 'no validation images, so its errors are not known'})")
    print(f"use it: xdream evolve --generator {shlex.quote(str(file))} …")
    if options.json:
        print(json.dumps({"generator": str(file)} | card))
    return 0


COMMANDS = {"train-generator": Subcommand(_train_flags, _train_generator)}
