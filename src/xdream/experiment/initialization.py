"""Before the first generation: initial codes, the references shown once, the scale of the noise."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from xdream import networks
from xdream.errors import BadInput
from xdream.experiment import reported
from xdream.experiment.callbacks import Callback
from xdream.experiment.forward import BatchSize
from xdream.experiment.inversion import invert
from xdream.experiment.run_groups import RunGroup
from xdream.experiment.runs import Initial, Parts, Run
from xdream.files import mistaken
from xdream.generators import Generator, WithStatistics, spread_of
from xdream.images import references
from xdream.images.references import expected_best
from xdream.optimizers import State, checked_codes
from xdream.store import Store, queries
from xdream.types import Codes

#: Natural images whose expected best response sets the scale of the noise (Xiao & Kreiman 2020).
NOISE_REFERENCES = 10_000


def absolute(init: str) -> str:
    """With an absolute path, to be read from anywhere."""
    kind, _, value = init.partition(":")
    return f"{kind}:{references.absolute(value)}" if kind in ("statistics", "codes", "images") else init


def read(init: str, generator: Generator) -> Initial:
    """What `init` says for a generator. Raises BadInput."""
    kind, _, value = init.partition(":")
    if kind == "zeros":
        return Initial(generator.initial, torch.zeros(1, len(generator.centre)))
    if kind == "statistics":
        if not isinstance(generator, WithStatistics):
            raise BadInput(
                f"init '{init}': generator '{generator.name}' reads no statistics (it has no method "
                "initial_from); use default, zeros, codes, images or references"
            )
        return Initial(generator.initial_from(Path(value)))
    if kind == "codes":
        return Initial(generator.initial, _codes_from(value, generator))
    if kind == "images":
        images = references.load(value)
        shown = images.images(range(len(images)), generator.image_size_px)
        codes, _ = invert(generator, shown.to(torch.float32) / 255.0)
        return Initial(generator.initial, codes)
    return Initial(generator.initial)


def _codes_from(path: str, generator: Generator) -> Codes:
    """(k, d) codes from a .npz with `codes` (as `xdream encode` writes it) or a .npy. Raises BadInput."""
    made_with = generator.name
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = loaded if isinstance(loaded, np.ndarray) else loaded["codes"]
            if not isinstance(loaded, np.ndarray) and "generator" in loaded:
                made_with = str(loaded["generator"])
            codes = found.astype(np.float64, casting="same_kind")
    except Exception as error:  # a reader of foreign bytes raises whatever it likes
        what = mistaken(Path(path)) or networks.one_line(error)
        raise BadInput(
            f"codes '{path}' cannot be read ({what}); give a .npz with `codes`, as "
            "xdream encode writes it, or a .npy"
        ) from None
    if made_with != generator.name:
        raise BadInput(f"codes '{path}' were made with the generator {made_with}, not {generator.name}")
    flat = codes.reshape(len(codes), -1) if codes.ndim > 2 and codes.size else codes
    try:
        return checked_codes(flat, len(generator.centre))
    except BadInput as error:
        raise BadInput(f"codes '{path}': {error}") from None


def show_references(parts: Parts, store: Store, callback: Callback) -> dict[int, torch.Tensor]:
    """Each run's noise-free responses to all references, (N,); what is in the store is not shown again.

    None of a rig, which sees them in its blocks.
    """
    if parts.references is None or parts.plan.rig is not None:
        return {}
    count = len(parts.references)
    known = queries.reference_responses(store)
    for r in parts.runs:
        known.setdefault(r.id, {})
    assert parts.plan.batch is not None
    # Of a search in lower precision, what is reported of them is in float32 from the start.
    exact = reported.FACT in queries.facts(store)
    forward = parts.forward.in_float32() if exact else parts.forward
    batch = BatchSize(forward, parts.plan.batch, lambda size: store.write_fact("batch", str(size)))
    start = 0
    while start < count:
        callback.stage("references", start, count)
        some = range(start, min(start + batch.size, count))
        if all(i in known[r.id] for r in parts.runs for i in some):
            start = some.stop
            continue
        images = parts.references.images(some, parts.image_size_px)
        answers = batch.attempt(functools.partial(forward.respond_all, images))
        if answers is None:
            continue
        start = some.stop
        new = [
            (index, r.id, float(answers[r.subject][row, r.unit]))
            for r in parts.runs
            for row, index in enumerate(some)
        ]
        store.write_reference_responses(new)
        for index, run_id, response in new:
            known[run_id][index] = response
    callback.stage("references", count, count)
    return {
        r.id: torch.tensor([known[r.id][i] for i in range(count)], dtype=torch.float64) for r in parts.runs
    }


def noise_scales(parts: Parts, responses: Mapping[int, torch.Tensor]) -> dict[int, float]:
    """Spikes per unit of activation, k = N / (expected best of 10,000 natural images), of each run."""
    scales = {}
    for one in parts.runs:
        if one.noise_scale is not None:
            scales[one.id] = one.noise_scale
        if one.noise_spikes is None:
            continue
        best = expected_best(responses[one.id], min(NOISE_REFERENCES, len(responses[one.id])))
        if not best > 0.0:
            raise BadInput(
                f"noise_spikes needs a positive best response to the references, but {one.target} gives "
                f"{best:g}; use other references, or noise_scale"
            )
        scales[one.id] = one.noise_spikes / best
    return scales


def first_state(parts: Parts, group: RunGroup, responses: Mapping[int, torch.Tensor]) -> State:
    """The first states: each run's initial codes drawn, given, or encoded from references."""
    device = parts.forward.device
    found: dict[int, Codes] = {}
    for init in dict.fromkeys(r.init for r in group.runs):
        alike = [r for r in group.runs if r.init == init]
        codes = _initial_codes(parts, group, init, alike, responses)
        found |= {r.id: own.to(device) for r, own in zip(alike, codes, strict=True)}
    seeds = torch.tensor([r.seed for r in group.runs], device=device)
    started: State = group.optimizer.start(seeds, torch.stack([found[r.id] for r in group.runs]))
    return started


