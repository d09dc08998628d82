"""A training from the first image to the generator file, in its own folder, resumable after a kill.

FOLDER/recipe.toml              what was asked for, with every default
FOLDER/training-*.npy, *.json   images and features, and how far they are
FOLDER/projection.safetensors   from features to codes
FOLDER/checkpoint.safetensors   every tensor that the next step depends on
FOLDER/losses.csv               the mean of each loss between checkpoints
FOLDER/sheet-000500.png         originals above, their reconstructions below, then random codes
FOLDER/NAME.safetensors         the generator, when all is done
"""

from __future__ import annotations

import csv
import importlib.metadata
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import safetensors
import safetensors.torch
import torch

from xdream import networks, random, references
from xdream.errors import BadInput
from xdream.generators import InitialCodes
from xdream.generators.learned import write
from xdream.generators.projection import EncoderSpec, GridReader, Projection, grid_reader
from xdream.memory import keep_freed_blocks
from xdream.networks import Network, one_line
from xdream.networks.upconv import UpArchitecture
from xdream.store import locked
from xdream.training.measure import measure
from xdream.training.prepare import LEAST_IMAGES_PER_DIMENSION, Pictures, fit, prepare, project
from xdream.training.recipe import CHANNELS, ENCODER_LAYERS, REFINED, Recipe
from xdream.training.sheet import save_sheet
from xdream.training.trainer import FeatureMaps, Trainer, default_layers
from xdream.types import Codes

RECIPE, CHECKPOINT, LOSSES, PROJECTION = (
    "recipe.toml",
    "checkpoint.safetensors",
    "losses.csv",
    "projection.safetensors",
)
#: Images by which the feature maps are scaled.
CALIBRATION_IMAGES = 64
#: Of each kind on a sheet.
SHEET_IMAGES = 16


class Watch(Protocol):
    """Who is told how far a training is."""

    def stage(self, name: str, done: int, total: int) -> None:
        """`done` of `total` of something."""
        ...

    def note(self, text: str) -> None:
        """A short text to stand beside it."""
        ...


def train(recipe: Recipe, folder: Path, watch: Watch) -> Path:
    """Train a generator in a folder that does not exist yet, and return its file. Raises BadInput."""
    recipe = _resolved(recipe)
    networks.device(recipe.device)
    network, encoder = _open_encoder(recipe)  # what cannot work is known before a folder is made
    _maps(recipe, network, torch.device("cpu"))
    if recipe.dimensions > encoder.features:
        raise BadInput(
            f"a code of {recipe.dimensions} numbers is more than the {encoder.features} features that "
            f"'{recipe.layer}' gives; give fewer dimensions, a finer grid or another layer"
        )
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"folder '{folder}' is not empty; give a new one, or go on with --resume {folder}")
    with _disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECIPE).write_text(recipe.to_toml())
    return resume(folder, watch)


def resume(folder: Path, watch: Watch) -> Path:
    """Go on with a training where it was interrupted; the file when it is done. Raises BadInput."""
    recipe = Recipe.read(folder / RECIPE)
    out = folder / f"{recipe.name}.safetensors"
    if out.exists():
        return out
    keep_freed_blocks()
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    device = networks.device(recipe.device)
    network, encoder = _open_encoder(recipe, device)
    with _disk(folder), locked(folder):
        size = recipe.image_size_px
        least = LEAST_IMAGES_PER_DIMENSION * recipe.dimensions
        pictures = prepare("training", recipe.images, size, encoder, folder, watch.stage, least)
        held_out = prepare("validation", recipe.validation, size, encoder, folder, watch.stage)
        projection = _projection(folder / PROJECTION, pictures, recipe, watch)
        codes = project(pictures.features, projection)
        maps = _maps(recipe, network, device)
        maps.calibrate(_floats(pictures, list(range(CALIBRATION_IMAGES)), device))
        trainer = Trainer(recipe, _architecture(recipe), maps, encoder, projection, device)
        session = _Session(recipe, folder, trainer, pictures, codes, watch)
        seconds = session.run()
        kept = trainer.kept.folded().eval()
        watch.stage("measuring", 0, 1)
        metrics = measure(kept, maps, encoder, projection.to(device), held_out, device)
        watch.stage("measuring", 1, 1)
        spec = EncoderSpec(
            recipe.network,
            recipe.layer,
            _encoder_size(recipe, network),
            recipe.grid,
            networks.fingerprint(network.module),
        )
        about = {
            "name": recipe.name,
            "provenance": _provenance(recipe, pictures, held_out, seconds, device),
            "metrics": metrics,
        }
        write(out, kept, spec, projection, InitialCodes(codes.mean(0), codes.std(0)), about)
    return out


