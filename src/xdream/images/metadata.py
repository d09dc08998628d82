"""What image files say beside their pixels: the one thing that is used of it, and files without it.

Cameras, editors and messengers write metadata that break in many ways. Pixels decode all the same, so
nothing but the orientation is read, by itself; and a file whose decoder stumbles over the rest is read
without the rest.
"""

from __future__ import annotations

import struct
import zlib

from PIL import Image

#: EXIF's tag of the orientation, and the turns that show an image upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What of a PNG file its pixels depend on.
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_WEBP_LEFT_OUT = (b"EXIF", b"ICCP", b"XMP ")
_EXIF_START = b"Exif\0\0"


def upright(image: Image.Image, exif: bytes | None = None) -> Image.Image:
    """The image turned as its EXIF data say; as it is where they say nothing that can be read.

    exif: instead of what the file's reader found.
    """
    turn = _TURNS.get(_orientation(image.info.get("exif") if exif is None else exif))
    if turn is None and exif is None:
        turn = _TURNS.get(_reported(image))
    return image if turn is None else image.transpose(turn)


def _orientation(exif: object) -> int:
    """The orientation in the bytes of EXIF data, the entries of its first directory; 0: not said there."""
    if not isinstance(exif, bytes):
        return 0
    data = exif
    while data.startswith(_EXIF_START):  # some write it twice
        data = data[len(_EXIF_START) :]
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 0
    try:
        at = struct.unpack_from(f"{order}I", data, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", data, at)[0]):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, at + 2 + 12 * entry)
            if tag == _ORIENTATION and kind in (3, 4):  # a short or a long, the first of them where several
                found: int = struct.unpack_from(f"{order}{' HI'[kind - 2]}", data, at + 10 + 12 * entry)[0]
                return found
    except struct.error:  # the directory is not there as a whole
        return 0
    return 0


def _reported(image: Image.Image) -> int:
    """What the file's reader found elsewhere (in TIFF's own tags, in XMP)."""
    try:
        found = image.getexif().get(_ORIENTATION, 0)
        return found if isinstance(found, int) else 0
    except Exception:  # of broken metadata, whatever the reader stumbles over
        return 0


def without(data: bytes) -> tuple[bytes, bytes]:
    """(The file without its metadata, its EXIF data or nothing), of JPEG, PNG and WebP; others as they are.

    What the pixels depend on stays: the palette, what is transparent, how a JPEG's colours are coded.
    """
    if data.startswith(_PNG_START):
        return _png_without(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_without(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_without(data)
    return data, b""


def _png_without(data: bytes) -> tuple[bytes, bytes]:
    kept, exif, at = [_PNG_START], b"", len(_PNG_START)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if name in _PNG_KEPT:
            kept.append(data[at : at + 12 + size])  # with its checksum: damaged pixels stay an error
        elif (
            name == b"eXIf" and not exif and data[at + 8 + size : at + 12 + size] == _checksum(name, content)
        ):
            exif = content
        at += 12 + size
        if name == b"IEND":
            break
    return b"".join(kept), exif


def _checksum(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(name + content))


def _jpeg_without(data: bytes) -> tuple[bytes, bytes]:
    """Application segments but Adobe's and JFIF's, and comments, go; from the first scan on all is pixels."""
    kept, exif, at = [data[:2]], b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0xDA:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : end]
        if marker == 0xE1 and content.startswith(_EXIF_START) and not exif:
            exif = content
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[at:end])
        at = end
    return b"".join(kept) + data[at:], exif


def _webp_without(data: bytes) -> tuple[bytes, bytes]:
    kept, exif, at = [], b"", 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        chunk = data[at : at + 8 + size + size % 2]
        if name == b"EXIF":
            exif = chunk[8 : 8 + size]
        if name == b"VP8X" and len(chunk) > 8:  # it says which of them there are
            chunk = chunk[:8] + bytes([chunk[8] & ~0b00101100]) + chunk[9:]
        if name not in _WEBP_LEFT_OUT:
            kept.append(chunk)
        at += 8 + size + size % 2
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body, exif
