"""Codes -> shown images -> noise-free responses: the part of the loop that takes the time."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xdream import networks
from xdream.errors import SubjectError
from xdream.generators import Generator, drawn, finite
from xdream.memory import forget_freed_blocks, out_of_memory
from xdream.subjects import NetworkUnits, Subject
from xdream.types import Codes, ShownImages

T = TypeVar("T")


class Forward:
    """A generator and subjects, always used in the same way, so that the same codes give the same numbers.

    size_px: of the shown images. precision: of the products in the networks: float32; tf32 (10 bits of
    mantissa inside products, on a GPU that has it); bfloat16 (8 bits, where PyTorch finds it safe).
    """

    def __init__(
        self, generator: Generator, subjects: Sequence[Subject], size_px: int, precision: str
    ) -> None:
        self.generator, self.subjects, self.size_px = generator, tuple(subjects), size_px
        self._device = generator.centre.device
        self._kind = precision
        self._drawn: Callable[[Codes], tuple[ShownImages, torch.Tensor]] = functools.partial(
            drawn, generator, size_px
        )
        self._batch = 0  # how many images compiled networks take at a time

    def draw(self, codes: Codes) -> ShownImages:
        """(n, 3, h, w) uint8: exactly the pixels that are shown for (n, d) codes, together in one batch."""
        if not len(codes):
            return torch.empty((0, 3, self.size_px, self.size_px), dtype=torch.uint8, device=self._device)
        with self._precision(), torch.inference_mode():
            images, every = self._drawn(self._filled(codes))
        return finite(self.generator.name, images, every)[: len(codes)]

    def respond(self, subject: int, images: ShownImages) -> torch.Tensor:
        """(n, units) float64: the responses of one of the subjects, without noise."""
        with self._precision():
            return self.subjects[subject].respond(self._filled(images))[: len(images)]

    def respond_all(self, images: ShownImages) -> list[torch.Tensor]:
        """The same of every subject, in their order."""
        return [self.respond(number, images) for number in range(len(self.subjects))]

    def compile(self, batch: int) -> str | None:
        """Put generator and networks through the compiler of PyTorch, for `batch` images at a time.

        Returns why it cannot be done, or None; without it everything is as before.
        """
        before = self._drawn, self._batch
        self._batch = batch
        units = [subject for subject in self.subjects if isinstance(subject, NetworkUnits)]
        try:
            if isinstance(getattr(self.generator, "module", None), torch.nn.Module):
                self._drawn = networks.through_compiler(self._drawn)
            for subject in units:
                subject.compile()
            self.respond_all(self.draw(self.generator.centre.repeat(batch, 1)))
        except Exception as error:  # of the compiler: it has many kinds, and calls others' programs
            self._drawn, self._batch = before
            for subject in units:
                subject.compile(undo=True)
            return f"generator and networks are not compiled: {networks.one_line(error)}"
        return None

    def limit(self, batch: int) -> None:
        """Take at most so many images at a time from now on, also where networks are compiled."""
        self._batch = min(self._batch, batch)

    def _filled(self, rows: torch.Tensor) -> torch.Tensor:
        """What is compiled takes a batch only, or its half, its quarter, …; the last image is repeated."""
        size = self._batch
        while size // 2 >= len(rows):
            size //= 2
        missing = size - len(rows)
        return rows if missing <= 0 else torch.cat((rows, rows[-1:].expand(missing, *rows.shape[1:])))

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        """The precision asked for, within; PyTorch's settings are of the whole process."""
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        before = products.allow_tf32, convolutions.allow_tf32
        products.allow_tf32 = convolutions.allow_tf32 = self._kind == "tf32"
        try:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._kind == "bfloat16"):
                yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = before


# ------------------------------------------------------------------ batch size


class BatchSize:
    """How many images go through generator and networks together: half as many when the memory does not
    suffice, from then on. write: notes the new size, which the last digits of responses depend on."""

    def __init__(self, forward: Forward, size: int, write: Callable[[int], None]) -> None:
        self.size = size
        self._forward, self._write = forward, write

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What `work` gives; None when the memory did not suffice, and fewer images are to be tried.

        Raises SubjectError when it did not suffice for one image.
        """
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Out of the handler, which holds what is to be freed.
        if self.size == 1:
            raise SubjectError("the memory does not suffice for one image; use another device")
        self.size //= 2
        self._forward.limit(self.size)
        forget_freed_blocks()
        self._write(self.size)
        return None


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
