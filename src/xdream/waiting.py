"""How long PyTorch's threads wait for work before they sleep."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

#: Turns of the loop in which a thread of GNU OpenMP waits (300,000 by default, which is milliseconds), and
#: milliseconds for which one of Intel's or LLVM's does (200 by default).
SHORT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
#: With these the user has said how threads are to wait.
SAID = ("OMP_WAIT_POLICY", *SHORT)


def wait_shortly(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Let threads sleep soon, unless the environment says how they are to wait. Returns whether it was set.

    A thread that waits in a loop takes the core from one that has work: with another busy process beside
    it, a forward pass takes up to three times as long (docs/decisions/0012-engines.md). It has an effect on
    what imports PyTorch afterwards, processes that are started from here included.
    """
    if any(name in environment for name in SAID):
        return False
    environment.update(SHORT)
    return True
