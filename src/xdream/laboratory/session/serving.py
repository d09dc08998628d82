"""A session served to a rig: blocks out, answers in, until every run has ended.

Everything that can go wrong on the way to a rig or to the disk is waited for, not died of: a full disk, a
folder that is gone, a rig that is silent. What is decided is in `session.py`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from xdream.description import Part
from xdream.errors import BadInput, RigError, StoreBusy, StoreError, StoreFull, SubjectSilent
from xdream.experiment import code_reach, opening
from xdream.experiment.assemble import assemble
from xdream.experiment.callbacks import Callback, NoCallback
from xdream.experiment.plan import Plan
from xdream.experiment.record import Record
from xdream.experiment.runs import Parts
from xdream.laboratory.rigs import (
    BRIDGES,
    Answer,
    Arrival,
    Block,
    BlockClaim,
    Bridge,
    Command,
    DisplayAndRecorder,
    NoBlock,
    Noticing,
    Receipt,
)
from xdream.laboratory.session import orders
from xdream.laboratory.session.partly_answered import PartlyAnswered
from xdream.laboratory.session.session import Session
from xdream.laboratory.session.troubles import Troubles
from xdream.store import Store, check_new, queries
from xdream.store.sqlite import utc_now

T = TypeVar("T")

#: How long a bridge is asked at a time: orders and interruptions are taken up in between.
LISTEN_S = 0.1
#: How long is waited before a full disk or a lost medium is tried again.
RETRY_S = 2.0
#: For how long a session that is over waits for a rig to hear of it.
LINGER_S = 5.0
#: Less room on the disk than this is said.
LEAST_FREE = 200_000_000
#: Facts of the record: what is wrong now (JSON), and the rejection that is held (JSON), for whoever reads.
TROUBLES, HELD = "troubles", "held"
#: Events that are said on the terminal as they are. Others are said where they are found, or are usual.
SAID = ("missing", "again", "reject", "accept", "pause", "go-on", "hold", "take-back")
#: What every output of a session says.
SCORES_NOTE = "scores are those of the recordings, with their noise: the best of many is above its true mean"


def serve(
    plan: Plan | str | Path,
    out: str | Path | None = None,
    callback: Callback | None = None,
    *,
    bridge: Bridge | None = None,
    stop: Callable[[], bool] = lambda: False,
    identity: str | None = None,
    begun: Callable[[Path], None] = lambda folder: None,
) -> Record:
    """Run a session with the plan's rig, in the folder `out` (default: as for an experiment).

    bridge: another one than the plan's, already made. stop: asked several times a second; when it says yes
    the session ends with KeyboardInterrupt, after the commit under way. identity: of the session (default:
    drawn). begun: called with the folder once the session runs: nothing is wrong with its plan then.

    Raises BadInput before anything is written; StoreError; RigError; SubjectSilent where the plan says so.
    After any of them `resume` goes on.
    """
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    if plan.rig is None:
        raise BadInput("the plan has no rig; add a table [rig], or run it on a network with xdream evolve")
    with opening.folder_for(out, plan.name) as folder:
        check_new(folder)
        parts = assemble(_resolved(plan))
        made = bridge or bridge_of(parts.plan)
        check_baseline(parts, made)
        with opening.new_store(
            parts, folder, [SCORES_NOTE], session=identity or secrets.token_hex(4)
        ) as store:
            orders.forget(folder)
            try:
                _serve(parts, store, made, callback or NoCallback(), stop, begun)
            except BadInput:
                if not queries.has_blocks(store):  # the bridge could not be opened
                    store.discard()
                raise
        return Record(folder)


def resume(
    folder: str | Path,
    callback: Callback | None = None,
    *,
    bridge: Bridge | None = None,
    stop: Callable[[], bool] = lambda: False,
    begun: Callable[[Path], None] = lambda folder: None,
) -> Record:
    """Go on with a session as if it had never stopped; a finished one is only read. Raises as `serve`."""
    record = Record(folder)
    if record.finished:
        return record
    if not record.is_session:
        raise BadInput(f"{folder} is not a session with a rig; continue with xdream.resume")
    parts = opening.parts_of(record)
    record.close()
    made = bridge or bridge_of(parts.plan)
    with Store.open_existing(Path(folder), opening.versions(parts.plan)) as store:
        opening.note(store, parts.notes)
        _serve(parts, store, made, callback or NoCallback(), stop, begun)
    return Record(folder)


def check_baseline(parts: Parts, bridge: Bridge) -> None:
    """Raise BadInput where a baseline is to be subtracted and the rig's answers have no room for one."""
    kinds = {r.responses.baseline for r in parts.runs} - {"none"}
    if kinds and not getattr(bridge, "carries_baseline", True):
        raise BadInput(
            f"responses.baseline is '{min(kinds)}', and answers in the format of this rig carry no baseline: "
            "each of them would be put aside; set it to 'none', or use another protocol or bridge"
        )


