"""Image files <-> arrays: the one codec, in both directions.

Files of XDream's own keep every pixel, and equal pixels give equal bytes; photographs are read as the world
makes them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from xdream import files
from xdream.errors import BadInput
from xdream.images import metadata
from xdream.types import ShownImages

#: What a rig can be sent.
FORMATS = ("png", "bmp")
#: An image with more pixels than this is not decoded.
MOST_PIXELS = 64 << 20
#: What lies under a transparent pixel.
MID_GREY = 128


def encoded(pixels: ShownImages, image_format: str) -> bytes:
    """One image, (3, h, w) uint8, as the bytes of a file: "png" or "bmp" (24 bits, no alpha).

    Equal pixels give equal bytes. Raises BadInput for another format or shape.
    """
    if image_format not in FORMATS:
        raise BadInput(f"image format '{image_format}' is not known; choose {' or '.join(FORMATS)}")
    return _encoded(pixels, image_format)


def png(pixels: ShownImages) -> bytes:
    """One image, (3, h, w) uint8, as a PNG file that is made quickly and is a little larger."""
    return _encoded(pixels, "png", compress_level=1)


def small_png(pixels: ShownImages) -> bytes:
    """One image, (3, h, w) uint8, as a PNG file as small as it can be, to be kept."""
    return _encoded(pixels, "png", optimize=True)


def described_png(pixels: ShownImages, description: str) -> bytes:
    """One image, (3, h, w) uint8, as a PNG file with a text that image viewers show."""
    about = PngInfo()
    about.add_text("Description", description)
    return _encoded(pixels, "png", pnginfo=about)


def decoded(data: bytes, formats: Sequence[str] = FORMATS) -> ShownImages:
    """The pixels of a file that XDream made, (3, h, w) uint8. Raises BadInput for anything else."""
    try:
        with Image.open(io.BytesIO(data), formats=[one.upper() for one in formats]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadInput(f"an image of {image.width} x {image.height} pixels is too large")
            pixels = np.array(image.convert("RGB"))
    except BadInput:
        raise
    except Exception as error:  # Pillow raises what its decoders happen to raise
        raise BadInput(f"these bytes are no {' or '.join(formats)} image: {error}") from None
    return chw(pixels)


def pixels_of(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels of a PNG file that a record kept, (h, w, 3) uint8, without PyTorch."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as file:
        return np.array(file.convert("RGB"))


def decoded_photograph(data: bytes) -> ShownImages:
    """The bytes of any image file -> (3, h, w) uint8, RGB.

    The first frame, turned upright as its EXIF data say; grey becomes RGB, 16 bits become 8, palettes
    are looked up, what is transparent is laid over mid-grey. Colour profiles are not applied. Metadata that
    are broken are no reason to refuse pixels that are not. Raises what Pillow raises, for an image so large
    that Pillow warns of it too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _upright(data)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise
        except Exception:
            bare, exif = metadata.without(data)
            if bare == data:
                raise
            try:
                return _upright(bare, exif)
            except Exception:  # it is not the metadata
                pass
            raise


def _upright(data: bytes, exif: bytes | None = None) -> ShownImages:
    with Image.open(io.BytesIO(data)) as file:
        file.load()
        return chw(np.array(_rgb(metadata.upright(file, exif))))


def write(path: Path, data: bytes, what: str = "image") -> Path:
    """A file of an image or a figure, whole or not at all, in a folder that is made where it is missing.

    what: the file is called in an error. Returns the path. Raises BadInput where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"{what} cannot be written to {path} ({reason}); make room there") from None
    return path


def hwc(image: ShownImages) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(3, h, w) uint8 -> (h, w, 3), as figures and image files have it."""
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())


def chw(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> ShownImages:
    """And back: (h, w, 3) uint8 -> (3, h, w)."""
    import torch  # at run time, since tables with images do without it until one is read

    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _encoded(pixels: ShownImages, image_format: str, **how: Any) -> bytes:
    if str(pixels.dtype) != "torch.uint8" or pixels.dim() != 3 or pixels.shape[0] != 3:
        raise BadInput(
            f"an image to be shown is uint8 of shape (3, h, w); this one is {pixels.dtype} of shape "
            f"{tuple(pixels.shape)}"
        )
    file = io.BytesIO()
    Image.fromarray(hwc(pixels)).save(file, image_format.upper(), **how)
    return file.getvalue()


def _rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes to RGB."""
    if image.mode == "F":
        raise ValueError("floating-point pixels of unknown range")
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (MID_GREY, MID_GREY, MID_GREY, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (Pillow keeps it as that or as 32-bit integers); convert() would clip at 255."""
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("integer pixels outside 0 to 65535")
    return Image.fromarray(np.rint(grey / 257.0).astype(np.uint8)).convert("RGB")
