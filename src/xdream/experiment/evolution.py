"""Bring your own neuron: one evolution by ask and tell, images out, scores in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xdream.arrays import numbers
from xdream.errors import BadInput
from xdream.experiment import defaults, engine_choice
from xdream.experiment.forward import Forward
from xdream.experiment.plan import DEFAULT_OPTIMIZER
from xdream.generators import GENERATORS, Generator, spread_of
from xdream.generators.cards import SHIPPED
from xdream.generators.pixels import check_size
from xdream.optimizers import OPTIMIZERS, checked_codes, checked_seed, padded, populations
from xdream.types import Batch, Codes


class Evolution:
    """One evolution, in memory only: nothing is stored (an experiment that survives a kill is `xdream.run`).

    Ask for a batch, show it, tell the scores in any order, ask again.

        evolution = Evolution(generator="pixels", optimizer="genetic", seed=0)
        batch = evolution.ask()
        evolution.tell(batch.ids, scores)

    generator: a name, or a generator made before. generator_options: for a name, e.g. {"size_px": 64}.
    initial: (k, d) codes to start from, as for `optimizers.make`. image_size_px: the size at which images
    are shown. engine: what computes the generator (`xdream list engines`). Any other keyword is a
    hyperparameter of the optimizer; what is not given comes from the defaults for this generator. Raises
    BadInput.
    """

    def __init__(
        self,
        generator: str | Generator = SHIPPED,
        optimizer: str = DEFAULT_OPTIMIZER,
        seed: int = 0,
        *,
        generator_options: Mapping[str, Any] | None = None,
        initial: npt.ArrayLike | None = None,
        image_size_px: int | None = None,
        engine: str = "torch",
        **hyperparameters: Any,
    ) -> None:
        if isinstance(generator, str):
            options = defaults.with_region(generator, optimizer, generator_options or {})
            generator = GENERATORS.make(generator, **options)
        filled = defaults.hyperparameters(generator.name, optimizer, noisy=True) | hyperparameters
        self.generator = generator
        self.optimizer = OPTIMIZERS.make(optimizer, **filled)
        self.image_size_px = generator.image_size_px if image_size_px is None else image_size_px
        check_size(self.image_size_px)
        self._forward = Forward((generator,), (), self.image_size_px, "float32")
        if engine != engine_choice.TORCH:
            self._compute_by(engine)
        self.generation = 0
        seeds = torch.tensor([checked_seed(seed)])
        self._state = self.optimizer.start(seeds, self._initial(seeds, initial))
        self._scores: dict[str, float] = {}
        self._open = False

    def ask(self) -> Batch:
        """The generation that is to be shown: all of its images, told or not. Asking twice gives the same.

        Images are float32 in [0, 1] on the 8-bit grid: `(batch.images * 255).round()` is what is shown.
        """
        self._open = True
        codes = self.optimizer.ask(self._state)[0, : self._population()]
        images = self._forward.draw(codes).to(torch.float32) / 255.0
        return Batch(self._ids(), codes.cpu().numpy().copy(), images.cpu().numpy())

    def tell(self, ids: Iterable[str], scores: npt.ArrayLike) -> None:
        """Scores of some images of this generation, in any order; NaN = not seen.

        ids: anything with an order (a list, an array, a generator). scores: as `xdream.arrays.numbers` reads
        them: what is masked, NA or None was not seen. When all are told the next generation begins. Raises
        BadInput, and takes nothing, for an id that was not asked or was told before, and when the counts
        differ.
        """
        ids, values = _in_order(ids), numbers(scores, "scores")
        if values.shape != (len(ids),):
            raise BadInput(f"{len(ids)} ids but scores of shape {values.shape}; one score for each id")
        if not self._open:
            raise BadInput("no generation is open; call ask first")
        asked = self._ids()
        for number, name in enumerate(ids):
            if name not in asked:
                raise BadInput(f"image '{name}' is not of this generation ({asked[0]} to {asked[-1]})")
            if name in self._scores or name in ids[:number]:
                raise BadInput(f"image '{name}' has two scores; give one score for each image")
        self._scores.update(zip(ids, values.tolist(), strict=True))
        if len(self._scores) == len(asked):
            self.close_generation()

    def close_generation(self) -> None:
        """Declare what was not told as not seen, and go on to the next generation.

        When all were told this has happened already, and nothing is closed until the next `ask`.
        """
        if not self._open:
            return
        scores = [self._scores.get(name, np.nan) for name in self._ids()]
        told = padded(scores, self.optimizer.population)[None].to(self._state.seeds.device)
        self._state = self.optimizer.tell(self._state, told)
        self._scores = {}
        self._open = False
        self.generation += 1

    def _compute_by(self, engine: str) -> None:
        """Let an engine draw the images. Raises BadInput when it cannot."""
        reason = engine_choice.missing(engine, self._forward)
        if not reason:
            placed = engine_choice.place(self._forward, engine, self.optimizer.population)
            reason = next((one.reason for one in placed.values()), "it is no network")
        if reason:
            raise BadInput(f"engine '{engine}' cannot compute generator '{self.generator.name}': {reason}")

    def _ids(self) -> tuple[str, ...]:
        return tuple(f"g{self.generation:04d}-{slot:03d}" for slot in range(self._population()))

    def _population(self) -> int:
        return populations(self.optimizer, self._state)[0]

    def _initial(self, seeds: torch.Tensor, initial: npt.ArrayLike | None) -> Codes:
        """(1, k, d): given, or from the generator."""
        if initial is not None:
            codes = checked_codes(initial, len(self.generator.centre)).to(self.generator.centre.device)
        else:
            codes = self.generator.centre[None]
        if self.optimizer.starts_from == "spread":
            centre = self.generator.centre
            spread = spread_of(self.generator.initial, centre)
            return torch.stack((centre, spread, codes.mean(0)))[None]
        if initial is not None or self.optimizer.starts_from == "centre":
            return codes[None]
        return self.generator.initial.draw(seeds.to(self.generator.centre.device), self.optimizer.population)


def _in_order(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids of the scores, one by one. Raises BadInput."""
    if isinstance(ids, str):
        raise BadInput(f"ids are one text, '{ids[:40]}'; give a list of ids, also for one image")
    if isinstance(ids, Set):
        raise BadInput("ids are a set, which has no order, and scores would go to any of them; give a list")
    try:
        return tuple(str(name) for name in ids)
    except TypeError:
        raise BadInput(f"ids are a {type(ids).__name__}; give a list of ids") from None
