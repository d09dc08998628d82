"""A training from the first image to the generator file, resumable after a kill."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from xdream import networks, random
from xdream.errors import BadInput, Interrupted, StoreError
from xdream.experiment.callbacks import Callback, LabelledCallback, NoCallback
from xdream.files import replace
from xdream.generators import GaussianCodes
from xdream.generators.learned import SUFFIX, write
from xdream.generators.projection import EncoderSpec, GridReader, Projection, grid_reader
from xdream.images import references
from xdream.images.references import References
from xdream.memory import keep_freed_blocks
from xdream.networks import Network
from xdream.networks.up_architecture import UpArchitecture
from xdream.training.measure import measure
from xdream.training.prepare import LEAST_IMAGES_PER_DIMENSION, Pictures, find, fit, prepare, project
from xdream.training.recipe import CHANNELS, ENCODER_LAYERS, REFINED, Recipe
from xdream.training.sheet import sheet
from xdream.training.trainer import FeatureMaps, Trainer, default_layers
from xdream.training.training_folder import (
    CHECKPOINT,
    LOSSES,
    PROJECTION,
    RECIPE,
    check_empty,
    ours,
    read_tensors,
    save_tensors,
)
from xdream.types import Codes

#: Images by which the feature maps are scaled.
CALIBRATION_IMAGES = 64
#: Of each kind on a sheet.
SHEET_IMAGES = 16
#: The stage of the steps.
TRAINING = "training"


def _never() -> bool:
    return False


def train(
    recipe: Recipe, folder: Path, callback: Callback | None = None, *, stop: Callable[[], bool] = _never
) -> Path:
    """Train a generator in a new folder, and return its file; one with the same recipe goes on.

    stop: asked after each step and between the stages before; when it says yes, what is done is saved and
    Interrupted is raised; `resume` goes on. Raises BadInput.
    """
    recipe = _resolved(recipe)
    networks.device(recipe.device)
    network, encoder = _open_encoder(recipe)  # what cannot work is known before a folder is made
    layers = recipe.feature_layers or default_layers(network, recipe.image_size_px)
    recipe = recipe.model_copy(
        update={"encoder_size_px": _encoder_size(recipe, network), "feature_layers": layers}
    )
    _maps(recipe, network, torch.device("cpu"))
    _architecture(recipe)
    if recipe.dimensions > encoder.features:
        raise BadInput(
            f"a code of {recipe.dimensions} numbers is more than the {encoder.features} features that "
            f"'{recipe.layer}' gives; give fewer dimensions, a finer grid or another layer"
        )
    if (folder / RECIPE).exists():
        begun_with = Recipe.read(folder / RECIPE)
        if _essence(begun_with) != _essence(recipe):
            theirs, ours_ = (one.model_dump(mode="json") for one in (begun_with, recipe))
            keys = ", ".join(key for key in theirs if theirs[key] != ours_[key])
            raise BadInput(
                f"{folder} already holds a training with another recipe ({keys}); give a new folder, or go "
                f"on with --resume {folder}"
            )
        return resume(folder, callback, stop=stop)
    check_empty(folder)
    callback = _Stoppable(callback or NoCallback(), stop)
    images = _find(recipe, callback)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"folder {folder} cannot be made: {error.strerror}") from None
    with ours(folder):
        check_empty(folder, is_ours=True)  # since: another may have begun while the images were looked for
        replace(folder / RECIPE, recipe.to_toml().encode())
        return _finish(recipe, folder, images, callback)


def resume(folder: Path, callback: Callback | None = None, *, stop: Callable[[], bool] = _never) -> Path:
    """Go on with a training where it was interrupted; the file when it is done.

    stop: as of `train`. Raises BadInput, Interrupted.
    """
    recipe = Recipe.read(folder / RECIPE)
    out = folder / f"{recipe.name}{SUFFIX}"
    if out.exists():
        return out
    callback = _Stoppable(callback or NoCallback(), stop)
    with ours(folder):
        return _finish(recipe, folder, _find(recipe, callback), callback)


class _Stoppable(LabelledCallback):
    """A callback that ends the work between two parts of a stage when a stop was asked for.

    Of the training itself a step is finished and saved first, so there `asked` is looked at instead.
    """

    def __init__(self, callback: Callback, asked: Callable[[], bool]) -> None:
        super().__init__(callback, "generations")
        self.asked = asked

    def stage(self, name: str, done: int, total: int) -> None:
        """Pass on, or raise Interrupted."""
        if name != TRAINING and self.asked():
            raise Interrupted(f"interrupted while {name}, {done} of {total} done")
        super().stage(name, done, total)


def _finish(
    recipe: Recipe, folder: Path, images: Mapping[str, list[References]], callback: _Stoppable
) -> Path:
    """From wherever the training is to the generator file."""
    out = folder / f"{recipe.name}{SUFFIX}"
    keep_freed_blocks()
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    device = networks.device(recipe.device)
    network, encoder = _open_encoder(recipe, device)
    size = recipe.image_size_px
    pictures = prepare("training", images["training"], size, encoder, folder, callback)
    held_out = prepare("validation", images["validation"], size, encoder, folder, callback)
    projection = _projection(folder / PROJECTION, pictures, recipe, callback)
    codes = project(pictures.features, projection)
    maps = _maps(recipe, network, device)
    maps.calibrate(_floats(pictures, list(range(min(CALIBRATION_IMAGES, len(pictures)))), device))
    trainer = Trainer(recipe, _architecture(recipe), maps, encoder, projection, device)
    seconds = _Steps(recipe, folder, trainer, pictures, codes, callback).run()
    kept = trainer.kept.folded().eval().to(device)
    kept.load_state_dict({key: _as_kept(value) for key, value in kept.state_dict().items()})
    projection = Projection(_as_kept(projection.mean), _as_kept(projection.matrix))
    callback.stage("measuring", 0, 1)
    metrics = measure(kept, maps, encoder, projection.to(device), held_out, device)
    callback.stage("measuring", 1, 1)
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
    write(out, kept, spec, projection, GaussianCodes(codes.mean(0), codes.std(0)), about)
    return out


class _Steps:
    """The steps between two kills."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        trainer: Trainer,
        pictures: Pictures,
        codes: Codes,
        callback: _Stoppable,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.trainer = trainer
        self.pictures = pictures
        self.codes = codes
        self.callback = callback
        self.done = 0
        self.seconds = 0.0

    def run(self) -> float:
        """All steps that are left. Returns the seconds of all of them, before a kill too."""
        recipe = self.recipe
        self._load()
        self._sheet_if_due()  # the disk may have been full when it was
        sums: dict[str, float] = {}
        since = time.monotonic()
        saved = self.done
        stopping = False
        while self.done < recipe.steps and not stopping:
            rows = self._rows(self.done)
            images = _floats(self.pictures, rows, self.trainer.device)
            losses = self.trainer.step(self.done, images, self.codes[rows].to(self.trainer.device))
            self._check_finite(losses)
            self.done += 1
            sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
            self.callback.note(" ".join(f"{name} {value:.3f}" for name, value in losses.items()))
            self.callback.stage(TRAINING, self.done, recipe.steps)
            stopping = self.callback.asked()
            if stopping or self.done % recipe.checkpoint_every == 0 or self.done == recipe.steps:
                now = time.monotonic()
                self.seconds += now - since
                since = now
                self._save({name: value / (self.done - saved) for name, value in sums.items()}, saved)
                sums, saved = {}, self.done
            self._sheet_if_due()
        if stopping:
            raise Interrupted(f"interrupted after step {self.done} of {recipe.steps}, which is saved")
        return self.seconds

    def _check_finite(self, losses: Mapping[str, float]) -> None:
        if not all(math.isfinite(value) for value in losses.values()):
            raise BadInput(
                f"the training has diverged at step {self.done}: "
                f"{', '.join(f'{name} {value:.3g}' for name, value in losses.items())}; begin anew with "
                "smaller learning rates"
            )

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

    def _save(self, means: Mapping[str, float], before: int) -> None:
        """The checkpoint, and the mean losses since the one before (its step). The losses come first: rows
        whose checkpoint a kill has prevented are left out the next time, a missing row would stay missing."""
        path = self.folder / LOSSES
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        rows = [
            ",".join(["step", "seconds", *means]),
            *(line for line in lines if int(line.partition(",")[0]) <= before),
            ",".join([f"{self.done},{self.seconds:.0f}", *(f"{value:.5f}" for value in means.values())]),
        ]
        replace(path, "".join(f"{row}\n" for row in rows).encode())
        header = {
            "step": str(self.done),
            "seconds": f"{self.seconds:.1f}",
            "recipe": _essence(self.recipe),
        }
        save_tensors(self.trainer.state(), self.folder / CHECKPOINT, header)

    def _load(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state, header = read_tensors(path)
        self.trainer.load(state)
        if header.get("recipe") != _essence(self.recipe):
            raise BadInput(
                f"{self.folder / RECIPE} is not the recipe that the training was begun with; put it back, or "
                "begin anew in another folder"
            )
        self.done, self.seconds = int(header["step"]), float(header["seconds"])

    def _sheet_if_due(self) -> None:
        path = self.folder / f"sheet-{self.done:06d}.png"
        due = self.done % self.recipe.sheet_every == 0 or self.done == self.recipe.steps
        if self.done and due and not path.exists():
            self._sheet(path)

    def _sheet(self, path: Path) -> None:
        rows = list(range(0, len(self.pictures), max(1, len(self.pictures) // SHEET_IMAGES)))[:SHEET_IMAGES]
        drawn = random.normal(
            torch.tensor([self.recipe.seed]), torch.tensor([0]), "sheet", (SHEET_IMAGES, self.codes.shape[1])
        )[0]
        generator = self.trainer.kept
        with torch.inference_mode():
            made = generator(torch.cat((self.codes[rows], drawn)).to(self.trainer.device)).cpu()
        originals = _floats(self.pictures, rows, torch.device("cpu"))
        kinds = [
            ("originals", originals),
            ("reconstructions", made[: len(rows)]),
            ("random codes", made[len(rows) :]),
        ]
        replace(path, sheet(kinds))


def _as_kept(tensor: torch.Tensor) -> torch.Tensor:
    """With the digits that the file keeps, so that what is measured is what is used."""
    return tensor.to(torch.float16).to(torch.float32)


def _essence(recipe: Recipe) -> str:
    """What decides the result: not the machine, nor where the images lie, whose content is checked."""
    return recipe.model_copy(
        update={"images": (), "validation": (), "device": "cpu", "threads": None}
    ).to_toml()


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
    if f"{recipe.name}{SUFFIX}" in (CHECKPOINT, PROJECTION):
        raise BadInput(f"the name '{recipe.name}' is that of another file of a training; choose another")
    absolute = {
        key: tuple(references.absolute(one) for one in getattr(recipe, key))
        for key in ("images", "validation")
    }
    found = {"layer": layer, "channels": channels, "refined": refined}
    threads = recipe.threads or torch.get_num_threads()
    return recipe.model_copy(update={**found, **absolute, "threads": threads})


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


def _projection(path: Path, pictures: Pictures, recipe: Recipe, callback: _Stoppable) -> Projection:
    """Fitted once, then read."""
    if path.exists():
        kept, _ = read_tensors(path)
        if kept.get("matrix", torch.empty(0)).shape != (recipe.dimensions, pictures.features.shape[1]):
            raise BadInput(
                f"{path} is of another recipe; resume with the one that {path.parent} was begun with"
            )
        return Projection(kept["mean"], kept["matrix"])
    projection = fit(pictures.features, recipe.dimensions, recipe.seed, callback)
    save_tensors({"mean": projection.mean, "matrix": projection.matrix}, path, {})
    return projection


def _floats(pictures: Pictures, rows: list[int], device: torch.device) -> torch.Tensor:
    return pictures.images(rows).to(device, torch.float32) / 255.0


def _find(recipe: Recipe, callback: _Stoppable) -> dict[str, list[References]]:
    least = LEAST_IMAGES_PER_DIMENSION * recipe.dimensions
    return {
        "training": find("training", recipe.images, callback, least),
        "validation": find("validation", recipe.validation, callback),
    }


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
