"""What the tests of HTTP and ZMQ share: a small block, a session that serves it, and a rig."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from xdream.laboratory.rigs import AnswerRow, Block, Presentation
from xdream.scoring.recordings import Values
from xdream.testing import sessions
from xdream.testing.sessions import PATIENCE_S, SESSION, SmallSession

MakeBridge = Callable[[], Any]
MakeDriver = Callable[[Any, str], Any]
CHANNELS = ("a", "b", "c")


def a_block(
    number: int = 1, images: int = 3, repeats: int = 2, size: int = 5, session: str = SESSION
) -> Block:
    rng = np.random.default_rng(number)
    names = [f"{session}-{number}-{i}" for i in range(images)]
    pixels = {name: torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8)) for name in names}
    order = [(name, repeat) for repeat in range(repeats) for name in names]
    presentations = tuple(
        Presentation(name, repeat, place, place + 1, name.endswith("0"), "0" * 64)
        for place, (name, repeat) in enumerate(order)
    )
    return Block(session, number, 1, presentations, pixels, "png", 100.0, 50.5, (1, 2, 3))


def rows_of(block_or_offered: Any, shift: float = 0.0) -> list[AnswerRow]:
    """One response for each presentation, each another."""
    pairs = [
        (p.image, p.repeat) if isinstance(p, Presentation) else (p[0], p[1])
        for p in block_or_offered.presentations
    ]
    return [
        AnswerRow(image, repeat, Values(np.array([shift + at, np.nan, -at / 3.0]), np.array([0.0, 1.0, 0.1])))
        for at, (image, repeat) in enumerate(pairs)
    ]


def wait_for(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


@contextmanager
def served(
    make_bridge: MakeBridge, *blocks: Block, decide: bool = True
) -> Iterator[tuple[Any, SmallSession]]:
    """An open bridge, and the session that serves the blocks over it."""
    bridge = make_bridge()
    with sessions.served(bridge, CHANNELS, *blocks, decide=decide) as session:
        yield bridge, session


@contextmanager
def driven(make_driver: MakeDriver, bridge: Any, rig: str = "rig-1") -> Iterator[Any]:
    driver = make_driver(bridge, rig)
    try:
        yield driver
    finally:
        driver.close()
