"""Codes -> shown images -> noise-free responses: the part of the loop that takes the time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import torch

from xdream import networks
from xdream.errors import SubjectError
from xdream.generators import Generator, drawn, finite
from xdream.memory import forget_freed_blocks
from xdream.subjects import NetworkUnits, Subject
from xdream.types import Codes, ShownImages


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

    def halved(self, batch: int) -> int:
        """Half the batch, for which the memory did not suffice. Raises SubjectError when that was 1."""
        if batch == 1:
            raise SubjectError("the memory does not suffice for one image; use another device")
        self._batch = min(self._batch, batch // 2)
        forget_freed_blocks()
        return batch // 2

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
