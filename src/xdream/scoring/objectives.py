"""Responses into scores: pure, one formula each.

    (images, repeats, channels) -> (images,)

A missing repeat or channel (NaN) is left out of its mean; where nothing is left, there is no score (NaN).
Channels are places on the last axis, from 0; a channel that is not there raises IndexError when asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xdream.errors import BadInput
from xdream.registry import Registry, declares
from xdream.types import Responses, Scores

Objective = Callable[[Responses], Scores]

#: ChannelNumbers of a recording, by number (a plan may name them).
ChannelNumbers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
#: Every objective by name; a factory takes its options and gives the formula. It may declare `label`: what
#: stands beside an axis of scores, with `{response}` for what responses are (declared by the subject).
OBJECTIVES: Registry[Objective] = Registry("objective")


def mean(responses: Responses) -> Scores:
    """The mean over repeats, then over channels: the response to drive up."""
    return responses.nanmean(1).nanmean(1)


def minus_mean(responses: Responses) -> Scores:
    """Minus the mean: finds the image that suppresses most."""
    return -mean(responses)


@dataclass(frozen=True)
class WeightedGroups:
    """Σ weight · mean of a group of channels. A group without any value leaves the image without a score."""

    groups: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]

    def __call__(self, responses: Responses) -> Scores:
        """(images, repeats, channels) -> (images,)."""
        import torch  # figures ask this module for names alone

        means = torch.stack([mean(responses[:, :, list(group)]) for group in self.groups], dim=1)
        return (means * torch.tensor(self.weights, dtype=means.dtype, device=means.device)).sum(1)


@declares(label="response ({response})")
def make_mean(channels: ChannelNumbers | None = None) -> Objective:
    """The mean over repeats, then over channels (default: all): the response to drive up."""
    return mean if channels is None else WeightedGroups(_checked(channels=channels), (1.0,))


@declares(label="minus the response ({response})")
def make_minus_mean(channels: ChannelNumbers | None = None) -> Objective:
    """Minus the mean: finds the image that suppresses most."""
    return minus_mean if channels is None else WeightedGroups(_checked(channels=channels), (-1.0,))


def make_groups(
    groups: Annotated[list[ChannelNumbers], Field(min_length=1)], weights: list[float] | None = None
) -> Objective:
    """The weighted sum of the means of groups of channels (default: their mean)."""
    if not isinstance(groups, list | tuple) or not groups:
        raise BadInput(f"groups is {groups!r}; give a list of lists of channels, like [[0, 1], [2]]")
    checked = _checked(**{f"groups[{i}]": group for i, group in enumerate(groups)})
    if weights is None:
        return WeightedGroups(checked, (1.0 / len(checked),) * len(checked))
    if not isinstance(weights, list | tuple) or len(weights) != len(checked):
        raise BadInput(f"weights is {weights!r}; give one number for each of the {len(checked)} groups")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise BadInput(f"weights has {weight!r}; each is a finite number")
    if not any(weights):
        raise BadInput(f"weights is {weights!r}, which scores every image 0; give one that is not 0")
    return WeightedGroups(checked, tuple(float(weight) for weight in weights))


def make_difference(excitatory: ChannelNumbers, suppressive: ChannelNumbers) -> Objective:
    """The mean of some channels less the mean of others."""
    return WeightedGroups(_checked(excitatory=excitatory, suppressive=suppressive), (1.0, -1.0))


def _checked(**lists: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The lists of channels, by the name of their option. Raises BadInput."""
    seen: dict[int, str] = {}
    for option, channels in lists.items():
        if not isinstance(channels, list | tuple) or not channels:
            raise BadInput(f"{option} is {channels!r}; give a list of at least one channel")
        for channel in channels:
            if isinstance(channel, bool) or not isinstance(channel, int) or channel < 0:
                raise BadInput(f"{option} has {channel!r}; a channel is a number from 0")
            if channel in seen:
                where = "twice" if seen[channel] == option else f"and {seen[channel]} has it too"
                raise BadInput(f"{option} has channel {channel} {where}; name each channel once")
            seen[channel] = option
    return tuple(tuple(channels) for channels in lists.values())
