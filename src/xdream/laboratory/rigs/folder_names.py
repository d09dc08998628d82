"""What the files in a shared folder are called, and which presentation a name in an answer is about."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xdream.laboratory.rigs.base import AnswerRow, Block
from xdream.laboratory.rigs.folder_files import SUFFIXES, FileTable, Unreadable
from xdream.scoring.recordings import Values

#: How long a note about a block's files may be.
NOTE_BYTES = 16 << 20
ORIGINAL_ANSWER = re.compile(rf"block(\d{{3,9}})\.((?i:{'|'.join(SUFFIXES)}))")
MANIFEST_ANSWER = re.compile(r"block(\d{3,9})\.answer(-\d{1,9})?\.json")
IMAGE = re.compile(r"block(\d{3,9})_.*\.(png|bmp)")
MANIFEST = re.compile(r"block(\d{3,9})\.manifest\.json")


@dataclass(frozen=True)
class Sent:
    """The files of a block, by name: the image and the repeat that each shows."""

    number: int
    files: Mapping[str, tuple[str, int]]


def sent_by(path: Path, session: str) -> dict[str, tuple[str, int]]:
    """The image and repeat that each file of a block shows, as a session noted it; empty: it did not, or the
    note is damaged (then a name that is answered and is not offered any more is not known)."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(NOTE_BYTES))
        files = {str(name): (str(image), int(repeat)) for name, image, repeat in said["files"]}
        return files if said["session"] == session else {}
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def file_name(block: Block, place: int, image: str) -> str:
    """Of an image: the block, the place in it, the image."""
    return f"block{block.number:03d}_{place:03d}_{image}.{block.image_format}"


def rows_of(table: FileTable, sent: Sent, *, loose: bool) -> tuple[AnswerRow, ...]:
    """What a table says about the files of a block. Raises Unreadable where it cannot be about them."""
    order = sorted(sent.files)
    if table.names is not None:
        names: Sequence[str] = table.names
    elif table.indices is None:
        if len(table.responses) != len(order):
            raise Unreadable(f"{len(table.responses)} rows of scores, but the block has {len(order)} files")
        names = order
    else:
        if max(table.indices) >= len(order):
            raise Unreadable(f"index {max(table.indices)}, but the block has {len(order)} files, from 0")
        names = [order[i] for i in table.indices]
    known = {_loosely(name) if loose else name: shown for name, shown in sent.files.items()}
    rows = []
    for name, values in zip(names, table.responses, strict=True):
        last = re.split(r"[\\/]", name)[-1].strip()
        image, repeat = known.get(_loosely(last) if loose else last, (None, None))
        recorded = None if bool(np.isnan(values).all()) else Values(values.copy())
        rows.append(AnswerRow(" ".join(last.split())[:200] if image is None else image, repeat, recorded))
    return tuple(rows)


def is_ours(name: str) -> bool:
    """Whether a file is one that XDream puts into the folder, for this session or an earlier one."""
    known = (
        IMAGE.fullmatch(name)
        or MANIFEST.fullmatch(name)
        or name in ("status.json", "xdream.lock", "stale", "sent")
    )
    return bool(known) or name.endswith(".partial")


def numbers_in(name: str) -> list[int]:
    """The numbers in a name, without its ending: what block somebody may have meant."""
    return [int(one) for one in re.findall(r"\d{1,9}", name.rpartition(".")[0] or name)]


def _loosely(name: str) -> str:
    return re.sub(r"^block\d+_", "", name)


def block_of(pattern: re.Pattern[str], name: str) -> int | None:
    """The block that a file's name is about, in the one form in which block numbers are written."""
    match = pattern.fullmatch(name)
    return int(match[1]) if match is not None and match[1] == f"{int(match[1]):03d}" else None
