"""A rig at the other end of a folder: takes blocks from it and writes answers into it."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xdream.errors import BadInput
from xdream.images.files import decoded
from xdream.laboratory.rigs.base import AnswerRow
from xdream.laboratory.rigs.folder_manifest import written_answer
from xdream.laboratory.rigs.forms import recorded_json
from xdream.laboratory.simulation.base import Offered, RigSetup
from xdream.scoring.recordings import Values

#: What `answer_format` may be, and the suffix of the file.
FORMATS = {"mat": "mat", "mat5": "mat", "h5": "h5", "npz": "npz", "csv": "csv"}


class FolderDriver:
    """folder, protocol, answers: as the bridge has them. answer_format: of the original protocol, "mat"
    (v7.3), "mat5", "h5", "npz" or "csv". channels: of a row of the original protocol that has no response,
    when no other row of its answer has one. Raises BadInput."""

    is_recorder: ClassVar[bool] = False
    sends_spikes: ClassVar[bool] = False

    @classmethod
    def for_bridge(
        cls, setup: RigSetup, folder: Path, protocol: str, answers: Path | None = None
    ) -> FolderDriver:
        """For the bridge `folder`."""
        return cls(folder, protocol, setup.answer_format, channels=len(setup.channels), answers=answers)

    def __init__(
        self,
        folder: str | Path,
        protocol: str = "manifest",
        answer_format: str = "mat",
        channels: int = 1,
        poll_s: float = 0.05,
        answers: str | Path | None = None,
    ) -> None:
        for name, value, known in (
            ("protocol", protocol, ("manifest", "original")),
            ("answer_format", answer_format, tuple(FORMATS)),
        ):
            if value not in known:
                raise BadInput(f"{name} is {value!r}; choose {' or '.join(known)}")
        self.folder = Path(folder).expanduser()
        self.answers = self.folder if answers is None else Path(answers).expanduser()
        self.clock, self.wait = time.monotonic, time.sleep
        self._original, self._format = protocol == "original", answer_format
        self._channels, self._poll_s = channels, poll_s
        #: The digital word of each presentation of the latest manifest.
        self.codes: dict[tuple[str, int], int] = {}
        self._taken: set[str] = set()
        self._names: dict[int, list[tuple[str, int, str]]] = {}
        self._said: dict[int, list[tuple[str, np.ndarray[Any, Any] | None]]] = {}
        #: Why no block can be had, where the folder says so.
        self.waiting = ""
        self._before = self._status()  # an earlier session's word

    # ------------------------------------------------------------------ the driver

    def next_block(self, timeout_s: float) -> Offered | None:
        """The block in the folder, when it is complete and was not taken before."""
        until = self.clock() + timeout_s
        while not self.over:
            try:
                found = self._from_images() if self._original else self._from_manifest()
            except (OSError, ValueError, KeyError, TypeError):  # gone, or just being replaced
                found = None
            if found is not None:
                return found
            left = until - self.clock()
            if left <= 0:
                return None
            self.wait(min(self._poll_s, left))
        return None

    def answer(
        self,
        offered: Offered,
        rows: Sequence[AnswerRow],
        *,
        last: bool = True,
        spoil: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Write an answer. In the original protocol a block has one file: what was said of it before is in it
        again (if it was not spoiled); and it holds values only (BadInput for spikes and traces)."""
        if self._original:
            self._write_original(offered, rows, spoil)
            return
        responses = [
            {"image": row.image, "repeat": row.repeat or 0} | recorded_json(row.recorded) for row in rows
        ]
        data = written_answer(offered.session or "", offered.number, offered.fence or 0, responses, last=last)
        stem = f"block{offered.number:03d}.answer"
        name, k = f"{stem}.json", 0
        while (not last and k == 0) or (self.answers / name).exists():
            k += 1
            name = f"{stem}-{k}.json"
        self._place(name, data, spoil)

    @property
    def over(self) -> bool:
        """Whether status.json says so; a session that ended before this driver was made does not count."""
        status = self._status()
        return status.get("state") == "over" and status != self._before

    def disconnect(self, seconds: float) -> None:
        """Look at nothing for a while."""
        self.wait(seconds)

    def close(self) -> None:
        """Nothing is held."""

    # ------------------------------------------------------------------ in

    def _status(self) -> dict[str, Any]:
        try:
            said = json.loads((self.folder / "status.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def _from_manifest(self) -> Offered | None:
        for path in sorted(self.folder.glob("block*.manifest.json")):
            data = path.read_bytes()
            key = hashlib.sha256(data).hexdigest()
            if key in self._taken:
                continue
            said = json.loads(data)
            shown = []
            for one in said["order"]:
                picture = (self.folder / one["file"]).read_bytes()
                if hashlib.sha256(picture).hexdigest() != one["sha256"]:
                    raise ValueError(f"{one['file']} is not what the manifest says")
                shown.append((one["image"], one["repeat"], decoded(picture)))
            self._taken.add(key)
            self.codes = {(one["image"], one["repeat"]): one["code"] for one in said["order"]}
            return Offered(said["session"], said["block"], said["fence"], tuple(shown))
        return None

    def _from_images(self) -> Offered | None:
        """The newest block, when it has as many images as were sent: a laboratory knows that number from its
        plan. The file's name has no repeat; they are counted in the order of places."""
        found = self._newest()
        if found is None:
            return None
        note, said = found
        names = sorted(path.name for path in self.folder.glob(f"{note.stem}_*"))
        key = f"{said['session']} {note.stem}"
        if key in self._taken or names != sorted(name for name, *_ in said["files"]):
            return None
        number, shown, times = int(note.stem[5:]), [], dict[str, int]()
        self._names[number] = []
        for name in names:
            image = name.rpartition(".")[0].split("_", 2)[2]
            repeat = times.get(image, 0)
            times[image] = repeat + 1
            self._names[number].append((image, repeat, name))
            shown.append((image, repeat, decoded((self.folder / name).read_bytes())))
        self._taken.add(key)
        self._said.pop(number, None)
        return Offered(None, number, None, tuple(shown))

    def _newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The note on the newest block of the session under way; what earlier ones sent is left alone.

        Their numbers may be higher. Where no session has written its status yet: the one written last.
        """
        status = self._status()
        session = status.get("session")
        if status.get("state") == "over" and status == self._before:
            session = ""  # it ended before, and the next one has not begun
        notes = [(path, json.loads(path.read_bytes())) for path in (self.folder / "sent").glob("block*.json")]
        own = [one for one in notes if session in (None, one[1]["session"])]
        self.waiting = ""
        if notes and not own:
            earlier = ", ".join(sorted({str(said["session"]) for _, said in notes}))
            self.waiting = (
                f"the blocks in {self.folder} are those of an earlier session ({earlier}), which are not "
                "answered; is xdream serve running?"
            )
        if session is None:
            return max(own, key=lambda one: one[0].stat().st_mtime_ns, default=None)
        return max(own, key=lambda one: int(one[0].stem[5:]), default=None)

    # ------------------------------------------------------------------ out

    def _place(self, name: str, data: bytes, spoil: Callable[[bytes], bytes] | None) -> None:
        partial = self.answers / f".partial-{name}"
        partial.write_bytes(data if spoil is None else spoil(data))
        partial.replace(self.answers / name)

    def _write_original(
        self, offered: Offered, rows: Sequence[AnswerRow], spoil: Callable[[bytes], bytes] | None
    ) -> None:
        known = {(image, repeat): name for image, repeat, name in self._names[offered.number]}
        new = []
        for row in rows:
            if row.recorded is not None and not isinstance(row.recorded, Values):
                raise BadInput('the original protocol carries values only; choose protocol = "manifest"')
            name = known.get((row.image, row.repeat or 0), f"block{offered.number:03d}_999_{row.image}.png")
            new.append((name, None if row.recorded is None else row.recorded.values))
        again = {name for name, _ in new}
        said = [one for one in self._said.get(offered.number, []) if one[0] not in again] + new
        if spoil is None:
            self._said[offered.number] = said
        width = max((len(values) for _, values in said if values is not None), default=self._channels)
        table = np.full((len(said), width), np.nan)
        for i, (_, values) in enumerate(said):
            if values is not None:
                table[i, : len(values)] = values
        order = sorted(known.values())
        data = as_file(self._format, [name for name, _ in said], table, order)
        self._place(f"block{offered.number:03d}.{FORMATS[self._format]}", data, spoil)


def as_file(
    answer_format: str, names: Sequence[str], responses: np.ndarray[Any, Any], order: Sequence[str]
) -> bytes:
    """An answer file of the original protocol. responses: (rows, channels). order: the block's file names."""
    file = io.BytesIO()
    if answer_format == "csv":
        head = ",".join(["stimulusID", *(f"c{i}" for i in range(responses.shape[1]))])
        lines = (",".join([n, *map(repr, r.tolist())]) for n, r in zip(names, responses, strict=True))
        return "".join(f"{line}\n" for line in (head, *lines)).encode()
    if answer_format == "npz":
        np.savez(file, stimulusID=np.array(names, dtype=str), responses=responses)
    elif answer_format == "mat5":
        import scipy.io

        cells = np.empty((len(names), 1), dtype=object)
        cells[:, 0] = names
        scipy.io.savemat(file, {"stimulusID": cells, "tEvokedResp": responses}, do_compression=True)
    else:
        _as_hdf5(file, answer_format, names, responses, order)
    return file.getvalue()


def _as_hdf5(
    file: io.BytesIO, kind: str, names: Sequence[str], responses: np.ndarray[Any, Any], order: Sequence[str]
) -> None:
    import h5py

    with h5py.File(file, "w", userblock_size=512 if kind == "mat" else 0) as made:
        if kind == "h5":
            made.create_dataset("scores", data=responses, compression="gzip")
            made["indices"] = [order.index(name) if name in order else len(order) for name in names]
            return
        made.create_dataset("tEvokedResp", data=responses, compression="gzip")
        cells = made.create_dataset("stimulusID", (1, len(names)), dtype=h5py.ref_dtype)
        for i, name in enumerate(names):
            letters = np.frombuffer(name.encode("utf-16-le"), "<u2")[:, None]
            cells[0, i] = made.create_dataset(f"#refs#/{i}", data=letters).ref
