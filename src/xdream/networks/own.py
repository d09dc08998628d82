"""Networks that others bring: from `timm`, from a Python function, from a compiled file."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xdream.errors import BadInput, UnknownName, WeightsInvalid, WeightsMissing
from xdream.files import mistaken
from xdream.networks.base import Network, Preprocessing, declared, existing, refuse_random
from xdream.networks.weights import RANDOM, check_shapes, load_tensors, one_line

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def from_timm(
    name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None
) -> Network:
    """`timm:NAME`, with the input size, mean and standard deviation that timm keeps with the weights.

    `timm:NAME?weights=FILE` takes the weights of a file (a state_dict) instead of timm's pretrained ones, and
    `timm:NAME?random` none, for timing and tests; `timm:NAME?pretrained` is `timm:NAME`. Images are resized
    whole and bilinearly, as everywhere, whatever crop timm was evaluated with.
    Raises BadInput when timm cannot be imported, UnknownName, WeightsMissing, WeightsInvalid.
    """
    model, file, random_weights = _timm_weights(name, random_weights)
    try:
        timm: Any = importlib.import_module("timm")
    except Exception as error:  # a missing package, or a torchvision that does not fit this torch
        raise BadInput(
            f"'{name}' needs timm, which cannot be imported ({one_line(error)}); "
            "pip install 'xdream[timm]', with a torchvision that fits the installed torch"
        ) from error
    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model}*")[:5]) or "see timm.list_models()"
        raise UnknownName(f"timm has no model '{model}'; near ones: {near}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_weights or 0)
            module = timm.create_model(model, pretrained=random_weights is None and file is None)
    except Exception as error:  # no internet, no pretrained weights, a damaged cache
        raise WeightsMissing(
            f"timm cannot load '{model}' ({one_line(error)}); check the internet connection and that "
            "pretrained weights exist for it"
        ) from error
    if file is not None:
        tensors = load_tensors(file)
        check_shapes(tensors, {key: tuple(value.shape) for key, value in module.state_dict().items()}, file)
        module.load_state_dict(tensors)
    config = timm.data.resolve_model_data_config(module)
    own = Preprocessing(
        size_px=tuple(config["input_size"][1:]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    warnings = () if random_weights is None else (RANDOM,)
    return Network(name, module.eval(), own, licence="see timm", warnings=warnings)


def _timm_weights(name: str, random_weights: int | None) -> tuple[str, Path | None, int | None]:
    """The model that `timm:NAME?WEIGHTS` names, its file of weights, the seed of random ones."""
    model, _, said = name.partition(":")[2].partition("?")
    if said.startswith("weights="):
        return model, Path(said.removeprefix("weights=")).expanduser(), random_weights
    if said not in ("", "pretrained", "random"):
        raise BadInput(f"'{name}': after the ? stands pretrained, random or weights=FILE, not '{said}'")
    return model, None, 0 if said == "random" and random_weights is None else random_weights


def from_python(
    name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None
) -> Network:
    """`python:MODULE:FUNCTION`, or without the first part. The module is imported: its code runs.

    FUNCTION without parameters is called, and returns a `torch.nn.Module`, a `Network`, or a callable.
    FUNCTION with one parameter is itself the callable: preprocessed images (n, 3, h, w) in, responses
    (n, units) out. Without a declared preprocessing images come as RGB in [0, 1] at their own size.
    Raises BadInput.
    """
    refuse_random(name, random_weights)
    found = imported(name, "network", "as a target python:MODULE:FUNCTION::UNITS")
    made: object = found
    if not isinstance(found, nn.Module):
        count = len(to_fill(found, name))
        if count > 1:
            raise BadInput(f"'{name}' takes {count} parameters; it must take none, or images alone")
        made = found if count else called(found, name)
    if isinstance(made, Network):
        return replace(made, name=name)
    layers = isinstance(made, nn.Module)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise BadInput(
                f"'{name}' returned a {type(made).__name__}; return a torch.nn.Module or a callable"
            )
        made = Function(made)
    return Network(name, made.eval(), preprocessing or Preprocessing(None), layers)


def from_file(
    name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None
) -> Network:
    """`file:PATH`: a `torch.export` program (.pt2) or TorchScript (any other ending). Outputs only.

    The file's graph runs, so it can compute whatever torch can; it holds no Python code. An exported
    program must have been exported with a batch size that may vary. Raises BadInput without a declared
    preprocessing, WeightsMissing, WeightsInvalid.
    """
    refuse_random(name, random_weights)
    path = existing(name, "network")
    preprocessing = declared(name, preprocessing)
    return Network(name, module_in(path, "network"), preprocessing, layers=False)


def module_in(path: Path, kind: str) -> nn.Module:
    """The program in a file, TorchScript or an exported one, in evaluation mode. Raises WeightsInvalid."""
    try:
        return _exported(path) if path.suffix.lower() == ".pt2" else _torchscript(path)
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        what = mistaken(path) or one_line(error)
        raise WeightsInvalid(
            f"cannot read {kind} file {path}: {what}; give TorchScript, or a .pt2 written by "
            "torch.export.save"
        ) from error


class Function(nn.Module):
    """A callable from images to responses, as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, units)."""
        return self.function(images)


def imported(name: str, kind: str, form: str = "") -> Callable[..., object]:
    """What `python:MODULE:FUNCTION` names, for a part of this kind. The module is imported: its code runs.

    form: how it is written where more follows. Raises BadInput.
    """
    place, _, attribute = name.removeprefix("python:").rpartition(":")
    if not place or not attribute:
        raise BadInput(
            f"{kind} '{name}' is incomplete; write python:MODULE:FUNCTION{', ' if form else ''}{form}"
        )
    try:
        module = importlib.import_module(place)
    except Exception as error:  # importing runs the user's own code
        raise BadInput(
            f"{kind} '{name}': cannot import '{place}' ({one_line(error)}); is its folder on PYTHONPATH?"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        near = ", ".join(n for n in vars(module) if callable(getattr(module, n)) and n[0] != "_")
        raise BadInput(f"{kind} '{name}': '{place}' has no function '{attribute}'; it has: {near}")
    return found  # type: ignore[no-any-return]


def to_fill(function: Callable[..., object], name: str) -> list[str]:
    """The parameters that a call must fill. Raises BadInput for a function that does not say them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise BadInput(f"'{name}' does not say its parameters; wrap it in a function") from error
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in named if p.default is p.empty]


def called(function: Callable[..., object], name: str, **options: Any) -> object:
    """What a function of the user's returns. Raises BadInput."""
    try:
        return function(**options)
    except Exception as error:  # the user's own code
        raise BadInput(f"'{name}' failed when it was called: {one_line(error)}") from error


def _torchscript(path: Path) -> nn.Module:
    with warnings.catch_warnings():
        # The format is old but what many users have; that torch deprecates it is not their news here.
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        module: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    return module.eval()


def _exported(path: Path) -> nn.Module:
    # torch logs a page about a file that is not one of its own, so that is found out first.
    with zipfile.ZipFile(path) as archive:
        if not any(member.endswith("archive_format") for member in archive.namelist()):
            raise ValueError("not an exported program")
    with _without_code_in_pickles():
        return torch.export.load(path).module()


@contextlib.contextmanager
def _without_code_in_pickles() -> Iterator[None]:
    """Make every `torch.load` weights-only: `torch.export.load` retries without that otherwise."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before
