"""A folder that a rig and XDream share: images are put there, answers are found there. Polling only.

Notifications miss what is written to a network share, and so nothing here waits for one. A file counts when
it has been renamed into place or has not changed for a while; see docs/rigs-folder.md for what a rig must do.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from filelock import FileLock, Timeout
from pydantic import BeforeValidator, Field

from xdream.errors import BadInput, InUse, RigError
from xdream.files import mistaken, replace
from xdream.images.files import encoded
from xdream.laboratory.rigs import forms
from xdream.laboratory.rigs.base import Answer, Arrival, Block
from xdream.laboratory.rigs.folder_answers import answers_among, notices
from xdream.laboratory.rigs.folder_files import ORIENTATIONS, Unreadable, read
from xdream.laboratory.rigs.folder_manifest import manifest, read_answer
from xdream.laboratory.rigs.folder_names import (
    IMAGE,
    MANIFEST,
    Sent,
    block_of,
    file_name,
    rows_of,
    sent_by,
)
from xdream.options import checked

#: How many closed blocks' answers are still looked at.
WATCHED = 20
#: How much of what cannot be read is kept.
RAW_BYTES = 1 << 20
#: For so long a file may be somebody else's alone (being written) before that is said.
UNOPENED_S = 5.0
#: What XDream is still writing begins so, and no rig looks for that.
PARTIAL = ".partial-"
STALE, SENT, STATUS, LOCK = "stale", "sent", "status.json", "xdream.lock"
#: In `sent`: how responses stood in the answers so far.
LEARNED = "orientation.json"


def _named(folder: object) -> object:
    if folder == "":
        raise ValueError("give the path of the folder that the rig shares")
    return folder


SharedFolder: TypeAlias = Annotated[Path, BeforeValidator(_named)]


@dataclass
class _Seen:
    """A file as it was seen last. since: for how long it has been so. reported: digests of contents."""

    signature: tuple[int, int] = (-1, -1)
    since: float = 0.0
    tried: bool = False
    done: bool = False
    unopened: bool = False
    reported: set[str] = field(default_factory=set)


@checked
class Folder:
    """Blocks and answers as files in a shared folder.

    folder: must be there. answers: where the rig puts its answers, if that is another folder. protocol:
    "manifest", or "original" for rigs that answered the original software. match: of the original protocol's
    file names, "strict" (exactly) or "loose" (after the block's number). poll_s: how often the folder is
    looked at. stable_s: for how long an answer of the original protocol must not have changed.
    answer_limit_mb: a larger answer is not read. orientation: how `tEvokedResp` stands in MATLAB v5 files;
    None: as their shapes tell, those of earlier blocks where it has as many images as channels.
    """

    def __init__(
        self,
        folder: SharedFolder,
        protocol: Literal["manifest", "original"] = "manifest",
        match: Literal["strict", "loose"] = "strict",
        poll_s: Annotated[float, Field(ge=0.001, le=60.0)] = 0.1,
        stable_s: Annotated[float, Field(ge=0.0, le=600.0)] = 0.5,
        answer_limit_mb: Annotated[float, Field(ge=0.001, le=1024.0)] = 32.0,
        answers: SharedFolder | None = None,
        orientation: Literal["images-channels", "channels-images"] | None = None,
    ) -> None:
        if protocol == "manifest" and match != "strict":
            raise BadInput("match is for the original protocol; leave it out")
        if protocol == "manifest" and orientation is not None:
            raise BadInput("orientation is for the original protocol; leave it out")
        if protocol == "original" and importlib.util.find_spec("scipy") is None:
            raise BadInput("MATLAB v5 files are read with scipy; pip install 'xdream[rig]'")
        self.folder = Path(folder).expanduser()
        self.answers = self.folder if answers is None else Path(answers).expanduser()
        self.clock, self.wait = time.monotonic, time.sleep
        self._original, self._loose = protocol == "original", match == "loose"
        #: The original's tables have responses and nothing else.
        self.carries_baseline = not self._original
        self._orientation, self._seen_orientations = orientation, set[str]()
        self._poll_s, self._stable_s = float(poll_s), float(stable_s)
        self._limit = int(answer_limit_mb * (1 << 20))
        self._session, self._channels = "", tuple[str, ...]()
        self._block: Block | None = None
        self._complete = self._shaken = False
        self._watched: dict[int, Sent] = {}
        self._seen: dict[str, _Seen] = {}
        self._waiting: list[Arrival] = []
        self._owed: bytes | None = None
        self._lock: contextlib.ExitStack | None = None
        self._others: frozenset[str] = frozenset()  # what was there before the block
        self._notices: dict[str, str] = {}

    @staticmethod
    def first_block(options: Mapping[str, Any]) -> int:
        """The number of a new session's first block: the original began with block000."""
        return 0 if options.get("protocol") == "original" else 1

    # ------------------------------------------------------------------ the bridge

    def open(self, session: str, channels: Sequence[str]) -> None:
        """Take the folder for this session alone."""
        self._lock = self._taken(lambda: self._clear(session))
        self._session, self._channels = session, tuple(channels)

    def check(self, channels: Sequence[str]) -> None:
        """Whether it could be opened; nothing in it is changed. Raises BadInput."""
        self._taken(lambda: None).close()

    @property
    def _folders(self) -> list[Path]:
        """Those that are used: one, or that of the answers besides."""
        one = self.answers.resolve() == self.folder.resolve()
        return [self.folder] if one else [self.folder, self.answers]

    def _taken(self, work: Callable[[], None]) -> contextlib.ExitStack:
        """The locks of the folders, after some work in them; they can be written to."""
        with contextlib.ExitStack() as locks:
            for folder in self._folders:
                if not folder.is_dir():
                    raise BadInput(f"there is no folder {folder}; make it, or mount the share that has it")
                try:
                    locks.enter_context(FileLock(folder / LOCK, timeout=0))
                    replace(folder / f"{PARTIAL}test", b"")
                    (folder / f"{PARTIAL}test").unlink()
                    if folder == self.folder:
                        work()
                except Timeout:
                    raise InUse(f"another session uses {folder}; choose another folder") from None
                except (OSError, NotImplementedError) as error:
                    raise BadInput(f"{folder} cannot be written to: {error}; check its permissions") from None
            return locks.pop_all()

    def offer(self, block: Block) -> None:
        """Put the block's images, and its manifest, into the folder. Raises RigError."""
        with self._medium():
            before, self._block = self._block, block
            if before is None or before.number != block.number:
                self._complete = False
                self._others = frozenset()
                self._others = frozenset(os.listdir(self.answers))
            self._carry(block)

    def collect(self, timeout_s: float) -> Sequence[Arrival]:
        """Answers that are complete. Raises RigError while the folder cannot be read."""
        until = self.clock() + timeout_s
        while True:
            with self._medium():
                names = os.listdir(self.answers)
                self._mend()
                self._look(names)
            if self._waiting:
                found, self._waiting = self._waiting, []
                return found
            left = until - self.clock()
            if left <= 0:
                return []
            self.wait(min(self._poll_s, left))

    def notices(self) -> Mapping[str, str]:
        """Files that may be meant as answers to the block and are none, by their names."""
        return dict(self._notices)

    def withdraw(self, number: int) -> None:
        """Take the manifest back; images stay, for a display may be reading them. Raises RigError."""
        with self._medium():
            if self._block is not None and self._block.number == number:
                self._block = None
            if not self._original:
                (self.folder / f"block{number:03d}.manifest.json").unlink(missing_ok=True)

    def status(self, status: Mapping[str, Any]) -> None:
        """Write status.json; when the session is over, take the manifest back. Raises RigError."""
        self._owed = json.dumps(dict(status), indent=1).encode()
        with self._medium():
            self._write_status()
        if status.get("state") == "over" and self._block is not None:
            self.withdraw(self._block.number)

    def close(self) -> None:
        """Let other sessions have the folder."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # the share is gone, and the lock with it
                self._lock.close()
            self._lock = None

    # ------------------------------------------------------------------ the medium

    @contextlib.contextmanager
    def _medium(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._shaken = True
            raise RigError(
                f"the folder {self.folder} cannot be used: {error.strerror or error}; it is tried again"
            ) from None

    def _mend(self) -> None:
        """After the folder was gone: what is missing in it is carried once more."""
        if self._shaken and self._block is not None:
            self._carry(self._block)
        self._shaken = False
        self._write_status()

    def _write_status(self) -> None:
        if self._owed is not None:
            replace(self.folder / STATUS, self._owed)
            self._owed = None

    def _place(self, name: str, data: bytes) -> None:
        """A file that is there whole or not at all. Not forced to the disk: a restart looks at its bytes."""
        partial = self.folder / f"{PARTIAL}{name}"
        partial.write_bytes(data)
        partial.replace(self.folder / name)

    def _has(self, name: str, data: bytes) -> bool:
        path = self.folder / name
        try:
            return path.stat().st_size == len(data) and path.read_bytes() == data
        except FileNotFoundError:
            return False

    def _put_aside(self, name: str, folder: Path | None = None) -> str:
        """Move a file into `stale` beside it, over none that is there. Returns where it is."""
        folder = folder or self.folder
        (folder / STALE).mkdir(exist_ok=True)
        stem, dot, suffix = name.rpartition(".")
        to, n = name, 0
        while (folder / STALE / to).exists():
            n += 1
            to = f"{stem}-{n}{dot}{suffix}"
        (folder / name).rename(folder / STALE / to)
        return f"{STALE}/{to}"

    # ------------------------------------------------------------------ out

    def _carry(self, block: Block) -> None:
        """Write what is not there yet. The last image makes the block complete: what answers it before is
        stale. Where all images are there, a session goes on, and its answer may have come meanwhile."""
        pictures = {i: encoded(image, block.image_format) for i, image in block.images.items()}
        names = {one.place: file_name(block, one.place, one.image) for one in block.presentations}
        images = {names[one.place]: pictures[one.image] for one in block.presentations}
        new = Sent(block.number, {names[p.place]: (p.image, p.repeat) for p in block.presentations})
        sent = self._sent_before(block, new) if self._original else new
        missing = [name for name, data in images.items() if not self._has(name, data)]
        for i, name in enumerate(missing):
            if i == len(missing) - 1 and self._original and not self._complete:
                self._put_stale_aside(block.number)
            self._place(name, images[name])
        self._complete = True
        self._watched[block.number] = sent
        for number in sorted(self._watched)[: -WATCHED - 1]:
            del self._watched[number]
        if not self._original:
            sums = {i: hashlib.sha256(data).hexdigest() for i, data in pictures.items()}
            files = {one.place: (names[one.place], sums[one.image]) for one in block.presentations}
            self._write_manifest(block.number, manifest(block, files, self._channels))

    def _write_manifest(self, number: int, data: bytes) -> None:
        """The last file of a block, and the only manifest in the folder."""
        for name in os.listdir(self.folder):
            if block_of(MANIFEST, name) not in (None, number):
                self._put_aside(name)
        name = f"block{number:03d}.manifest.json"
        if not self._has(name, data):
            replace(self.folder / name, data)

    def _sent_before(self, block: Block, new: Sent) -> Sent:
        """The files of a block as they were sent at first: after a restart those that were answered are no
        longer known otherwise, and yet count in the order of file names."""
        path = self.folder / SENT / f"block{block.number:03d}.json"
        files = sent_by(path, block.session)
        if new.files.items() <= files.items():
            return Sent(block.number, files)
        path.parent.mkdir(exist_ok=True)
        files_said = [[name, *shown] for name, shown in new.files.items()]
        replace(path, json.dumps({"session": block.session, "files": files_said}).encode())
        return new

    def _clear(self, session: str) -> None:
        """Images of other sessions do not stay where a rig would show them; nor does what they left half
        written, and their status."""
        ours: set[str] = set()
        if (self.folder / SENT).is_dir():
            for path in (self.folder / SENT).iterdir():
                ours.update(sent_by(path, session))
        for name in os.listdir(self.folder):
            if name.startswith(PARTIAL) or name == STATUS:
                (self.folder / name).unlink()
            elif self._original and block_of(IMAGE, name) is not None and name not in ours:
                self._put_aside(name)

    def _put_stale_aside(self, number: int) -> None:
        names = os.listdir(self.answers)
        found = answers_among(names, original=True)
        for name in names:
            if found.block(name) == number:
                with (self.answers / name).open("rb") as file:
                    raw = file.read(RAW_BYTES)
                to = self._put_aside(name, self.answers)
                self._seen.pop(name, None)
                where = STALE if to == f"{STALE}/{name}" else to
                fault = f"{name}: it was there before the block's images, and is put aside in {where}"
                self._waiting.append(Answer((), source=name, fault=fault, raw=raw))

    # ------------------------------------------------------------------ in

    def _look(self, names: Sequence[str]) -> None:
        """Keep the answers that are new and complete, in the order of their names; say what is none."""
        found = answers_among(names, original=self._original)
        for name, number in sorted(found.taken.items()):
            if number in self._watched:
                answer = self._look_at(name, self._watched[number])
                if answer is not None:
                    self._waiting.append(answer)
        self._notices = {}
        if self._block is not None:
            self._notices = notices(
                *(names, found, self._block.number, self._watched, self._others),
                lambda name: (self.answers / name).is_dir(),
                original=self._original,
            )
            self._notices |= self._misplaced()

    def _misplaced(self) -> dict[str, str]:
        """Answers to the block among the images, where they are awaited in another folder."""
        if len(self._folders) == 1 or self._block is None:
            return {}
        found = answers_among(os.listdir(self.folder), original=self._original)
        where = f"answers are awaited in {self.answers}"
        return {
            name: f"found {name} in {self.folder}; {where}"
            for name in (*found.taken, *found.doubtful)
            if found.block(name) == self._block.number
        }

    def _look_at(self, name: str, sent: Sent) -> Answer | None:
        path, now = self.answers / name, self.clock()
        seen = self._seen.setdefault(name, _Seen())
        try:
            signature = _signature(path)
            if signature != seen.signature:
                seen.signature, seen.since, seen.tried, seen.done = signature, now, False, False
            stable = now - seen.since >= self._stable_s
            if seen.done or not (stable or (not self._original and not seen.tried)):
                return None
            seen.tried = True
            with path.open("rb") as file:
                data = file.read(self._limit + 1)
            if _signature(path) != signature:
                return None
        except FileNotFoundError:
            return None
        except (
            PermissionError,
            IsADirectoryError,
        ) as error:  # on Windows it may be somebody else's while it is written
            if seen.unopened or now - seen.since < UNOPENED_S:
                return None
            seen.unopened = True
            return Answer((), source=name, fault=f"{name} cannot be opened: {error.strerror or error}")
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen.reported:
            seen.done = True
            return None
        try:
            if len(data) > self._limit:
                raise Unreadable(f"it has more than {self._limit} bytes; see answer_limit_mb")
            answer = self._read(data, name, sent)
        except (Unreadable, forms.MessageError) as error:
            if not stable:
                return None
            answer = Answer((), source=name, fault=f"{name}: {mistaken(data) or error}", raw=data[:RAW_BYTES])
        seen.done = True
        seen.reported.add(digest)
        return answer

    def _read(self, data: bytes, name: str, sent: Sent) -> Answer:
        if not self._original:
            return read_answer(data, name, len(self._channels))
        table = read(name.rpartition(".")[2].lower(), data, self._orientation or self._learned())
        if table.orientation is not None:
            if self._orientation not in (None, table.orientation):
                raise Unreadable(
                    f"tEvokedResp is {table.orientation}, and the plan says "
                    f"orientation = '{self._orientation}'"
                )
            self._learn(table.orientation)
        return Answer(rows_of(table, sent, loose=self._loose), block=sent.number, source=name)

    def _learned(self) -> str | None:
        """How responses stood in all earlier answers whose shape told it."""
        if not self._seen_orientations:
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                said = json.loads((self.folder / SENT / LEARNED).read_bytes())
                known = set(said["orientations"]) & set(ORIENTATIONS)
                self._seen_orientations = known if said["session"] == self._session else set()
        return next(iter(self._seen_orientations)) if len(self._seen_orientations) == 1 else None

    def _learn(self, orientation: str) -> None:
        """Kept beside the notes on blocks, for after a restart."""
        self._learned()
        if orientation not in self._seen_orientations:
            self._seen_orientations.add(orientation)
            said = {"session": self._session, "orientations": sorted(self._seen_orientations)}
            (self.folder / SENT).mkdir(exist_ok=True)
            replace(self.folder / SENT / LEARNED, json.dumps(said).encode())


def _signature(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
