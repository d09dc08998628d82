"""A session, decision by decision: which block is shown, what an answer is worth, what optimizers are told.

    plan    codes, pixels and order of a generation's blocks         -> written
    take    an answer, row by row                                     -> written with the end of its block
    tell    responses, scores                                         -> written with the next states

Every decision is one transaction, and memory changes after it: killed anywhere, or out of room, the session
is where its last commit was, and the same decision is taken once more. It knows no bridge and never waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from xdream.errors import BadInput
from xdream.experiment.batch_layout import populations_of
from xdream.experiment.callbacks import NoCallback
from xdream.experiment.rig_clock import Restart
from xdream.experiment.run_groups import RunGroup, loaded_state, saved_states, state_is_due
from xdream.experiment.runs import Parts
from xdream.experiment.states import resume_states, start_states, told_scores
from xdream.experiment.stopping import StoppingCriteria, asked_to_end
from xdream.images.files import png
from xdream.laboratory.rigs import Answer, Block, NoBlock, Presentation, Receipt
from xdream.laboratory.session.activity import Activity
from xdream.laboratory.session.composition import again
from xdream.laboratory.session.generation import Generation
from xdream.laboratory.session.judging import OpenBlock, Rules, judge, unusable
from xdream.laboratory.session.planning import Planner
from xdream.laboratory.session.scoring import ScoredRun, Scorer, recorded_generation
from xdream.optimizers import State
from xdream.scoring.recordings import from_bytes
from xdream.store import Store, ToldRow, queries
from xdream.store.ledger import VOID_ENDINGS, BlockRow, Closing, Event, Ledger, Planned, RecordingRow

#: How the reason of a pause ends that a session makes itself.
WITHOUT = "ended without a single response"


class Session:
    """What is under way. Made from a store that is new or goes on; all methods from one thread.

    Raises StoreFull from any of them when there is no room: then nothing has happened, and it can be called
    again.
    """

    def __init__(
        self, parts: Parts, store: Store, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """identity: the session's own, part of the ids of its images."""
        assert parts.plan.session is not None
        self.parts, self.plan, self.id = parts, parts.plan.session, identity
        self.store, self.ledger, self._clock = store, Ledger(store), clock
        self.ledger.begin(self.plan.channels)
        if queries.started(store):
            groups, states, _, self.generation = resume_states(parts, store)
        else:
            groups, states, _ = start_states(parts, store, NoCallback())
            self.generation = 0
        self.states: dict[RunGroup, State] = dict(zip(groups, states, strict=True))
        self._planner = Planner(parts, self.ledger, identity)
        self._stopping = StoppingCriteria.of(parts.runs, store, parts.plan.repeats)
        self._scorer = self._scorer_before(self.generation)
        settings = tuple(dict.fromkeys(r.responses for r in parts.runs))
        self._rules = Rules(
            identity, len(self.plan.channels), self.plan.empty_rows, settings, self.plan.blocks_from
        )
        self._activity = Activity(self.ledger, len(self.plan.channels))
        self.paused = self.ledger.pause()
        self._voids = self.ledger.voids()
        self._lease: tuple[int, float] | None = None  # block, when its holder was heard last
        self._now: Generation | None = None
        self._clock_said = -1  # the block in which the rig's clock was set back last

    # ------------------------------------------------------------------ which block

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return not self.states

    def advance(self) -> Block | None:
        """The block that is to be shown: planned, or what is left of it. None: the session is over or paused.

        What has no answer yet is in it; the same presentations, until an answer comes.
        """
        while not self.over and self.paused is None:
            now = self._begun()
            if now.open is not None and now.complete(now.open.number):  # nothing of it can be shown any more
                self._close(now, Closing(now.open.number, "answered"))
                continue
            if now.open is not None:
                return self._as_block(now.open)
            missing = now.missing(self.plan.reshow)
            if missing:
                self._now = self._with_block(missing)
            else:
                self._tell()
        return None

    def _begun(self) -> Generation:
        """The generation under way, which is planned if need be."""
        if self._now is None:
            self._now = self._planner.generation(self.generation, self.states)
        return self._now

    def _with_block(self, showings: Sequence[Planned], closing: Closing | None = None) -> Generation:
        """One more block, with presentations that are shown again. Written."""
        now = self._begun()
        if not showings:
            assert closing is not None
            self.ledger.plan(now.number, [], closing=closing)
            return self._with_blocks(now)
        new = again(showings, self.parts.plan.seed, now.number, self.ledger.next_ids())
        text = f"{len(new)} presentations are shown again as block {new[0].block}"
        if closing is not None:
            text = f"block {closing.number} is rejected ({closing.reason}): {text}"
        self.ledger.plan(now.number, new, events=[self._event("again", text)], closing=closing)
        return self._with_blocks(replace(now, planned=(*now.planned, *new)))

    def _with_blocks(self, now: Generation) -> Generation:
        """The generation with its blocks as they were written."""
        return replace(now, blocks=tuple(self.ledger.blocks(now.number)))

    def _as_block(self, row: BlockRow) -> Block:
        now = self._begun()
        left = now.left(row.number)
        r, g, b = self.plan.background
        return Block(
            session=self.id,
            number=row.number,
            fence=row.fence,
            presentations=tuple(
                Presentation(one.name, one.repeat, one.place, one.code, one.reference is not None, one.pixels)
                for one in left
            ),
            images={one.name: now.pixels[one.name] for one in left},
            image_format=self.plan.image_format,
            show_ms=self.plan.show_ms,
            gap_ms=self.plan.gap_ms,
            background=(r, g, b),
        )

    # ------------------------------------------------------------------ what arrives

    def take(self, answer: Answer) -> Receipt:
        """Write an answer, row by row, whatever it is worth; and close the block that it completes."""
        now = None if self.over else self._begun()
        row = None if now is None else now.open
        block = None
        if now is not None and row is not None:
            block = OpenBlock(row.number, row.fence, now.of(row.number), now.answered)
        judged = judge(
            answer,
            self._rules,
            block,
            self.ledger.planned_as,
            self.ledger.became,
            self.ledger.next_ids(self.plan.blocks_from)[0] - 1,
            self._activity.zeros_are_empty,
        )
        events = [] if judged.alarm is None else [self._event("alarm", judged.alarm)]
        if now is None or row is None or judged.block != row.number:
            if judged.rows:
                self.ledger.record(judged.rows, events=events)
            return Receipt(judged.counts, judged.refused, row is not None, judged.conflict, judged.alarm)
        after = replace(now, answered={**now.answered, **judged.taken})
        closing = None
        if after.complete(row.number):
            closing = Closing(row.number, "answered")
        # A rig whose every row is wrong has more to say, whatever it says.
        elif answer.last and (judged.refused is None or after.begun(row.number)):
            closing = Closing(row.number, "incomplete", "the rig had no more")
        restart = self._restart_of_clock(row.number, judged.rows)
        events += [] if restart is None else [self._event("clock", restart.text, row.number)]
        if judged.rows or closing is not None:
            self._close(after, closing, judged.rows, events)
        self._lease = (row.number, self._clock())
        return Receipt(judged.counts, judged.refused, closing is None, judged.conflict, judged.alarm)

    def _restart_of_clock(self, number: int, rows: Sequence[RecordingRow]) -> Restart | None:
        """Whether the rig's clock was set back since the block before; said once for a block."""
        onsets = [r.onset_s for r in rows if r.onset_s is not None and r.status in ("taken", "missing")]
        before = self.ledger.latest_onset(number - 1) if onsets and self._clock_said != number else None
        if before is None or min(onsets) >= before:
            return None
        self._clock_said = number
        return Restart(number, before, min(onsets))

    def close(self, number: int, ending: str, reason: str) -> None:
        """End a block, if it is open, as it is: what was not answered is missing."""
        now = None if self.over else self._begun()
        if now is not None and now.open is not None and now.open.number == number:
            self._close(now, Closing(number, ending, reason))

    def _close(
        self,
        after: Generation,
        closing: Closing | None,
        rows: Sequence[RecordingRow] = (),
        events: Sequence[Event] = (),
    ) -> None:
        """Write what was recorded, and the end of its block where there is one."""
        left = () if closing is None else after.left(closing.number)
        if closing is not None and left:
            text = f"block {closing.number}: {len(left)} presentations have no response"
            events = [*events, self._event("missing", text, closing.number)]
        paused = self.paused
        if closing is not None and left and len(left) == len(after.of(closing.number)):
            paused = f"block {closing.number} {WITHOUT}"
            events = [*events, self._event("pause", paused, closing.number)]
        self.ledger.record(rows, closing, events)
        self._now = self._with_blocks(after)
        self.paused = paused

    # ------------------------------------------------------------------ who may answer

    def claim(self, rig: str) -> Block | NoBlock:
        """The block for a rig that asks, or why there is none. See `rigs.BlockClaim`."""
        if self.paused is not None:
            return NoBlock("paused", f"paused: {self.paused}")
        if self.advance() is None:
            return NoBlock("over", "over") if self.over else NoBlock("paused", f"paused: {self.paused}")
        row = self._begun().open
        assert row is not None
        now = self._clock()
        heard = self._lease[1] if self._lease is not None and self._lease[0] == row.number else None
        if row.holder not in (None, rig):
            if heard is None:  # after a restart: its time begins anew
                self._lease = (row.number, heard := now)
            left = heard + self.plan.lease_s - now
            if left > 0:
                return NoBlock("held", f"held by {row.holder} for another {math.ceil(left)} s")
        if row.holder != rig:
            fence = row.fence if row.holder is None else row.fence + 1
            said, kind = f"block {row.number} goes to {rig}", "lease"
            if row.holder is not None:
                kind = "rig-lost"
                said += f": {row.holder}, which had it, was not heard for {self.plan.lease_s:g} s"
            self.ledger.lease(row.number, fence, rig, [self._event(kind, said, row.number)])
            row = replace(row, fence=fence, holder=rig)
            self._now = self._with_blocks(self._begun())
        self._lease = (row.number, now)
        return self._as_block(row)

    # ------------------------------------------------------------------ the experimenter's word

    def pause(self, reason: str) -> None:
        """Show nothing more until `go_on`; answers are taken all the same."""
        self.say("pause", reason)
        self.paused = reason

    def go_on(self) -> None:
        """After a pause."""
        if self.paused is not None:
            self.say("go-on", f"after: {self.paused}")
            self.paused = None

    def reject(self, number: int, reason: str = "rejected by the experimenter") -> str | None:
        """A block was corrupted: what was recorded in it does not count, and it is shown again.

        Where its generation was told already, that generation is shown again as a whole: what followed from
        it does not count either. Returns why it cannot be done, or None.
        """
        problem = self.why_not_reject(number)
        row = self.ledger.block(number)
        if problem is not None or row is None:
            return problem
        now = self._begun()
        if row.generation < now.number:
            return self._rewind(now, row, reason)
        void = now.void | {number}
        elsewhere = {(one.name, one.repeat) for one in now.planned if one.block not in void}
        showings = [one for one in now.of(number) if (one.name, one.repeat) not in elsewhere]
        self._now = self._with_block(showings, Closing(number, "rejected", reason))
        return None

    def why_not_reject(self, number: int) -> str | None:
        """Why a block cannot be rejected, or None."""
        row = self.ledger.block(number)
        if row is None:
            return f"there is no block {number}"
        if row.ending in VOID_ENDINGS:
            return f"block {number} was {row.ending} already"
        if self.over:
            return "the session is over"
        if self.ledger.is_void(row.generation):
            return f"block {number}'s generation is already void"
        return None

    def accept(self, number: int) -> str | None:
        """Take what was put aside of the open block as it is. Returns why it cannot be done, or None."""
        now = None if self.over else self._begun()
        if now is None or now.open is None or now.open.number != number:
            return f"block {number} is not open"
        wanted = {one.id: one for one in now.left(number)}
        taken: dict[int, bytes | None] = {}
        onsets: dict[int, float | None] = {}
        for planned, raw, onset_s in self.ledger.put_aside(number):
            if planned in wanted and planned not in taken and self._can_be_read(raw):
                taken[planned], onsets[planned] = raw, onset_s
        if not taken:
            return f"nothing of block {number} was put aside that could be read"
        rows = [
            RecordingRow(
                *(number, i, "taken", "accepted by the experimenter"),
                *(wanted[i].name, wanted[i].repeat, raw, "the experimenter"),
                onset_s=onsets[i],
            )
            for i, raw in taken.items()
        ]
        after = replace(now, answered={**now.answered, **taken})
        closing = Closing(number, "answered") if after.complete(number) else None
        text = f"{len(taken)} responses of block {number} are accepted"
        self._close(after, closing, rows, [self._event("accept", text, number)])
        return None

    def _can_be_read(self, raw: bytes) -> bool:
        try:
            return unusable(from_bytes(raw), self._rules) is None
        except BadInput:
            return False

    def _rewind(self, now: Generation, row: BlockRow, reason: str) -> str | None:
        """Back to the states before a generation that was told."""
        since, until = row.generation, now.number
        states = self._states_before(since)
        text = (
            f"block {row.number} is rejected ({reason}): generation {since + 1} is shown again, and what "
            f"followed from it, to generation {until + 1}, does not count"
        )
        going = {r.id for g in states for r in g.runs}
        ended = [r for r in self.parts.runs if r.id not in going]
        if ended:
            which = ", ".join(str(r.id) for r in ended)
            text += f"; of runs that have ended neither, and they are not shown again: {which}"
        closings = [
            Closing(row.number, "rejected", reason),
            *(Closing(b.number, "abandoned", text) for b in now.blocks if b.ending is None),
        ]
        rows = []
        asked = populations_of(self.states)
        for g, state in states.items():
            for r, saved in saved_states(g, state):
                nothing = [math.nan] * asked[r.id]
                rows.append(ToldRow(r.id, nothing, nothing, saved))
        event = self._event("reject", text, row.number)
        self.ledger.rewind(closings, since, until, text, rows, [event])
        self._next(states, set())
        self._voids = self.ledger.voids()
        self._stopping = StoppingCriteria.of(self.parts.runs, self.store, self.parts.plan.repeats)
        self._scorer = self._scorer_before(self.generation)
        return None

    def _states_before(self, generation: int) -> dict[RunGroup, State]:
        """The states of the runs under way before a generation, from the first states and what was told."""
        first = queries.first_states(self.store)
        rewinds = self.ledger.rewinds()
        path, at = [], generation
        while at > 0:  # back along the states: after a rewind the next one is that of an earlier generation
            at -= 1
            if at in rewinds:
                at = rewinds[at]
            else:
                path.append(at)
        found = {}
        for g, now in self.states.items():
            state: Any = loaded_state(g.optimizer, [first[r.id] for r in g.runs], now.seeds.device)
            for told in reversed(path):
                state = g.optimizer.tell(state, told_scores(self.store, g, told).to(now.seeds.device))
            found[g] = state
        return found

    # ------------------------------------------------------------------ what the optimizers are told

    def _tell(self) -> None:
        """Scores to the optimizers: the generation is over."""
        now = self._begun()
        runs = [ScoredRun.of(r) for g in self.states for r in g.runs]
        found = self._scorer.score(now, self.parts.plan.repeats, runs)
        scores = {g: torch.stack([found.scores[r.id] for r in g.runs]) for g in self.states}
        states: dict[RunGroup, State] = {
            g: g.optimizer.tell(state, scores[g].to(state.seeds.device)) for g, state in self.states.items()
        }
        shown, following = populations_of(self.states), populations_of(states)
        rows: list[ToldRow] = []
        asked = asked_to_end(self.store.folder)
        for g, state in states.items():
            due = state_is_due(g, state, self.generation + 1)
            written = {r.id: saved for r, saved in saved_states(g, state)} if due else {}
            for r, of_run in zip(g.runs, scores[g], strict=True):
                seen = of_run[: shown[r.id]]
                # Generations that do not count are no part of the budget.
                counted = self.generation - self._voids
                ending = self._stopping.ending(r, counted, seen, asked, following[r.id])
                told = seen.tolist()
                rows.append(ToldRow(r.id, told, told, written.get(r.id), ending))
        flags = [self._event("flag", text) for text in found.flags]
        kept = self._best_images(now, rows)
        self.ledger.tell(self.generation, rows, found.references, flags, kept)
        self._scorer = found.scorer
        self._next(states, {row.run for row in rows if row.ending is not None})

    def _best_images(self, now: Generation, rows: Sequence[ToldRow]) -> dict[str, bytes]:
        """PNG files of the best image of each run, where the plan keeps these alone."""
        if self.parts.plan.images_kept != "best":
            return {}
        shown = {one.at: one for one in now.planned if one.at is not None}
        best = {}
        for row in rows:
            scores = torch.tensor(row.scores).nan_to_num(-math.inf)
            one = shown.get((row.run, int(scores.argmax())))
            if one is not None and scores.max() > -math.inf:
                best[one.pixels] = png(now.pixels[one.name])
        return best

    def _scorer_before(self, generation: int) -> Scorer:
        """The scorer as it is before a generation: the earlier ones that count are scored again."""
        assert self.parts.plan.session is not None
        runs = [ScoredRun.of(r) for r in self.parts.runs]
        scorer = Scorer(self.parts.plan.session.channels, runs[0].settings)
        for number in range(generation):
            if not self.ledger.is_void(number):
                before = recorded_generation(self.ledger, number)
                scorer = scorer.score(before, self.parts.plan.repeats, runs).scorer
        return scorer

    def _next(self, states: dict[RunGroup, State], ended: set[int]) -> None:
        left = (g.without(state, ended) for g, state in states.items())
        self.states = dict(one for one in left if one is not None)
        self.generation += 1
        self._lease = self._now = None

    # ------------------------------------------------------------------ how it stands

    @property
    def flags(self) -> Mapping[str, str]:
        """What is odd about the channels in the latest block, by a word for it."""
        names = self.plan.channels
        return {f"channel:{names[c]}:{kind}": text for (c, kind), text in self._scorer.flagged.items()}

    @property
    def stalled(self) -> bool:
        """Whether the pause is the session's own, because a block ended without a response."""
        return self.paused is not None and self.paused.endswith(WITHOUT)

    def waiting_for(self) -> tuple[int, tuple[Planned, ...], tuple[Planned, ...]] | None:
        """Of the open block its number, its presentations, and those without an answer; None: none is
        shown."""
        row = None if self._now is None or self.paused is not None else self._now.open
        if row is None or self._now is None:
            return None
        planned = self._now.of(row.number)
        return row.number, planned, tuple(one for one in planned if one.id not in self._now.answered)

    def _event(self, kind: str, text: str, block: int | None = None) -> Event:
        return Event(kind, text, self.generation, block)

    def say(self, kind: str, text: str) -> None:
        """Write down what the experimenter should know."""
        self.ledger.note(self._event(kind, text))

    def status(self) -> dict[str, Any]:
        """For whoever asks: numbers that JSON can hold. Generations count from 1."""
        row = None if self._now is None else self._now.open
        block = () if row is None or self._now is None else self._now.of(row.number)
        left = () if row is None or self._now is None else self._now.left(row.number)
        return {
            "session": self.id,
            "state": "over" if self.over else "paused" if self.paused is not None else "showing",
            "reason": self.paused,
            "generation": self.generation + (not self.over),
            "generations": max(r.generations for r in self.parts.runs) + self._voids,
            "block": None if row is None else row.number,
            "presentations": len(block),
            "answered": len(block) - len(left),
            "rig": None if row is None else row.holder,
        }
