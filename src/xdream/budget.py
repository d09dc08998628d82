"""How many images go through generator and networks together: as many as fit, and not more than pays."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xdream.forward import Forward
from xdream.memory import out_of_memory

#: The part of what is free that images may take.
SHARE = 0.25
#: Most images, by the kind of the device: beyond these a larger batch is no faster (benches/engine.py).
MOST = {"cpu": 80, "cuda": 1000}
#: Images of the trial.
TRIAL = 4


def fitting_batch(forward: Forward) -> int:
    """The images of one batch, by a trial with a few: at least 1."""
    device = forward.generator.centre.device
    codes = forward.generator.centre.expand(TRIAL, -1)

    try:
        each = max(1, peak_bytes(lambda: forward.respond_all(forward.draw(codes))) // TRIAL)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return 1
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(int(SHARE * free) // each, MOST.get(device.type, MOST["cpu"])))


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that the tensors made by `work` take at once."""
    peak = _Peak()
    with peak:
        work()
    return peak.most


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of tensors while they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.most: int = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            # Sparse tensors have no storage of their own.
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            self.most = max(self.most, self.live)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
