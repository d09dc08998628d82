"""Recordings into scores, generation by generation; from the store alone, so that it can be done once more.

recordings -> responses (presentations, channels) -> of each run (images, repeats, channels) -> scores
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from xdream.experiment.runs import Run
from xdream.laboratory.session.generation import Generation
from xdream.scoring import channel_checks, responses
from xdream.scoring.objectives import Objective
from xdream.scoring.responses import ResponsesPlan, Trial
from xdream.store.ledger import Ledger
from xdream.subjects import channel_of
from xdream.types import Scores

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredRun:
    """What scores need to know of a run. channel: the one that it sees; None: all."""

    id: int
    population: int
    channel: int | None
    score: Objective
    settings: ResponsesPlan

    @classmethod
    def of(cls, run: Run) -> ScoredRun:
        """That of a run of the plan."""
        return cls(run.id, run.population, channel_of(run.target), run.score, run.responses)


@dataclass(frozen=True)
class Scored:
    """scores: (population,) by run. references: (reference, run) -> the score of its mean response so far.
    flags: what is odd about a channel. scorer: for the next generation."""

    scores: Mapping[int, Scores]
    references: Mapping[tuple[int, int], float]
    flags: tuple[str, ...]
    scorer: Scorer


@dataclass(frozen=True)
class Scorer:
    """Scores generations in order. channels: their names. watching: how those that are watched are read.

    history: trials of earlier generations that the settings still need. responses_to: by settings and
    reference, the sum of its responses so far and their number, (2, channels). levels, baselines, to_natural:
    of the channels in the latest blocks, all presentations, before the onset, references alone. flagged: what
    was said, by channel and kind, of the flags that the latest block still has; it is not said again. A
    channel that fell silent has its flag until it responds.
    """

    channels: tuple[str, ...]
    watching: ResponsesPlan
    history: Mapping[ResponsesPlan, tuple[Trial, ...]] = field(default_factory=dict)
    responses_to: Mapping[ResponsesPlan, Mapping[int, Array]] = field(default_factory=dict)

    levels: tuple[channel_checks.Level, ...] = ()
    baselines: tuple[channel_checks.Level, ...] = ()
    to_natural: tuple[channel_checks.Level, ...] = ()
    flagged: Mapping[tuple[int, str], str] = field(default_factory=dict)

    def score(self, now: Generation, repeats: int, runs: Sequence[ScoredRun]) -> Scored:
        """The scores of a generation, for the runs that are under way."""
        trials = now.trials()
        planned = {(one.name, one.repeat): one for one in now.planned}
        scores: dict[int, Scores] = {}
        means: dict[tuple[int, int], float] = {}
        history, responses_to = dict(self.history), {k: dict(v) for k, v in self.responses_to.items()}
        for settings in dict.fromkeys(run.settings for run in runs):
            found = responses.responses([*history.get(settings, ()), *trials], settings)[-len(trials) :]
            found = found if trials else np.empty((0, len(self.channels)))
            history[settings] = responses.needed([*history.get(settings, ()), *trials], settings)
            known = responses_to.setdefault(settings, {})
            of_runs: dict[int, list[tuple[int, int, Array]]] = {}
            for trial, row in zip(trials, found, strict=True):
                one = planned[trial.image, trial.repeat]
                if one.at is not None:
                    of_runs.setdefault(one.at[0], []).append((one.at[1], one.repeat, row))
                elif one.reference is not None:
                    before = known.get(one.reference, np.zeros((2, len(row))))
                    known[one.reference] = before + np.stack([np.nan_to_num(row), ~np.isnan(row)])
            for run in runs:
                if run.settings != settings:
                    continue
                matrix = np.full((run.population, repeats, len(self.channels)), np.nan)
                for slot, repeat, row in of_runs.get(run.id, ()):
                    matrix[slot, repeat] = row
                scores[run.id] = _scored(run, matrix)
                for reference, (total, count) in known.items():
                    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
                    means[reference, run.id] = float(_scored(run, mean[None, None]))
        after = replace(self, history=history, responses_to=responses_to)
        return Scored(scores, means, *after._watched(trials))

    def _watched(self, trials: Sequence[Trial]) -> tuple[tuple[str, ...], Scorer]:
        """What is odd about the channels in each block; and the scorer that has seen it."""
        now, said = self, []
        for block in dict.fromkeys(trial.block for trial in trials):
            of_block = [trial for trial in trials if trial.block == block]
            read = [responses.read(trial.recorded, self.watching) for trial in of_block]
            values = np.stack([one for one, _ in read])
            before = np.stack([one for _, one in read])
            natural = values[[trial.reference for trial in of_block]]
            what = "baseline"
            if np.isnan(before).all():
                what, before = "response to the references", natural
            level, baseline = channel_checks.level(values), channel_checks.level(before)
            to_natural = (*now.to_natural, channel_checks.level(natural))[-channel_checks.MOST :]
            flags = (
                *channel_checks.silent(now.levels, level),
                *channel_checks.stepped(now.baselines, baseline, what=what),
                *channel_checks.drifted(to_natural),
            )
            texts = {
                (
                    flag.channel,
                    flag.kind,
                ): f"channel {self.channels[flag.channel]}, block {block}: {flag.text}"
                for flag in flags
            }
            # Once silent, it is so until it responds: silent blocks would soon pass for what is usual.
            texts |= {
                (channel, kind): text
                for (channel, kind), text in now.flagged.items()
                if kind == "silent" and level.responding[channel] == 0
            }
            said += [text for key, text in texts.items() if key not in now.flagged]
            now = replace(
                now,
                levels=(*now.levels, level)[-channel_checks.MOST :],
                baselines=(*now.baselines, baseline)[-channel_checks.MOST :],
                to_natural=to_natural,
                flagged=texts | {key: text for key, text in now.flagged.items() if key in texts},
            )
        return tuple(said), now


def recorded_generation(ledger: Ledger, number: int) -> Generation:
    """A generation as it is in the store, without its pixels."""
    blocks, planned = tuple(ledger.blocks(number)), tuple(ledger.planned(number))
    return Generation(number, planned, blocks, ledger.answered(number), {})


def _scored(run: ScoredRun, matrix: Array) -> Scores:
    """(images,) of (images, repeats, channels)."""
    every = torch.from_numpy(matrix)
    return run.score(every if run.channel is None else every[:, :, run.channel : run.channel + 1])
