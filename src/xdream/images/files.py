"""Images as files that every display program reads, pixel for pixel; and back."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from xdream.errors import BadInput
from xdream.types import ShownImages

#: What a rig can be sent.
FORMATS = ("png", "bmp")

#: A picture with more pixels than this is not decoded.
MOST_PIXELS = 64 << 20


def encoded(pixels: ShownImages, image_format: str) -> bytes:
    """One image, (3, h, w) uint8, as the bytes of a file: "png" or "bmp" (24 bits, no alpha).

    Equal pixels give equal bytes. Raises BadInput for another format or shape.
    """
    if image_format not in FORMATS:
        raise BadInput(f"image format '{image_format}' is not known; choose {' or '.join(FORMATS)}")
    if pixels.dtype != torch.uint8 or pixels.dim() != 3 or pixels.shape[0] != 3:
        raise BadInput(
            f"an image to be shown is uint8 of shape (3, h, w); this one is {pixels.dtype} of shape "
            f"{tuple(pixels.shape)}"
        )
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))
    file = io.BytesIO()
    image.save(file, image_format.upper())
    return file.getvalue()


def png(pixels: ShownImages) -> bytes:
    """One image, (3, h, w) uint8, as a PNG file that is made quickly and is a little larger."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", compress_level=1)
    return file.getvalue()


def decoded(data: bytes) -> ShownImages:
    """The pixels of a file that `encoded` made, (3, h, w) uint8. Raises BadInput for anything else."""
    try:
        with Image.open(io.BytesIO(data), formats=[one.upper() for one in FORMATS]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadInput(f"an image of {image.width} x {image.height} pixels is too large")
            pixels = np.array(image.convert("RGB"))
    except BadInput:
        raise
    except Exception as error:  # Pillow raises what its decoders happen to raise
        raise BadInput(f"these bytes are no {' or '.join(FORMATS)} image: {error}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
