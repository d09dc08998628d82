"""Codes -> shown images -> noise-free responses: the part of the loop that takes the time."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xdream.engines import BatchFunction, Running
from xdream.errors import SubjectError
from xdream.generators import Generator, drawn, finite
from xdream.memory import forget_freed_blocks, out_of_memory
from xdream.subjects import NetworkUnits, Subject
from xdream.types import Codes, ShownImages

T = TypeVar("T")
#: The first generator among the parts of a forward pass, the second is -2, …; subjects have their numbers.
GENERATOR = -1


class Forward:
    """Generators and subjects, always used in the same way, so that the same codes give the same numbers.

    size_px: of the shown images. precision: of the products in generator and networks: float32; tf32 (10 bits
    of mantissa inside products, on a GPU that has it); bfloat16 (8 bits, where the engine finds it safe).
    """

    def __init__(
        self, generators: Sequence[Generator], subjects: Sequence[Subject], size_px: int, precision: str
    ) -> None:
        self.generators, self.subjects, self.size_px = tuple(generators), tuple(subjects), size_px
        self.precision = precision
        self.device = self.generators[0].centre.device
        self._running: dict[int, Running] = {}  # part -> what an engine made of it
        self._sets_precision = False  # whether that follows the precision by itself
        self._batch = 0  # how many images an engine takes at a time

    def draw(self, codes: Codes, generator: int = 0) -> ShownImages:
        """(n, 3, h, w) uint8: exactly the pixels that one of the generators shows for (n, d) codes, together
        in one batch."""
        if not len(codes):
            return torch.empty((0, 3, self.size_px, self.size_px), dtype=torch.uint8, device=self.device)
        running, one = self._running.get(GENERATOR - generator), self.generators[generator]
        with self._in_precision(), torch.inference_mode():
            if running is None:
                images, every = drawn(one, self.size_px, self._filled(codes))
            else:
                images, every = running(self._filled(codes), self.precision)
        return finite(one.name, images, every)[: len(codes)]

    def respond(self, subject: int, images: ShownImages) -> torch.Tensor:
        """(n, units) float64: the responses of one of the subjects, without noise."""
        running, one = self._running.get(subject), self.subjects[subject]
        with self._in_precision():
            if running is None:
                return one.respond(self._filled(images))[: len(images)]
            assert isinstance(one, NetworkUnits)
            through = functools.partial(_call, running, self.precision)
            return one.respond(self._filled(images), through)[: len(images)]

    def respond_all(self, images: ShownImages) -> list[torch.Tensor]:
        """The same of every subject, in their order."""
        return [self.respond(number, images) for number in range(len(self.subjects))]

    def function(self, part: int) -> BatchFunction | None:
        """What an engine can be given of a part: of a subject by its number, or of a generator.

        None for what is no network. Raises BadInput for a network that is no module of PyTorch.
        """
        if part > GENERATOR:
            one = self.subjects[part]
            return one.function() if isinstance(one, NetworkUnits) else None
        generator = self.generators[GENERATOR - part]
        if isinstance(getattr(generator, "module", None), torch.nn.Module):
            return functools.partial(drawn, generator, self.size_px)
        return None

    def use(self, running: Mapping[int, Running], batch: int, *, sets_precision: bool) -> None:
        """From now on, what an engine made of these parts computes them, `batch` images at a time."""
        self._running, self._batch, self._sets_precision = dict(running), batch, sets_precision

    def in_float32(self) -> Forward:
        """The same in float32: in the same engine where it takes any precision, else in PyTorch."""
        if self.precision == "float32":
            return self
        other = Forward(self.generators, self.subjects, self.size_px, "float32")
        if self._sets_precision:
            other.use(self._running, self._batch, sets_precision=True)
        return other

    def limit(self, batch: int) -> None:
        """Take at most so many images at a time from now on, also where an engine takes whole batches."""
        self._batch = min(self._batch, batch)

    def _filled(self, rows: torch.Tensor) -> torch.Tensor:
        """An engine takes a batch only, or its half, its quarter, …; the last image is repeated."""
        size = self._batch
        while size // 2 >= len(rows):
            size //= 2
        missing = size - len(rows)
        return rows if missing <= 0 else torch.cat((rows, rows[-1:].expand(missing, *rows.shape[1:])))

    @contextlib.contextmanager
    def _in_precision(self) -> Iterator[None]:
        """The precision asked for, within; PyTorch's settings are of the whole process."""
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        before = products.allow_tf32, convolutions.allow_tf32
        products.allow_tf32 = convolutions.allow_tf32 = self.precision == "tf32"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = before


def _call(running: Running, precision: str, images: torch.Tensor) -> Sequence[torch.Tensor]:
    return running(images, precision)


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
    device = forward.device
    try:
        peaks = [peak_bytes(functools.partial(_try, forward, n)) for n in range(len(forward.generators))]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return 1
    each = max(1, max(peaks) // TRIAL)
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(int(SHARE * free) // each, MOST.get(device.type, MOST["cpu"])))


def _try(forward: Forward, generator: int) -> None:
    codes = forward.generators[generator].centre.expand(TRIAL, -1)
    forward.respond_all(forward.draw(codes, generator))


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