def bridge_of(plan: Plan) -> Bridge:
    """The bridge that a plan names, with the display's where the rig only records. Raises BadInput."""
    assert plan.rig is not None
    recorder = _made(plan.rig)
    return recorder if plan.display is None else DisplayAndRecorder(_made(plan.display), recorder)


def _resolved(plan: Plan) -> Plan:
    """The plan with the defaults of its bridges, and their paths absolute, to be resumed from anywhere."""
    parts = {"rig": plan.rig, "display": plan.display}
    whole: dict[str, Any] = {
        key: Part(name=part.name, **BRIDGES.absolute(part.name, BRIDGES.filled(part.name, part.options)))
        for key, part in parts.items()
        if part is not None and BRIDGES.has(part.name)  # else the bridge is given, already made
    }
    assert plan.session is not None
    if plan.session.first_block is None:  # always written, so that a session goes on in its numbering
        carrier = whole.get("display" if plan.display is not None else "rig")
        numbered = None if carrier is None else getattr(BRIDGES.factory(carrier.name), "first_block", None)
        first = 1 if carrier is None or numbered is None else numbered(carrier.options)
        whole["session"] = plan.session.model_copy(update={"first_block": first})
    return plan.model_copy(update=whole)


def _made(part: Part) -> Bridge:
    return BRIDGES.make(part.name, **part.options)


def _serve(
    parts: Parts,
    store: Store,
    bridge: Bridge,
    callback: Callback,
    stop: Callable[[], bool],
    begun: Callable[[Path], None],
) -> None:
    opening.begin_engine(parts, store, callback)
    identity = queries.fact(store, "session")
    session = Session(parts, store, identity)
    assert parts.plan.session is not None
    bridge.open(identity, parts.plan.session.channels)
    try:
        begun(store.folder)
        Server(session, bridge, callback, stop).go()
        if code_reach.is_due(store):
            code_reach.compute(parts, store)
    finally:
        bridge.close()


