"""Files that are written completely or not at all."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from xdream.errors import BadInput
from xdream.text import storable

#: Folders that systems leave between the user's own: of Synology, QNAP, NetApp, Windows and macOS.
_FOLDERS = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin"),
        *("@recycle", "@recently-snapshot", "@__thumb", "@recentlysnapshot"),
        *("~snapshot", "lost+found", "found.000"),
        *("$recycle.bin", "system volume information", "$av_asw", "windowsimagebackup"),
        *("__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder"),
    )
)
#: Files that they leave: previews, positions of icons, streams of other systems.
_FILES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "folder.htt"),
        *("icon\r", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf", "indexervolumeguid", "wpsettings.dat"),
    )
)
#: And by the ends of names: what Synology and Windows keep beside a file on file systems without streams.
_ENDS = ("@synoeastream", "@synoresource", ":zone.identifier", "\uf03azone.identifier")


def absolute(path: str | Path) -> str:
    """A path to the same place from any folder. Raises BadInput for one that no plan can hold."""
    found = os.path.abspath(os.path.expanduser(path))
    if found != storable(found):
        raise BadInput(
            f"'{storable(found)}' has bytes in its name that are not UTF-8, which plans and records are; "
            "rename the file or folder"
        )
    return found


def left_by_system(name: str) -> bool:
    """Whether a path inside a folder or an archive is one of those that systems leave there unasked.

    Such are previews, bins and settings, and whatever is hidden by a dot. The separators of either system.
    """
    parts = [part for part in re.split(r"[/\\]", name.lower()) if part not in ("", ".")]
    return (
        any(part.startswith(".") or part in _FOLDERS for part in parts)
        or (bool(parts) and (parts[-1] in _FILES or parts[-1].endswith(_ENDS)))
        or any(one == "recycler" and two.startswith("s-1-") for one, two in itertools.pairwise(parts))
    )


#: How files begin that stand where another was meant, and what to do.
_BEGINNINGS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself; get it with: git lfs pull"),
    (rb"\.?/?annex/objects/", "a git-annex pointer, not the file itself; get it with: git annex get"),
    (
        rb"\s*(<!doctype html|<html|<!--|<head)",
        "a web page; download the file itself (on GitHub: its raw form)",
    ),
    (rb"\s*<\?xml", "XML, as servers answer with errors; download it again"),
    (rb'\s*\{\s*"(error|message|detail)"', "the error message of a server; download it again"),
    (rb"%PDF-", "a PDF"),
    (rb"\x1f\x8b", "compressed with gzip; unpack it first"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!|\xfd7zXZ", "an archive; unpack it first"),
    (rb"\x80[\x02-\x05][\x00-\xff]*", "a pickle, whose code is never run; save plain arrays or tensors"),
)
_SEEN = 512


def mistaken(file: Path | bytes, *, but: str = "") -> str:
    """What a file is that cannot be read as what it was taken for, and the remedy; "" where that is not
    known.

    file: its path, or its first bytes. but: words of what it may be, which is not looked for.
    """
    try:
        if isinstance(file, bytes):
            start = file[:_SEEN]
        else:
            with file.open("rb") as opened:
                start = opened.read(_SEEN)
    except OSError:
        return ""
    for beginning, what in _BEGINNINGS:
        if re.match(beginning, start, re.IGNORECASE) and not (but and but in what):
            return f"it is {what}"
    return ""


def replace(path: Path, data: bytes) -> None:
    """A file's new contents, on the disk when this returns; the old ones stay when it fails."""
    temporary = path.with_name(f"{path.name}.partial")
    try:
        temporary.write_bytes(data)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # what is left would take the room that is missing
        temporary.unlink(missing_ok=True)
        raise