class _Session:
    """The steps between two kills."""

    def __init__(
        self, recipe: Recipe, folder: Path, trainer: Trainer, pictures: Pictures, codes: Codes, watch: Watch
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.trainer = trainer
        self.pictures = pictures
        self.codes = codes
        self.watch = watch
        self.done = 0
        self.seconds = 0.0

    def run(self) -> float:
        """All steps that are left. Returns the seconds of all sessions together."""
        recipe = self.recipe
        self._load()
        sums: dict[str, float] = {}
        since = time.monotonic()
        saved = self.done
        try:
            while self.done < recipe.steps:
                rows = self._rows(self.done)
                images = _floats(self.pictures, rows, self.trainer.device)
                losses = self.trainer.step(self.done, images, self.codes[rows].to(self.trainer.device))
                self.done += 1
                sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
                self.watch.note(" ".join(f"{name} {value:.3f}" for name, value in losses.items()))
                self.watch.stage("training", self.done, recipe.steps)
                if self.done % recipe.checkpoint_every == 0 or self.done == recipe.steps:
                    now = time.monotonic()
                    self.seconds += now - since
                    since = now
                    means = {name: value / (self.done - saved) for name, value in sums.items()}
                    self._save(means)
                    sums, saved = {}, self.done
                if self.done % recipe.sheet_every == 0 or self.done == recipe.steps:
                    self._sheet()
        except KeyboardInterrupt:
            if self.done > saved:
                self.seconds += time.monotonic() - since
                self._save({name: value / (self.done - saved) for name, value in sums.items()})
            raise
        return self.seconds

    def _rows(self, step: int) -> list[int]:
        """Which images: each once per epoch, in an order that follows from the seed and the epoch."""
        count, batch = len(self.pictures), self.recipe.batch
        places = range(step * batch, (step + 1) * batch)
        return [int(self._order(place // count)[place % count]) for place in places]

    def _order(self, epoch: int) -> torch.Tensor:
        if getattr(self, "_epoch", None) != epoch:
            seeds, steps = torch.tensor([self.recipe.seed]), torch.tensor([epoch])
            self._shuffled = random.permutation(seeds, steps, "training order", len(self.pictures))[0]
            self._epoch = epoch
        return self._shuffled

    def _save(self, means: Mapping[str, float]) -> None:
        header = {"step": str(self.done), "seconds": f"{self.seconds:.1f}"}
        _save_tensors(self.trainer.state(), self.folder / CHECKPOINT, header)
        path = self.folder / LOSSES
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", *means])
            writer.writerow([self.done, f"{self.seconds:.0f}", *(f"{value:.5f}" for value in means.values())])

    def _load(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            with safetensors.safe_open(path, "pt") as file:
                header = file.metadata() or {}
                self.done, self.seconds = int(header["step"]), float(header["seconds"])
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a file, no dictionary)
        except Exception as error:
            raise BadInput(
                f"checkpoint {path} cannot be read ({one_line(error)}); delete it to begin the training anew"
            ) from error
        self.trainer.load(state)

    def _sheet(self) -> None:
        rows = list(range(0, len(self.pictures), max(1, len(self.pictures) // SHEET_IMAGES)))[:SHEET_IMAGES]
        drawn = random.normal(
            torch.tensor([self.recipe.seed]), torch.tensor([0]), "sheet", (SHEET_IMAGES, self.codes.shape[1])
        )[0]
        generator = self.trainer.kept
        with torch.inference_mode():
            made = generator(torch.cat((self.codes[rows], drawn)).to(self.trainer.device)).cpu()
        originals = _floats(self.pictures, rows, torch.device("cpu"))
        save_sheet(
            self.folder / f"sheet-{self.done:06d}.png",
            [
                ("originals", originals),
                ("reconstructions", made[: len(rows)]),
                ("random codes", made[len(rows) :]),
            ],
        )


def _resolved(recipe: Recipe) -> Recipe:
    """The recipe with its defaults looked up, and its paths absolute, to be resumed from anywhere."""
    layer = recipe.layer or ENCODER_LAYERS.get(recipe.network)
    if layer is None:
        raise BadInput(
            f"no layer of {recipe.network} is named; give one (xdream list targets --layers {recipe.network})"
        )
    if not recipe.images:
        raise BadInput("no images to train with; give a folder or zip file of them")
    channels = recipe.channels or CHANNELS[: recipe.stages]
    refined = recipe.refined or REFINED[: recipe.stages]
    if len(channels) != recipe.stages or len(refined) != recipe.stages:
        raise BadInput(
            f"channels {list(channels)} and refined {list(refined)} are not {recipe.stages} numbers each, as "
            f"images of {recipe.image_size_px} px need"
        )
    absolute = {
        key: tuple(references.absolute(one) for one in getattr(recipe, key))
        for key in ("images", "validation")
    }
    return recipe.model_copy(update={"layer": layer, "channels": channels, "refined": refined, **absolute})


def _open_encoder(recipe: Recipe, device: torch.device | None = None) -> tuple[Network, GridReader]:
    network = networks.load(recipe.network)
    return network, grid_reader(network, recipe.layer, _encoder_size(recipe, network), recipe.grid, device)


def _maps(recipe: Recipe, network: Network, device: torch.device) -> FeatureMaps:
    size = recipe.image_size_px
    return FeatureMaps(network, recipe.feature_layers or default_layers(network, size), size, device)


def _encoder_size(recipe: Recipe, network: Network) -> int:
    own = network.preprocessing.size_px
    return recipe.encoder_size_px or (own[0] if own else networks.DEFAULT_PX)


def _architecture(recipe: Recipe) -> UpArchitecture:
    assert recipe.channels is not None
    assert recipe.refined is not None
    return UpArchitecture(recipe.dimensions, recipe.channels, recipe.refined)


def _projection(path: Path, pictures: Pictures, recipe: Recipe, watch: Watch) -> Projection:
    """Fitted once, then read."""
    if path.exists():
        kept = safetensors.torch.load_file(path)
        return Projection(kept["mean"], kept["matrix"])
    projection = fit(pictures.features, recipe.dimensions, recipe.seed, watch.stage)
    _save_tensors({"mean": projection.mean, "matrix": projection.matrix}, path, {})
    return projection


def _floats(pictures: Pictures, rows: list[int], device: torch.device) -> torch.Tensor:
    return pictures.images(rows).to(device, torch.float32) / 255.0


def _save_tensors(tensors: Mapping[str, torch.Tensor], path: Path, header: dict[str, str]) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(safetensors.torch.save(dict(tensors), header))
    temporary.replace(path)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A full or missing disk as one line; what was written before is still there."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"cannot write into {folder}: {one_line(error)}; make room and go on with --resume {folder}"
        ) from error


def _provenance(
    recipe: Recipe, pictures: Pictures, held_out: Pictures, seconds: float, device: torch.device
) -> dict[str, object]:
    """How a generator came to be, without the paths of the machine."""
    told = recipe.model_dump(mode="json", exclude={"images", "validation", "device", "threads"})
    return {
        "recipe": told,
        "images": {"count": len(pictures), "sha256": pictures.digest},
        "validation": {"count": len(held_out), "sha256": held_out.digest},
        "sources": [Path(one).name for one in recipe.images],
        "training_seconds": round(seconds),
        "device": device.type,
        "xdream": importlib.metadata.version("xdream"),
        "torch": torch.__version__,
    }
