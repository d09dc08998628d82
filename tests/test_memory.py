"""Freed memory is kept where the C library can be told so."""

import platform
import resource

import pytest
import torch

from xdream.memory import keep_freed_blocks


def test_a_large_block_is_not_faulted_in_again() -> None:
    if not keep_freed_blocks():
        pytest.skip(f"the C library is {platform.libc_ver()[0] or 'not glibc'}, which is left as it is")
    pages = 64 * 2**20 // resource.getpagesize()
    torch.ones(64 * 2**20, dtype=torch.uint8)  # taken from the system once, and freed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**20, dtype=torch.uint8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages // 10
