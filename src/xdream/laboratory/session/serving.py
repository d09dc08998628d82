"""A session served to a rig: blocks out, answers in, until every run has ended.

Everything that can go wrong on the way to a rig or to the disk is waited for, not died of: a full disk, a
folder that is gone, a rig that is silent. What is decided is in `session.py`.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from xdream.description import Part
from xdream.errors import BadInput, RigError, StoreBusy, StoreError, StoreFull, SubjectSilent
from xdream.experiment import opening
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
)
from xdream.laboratory.session import orders
from xdream.laboratory.session.session import Session
from xdream.store import Store, check_new, queries

T = TypeVar("T")

#: How long a bridge is asked at a time: orders and interruptions are taken up in between.
LISTEN_S = 0.2
#: How long is waited before a full disk or a lost medium is tried again.
RETRY_S = 2.0
#: For how long a session that is over waits for a rig to hear of it.
LINGER_S = 5.0
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
) -> Record:
    """Run a session with the plan's rig, in the folder `out` (default: as for an experiment).

    bridge: another one than the plan's, already made. stop: asked several times a second; when it says yes
    the session ends with KeyboardInterrupt, after the commit under way. identity: of the session (default:
    drawn).

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
        with opening.new_store(
            parts, folder, [SCORES_NOTE], session=identity or secrets.token_hex(4)
        ) as store:
            orders.forget(folder)
            try:
                _serve(parts, store, made, callback or NoCallback(), stop)
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
        _serve(parts, store, made, callback or NoCallback(), stop)
    return Record(folder)


def bridge_of(plan: Plan) -> Bridge:
    """The bridge that a plan names, with the display's where the rig only records. Raises BadInput."""
    assert plan.rig is not None
    recorder = _made(plan.rig)
    return recorder if plan.display is None else DisplayAndRecorder(_made(plan.display), recorder)


def _resolved(plan: Plan) -> Plan:
    """The plan with the defaults of its bridges, and their paths absolute, to be resumed from anywhere."""
    parts = {"rig": plan.rig, "display": plan.display}
    whole = {
        key: Part(name=part.name, **BRIDGES.absolute(part.name, BRIDGES.filled(part.name, part.options)))
        for key, part in parts.items()
        if part is not None and BRIDGES.has(part.name)  # else the bridge is given, already made
    }
    return plan.model_copy(update=whole)


def _made(part: Part) -> Bridge:
    return BRIDGES.make(part.name, **part.options)


