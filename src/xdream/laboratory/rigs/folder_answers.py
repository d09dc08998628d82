"""Which files in a shared folder are answers, and what is said of those that are none.

Rigs write block numbers and endings as their language likes it (`Block001.MAT`, `block1.mat`). Such a name is
read as meant where nothing else could be meant. No file that came while a block is shown goes unmentioned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from xdream.files import left_by_system
from xdream.laboratory.rigs.folder_files import SUFFIXES
from xdream.laboratory.rigs.folder_names import (
    MANIFEST_ANSWER,
    ORIGINAL_ANSWER,
    block_of,
    is_ours,
    numbers_in,
)

#: So many files that are no answers are said at a time, each by its name.
MOST_NOTICES = 5
#: What says how many more there are.
MORE = "and more"
ANY_ORIGINAL = re.compile(rf"block(\d{{1,9}})()\.(?:{'|'.join(SUFFIXES)})", re.IGNORECASE)
ANY_MANIFEST = re.compile(r"block(\d{1,9})\.answer(?:-(\d{1,9}))?\.json", re.IGNORECASE)


@dataclass(frozen=True)
class AnswerNames:
    """Files that are named as answers. taken: name -> block. doubtful: name -> (block, the names among which
    it is not clear; where one of them is as documented, that one alone)."""

    taken: Mapping[str, int]
    doubtful: Mapping[str, tuple[int, tuple[str, ...]]]

    def block(self, name: str) -> int | None:
        """The block that a file is about, by its name."""
        return self.taken[name] if name in self.taken else self.doubtful.get(name, (None,))[0]


def answers_among(names: Iterable[str], *, original: bool) -> AnswerNames:
    """Those as documented are taken; another one where it is the only one of its block (and part)."""
    loose, exact = (ANY_ORIGINAL, ORIGINAL_ANSWER) if original else (ANY_MANIFEST, MANIFEST_ANSWER)
    rivals: dict[tuple[int, str], list[str]] = {}
    for name in sorted(names):
        match = loose.fullmatch(name)
        if match is not None:
            rivals.setdefault((int(match[1]), match[2] or ""), []).append(name)
    taken: dict[str, int] = {}
    doubtful: dict[str, tuple[int, tuple[str, ...]]] = {}
    for (block, _), of_block in rivals.items():
        documented = [name for name in of_block if block_of(exact, name) == block]
        chosen = documented or (of_block if len(of_block) == 1 else [])
        taken.update(dict.fromkeys(chosen, block))
        for name in set(of_block) - set(chosen):
            doubtful[name] = (block, tuple(chosen[:1] or of_block))
    return AnswerNames(taken, doubtful)


def awaited(block: int, *, original: bool) -> str:
    """What an answer to a block is called."""
    return f"block{block:03d}.mat (or .npz, .csv, .h5)" if original else f"block{block:03d}.answer.json"


def notices(
    names: Collection[str],
    answers: AnswerNames,
    block: int,
    watched: Collection[int],
    before: Collection[str],
    is_folder: Callable[[str], bool],
    *,
    original: bool,
) -> dict[str, str]:
    """What to say of the files that are no answers, by their names.

    block: that is shown. watched: the blocks whose answers are read. before: what was there before the block;
    of that only what looks like an answer to it is said.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        about = answers.block(name)
        if is_ours(name) or left_by_system(name) or (name in answers.taken and about in watched):
            continue
        folder = is_folder(name)
        if name in before and (folder or numbers_in(name) != [block]):
            continue
        what = "which is a folder" if folder else "which is not it"
        if about is not None and about not in watched:
            what = f"which is of block {about}, which is not shown"
        elif name in answers.doubtful:
            rivals = answers.doubtful[name][1]
            what = (
                f"beside {rivals[0]}, which is read"
                if len(rivals) == 1
                else f"and it is not clear which of {', '.join(rivals)} is the answer: leave one"
            )
        found[name] = f"waiting for {awaited(block, original=original)}; found {name}, {what}"
    said = dict(list(found.items())[:MOST_NOTICES])
    if len(found) > len(said):
        said[MORE] = f"there are {len(found) - len(said)} more files that are no answers"
    return said
