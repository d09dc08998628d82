"""Photographs whose metadata are broken in ways that people reported: their pixels are taken, and upright."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from xdream.images import metadata
from xdream.images.files import decoded_photograph


def picture() -> Image.Image:
    """40 x 60, with a red corner, top left."""
    y, x = np.mgrid[0:40, 0:60]
    pixels = np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8)
    pixels[:12, :12] = (255, 0, 0)
    return Image.fromarray(pixels)


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture().save(file, kind, **options)
    return file.getvalue()


def corner(data: bytes) -> tuple[int, int, str]:
    """Height, width, and where the red corner is."""
    pixels = decoded_photograph(data).permute(1, 2, 0).numpy().astype(int)
    places = {"top left": (4, 4), "top right": (4, -5), "bottom left": (-5, 4), "bottom right": (-5, -5)}
    [red] = [name for name, at in places.items() if pixels[at][0] > 150 and pixels[at][1:].max() < 90]
    return (*pixels.shape[:2], red)


def directory(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """EXIF data: (tag, type, count, 4 bytes) each."""
    body = struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack(f"{order}HHI", tag, kind, count) + value
    return (b"II" if order == "<" else b"MM") + body + struct.pack(f"{order}I", 0)


def orientation(number: int, order: str = "<") -> tuple[int, int, int, bytes]:
    return (0x0112, 3, 1, struct.pack(f"{order}HH", number, 0))


#: A resolution whose denominator or numerator no reader that writes EXIF again can hold.
NEGATIVE = (0x011A, 10, 1, struct.pack("<I", 60))


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    base = saved("JPEG", quality=95)
    made = b"".join(struct.pack(">BBH", 0xFF, m, len(c) + 2) + c for m, c in segments)
    return base[:2] + made + base[2:]


def exif(data: bytes) -> tuple[int, bytes]:
    return 0xE1, b"Exif\0\0" + data


def chunk(name: bytes, content: bytes, checksum: bool = True) -> bytes:
    crc = zlib.crc32(name + content) if checksum else 0
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png(*chunks: bytes) -> bytes:
    base = saved("PNG")
    return base[:33] + b"".join(chunks) + base[33:]


def webp(data: bytes) -> bytes:
    return saved("WEBP", exif=data, lossless=True)


UP, TURNED = (40, 60, "top left"), (60, 40, "top right")
SIX = directory(orientation(6))
BROKEN = {
    "EXIF that cannot be written again": (lambda: jpeg(exif(directory(orientation(6), NEGATIVE))), TURNED),
    "a directory that is cut": (lambda: jpeg(exif(SIX[:-4])), TURNED),
    "EXIF of zeros": (lambda: jpeg(exif(b"\0\x08\0\x02" + bytes(20))), UP),
    "EXIF twice": (lambda: jpeg(exif(b"Exif\0\0" + SIX)), TURNED),
    "EXIF of the other byte order": (lambda: jpeg(exif(directory(orientation(6, ">"), order=">"))), TURNED),
    "an orientation as a long": (
        lambda: jpeg(exif(directory((0x0112, 4, 1, struct.pack("<I", 6))))),
        TURNED,
    ),
    "an orientation that is none": (lambda: jpeg(exif(directory(orientation(9)))), UP),
    "an orientation as text": (lambda: jpeg(exif(directory((0x0112, 2, 2, b"6\0\0\0")))), UP),
    "a directory that points to itself": (
        lambda: jpeg(exif(directory(orientation(6), (0x8769, 4, 1, struct.pack("<I", 8))))),
        TURNED,
    ),
    "several frames that are not there": (lambda: jpeg((0xE2, b"MPF\0" + bytes(40)), exif(SIX)), TURNED),
    "a colour profile of nothing": (lambda: jpeg((0xE2, b"ICC_PROFILE\0\x01\x01"), exif(SIX)), TURNED),
    "Photoshop's data, cut": (lambda: jpeg((0xED, b"Photoshop 3.0\x008BIM\x04\x04"), exif(SIX)), TURNED),
    "a PNG with EXIF without its head": (lambda: png(chunk(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03")), UP),
    "a PNG with EXIF": (lambda: png(chunk(b"eXIf", SIX)), TURNED),
    "a PNG with EXIF and half a gamma": (lambda: png(chunk(b"gAMA", b"\0\0"), chunk(b"eXIf", SIX)), TURNED),
    "a PNG whose gamma has a wrong checksum": (lambda: png(chunk(b"gAMA", bytes(4), checksum=False)), UP),
    "a PNG with a profile of another method": (lambda: png(chunk(b"iCCP", b"sRGB\0\x07xxxx")), UP),
    "a PNG with a profile that is cut": (lambda: png(chunk(b"iCCP", b"sRGB\0\0")), UP),
    "a PNG with a text that unpacks to much": (
        lambda: png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 24)))),
        UP,
    ),
    "a PNG with a physical size of nothing": (lambda: png(chunk(b"pHYs", b"\0")), UP),
    "a WebP with EXIF that is none": (lambda: webp(b"Exif\0\0zzzzzzzzzzzz"), UP),
    "a WebP with EXIF that cannot be written again": (
        lambda: webp(b"Exif\0\0" + directory(orientation(6), NEGATIVE)),
        TURNED,
    ),
}


@pytest.mark.parametrize(("make", "seen"), BROKEN.values(), ids=BROKEN.keys())
def test_pixels_are_taken_and_upright(make: Callable[[], bytes], seen: tuple[int, int, str]) -> None:
    assert corner(make()) == seen


@pytest.mark.parametrize("number", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(number: int) -> None:
    from PIL import ImageOps

    data = jpeg(exif(directory(orientation(number))))
    with Image.open(io.BytesIO(data)) as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    np.testing.assert_array_equal(decoded_photograph(data).permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    "make", [lambda: jpeg(exif(SIX)), lambda: png(chunk(b"eXIf", SIX)), lambda: webp(SIX)]
)
def test_without_metadata_the_pixels_are_the_same(make: Callable[[], bytes]) -> None:
    data = make()
    bare, found = metadata.without(data)
    assert len(bare) < len(data)
    assert found.endswith(SIX)
    with Image.open(io.BytesIO(bare)) as one, Image.open(io.BytesIO(data)) as other:
        assert "exif" not in one.info
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    "make",
    [
        lambda: png(chunk(b"gAMA", b"\0\0"))[:-300],  # cut
        lambda: png(chunk(b"gAMA", b"\0\0")).replace(b"IDAT", b"IDAX"),
        lambda: saved("JPEG")[:200],
        lambda: b"\xff\xd8\xff\xe1\0\x04",
        lambda: b"\x89PNG\r\n\x1a\n",
        lambda: b"RIFF\0\0\0\0WEBPVP8X",
    ],
)
def test_pixels_that_are_damaged_stay_an_error(make: Callable[[], bytes]) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 (what Pillow raises)
        decoded_photograph(make())