def _initial_codes(
    parts: Parts, group: RunGroup, init: str, runs: Sequence[Run], responses: Mapping[int, torch.Tensor]
) -> Iterable[Codes]:
    """Those of each run with this `init`: (population, d), or (1, d) for a centre."""
    n = group.optimizer.population
    kind, _, choice = init.partition(":")
    generator, initial = parts.generators[group.generator], parts.initial[init, group.generator]
    if initial.codes is not None:
        return [_fitted(initial.codes, n, generator, group, initial)] * len(runs)
    if kind == "references":
        each = (_encoded_references(parts, r, responses[r.id], choice, n) for r in runs)
        return [_fitted(one, n, generator, group, initial) for one in each]
    if group.optimizer.starts_from != "population":
        return [_fitted(_centre(generator, initial)[None], n, generator, group, initial)] * len(runs)
    seeds = torch.tensor([r.seed for r in runs], device=parts.forward.device)
    return initial.distribution.draw(seeds, n)


def _fitted(codes: Codes, n: int, generator: Generator, group: RunGroup, initial: Initial) -> Codes:
    """(n, d): the first n of the given codes, taken round again when they are fewer; for a centre their mean,
    because runs beside each other may be given unlike numbers of codes. Where the spread is needed, too:
    (3, d), the centre of the initial codes, their spread, and that mean."""
    if group.optimizer.starts_from == "population":
        return codes[torch.arange(n) % len(codes)]
    mean = codes.mean(0)
    if group.optimizer.starts_from == "centre":
        return mean[None]
    centre = _centre(generator, initial)
    spread = spread_of(initial.distribution, centre)
    return torch.stack((centre.to(mean.device), spread.to(mean.device), mean))


def _centre(generator: Generator, initial: Initial) -> Codes:
    """(d,) of the initial codes: the generator's, or that of other statistics."""
    if initial.distribution is generator.initial:
        return generator.centre
    found: Codes = getattr(initial.distribution, "mean", generator.centre)
    return found


def _encoded_references(parts: Parts, run: Run, responses: torch.Tensor, choice: str, n: int) -> Codes:
    """Codes of the n best, middle or worst references for one run (Xiao & Kreiman 2020, `opt`), or
    as near as the generator allows."""
    assert parts.references is not None
    scores = run.score(responses[:, None, None])
    order = torch.argsort(scores.nan_to_num(nan=-torch.inf), descending=True, stable=True)
    n = min(n, len(order))
    first = {"best": 0, "middle": (len(order) - n) // 2, "worst": len(order) - n}[choice]
    indices = order[first : first + n].tolist()
    generator = parts.generators[run.generator]
    images = parts.references.images(indices, generator.image_size_px)
    codes, _ = invert(generator, images.to(torch.float32) / 255.0)
    return codes