class Server:
    """Leads blocks to the bridge and answers to the session."""

    def __init__(
        self,
        session: Session,
        bridge: Bridge,
        callback: Callback,
        stop: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.session, self.bridge, self.callback = session, bridge, callback
        self._stop, self._clock, self._wait = stop, clock, wait
        self._offered: tuple[int, int] | None = None
        self._heard = clock()
        self._silent = False
        facts = queries.facts(session.store)
        self._troubles = Troubles(utc_now, facts.get(TROUBLES, ""))
        # What lasts is found again, if it does.
        self._troubles.over("disk", "medium", "silent", "partly", "room", "notice:")
        self._listed = facts.get(TROUBLES, "")  # as it was written last
        self._noted = ""
        self._event = session.ledger.last_event()
        self._refused: str | None = None  # why the last answer could not be used
        self._said: Mapping[str, Any] = {}
        trial_s = (session.plan.show_ms + session.plan.gap_ms) / 1000
        self._partly = PartlyAnswered(trial_s, clock)
        self._watched = -1
        self._roomed: tuple[int, int] | None = None  # the block for which the disk was looked at
        self._asks = False  # whether a rig asks for its blocks
        held = json.loads(facts.get(HELD) or "null")
        #: The rejection that is held: block, reason, until when. After a restart its time begins anew.
        self._held: tuple[int, str, float] | None = None
        if held is not None:
            self._written(lambda: self._hold_from_now(int(held["block"]), str(held["reason"])))

    def go(self) -> None:
        """Until every run has ended. Raises KeyboardInterrupt, SubjectSilent, StoreError."""
        self.tell_status()
        if self.session.paused is not None:
            self._say(f"paused: {self.session.paused}; continue with: xdream go-on {self._folder}")
        while not self.session.over:
            self.tick()
        with contextlib.suppress(RigError):
            self._offer(None)
        self.tell_status()
        # A rig that asks for blocks is to hear that there are no more.
        for _ in range(round(LINGER_S / LISTEN_S)):
            if not self._asks or self._stop():
                return
            try:
                arrivals = self.bridge.collect(LISTEN_S)
            except RigError:
                return
            for arrival in arrivals:
                self._take(arrival)
                self._asks = self._asks and not isinstance(arrival, BlockClaim)

    def tick(self) -> None:
        """Once round: orders, block, answers, silence."""
        self._check_stop()
        for name, command in orders.given(self._folder):
            problem = self._order(command)
            if problem is not None:
                orders.refuse(self._folder, name, problem)
                if orders.age_s(name) > orders.OBEY_S:  # who gave it hears of it nowhere else
                    self._troubles.happened(f"order:{command.word}", _not_carried_out(command), problem)
        self._obey_held()
        block = None if self._held is not None else self._written(self.session.advance)
        try:
            self._offer(block)
            arrivals = self.bridge.collect(LISTEN_S)
            self._troubles.over("medium")
        except RigError as error:
            self._is_so("medium", str(error))
            self._pause_for(RETRY_S)
            self._watch_silence()
            return
        for arrival in arrivals:
            self._take(arrival)
        self._watch_medium()
        self._watch_silence()
        self._watch_rest()
        self._watch_room()
        self._watch()
        self._hear_events()
        self.tell_status()

    @property
    def _folder(self) -> Path:
        return self.session.store.folder

    def _take(self, arrival: Arrival) -> None:
        if isinstance(arrival, Command):
            if arrival.word == "stop":
                arrival.reply(None)
            arrival.reply(self._order(arrival))
        elif isinstance(arrival, BlockClaim):
            self._asks = True
            arrival.reply(self._claim(arrival.rig))
        else:
            self._answer(arrival)

    def _offer(self, block: Block | None) -> None:
        """What is to be shown, where it is new; what is not to be shown any more is withdrawn."""
        now = None if block is None else (block.number, block.fence)
        if self._offered == now:
            return
        if self._offered is not None and (block is None or self._offered[0] != block.number):
            self.bridge.withdraw(self._offered[0])
            self._offered = None
        if block is not None:
            self.bridge.offer(block)
            self._offered = now
            self._hear()

    def _claim(self, rig: str) -> Block | NoBlock:
        if self._held is not None:
            number, _, until = self._held
            left = max(1, round(until - self._clock()))
            return NoBlock("waiting", f"the rejection of block {number} is held for another {left} s")
        found = self._written(lambda: self.session.claim(rig))
        if isinstance(found, Block):  # it may be a new one: its images are to be had
            with contextlib.suppress(RigError):  # said by the next tick
                self._offer(found)
        return found

    def _answer(self, answer: Answer) -> None:
        receipt = self._written(lambda: self.session.take(answer))
        if {"taken", "missing", "repeated"} & receipt.counts.keys():
            self._hear()
            if receipt.alarm is None:
                self._troubles.over("answer:")
        if receipt.alarm is not None:
            self._refuse(answer, receipt, receipt.alarm)
        answer.reply(receipt)

    def _refuse(self, answer: Answer, receipt: Receipt, why: str) -> None:
        """Say that rows of an answer are not used; who made it may hear of it nowhere else."""
        name = answer.source or "an answer"
        used = sum(receipt.counts.get(one, 0) for one in ("taken", "missing", "repeated"))
        what = f"{name} was refused" if not used else f"{name} was used in part"
        self._refused = why
        self._silent = False  # an alarm that none came would not be true any more
        # Of a file its fault begins with the name.
        subject = f"answer:{name}"
        if self._troubles.happened(subject, what, why.removeprefix(f"{name}: ")):
            self._say(next(one.text for one in self._troubles.open if one.subject == subject))
        self.tell_status()

    # ------------------------------------------------------------------ orders

    def _order(self, command: Command) -> str | None:
        """Carry out; returns why it cannot be done, or None."""
        problem = self._written(lambda: self._carry_out(command))
        if problem is not None:
            text = f"{_not_carried_out(command)}: {problem}"
            self._say(text)
            self._written(lambda: self.session.say("refused-order", text))
        return problem

    def _carry_out(self, command: Command) -> str | None:
        session = self.session
        if command.word in ("reject", "accept"):
            number, _, reason = command.value.partition(" ")
            if not number.isascii() or not number.isdecimal() or len(number) > 9:
                return f"'{number[:50]}' is no number of a block"
            if command.word == "accept":
                return session.accept(int(number))
            return self._hold(int(number), reason[:1000] or "rejected by the experimenter")
        if command.word == "take-back":
            return self._take_back()
        if command.word == "acknowledge":
            if command.value and not (command.value.isdecimal() and len(command.value) < 10):
                return f"'{command.value[:50]}' is no number of an alarm"
            return self._troubles.acknowledge(int(command.value) if command.value else None)
        if command.word == "pause":
            session.pause(command.value[:1000] or "by the experimenter")
        elif command.word == "go-on":
            session.go_on()
            self._hear()
        elif command.word == "stop":
            raise KeyboardInterrupt
        else:
            return f"'{command.word[:50]}' is no order"
        return None

    def _hold(self, number: int, reason: str) -> str | None:
        """Reject a block, or have that held, so that it can be taken back: nothing is offered meanwhile."""
        problem = self.session.why_not_reject(number)
        if problem is None and self._held is not None and self._held[0] != number:
            problem = f"the rejection of block {self._held[0]} is held; take it back first, or wait"
        if problem is not None or (self._held is not None and self._held[0] == number):
            return problem
        if not self.session.plan.undo_s:
            return self.session.reject(number, reason)
        self.session.say("hold", f"block {number} is to be rejected ({reason})")
        self._hold_from_now(number, reason)
        return None

    def _hold_until(self) -> float:
        return self._clock() + self.session.plan.undo_s

    def _hold_from_now(self, number: int, reason: str) -> None:
        fact = {"block": number, "reason": reason, "since": utc_now()}
        self.session.store.write_fact(HELD, json.dumps(fact))
        self._held = (number, reason, self._hold_until())

    def _take_back(self) -> str | None:
        if self._held is None:
            return "no rejection is held; there is nothing to take back"
        self.session.say("take-back", f"block {self._held[0]} is not rejected")
        self._release()
        return None

    def _release(self) -> None:
        self.session.store.write_fact(HELD, "null")
        self._held = None
        self._hear()

    def _obey_held(self) -> None:
        if self._held is not None and self._clock() >= self._held[2]:
            number, reason, _ = self._held
            problem = self._written(lambda: self.session.reject(number, reason))
            if problem is not None:
                self._say(f"block {number} is not rejected: {problem}")
            self._written(self._release)

    # ------------------------------------------------------------------ what goes wrong

    def _written(self, decision: Callable[[], T]) -> T:
        """A decision that writes; on a full disk it is taken again until there is room."""
        while True:
            try:
                found = decision()
            except (StoreFull, StoreBusy) as error:
                self._is_so("disk", str(error))
                self._pause_for(RETRY_S)
            else:
                self._troubles.over("disk")
                return found

    def _pause_for(self, seconds: float) -> None:
        until = self._clock() + seconds
        while self._clock() < until:
            self._check_stop()
            self._wait(min(LISTEN_S, seconds))

    def _check_stop(self) -> None:
        if self._stop():
            raise KeyboardInterrupt

    def _is_so(self, subject: str, text: str, *, event: str = "trouble") -> None:
        """Trouble that lasts: said once, and listed until it is over."""
        if self._troubles.is_so(subject, text):
            self._say(text)
            with contextlib.suppress(StoreError):  # a full disk may be what is said
                self.session.say(event, text)
            self.tell_status()

    def _hear(self) -> None:
        self._heard, self._silent, self._refused = self._clock(), False, None
        self._troubles.over("silent")

    def _watch_silence(self) -> None:
        plan = self.session.plan
        if self.session.paused is not None or self.session.over or self._held is not None:
            self._hear()
        if self._clock() - self._heard < plan.silence_s or self._silent:
            return
        text = f"no answer for {plan.silence_s:g} s"
        if self._refused is not None:
            text = f"no answer that can be used for {plan.silence_s:g} s; the last one: {self._refused}"
        self._silent = True
        if plan.on_silence == "stop":
            raise SubjectSilent(f"{text} to block {self.session.status()['block']}; check the rig")
        self._written(lambda: self._is_so("silent", text, event="silent"))
        if plan.on_silence == "close" and self._offered is not None:
            number = self._offered[0]
            self._written(lambda: self.session.close(number, "silent", text))

    def _watch_medium(self) -> None:
        """What lies where answers should be and is none."""
        notices = self.bridge.notices() if isinstance(self.bridge, Noticing) else {}
        for subject in self._troubles.subjects("notice:"):
            if subject.removeprefix("notice:") not in notices:
                self._troubles.over(subject)
        for subject, text in notices.items():
            self._is_so(f"notice:{subject}", text)

    def _watch_rest(self) -> None:
        """Whether a block stays partly answered: what is waited for."""
        found = None if self._held is not None else self.session.waiting_for()
        text = None if found is None else self._partly.text(*found)
        if text is None:
            self._troubles.over("partly")
        else:
            self._is_so("partly", text)

    def _watch_room(self) -> None:
        """How much room there is on the disk: looked at once for each block."""
        if self._roomed == self._offered:
            return
        self._roomed = self._offered
        free = shutil.disk_usage(self._folder).free
        if free < LEAST_FREE:
            self._is_so("room", f"less than {LEAST_FREE / 1e6:.0f} MB are free on the disk of {self._folder}")
        else:
            self._troubles.over("room")

    def _watch(self) -> None:
        if self._watched == self.session.generation:
            return
        self._watched = self.session.generation
        for subject in self._troubles.subjects("channel:"):
            if subject not in self.session.flags:
                self._troubles.over(subject)
        for subject, text in self.session.flags.items():  # the session has written them down
            if self._troubles.is_so(subject, text):
                self._say(text)
        status = self.session.status()
        self._to_callback(lambda: self.callback.stage("generations", self._watched, status["generations"]))

    def _hear_events(self) -> None:
        """What was written since: said, and listed where it is wrong until somebody has seen it."""
        for number, event in self.session.ledger.events_since(self._event):
            self._event = number
            if event.kind in SAID:
                self._say(f"{event.kind}: {event.text}")
            elif event.kind in ("reference", "pixels", "rig-lost", "clock") and self._troubles.happened(
                f"{event.kind}:{event.text}", event.text
            ):
                self._say(event.text)
        if self.session.paused is not None and self.session.stalled:
            self._troubles.is_so("stalled", f"paused: {self.session.paused}")
        else:
            self._troubles.over("stalled")

    def _say(self, text: str) -> None:
        self._to_callback(lambda: self.callback.trouble(text))

    def _to_callback(self, say: Callable[[], None]) -> None:
        """A bar or a figure that fails never ends a session."""
        try:
            say()
        except Exception as error:
            self.callback = NoCallback()
            text = f"progress is not shown: {error!r}"
            self._written(lambda: self.session.say("watcher", text))

    def tell_status(self) -> None:
        """To the rig, and to whoever reads the record, when it has changed."""
        self._list()
        held = None if self._held is None else self._held[0]
        status = self.session.status() | {"held": held, "trouble": self._troubles.as_status()}
        if status == self._said:
            return
        self._said = status
        try:
            self.bridge.status(status)
        except RigError as error:
            self._troubles.is_so("medium", str(error))

    def _list(self) -> None:
        """Write what is wrong now, where that has changed; and have it stand beside the bar."""
        listed = self._troubles.to_json()
        if listed != self._listed:
            with contextlib.suppress(StoreError):  # tried again with the next status
                self.session.store.write_fact(TROUBLES, listed)
                self._listed = listed
        now = self._troubles.open
        more = f" (and {len(now) - 1} more)" if len(now) > 1 else ""
        note = f"{now[0].text}{more}" if now else ""
        if note != self._noted:
            self._noted = note
            self._to_callback(lambda: self.callback.note(note))


def _not_carried_out(command: Command) -> str:
    return f"order '{command.word} {command.value[:200]}".rstrip() + "' is not carried out"
