"""A training's folder: one writer, each file whole or not at all.

FOLDER/recipe.toml              what was asked for, with every default
FOLDER/training-*.npy, *.json   images and features, and how far they are
FOLDER/projection.safetensors   from features to codes
FOLDER/checkpoint.safetensors   every tensor that the next step depends on
FOLDER/losses.csv               the mean of each loss between checkpoints
FOLDER/sheet-000500.png         originals above, their reconstructions below, then random codes
FOLDER/NAME.safetensors         the generator, when all is done
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from xdream.errors import BadInput
from xdream.files import replace
from xdream.networks import one_line
from xdream.store import LOCK_NAME, locked

RECIPE = "recipe.toml"
CHECKPOINT = "checkpoint.safetensors"
LOSSES = "losses.csv"
PROJECTION = "projection.safetensors"


def check_empty(folder: Path, *, is_ours: bool = False) -> None:
    """Raise BadInput unless a training can begin here; StoreBusy where another's is under way."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} - {LOCK_NAME}:
        if not is_ours and (folder / LOCK_NAME).exists():
            locked(folder).release()
        begun = f", or go on with --resume {folder}" if (folder / RECIPE).exists() else ""
        raise BadInput(f"folder {folder} is not empty; give a new one{begun}")


@contextmanager
def ours(folder: Path) -> Iterator[None]:
    """The folder as this process's own. A full or missing disk is one line; what was written stays."""
    lock = locked(folder)
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"cannot write into {folder}: {one_line(error)}; make room"
            + (f" and go on with --resume {folder}" if (folder / RECIPE).exists() else "")
        ) from error
    finally:
        lock.release()


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path, header: dict[str, str]) -> None:
    """Tensors and a header of text."""
    replace(path, safetensors.torch.save(dict(tensors), header))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What `save_tensors` wrote: tensors and header. Raises BadInput."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a file, no dictionary)
            return tensors, file.metadata() or {}
    except Exception as error:  # the reader raises whatever a damaged file makes it stumble over
        raise BadInput(f"{path} cannot be read ({one_line(error)}); delete it to make it anew") from error
