"""What many tests need: a few photographs, processes to kill, and the number of threads as it was."""

import contextlib
import importlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs, and all that they start, do not hear Ctrl-C; tests of it would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: Property tests try 100 examples; `make soak` tries ten times as many: --hypothesis-profile=soak.
hypothesis.settings.register_profile("soak", max_examples=1_000)


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> Iterator[None]:
    """An experiment sets the number of threads for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with seven small images of unlike brightness."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        pixels = rng.integers(20 * number, 100 + 20 * number, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


class Child:
    """Starts code in processes of their own, which begin with xdream imported already."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        # Modules, since packages import nothing before they are used.
        self._context.set_forkserver_preload(
            [
                "xdream.experiment.loop",
                "xdream.laboratory.session.serving",
                "xdream.laboratory.rigs.direct",
                "xdream.laboratory.rigs.http_service",
                "xdream.generators.pixels",
                "xdream.optimizers.genetic",
            ]
        )
        self._started: list[ForkServerProcess] = []

    def start(self, code: str, **names: object) -> ForkServerProcess:
        """Run `code` with these names."""
        process = self._context.Process(target=exec, args=(code, names), daemon=True)
        process.start()
        self._started.append(process)
        return process

    def pipe(self) -> tuple[Connection, Connection]:
        """Two ends, one to keep and one to hand over."""
        return self._context.Pipe()

    def end(self) -> None:
        """Leave nothing running."""
        for process in self._started:
            process.kill()
            process.join()
            process.close()


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.end()


@pytest.fixture(scope="module")
def torchvision() -> object:
    """A torch without a GPU lacks two operators that torchvision refers to when it is imported."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # they are there
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")
    return library
