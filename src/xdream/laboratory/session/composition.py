"""The presentations of a generation in blocks: everything shuffled, from the plan's own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xdream import random
from xdream.store.ledger import Planned

#: (run and slot or None, number of the reference or None, repeat, id of the image, SHA-256 of its pixels).
Showing = tuple[tuple[int, int] | None, int | None, int, str, str]


def showings(
    images: Sequence[tuple[tuple[int, int], str, str]],
    references: Sequence[tuple[int, str, str]],
    repeats: int,
) -> list[list[Showing]]:
    """All that a generation shows, a list for each repeat.

    images: ((run, slot), id, SHA-256). references: (number, id, SHA-256); one that is named twice is shown
    with repeats of its own.
    """
    rounds: list[list[Showing]] = [
        [(at, None, k, name, sha) for at, name, sha in images] for k in range(repeats)
    ]
    seen: dict[int, int] = {}
    for number, name, sha in references:
        for of_round in rounds:
            of_round.append((None, number, seen.get(number, 0), name, sha))
            seen[number] = seen.get(number, 0) + 1
    return rounds


def block_sizes(count: int, most: int | None, *, even: bool) -> list[int]:
    """How many presentations each block has. most: in a block; None: all. even: as alike as can be, rather
    than full ones and a rest."""
    most = most or max(count, 1)
    blocks = -(-count // most)
    if even:
        return [count // blocks + (k < count % blocks) for k in range(blocks)]
    return [min(most, count - k * most) for k in range(blocks)]


def compose(
    rounds: Sequence[Sequence[Showing]],
    size: int | None,
    seed: int,
    generation: int,
    first: tuple[int, int],
    *,
    even: bool = True,
) -> list[Planned]:
    """Blocks of at most `size` presentations, each in a random order.

    Repeats of an image come in different blocks as far as there are several: each repeat is shuffled, they
    are laid one after the other, and what was cut off is shuffled again. first: the number of the first block
    and the id of the first presentation. even: see `block_sizes`.
    """
    whole = [
        of_round[i]
        for k, of_round in enumerate(rounds)
        for i in _order(seed, generation, f"order of repeat {k}", len(of_round))
    ]
    number, identity = first
    planned: list[Planned] = []
    start = 0
    for k, length in enumerate(block_sizes(len(whole), size, even=even)):
        part = whole[start : start + length]
        start += length
        for place, i in enumerate(_order(seed, generation, f"order of block {k}", len(part))):
            planned.append(Planned(identity + len(planned), number + k, place, *part[i]))
    return planned


def again(missing: Sequence[Planned], seed: int, generation: int, first: tuple[int, int]) -> list[Planned]:
    """One more block, of presentations that have no response."""
    number, identity = first
    order = _order(seed, generation, f"order of block again {number}", len(missing))
    return [
        Planned(identity + place, number, place, one.at, one.reference, one.repeat, one.name, one.pixels)
        for place, one in enumerate(missing[i] for i in order)
    ]


def _order(seed: int, generation: int, purpose: str, n: int) -> list[int]:
    if n == 0:
        return []
    drawn = random.permutation(torch.tensor([seed]), torch.tensor([generation]), purpose, n)
    order: list[int] = drawn[0].tolist()
    return order
