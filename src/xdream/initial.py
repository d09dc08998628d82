"""Initial codes: what `init` names, read and checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xdream import networks, references
from xdream.errors import BadInput
from xdream.generators import Generator, InitialCodes, WithStatistics, encode, read_statistics
from xdream.optimizers import checked_codes
from xdream.types import Codes

#: Steps of the gradient descent that prepares initial codes from images (Xiao & Kreiman 2020).
INITIAL_ENCODING_STEPS = 200


@dataclass(frozen=True)
class Initial:
    """What the runs with one `init` start from.

    distribution: of codes that are drawn. codes: (k, d), where `init` names them; None where they are drawn
    or follow from the references' responses.
    """

    distribution: InitialCodes
    codes: Codes | None = None


def absolute(init: str) -> str:
    """With an absolute path, to be read from anywhere."""
    kind, _, value = init.partition(":")
    return f"{kind}:{references.absolute(value)}" if kind in ("statistics", "codes", "images") else init


def read(init: str, generator: Generator) -> Initial:
    """What `init` says for a generator. Raises BadInput."""
    kind, _, value = init.partition(":")
    if kind == "zeros":
        return Initial(generator.initial, torch.zeros(1, len(generator.centre)))
    if kind == "statistics":
        if isinstance(generator, WithStatistics):
            return Initial(generator.initial_from(Path(value)))
        return Initial(read_statistics(Path(value), generator.name, generator.code_shape))
    if kind == "codes":
        return Initial(generator.initial, _codes_from(value, generator))
    if kind == "images":
        images = references.load(value)
        shown = images.images(range(len(images)), generator.image_size_px)
        codes, _ = encode(generator, shown.to(torch.float32) / 255.0, INITIAL_ENCODING_STEPS)
        return Initial(generator.initial, codes)
    return Initial(generator.initial)


def _codes_from(path: str, generator: Generator) -> Codes:
    """(k, d) codes from a .npz with `codes` (as `xdream encode` writes it) or a .npy. Raises BadInput."""
    made_with = generator.name
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = loaded if isinstance(loaded, np.ndarray) else loaded["codes"]
            if not isinstance(loaded, np.ndarray) and "generator" in loaded:
                made_with = str(loaded["generator"])
            codes = found.astype(np.float64, casting="same_kind")
    except Exception as error:  # a reader of foreign bytes raises whatever it likes
        raise BadInput(
            f"codes '{path}' cannot be read ({networks.one_line(error)}); give a .npz with `codes`, as "
            "xdream encode writes it, or a .npy"
        ) from None
    if made_with != generator.name:
        raise BadInput(f"codes '{path}' were made with the generator {made_with}, not {generator.name}")
    flat = codes.reshape(len(codes), -1) if codes.ndim > 2 and codes.size else codes
    try:
        return checked_codes(flat, len(generator.centre))
    except BadInput as error:
        raise BadInput(f"codes '{path}': {error}") from None
