"""What is wrong in a session at present: a list from which an entry goes when it is over or acknowledged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

#: So many entries are listed; a rig that sends nonsense under a new name each time makes no longer list.
MOST = 50


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    id: by which it is acknowledged. subject: what it is about; there is one entry for each. what, why: for
    a person; why may be empty. since: UTC, ISO 8601, of the first time. times: how often.
    """

    id: int
    subject: str
    what: str
    why: str
    since: str
    times: int = 1

    @property
    def text(self) -> str:
        """In one line: what, how often, why."""
        often = f" {self.times} times" if self.times > 1 else ""
        return f"{self.what}{often}{': ' if self.why else ''}{self.why}"


class Troubles:
    """The list. stored: as `to_json` gave it, before a restart. now: the time in UTC, ISO 8601."""

    def __init__(self, now: Callable[[], str], stored: str = "") -> None:
        self._now = now
        said: dict[str, Any] = json.loads(stored) if stored else {}
        self._open = {one["subject"]: Trouble(**one) for one in said.get("open", [])}
        self._known = {subject: (what, why) for subject, what, why in said.get("known", [])}
        self._last = int(said.get("last", 0))

    @property
    def open(self) -> tuple[Trouble, ...]:
        """What is wrong now, the newest first."""
        return tuple(sorted(self._open.values(), key=lambda one: (one.since, one.id), reverse=True))

    def happened(self, subject: str, what: str, why: str = "") -> bool:
        """Something that happens now and then, each time; returns whether to say it.

        Of what happens again and again, alike, the first three and then ever fewer are said.
        """
        before = self._open.get(subject)
        if before is None or (before.what, before.why) != (what, why):
            self._put(subject, what, why)
            return True
        times = before.times + 1
        self._open[subject] = replace(before, times=times)
        return times <= 3 or str(times).strip("0") == "1"

    def is_so(self, subject: str, what: str, why: str = "") -> bool:
        """Something that lasts until `over`; returns whether to say it, which is once. Acknowledged, it is
        not listed again before it was over."""
        if self._known.get(subject) == (what, why):
            return False
        self._known[subject] = (what, why)
        self._put(subject, what, why)
        return True

    def over(self, *subjects: str) -> None:
        """None of these is wrong any more; one that ends in ":" stands for all that begin with it."""
        for subject in subjects:
            for one in {*self._open, *self._known}:
                if one == subject or (subject.endswith(":") and one.startswith(subject)):
                    self._open.pop(one, None)
                    self._known.pop(one, None)

    def subjects(self, beginning: str) -> tuple[str, ...]:
        """Those that last, of one kind."""
        return tuple(one for one in self._known if one.startswith(beginning))

    def acknowledge(self, number: int | None) -> str | None:
        """Somebody has seen it (None: all). Returns why that cannot be, or None."""
        seen = [one.subject for one in self._open.values() if number in (None, one.id)]
        if not seen and number is not None:
            return f"there is no alarm {number} now"
        for subject in seen:
            del self._open[subject]
        return None

    def to_json(self) -> str:
        """For the record."""
        known = [(subject, *said) for subject, said in self._known.items()]
        return json.dumps({"open": [asdict(one) for one in self.open], "known": known, "last": self._last})

    def as_status(self) -> list[dict[str, Any]]:
        """For `status.json` and whoever asks, the newest first."""
        return [{"id": one.id, "text": one.text, "since": one.since} for one in self.open]

    def _put(self, subject: str, what: str, why: str) -> None:
        self._last += 1
        self._open[subject] = Trouble(self._last, subject, what, why, self._now())
        while len(self._open) > MOST:
            del self._open[min(self._open, key=lambda one: self._open[one].id)]