def _serve(parts: Parts, store: Store, bridge: Bridge, callback: Callback, stop: Callable[[], bool]) -> None:
    opening.begin_engine(parts, store, callback)
    identity = queries.fact(store, "session")
    session = Session(parts, store, identity)
    assert parts.plan.session is not None
    bridge.open(identity, parts.plan.session.channels)
    try:
        Server(session, bridge, callback, stop).go()
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
        self._trouble: str | None = None
        self._put_aside: str | None = None  # why the last answer could not be used
        self._said: Mapping[str, Any] = {}
        self._watched = -1
        self._asks = False  # whether a rig asks for its blocks

    def go(self) -> None:
        """Until every run has ended. Raises KeyboardInterrupt, SubjectSilent, StoreError."""
        self.tell_status()
        if self.session.paused is not None:
            text = f"paused: {self.session.paused}; continue with: xdream go-on {self.session.store.folder}"
            self._to_callback(lambda: self.callback.trouble(text))
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
        for command in orders.given(self.session.store.folder):
            self._order(command)
        block = self._written(self.session.advance)
        try:
            self._offer(block)
            arrivals = self.bridge.collect(LISTEN_S)
            self._trouble = None
        except RigError as error:
            self._report(str(error))
            self._pause_for(RETRY_S)
            self._watch_silence()
            return
        for arrival in arrivals:
            self._take(arrival)
        self._watch_silence()
        self._watch()
        self.tell_status()

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
        found = self._written(lambda: self.session.claim(rig))
        if isinstance(found, Block):  # it may be a new one: its images are to be had
            with contextlib.suppress(RigError):  # said by the next tick
                self._offer(found)
        return found

    def _answer(self, answer: Answer) -> None:
        receipt = self._written(lambda: self.session.take(answer))
        if {"taken", "missing", "repeated"} & receipt.counts.keys():
            self._put_aside = None
            self._hear()
        elif receipt.refused is not None and "quarantined" in receipt.counts:
            # In the record it is an alarm already; who made the answer may hear it nowhere else.
            text = self._put_aside = receipt.refused
            self._to_callback(lambda: self.callback.trouble(f"an answer cannot be used: {text}"))
            self.tell_status()
        answer.reply(receipt)

    def _order(self, command: Command) -> str | None:
        """Carry out; returns why it cannot be done, or None."""
        said = self._written(lambda: self._carry_out(command))
        if said is not None:
            self._report(said)
        return said

    def _carry_out(self, command: Command) -> str | None:
        session = self.session
        if command.word in ("reject", "accept"):
            number, _, reason = command.value.partition(" ")
            if not number.isascii() or not number.isdecimal() or len(number) > 9:
                return f"'{number[:50]}' is no number of a block"
            if command.word == "accept":
                return session.accept(int(number))
            return session.reject(int(number), reason[:1000] or "rejected by the experimenter")
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

    # ------------------------------------------------------------------ what goes wrong

    def _written(self, decision: Callable[[], T]) -> T:
        """A decision that writes; on a full disk it is taken again until there is room."""
        while True:
            try:
                return decision()
            except (StoreFull, StoreBusy) as error:
                self._report(str(error))
                self._pause_for(RETRY_S)

    def _pause_for(self, seconds: float) -> None:
        until = self._clock() + seconds
        while self._clock() < until:
            self._check_stop()
            self._wait(min(LISTEN_S, seconds))

    def _check_stop(self) -> None:
        if self._stop():
            raise KeyboardInterrupt

    def _report(self, text: str) -> None:
        """Trouble that is waited for: said once."""
        if text != self._trouble:
            self._trouble = text
            self._to_callback(lambda: self.callback.trouble(text))
            with contextlib.suppress(StoreError):  # a full disk may be what is said
                self.session.say("trouble", text)
            self.tell_status()

    def _hear(self) -> None:
        self._heard, self._silent = self._clock(), False

    def _watch_silence(self) -> None:
        plan = self.session.plan
        if self.session.paused is not None or self.session.over:
            self._hear()
        if self._clock() - self._heard < plan.silence_s or self._silent:
            return
        text = f"no answer for {plan.silence_s:g} s"
        self._silent = True
        if plan.on_silence == "close":
            if self._offered is not None:
                number = self._offered[0]
                self._written(lambda: self.session.close(number, "silent", text))
        elif plan.on_silence == "stop":
            raise SubjectSilent(f"{text} to block {self.session.status()['block']}; check the rig")
        else:
            self._written(lambda: self.session.say("silent", text))
        self._to_callback(lambda: self.callback.trouble(text))

    def _watch(self) -> None:
        if self._watched == self.session.generation:
            return
        self._watched = self.session.generation
        status = self.session.status()
        self._to_callback(lambda: self.callback.stage("generations", self._watched, status["generations"]))

    def _to_callback(self, say: Callable[[], None]) -> None:
        """A bar or a figure that fails never ends a session."""
        try:
            say()
        except Exception as error:
            self.callback = NoCallback()
            text = f"progress is not shown: {error!r}"
            self._written(lambda: self.session.say("watcher", text))

    def tell_status(self) -> None:
        """To the rig, when it has changed."""
        status = self.session.status() | {"trouble": self._trouble or self._put_aside}
        if status == self._said:
            return
        self._said = status
        try:
            self.bridge.status(status)
        except RigError as error:
            self._trouble = str(error)
