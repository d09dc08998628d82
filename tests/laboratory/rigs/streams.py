"""What the tests of streaming recorders share: a block, a free port, waiting on a condition."""

import socket
import time

import torch

from xdream.laboratory.rigs import Block, Presentation
from xdream.laboratory.simulation.base import Offered


def a_block(count: int = 3, number: int = 1, session: str = "s1", repeats: int = 1) -> Block:
    shown = []
    for place in range(count * repeats):
        image = f"b{number}-{place % count}"
        shown.append(Presentation(image, place // count, place, 1000 * number + place, False, "0" * 64))
    pixels = {one.image: torch.zeros(3, 4, 4, dtype=torch.uint8) for one in shown}
    return Block(session, number, 1, tuple(shown), pixels, "png", 100, 100, (128, 128, 128))


def offered(block: Block) -> Offered:
    return Offered(
        block.session,
        block.number,
        block.fence,
        tuple((p.image, p.repeat, block.images[p.image]) for p in block.presentations),
    )


def code_of(*blocks: Block):
    codes = {(p.image, p.repeat): p.code for block in blocks for p in block.presentations}
    return lambda image, repeat: codes.get((image, repeat), 9)


def free_port(count: int = 1) -> int:
    """The first of `count` neighbouring free ports."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            taken = []
            try:
                for one in range(port + 1, port + count):
                    other = socket.socket()
                    taken.append(other)
                    other.bind(("127.0.0.1", one))
            except (OSError, OverflowError):
                continue
            finally:
                for other in taken:
                    other.close()
            return port


def until(collect, count: int, within_s: float = 60.0):
    """Collects until there are `count` rows; also the faults."""
    rows, faults, answers = [], [], []
    deadline = time.monotonic() + within_s
    while len(rows) < count:
        assert time.monotonic() < deadline, f"{len(rows)} of {count} rows came; faults: {faults}"
        for one in collect(0.1):
            answers.append(one)
            rows += one.rows
            if one.fault:
                faults.append(one.fault)
    return rows, faults, answers
