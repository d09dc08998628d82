"""The budget: how many generations a number of presentations pays for."""

from __future__ import annotations

from xdream.errors import BadInput


def generations(presentations: int, population: int, repeats: int = 1, of: str = "") -> int:
    """The whole generations that fit into a budget.

    presentations: of one run. population: images of a generation, each shown `repeats` times. of: which run
    it is, for the error. Raises BadInput below one generation.
    """
    each = population * repeats
    count = presentations // each
    if count < 1:
        raise BadInput(
            f"presentations is {presentations}, below one generation{f' of {of}' if of else ''} of {each} "
            f"({population} images x {repeats} repeats); give at least {each}"
        )
    return count
