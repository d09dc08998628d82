"""Natural images to compare with: found, checked, decoded. `comparison.py`: what their responses say."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import UnidentifiedImageError

from xdream.errors import BadInput
from xdream.files import absolute as absolute_path
from xdream.files import left_by_system, mistaken
from xdream.images import files
from xdream.images.comparison import expected_best as expected_best
from xdream.images.comparison import relative_activation as relative_activation
from xdream.text import storable, unescaped
from xdream.types import ShownImages, quantise

if TYPE_CHECKING:  # at run time PyTorch comes with the first image
    pass

#: The word for the photographs inside the scikit-image wheel, and their names.
SCIKIT_IMAGE = "scikit-image"
SCIKIT_IMAGE_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
#: Larger files are not photographs (a film in the folder is not read into memory).
MOST_BYTES = 256 * 2**20
#: How many bad files a message names.
MOST_NAMED = 10


@dataclass(frozen=True)
class References:
    """Natural images that were all found readable; decoded when they are asked for.

    source: as the user wrote it. place: the folder or the zip file behind it. names: paths inside it, in
    alphabetical order, bytes that are no UTF-8 as \\xNN. hashes: SHA-256 of each file's bytes, in
    hexadecimal. left_out: how many files and folders beside them were left by systems
    (`xdream.files.left_by_system`).
    """

    source: str
    place: Path
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def images(self, indices: Sequence[int], size_px: int) -> ShownImages:
        """(n, 3, size, size) uint8, RGB: whole images, resized without regard to their proportions.

        Bilinear and antialiased, from 8-bit RGB as `decoded_photograph` makes it. Raises BadInput when a file
        is no longer the one that was checked.
        """
        import torch

        shown = torch.empty(len(indices), 3, size_px, size_px, dtype=torch.uint8)
        try:
            with _reading(self.place) as read:
                for row, index in enumerate(indices):
                    data = read(self.names[index])
                    if _hash(data) != self.hashes[index]:
                        raise OSError(f"{self.names[index]!r} has other contents")
                    shown[row] = at_size(data, size_px)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise BadInput(
                f"references '{self.source}' changed after they were checked ({_reason(error)}); "
                "put them back, or start anew"
            ) from error
        return shown


def load(source: str) -> References:
    """The images of a folder (with its folders), of a zip file, or of the word `scikit-image`.

    Every file counts, in the order of its path; what systems leave in folders (previews, bins, whatever
    starts with a dot) is passed over, and links to folders are not followed. Each is decoded once, so that a
    file which is damaged or no image is known now. Raises BadInput, which names all of them.
    """
    place, names, left_out = _find(source)
    if not names:
        passed = f" ({left_out} files and folders that systems leave were passed over)" if left_out else ""
        raise BadInput(f"references '{source}' are empty{passed}; give a folder or zip file with images")
    hashes, bad = [], []
    with _reading(place) as read:
        for name in names:
            try:
                data = read(name)
                files.decoded_photograph(data)
                hashes.append(_hash(data))
            except Exception as error:  # a decoder of foreign bytes raises whatever it likes
                what = (
                    mistaken(data).removeprefix("it is ") if isinstance(error, UnidentifiedImageError) else ""
                )
                bad.append(f"{name!r} ({what or _reason(error)})")
    if bad:
        more = f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
        raise BadInput(
            f"{len(bad)} of {len(names)} files of references '{source}' cannot be used: "
            f"{', '.join(bad[:MOST_NAMED])}{more}; repair or remove them"
        )
    return References(source, place, tuple(names), tuple(hashes), left_out)


def absolute(source: str) -> str:
    """A path to the same place from any folder; the word `scikit-image` as it is."""
    return source if source == SCIKIT_IMAGE else absolute_path(source)


def place_of(source: str) -> Path:
    """The folder or zip file behind a source, whether it is there or not. Raises BadInput."""
    if source == SCIKIT_IMAGE:
        return _scikit_image_data()
    return Path(os.path.abspath(os.path.expanduser(source)))  # also where no plan could hold it


def at_size(data: bytes, size_px: int) -> ShownImages:
    """The bytes of an image file -> (3, size, size) uint8: a `decoded_photograph`, resized whole."""
    import torch

    from xdream.images.resizing import resize

    full = files.decoded_photograph(data).to(torch.float32)[None] / 255.0
    return quantise(resize(full, (size_px, size_px)))[0]


def _find(source: str) -> tuple[Path, list[str], int]:
    """The folder or zip file behind a source, the names of its files in order, and how many were left out."""
    place = place_of(source)
    if source == SCIKIT_IMAGE:
        return place, [name for name in SCIKIT_IMAGE_PHOTOGRAPHS if (place / name).is_file()], 0
    if not source or not os.path.exists(place):
        raise BadInput(
            f"references '{source}' do not exist; give a folder or zip file of images, or '{SCIKIT_IMAGE}'"
        )
    if os.path.isdir(place):
        return place, *_folder_names(place, source)
    return place, *_zip_names(place, source)


def _scikit_image_data() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise BadInput(
            f"references '{SCIKIT_IMAGE}' need the package scikit-image; install it: pip install xdream[demo]"
        )
    return Path(spec.origin).parent / "data"


def _folder_names(folder: Path, source: str) -> tuple[list[str], int]:
    def refuse(error: OSError) -> None:
        raise BadInput(
            f"folder '{error.filename}' of references '{source}' cannot be read "
            f"({_reason(error)}); change its permissions or remove it"
        )

    names: list[str] = []
    left_out = 0
    for parent, folders, found in os.walk(folder, onerror=refuse):
        within = Path(parent).relative_to(folder)
        inside = [(within / name).as_posix() for name in found]
        kept = [name for name in inside if not left_by_system(name)]
        # Not entered: a bin is large, and that of a system may not be read.
        entered = [name for name in folders if not left_by_system((within / name).as_posix())]
        left_out += len(inside) - len(kept) + len(folders) - len(entered)
        names += kept
        folders[:] = entered
    return sorted(storable(name) for name in names), left_out


def _zip_names(place: Path, source: str) -> tuple[list[str], int]:
    try:
        with zipfile.ZipFile(place) as archive:
            names = {info.filename for info in archive.infolist() if not info.is_dir()}
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"references '{source}' are neither a folder nor a whole zip file ({_reason(error)}); "
            "give one of these"
        ) from error
    kept = sorted(name for name in names if not left_by_system(name))
    return kept, len(names) - len(kept)


@contextmanager
def _reading(place: Path) -> Iterator[Callable[[str], bytes]]:
    """What reads a file by its name, from a folder or from a zip file that is opened once."""
    if place.is_dir():
        yield partial(_read_file, place)
    else:
        with zipfile.ZipFile(place) as archive:
            yield partial(_read_member, archive)


def _read_file(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.exists():
        path = folder / unescaped(name)
    if not path.is_file():  # opening a pipe would wait forever
        raise OSError("a broken link" if path.is_symlink() else "not a file")
    _check_bytes(path.stat().st_size)
    return path.read_bytes()


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    _check_bytes(archive.getinfo(name).file_size)
    return archive.read(name)


def _check_bytes(size: int) -> None:
    if size > MOST_BYTES:
        raise OSError(f"larger than {MOST_BYTES // 2**20} MiB")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _reason(error: Exception) -> str:
    """Why, in a few words on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
