"""Initial codes from a statistics file: per-dimension means and standard deviations of natural codes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from xdream.errors import BadInput
from xdream.files import mistaken
from xdream.generators.base import GaussianCodes


def read_statistics(
    path: Path, group: str, code_shape: tuple[int, ...], floor: float | None = None
) -> GaussianCodes:
    """The distribution in an HDF5 file: `group` holds `mu` and `sig`, each of the code's shape.

    floor: see GaussianCodes. Raises BadInput.
    """
    found = {}
    try:
        with h5py.File(path, "r") as file:
            if group not in file:
                raise BadInput(
                    f"statistics file {path} has no group '{group}'; it has: {', '.join(file) or 'none'}"
                )
            for key in ("mu", "sig"):
                if not isinstance(file[group], h5py.Group) or key not in file[group]:
                    raise BadInput(f"statistics file {path}: '{group}' has no '{key}'")
                entry = file[group][key]
                of = str(entry.attrs.get("MATLAB_class", b"double"), "ascii", "replace")
                if not isinstance(entry, h5py.Dataset):
                    raise TypeError(f"{key} is no array")
                if entry.dtype.kind not in "fiu" or of not in ("double", "single"):
                    raise BadInput(
                        f"statistics file {path}: '{group}/{key}' is {entry.dtype} (class {of}), not numbers"
                    )
                found[key] = np.asarray(entry, dtype=np.float32)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        what = f" ({one})" if (one := mistaken(path)) else ""
        raise BadInput(f"cannot read statistics file {path}{what}; give an HDF5 file") from error
    for key, array in found.items():
        if array.shape != code_shape:
            raise BadInput(
                f"statistics file {path}: '{group}/{key}' has the shape {array.shape}, expected {code_shape}"
            )
        if not np.isfinite(array).all() or (key == "sig" and (array < 0).any()):
            raise BadInput(
                f"statistics file {path}: '{group}/{key}' holds values that are not finite, or a "
                "negative standard deviation"
            )
    mean, std = (torch.from_numpy(found[key].reshape(-1)) for key in ("mu", "sig"))
    return GaussianCodes(mean, std, floor)
