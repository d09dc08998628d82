"""How often each channel answered so far: it tells a silent neuron from an empty file."""

from __future__ import annotations

import numpy as np

from xdream.scoring.recordings import Spikes, Values, from_bytes
from xdream.store.ledger import Ledger

#: A channel that answered in more than this part of the presentations does not fall silent for a block.
USUALLY = 0.5


class Activity:
    """Counts from the record, as far as they are needed. The same after a restart."""

    def __init__(self, ledger: Ledger, channels: int) -> None:
        self._ledger = ledger
        self._answered = np.zeros(channels, np.int64)
        self._presentations = self._read = 0

    def zeros_are_empty(self, block: int) -> bool:
        """Whether values that are all zero are an empty file: no block before this one has a response that
        they could be compared with, or some channel answered in more than half of the presentations."""
        for identity, raw in self._ledger.taken_since(self._read, block):
            recorded = from_bytes(raw)
            if isinstance(recorded, Spikes):
                self._answered[np.unique(recorded.channels)] += 1
            else:
                numbers = recorded.values[:, None] if isinstance(recorded, Values) else recorded.samples
                self._answered += (np.nan_to_num(numbers) != 0.0).any(1)
            self._presentations += 1
            self._read = identity
        return self._presentations == 0 or bool((self._answered > USUALLY * self._presentations).any())
