"""Freed memory is kept where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

from xdream.memory import keep_freed_blocks

#: Page faults of the last of many equal blocks, in a process of its own: at first the heap finds its size.
LAST_BLOCK = """
import resource, sys
import torch
from xdream.memory import keep_freed_blocks

if sys.argv[1] == "kept":
    keep_freed_blocks()
torch.set_num_threads(1)
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**20, dtype=torch.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[-5:]))
"""


def faults(how: str) -> int:
    found = subprocess.run(
        [sys.executable, "-c", LAST_BLOCK, how], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is left as it is")
def test_a_large_block_is_not_faulted_in_again() -> None:
    assert keep_freed_blocks()
    assert faults("kept") < faults("given back") // 10
